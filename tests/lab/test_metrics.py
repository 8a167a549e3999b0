"""The headline figures of records built by hand, worked out beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab import metrics
from lab.limits import MIB
from lab.record import EventRow, Record, SampleRow

Make = Callable[..., Record]

DONE = [(0.0, "submitted"), (0.5, "claimed"), (2.0, "succeeded")]
RETRIED = [(0.0, "submitted"), (1.0, "claimed"), (2.0, "failed"), (4.0, "due"), (4.0, "claimed"), (5.5, "succeeded")]
RECLAIMED = [(0.0, "submitted"), (0.0, "claimed"), (10.5, "lease lapsed"), (11.0, "claimed"), (12.0, "succeeded")]
HANDED_BACK = [(0.0, "submitted"), (0.0, "claimed"), (0.5, "handed back"), (0.5, "claimed"), (1.5, "succeeded")]
DEAD = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "dead")]


def sample(t_s: float, worker: str, rss_mib: float) -> SampleRow:
    return SampleRow(t_s, worker, rss_mib * MIB, 0.0, 0, True, 0, 0, 0, 0, 0)


def event(t_s: float, kind: str, worker: str = "") -> EventRow:
    return EventRow(t_s, kind, worker, -1, "")


def test_figures_of_two_tasks(make: Make) -> None:
    got = metrics.summary(make(DONE, RETRIED))
    assert got["makespan_s"] == 5.5
    assert got["throughput_per_s"] == pytest.approx(2 / 5.5, abs=1e-9)
    # Latencies 2.0 and 5.5: mean 3.75, and between two values percentiles lie on the line: p95 = 2 + 0.95 · 3.5.
    assert got["latency_s"] == pytest.approx({"mean": 3.75, "p50": 3.75, "p95": 5.325, "p99": 5.465, "max": 5.5})
    assert got["queue_wait_s"]["mean"] == 0.75  # 0.5 and 1.0
    # 2.0 − 1 = 1.0;  5.5 − 2 · 1 (two attempts of 1 s) − 2 (backoff) = 1.5
    assert got["overhead_s"]["mean"] == pytest.approx(1.25)
    assert got["tasks"] == {
        "submitted": 2,
        "completed": 2,
        "dead": 0,
        "cancelled": 0,
        "attempts": 3,
        "retries": 1,
        "reclaimed": 0,
        "stale_writes": 0,
        "rejected": 0,
    }


def test_counts_of_reclaims_hand_backs_and_deaths(make: Make) -> None:
    stale = EventRow(12.5, "stale_write", "w0", 0, "")
    got = metrics.task_counts(
        make(RECLAIMED, HANDED_BACK, DEAD, settings={"rules.retry.max_retries": 1}, events=[stale])
    )
    # Attempts: 2 of the reclaimed task, 2 claims − 1 handed back, 1.
    assert (got["attempts"], got["reclaimed"], got["dead"], got["completed"], got["stale_writes"]) == (4, 1, 1, 2, 1)


def test_figures_without_any_task_behind_them_are_none(make: Make) -> None:
    got = metrics.summary(make(DONE[:1]))
    assert got["throughput_per_s"] is None
    assert got["makespan_s"] is None
    assert set(got["latency_s"].values()) == {None}
    assert got["rss_bytes"] == {"peak": None, "mean": None}


def test_figures_by_queue(make: Make) -> None:
    settings = {"workload.mix": "exact"}
    got = metrics.summary(make(DONE, RETRIED, settings=settings, priority="{5: 1, 1: 1}"))["by_queue"]
    assert {name: queue["completed"] for name, queue in got.items()} == {
        "agent_high": 1,
        "agent_medium": 0,
        "agent_low": 1,
    }
    assert got["agent_low"]["latency_s"]["max"] == 5.5


def test_rss_is_that_of_workers_not_of_queues(make: Make) -> None:
    rows = [sample(0, "w0", 100), sample(1, "w0", 300), sample(1, "w1", 200), sample(1, "", 9_999)]
    assert metrics.summary(make(DONE, samples=rows))["rss_bytes"] == {"peak": 300 * MIB, "mean": 200 * MIB}


def test_closed_time_adds_up_and_open_ends_last_until_the_end(make: Make) -> None:
    events = [
        event(0.5, "admission_closed"),
        event(1.0, "admission_opened"),
        event(1.0, "gate_closed", "w0"),
        event(1.5, "gate_closed", "w1"),
        event(2.0, "gate_opened", "w1"),
        event(1.8, "admission_closed"),
    ]
    record = make(RETRIED, events=events)
    end = metrics.end_s(record)
    assert metrics.closed_time(record, "admission") == {"closed_s": pytest.approx(0.5 + end - 1.8), "closings": 2}
    assert metrics.closed_time(record, "gate") == {"closed_s": pytest.approx(end - 1.0 + 0.5), "closings": 2}


def test_curves_count_every_completion_and_every_pending_task(make: Make) -> None:
    record = make(DONE, RETRIED)
    moments, rates = metrics.throughput_curve(record)
    assert rates.sum() == 2
    assert dict(zip(moments, rates, strict=True))[2.0] == 1.0
    when, depth = metrics.depth_curve(record)
    # Two at 0; one is claimed at 0.5, the other at 1; it is back and claimed again at 4.
    assert dict(zip(when, depth, strict=True))[0.0] == 2
    assert dict(zip(when, depth, strict=True))[0.5] == 1
    assert depth[-1] == 0


def test_times_are_in_order_of_arrival_and_nan_where_a_task_has_none(make: Make) -> None:
    times = metrics.Times.of(make(DONE, DEAD, RETRIED, [(0.0, "submitted")]))
    assert times.arrival_s.tolist() == [0.0] * 4
    assert times.latency_s == pytest.approx([2.0, np.nan, 5.5, np.nan], nan_ok=True)
    assert times.queue_wait_s == pytest.approx([0.5, 0.0, 1.0, np.nan], nan_ok=True)
    assert times.overhead_s == pytest.approx([1.0, np.nan, 1.5, np.nan], nan_ok=True)
    assert times.values("latency_s").tolist() == [2.0, 5.5]
    assert times.from_task(1).values("latency_s").tolist() == [5.5]


def test_times_of_a_queue_are_those_of_its_completed_tasks(make: Make) -> None:
    settings = {"workload.mix": "exact"}
    times = metrics.Times.of(make(DONE, RETRIED, DEAD, DEAD, settings=settings, priority="{5: 1, 1: 1}"))
    assert times.queue.tolist() == [0, 2, 0, 2]
    assert times.values("queue_wait_s", "agent_high").tolist() == [0.5]
    assert times.values("queue_wait_s").tolist() == [0.5, 1.0, 0.0, 0.0]
