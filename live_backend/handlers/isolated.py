"""A handler in processes of its own: a crash, a leak or `os._exit` costs one attempt, and what hangs is killed.

Each process does one job at a time (`child.py`). There are as many as jobs at the same time, made when they are needed
and kept; one that died, or was killed because its job was cut, is replaced when the next job comes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

from lab.limits import HANDLER_PROCESSES_MAX, HANDLER_READY_S_MAX, HANDLER_RESPONSE_BYTES_MAX
from lab.rules.handling import Ending
from live_backend.handlers.callables import NotFound, timed_out
from live_backend.jobs import ENCODE, Failed, Job, Permanent, decoded, failure
from live_backend.processes import ROOT

SECRETS_OF_THE_MESH = ("REDIS_URL", "REDIS_ADDR", "DB_DSN", "MESHLAB_TOKEN")
"""A handler needs none of them, so its process does not get them."""


class ProcessCalls:
    """The processes of one handler."""

    def __init__(self, target: str, timeout_s: float, slots: int) -> None:
        self._target, self._timeout_s = target, timeout_s
        self._free = asyncio.Semaphore(min(slots, HANDLER_PROCESSES_MAX))
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    async def start(self) -> None:
        """The first process. Raises NotFound if it cannot import the handler."""
        self._idle.append(await self._new())

    async def do(self, job: Job) -> str | None:
        """Have a process call it. Raises Failed or Permanent."""
        line = ENCODE(decoded(job)).encode() + b"\n"
        async with self._free:
            child = await self._ready()
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await child.ask(line)
            except TimeoutError as error:
                child.kill()
                raise timed_out(self._timeout_s) from error
            except BaseException:  # cancelled, or it said what nobody understands: either way it is of no use any more
                child.kill()
                raise
            if answer is None:
                raise failure(Ending.DIED, f"worker process of the handler died ({await child.end()})")
            self._idle.append(child)
        return _result(answer)

    async def _ready(self) -> Child:
        """A process that waits for a job."""
        while self._idle:
            child = self._idle.pop()
            if child.lives:
                return child
        try:
            return await self._new()
        except (NotFound, OSError) as error:
            raise failure(Ending.DIED, f"no worker process for the handler: {error}") from error

    async def _new(self) -> Child:
        child = await Child.spawn(self._target)
        self._all = {each for each in self._all if each.lives} | {child}
        try:
            async with asyncio.timeout(HANDLER_READY_S_MAX):
                said = await child.hear()
        except TimeoutError:
            child.kill()
            raise NotFound(f"{self._target!r} was not imported within {HANDLER_READY_S_MAX:g} s.") from None
        except BaseException:
            child.kill()
            raise
        if said is None:
            raise NotFound(f"the process that imports {self._target!r} died ({await child.end()}).")
        if "not_found" in said:
            raise NotFound(said["not_found"])
        return child

    async def close(self) -> None:
        """Kill them all, and wait until they are gone."""
        children, self._all, self._idle = self._all, set(), []
        for child in children:
            child.kill()
        for child in children:
            await child.end()


class Child:
    """One process, in a group of its own together with whatever it starts."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._watch = asyncio.get_running_loop().create_task(self._outlived_by_nothing())

    @classmethod
    async def spawn(cls, target: str) -> Child:
        """A new process; `hear` then tells whether it has found the handler. Raises OSError."""
        path = os.pathsep.join([str(ROOT), *(entry or os.getcwd() for entry in sys.path)])
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS_OF_THE_MESH}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "live_backend.handlers.child",
            target,
            stdin=PIPE,
            stdout=PIPE,
            limit=HANDLER_RESPONSE_BYTES_MAX,
            env={**environment, "PYTHONPATH": path},
            start_new_session=True,
        )
        return cls(process)

    @property
    def lives(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def ask(self, line: bytes) -> dict[str, Any] | None:
        """Give it a job and wait for its answer; None if it died meanwhile."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # it is dead, and `hear` will say so
            self._process.stdin.write(line)
        return await self.hear()

    async def hear(self) -> dict[str, Any] | None:
        """The next thing that it says; None if it died."""
        assert self._process.stdout is not None
        try:
            line = await self._process.stdout.readline()
            said = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, ConnectionError):
            said = None  # the handler wrote into the pipe itself: nothing that follows can be trusted
        if not isinstance(said, dict):
            self.kill()
            return None
        return said

    def kill(self) -> None:
        """End it, and all that it has started. Nothing happens if it has ended."""
        if self.lives:
            self._kill_group()

    async def end(self) -> str:
        """Wait until it has ended. Returns how, in words."""
        await asyncio.shield(self._watch)
        status = self._process.returncode
        assert status is not None
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    async def _outlived_by_nothing(self) -> None:
        """What it has started must not stay, nor keep our end of its pipe open."""
        await self._process.wait()
        self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()


def _result(answer: dict[str, Any]) -> str | None:
    if "failed" in answer:
        raise Failed(answer["failed"])
    if "permanent" in answer:
        raise Permanent(answer["permanent"])
    result: str | None = answer.get("result")
    return result
