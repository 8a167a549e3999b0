"""Starts worker processes, replaces those that die, and lets faults loose on them. Every process it starts it also
ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from lab.limits import STOP_S_MAX
from lab.rules import Rulebook, shutdown
from live_backend.config import WorkerConfig
from live_backend.notes import Notes

EXIT_RECYCLED = 75
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Place:
    """One position of the mesh, and the process that stands there now."""

    index: int
    life: int = 0
    process: Process | None = None
    watch: asyncio.Task[None] | None = None

    @property
    def worker(self) -> str:
        """The id of the present process: unique within a run, never used again."""
        return f"w{self.index}.{self.life}"


class Supervisor:
    """The worker processes of one run. `configure` says what a worker is told, by its id and place."""

    def __init__(
        self, workers: int, rules: Rulebook, configure: Callable[[str, int], WorkerConfig], notes: Notes, log: IO[bytes]
    ) -> None:
        self.places = [Place(index) for index in range(workers)]
        self._rules, self._configure, self._notes, self._log = rules, configure, notes, log
        self._start_line: bytes | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        """Start all processes. They load their code and wait to be told what to do."""
        await asyncio.gather(*(self._spawn(place) for place in self.places))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def configure_all(self) -> None:
        """Tell all processes what to do; from now on the dead are replaced."""
        for place in self.places:
            await self._tell(place)

    async def start_run(self, epoch_s: float) -> None:
        """Tell the workers, and those that will replace them, when the run started."""
        self._start_line = f"start {epoch_s!r}\n".encode()
        for place in self.places:
            await self._write(place, self._start_line)

    @property
    def someone_died(self) -> bool:
        """Whether a worker is dead that has not been replaced."""
        return any(place.process is not None and place.process.returncode is not None for place in self.places)

    # -- faults --

    def send(self, index: int, number: signal.Signals) -> None:
        """Send a signal to the process at a place, if one is alive there."""
        process = self.places[index].process
        if process is not None and process.returncode is None:
            process.send_signal(number)

    # -- one process --

    async def _spawn(self, place: Place) -> None:
        place.life += 1
        place.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "live_backend.worker",
            stdin=PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we tell the workers
        )

    async def _tell(self, place: Place) -> None:
        await self._write(place, self._configure(place.worker, place.index).to_line().encode())
        if self._start_line is not None:
            await self._write(place, self._start_line)
        self._notes.add("worker_started", place.worker, detail=f"pid {place.process.pid}" if place.process else "")
        place.watch = asyncio.get_running_loop().create_task(self._watch(place))

    async def _write(self, place: Place, line: bytes) -> None:
        process = place.process
        if process is not None and process.stdin is not None:
            with suppress(ConnectionError):  # it died meanwhile; the watch sees to that
                process.stdin.write(line)
                await process.stdin.drain()

    async def _watch(self, place: Place) -> None:
        """Wait for the process to end; note how; put a fresh one in its place as the rules say."""
        assert place.process is not None
        status = await place.process.wait()
        recycled = status == EXIT_RECYCLED
        self._notes.add("worker_left", place.worker, detail="recycled" if recycled else _how(status))
        after_s = 0.0 if recycled else self._rules.health.restart_after_s
        if self._closing or after_s is None or self._start_line is None:
            return  # before the run has started a dead worker is an error of ours, and replacing it would hide that
        await asyncio.sleep(after_s)
        if not self._closing:
            await self._spawn(place)
            await self._tell(place)

    # -- the end --

    async def close(self) -> None:
        """Ask all workers to leave, wait, and kill by its id whichever has not left."""
        self._closing = True
        living = [place.process for place in self.places if place.process and place.process.returncode is None]
        for process in living:
            _send(process, signal.SIGTERM)
            if hasattr(signal, "SIGCONT"):
                _send(process, signal.SIGCONT)  # a frozen process would never hear the rest
        leaving = [asyncio.ensure_future(process.wait()) for process in living]
        if leaving:
            await asyncio.wait(leaving, timeout=min(STOP_S_MAX, shutdown.grace_s(self._rules.shutdown) + 1.0))
        for process in living:
            if process.returncode is None:
                _send(process, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
                await process.wait()
        for place in self.places:
            if place.watch is not None:
                place.watch.cancel()
                await asyncio.gather(place.watch, return_exceptions=True)


def _send(process: Process, number: int) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


def _how(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
