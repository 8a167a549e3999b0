"""An operator puts dead letters back into their queues (`redrive`), in virtual time, on meshes small enough to follow
with a pencil. Random ones print their number, which replays them: `pytest tests/simulation/test_redrive.py -k "[3]"`.
"""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from lab import Scenario
from lab.faults import Redrive
from lab.limits import ATTEMPTS_MAX
from lab.rules.tasks import Event, State
from lab.workload import Plan
from simulation import simulate
from simulation.engine import Model
from tests.simulation.test_random_scenarios import _scenario as random_scenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"
STORE_AWAY_S_MAX = 6.0
"""Two restarts of at most 3 s each may keep an operator waiting in `random_scenario`."""


def redrive(at_s: float, **more: object) -> dict[str, object]:
    return {"kind": "redrive", "at_s": at_s, **more}


def moves_of(record, task: int = 0) -> list[tuple[str, float]]:
    """Where a task went, and when."""
    rows = record.transitions[record.transitions["task"] == task]
    return [(str(to), at) for to, at in zip(rows["to"], rows["at_s"], strict=True)]


def redriven(record):
    return record.transitions[record.transitions["reason"] == Event.REDRIVEN]


def sound(record) -> bool:
    assert record.info["checks"]["ok"], record.info["checks"]
    return not record.info["stalled"]


# Two tries of 2 s with 2 s between them: dead at 6 s.
TWO_TRIES = {"rules__retry": {"max_retries": 1, "base_s": 1.0}, "workload__roles__A__fail_first": 2}
DEAD_AT_6 = [("PENDING", 0.0), ("RUNNING", 0.0), ("RETRY_WAIT", 2.0), ("PENDING", 4.0), ("RUNNING", 4.0),
             ("PERMANENT_FAILURE", 6.0)]  # fmt: skip


def test_a_run_whose_tasks_are_all_dead_waits_for_the_redrive_and_goes_on(build) -> None:
    record = simulate(build(**TWO_TRIES, faults=[redrive(10.0)]))
    assert moves_of(record) == [*DEAD_AT_6, ("PENDING", 10.0), ("RUNNING", 10.0), ("COMPLETED", 12.0)]
    assert sound(record)
    counts = record.info["summary"]["tasks"]
    assert (counts["submitted"], counts["completed"], counts["dead"], counts["attempts"]) == (1, 1, 0, 3)
    assert record.events.loc[record.events["kind"] == "fault", ["t_s", "detail"]].values.tolist() == [[10.0, "redrive"]]


def test_the_retry_count_restarts(build) -> None:
    """Attempt 3 is again the first that counts: it may fail, waits 1 · 2^1 = 2 s, and attempt 4 is the last one."""
    three = {**TWO_TRIES, "workload__roles__A__fail_first": 3}
    record = simulate(build(**three, faults=[redrive(10.0)]))
    again = [("PENDING", 10.0), ("RUNNING", 10.0), ("RETRY_WAIT", 12.0), ("PENDING", 14.0), ("RUNNING", 14.0)]
    assert moves_of(record) == [*DEAD_AT_6, *again, ("COMPLETED", 16.0)]
    assert sound(record)


@pytest.mark.parametrize(
    ("moments_s", "state", "attempts"),
    [
        ([], State.PERMANENT_FAILURE, 2),
        ([5.0], State.PERMANENT_FAILURE, 2),  # it dies at 6: nothing was dead yet
        ([6.5], State.PERMANENT_FAILURE, 4),  # dead again at 6.5 + 6
        ([6.5, 12.0], State.PERMANENT_FAILURE, 4),
        ([6.5, 13.0], State.COMPLETED, 5),
        ([13.0, 6.5], State.COMPLETED, 5),
    ],
)
def test_what_dies_later_stays_dead_until_the_next_one(
    build, moments_s: list[float], state: State, attempts: int
) -> None:
    four = {**TWO_TRIES, "workload__roles__A__fail_first": 4}
    record = simulate(build(**four, faults=[redrive(at_s) for at_s in moments_s]))
    assert record.tasks[["state", "attempts"]].values.tolist() == [[state, attempts]]
    assert sound(record)


