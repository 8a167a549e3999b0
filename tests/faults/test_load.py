"""Too much work, and work of which some never gets its turn (F41, F42)."""

from __future__ import annotations

import numpy as np
import pytest

from lab import metrics
from tests.faults.scenes import all_completed, counts, run

CAPACITY_PER_S, AFTERWARDS_PER_S, OVERLOAD_S = 10, 5, 60
EXCESS = (20 - CAPACITY_PER_S) * OVERLOAD_S
"""600 tasks more than 10 slots of 1 s can do in the minute in which 20 a second come."""


def test_f41_a_minute_at_twice_the_capacity_drains_in_two() -> None:
    """The backlog falls by 10 − 5 a second from 60 s on, so it is gone within 600 / 5 = 120 s, and not much sooner: at
    any moment up to 10 tasks less are waiting, since they are running."""
    record = run("f41_overload")
    at_s, depth = metrics.depth_curve(record)
    peak = depth.max()
    assert EXCESS - CAPACITY_PER_S <= peak <= EXCESS
    drained_s = at_s[(at_s > OVERLOAD_S) & (depth == 0)][0] - OVERLOAD_S
    bound_s = EXCESS / (CAPACITY_PER_S - AFTERWARDS_PER_S)
    assert bound_s - CAPACITY_PER_S / AFTERWARDS_PER_S <= drained_s <= bound_s
    assert metrics.latency_s(record.tasks).max() <= EXCESS / CAPACITY_PER_S + 1
    assert all_completed(record)


def test_f41_a_bound_on_the_queue_sheds_the_excess_and_keeps_the_rest_fast() -> None:
    """With room for 100 pending tasks nobody who is admitted waits for longer than 100 / 10 = 10 s, and works 1 s. What
    does not fit is refused: the excess, less what waits at the end of the minute."""
    record = run("f41_overload", rules__admission={"max_pending": 100, "on_closed": "reject"})
    assert metrics.latency_s(record.tasks[record.tasks["state"] == "COMPLETED"]).max() <= 11
    assert metrics.depth_curve(record)[1].max() == 100
    rejected, completed = counts(record, "rejected", "completed")
    assert rejected + completed == 20 * 60 + 5 * 150
    assert rejected == pytest.approx(EXCESS - 100, abs=CAPACITY_PER_S)


def test_f41_a_bound_that_holds_back_instead_completes_everything_a_little_later() -> None:
    """The producer keeps what does not fit: as late as without a bound, and the queue itself stays short."""
    free, bound = run("f41_overload"), run("f41_overload", rules__admission={"max_pending": 100})
    assert metrics.depth_curve(bound)[1].max() == 100
    assert all_completed(bound)
    assert np.array_equal(bound.tasks["done_s"], free.tasks["done_s"])


@pytest.mark.parametrize(
    ("order", "started_s"),
    [
        ("strict", 41.0),  # after all 41 high ones
        ("aging", 14.0),  # two classes higher after 2 · 4 s, at 13.5 s, and then the oldest of its standing: at 14 s
        ("weighted", 6.0),  # the rota is 0 1 0 0 1 0 2 0 1 0, a task is taken every second: turn 6 is at 6 s
    ],
)
def test_f42_a_low_task_among_high_ones(order: str, started_s: float) -> None:
    """One slot of 1 s. Two high tasks come at 0 and one every second, so one of them waits at any moment."""
    record = run("f42_starvation", rules__priority__order=order)
    low = record.tasks[record.tasks["role"] == "LOW"]
    assert low["first_claim_s"].tolist() == [started_s]
    assert low["arrival_s"].tolist() == [5.5]
    high_waits_s = metrics.queue_wait_s(record.tasks[record.tasks["role"] == "HIGH"])
    assert high_waits_s.max() == (1.0 if order == "strict" else 2.0)
