"""What one run says of its own precision: the question, the load, the length, the start, the intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lab import Scenario, statistics
from lab.metrics import Times
from lab.offered import offered
from lab.precision import START_UP_RELAXATIONS, of_replications, precision
from lab.record import Record
from simulation import simulate

Build = Callable[..., Scenario]
POISSON = {"kind": "poisson", "rate_per_s": 6.4, "count": 12_000}
EXPONENTIAL = {"dist": "exponential", "mean_s": 1.0}
TAU_S = 1 / (8 * (1 - math.sqrt(0.8)) ** 2)
"""M/M/8 at ρ 0.8, μ = 1: 11.215 s (reference, section 8)."""


@pytest.fixture
def mm8(build: Build) -> Callable[..., Record]:
    def ran(**values: object) -> Record:
        settings = {
            "workload__arrivals": POISSON,
            "workload__roles__A__service": EXPONENTIAL,
            "mesh__slots": 8,
            "rules__health__report_s": 600.0,
        }
        return simulate(build(**{**settings, **values}))

    return ran


def test_a_steady_run_has_its_length_in_relaxation_times_and_its_intervals(mm8: Callable[..., Record]) -> None:
    record = mm8()
    found = precision(record)
    waits = statistics.batches(Times.of(record).queue_wait_s)
    assert found["question"] == "steady state"
    assert found["load"] == pytest.approx(0.8)
    assert found["relaxation_s"] == pytest.approx(TAU_S)
    assert found["run_s"] == pytest.approx(12_000 / 6.4, rel=0.03)
    assert found["ratio"] == pytest.approx(found["run_s"] / TAU_S, rel=1e-3)
    assert found["batches"] == 20
    assert found["queue_wait_s"]["mean"] == pytest.approx(np.mean(Times.of(record).queue_wait_s))
    assert found["queue_wait_s"]["mean_ci95"] == pytest.approx(statistics.mean(waits, serial=True).ci95, abs=1e-8)
    assert found["latency_s"]["p99"] == record.info["summary"]["latency_s"]["p99"]


def test_a_short_run_is_warned_of_and_a_very_short_one_bears_no_interval(mm8: Callable[..., Record]) -> None:
    short = precision(mm8())
    assert short["latency_s"]["mean_ci95"] is not None
    assert short["latency_s"]["p99_ci95"] is None  # 167 relaxation times: not two of them beyond the p99
    assert f"only {short['ratio']:.0f} relaxation times long, so its intervals may be too narrow" in short["warning"]
    assert "about 36,000 tasks, would be enough" in short["warning"]  # 500 · τ · 6.4 = 35,889
    very_short = precision(mm8(workload__arrivals={**POISSON, "count": 1_000}))
    assert very_short["ratio"] < 20
    assert "bears no intervals" in very_short["warning"]
    assert (very_short["batches"], very_short["queue_wait_s"]["mean_ci95"]) == (None, None)
    assert very_short["queue_wait_s"]["mean"] > 0


def test_a_long_run_is_not_warned_of(mm8: Callable[..., Record]) -> None:
    # ρ = 0.4: τ = 1 / (8 · (1 − √.4)²) = 0.925 s; 2,500 tasks at 3.2 a second last 845 of them.
    found = precision(mm8(workload__arrivals={**POISSON, "rate_per_s": 3.2, "count": 2_500}))
    assert found["ratio"] > 500
    low, high = found["latency_s"]["p99_ci95"]
    assert low < found["latency_s"]["p99"] < high
    assert found["warning"] is None
    assert f"up to {65 / found['ratio']:.2g} % off" in found["start_up"]["note"]


@pytest.mark.parametrize(
    ("settings", "question"),
    [
        ({"workload__arrivals": {"kind": "burst", "count": 50}}, "terminating"),
        ({"workload__arrivals": {"kind": "ramp", "from_per_s": 1, "to_per_s": 9, "duration_s": 9}}, "terminating"),
        ({"faults": [{"at_s": 3, "kind": "slow_service", "factor": 2, "for_s": 2}]}, "terminating"),
        ({"workload__arrivals": {**POISSON, "rate_per_s": 9.6, "count": 500}}, "overloaded"),
        ({"workload__arrivals": {**POISSON, "kind": "constant"}}, "steady state"),
    ],
)
def test_only_an_even_load_that_can_be_served_asks_for_a_steady_state(
    mm8: Callable[..., Record], settings: dict[str, object], question: str
) -> None:
    found = precision(mm8(**{"workload__arrivals": {**POISSON, "count": 500}, **settings}))
    assert found["question"] == question
    if question != "steady state":
        assert "nothing is deleted" in found["start_up"]["note"]
        assert "replications are its sample" in found["start_up"]["note"]
        assert [found[name] for name in ("relaxation_s", "ratio", "batches", "queue_wait_s", "warning")] == [None] * 5


def test_the_start_may_be_left_out_and_the_record_says_so(mm8: Callable[..., Record]) -> None:
    record = mm8()
    times = Times.of(record)
    found = precision(record, "delete")
    first = found["start_up"]["deleted_tasks"]
    left_out_s = times.arrival_s[first] - times.arrival_s[0]
    assert left_out_s == pytest.approx(START_UP_RELAXATIONS * TAU_S, abs=2.0)
    assert found["queue_wait_s"]["mean"] == pytest.approx(times.queue_wait_s[first:].mean())
    assert f"the first {first:,} of 12,000 tasks are left out here (20 relaxation times)" in found["start_up"]["note"]
    mser = precision(record, "mser5")["start_up"]
    assert mser["deleted_tasks"] == statistics.mser5(times.queue_wait_s)


def test_a_run_that_is_all_start_says_nothing(mm8: Callable[..., Record]) -> None:
    record = mm8(workload__arrivals={**POISSON, "count": 300})
    found = precision(record, "delete")
    assert found["start_up"]["deleted_tasks"] == 300
    assert found["queue_wait_s"] is None


def test_replications_have_their_intervals_whatever_was_asked(build: Build) -> None:
    records = [
        simulate(
            build(seed=seed, workload__arrivals={"kind": "burst", "count": 9}, workload__roles__A__service=EXPONENTIAL)
        )
        for seed in (1, 2, 3)
    ]
    times = [Times.of(one) for one in records]
    found = of_replications(precision(records[0]), times)
    expected = statistics.mean([one.latency_s for one in times])
    assert (found["question"], found["replications"], found["batches"]) == ("terminating", 3, None)
    assert found["latency_s"]["mean_ci95"] == pytest.approx(expected.ci95, abs=1e-8)


# ---- the load --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "busy", "variability"),
    [
        ({}, 0.8, 1.0),
        ({"workload__roles__A__service": {"dist": "constant", "mean_s": 1.0}}, 0.8, 0.5),
        ({"workload__roles__A__service": {"dist": "gamma", "mean_s": 1.0, "cv": 3.0}}, 0.8, 5.0),
        ({"workload__arrivals": {**POISSON, "kind": "constant"}}, 0.8, 0.5),
        # Every task fails once and is done again: twice the work. In the slot each waits 0.5 s besides, of 2 attempts.
        ({"workload__arrivals": {**POISSON, "rate_per_s": 3.2}, "workload__roles__A__fail_first": 1}, 0.8, 1.0),
        (
            {
                "workload__arrivals": {**POISSON, "rate_per_s": 3.2},
                "workload__roles__A__fail_first": 1,
                "rules__retry": {"wait": "in_slot", "base_s": 0.25},
            },
            1.0,
            1.0,
        ),
    ],
)
def test_the_load_counts_every_second_that_a_slot_is_held(
    mm8: Callable[..., Record], settings: dict[str, object], busy: float, variability: float
) -> None:
    short = {"workload__arrivals": {**POISSON, "count": 400}}
    if "workload__arrivals" in settings:
        settings = {**settings, "workload__arrivals": {**settings["workload__arrivals"], "count": 400}}
    record = mm8(**{**short, **settings})
    load = offered(record, record.scenario)
    assert load is not None
    assert (load.busy, load.variability) == pytest.approx((busy, variability))


def test_work_from_a_file_or_cut_by_a_timeout_is_measured(mm8: Callable[..., Record], tmp_path: Path) -> None:
    file = tmp_path / "work.csv"
    file.write_text("service_s\n1\n3\n")
    drawn = {"dist": "empirical", "path": str(file)}
    short = {**POISSON, "rate_per_s": 2.0, "count": 2_000}
    from_file = mm8(workload__roles__A__service=drawn, workload__arrivals=short)
    load = offered(from_file, from_file.scenario)
    assert load is not None
    assert load.held_s == pytest.approx(2.0, rel=0.05)
    assert load.variability == pytest.approx((1 + 1 / 4) / 2, rel=0.05)
    # Exponential work of mean 1 cut at 1 s: E[min(S, 1)] = 1 − e⁻¹ = .632.
    cut = mm8(rules__retry={"timeout_s": 1.0, "max_retries": 0}, workload__arrivals=short)
    load = offered(cut, cut.scenario)
    assert load is not None
    assert load.held_s == pytest.approx(1 - math.exp(-1), rel=0.05)


def test_relaxation_is_never_shorter_than_the_work(mm8: Callable[..., Record]) -> None:
    record = mm8(workload__arrivals={**POISSON, "rate_per_s": 0.1, "count": 50})
    load = offered(record, record.scenario)
    assert load is not None
    assert load.relaxation_s == 1.0
