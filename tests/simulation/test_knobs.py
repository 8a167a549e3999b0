"""Knobs turned while the model runs, on meshes small enough to follow with a pencil; and that a scenario which grows
keeps its past. Random ones print their number, which replays them: `pytest tests/simulation/test_knobs.py -k "[3]"`.
"""

from __future__ import annotations

import random
from typing import Any

import pandas as pd
import pytest

from lab import Scenario
from lab.changes import health_at, retry_at
from lab.checks import check
from lab.record import Record
from lab.rules.tasks import Event
from lab.workload import Plan
from simulation import simulate
from simulation.engine import Model
from tests.simulation.test_random_scenarios import _scenario as random_scenario

Data = dict[str, Any]


def change(at_s: float, knob: str, value: float) -> Data:
    return {"kind": "change", "at_s": at_s, "knob": knob, "value": value}


def claims_s(record: Record) -> list[float]:
    rows = record.transitions
    return rows.loc[rows["reason"] == Event.CLAIMED, "at_s"].tolist()


def noted(record: Record, kind: str) -> list[tuple[str, float]]:
    rows = record.events[record.events["kind"] == kind]
    return [(str(worker), at_s) for worker, at_s in zip(rows["worker"], rows["t_s"], strict=True)]


def sound(record: Record) -> bool:
    assert record.info["checks"]["ok"], record.info["checks"]
    return not record.info["stalled"]


# ---- workers and slots: tasks of 2 s, all there at 0 -----------------------------------------------------------------

# tasks, workers × slots, the changes, then when tasks are claimed
TURNED = [
    (4, 1, 1, [change(1, "workers", 3)], [0, 1, 1, 2]),
    (6, 3, 1, [change(1, "workers", 1)], [0, 0, 0, 2, 4, 6]),
    (6, 3, 1, [change(1, "workers", 1), change(3, "workers", 2)], [0, 0, 0, 2, 3, 4]),  # its place is empty: at once
    (
        6,
        3,
        1,
        [change(1, "workers", 1), change(1.5, "workers", 3)],
        [0, 0, 0, 2, 3, 3],
    ),  # they leave at 2, new ones at 3
    (5, 1, 2, [change(1, "workers", 2), change(1.5, "slots", 1)], [0, 0, 1, 1, 2]),  # then all six slots are two
    (8, 1, 4, [change(1, "slots", 1)], [0, 0, 0, 0, 2, 4, 6, 8]),
    (6, 1, 1, [change(1, "slots", 4)], [0, 1, 1, 1, 2, 3]),
    (
        7,
        1,
        3,
        [change(1, "slots", 1), change(1.5, "slots", 2)],
        [0, 0, 0, 2, 2, 4, 4],
    ),  # of two that were to go one stays
    (4, 2, 1, [change(1, "slots", 2)], [0, 0, 1, 1]),  # of every worker
]


@pytest.mark.parametrize(("tasks", "workers", "slots", "faults", "claimed_s"), TURNED)
def test_when_tasks_are_claimed(
    build, tasks: int, workers: int, slots: int, faults: list[Data], claimed_s: list[float]
) -> None:
    record = simulate(build(workload__arrivals__count=tasks, mesh={"workers": workers, "slots": slots}, faults=faults))
    assert claims_s(record) == pytest.approx(claimed_s)
    assert sound(record)


def test_the_last_workers_leave_and_are_not_replaced(build) -> None:
    """The grace is over half a second after they were asked: what they run is handed back, and does not count."""
    rules = {"shutdown": {"grace_s": 0.5}}
    faults = [change(1, "workers", 1)]
    record = simulate(build(workload__arrivals__count=3, mesh={"workers": 3, "slots": 1}, rules=rules, faults=faults))
    assert noted(record, "worker_left") == [("w1.1", 1.5), ("w2.1", 1.5)]
    assert len(noted(record, "worker_started")) == 3
    assert claims_s(record) == [0, 0, 0, 2, 4]
    assert record.info["summary"]["tasks"]["attempts"] == 3
    assert sound(record)


def test_a_place_that_was_killed_and_given_up_stays_empty(build) -> None:
    """Killed at 1, to be replaced at 2, given up at 1.5; asked for again at 4, it starts then as its second life."""
    faults = [
        {"kind": "kill_worker", "worker": 1, "at_s": 1},
        change(1.5, "workers", 1),
        change(4, "workers", 2),
    ]
    record = simulate(build(workload__arrivals__count=4, mesh={"workers": 2, "slots": 1}, faults=faults))
    assert noted(record, "worker_started")[2:] == [("w1.2", 4.0)]
    assert sound(record)


