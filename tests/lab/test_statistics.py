"""Estimates and their intervals: by hand beside the figure, and by how often they cover a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from lab import statistics
from lab.statistics import Estimate

SEED = 20_261


def group(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


# ---- Student's t -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "point"),
    # Abramowitz and Stegun, table 26.10, column A = .95
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (19, 2.093), (30, 2.042), (120, 1.980)],
)
def test_students_point_is_that_of_the_table(degrees: int, point: float) -> None:
    assert statistics.student_t(degrees) == pytest.approx(point, abs=5e-4)


@pytest.mark.parametrize("degrees", [*range(1, 40), 199, 9_999])
def test_students_point_is_scipys(degrees: int) -> None:
    assert statistics.student_t(degrees) == pytest.approx(stdtrit(degrees, 0.975), rel=1e-9)


# ---- means -----------------------------------------------------------------------------------------------------------


def test_the_mean_of_equal_groups_has_students_interval_over_their_means() -> None:
    found = statistics.mean([group(0, 2), group(2, 4), group(4, 6)])
    # Means 1, 3, 5: mean 3, s = 2, n = 3: 4.3027 · 2 / √3 = 4.9683.
    assert found.value == 3.0
    assert found.ci95 == pytest.approx((3 - 4.9683, 3 + 4.9683), abs=1e-3)
    assert found.half_width == pytest.approx(4.9683, abs=1e-3)
    assert found.relative == pytest.approx(4.9683 / 3, abs=1e-3)


def test_groups_of_different_sizes_weigh_by_their_values() -> None:
    found = statistics.mean([group(1, 1, 1), group(5)])
    # 8 / 4 = 2, not (1 + 5) / 2; deviations 3 − 2·3 = −3 and 5 − 2 = 3: √(2/1 · 18) / 4 = 1.5; t(1) = 12.7062.
    assert found.value == 2.0
    assert found.ci95 == pytest.approx((2 - 12.7062 * 1.5, 2 + 12.7062 * 1.5), abs=1e-3)


def test_figures_of_runs_have_students_interval() -> None:
    # Mean 2, s = √2, n = 2: 12.7062 · √2 / √2.
    assert statistics.of_runs([1.0, 3.0]).ci95 == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert statistics.of_runs([2, 2, 2]) == Estimate(2.0, (2.0, 2.0))


def test_one_group_bears_no_interval() -> None:
    assert statistics.mean([group(1, 2, 3)]) == Estimate(2.0, None)
    assert statistics.quantile([group(1, 2, 3)], 0.5) == Estimate(2.0, None)
    assert Estimate(2.0, None).half_width is None
    assert Estimate(2.0, None).relative is None


def test_a_width_of_nothing_is_no_share_of_anything() -> None:
    assert Estimate(0.0, (0.0, 0.0)).relative == 0.0
    assert Estimate(0.0, (-1.0, 1.0)).relative is None


def test_batches_hold_all_values_in_order_or_are_one() -> None:
    values = np.arange(205.0)
    batches = statistics.batches(values)
    assert [len(batch) for batch in batches] == [11] * 5 + [10] * 15  # 205 = 20 · 10 + 5
    assert np.concatenate(batches).tolist() == values.tolist()
    assert len(statistics.batches(values[:199])) == 1  # fewer than ten to a batch


def test_batches_that_alternate_evenly_are_taken_for_independent() -> None:
    """Deviations −1, 1, −1, 1: negatively correlated and not skewed, so both corrections leave Student's interval."""
    groups = [group(1), group(3), group(1), group(3)]
    assert statistics.mean(groups, serial=True).ci95 == pytest.approx(statistics.mean(groups).ci95)


def test_correlated_batches_widen_the_interval() -> None:
    groups = [group(3), group(3), group(1), group(1)]
    # Deviations 1, 1, −1, −1: r = (1 − 1 + 1) / 4 + 1/4 = 1/2, and √((1 + r) / (1 − r)) = √3.
    plain, serial = statistics.mean(groups), statistics.mean(groups, serial=True)
    assert serial.half_width == pytest.approx(math.sqrt(3) * (plain.half_width or 0))


def test_the_interval_leans_to_the_tail() -> None:
    groups = [group(value) for value in (1, 2, 1, 1, 2, 1, 9, 1)]
    low, high = statistics.mean(groups, serial=True).ci95 or (0, 0)
    mean = 18 / 8
    assert high - mean > 1.5 * (mean - low)


# ---- quantiles -------------------------------------------------------------------------------------------------------


