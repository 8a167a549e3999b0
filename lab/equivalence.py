"""Whether two figures may be called equal: by showing that they are close, never by failing to show that they differ.

Two one-sided t tests (TOST; Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987). The live repeats are the
sample, the model is a constant. With d the sample (say log ratios model / live), m its mean, s its standard deviation,
n its size and ±δ the margin, equivalence is claimed where both m > −δ and m < δ are significant at 5 %:

    p = max(P(T > (m + δ) / (s / √n)), P(T < (m − δ) / (s / √n))),  T of Student's with n − 1 degrees of freedom,

which is the same as: the 90 % interval m ± t·s/√n lies within ±δ. Where the interval lies wholly outside of the margin,
the figures differ. Everything between is "not shown": too few repeats, or too noisy ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from lab.statistics import student_t

LEVEL: Final = 0.05
"""Each of the two tests is held at this level."""
CONFIDENCE: Final = 1 - 2 * LEVEL
"""Of the interval that says the same as both tests."""

Word = Literal["equivalent", "not shown", "different"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests say. `p` and the 90 % interval of the relative difference are None with a single repeat."""

    word: Word
    p: float | None
    ci90: tuple[float, float] | None
    margin: float

    def as_json(self) -> dict[str, Any]:
        """Plain data, six digits."""
        ci90 = None if self.ci90 is None else [round(bound, 6) for bound in self.ci90]
        p = None if self.p is None else float(f"{self.p:.3g}")
        return {"verdict": self.word, "p": p, "ci90": ci90, "margin": round(self.margin, 6)}


def of_ratios(model: float, live: Sequence[float], margin: float) -> Verdict:
    """Whether model / live is within 1 / (1 + margin) and 1 + margin: the test on log ratios, d = ln(model / live).

    All values must be above 0. The interval is told as model / live − 1.
    """
    logs = [math.log(model / one) for one in live]
    found = tost(logs, math.log1p(margin))
    ci90 = None if found.ci90 is None else (math.expm1(found.ci90[0]), math.expm1(found.ci90[1]))
    return Verdict(found.word, found.p, ci90, margin)


def of_differences(model: float, live: Sequence[float], scale: float, margin: float) -> Verdict:
    """Whether |model − live| is within margin × scale, for figures near 0, whose ratios say nothing."""
    return tost([(model - one) / scale for one in live], margin)


def tost(sample: Sequence[float], margin: float) -> Verdict:
    """Both one-sided tests of a sample against ±margin."""
    if len(sample) < 2:
        return Verdict("not shown", None, None, margin)
    mean = float(np.mean(sample))
    error = float(np.std(sample, ddof=1)) / math.sqrt(len(sample))
    half = student_t(len(sample) - 1, CONFIDENCE) * error
    low, high = mean - half, mean + half
    p = max(_above(mean + margin, error, len(sample)), _above(margin - mean, error, len(sample)))
    word: Word = "equivalent" if p <= LEVEL else "different" if low > margin or high < -margin else "not shown"
    return Verdict(word, p, (low, high), margin)


def _above(distance: float, error: float, count: int) -> float:
    """The p value of the claim that `distance` (observed, with this standard error) is above 0."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    from scipy.special import stdtr

    return float(stdtr(count - 1, -distance / error))
