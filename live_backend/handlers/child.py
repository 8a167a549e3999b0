"""A process of its own for one handler: `python -m live_backend.handlers.child module:function`.

A line of JSON on standard input is a job, a line on standard output is what became of it; whatever the handler prints
goes to standard error. One job at a time. When its input closes, its worker is gone, and it ends at once with
everything that it has started.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import sys
import threading
from typing import IO, Any, NoReturn

from live_backend.handlers.callables import NOT_OURS, Call, NotFound, is_async, load
from live_backend.jobs import ENCODE, Job, Permanent, failure_of, result_text


def main(target: str) -> NoReturn:
    """Import the handler, say so, and do one job after another."""
    requests, answers = _pipes()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, lines), daemon=True).start()
    try:
        call = load(target)
    except NotFound as error:
        _say(answers, {"not_found": str(error)})
        sys.exit(1)
    _say(answers, {"ready": os.getpid()})
    with asyncio.Runner() as runner:  # one loop for all jobs: what a handler opens on it, it may use again
        while True:
            _say(answers, _answer(call, lines.get(), runner))


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The pipes to the worker, under numbers that neither `print` nor a child of the handler finds."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: IO[bytes], lines: queue.SimpleQueue[bytes]) -> None:
    for line in requests:
        lines.put(line)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _answer(call: Call, line: bytes, runner: asyncio.Runner) -> dict[str, Any]:
    """What became of a job, as the worker reads it."""
    try:
        job = Job(*json.loads(line))
        result = runner.run(_awaited(call, job)) if is_async(call) else call(job)
        return {"result": result_text(result)}
    except NOT_OURS:
        raise
    except BaseException as error:  # SystemExit too: it is this job's failure, and the next job's process
        said = failure_of(error)
        return {"permanent" if isinstance(said, Permanent) else "failed": str(said)}


async def _awaited(call: Call, job: Job) -> Any:
    return await call(job)


def _say(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(ENCODE(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
