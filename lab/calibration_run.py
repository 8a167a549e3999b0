"""A calibration from its beginning to its end: the operations are timed, the probes run, the profile fitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lab import calibration_probes as probes
from lab.calibration import Measured, Timing, profile_of
from lab.errors import Interrupted
from lab.profile import Profile
from lab.progress import OnProgress, Progress, Stop
from lab.record import Record
from lab.scenario import Scenario

PROBES: Final = {
    "light": (probes.LIGHT, 12.0),
    "busy": (probes.BUSY, 7.0),
    "drain": (probes.DRAIN, 2.7),
    "crowd": (probes.CROWD, 2.7),
    "brisk": (probes.BRISK, 6.0),
    "computing": (probes.COMPUTING, 12.0),
    "holding": (probes.HOLDING, 8.5),
    "closing": (probes.CLOSING, 4.5),
    "check": (probes.CHECK, 8.3),
}
"""By name: the probe, and about how long one takes in seconds."""
ORDER: Final = (
    "drain", "light", "crowd", "busy", "drain", "brisk", "check", "computing", "crowd", "drain", "holding", "closing",
    "drain", "crowd", "check",
)  # fmt: skip
"""Repeats tell how far the machine differs from itself. Its speed comes and goes for many seconds at a time, so those
that measure speed lie far apart.
"""
TIMING_S, FITTING_S = 6.0, 12.0
"""About how long the operations take to be timed, and the profile to be fitted."""

STOPPED: Final = "calibration stopped; the profile that was there before is still in use"


@dataclass(frozen=True)
class Bench:
    """What was measured of the bare operations, and on which machine."""

    timings: tuple[Timing, ...]
    fill_s_per_mib: float
    drop_s_per_mib: float
    timer_tick_s: float
    cores: int
    machine: Mapping[str, Any]


def calibrate(
    bench: Callable[[], Bench],
    run_live: Callable[..., Record],
    simulate: Callable[[Scenario, Profile], Record],
    on_progress: OnProgress,
    stop: Stop,
) -> Profile:
    """The profile of this machine. Raises Interrupted if it was stopped, which changes nothing."""

    def model(scenario: Scenario, profile: Profile) -> Record:
        if stop():
            raise Interrupted(STOPPED)
        return simulate(scenario, profile)

    clock = _Clock(on_progress)
    clock.at("timing the operations")
    measured = bench()
    clock.passed(TIMING_S)
    live: dict[str, list[Record]] = {name: [] for name in PROBES if name in ORDER}
    for number, name in enumerate(ORDER):
        text, takes_s = PROBES[name]
        clock.at(f"probe {number + 1} of {len(ORDER)}: {name}")
        record = run_live(probes.probe(text), stop=stop)
        if record.info.get("interrupted") or stop():
            raise Interrupted(STOPPED)
        live[name].append(record)
        clock.passed(takes_s)
    clock.at("fitting")
    at = datetime.now(UTC).replace(microsecond=0)
    words = (
        f"{at:%Y-%m-%d %H:%M} UTC by meshlab calibrate, on {measured.machine.get('processor')}, {measured.cores} cores"
    )
    seen = Measured(
        measured.timings, measured.fill_s_per_mib, measured.drop_s_per_mib, live, measured.machine, measured.cores,
        measured.timer_tick_s,
    )  # fmt: skip
    found = profile_of(seen, model, words)
    clock.passed(FITTING_S)
    return found.model_copy(update={"measured_at": at})


class _Clock:
    """Progress in seconds of the whole, since probes differ in length."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress, self._started = on_progress, time.monotonic()
        self._passed_s = 0.0
        self._whole_s = TIMING_S + FITTING_S + sum(PROBES[name][1] for name in ORDER)

    def passed(self, seconds: float) -> None:
        """Another part is done."""
        self._passed_s += seconds

    def at(self, note: str) -> None:
        """This is done now."""
        wall_s = time.monotonic() - self._started
        self._on_progress(Progress("live", round(self._passed_s), round(self._whole_s), wall_s, wall_s, note))
