"""A worker process at a place of the mesh, wherever it runs, and those that this machine starts itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from live_backend.config import WorkerConfig

ROOT = Path(__file__).resolve().parents[1]
LAST_LINES = 3
"""How many of the last lines of a process an error message repeats."""
EXIT_RECYCLED = 75
"""The status of a worker that asks to be replaced by a fresh process (EX_TEMPFAIL)."""
GONE_WITH_ITS_HOST = 256
"""The status of an invited worker whose host is not heard any more. No process exits with more than 255."""
KILL = signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM
CONTINUE = getattr(signal, "SIGCONT", None)


class WorkerProcess(Protocol):
    """One worker process, here or elsewhere."""

    @property
    def status(self) -> int | None:
        """How it ended: an exit status, or minus a signal's number. None while it lives."""

    async def configure(self, config: WorkerConfig) -> None:
        """Tell it its place in the run."""

    async def start_run(self, epoch_s: float) -> None:
        """Tell it when the run started."""

    def say(self, line: str) -> None:
        """Tell it something while it runs. Not waited for: it may be frozen."""

    async def started(self) -> str:
        """Wait until it runs. Returns where, for people."""

    async def wait(self) -> int:
        """Wait until it has ended. Returns its status."""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""

    def leave(self) -> None:
        """Ask it to leave by the rule of shutdown, even if it is frozen."""


class Processes(Protocol):
    """Where the worker processes of a run come from."""

    async def spawn(self) -> WorkerProcess:
        """A new process, which waits for its configuration."""

    def trouble(self) -> str:
        """Why the workers are not ready, in one line."""

    async def close(self) -> None:
        """The end, after all processes have left."""


async def start_process(
    log: IO[bytes] | int, module: str = "live_backend.worker", *, out: IO[bytes] | int | None = None
) -> Process:
    """A worker process on this machine, or another of ours. It says into `log` what it has to say (what it prints goes
    into `out`, if there is one), and dies when its input closes.
    """
    own_path = os.environ.get("PYTHONPATH")  # where the user's handlers may be
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=PIPE,
        stdout=log if out is None else out,
        stderr=log,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), own_path)))},
        start_new_session=True,  # a Ctrl-C at the terminal is for us; we tell the workers
    )


class LocalProcess:
    """A child of this process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = process.pid

    @property
    def status(self) -> int | None:
        """See WorkerProcess."""
        return self._process.returncode

    async def configure(self, config: WorkerConfig) -> None:
        """See WorkerProcess."""
        await self.tell(config.to_line())

    async def start_run(self, epoch_s: float) -> None:
        """See WorkerProcess."""
        await self.tell(f"start {epoch_s!r}\n")

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        if self._process.stdin is not None:
            with suppress(ConnectionError):  # it died meanwhile; whoever waits for it sees to that
                self._process.stdin.write(line.encode())
                await self._process.stdin.drain()

    def say(self, line: str) -> None:
        """See WorkerProcess."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode())

    async def started(self) -> str:
        """See WorkerProcess."""
        return f"pid {self.pid}"

    async def wait(self) -> int:
        """See WorkerProcess."""
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """See WorkerProcess."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def leave(self) -> None:
        """See WorkerProcess."""
        self.send(signal.SIGTERM)
        if CONTINUE is not None:
            self.send(CONTINUE)  # a frozen process would never hear the rest


class LocalProcesses:
    """Worker processes that are children of the engine."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._started: list[LocalProcess] = []

    async def start(self, count: int) -> None:
        """Start so many ahead of being asked for them: they load their code while the servers are still coming up."""
        self._started += [LocalProcess(await start_process(self._log)) for _ in range(count)]

    async def spawn(self) -> LocalProcess:
        """See Processes."""
        return self._started.pop() if self._started else LocalProcess(await start_process(self._log))

    def trouble(self) -> str:
        """See Processes."""
        self._log.seek(0)
        return not_ready(self._log.read().decode(errors="replace"))

    async def close(self) -> None:
        """See Processes. What was started and never asked for ends too."""
        for process in self._started:
            process.send(KILL)
            await process.wait()
        self._log.close()


def not_ready(said: str) -> str:
    """That the workers are not ready, with the last of what they said."""
    return (
        f"the workers did not get ready: {' | '.join(said.strip().splitlines()[-LAST_LINES:]) or 'they said nothing'}"
    )


def how(status: int) -> str:
    """An exit status in words."""
    if status == GONE_WITH_ITS_HOST:
        return "its host is gone"
    if status >= 0:
        return f"exit {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
