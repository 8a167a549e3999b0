"""Two one-sided tests, against arithmetic by hand and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lab.equivalence import Verdict, of_differences, of_ratios, tost

# With two degrees of freedom P(T > t) = 1/2 − t / (2 √(2 + t²)), and 95 % of T lie below 2.919986.
T_2 = 2.919986


@pytest.mark.parametrize(
    ("sample", "margin", "word", "p", "ci90"),
    [
        # m = 0.02, s = 0.01, s/√3 = 0.0057735: t = 0.03 / 0.0057735 = 5.19615;
        # p = 1/2 − 5.19615 / (2 · √29) = 0.017549;
        # m ± 2.919986 · 0.0057735 = 0.02 ± 0.016858
        ((0.01, 0.02, 0.03), 0.05, "equivalent", 0.017549, (0.003142, 0.036858)),
        # the same against 0.03: t = 0.01 / 0.0057735 = 1.73205; p = 1/2 − 1.73205 / (2 · √5) = 0.112702
        ((0.01, 0.02, 0.03), 0.03, "not shown", 0.112702, (0.003142, 0.036858)),
        # the other side: m = −0.10, t = (−0.10 + 0.05) / 0.0057735 = −8.66025; p = 1/2 + 8.66025 / (2 · √77) = 0.993464
        ((-0.09, -0.10, -0.11), 0.05, "different", 0.993464, (-0.116858, -0.083142)),
        # wide: m = 0, s = 0.1, s/√3 = 0.057735; t = 0.05 / 0.057735 = 0.866025;
        # p = 1/2 − 0.866025 / (2 · √2.75) = 0.238884
        ((-0.1, 0.0, 0.1), 0.05, "not shown", 0.238884, (-T_2 * 0.057735, T_2 * 0.057735)),
        # no spread at all: only the mean counts
        ((0.04, 0.04), 0.05, "equivalent", 0.0, (0.04, 0.04)),
        ((0.06, 0.06), 0.05, "different", 1.0, (0.06, 0.06)),
    ],
)
def test_by_hand(sample: tuple[float, ...], margin: float, word: str, p: float, ci90: tuple[float, float]) -> None:
    found = tost(sample, margin)
    assert found.word == word
    assert found.p == pytest.approx(p, abs=2e-6)
    assert found.ci90 == pytest.approx(ci90, abs=2e-6)


def test_one_repeat_shows_nothing() -> None:
    assert tost((0.0,), 0.05) == Verdict("not shown", None, None, 0.05)


@pytest.mark.parametrize("seed", range(20))
def test_as_scipy_finds_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    sample = random.normal(random.normal(0, 0.05), random.uniform(0.005, 0.1), size=random.integers(2, 9))
    margin = float(random.uniform(0.02, 0.2))
    above = stats.ttest_1samp(sample, -margin, alternative="greater")
    below = stats.ttest_1samp(sample, margin, alternative="less")
    interval = stats.ttest_1samp(sample, 0.0).confidence_interval(0.90)
    found = tost(sample.tolist(), margin)
    assert found.p == pytest.approx(max(above.pvalue, below.pvalue), abs=1e-9), seed
    assert found.ci90 == pytest.approx((interval.low, interval.high), abs=1e-9), seed


def test_ratios_are_tested_on_logarithms_and_told_as_errors() -> None:
    # ln(1.1/1.0), ln(1.1/1.1), ln(1.1/1.21): 0.09531, 0, −0.09531: as far below as above
    found = of_ratios(1.1, (1.0, 1.1, 1.21), 0.05)
    half = T_2 * math.log(1.1) / math.sqrt(3)
    assert found.ci90 == pytest.approx((math.exp(-half) - 1, math.exp(half) - 1), abs=1e-6)
    assert found.word == "not shown"
    assert found.margin == 0.05


def test_differences_are_shares_of_their_scale() -> None:
    # (3 − 1, 3 − 2) ms of 50 ms: 0.04 and 0.02; m = 0.03, s/√2 = 0.01; with one degree of freedom t(0.95) = 6.313752
    found = of_differences(0.003, (0.001, 0.002), 0.05, 0.15)
    assert found.ci90 == pytest.approx((0.03 - 0.06313752, 0.03 + 0.06313752), abs=1e-7)
    assert found.word == "equivalent"


def test_it_is_plain_data_in_the_end() -> None:
    told = tost((0.04, 0.04), 0.05).as_json()
    assert told == {"verdict": "equivalent", "p": 0.0, "ci90": [0.04, 0.04], "margin": 0.05}
    assert tost((0.01, 0.02, 0.03), 0.05).as_json()["p"] == 0.0175