def test_a_worker_that_has_not_started_yet_cannot_be_struck(build) -> None:
    """The default profile's worker takes some time to start: a kill before that hits nobody, and it starts all the
    same."""
    faults = [change(1, "workers", 2), {"kind": "kill_worker", "worker": 1, "at_s": 1.000001}]
    record = simulate(build(workload__arrivals__count=4, profile="default", faults=faults))
    assert noted(record, "worker_left") == []
    assert [worker for worker, _ in noted(record, "worker_started")] == ["w0.1", "w1.1"]


def test_admission_counts_the_workers_that_there_should_be(build) -> None:
    """Two of four are frozen from 1 on and count as closed from 4 on (three reports missing): half, so admission
    closes. With six workers from 2 on it is a third, and stays open."""
    role = {"service": {"dist": "constant", "mean_s": 0.1}}
    values = {
        "workload": {"arrivals": {"kind": "constant", "rate_per_s": 2, "duration_s": 8}, "roles": {"A": role}},
        "mesh": {"workers": 4, "slots": 2},
    }
    frozen = [{"kind": "pause_worker", "at_s": 1, "worker": worker, "for_s": 6} for worker in (0, 1)]
    assert len(noted(simulate(build(**values, faults=frozen)), "admission_closed")) == 1
    more = simulate(build(**values, faults=[*frozen, change(2, "workers", 6)]))
    assert noted(more, "admission_closed") == []


# ---- the other knobs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turned_s", "due_s"),
    [(100, [4.0, 10.0]), (3, [4.0, 6.4]), (2, [2.2, 4.6]), (6.000001, [4.0, 10.0])],
)
def test_a_backoff_goes_by_the_base_of_its_failures_moment(build, turned_s: float, due_s: list[float]) -> None:
    """Base 1: fails at 2, waits 2; fails at 6, waits 4. Turned to 0.1: waits 0.2 and 0.4 instead."""
    record = simulate(build(workload__roles__A__fail_first=2, faults=[change(turned_s, "retry_base_s", 0.1)]))
    rows = record.transitions
    assert rows.loc[rows["reason"] == Event.DUE, "at_s"].tolist() == pytest.approx(due_s)
    assert sound(record)


def test_jitter_is_laid_on_the_base_of_the_moment(build) -> None:
    rules = {"retry": {"jitter": 0.5}}
    values = {"workload__roles__A__fail_first": 1, "rules": rules}
    longer, base = (simulate(build(**values, faults=faults)) for faults in ([change(1, "retry_base_s", 3)], []))
    waits = [float(record.transitions["delay_s"].max()) for record in (longer, base)]
    assert waits[0] == pytest.approx(3 * waits[1])


def test_attempts_fail_by_the_rate_at_which_they_start(build) -> None:
    """A task a second, of half a second each: all fail that start in [5, 10)."""
    role = {"service": {"dist": "constant", "mean_s": 0.5}}
    arrivals = {"kind": "constant", "rate_per_s": 1, "count": 15}
    faults = [change(5, "failure_rate", 1), change(10, "failure_rate", 0)]
    values = {"workload": {"arrivals": arrivals, "roles": {"A": role}}, "mesh": {"workers": 1, "slots": 20}}
    record = simulate(build(**values, rules={"retry": {"base_s": 100}}, faults=faults))
    assert record.tasks.loc[record.tasks["retries"] > 0, "id"].tolist() == [5, 6, 7, 8, 9]
    assert sound(record)


def test_gates_are_judged_by_the_limit_of_the_reports_moment(build) -> None:
    """100 MiB held from 0 to 6: 100 / 512 is healthy. From 2.5 on the limit is 80: the report of 3 closes the gate.
    From 4.5 on it is 200, and a score of 0.5 opens it at 5."""
    role = {"service": {"dist": "constant", "mean_s": 6.0}, "memory_mib": 100}
    faults = [change(2.5, "rss_limit_mib", 80), change(4.5, "rss_limit_mib", 200)]
    record = simulate(build(workload__roles__A=role, faults=faults))
    assert noted(record, "gate_closed") == [("w0.1", 3.0)]
    assert noted(record, "gate_opened") == [("w0.1", 5.0)]


