"""Whether what is seen has drifted away from what was expected: an alarm with a stated rate of false ones.

A look gives each detector a score that, while nothing has changed, is at most a standard normal one: 0 on average with
a deviation of 1 or less. A one-sided CUSUM adds them up (Page, Biometrika 41, 1954):

    S ← min(1.5 h, max(0, S + min(score, 3) − k)),   k = 1

The alarm is raised at S ≥ h and taken back at S ≤ h/2, so that it cannot flap; the cap lets it end soon after its
cause. No single look raises it, since a score counts for 3 at most. Between two false alarms of one detector lie, on
average,

    (exp(2kb) − 2kb − 1) / 2k²  looks,  b = h + 1.166          (Siegmund, Sequential Analysis, 1985, formula 2.56)

and h is chosen so that all detectors together raise one in LOOKS_BETWEEN_FALSE_ALARMS looks. Where scores depend on one
another from look to look, as they do in a queue, the tolerances that are part of the scores keep them well below 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from lab.draws import Floats

ALLOWANCE: Final = 1.0
"""k: what a score may be, look after look, without adding up. Half of a shift of two deviations is best found."""
SCORE_MAX: Final = 3.0
CAP: Final = 1.5
"""Of S, in thresholds."""
CLEAR: Final = 0.5
"""Where an alarm is taken back, in thresholds."""
LOOKS_BETWEEN_FALSE_ALARMS: Final = 100_000
"""All detectors together: six days of looks every five seconds."""
OVERSHOOT: Final = 1.166
"""2ρ, Siegmund's correction for the discrete steps of a normal walk."""

APART_SHARE: Final = 0.1
APART_FLOOR_S: Final = 0.05
"""A mean difference of a tenth of the predicted time, or of 50 ms, is a score of 1: it never adds up to an alarm."""
WORK_TOLERANCE: Final = 0.1
WORK_FLOOR_S: Final = 0.02
"""Service times within a tenth, or 20 ms, of what they were are the same work on a busier machine."""
FAILURE_TOLERANCE: Final = 0.02
"""So much may be added to a failure share before it counts as another one."""
SAMPLE_MIN: Final = 20
"""Attempts of a score of work: fewer are kept for the next look, since a share of few is not nearly normal."""
TAIL: Final = 0.9


def run_length(threshold: float, allowance: float = ALLOWANCE) -> float:
    """Looks between two false alarms of one detector, on average (Siegmund)."""
    reach = 2 * allowance * (threshold + OVERSHOOT)
    return (math.exp(reach) - reach - 1) / (2 * allowance**2)


def threshold_for(detectors: int, looks: float = LOOKS_BETWEEN_FALSE_ALARMS) -> float:
    """h, so that so many detectors together raise one false alarm in `looks` looks."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if run_length(middle) < looks * max(1, detectors) else (low, middle)
    return high


# ---- detectors -------------------------------------------------------------------------------------------------------


@dataclass
class Detector:
    """One thing that is watched, on one side. `since_s`: when the alarm's evidence began to add up."""

    threshold: float
    sum: float = 0.0
    alarmed: bool = False
    since_s: float | None = None

    def look(self, score: float, at_s: float) -> bool:
        """Take in a look's score. Returns whether there is an alarm."""
        before = self.sum
        self.sum = min(CAP * self.threshold, max(0.0, before + min(score, SCORE_MAX) - ALLOWANCE))
        if before == 0 and self.sum > 0 and not self.alarmed:
            self.since_s = at_s
        if self.sum >= self.threshold:
            self.alarmed = True
        elif self.sum <= CLEAR * self.threshold:
            self.alarmed = False
            if self.sum == 0:
                self.since_s = None
        return self.alarmed


@dataclass(frozen=True)
class Alarm:
    """What has drifted: `kind` mesh or work, `what` in words, since when (s of the caller's clock), how sure."""

    kind: str
    name: str
    what: str
    since_s: float
    strength: float
    """S in thresholds: 1 when it is raised, CAP at most."""


