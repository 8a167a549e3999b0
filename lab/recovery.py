"""Whether a run is healthy in the end, how long that took, and how sure many such runs make us.

Goodput is what counts: tasks completed, against tasks that came. A mesh can be busy to the last slot and complete
nothing.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np

from lab.draws import Floats
from lab.moves import EVENTS, Moves
from lab.rules.tasks import Event
from lab.statistics import CONFIDENCE
from lab.workload import Plan

HEALTHY: Final = 0.95
"""Goodput, as a share of what comes, from which a time is healthy: 5 % is what a drifting queue takes at high load, and
a mesh that works in vain is at 0.
"""
WINDOWS: Final = 10
"""A run has so many windows, and its last one is judged: long after the trigger, and long enough to count in."""
SHIFTS: Final = 10
"""Windows that look for the moment of recovery start this many times in each window's length."""
SMOOTH: Final = frozenset({str(Event.SUBMITTED), str(Event.CLAIMED), str(Event.SUCCEEDED)})
"""What happens in a run in which nothing fails and no client leaves."""


class Flow(NamedTuple):
    """What came, was tried and was done in a run: moments in seconds, rising."""

    arrived_s: Floats
    tried_s: Floats
    """When attempts ended, in vain or not."""
    completed_s: Floats
    smooth: bool
    """Nothing failed, and no client left."""

    @classmethod
    def of(cls, plan: Plan, moves: Moves) -> Flow:
        """The flow of a run of this plan, as far as its moves go."""
        reason = moves.codes.reason[moves.step]
        succeeded = reason == EVENTS.index(Event.SUCCEEDED)
        tried = succeeded | (reason == EVENTS.index(Event.FAILED))
        smooth = {step.reason for step in moves.steps} <= SMOOTH
        return cls(plan.arrival_s, np.sort(moves.at_s[tried]), np.sort(moves.at_s[succeeded]), smooth)

    def healthy(self, starts_s: Floats, width_s: float) -> list[bool]:
        """Whether each window [start, start + width_s) is healthy; see `is_healthy`."""
        done, came = (counts(moments_s, starts_s, width_s) for moments_s in (self.completed_s, self.arrived_s))
        return [is_healthy(*each) for each in zip(done.tolist(), came.tolist(), strict=True)]


def is_healthy(done: float, came: float) -> bool:
    """Whether `done` tasks completed are enough for a time in which `came` tasks came: HEALTHY of them, less √came for
    chance, which decides in a short time whether a task in hand at its end counts.
    """
    return done >= HEALTHY * came - math.sqrt(came)


def counts(moments_s: Floats, starts_s: Floats, width_s: float) -> Floats:
    """How many of the rising moments lie in each [start, start + width_s)."""
    first, last = (np.searchsorted(moments_s, edges_s, side="left") for edges_s in (starts_s, starts_s + width_s))
    return (last - first).astype(np.float64)


def per_stretch(moments_s: Floats, width_s: float, stretches: int) -> tuple[int, ...]:
    """How many of the rising moments lie in each of so many stretches of `width_s`, from 0 on."""
    edges_s = width_s * np.arange(stretches + 1, dtype=np.float64)
    return tuple(np.diff(np.searchsorted(moments_s, edges_s, side="left")).tolist())


class Verdict(NamedTuple):
    """Of one run."""

    healthy: bool
    """In its last window."""
    recovery_s: float | None
    """How long after the trigger it was healthy for good; None if it is not healthy in the end."""


def judge(flow: Flow, run_s: float, trigger_end_s: float) -> Verdict:
    """Whether the last window of a run of `run_s` is healthy, and from when on all windows are.

    The windows begin at the end of the trigger and every tenth of a window after it, so a recovery is known to that
    tenth.
    """
    width_s = run_s / WINDOWS
    last_s = run_s - width_s
    starts_s = np.linspace(trigger_end_s, last_s, 1 + math.ceil((last_s - trigger_end_s) / width_s * SHIFTS))
    healthy = flow.healthy(starts_s, width_s)
    if not healthy[-1]:
        return Verdict(False, None)
    well_from = max((number + 1 for number, well in enumerate(healthy) if not well), default=0)
    return Verdict(True, float(starts_s[well_from]) - trigger_end_s)


class Share(NamedTuple):
    """So many of so many runs were healthy in the end."""

    healthy: int
    runs: int

    @property
    def value(self) -> float | None:
        """The share; None of no runs."""
        return self.healthy / self.runs if self.runs else None

    @property
    def ci95(self) -> tuple[float, float]:
        """The bounds of the probability behind it; see `wilson`."""
        return wilson(self.healthy, self.runs)

    def as_json(self) -> dict[str, Any]:
        """`{healthy, runs, p, p_ci95}`, nine decimals."""
        p = None if self.value is None else round(self.value, 9)
        return {"healthy": self.healthy, "runs": self.runs, "p": p, "p_ci95": [round(one, 9) for one in self.ci95]}


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The bounds of a probability of which `successes` of `trials` were seen; (0, 1) without any trial.

    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n), z the point of the normal distribution (Wilson, J. American
    Statistical Association 22, 1927). Unlike p ± z·√(p(1 − p)/n) it calls nothing certain because 12 of 12 runs agreed.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, part = successes / trials, z * z / trials
    half = z * math.sqrt(p * (1 - p) / trials + part / (4 * trials))
    low, high = ((p + part / 2 + side) / (1 + part) for side in (-half, half))
    return max(low, 0.0), min(high, 1.0)
