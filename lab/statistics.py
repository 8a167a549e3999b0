"""Estimates with their 95 % intervals, from one long run cut into batches or from many independent runs.

Whatever is estimated, its sample comes in groups: the batches of one run, in order, or the replications. Values within
a group depend on each other (who waits, waits behind others who wait), so only the groups are counted as observations,
and a percentile is always that of all values together: an average of percentiles estimates no percentile at all.
docs/STATISTICS.md tells how often these intervals cover the truth, and how that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from lab.draws import Floats

CONFIDENCE: Final = 0.95
BATCHES: Final = 20
"""Batches of one run. Beyond 30 they become dependent, below 10 the interval widens for nothing (Schmeiser, Operations
Research 30, 1982).
"""
BATCH_VALUES_MIN: Final = 10
"""A batch of fewer values has no mean to speak of."""
CORRELATION_MAX: Final = 0.8
"""The most correlation of neighbouring batches that is believed: 20 of them cannot tell 0.8 from more."""
MSER_BATCH: Final = 5

Groups = Sequence[Floats]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval (low, high); no interval where the sample cannot bound the figure."""

    value: float
    ci95: tuple[float, float] | None

    @property
    def half_width(self) -> float | None:
        """Half of the interval's width, in the unit of the figure."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2

    @property
    def relative(self) -> float | None:
        """Half of the interval's width as a share of the figure; 0 for an interval without width."""
        half = self.half_width
        if half is None or half == 0:
            return half
        return half / abs(self.value) if self.value else None


def batches(values: Floats, count: int = BATCHES) -> Groups:
    """The values of one run, in order, as `count` stretches whose lengths differ by one at most; as a single one, which
    bears no interval, where that would leave fewer than ten to each.
    """
    return np.array_split(values, count) if len(values) >= BATCH_VALUES_MIN * count else [values]


def mean(groups: Groups, *, serial: bool = False) -> Estimate:
    """The mean of all values; its interval by Student's t over the groups.

    Groups may differ in size: sums and sizes s, n give the ratio m = Σs / Σn with standard error
    √(G / (G − 1) · Σ(s − m·n)²) / Σn (Cochran, Sampling Techniques, 1977, chapter 6); where all sizes are equal that is
    the standard error of the mean of the groups' means.

    `serial` groups follow one another in one run. Two corrections then keep the interval honest in short runs, both
    from N-Skart (Tafazzoli, Steiger and Wilson, IEEE Trans. Automatic Control 56, 2011): the variance is multiplied by
    (1 + r) / (1 − r), r the correlation of neighbouring batches, and the interval leans to the side where the batches'
    means have their tail (see `_leaning`).
    """
    sums = np.array([group.sum() for group in groups])
    sizes = np.array([len(group) for group in groups], dtype=np.float64)
    value = float(sums.sum() / sizes.sum())
    return Estimate(value, _interval(value, sums - value * sizes, float(sizes.sum()), serial=serial, leaning=serial))


def of_runs(figures: Sequence[float]) -> Estimate:
    """The mean of a figure that each run has once (throughput, tasks completed): Student's t over the runs."""
    return mean([np.array([figure], dtype=np.float64) for figure in figures])


def quantile(groups: Groups, share: float, *, serial: bool = False) -> Estimate:
    """The value that `share` (0 < share < 1) of all values do not exceed; `serial` as in `mean`.

    How much the share of values above it differs from group to group gives the standard error of that share, and with
    it the shares low and high whose quantiles bound the interval (Woodruff, J. American Statistical Association 47,
    1952). The groups' own quantiles are never used: those of small groups are biased. No interval is given where high
    would pass 1: then not even the largest value is known to be large enough.
    """
    pooled = np.concatenate(groups)
    value = float(np.quantile(pooled, share, overwrite_input=True))  # of many tasks, one copy is enough
    sizes = np.array([len(group) for group in groups], dtype=np.float64)
    deviations = []
    for beyond in (
        np.greater,
        np.greater_equal,
    ):  # they differ where many values are equal: the less certain one counts
        above = np.array([np.count_nonzero(beyond(group, value)) for group in groups], dtype=np.float64)
        deviations.append(above - above.sum() / sizes.sum() * sizes)
    widest = max(deviations, key=lambda one: float((one**2).sum()))
    shares = _interval(share, widest, float(sizes.sum()), serial=serial)
    if shares is None or shares[0] < 0 or shares[1] > 1:
        return Estimate(value, None)
    low, high = np.quantile(pooled, shares, overwrite_input=True)
    return Estimate(value, (float(low), float(high)))


