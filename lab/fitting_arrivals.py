"""How arrivals come: their rate, how far they are from a Poisson process, and that in words.

Of a Poisson process the gaps have cv² = 1 and the counts of equal stretches a variance equal to their mean (index of
dispersion 1). The test is that of dispersion: Σ(cᵢ − c̄)²/c̄ over k stretches is χ² with k − 1 degrees of freedom
(Fisher, Annals of Applied Biology 9, 1922). A scenario replays the seen arrivals in any case; the words say what would
be lost with a rate alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lab.draws import Floats
from lab.units import plural
from lab.units import rate as per_second

COUNT_MEAN: Final = 10.0
"""Tasks a stretch on average: enough for χ², few enough to have many stretches."""
STRETCHES_MIN, STRETCHES_MAX = 5, 500
TASKS_MIN: Final = 50
P_APART: Final = 0.01
NEAR: Final = (0.8, 1.25)
"""cv² within these is near Poisson for any queue that one cares about."""


@dataclass(frozen=True)
class ArrivalsFit:
    """Arrivals as one rate, and what that leaves out."""

    count: int
    span_s: float
    rate_per_s: float | None
    """None: they all came at one moment."""
    gaps_cv2: float | None
    dispersion: float | None
    """Variance / mean of the counts in stretches of `stretch_s`."""
    stretch_s: float | None
    p: float | None
    """Of the test of dispersion, two-sided: how likely a Poisson process would be as far from 1."""
    words: str

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {**self.__dict__}


def fit(arrival_s: Floats) -> ArrivalsFit:
    """What the arrivals (s, any order) look like."""
    times = np.sort(arrival_s)
    span_s = float(times[-1] - times[0])
    if span_s == 0:
        words = f"{plural(len(times), 'task')} at one moment" + (": a burst" if len(times) > 1 else "")
        return ArrivalsFit(len(times), 0.0, None, None, None, None, None, words)
    rate = (len(times) - 1) / span_s
    gaps = np.diff(times)
    cv2 = float(gaps.var() / gaps.mean() ** 2)
    if len(times) < TASKS_MIN:
        words = f"{per_second(rate)}, too few ({len(times)}) to tell how they come; replay the trace"
        return ArrivalsFit(len(times), span_s, rate, round(cv2, 4), None, None, None, words)
    stretches = int(np.clip(len(times) / COUNT_MEAN, STRETCHES_MIN, STRETCHES_MAX))
    counts = np.histogram(times, stretches)[0]
    dispersion, p = _dispersion(counts.astype(np.float64))
    words = f"{per_second(rate)}, cv² {cv2:.2g}, dispersion {dispersion:.2g}: {_verdict(cv2, dispersion, p)}"
    return ArrivalsFit(
        len(times), span_s, rate, round(cv2, 4), round(dispersion, 4), span_s / stretches, round(p, 4), words
    )


def _dispersion(counts: Floats) -> tuple[float, float]:
    """(variance / mean, two-sided p)."""
    from scipy.stats import chi2

    degrees = len(counts) - 1
    index = float(counts.var(ddof=1) / counts.mean())
    below = float(chi2.cdf(index * degrees, degrees))
    return index, float(min(1.0, 2 * min(below, 1 - below)))


def _verdict(cv2: float, dispersion: float, p: float) -> str:
    near = NEAR[0] <= cv2 <= NEAR[1]
    if near and p >= P_APART:
        return "a Poisson process would look the same"
    if near and NEAR[0] <= dispersion <= NEAR[1]:
        return "close to Poisson, though the difference shows in so many"
    if cv2 < NEAR[0] and dispersion < 1:
        return "more even than Poisson; replay the trace"
    if near:
        return "gaps as of a Poisson process, but its rate changes; replay the trace"
    return "far from Poisson, in bursts; replay the trace"
