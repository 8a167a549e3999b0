"""A/B by common random numbers: differences by hand, what cannot be paired, and how much variance it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lab import paired, statistics
from lab.errors import Interrupted, UsageError
from lab.metrics import Times
from lab.record import Record
from lab.replicate import Replication
from lab.scenario import Scenario
from simulation import simulate

Make = Callable[..., Record]

PAIRS = 16
TASKS = 2_500
BASE = Scenario.parse(
    f"""\
name: base
seed: 1
workload:
  arrivals: {{kind: poisson, rate_per_s: 6.12, count: {TASKS}}}  # · 1.111 attempts / 8 slots: ρ = .85
  roles: {{A: {{service: {{dist: exponential, mean_s: 1.0}}, failure_rate: 0.1}}}}
mesh: {{workers: 8, slots: 1}}
rules: {{retry: {{base_s: 0.25, max_retries: 3}}, health: {{report_s: 600.0}}}}
profile: ideal
"""
)


def replication(seed: int, *latency_s: float, attempts: int = 3) -> Replication:
    values = np.array(latency_s)
    summary = {"throughput_per_s": 2.0, "tasks": {"attempts": attempts, "dead": 0}}
    times = Times(np.arange(len(values)), values, values - 1, values, np.zeros(len(values), dtype=np.int8))
    return Replication(seed, summary, times, ())


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_the_difference_of_means_has_students_interval_over_the_pairs() -> None:
    pairs = [
        (replication(1, 1, 3), replication(1, 2, 4)),  # means 2 and 3: 1 apart
        (replication(2, 5, 7), replication(2, 7, 11)),  # 6 and 9: 3 apart
        (replication(3, 3, 5), replication(3, 5, 7)),  # 4 and 6: 2 apart
    ]
    found = paired.of_pairs(pairs)["latency_s.mean"]
    # A 4, B 6; the differences 1, 3, 2: s = 1, n = 3: 4.3027 / √3 = 2.4842. Variances 4 + 9 against 1.
    assert (found["a"], found["b"], found["difference"]) == (4.0, 6.0, 2.0)
    assert found["ci95"] == pytest.approx([2 - 2.4842, 2 + 2.4842], abs=1e-3)
    assert found["variance_reduction"] == pytest.approx(13.0)


def test_percentiles_are_those_of_the_pooled_tasks() -> None:
    pairs = [
        (replication(1, 1, 2, 9), replication(1, 1, 4, 9)),
        (replication(2, 3, 8, 20), replication(2, 3, 8, 30)),
    ]
    found = paired.of_pairs(pairs)["latency_s.p50"]
    assert (found["a"], found["b"]) == (5.5, 6.0)  # of all six; the runs' own medians are 2, 8 and 4, 8
    assert found["difference"] == 0.5


def test_what_never_varies_has_no_variance_to_reduce() -> None:
    pairs = [(replication(n, 1.0 + n, 2.0), replication(n, 1.0 + n, 2.0)) for n in (1, 2)]
    found = paired.of_pairs(pairs)
    assert found["latency_s.mean"] == {
        "a": 2.25, "b": 2.25, "difference": 0.0, "ci95": [0.0, 0.0], "variance_reduction": None,
    }  # fmt: skip
    assert found["tasks.attempts"]["variance_reduction"] is None


def test_a_pair_without_a_value_tells_no_difference() -> None:
    pairs = [(replication(1, 2.0), replication(1, 3.0)), (replication(2), replication(2, 5.0))]
    found = paired.of_pairs(pairs)["latency_s.mean"]
    assert (found["a"], found["b"], found["ci95"]) == (2.0, 3.0, None)
    assert "latency_s.mean" not in paired.of_pairs([(replication(1), replication(1))])


def test_many_pairs_are_put_together_in_groups() -> None:
    rng = np.random.default_rng(3)
    pairs = [(replication(n, *rng.normal(5, 1, 4)), replication(n, *rng.normal(6, 1, 4))) for n in range(120)]
    found = paired.of_pairs(pairs)["latency_s.p95"]
    everyone = [np.concatenate([pair[side].times.latency_s for pair in pairs]) for side in (0, 1)]
    assert found["a"] == pytest.approx(np.quantile(everyone[0], 0.95))
    assert found["b"] == pytest.approx(np.quantile(everyone[1], 0.95))


# ---- two scenarios ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "least"),
    # 400 pairs of 5,000 tasks had 2.2, 2,460 and 20.6 (reference, section 8); of few pairs the ratio varies by a third.
    [
        ({"mesh.workers": 9}, 1.0),
        ({"rules.retry.base_s": 0.5}, 50.0),
        ({"workload.roles.A.failure_rate": 0.12}, 5.0),
    ],
)
def test_common_random_numbers_reduce_the_variance(change: dict[str, Any], least: float) -> None:
    found = paired.ab(simulate, BASE, BASE.override(change), PAIRS, cores=1)
    assert found.seeds == list(range(1, PAIRS + 1))
    assert found.figures["latency_s.mean"]["variance_reduction"] > least, f"seeds {found.seeds}"
    low, high = found.figures["latency_s.mean"]["ci95"]
    assert low < found.figures["latency_s.mean"]["difference"] < high
    assert not low <= 0 <= high  # each of these changes is seen
    assert f"{PAIRS} pairs of replications" in found.method
    assert list(found.table().index) == list(paired.FIGURES)


def test_two_scenarios_run_with_the_seeds_of_the_first() -> None:
    few = BASE.override({"workload.arrivals.count": 30})
    found = paired.ab(simulate, few, few.override({"seed": 99, "mesh.workers": 9}), 2, cores=1)
    assert found.seeds == [1, 2]
    assert found.failed_checks == []
    assert found.figures["tasks.attempts"]["difference"] == 0.0  # the same attempts fail


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"workload.arrivals.count": 2_501}, "A has 2,500 tasks, B 2,501"),
        ({"workload.arrivals.rate_per_s": 7.0}, "task 0 arrives at"),
        (
            {"workload.roles": {"B": {"service": {"dist": "constant", "mean_s": 1}}}},
            "task 0 has the role A in A, B in B",
        ),
        ({"workload.roles.A.priority": 5}, "task 0 has priority 3 in A, 5 in B (2,500 tasks differ)"),
    ],
)
def test_scenarios_without_a_common_plan_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="do not run the same tasks") as refused:
        paired.ab(simulate, BASE, BASE.override(change), 2, cores=1)
    assert said in str(refused.value)


def test_stopped_before_two_pairs_it_says_nothing() -> None:
    with pytest.raises(Interrupted, match="when 0 of 2 pairs of runs were done"):
        paired.ab(simulate, BASE, BASE, 2, cores=1, stop=lambda: True)


# ---- two records -----------------------------------------------------------------------------------------------------


def test_two_records_are_paired_task_by_task_in_batches() -> None:
    a, b = simulate(BASE), simulate(BASE.override({"rules.retry.base_s": 0.5}))
    found = paired.of_records(a, b)
    apart = Times.of(b).latency_s - Times.of(a).latency_s
    apart = apart[~np.isnan(apart)]
    mean = found.figures["latency_s.mean"]
    assert mean["difference"] == pytest.approx(apart.mean())
    means = np.array([batch.mean() for batch in statistics.batches(apart)])
    expected = statistics.of_contributions(apart.mean(), means, serial=True).ci95
    assert mean["ci95"] == pytest.approx(expected, abs=1e-3)  # batches that differ by a task weigh a trifle apart
    assert mean["variance_reduction"] > 50
    assert found.figures["throughput_per_s"]["ci95"] is None
    assert "20 batches of the tasks of one pair of runs" in found.method


def test_only_tasks_that_have_a_figure_in_both_runs_count(make: Make) -> None:
    done = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
    late = [(0.0, "submitted"), (0.0, "claimed"), (3.0, "succeeded")]
    dead = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "dead")]
    found = paired.of_records(make(done, dead, done), make(late, late, dead)).figures
    assert (found["latency_s.mean"]["a"], found["latency_s.mean"]["b"]) == (1.0, 3.0)
    assert found["latency_s.mean"]["ci95"] is None  # one task is no batch
    assert found["tasks.dead"]["difference"] == 0.0
