"""Several runs put together: percentiles of all tasks, means of what a run has once, no mean of percentiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab import metrics
from lab.metrics import Times
from lab.pooling import pooled, spread
from lab.record import Record

Make = Callable[..., Record]


def history(start_s: float, end_s: float) -> list[tuple[float, str]]:
    return [(0.0, "submitted"), (start_s, "claimed"), (end_s, "succeeded")]


@pytest.fixture
def runs(make: Make) -> list[Record]:
    """Two runs of three tasks: latencies 1, 2, 3 and 11, 12, 13 s."""
    return [make(*(history(0.5, first + number) for number in range(3))) for first in (1.0, 11.0)]


def merged(records: list[Record]) -> dict:
    return pooled([metrics.summary(one) for one in records], [Times.of(one) for one in records])


def test_percentiles_are_those_of_the_pooled_tasks(runs: list[Record]) -> None:
    got = merged(runs)["latency_s"]
    everyone = [1, 2, 3, 11, 12, 13]
    assert got["p50"] == np.quantile(everyone, 0.5) == 7.0
    assert got["p95"] == pytest.approx(np.quantile(everyone, 0.95))  # 12.75; the runs' own are 2.9 and 12.9
    assert (got["mean"], got["max"], got["max_ci95"]) == (7.0, 13.0, None)


def test_what_a_run_has_once_is_averaged_with_students_interval(runs: list[Record]) -> None:
    got = merged(runs)
    # Makespans 3 and 13: mean 8, s = √50, n = 2: 12.7062 · √50 / √2 = 63.531.
    assert got["makespan_s"] == 8.0
    assert got["makespan_s_ci95"] == pytest.approx([8 - 63.531, 8 + 63.531], abs=1e-3)
    assert (got["tasks"]["completed"], got["tasks"]["completed_ci95"]) == (3.0, [3.0, 3.0])
    assert got["rss_bytes"] == {"peak": None, "peak_ci95": None, "mean": None, "mean_ci95": None}


def test_queues_are_pooled_too_and_one_run_may_lack_a_queue(make: Make) -> None:
    mixed = {"workload.mix": "exact"}
    two_queues = make(history(0, 1), history(0, 9), settings=mixed, priority="{5: 1, 1: 1}")
    got = merged([two_queues, make(history(0, 3), history(0, 5))])["by_queue"]
    assert got["agent_high"]["latency_s"]["p50"] == 3.0  # of 1, 3 and 5
    assert got["agent_low"]["latency_s"]["mean"] == 9.0
    assert got["agent_low"]["completed"] == 0.5
    assert set(got["agent_medium"]["latency_s"].values()) == {None}


def test_figures_keep_their_order_and_one_run_stays_as_it_is(runs: list[Record]) -> None:
    assert [key for key in merged(runs) if not key.endswith("_ci95")] == list(metrics.summary(runs[0]))
    assert merged(runs[:1]) == metrics.summary(runs[0])


def test_a_spread_of_nothing_is_none() -> None:
    assert set(spread([np.empty(0)]).values()) == {None}
    assert spread([np.empty(0), np.array([2.0]), np.array([4.0])])["mean"] == 3.0