def test_a_redrive_of_nothing_changes_nothing(build) -> None:
    plain, asked = simulate(build()), simulate(build(faults=[redrive(100.5)]))
    assert moves_of(plain) == moves_of(asked) == [("PENDING", 0.0), ("RUNNING", 0.0), ("COMPLETED", 2.0)]
    assert asked.events["t_s"].max() == 100.5  # it came all the same …
    assert asked.samples["t_s"].max() == 100.0  # … and with it the end: reports come every second
    assert sound(asked)


def test_only_the_role_that_is_asked_for_comes_back(build) -> None:
    role = {"service": {"dist": "constant", "mean_s": 1.0}, "fail_first": 1}
    record = simulate(
        build(
            workload__roles={"A": role, "B": role},
            workload__mix="exact",
            workload__arrivals__count=6,
            rules__retry__max_retries=0,
            faults=[redrive(20.0, role="B")],
        )
    )
    assert sound(record)
    states = record.tasks.groupby("role", observed=True)["state"].agg(set).to_dict()
    assert states == {"A": {State.PERMANENT_FAILURE}, "B": {State.COMPLETED}}


def test_they_join_the_back_of_their_queues_in_the_order_of_their_ids(build) -> None:
    """One slot, tries of 1 s: tasks 0, 1, 2 are dead at 1, 2, 3 s, task 3 runs from 3, and 4 and 5 wait when the
    operator acts at 3.5: those two go first."""
    record = simulate(
        build(
            workload__arrivals__count=6,
            workload__roles__A={"service": {"dist": "constant", "mean_s": 1.0}, "fail_first": 1},
            rules__retry__max_retries=0,
            faults=[redrive(3.5)],
        )
    )
    claims = record.transitions[record.transitions["reason"] == Event.CLAIMED]
    assert claims["task"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert claims["at_s"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert sound(record)


# ---- while other things go wrong -------------------------------------------------------------------------------------

ONE_TRY = {"rules__retry__max_retries": 0, "workload__roles__A__fail_first": 1}  # dead at 2 s


def test_while_the_store_is_away_the_operator_waits_and_so_does_the_run(build) -> None:
    """Away from 5 to 9 s: what was ordered at 6 happens at 9, and with nothing else to do the run waits for it."""
    faults = [{"kind": "postgres_restart", "at_s": 5.0, "down_s": 4.0}, redrive(6.0)]
    record = simulate(build(**ONE_TRY, faults=faults))
    assert moves_of(record)[-3:] == [("PENDING", 9.0), ("RUNNING", 9.0), ("COMPLETED", 11.0)]
    assert sound(record)


def test_while_redis_is_away_they_are_redriven_in_the_store_and_queued_by_the_sweep_after(build) -> None:
    """Away from 5 to 8.5 s; sweeps at whole seconds: the first one that finds it back is at 9."""
    faults = [{"kind": "redis_restart", "at_s": 5.0, "down_s": 3.5}, redrive(6.0)]
    record = simulate(build(**ONE_TRY, faults=faults))
    assert moves_of(record)[-3:] == [("PENDING", 6.0), ("RUNNING", 9.0), ("COMPLETED", 11.0)]
    assert sound(record)


@pytest.mark.parametrize("waits", [False, True])
def test_a_verdict_of_before_the_redrive_is_refused(build, waits: bool) -> None:
    """Work ends at 2, its verdict is under way until 22, the lease (renewed at 1.67) ends at 6.67: dead at the sweep
    at 7. Redriven at 21 it is at work again at 22; or still waits, if Redis is away until 25.5."""
    faults = [{"kind": "delay_completion", "at_s": 0.0, "for_s": 3.0, "delay_s": 20.0}, redrive(21.0)]
    if waits:
        faults.append({"kind": "redis_restart", "at_s": 20.5, "down_s": 5.0})
    lease = {"length_s": 5.0, "sweep_s": 1.0}
    record = simulate(build(rules__retry__max_retries=0, rules__lease=lease, faults=faults))
    again_s = 26.0 if waits else 21.0
    assert moves_of(record)[2:] == [
        ("PERMANENT_FAILURE", 7.0), ("PENDING", 21.0), ("RUNNING", again_s), ("COMPLETED", again_s + 2.0),
    ]  # fmt: skip
    refused = record.events[record.events["kind"] == "stale_write"]
    assert refused["t_s"].tolist() == [22.0]
    assert sound(record)


def test_the_client_of_a_redriven_task_waits_anew(build) -> None:
    """Two tasks on one slot, clients that wait 3 s: the second task waits 2 s twice, first from 0 and then from 10."""
    two = {**ONE_TRY, "workload__arrivals__count": 2}
    record = simulate(build(**two, rules__deadline__wait_s=3.0, faults=[redrive(10.0)]))
    assert moves_of(record, 1)[-3:] == [("PENDING", 10.0), ("RUNNING", 12.0), ("COMPLETED", 14.0)]
    assert sound(record)


def test_a_mesh_that_cannot_drain_is_not_given_up_before_the_operator_has_acted(build) -> None:
    record = simulate(
        build(
            rules__health__restart_after_s=None,
            faults=[{"kind": "kill_worker", "at_s": 1.0, "worker": 0}, redrive(500.0)],
        )
    )
    assert record.info["stalled"]
    assert record.samples["t_s"].max() >= 500.0


def test_more_attempts_than_any_rule_allows_without_a_redrive(build) -> None:
    """A process of a user's own redrives by hand: in a scenario without faults, whose tasks took the express lane."""
    scenario = build(
        workload__roles__A={"service": {"dist": "constant", "mean_s": 1.0}, "failure_rate": 1.0},
        rules__retry={"max_retries": ATTEMPTS_MAX - 1, "base_s": 0.0},
    )
    model = Model(Plan(scenario))

    def operator():
        for _ in range(2):
            yield model.clock.timeout(ATTEMPTS_MAX + 0.5)
            model.faults.strike(Redrive(kind="redrive", at_s=0.0))

    model.clock.process(operator())
    model.clock.run(until=400.0)
    assert model.store.standings[0].attempt == 3 * ATTEMPTS_MAX
    assert model.store.standings[0].state is State.PERMANENT_FAILURE


# ---- the scenario that ships, and random ones ------------------------------------------------------------------------


def test_the_shipped_scenario_shows_what_it_claims() -> None:
    """The arithmetic is in its first comment."""
    scenario = Scenario.load(SCENARIOS / "redrive.yaml").override({"profile": "ideal"})
    record = simulate(scenario)
    assert sound(record)
    assert (record.tasks["state"] == State.COMPLETED).all()
    back, dead = redriven(record), record.transitions[record.transitions["to"] == State.PERMANENT_FAILURE]
    assert back["task"].tolist() == dead["task"].tolist() == list(range(50, 105))  # arrivals at 5.0, 5.1, … 10.4 s
    assert dead["at_s"].max() == 12.5
    assert record.tasks.loc[back["task"], "done_s"].max() <= 13 + 55 * 0.5 / 15

    without = simulate(scenario.override({"faults": scenario.data["faults"][:1]}))
    assert without.info["summary"]["tasks"]["dead"] == 55


@pytest.mark.parametrize("number", range(60))
def test_in_random_scenarios_everything_that_is_dead_comes_back_and_no_check_is_broken(number: int) -> None:
    draw = random.Random(number)
    data = random_scenario(draw)
    moments_s = sorted(round(draw.uniform(0.0, 40.0), 2) for _ in range(draw.choice([1, 1, 3])))
    data["faults"] += [redrive(at_s) for at_s in moments_s]
    scenario = Scenario.from_data(data)
    record = simulate(scenario)
    may_lose = not scenario.rules.lease.reclaims or scenario.rules.health.restart_after_s is None
    broken = set(record.info["checks"]["failed"]) - ({"nothing_lost"} if may_lose else set())
    assert not broken, f"random scenario {number}: {record.info['checks']['details']}"
    for task, rows in record.transitions.groupby("task"):
        for (died_s, to), (left_s, _) in pairwise([*zip(rows["at_s"], rows["to"], strict=True), (float("inf"), "")]):
            passed = [at_s for at_s in moments_s if died_s < at_s < left_s - STORE_AWAY_S_MAX]
            assert to != State.PERMANENT_FAILURE or not passed, f"random scenario {number}: task {task} at {passed}"