def test_a_quantile_is_that_of_all_values_not_a_mean_of_quantiles() -> None:
    groups = [group(*range(10)), group(*range(100, 120))]
    assert statistics.quantile(groups, 0.5).value == np.median(np.concatenate(groups)) == 104.5
    assert np.mean([np.median(one) for one in groups]) == 57.0


def test_a_quantiles_interval_is_woodruffs() -> None:
    """Four groups of 100; above the median 104.5 lie 45, 55, 45, 55: deviations −5, 5, −5, 5 of Σ = 0, tail 1/2.

    Standard error of the tail: √(4/3 · 100) / 400 = 0.0288675; · t(3) = 3.18245 → 0.0918693. So the interval runs from
    the 0.408131 to the 0.591869 quantile of the pooled values.
    """
    ranks = np.arange(400.0)
    low, high = ranks[:200], ranks[200:]
    groups = [
        np.concatenate([low[:55], high[:45]]),
        np.concatenate([low[55:100], high[45:100]]),
        np.concatenate([low[100:155], high[100:145]]),
        np.concatenate([low[155:], high[145:]]),
    ]
    found = statistics.quantile(groups, 0.5)
    assert found.value == 199.5
    assert found.ci95 == pytest.approx((0.408131 * 399, 0.591869 * 399), abs=1e-3)


def test_a_quantile_that_the_sample_cannot_bound_has_no_interval() -> None:
    rare = [group(*[1.0] * 99, 50.0 * one) for one in range(1, 4)]
    assert statistics.quantile(rare, 0.5).ci95 == (1.0, 1.0)
    lumpy = [group(*[1.0] * 100), group(*[1.0] * 95, *[9.0] * 5), group(*[1.0] * 100)]
    assert statistics.quantile(lumpy, 0.99).ci95 is None


def test_equal_values_are_known_exactly() -> None:
    assert statistics.quantile([group(2, 2), group(2, 2)], 0.99) == Estimate(2.0, (2.0, 2.0))


# ---- contributions ---------------------------------------------------------------------------------------------------


def test_contributions_to_a_mean_are_the_groups_means() -> None:
    groups = [group(0, 2), group(2, 4), group(4, 9)]

    def without(left_out: int | None) -> float:
        return float(np.concatenate([one for number, one in enumerate(groups) if number != left_out]).mean())

    whole, contributions = statistics.pseudo_values(3, without)
    assert whole == 3.5
    assert contributions == pytest.approx([1.0, 3.0, 6.5])
    expected = statistics.mean(groups).ci95
    assert statistics.of_contributions(whole, contributions).ci95 == pytest.approx(expected)


def test_one_group_contributes_all() -> None:
    whole, contributions = statistics.pseudo_values(1, lambda _: 7.0)
    assert (whole, contributions.tolist()) == (7.0, [7.0])
    assert statistics.of_contributions(whole, contributions).ci95 is None


# ---- MSER-5 ----------------------------------------------------------------------------------------------------------


def test_mser5_cuts_a_start_that_differs_and_nothing_else() -> None:
    steady = np.tile([1.0, 2.0, 3.0, 2.0, 2.0], 40)
    assert statistics.mser5(steady) == 0
    assert statistics.mser5(np.concatenate([np.full(25, 50.0), steady])) == 25
    assert statistics.mser5(steady[:9]) == 0  # one mean of five: nothing to choose from


# ---- coverage --------------------------------------------------------------------------------------------------------


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """2,000 times 10 runs of 40 values; a share of 2,000 has the standard error √(.95 · .05 / 2,000) = .5 %."""
    draws = np.random.default_rng(SEED).exponential(3.0, size=(2_000, 10, 40))
    covered = {"mean": 0, "p50": 0, "p95": 0}
    truth = {"mean": 3.0, "p50": 3 * math.log(2), "p95": 3 * math.log(20)}
    for runs in draws:
        found = {"mean": statistics.mean(runs), "p50": statistics.quantile(runs, 0.5)}
        found["p95"] = statistics.quantile(runs, 0.95)
        for name, estimate in found.items():
            low, high = estimate.ci95 or (0.0, math.inf)
            covered[name] += low <= truth[name] <= high
    assert {name: count / 2_000 for name, count in covered.items()} == pytest.approx(
        dict.fromkeys(covered, 0.95), abs=0.02
    ), f"seed {SEED}"


def test_figures_stand_beside_their_intervals() -> None:
    assert statistics.as_figures("p99", Estimate(1 / 3, (0.25, 0.5))) == {"p99": 0.333333333, "p99_ci95": [0.25, 0.5]}
    assert statistics.as_figures("p99", Estimate(1.0, None)) == {"p99": 1.0, "p99_ci95": None}
