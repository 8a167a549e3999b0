"""The harness of benchmarks/backend.py: what it counts is what there was, and nobody outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import uvloop

from benchmarks.contest.contestant import WARM_FIRST, Marks
from benchmarks.contest.load import Load, Sender
from benchmarks.contest.processes import Trouble

ROOT = Path(__file__).parents[2]
HARNESS = """
import sys
from pathlib import Path
from benchmarks.contest.processes import Group
group = Group(["sh", "-c", "sleep 60 & sleep 60"], {"PATH": "/usr/bin:/bin"}, Path("/"))
group.freeze()
print(group.pid, flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def api(refuse: int = 0) -> AsyncIterator[tuple[str, list[list[int]]]]:
    """A server that answers as the API does. Gives its address and the numbers of each request; id = number + 1000."""
    seen: list[list[int]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            said = json.loads(await reader.readexactly(length))
            tasks = said.get("tasks", [said])
            seen.append([task["payload"] for task in tasks])
            ids = [{"id": task["payload"] + 1000} for task in tasks]
            body = json.dumps({"tasks": ids} if "tasks" in said else ids[0]).encode()
            status = b"429 Too Many Requests" if len(seen) <= refuse else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except asyncio.IncompleteReadError:  # the client has left
            writer.close()

    async with await asyncio.start_server(quietly, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}", seen


def send(batch_s: float, refuse: int = 0, connections: int = 4) -> tuple[Load, list[list[int]]]:
    """A load of 100 tasks, due within half a second."""

    async def run() -> tuple[Load, list[list[int]]]:
        async with api(refuse) as (url, seen):
            load = Load(url, "A", 200.0, 0.5, batch_s, connections, first=7, out="")
            await Sender(load).run()
            return load, seen

    return uvloop.run(run())


@pytest.mark.parametrize(("batch_s", "size"), [(0.0, 1), (0.05, 10)])
@pytest.mark.parametrize("connections", [1, 4])
def test_every_task_of_a_load_is_sent_once_and_gets_its_own_id(batch_s: float, size: int, connections: int) -> None:
    load, seen = send(batch_s, connections=connections)
    assert sorted(number for numbers in seen for number in numbers) == list(range(7, 107))
    assert {len(numbers) for numbers in seen} == {size}
    assert load.ids.tolist() == list(range(1007, 1107))
    assert load.due_s.tolist() == pytest.approx([number / 200 for number in range(100)])
    assert load.statuses == {200: 100 // size}


def test_a_refused_task_has_no_id() -> None:
    load, _ = send(0.0, refuse=3)
    assert np.sum(load.ids < 0) == 3
    assert load.statuses == {429: 3, 200: 97}


def test_marks_of_many_processes_are_whole_and_gaps_are_found(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    environ = {**os.environ, "CONTEST_MARKS": str(marks.path), "PYTHONPATH": str(ROOT)}
    program = "import sys; from benchmarks.contest.body import mark; [mark(n) for n in range(*map(int, sys.argv[1:]))]"
    ranges = [("0", "500"), ("500", "1000"), (str(WARM_FIRST), str(WARM_FIRST + 9))]
    writers = [subprocess.Popen([sys.executable, "-c", program, *words], env=environ) for words in ranges]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    marks.wait(1009, 1.0)
    assert marks.refuse_gaps(1000) == "1,000 executed once each"
    with pytest.raises(Trouble, match="1 tasks were not executed and 0 executed twice"):
        marks.refuse_gaps(1001)
    subprocess.run([sys.executable, "-c", program, "5", "7"], env=environ, check=True)
    with pytest.raises(Trouble, match="0 tasks were not executed and 2 executed twice"):
        marks.refuse_gaps(1000)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_a_killed_benchmark_leaves_nobody_behind_not_even_the_frozen() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert harness.stdout is not None and harness.stdin is not None
    group = psutil.Process(int(harness.stdout.readline()))
    members = [group, *group.children(recursive=True)]
    harness.send_signal(signal.SIGKILL)
    harness.wait(10)
    harness.stdin.close()
    harness.stdout.close()
    _, alive = psutil.wait_procs(members, timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