def pseudo_values(count: int, figure: Callable[[int | None], float]) -> tuple[float, Floats]:
    """A figure of `count` groups, and what each group contributed to it, as if it were a mean of such contributions.

    `figure(None)` is that of all groups, `figure(g)` that of all but group g; the contribution of g is
    count · figure(None) − (count − 1) · figure(g), the jackknife (Tukey 1958; for quantiles leaving out whole groups is
    what makes it valid: Shao and Wu, Annals of Statistics 17, 1989). Of a mean of equal groups these are their means.
    """
    whole = figure(None)
    if count == 1:
        return whole, np.array([whole])
    return whole, np.array([count * whole - (count - 1) * figure(group) for group in range(count)])


def of_contributions(value: float, contributions: Floats, *, serial: bool = False) -> Estimate:
    """A figure with its interval from the groups' contributions to it; `serial` as in `mean`."""
    spread = contributions - contributions.mean()
    return Estimate(value, _interval(value, spread, float(len(contributions)), serial=serial))


def _interval(
    value: float, deviations: Floats, weight: float, *, serial: bool, leaning: bool = False
) -> tuple[float, float] | None:
    """The interval of an estimate whose error is Σ deviations / weight; None with less than two groups."""
    count = len(deviations)
    if count < 2:
        return None
    error = math.sqrt(count / (count - 1) * float((deviations**2).sum())) / weight
    if serial:
        error *= math.sqrt(_inflation(deviations))
    t = student_t(count - 1)
    low, high = (_leaning(t, deviations), _leaning(-t, deviations)) if leaning else (t, -t)
    return value - low * error, value - high * error


def _inflation(deviations: Floats) -> float:
    """(1 + r) / (1 − r), by which correlated batches understate the variance; r of `count` independent ones is −1/count
    on average, so that much is added first.
    """
    square = float((deviations**2).sum())
    if square == 0:
        return 1.0
    r = float((deviations[1:] * deviations[:-1]).sum()) / square + 1 / len(deviations)
    r = min(max(r, 0.0), CORRELATION_MAX)
    return (1 + r) / (1 - r)


def _leaning(t: float, deviations: Floats) -> float:
    """Student's point t, moved for the skewness b of the deviations: (∛(1 + 6β(t − β)) − 1) / 2β, β = b / 6√count
    (Willink, Communications in Statistics 34, 2005; Johnson 1978).
    """
    count = len(deviations)
    variance = float((deviations**2).sum()) / (count - 1)
    if count < 3 or variance == 0:
        return t
    skewness = count / ((count - 1) * (count - 2)) * float((deviations**3).sum()) / variance**1.5
    beta = skewness / (6 * math.sqrt(count))
    if abs(beta) < 1e-9:
        return t
    return float((math.cbrt(1 + 6 * beta * (t - beta)) - 1) / (2 * beta))


@cache
def student_t(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The point t with P(|T| ≤ t) = confidence for Student's T with that many degrees of freedom (at least 1).

    By bisection of the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4 (SciPy, which knows it too, takes a
    quarter of a second to load, and every run needs this one number).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _central(theta: float, degrees: int) -> float:
    """P(|T| ≤ √degrees · tan θ): 26.7.3 for odd degrees, 26.7.4 for even ones."""
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    return 2 / math.pi * (theta + sine * total) if odd else sine * total


def mser5(values: Floats) -> int:
    """How many of the first values to delete by MSER-5: the cut that minimises the standard error of what is left.

    Means of five values each; the cut d of n that minimises Σ(i > d) (y_i − mean)² / (n − d)², looked for in the first
    half (White, Cobb and Spratt, WSC 2000). For a queue that starts empty it mostly cuts nothing, and prefers a calm
    stretch to a true one when it does, so nothing here uses it unless asked.
    """
    means = values[: len(values) // MSER_BATCH * MSER_BATCH].reshape(-1, MSER_BATCH).mean(axis=1)
    count = len(means)
    if count < 2:
        return 0
    left = np.arange(count, 0, -1)
    sums, squares = (np.cumsum(column[::-1])[::-1] for column in (means, means**2))
    errors = (squares - sums**2 / left) / left**2
    return int(np.argmin(errors[: count // 2])) * MSER_BATCH


def as_figures(name: str, estimate: Estimate) -> dict[str, Any]:
    """`{name: value, name_ci95: [low, high]}`, the form that all JSON of the lab has; nine decimals."""
    ci95 = None if estimate.ci95 is None else [round(bound, 9) for bound in estimate.ci95]
    return {name: round(estimate.value, 9), f"{name}_ci95": ci95}
