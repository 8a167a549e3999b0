"""The published claims that are exact arithmetic, held by the model to the microsecond."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Scenario
from lab.rules.tasks import State
from simulation import simulate

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.mark.parametrize(
    ("workers", "makespan_s", "last_high_s", "last_medium_s", "last_low_s"),
    [
        (
            3,
            68.0,
            38.0,
            52.0,
            66.0,
        ),  # 15 slots: ⌈500/15⌉ = 34 rounds of 2 s; 300 high are 20 rounds, the last starts at 19 · 2
        (1, 200.0, 118.0, 158.0, 198.0),  # 5 slots: 100 rounds; 300/5 = 60, 100/5 = 20, 20 rounds
    ],
)
def test_burst_of_500_drains_as_computed(
    workers: int, makespan_s: float, last_high_s: float, last_medium_s: float, last_low_s: float
) -> None:
    scenario = Scenario.load(SCENARIOS / "sdlc_stress_500.yaml").override({"mesh.workers": workers})
    record = simulate(scenario)
    assert record.info["summary"]["makespan_s"] == makespan_s
    starts = record.tasks.groupby("queue", observed=True)["first_claim_s"].max()
    assert starts.to_dict() == {"agent_high": last_high_s, "agent_medium": last_medium_s, "agent_low": last_low_s}
    assert record.tasks["queue"].value_counts().to_dict() == {"agent_high": 300, "agent_medium": 100, "agent_low": 100}
    assert record.info["checks"]["ok"]


def test_a_poison_task_is_dead_after_six_attempts_at_74_s(build) -> None:
    record = simulate(build(workload__roles__A__failure_rate=1.0))
    task = record.tasks.iloc[0]
    assert (task["state"], task["attempts"], task["done_s"]) == (State.PERMANENT_FAILURE, 6, 74.0)  # 6 · 2 + 62
    waits = record.transitions.loc[record.transitions["to"] == State.RETRY_WAIT, "delay_s"]
    assert waits.tolist() == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_five_retries_are_not_yet_death(build) -> None:
    record = simulate(build(workload__roles__A__fail_first=5))
    task = record.tasks.iloc[0]
    assert (task["state"], task["attempts"], task["done_s"]) == (State.COMPLETED, 6, 74.0)


def test_poison_frees_its_slots_while_it_waits_and_blocks_them_when_published() -> None:
    """Good tasks: 5 at 2 to 4 s and 5 at 4 to 6 s; with sleeping slots only from 4 s on, so 6 and 8 s."""
    done = {}
    for name in ("poison", "poison_published"):
        tasks = simulate(Scenario.load(SCENARIOS / f"{name}.yaml")).tasks
        done[name] = sorted(set(tasks.loc[tasks["role"] == "GOOD", "done_s"]))
    assert done == {"poison": [4.0, 6.0], "poison_published": [6.0, 8.0]}


def test_published_mesh_loses_what_a_killed_worker_ran_and_the_lab_does_not() -> None:
    published = Scenario.load(SCENARIOS / "agent_mesh_published.yaml")
    lost = simulate(published)
    assert lost.info["checks"]["failed"] == ["nothing_lost"]
    assert (lost.tasks["state"] == State.RUNNING).sum() == 5  # its five slots
    cured = simulate(
        published.override({"rules.preset": "lab", "workload.roles": _with_service(published), "mesh.workers": 3})
    )
    assert cured.info["checks"]["ok"]
    assert cured.info["summary"]["tasks"]["reclaimed"] == 5


def _with_service(scenario: Scenario) -> dict[str, object]:
    """The roles with the service that the preset gave them."""
    return {name: role.model_dump() for name, role in scenario.workload.roles.items()}


def test_go_queue_preset_over_many_tasks() -> None:
    """0.25⁴ = 0.390625 % dead, 1 + 0.25 + 0.25² + 0.25³ = 1.328125 attempts: within four standard errors of 40,000
    tasks.
    """
    scenario = Scenario.load(SCENARIOS / "go_queue_published.yaml").override(
        {"workload.arrivals": {"kind": "constant", "rate_per_s": 8, "count": 40_000}, "rules.health.report_s": 60.0}
    )
    counts = simulate(scenario).info["summary"]["tasks"]
    dead, mean_attempts = counts["dead"] / 40_000, counts["attempts"] / 40_000
    assert dead == pytest.approx(0.00390625, abs=4 * (0.0039 * 0.9961 / 40_000) ** 0.5)
    assert mean_attempts == pytest.approx(1.328125, abs=4 * 0.62 / 200)
