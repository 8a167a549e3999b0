"""`--until p99:5%`: what may be asked, when it is reached, and how the rounds grow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lab.errors import UsageError
from lab.metrics import Times
from lab.until import REPLICATIONS_MIN, Outcome, Target, look, until

P99 = Target("latency_s", "p99", 0.05)
MEAN = Target("latency_s", "mean", 0.05)


def times(*latency_s: float) -> Times:
    values = np.array(latency_s)
    return Times(np.arange(len(values)), values, values / 2, values, np.zeros(len(values), dtype=np.int8))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("p99:5%", P99),
        ("latency.p99:5%", P99),
        ("latency_s.p99:5.0 %", P99),
        ("mean:2%", Target("latency_s", "mean", 0.02)),
        ("p50:0.5%", Target("latency_s", "p50", 0.005)),
        ("queue_wait.p95:10%", Target("queue_wait_s", "p95", 0.1)),
    ],
)
def test_what_may_be_asked(text: str, target: Target) -> None:
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    "text", ["", "p99", "p99:5", "p98:5%", "p99:0%", "p99:100%", "p99:-5%", "waiting.p99:5%", "p99:5%%", "max:5%"]
)
def test_anything_else_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match=r"no \[FIGURE\.\]POINT:X%, as in p99:5%") as refused:
        Target.parse(text)
    assert repr(text) in str(refused.value)


def test_estimates_are_of_the_pooled_tasks() -> None:
    found = Target("queue_wait_s", "mean", 0.05).estimate([times(2.0), times(4.0)])
    assert found is not None
    assert found.value == 1.5
    assert P99.estimate([times()]) is None


def test_it_is_reached_within_the_share_and_never_with_few_runs() -> None:
    alike = [times(1.0, 2.0)] * REPLICATIONS_MIN
    assert look(MEAN, alike).reached
    assert not look(MEAN, alike[1:]).reached
    assert not Outcome(P99, 100, 1.0, 0.051).reached
    assert not Outcome(P99, 100, 1.0, None).reached


@pytest.mark.parametrize(
    ("half_width", "total"),
    [
        (0.1, 40),  # (0.1 / 0.05)² · 1.1 = 4.4 times, of which 4 are trusted
        (0.06, 16),  # 1.2² · 1.1 = 1.584
        (0.0501, 13),  # 1.104, but at least a quarter more: 12.5
        (None, 40),  # nothing known: as many as are trusted
    ],
)
def test_rounds_grow_by_what_is_needed_within_bounds(half_width: float | None, total: int) -> None:
    assert Outcome(P99, 10, 1.0, half_width).next_total(1_000) == total
    assert Outcome(P99, 10, 1.0, half_width).next_total(11) == 11


def rounds(spread: float, most: int, stop_at: int = 1_000_000) -> tuple[list[range], int, Outcome]:
    """The rounds that a figure takes whose runs are 1 ± spread in turn."""
    asked: list[range] = []

    def run_round(numbers: range, so_far: Outcome) -> Sequence[Times]:
        asked.append(numbers)
        return [times(1 + spread * (-1) ** number) for number in numbers if number < stop_at]

    runs, outcome = until(MEAN, most, run_round, lambda one: one)
    return asked, len(runs), outcome


def test_the_rounds_end_when_it_is_known() -> None:
    asked, runs, outcome = rounds(spread=0.2, most=1_000)
    # ± .2 in turn: s = .2108 of 10 runs, half-width 2.262 · .2108 / √10 = .151: needs 100; 40 are trusted. Of 40:
    # 2.023 · .2025 / √40 = .0648, so 1.68 · 1.1 times as many: 74. Of 74: 1.993 · .2014 / √74 = .0467.
    assert asked == [range(0, 10), range(10, 40), range(40, 74)]
    assert (runs, outcome.reached, outcome.replications) == (74, True, 74)
    assert outcome.half_width == pytest.approx(0.0467, abs=1e-4)


def test_the_maximum_is_kept_and_told() -> None:
    asked, runs, outcome = rounds(spread=0.5, most=25)
    assert (asked, runs, outcome.reached) == ([range(0, 10), range(10, 25)], 25, False)
    assert outcome.as_json() == {
        "figure": "latency_s.mean",
        "asked": 0.05,
        "reached": False,
        "replications": 25,
        "half_width": pytest.approx(0.2068, abs=1e-3),  # 2.064 · .5099 / √25, of a mean of 1.02
        "value": 1.02,
    }


def test_a_stopped_round_is_the_last_one() -> None:
    asked, runs, outcome = rounds(spread=0.5, most=1_000, stop_at=13)
    assert (len(asked), runs, outcome.replications) == (2, 13, 13)


def test_words_say_what_is_asked_and_known() -> None:
    assert Outcome(P99, 10, 1.0, 0.1).words == "latency_s.p99 within 5 % asked, 10 % so far, about 44 needed"
    assert Outcome(P99, 0, None, None).words == "latency_s.p99 within 5 % asked, not known yet"
