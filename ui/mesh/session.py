"""One session: from the start of its two sides to the records that it leaves.

starting ──► running ──► stopping ──► ended
    └───────────┴───────────┴───────► failed      nothing could play it, or nothing could be saved
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lab import record as records
from lab.limits import (
    APP_END_S_MAX,
    SESSION_ALONE_S_MAX,
    SESSIONS_KEPT,
    SIDE_END_S_MAX,
    SIDE_READY_S_MAX,
    SIDE_STOP_S_MAX,
)
from lab.scenario import Scenario
from ui import text
from ui.jobs import runs_dir
from ui.load import offered
from ui.mesh.commands import Chaos, Pace, RedriveAll, Stress, StressWish, Turn, What
from ui.mesh.script import Script
from ui.mesh.sides import OVER, Side, SideName

State = Literal["starting", "running", "stopping", "ended", "failed"]
READY = frozenset({"ready", "running"})
GO_LEAD_S = 0.3
"""Both sides hear of the start before it."""
STOP_LEAD_S = 0.3
"""Both sides hear of the end before it, so that both records end at the same moment."""
GROW_S = 0.1
"""What is done within this time is told to the sides at once: each grown scenario is a new plan for them."""
LOOK_S = 0.25
CALM_S = 1.0
"""A burst is on its way for this long; from then on an empty queue means that it has been worked off."""
CHAOS: tuple[What, ...] = (
    *("kill_worker", "pause_worker", "slow_provider", "fail_role"),
    *("wipe_redis", "restart_postgres"),
)

log = logging.getLogger("meshlab.mesh")


class Session:
    """A session, in the app's event loop. `play` is its life; `steer` and `stop` are what people do to it."""

    def __init__(
        self,
        base: Scenario,
        first: StressWish | None,
        *,
        live: bool,
        commands: Mapping[SideName, Sequence[str]],
    ) -> None:
        """Raises UsageError if nothing could be played."""
        self.script = Script.opening(base, first)
        self.started_at = records.now()
        self.id = records.new_run_id(base, "session", self.started_at, records.nonce())
        self.state: State = "starting"
        self.message = "Starting the model and the live mesh …" if live else "Starting the model …"
        self.records: list[str] = []
        self.pace: int | None = 1
        self._live = live
        self._folder = runs_dir() / ".sessions" / self.id
        wanted: tuple[SideName, ...] = ("model", "live") if live else ("model",)
        self.sides = {name: Side(name, commands[name], self._folder / f"{name}.log") for name in wanted}
        self._epoch_s = 0.0
        self._over_t_s: float | None = None
        self._stop = asyncio.Event()
        self._untold_s: float | None = None
        self._calm_from_s = 0.0
        self._capacity = _capacity(self.script)

    # -- what people do --

    @property
    def is_on(self) -> bool:
        """Whether it is not over yet."""
        return self.state in ("starting", "running", "stopping")

    @property
    def is_open(self) -> bool:
        """Whether it may still be steered."""
        return self.state in ("starting", "running") and not self._stop.is_set()

    def steer(self, command: Stress | Turn | Chaos | Pace | RedriveAll) -> None:
        """Do what somebody asked for. Raises UsageError with words, and then nothing was done."""
        if isinstance(command, Pace):
            self.pace = command.speed
            if self.state == "running":
                self.sides["model"].tell({"do": "pace", "speed": command.speed})
            return
        before, now_s = self.script.last_s, self.t_s
        match command:
            case Stress():
                self.script = self.script.after_stress(command.wish, now_s)
                self._calm_from_s = self.script.last_s + CALM_S
            case Turn():
                self.script = self.script.after_turn(command, now_s)
                self._capacity = _capacity(self.script)
            case Chaos():
                self.script = self.script.after_chaos(command, now_s)
            case RedriveAll():
                self.script = self.script.after_redrive(now_s)
        if self.script.last_s > before:
            self._grow_soon(self.script.last_s)

    def stop(self, why: str) -> None:
        """End it and save what it has been."""
        if not self._stop.is_set():
            self.message = why
            self._stop.set()

    # -- what it tells the sides --

    def _grow_soon(self, from_s: float) -> None:
        if self._untold_s is None:
            self._untold_s = from_s
            if self.state == "running":
                asyncio.get_running_loop().call_later(GROW_S, self._grow)

    def _grow(self) -> None:
        """Tell the sides what has been added since the last time."""
        if self._untold_s is None or self.state != "running":
            return
        self._tell({"do": "grow", "scenario": self.script.data, "from_s": self._untold_s})
        self._untold_s = None

    def _tell(self, line: dict[str, Any]) -> None:
        for side in self.sides.values():
            side.tell(line)

    # -- its life --

    async def play(self, is_watched: Callable[[], bool]) -> None:
        """From start to end. Whatever happens, its processes are ended."""
        within_s, by_force = SIDE_END_S_MAX, True
        try:
            if await self._begin():
                await self._until_over(is_watched)
                await self._save()
        except asyncio.CancelledError:  # the app is ending
            within_s, by_force = APP_END_S_MAX, False
            raise
        except OSError as error:
            self._over("failed", f"The session could not be started: {error}. Mend that, and start another.")
        except Exception as error:
            log.error("session %s failed", self.id, exc_info=error)
            self._over("failed", "The app could not go on with this session; its log says why. Start another.")
        finally:
            await asyncio.gather(*(side.end(within_s, by_force=by_force) for side in self.sides.values()))

    async def _begin(self) -> bool:
        """Start the sides and, when they are ready, the clock. False: there is nothing to play."""
        self._make_folder()
        line = {"do": "start", "scenario": self.script.data, "base": str(self.script.base.base.resolve())}
        self._untold_s = None
        for side in self.sides.values():
            side.start()
            side.tell({**line, "runs": str(runs_dir())})
        await first_of(self._are_ready(), self._stop_asked())
        if self._stop.is_set():
            self._over("ended", "Stopped before it began; there is nothing to save.")
            return False
        for side in self.sides.values():
            if side.phase not in READY and not side.is_over:
                side.fail(f"it was not ready after {SIDE_READY_S_MAX:g} s")
        if not self._alive:
            self._over("failed", self._failures())
            return False
        self._go()
        return True

    async def _are_ready(self) -> None:
        await asyncio.gather(*(side.until(READY, SIDE_READY_S_MAX) for side in self.sides.values()))

    async def _stop_asked(self) -> None:
        await self._stop.wait()

    def _go(self) -> None:
        self._epoch_s = time.time() + GO_LEAD_S
        self._tell({"do": "go", "epoch_s": self._epoch_s})
        self.state, self.message = "running", ""
        self._calm_from_s += CALM_S
        if self.pace != 1:
            self.sides["model"].tell({"do": "pace", "speed": self.pace})
        self._grow()

    async def _until_over(self, is_watched: Callable[[], bool]) -> None:
        watched_s = time.monotonic()
        while not self._stop.is_set() and self._alive:
            for side in self._alive:
                side.check()
            if is_watched():
                watched_s = time.monotonic()
            if time.monotonic() - watched_s > SESSION_ALONE_S_MAX and self._is_drained:
                self.stop("Nobody watched any more.")
            if self.t_s >= self.script.until_s:
                self.stop(f"The session has reached its end at {text.seconds(self.script.until_s)}.")
            if self.script.stress.on and self.script.stress.mode == "burst" and self._is_worked_off:
                self.script = self.script.calm()
            await _wait(self._stop, LOOK_S)

    async def _save(self) -> None:
        """No more tasks come; what is under way may end; the records are kept."""
        self.state = "stopping"
        self._grow_untold()
        why = self.message
        self.message = f"{why} Letting the last tasks end, and saving …".strip()
        at_s = max(self.t_s, self.script.last_s) + STOP_LEAD_S  # what was asked for happens first
        self._tell({"do": "stop", "at_s": round(at_s, 6)})
        sides = self._alive
        await asyncio.gather(*(side.until(OVER, SIDE_STOP_S_MAX) for side in sides))
        for side in sides:
            if not side.is_over:
                side.fail(f"it did not end within {SIDE_STOP_S_MAX:g} s, and was ended")
        named = [str(side.history.frame["record"]) for side in self.sides.values() if side.history.frame]
        self.records = [Path(record).name for record in named if record]
        saved = "Saved." if self.records else "Nothing was saved."
        self._over("ended" if self.records else "failed", " ".join(filter(None, (why, saved, self._failures()))))
        self._keep_script()

    def _grow_untold(self) -> None:
        """What was asked for in the last moment belongs to the session too."""
        if self._untold_s is not None:
            self._tell({"do": "grow", "scenario": self.script.data, "from_s": self._untold_s})
            self._untold_s = None

    def _over(self, state: State, message: str) -> None:
        frames = [side.history.frame for side in self.sides.values() if side.history.frame is not None]
        self._over_t_s = max((frame["t"] for frame in frames), default=0.0)
        self.state, self.message = state, message

    # -- where it stands --

    @property
    def t_s(self) -> float:
        """Seconds since it began to run; when it is over, those that the sides came to."""
        if self._over_t_s is not None:
            return self._over_t_s
        return max(0.0, time.time() - self._epoch_s) if self._epoch_s else 0.0

    @property
    def _alive(self) -> list[Side]:
        return [side for side in self.sides.values() if not side.is_over]

    def _left(self, *states: str) -> int:
        """How many tasks are in one of these states, on the side where there are more."""
        frames = [side.history.frame for side in self._alive if side.history.frame is not None]
        return max((sum(frame["counts"][state] for state in states) for frame in frames), default=0)

    @property
    def _is_drained(self) -> bool:
        return self._left("pending", "held", "retry_wait") == 0

    @property
    def _is_worked_off(self) -> bool:
        return self.t_s >= self._calm_from_s and self._left("pending", "held") == 0

    def _failures(self) -> str:
        """What happened to the sides that failed, in words."""
        failed = [side for side in self.sides.values() if side.phase == "failed"]
        words = [f"{NAMES[side.name]}: {side.note.rstrip('.')}." for side in failed]
        return " ".join(words)

    @property
    def _live_is_on(self) -> bool:
        return "live" in self.sides and self.sides["live"].phase != "failed"

    @property
    def can(self) -> dict[str, bool]:
        """Which buttons would do something now."""
        possible: dict[str, bool] = {what: self.is_open for what in (*CHAOS, "redrive")}
        return {**possible, "restart_postgres": self.is_open and not self._is_theirs}

    @property
    def _is_theirs(self) -> bool:
        """Whether PostgreSQL belongs to the user: then it is not ours to restart."""
        return self._live_is_on and bool(os.environ.get("DB_DSN", "").strip())

    def why_not(self, what: str) -> str:
        """Why a button does nothing now."""
        if what == "restart_postgres" and self._is_theirs:
            return "PostgreSQL is your own (DB_DSN is set), so the app does not restart it. Unset DB_DSN to try this."
        return "The session is not running; nothing was done."

    def told(self) -> dict[str, Any]:
        """As browsers see it."""
        return {
            **of_script(self.script),
            "id": self.id,
            "state": self.state,
            "message": self._words,
            "t": round(self.t_s, 2),
            "ends_s": self.script.until_s,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "live": self._live,
            "servers": ("yours" if _named_servers() else "embedded") if self._live_is_on else "none",
            "pace": self.pace,
            "can": self.can,
            "records": self.records,
            "speed_limit": self._capacity,
        }

    @property
    def _words(self) -> str:
        """What is going on, for people."""
        if self.state == "starting":
            notes = [side.note for side in self.sides.values() if side.note and not side.is_over]
            return " ".join(note[:1].upper() + note[1:] for note in notes) or self.message
        if self.state == "running" and (failures := self._failures()):
            other = "The model runs on alone." if not self._live_is_on else "The live mesh runs on alone."
            return f"{failures} {other}"
        return self.message

    # -- its folder --

    def _make_folder(self) -> None:
        """A folder for its logs; those of the oldest sessions are removed."""
        self._folder.mkdir(parents=True)
        for old in sorted(self._folder.parent.iterdir(), reverse=True)[SESSIONS_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def _keep_script(self) -> None:
        (self._folder / "scenario.yaml").write_text(self.script.yaml, encoding="utf-8")


NAMES: Mapping[SideName, str] = {"model": "Model", "live": "Live"}


def of_script(script: Script) -> dict[str, Any]:
    """What browsers see of what is played: the knobs, what their sliders offer (from, to, step), the roles."""
    return {
        "scenario": script.base.name,
        "knobs": dict(script.knobs),
        "limits": {knob: list(span) for knob, span in script.spans.items()},
        "roles": list(script.base.workload.roles),
        "stress": script.stress.model_dump(),
    }


def idle(base: Scenario) -> dict[str, Any]:
    """What browsers see while there is no session: the one that a press would begin, of `base`."""
    script = Script.opening(base)
    return {
        **of_script(script),
        "id": "",
        "state": "idle",
        "message": "",
        "t": 0.0,
        "ends_s": script.until_s,
        "started_at": "",
        "live": True,
        "servers": "none",
        "pace": 1,
        "can": {**dict.fromkeys(CHAOS, False), "redrive": False},
        "records": [],
        "speed_limit": _capacity(script),
    }


def _capacity(script: Script) -> str:
    """What the mesh can do as its knobs stand, in words."""
    knobs = script.knobs
    mesh = {"mesh.workers": int(knobs["workers"]), "mesh.slots": int(knobs["slots"])}
    roles = {f"workload.roles.{name}.failure_rate": knobs["failure_rate"] for name in script.base.workload.roles}
    can = offered(script.base.override({**mesh, **roles})).capacity_per_s
    return f"This mesh works off about {text.rate(can)}; at a higher rate its queue grows."


def _named_servers() -> bool:
    return any(os.environ.get(name, "").strip() for name in ("REDIS_ADDR", "REDIS_URL", "DB_DSN"))


async def first_of(*ways: Coroutine[Any, Any, None]) -> None:
    """Wait for the first of these to end, and give up the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()


async def _wait(event: asyncio.Event, for_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), for_s)
    except TimeoutError:
        return
