"""Knobs that are turned while a mesh runs: what holds when, what an attempt comes to, what cannot be turned."""

from __future__ import annotations

from typing import Any

import pytest

from lab import changes, limits
from lab.errors import ScenarioError
from lab.faults import knob_range
from lab.scenario import Scenario
from lab.workload import Plan

Data = dict[str, Any]
TEXT = """\
seed: 7
workload:
  arrivals: {kind: schedule, until_s: 100, entries: [{at_s: 0, count: 2000}, {at_s: 50, rate_per_s: 1}]}
  roles:
    A: {service: {dist: constant, mean_s: 2}, failure_rate: 0.5}
    B: {service: {dist: constant, mean_s: 2}, fail_first: 1}
mesh: {workers: 3, slots: 5}
"""


def change(at_s: float, knob: str, value: float) -> Data:
    return {"kind": "change", "at_s": at_s, "knob": knob, "value": value}


def scenario(*faults: Data, **settings: Any) -> Scenario:
    return Scenario.parse(TEXT).override({"faults": list(faults), **settings})


TURNED = scenario(
    change(20, "workers", 2),  # the order in the file is nobody's business
    change(10, "workers", 8),
    change(10, "slots", 1),
    change(10, "failure_rate", 0.25),
    change(10, "retry_base_s", 4),
    change(10, "rss_limit_mib", 100),
)


@pytest.mark.parametrize(
    ("at_s", "workers", "slots", "failure_a", "failure_b", "base_s", "limit_mib"),
    [
        (0, 3, 5, 0.5, 0.0, 1.0, 512.0),
        (9.999999, 3, 5, 0.5, 0.0, 1.0, 512.0),
        (10, 8, 1, 0.25, 0.25, 4.0, 100.0),  # from its very moment on, and the failure rate for all roles
        (20, 2, 1, 0.25, 0.25, 4.0, 100.0),
        (1e6, 2, 1, 0.25, 0.25, 4.0, 100.0),
    ],
)
def test_what_holds_when(
    at_s: float, workers: int, slots: int, failure_a: float, failure_b: float, base_s: float, limit_mib: float
) -> None:
    assert (changes.workers_at(TURNED, at_s), changes.slots_at(TURNED, at_s)) == (workers, slots)
    assert [changes.failure_rate_at(TURNED, role, at_s) for role in ("A", "B")] == [failure_a, failure_b]
    assert changes.retry_at(TURNED, at_s).base_s == base_s
    assert changes.health_at(TURNED, at_s).rss_limit_mib == limit_mib
    assert changes.workers_most(TURNED) == 8
    assert changes.turned(TURNED, "workers") == ((10, 8), (20, 2))


def test_what_is_not_turned_is_the_scenarios_own() -> None:
    rules = scenario().rules
    assert changes.retry_at(scenario(), 5) is rules.retry
    assert changes.health_at(scenario(), 5) is rules.health


def test_the_bounds_of_a_knob_are_those_of_the_scenario() -> None:
    assert [str(knob_range(knob)) for knob in ("failure_rate", "retry_base_s")] == ["0 to 1", "0 to 86,400"]
    assert knob_range("workers").high == limits.WORKERS_MAX
    assert knob_range("rss_limit_mib").above


# ---- the failure rate ------------------------------------------------------------------------------------------------


def test_the_same_draw_decides_by_the_rate_of_the_moment() -> None:
    """Who fails at 25 % fails at 50 % too: the draw is the task's own, and only the threshold moves."""
    plan = Plan(
        scenario(change(10, "failure_rate", 0.25), change(20, "failure_rate", 1), change(30, "failure_rate", 0))
    )
    of_a = [task for task in range(2000) if plan.role[task] == 0]
    half, quarter = ({task for task in of_a if plan.outcome(task, 1, at_s, 0).failed} for at_s in (0, 10))
    assert quarter < half
    assert half == {task for task in of_a if plan.fails(task, 1)}
    assert abs(len(half) / len(of_a) - 0.5) < 0.06  # four standard deviations of a thousand
    assert abs(len(quarter) / len(of_a) - 0.25) < 0.06
    assert all(plan.outcome(task, 3, 20, 0).failed for task in range(50))
    assert not any(plan.outcome(task, 1, 30, 0).failed for task in of_a)


def test_what_fails_for_certain_fails_at_any_rate() -> None:
    plan = Plan(scenario(change(10, "failure_rate", 0)))
    of_b = [task for task in range(2000) if plan.role[task] == 1][:20]
    assert all(plan.outcome(task, 1, 10, 0).failed for task in of_b)
    assert not any(plan.outcome(task, 2, 10, 0).failed for task in of_b)


# ---- what cannot be --------------------------------------------------------------------------------------------------

TWICE = [change(5, "slots", 2), change(5, "slots", 3)]
KILL: Data = {"kind": "kill_worker", "worker": 4}
# the faults, then the path and a piece of the message
BROKEN = [
    (TWICE, "faults[1]", "faults[0] changes slots at 5 s too; only one of them can hold"),
    (
        [change(5, "workers", 10_000), change(6, "slots", 101)],
        "faults[1].value",
        "from 6 s on workers × slots is 1,010,0",
    ),
    ([change(5, "workers", 5), {**KILL, "at_s": 4}], "faults[1].worker", "mesh.workers allows 0 to 2"),
    ([change(5, "workers", 4), {**KILL, "at_s": 5}], "faults[1].worker", "the mesh then has 0 to 3"),
]


@pytest.mark.parametrize(("faults", "path", "message"), BROKEN, ids=[broken[1] for broken in BROKEN])
def test_what_cannot_be_is_told_with_its_path(faults: list[Data], path: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario(*faults)
    assert [path] == [one.path for one in caught.value.problems if message in one.message], str(caught.value)


def test_a_worker_that_has_been_added_may_be_struck() -> None:
    assert len(scenario(change(5, "workers", 5), {**KILL, "at_s": 5}).faults) == 2


# ---- the end of a session --------------------------------------------------------------------------------------------


def test_a_session_that_was_stopped_has_no_tasks_and_faults_from_then_on() -> None:
    ended = changes.stopped(scenario(change(10, "workers", 8), change(60, "workers", 2)), 60)
    assert Plan(ended).count == 2010  # 2,000, and one a second from 50 to 60
    assert Plan(ended).arrival_s[-1] == 59
    assert [fault.at_s for fault in ended.faults] == [10]
    assert Plan(changes.stopped(scenario(), 50)).count == 2000


def test_a_session_to_which_nothing_came_is_no_scenario() -> None:
    with pytest.raises(ScenarioError):
        changes.stopped(scenario(), 0)
