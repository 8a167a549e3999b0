"""The model's side of a session: `python -m simulation.session`, started and fed by the app (ui/mesh).

Lines of JSON come in on standard input (start, go, grow, pace, stop), frames go out on standard output, ten a second.
When the input ends, so does this, and nothing is saved.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lab.changes import stopped
from lab.errors import LabError, ScenarioError, UsageError
from lab.limits import SESSION_DRAIN_S_MAX, SESSION_LINE_BYTES_MAX
from lab.rules.view import ViewRules
from lab.scenario import Scenario, Schedule
from lab.telemetry import Phase
from simulation.engine import simulate
from simulation.moving import Moving

WORK_S: Final = 0.05
"""The model is at work for so long between two looks at the commands: half of a frame's time."""
READ_BYTES: Final = 65_536
NICENESS: Final = 5
"""The model gives way to the real mesh on the same machine: it can catch up, and what that measures cannot."""


class Session:
    """The model's side, as commands and steps. Moments `now_s` are those of the wall clock, in seconds since 1970."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        self.view = ViewRules()
        self._note = self._record = ""
        self._moving: Moving | None = None
        self._epoch_s: float | None = None
        self._stopped_at_s: float | None = None
        self._saving = False

    # -- commands --

    def hear(self, command: Mapping[str, Any], now_s: float) -> None:
        """Do what the app says. Raises LabError if that cannot be done."""
        do, moving = command.get("do"), self._moving
        if do == "start" and moving is None:
            self._start(command)
        elif moving is None:
            raise UsageError(f"the first command must be start, and this is {do!r}")
        elif do == "go" and self.phase == "ready":
            self._epoch_s, self.phase = float(command["epoch_s"]), "running"
        elif do == "pace":
            moving.set_pace(command["speed"], self.t_s(now_s))
        elif do == "grow" or do == "stop":
            if self._stopped_at_s is None and do == "grow":
                self._scenario = self._read(command["scenario"])
                moving.grow(self._scenario, float(command["from_s"]))
            elif self._stopped_at_s is None:
                self._stop(moving, round(max(float(command.get("at_s", 0.0)), self.t_s(now_s)), 6))
        else:
            raise UsageError(f"{do!r} is no command now: it is {self.phase}; there are start, go, grow, pace and stop")

    def _start(self, command: Mapping[str, Any]) -> None:
        self._base, self._runs = Path(command["base"]), Path(command["runs"])
        self._scenario = self._read(command["scenario"])
        self.view = self._scenario.rules.view
        self._moving = Moving(self._scenario)
        self.phase = "ready"

    def _read(self, data: Mapping[str, Any]) -> Scenario:
        scenario = Scenario.from_data(data, base=self._base, source="the session")
        if not isinstance(scenario.workload.arrivals, Schedule):
            raise UsageError("a session needs arrivals of kind schedule, which can be continued while it runs")
        return scenario

    def _stop(self, moving: Moving, t_s: float) -> None:
        """No more tasks come; what has come may end, as the live side lets it."""
        self._stopped_at_s = t_s
        try:
            self._scenario = stopped(self._scenario, t_s)
        except ScenarioError:
            self.phase, self._note = "ended", "no task had come, so there is nothing to save"
            return
        moving.set_pace(1, t_s)
        moving.grow(self._scenario, t_s)

    # -- time --

    def t_s(self, now_s: float) -> float:
        """The moment of the session; 0 before it goes."""
        return max(0.0, now_s - self._epoch_s) if self._epoch_s is not None else 0.0

    @property
    def busy(self) -> bool:
        """Whether there is work that should not wait for the next frame."""
        return self.phase == "running" and (self._saving or (self._moving is not None and self._moving.behind))

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ("ended", "failed")

    def step(self, now_s: float) -> None:
        """Bring the model to where it should be, or a part of the way: at most some WORK_S are spent on it."""
        if self.phase != "running" or self._moving is None:
            return
        if self._saving:
            self._save()
            return
        t_s = self.t_s(now_s)
        self._moving.bring(t_s, time.perf_counter() + WORK_S)
        if self._stopped_at_s is not None:
            in_vain = t_s >= self._stopped_at_s + SESSION_DRAIN_S_MAX
            self._saving = self._moving.has_drained() or (in_vain and not self._moving.behind)

    def _save(self) -> None:
        """Simulate the session once more, as anybody could, and keep the record."""
        assert self._stopped_at_s is not None
        record = simulate(self._scenario, until_s=self._stopped_at_s + SESSION_DRAIN_S_MAX)
        self._record = str(record.save(self._runs / str(record.info["run_id"])))
        self.phase = "ended"

    # -- frames --

    def fail(self, error: LabError) -> None:
        """It cannot go on; the next frame says why."""
        self.phase, self._note = "failed", str(error)

    def frame(self) -> dict[str, Any]:
        """Where the model stands: see `lab.telemetry`. Before it is built there is a phase and a note, and no more."""
        if self._moving is None:
            return {"side": "model", "t": 0.0, "phase": self.phase, "note": self._note, "record": ""}
        return {**self._moving.frame(self.phase, self._words(self._moving)), "record": self._record}

    def _words(self, moving: Moving) -> str:
        if self._note or self.phase != "running":
            return self._note
        if self._saving:
            return "saving the model's record"
        if moving.replaying:
            return "replaying the session with your change"
        return "no more tasks come; what has come may end" if self._stopped_at_s is not None else ""


# ---- the process -----------------------------------------------------------------------------------------------------


def _listen(source: int, heard: queue.SimpleQueue[bytes]) -> None:
    """Hand over each line of a file descriptor; an empty one when there are no more, or when one is too long.

    Read without a buffer of Python's: a thread that waits in one would break the interpreter's end.
    """
    rest = b""
    while len(rest) <= SESSION_LINE_BYTES_MAX and (read := os.read(source, READ_BYTES)):
        *lines, rest = (rest + read).split(b"\n")
        for line in filter(None, lines):
            heard.put(line)
    heard.put(b"")


def _commands(heard: queue.SimpleQueue[bytes], wait_s: float) -> list[bytes]:
    """The lines that are there, or that come within a time."""
    lines = list[bytes]()
    with suppress(queue.Empty):
        if wait_s > 0:
            lines.append(heard.get(timeout=wait_s))
        while True:
            lines.append(heard.get_nowait())
    return lines


def _tell(frame: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(frame, separators=(",", ":"), allow_nan=False) + "\n")
    sys.stdout.flush()


def _obey(session: Session, line: bytes) -> None:
    try:
        session.hear(json.loads(line), time.time())
    except LabError as error:
        session.fail(error)
    except (ValueError, KeyError, TypeError) as error:
        session.fail(UsageError(f"a command of the app is not one ({type(error).__name__}: {error}); start it anew"))


def main() -> int:
    """Serve one session. Returns the exit status: 0, or 1 if it failed."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    heard = queue.SimpleQueue[bytes]()
    threading.Thread(target=_listen, args=(sys.stdin.fileno(), heard), daemon=True).start()
    session, told_at = Session(), -1.0
    _tell(session.frame())
    while True:
        wait_s = 0.0 if session.busy else max(0.0, told_at + session.view.flush_s - time.monotonic())
        for line in _commands(heard, wait_s):
            if not line and not session.over:
                return 0
            if not session.over:
                _obey(session, line)
        session.step(time.time())
        if session.over or time.monotonic() >= told_at + session.view.flush_s:
            told_at = time.monotonic()
            _tell(session.frame())
        if session.over:
            return 1 if session.phase == "failed" else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(130)  # nobody listens any more, and the interpreter would try to flush to them
