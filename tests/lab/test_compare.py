"""Two runs of the same tasks: errors of the figures, pairs, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.compare import FIGURES, compare, lines, side_by_side
from lab.errors import UsageError
from lab.record import Record

Make = Callable[..., Record]

FAST = [[(0.0, "submitted"), (0.0, "claimed"), (end, "succeeded")] for end in (1.0, 2.0, 4.0)]
SLOW = [[(0.0, "submitted"), (0.0, "claimed"), (end, "succeeded")] for end in (2.0, 3.0, 5.0)]


def test_the_error_is_the_first_against_the_second(make: Make) -> None:
    data = compare(make(*FAST), make(*SLOW, engine="live")).data
    assert data["makespan_s"] == {"sim": 4.0, "live": 5.0, "error": pytest.approx(4 / 5 - 1)}
    assert data["throughput_per_s"]["error"] == pytest.approx((3 / 4) / (3 / 5) - 1)
    assert data["latency_s"]["p50"]["error"] == pytest.approx(2 / 3 - 1)
    assert data["queue_wait_s"]["mean"] == {"sim": 0.0, "live": 0.0, "error": 0.0}  # two zeros agree
    assert data["rss_bytes"]["peak"]["error"] is None


def test_tasks_are_paired_one_by_one(make: Make) -> None:
    paired = compare(make(*FAST), make(*SLOW, engine="live")).data["paired"]
    # Differences −1, −1, −1; the slower run is the faster one plus a second, so they go together perfectly.
    assert paired["tasks"] == 3
    assert paired["mean_diff_s"] == -1.0
    assert paired["p95_abs_diff_s"] == 1.0
    assert paired["correlation"] == pytest.approx(1.0)


def test_only_tasks_that_both_completed_are_paired(make: Make) -> None:
    dead = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "dead")]
    paired = compare(make(*FAST[:2], dead), make(dead, *SLOW[1:], engine="live")).data["paired"]
    assert paired["tasks"] == 1
    assert paired["correlation"] is None
    nothing = compare(make(dead), make(dead, engine="live")).data
    assert nothing["paired"]["tasks"] == 0
    assert nothing["latency_s"]["p50"] == {"sim": None, "live": None, "error": None}


def test_two_runs_of_one_engine_are_called_a_and_b(make: Make) -> None:
    comparison = compare(make(*FAST), make(*SLOW))
    assert comparison.labels == ("a", "b")
    assert comparison.data["makespan_s"]["a"] == 4.0


def test_a_run_compared_with_itself_has_no_error(make: Make) -> None:
    record = make(*FAST)
    errors = [error for *_, error in lines(compare(record, record).data)]
    assert {error for error in errors if error is not None} == {0.0}


@pytest.mark.parametrize("other", [{"priority": "1"}, {"settings": {"workload.arrivals.at_s": 1.0}}])
def test_different_tasks_cannot_be_compared(make: Make, other: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="ran different tasks"):
        compare(make(*FAST, run_id="one"), make(*FAST, run_id="two", **other))
    with pytest.raises(UsageError, match="one and two"):
        compare(make(*FAST, run_id="one"), make(*FAST[:2], run_id="two"))


def test_the_table_and_the_means_hold_every_figure(make: Make) -> None:
    comparison = compare(make(*FAST), make(*SLOW, engine="live"))
    assert list(comparison.table().index) == list(FIGURES)
    summaries = comparison.first.info["summary"], comparison.second.info["summary"]
    again = side_by_side(*summaries, ("sim", "live"))
    assert again == {name: value for name, value in comparison.data.items() if name != "paired"}