@dataclass
class Watch:
    """All detectors of a mesh. `look` by look it is told scores by name; names are made known at the start."""

    names: Mapping[str, tuple[str, str]]
    """Detector → (kind, words): {"mesh slower": ("mesh", "tasks take longer than …")}."""
    detectors: dict[str, Detector] = field(init=False)
    looks: int = 0

    def __post_init__(self) -> None:
        threshold = threshold_for(len(self.names))
        self.detectors = {name: Detector(threshold) for name in self.names}

    @property
    def threshold(self) -> float:
        """h of every detector."""
        return threshold_for(len(self.names))

    def look(self, scores: Mapping[str, float], at_s: float) -> list[Alarm]:
        """Take in the scores of a look; a detector without one learns nothing. Returns the alarms that stand."""
        self.looks += 1
        for name, score in scores.items():
            self.detectors[name].look(score, at_s)
        return self.alarms

    @property
    def alarms(self) -> list[Alarm]:
        """Those that stand, the strongest first."""
        standing = [
            Alarm(self.names[name][0], name, self.names[name][1], one.since_s or 0.0, one.sum / one.threshold)
            for name, one in self.detectors.items()
            if one.alarmed
        ]
        return sorted(standing, key=lambda one: -one.strength)


# ---- scores ----------------------------------------------------------------------------------------------------------


def apart_score(seen_s: Floats, predicted_s: Floats) -> float | None:
    """How far the same tasks' times are apart, in units of what is tolerated: mean(seen − predicted) / max(50 ms, a
    tenth of the mean predicted time). Above 0: slower than predicted. None without a task.
    """
    if len(seen_s) == 0:
        return None
    tolerated_s = max(APART_FLOOR_S, APART_SHARE * float(predicted_s.mean()))
    return float((seen_s - predicted_s).mean()) / tolerated_s


def share_score(hits: int, count: int, share: float) -> float:
    """How far `hits` of `count` are above a share that was expected: the standard normal point that is exceeded as
    rarely as `hits` are by n tries of that share, z with 1 − Φ(z) = P(X > hits) + P(X = hits) / 2 (Lancaster's mid-P,
    Biometrika 1952); between −3 and 3.

    (hits − n·p) / √(n·p·(1 − p)) would not do: of 20 tries at a tenth each, counts are so skewed that it raises five
    times as many false alarms as a normal score.
    """
    from scipy.special import bdtrc, ndtri

    above = (bdtrc(hits - 1.0, count, share) + bdtrc(float(hits), count, share)) / 2
    return min(max(-float(ndtri(above)), -SCORE_MAX), SCORE_MAX)


@dataclass(frozen=True)
class Baseline:
    """What the work of a role was: its median and its 90th percentile (s), and the share of failures."""

    median_s: float
    tail_s: float
    failure_rate: float
    source: str
    """In words: of the scenario, or of the window that ended at a moment."""

    @classmethod
    def of(cls, service_s: Floats, failed: int, source: str) -> Baseline:
        """That of attempts: their seconds, and how many of them failed."""
        median_s, tail_s = (float(one) for one in np.quantile(service_s, (0.5, TAIL)))
        return cls(median_s, tail_s, failed / len(service_s), source)

    def scores(self, service_s: Floats, failed: int) -> dict[str, float]:
        """Scores of a sample of attempts: slower, faster, tail, failures. Half of the attempts may be above the median,
        a tenth above the 90th percentile; only what passes these by more than WORK_TOLERANCE is counted.
        """
        count = len(service_s)
        slower = int((service_s > self.median_s * (1 + WORK_TOLERANCE) + WORK_FLOOR_S).sum())
        faster = int((service_s < self.median_s * (1 - WORK_TOLERANCE) - WORK_FLOOR_S).sum())
        tail = int((service_s > self.tail_s * (1 + WORK_TOLERANCE) + WORK_FLOOR_S).sum())
        return {
            "slower": share_score(slower, count, 0.5),
            "faster": share_score(faster, count, 0.5),
            "tail": share_score(tail, count, 1 - TAIL),
            "failures": share_score(failed, count, min(0.98, self.failure_rate + FAILURE_TOLERANCE)),
        }


WORK_WORDS: Final[Mapping[str, str]] = {
    "slower": "attempts take longer",
    "faster": "attempts are over sooner",
    "tail": "more attempts take very long",
    "failures": "more attempts fail",
}
MESH_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "mesh slower": ("mesh", "tasks take longer"),
    "mesh faster": ("mesh", "tasks are done sooner"),
}


def names_of(roles: list[str]) -> dict[str, tuple[str, str]]:
    """The detectors of a mesh with these roles."""
    work = {f"{role} {name}": ("work", f"{role}: {words}") for role in roles for name, words in WORK_WORDS.items()}
    return {**MESH_NAMES, **work}
