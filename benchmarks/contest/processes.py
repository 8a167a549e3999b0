"""Groups of processes under test: started on a tether, frozen, thawed, ended by id; and their processor time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

TETHER = Path(__file__).with_name("tether.py")
END_S = 10.0
"""How long a group may take to leave after SIGTERM before it is killed."""
LAST_LINES = 12


class Trouble(Exception):
    """A contestant did not do what it was asked to. The message is for people; the benchmark goes on without it."""


class Group:
    """One command with all its children, in a process group of its own. A context manager: leaving ends all of it."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self._tether = subprocess.Popen(
            [sys.executable, str(TETHER), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env=dict(environ),
            start_new_session=True,  # a Ctrl-C at the terminal is for the benchmark, which then ends the groups
        )
        assert self._tether.stdout is not None
        told = self._tether.stdout.readline()
        if not told:
            raise Trouble(f"could not start {command[0]}: {self.said()}")
        self.pid = int(told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def alive(self) -> bool:
        """Whether its first process has not ended."""
        return self._tether.poll() is None

    def members(self) -> list[psutil.Process]:
        """All its processes, those in sessions of their own too."""
        try:
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def freeze(self) -> None:
        """SIGSTOP to the whole group."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to the whole group."""
        os.killpg(self.pid, signal.SIGCONT)

    def said(self) -> str:
        """The last lines of what it printed."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-LAST_LINES:]) or "it said nothing"

    def end(self) -> None:
        """Ask it to leave, then let go of the tether, which kills whoever is left."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
                os.killpg(self.pid, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._tether.wait(END_S)
        for stream in (self._tether.stdin, self._tether.stdout):
            if stream is not None:
                stream.close()
        self._tether.wait()
        self._log.close()


PARTS = {
    "redis-server": "redis",
    "postgres": "postgres",
    "live_backend.worker": "workers",
    "live_backend.api": "api",
    "live_backend.reaping": "reaper",
}
"""What a process is, by its name or a word of its command line. Any other of a group is `rest`."""
SERVERS = ("redis", "postgres")


class Meter:
    """Processor seconds by part since it was made; the present processes are asked again by `read`."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = groups
        self._before = self._spent()

    def read(self) -> dict[str, float]:
        """Seconds of each part of PARTS, and of the `rest` of the groups."""
        total = dict.fromkeys([*PARTS.values(), "rest"], 0.0)
        for key, spent_s in self._spent().items():
            total[key[0]] += spent_s - self._before.get(key, 0.0)
        return total

    def _spent(self) -> dict[tuple[str, int], float]:
        ours = {process.pid for group in self._groups for process in group.members()}
        spent = {}
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                part = next((PARTS[word] for word in (process.name(), *process.cmdline()) if word in PARTS), "rest")
                if part in SERVERS or process.pid in ours:
                    times = process.cpu_times()
                    spent[part, process.pid] = times.user + times.system
        return spent