@pytest.mark.parametrize("base_s", [0.5, 3.0])
def test_the_model_turns_what_the_scenario_says_of_the_moment(build, base_s: float) -> None:
    """`lab.changes` and the model's own knobs agree, also where the base is turned twice."""
    faults = [change(1, "retry_base_s", 9), change(2, "retry_base_s", base_s), change(2, "rss_limit_mib", 77)]
    scenario = build(faults=faults, workload__roles__A__fail_first=1)
    model = Model(Plan(scenario))
    model.clock.run(until=2.5)
    assert model.store.automaton._rules == retry_at(scenario, 2.5)
    assert model.health._rules == health_at(scenario, 2.5)


# ---- the checks ------------------------------------------------------------------------------------------------------


def test_a_retry_that_ignores_a_turned_base_is_found(build) -> None:
    """Fails at 2 and waits 2 s. Had the base been turned to 3 before that, it should have waited 6. A live worker may
    have heard of it a second late, and its verdict been committed when the lease was over: 1 + 0.3 + 0.1 s."""
    failing = build(workload__roles__A__fail_first=1, rules__lease={"length_s": 0.3, "sweep_s": 0.1})

    def verdict(engine: str, turned_s: float) -> bool:
        record = simulate(failing)
        turned = failing.override({"faults": [change(turned_s, "retry_base_s", 3)]})
        record.info |= {"engine": engine, "scenario": turned.data}
        return next(one.ok for one in check(record) if one.name == "backoff_kept")

    assert [verdict("sim", turned_s) for turned_s in (1.5, 2.5)] == [False, True]
    assert [verdict("live", turned_s) for turned_s in (0.5, 0.7)] == [False, True]


ALL_FIVE = [
    change(1, "workers", 5),
    change(2, "slots", 2),
    change(3, "failure_rate", 0.4),
    change(4, "retry_base_s", 0.1),
    change(5, "rss_limit_mib", 170),
    change(7, "workers", 2),
    change(8, "slots", 9),
    change(9, "failure_rate", 0),
    change(10, "rss_limit_mib", 512),
]


@pytest.mark.parametrize("number", range(16))
def test_turning_breaks_no_check(number: int) -> None:
    draw = random.Random(number)
    data = random_scenario(draw)
    data["faults"] = [fault for fault in data["faults"] if fault.get("worker", 0) < 2]
    data["mesh"]["workers"] = max(2, data["mesh"]["workers"])
    data["faults"] += [{**one, "at_s": one["at_s"] + draw.uniform(-1, 1)} for one in draw.sample(ALL_FIVE, 6)]
    scenario = Scenario.from_data(data)
    record = simulate(scenario)
    may_lose = not scenario.rules.lease.reclaims or scenario.rules.health.restart_after_s is None
    broken = set(record.info["checks"]["failed"]) - ({"nothing_lost"} if may_lose else set())
    assert not broken, f"random scenario {number}: {record.info['checks']['details']}"


# ---- a scenario that grows -------------------------------------------------------------------------------------------


def until(table: pd.DataFrame, column: str, moment_s: float) -> list[tuple[Any, ...]]:
    """The rows of a record's table from before a moment."""
    return list(table[table[column] < moment_s].itertuples(index=False, name=None))


@pytest.mark.parametrize("number", range(8))
def test_what_is_done_at_a_moment_changes_nothing_before_it(number: int) -> None:
    draw = random.Random(number)
    moment_s = round(draw.uniform(1, 9), 3)
    data = random_scenario(draw)
    entries: list[Data] = [{"at_s": 0, "count": 40}, {"at_s": 0.5, "rate_per_s": 15}]
    arrivals = {"kind": "schedule", "until_s": 12, "spacing": "poisson", "entries": entries}
    data = data | {"workload": data["workload"] | {"arrivals": arrivals}}
    data["faults"] = [fault for fault in data["faults"] if fault["at_s"] < moment_s]
    before = Scenario.from_data(data)
    workers = {"kind": "change", "at_s": moment_s, "knob": "workers", "value": draw.randint(1, 6)}
    more = [workers, *(one for one in ALL_FIVE if one["at_s"] > moment_s and one["knob"] != "workers")]
    after = before.override(
        {
            "faults": [*data["faults"], *more],
            "workload.arrivals.entries": [*entries, {"at_s": moment_s, "count": 100}],
        }
    )
    old, new = simulate(before), simulate(after)
    assert until(old.transitions, "at_s", moment_s) == until(new.transitions, "at_s", moment_s)
    assert until(old.samples, "t_s", moment_s) == until(new.samples, "t_s", moment_s)
    assert until(old.events, "t_s", moment_s) == until(new.events, "t_s", moment_s)
