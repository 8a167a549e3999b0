"""One side of a session: the process that plays it (the model, or the live backend), what it is told and what it tells.

The process has a group of its own, so a Ctrl-C at the app's terminal does not reach it: the app ends it, by closing its
standard input, and by the group's id if that does not help. Should the app itself be killed, the input closes too.
Two threads carry lines to and fro, so that neither a full pipe nor a large line holds up the app.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lab.limits import SIDE_END_S_MAX, SIDE_LINE_BYTES_MAX, SIDE_LINES_MAX, SIDE_SILENT_S_MAX
from ui.jobs import ROOT, log_tail
from ui.mesh.history import Frame, History, nothing_new, whole

SideName = Literal["model", "live"]
OVER = frozenset({"ended", "failed"})
WHY_CHARS_MAX = 500
COMMANDS: dict[SideName, Sequence[str]] = {
    "model": (sys.executable, "-m", "simulation.session"),
    "live": (sys.executable, "-m", "live_backend.session"),
}


class Side:
    """A side's process and its history. `changed_from` is the first bin that is news since `told` was called last.

    Belongs to one event loop.
    """

    def __init__(self, name: SideName, command: Sequence[str], log_file: Path) -> None:
        self.name: SideName = name
        self.history = History()
        self.place: dict[str, str] | None = None
        """Where the live side's data is; it holds passwords and never leaves the server."""
        self.fresh, self.changed_from = False, 0
        self._command, self._log_file = command, log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[bytes | None] = queue.Queue(SIDE_LINES_MAX)
        self._moved, self._gone = asyncio.Event(), asyncio.Event()
        self._heard_at_s = time.monotonic()
        self._is_ending = False

    # -- its process --

    def start(self) -> None:
        """Start the process. Raises OSError if that is not possible."""
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        pipe = subprocess.PIPE
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=log, **apart)
        loop = asyncio.get_running_loop()
        for target in (self._write, self._read):
            threading.Thread(
                target=target, args=(self._process, loop), name=f"{self.name}-{target.__name__}", daemon=True
            ).start()

    def hang_up(self) -> None:
        """Close its input, after what it still has to be told: it ends by itself then."""
        if not self._is_ending:
            self._is_ending = True
            with contextlib.suppress(queue.Full):
                self._lines.put_nowait(None)

    async def end(self, within_s: float = SIDE_END_S_MAX, *, by_force: bool = True) -> None:
        """Close its input and wait until it has ended; by force when that takes too long. It says nothing any more."""
        if self._process is None:
            return
        self.hang_up()
        if await _set(self._gone, within_s) or not by_force:
            return
        self.kill()
        await _set(self._gone, within_s)

    def kill(self) -> None:
        """Kill it and its group, if it still runs."""
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid if self._process is not None else None

    def _write(self, process: subprocess.Popen[bytes], _: asyncio.AbstractEventLoop) -> None:
        """A thread: everything that the side is told; at last the end of its input."""
        assert process.stdin is not None
        with contextlib.suppress(OSError, ValueError), process.stdin as pipe:  # it has gone: the reader sees it
            while (line := self._lines.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _read(self, process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop) -> None:
        """A thread: every frame until the side has ended."""
        assert process.stdout is not None
        wrong = ""
        with process.stdout as pipe:
            while line := pipe.readline(SIDE_LINE_BYTES_MAX):
                try:
                    frame = whole(self.name, json.loads(line))
                except (ValueError, TypeError):  # too long, no JSON, or no object
                    wrong = f"the {self.name} side said what is no frame, and was ended"
                    self.kill()
                    break
                if not _call(loop, lambda frame=frame: self._hear(frame)):  # type: ignore[misc]
                    break
        status = process.wait()
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        _call(loop, lambda: self._has_gone(wrong, status))

    def _has_gone(self, wrong: str, status: int) -> None:
        if not self.is_over and not self._is_ending:
            words = " ".join(log_tail(self._log_file)) or f"its process ended with status {status}"
            self.fail(wrong or f"the {self.name} side has stopped: {words}")
        self._gone.set()
        self._moved.set()

    # -- what it is told --

    def tell(self, line: dict[str, Any]) -> None:
        """Send it a line. A side that does not read what it is told is ended."""
        if self.is_over:
            return
        try:
            self._lines.put_nowait(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        except queue.Full:
            self.fail(f"the {self.name} side does not listen any more, and was ended")

    # -- what it tells --

    @property
    def phase(self) -> str:
        """Where it says that it is."""
        return str(self.history.frame["phase"]) if self.history.frame is not None else "starting"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in OVER

    @property
    def note(self) -> str:
        """Its words for people."""
        return str(self.history.frame["note"]) if self.history.frame is not None else ""

    async def until(self, phases: frozenset[str], within_s: float) -> bool:
        """Wait until it is in one of these phases, or over. False: that took too long."""
        try:
            async with asyncio.timeout(within_s):
                while self.phase not in phases and not self.is_over:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def check(self) -> None:
        """End it if it has been silent for too long although it should be running."""
        if self.phase == "running" and time.monotonic() - self._heard_at_s > SIDE_SILENT_S_MAX:
            self.fail(f"the {self.name} side has said nothing for {SIDE_SILENT_S_MAX:g} s, and was ended")

    def fail(self, why: str) -> None:
        """It is over, and this is why."""
        known = self.history.frame or whole(self.name, {})
        self._hear({**known, **nothing_new(self.history), "phase": "failed", "note": why[:WHY_CHARS_MAX]})
        self.kill()

    def _hear(self, frame: Frame) -> None:
        if self.is_over:
            return
        self.place = frame.pop("place", None) or self.place
        self.changed_from = min(self.changed_from, frame["bins"]["first"])
        self.history.add(frame)
        self.fresh, self._heard_at_s = True, time.monotonic()
        self._moved.set()

    def told(self) -> None:
        """All that is known has been passed on."""
        self.fresh, self.changed_from = False, self.history.length


def _call(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> bool:
    """Have the loop do something; False if there is no loop any more."""
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        return False
    return True


async def _set(event: asyncio.Event, within_s: float) -> bool:
    """Whether the event is set within that time."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()
