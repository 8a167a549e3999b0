"""The fault vocabulary: what each window means for one attempt, what is refused, and what an attempt comes to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lab import faults, limits
from lab.errors import ScenarioError
from lab.scenario import Scenario
from lab.workload import Outcome, Plan

TEXT = """\
seed: 7
workload:
  arrivals: {kind: burst, count: 2000}
  roles:
    A: {service: {dist: constant, mean_s: 2}}
    B: {service: {dist: constant, mean_s: 2}}
"""
ONE_OF_EACH: list[dict[str, Any]] = [
    {"kind": "kill_worker", "at_s": 1, "worker": 0},
    {"kind": "stop_worker", "at_s": 1, "worker": 0},
    {"kind": "pause_worker", "at_s": 1, "worker": 0, "for_s": 1},
    {"kind": "cut_worker", "at_s": 1, "worker": 0, "server": "redis", "for_s": 1},
    {"kind": "poison_task", "task": 0},
    {"kind": "redis_flush", "at_s": 1},
    {"kind": "redis_restart", "at_s": 1},
    {"kind": "postgres_restart", "at_s": 1},
    {"kind": "slow_service", "at_s": 1, "for_s": 1, "factor": 2},
    {"kind": "slow_worker", "at_s": 1, "worker": 0, "for_s": 1, "factor": 2},
    {"kind": "role_outage", "at_s": 1, "for_s": 1, "role": "A"},
    {"kind": "duplicate_submission", "at_s": 1},
    {"kind": "duplicate_completion", "at_s": 1, "for_s": 1},
    {"kind": "delay_completion", "at_s": 1, "for_s": 1, "delay_s": 1},
    {"kind": "redrive", "at_s": 1},
    {"kind": "change", "at_s": 1, "knob": "slots", "value": 8},
]


def scenario(*struck: dict[str, Any], **settings: Any) -> Scenario:
    """The scenario above with these faults, and other settings by dotted path."""
    return Scenario.parse(TEXT).override({"faults": list(struck), **settings})


def planned(*struck: dict[str, Any], **settings: Any) -> Plan:
    return Plan(scenario(*struck, **settings))


# ---- the vocabulary --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ONE_OF_EACH, ids=lambda fault: fault["kind"])
def test_each_kind_is_read_and_says_in_its_docstring_what_happens(fault: dict[str, Any]) -> None:
    (read,) = scenario(fault).faults
    assert read.kind == fault["kind"]
    assert len(type(read).__doc__ or "") > 40


def test_the_list_above_names_every_kind(root: Any) -> None:
    kinds = {fault["kind"] for fault in ONE_OF_EACH}
    schema = Scenario.model_json_schema()["properties"]["faults"]["items"]["discriminator"]["mapping"]
    assert set(schema) == kinds
    told = (root / "docs" / "FAULTS.md").read_text(encoding="utf-8")
    assert [kind for kind in kinds if f"`{kind}`" not in told] == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("kill_worker", "kill_worker worker 0"),
        ("cut_worker", "cut_worker worker 0 server redis"),
        ("role_outage", "role_outage role A"),
        ("poison_task", "poison_task task 0"),
        ("redis_flush", "redis_flush"),
        ("duplicate_submission", "duplicate_submission"),
        ("redrive", "redrive"),
        ("change", "change slots to 8"),
    ],
)
def test_a_fault_is_told_in_a_few_words(kind: str, words: str) -> None:
    (fault,) = scenario(next(one for one in ONE_OF_EACH if one["kind"] == kind)).faults
    assert faults.told(fault) == words


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("redis_restart", "keeps", "nothing"),
        ("redis_restart", "down_s", 0.5),
        ("role_outage", "share", 1.0),
        ("duplicate_submission", "tasks", 1),
        ("poison_task", "at_s", 0.0),
        ("poison_task", "after_s", 0.0),
        ("redrive", "role", None),
    ],
)
def test_what_is_left_out(kind: str, field: str, value: object) -> None:
    (fault,) = scenario(next(one for one in ONE_OF_EACH if one["kind"] == kind)).faults
    assert getattr(fault, field) == value


# the kind, what is changed in it, then the path and a piece of the message
BROKEN = [
    ("cut_worker", {"worker": 9}, "faults[0].worker", "mesh.workers allows 0 to 2"),
    ("slow_worker", {"worker": 3}, "faults[0].worker", "mesh.workers allows 0 to 2"),
    ("cut_worker", {"server": "mysql"}, "faults[0].server", "'redis' or 'postgres'"),
    ("role_outage", {"role": "C"}, "faults[0].role", "there is no role 'C'; the workload has A, B"),
    ("role_outage", {"share": 0}, "faults[0].share", "greater than 0"),
    ("role_outage", {"share": 1.1}, "faults[0].share", "less than or equal to 1"),
    ("poison_task", {"task": 2000}, "faults[0].task", "workload.arrivals.count allows 0 to 1999"),
    ("poison_task", {"task": -1}, "faults[0].task", "greater than or equal to 0"),
    ("poison_task", {"after_s": -1}, "faults[0].after_s", "greater than or equal to 0"),
    ("redis_restart", {"keeps": "some"}, "faults[0].keeps", "'all_but_last_second'"),
    ("duplicate_submission", {"tasks": 0}, "faults[0].tasks", "greater than or equal to 1"),
    ("delay_completion", {"delay_s": 0}, "faults[0].delay_s", "greater than 0"),
    ("duplicate_completion", {"for_s": 0}, "faults[0].for_s", "greater than 0"),
    ("duplicate_completion", {"worker": 0}, "faults[0].worker", "unknown key 'worker'"),
    ("redrive", {"role": "C"}, "faults[0].role", "there is no role 'C'; the workload has A, B"),
    ("redrive", {"role": ""}, "faults[0].role", "at least 1 character"),
    ("redrive", {"at_s": -1}, "faults[0].at_s", "greater than or equal to 0"),
    ("redrive", {"for_s": 1}, "faults[0].for_s", "unknown key 'for_s'"),
    ("change", {"knob": "speed"}, "faults[0].knob", "'workers', 'slots', 'failure_rate'"),
    ("change", {"knob": "workers", "value": 0}, "faults[0].value", "a whole number from 1 to 10,000"),
    ("change", {"value": 2.5}, "faults[0].value", "a whole number from 1 to 100,000"),
    ("change", {"knob": "failure_rate", "value": 1.01}, "faults[0].value", "must be 0 to 1"),
    ("change", {"knob": "retry_base_s", "value": -1}, "faults[0].value", "must be 0 to 86,400"),
    ("change", {"knob": "rss_limit_mib", "value": 0}, "faults[0].value", "above 0, up to 1,048,576"),
    ("change", {"knob": "slots", "value": "8"}, "faults[0].value", "valid number"),
]


@pytest.mark.parametrize(("kind", "change", "path", "message"), BROKEN, ids=[f"{b[0]}-{b[2]}" for b in BROKEN])
def test_a_fault_that_cannot_be_is_told_with_its_path(
    kind: str, change: dict[str, Any], path: str, message: str
) -> None:
    good = next(one for one in ONE_OF_EACH if one["kind"] == kind)
    with pytest.raises(ScenarioError) as caught:
        scenario({**good, **change})
    assert [path] == [one.path for one in caught.value.problems if message in one.message], str(caught.value)


def test_a_redrive_of_one_role_names_it() -> None:
    (fault,) = scenario({"kind": "redrive", "at_s": 1, "role": "B"}).faults
    assert faults.told(fault) == "redrive role B"


def test_so_many_redrives_and_no_more() -> None:
    redrives = [{"kind": "redrive", "at_s": second} for second in range(limits.REDRIVES_MAX + 1)]
    assert len(scenario(*redrives[1:]).faults) == limits.REDRIVES_MAX
    with pytest.raises(ScenarioError, match=f"{len(redrives)} redrives; a run may have {limits.REDRIVES_MAX}"):
        scenario(*redrives)


def test_the_attempts_of_all_redrives_fit_the_record() -> None:
    attempts_max = limits.ATTEMPTS_MAX * (1 + limits.REDRIVES_MAX)
    assert attempts_max <= np.iinfo(np.int16).max  # lab/moves.py, lab/tables.py


def test_a_task_that_may_never_come_is_no_error_where_nobody_can_know() -> None:
    arrivals = {"kind": "poisson", "rate_per_s": 1, "duration_s": 10}
    struck = scenario({"kind": "poison_task", "task": 1_000_000}, **{"workload.arrivals": arrivals})
    assert Plan(struck).count < 1_000_000


# ---- windows ---------------------------------------------------------------------------------------------------------

SLOW = {"kind": "slow_service", "at_s": 10, "for_s": 10, "factor": 3}
SLOW_0 = {"kind": "slow_worker", "at_s": 15, "for_s": 10, "worker": 0, "factor": 2}
SLOW_1 = {"kind": "slow_worker", "at_s": 0, "for_s": 100, "worker": 1, "factor": 0.5}


@pytest.mark.parametrize(
    ("started_s", "place", "factor"),
    [
        (9.999999, 0, 1.0),
        (10.0, 0, 3.0),  # a window holds from its first moment …
        (15.0, 0, 6.0),  # 3 · 2
        (15.0, 1, 1.5),  # 3 · ½
        (15.0, 2, 3.0),
        (15.0, None, 3.0),  # nobody's place in particular
        (20.0, 0, 2.0),  # … to its last, which is not in it
        (24.999999, 0, 2.0),
        (25.0, 0, 1.0),
    ],
)
def test_slow_windows_multiply_and_a_slow_worker_slows_only_itself(
    started_s: float, place: int | None, factor: float
) -> None:
    struck = scenario(SLOW, SLOW_0, SLOW_1).faults
    assert faults.service_factor(struck, started_s, place) == factor


@pytest.mark.parametrize(
    ("started_s", "role", "share"),
    [(9, "A", 0.0), (10, "A", 0.2), (15, "A", 0.7), (20, "A", 0.7), (25, "A", 0.0), (15, "B", 0.0)],
)
def test_of_two_outages_the_wider_one_decides(started_s: float, role: str, share: float) -> None:
    narrow = {"kind": "role_outage", "at_s": 10, "for_s": 10, "role": "A", "share": 0.2}
    wide = {"kind": "role_outage", "at_s": 15, "for_s": 10, "role": "A", "share": 0.7}
    assert faults.outage_share(scenario(narrow, wide).faults, started_s, role) == share


@pytest.mark.parametrize(
    ("task", "started_s", "after_s"),
    [(3, 0.0, 5.0), (3, 9.9, 5.0), (3, 10.0, 1.0), (4, 10.0, math.inf)],
)
def test_a_poison_task_kills_from_its_moment_on(task: int, started_s: float, after_s: float) -> None:
    slow, quick = (
        {"kind": "poison_task", "task": 3, "after_s": 5},
        {"kind": "poison_task", "task": 3, "after_s": 1, "at_s": 10},
    )
    assert faults.kills_after_s(scenario(slow, quick).faults, task, started_s) == after_s


@pytest.mark.parametrize(
    ("ended_s", "delay_s", "twice"),
    [(9.9, 0.0, False), (10, 2.0, False), (12, 5.0, True), (15, 5.0, True), (20, 0.0, True), (22, 0.0, False)],
)
def test_verdicts_are_late_or_doubled_in_their_windows(ended_s: float, delay_s: float, twice: bool) -> None:
    short = {"kind": "delay_completion", "at_s": 10, "for_s": 10, "delay_s": 2}
    long = {"kind": "delay_completion", "at_s": 12, "for_s": 4, "delay_s": 5}
    double = {"kind": "duplicate_completion", "at_s": 12, "for_s": 10}
    struck = scenario(short, long, double).faults
    assert faults.completion_delay_s(struck, ended_s) == delay_s  # of two, the longer
    assert faults.is_delivered_twice(struck, ended_s) is twice


@pytest.mark.parametrize(
    ("before_s", "count", "tasks"),
    [(0.0, 5, []), (0.5, 5, [0]), (1.0, 5, [0]), (1.1, 5, [0, 1]), (2.5, 2, [1, 2]), (99, 3, [7, 8, 9])],
)
def test_the_last_submissions_before_a_moment_are_repeated(before_s: float, count: int, tasks: list[int]) -> None:
    plan = planned(**{"workload.arrivals": {"kind": "constant", "rate_per_s": 1, "count": 10}})  # at 0, 1, 2, … s
    assert list(plan.last_arrivals(before_s, count)) == tasks


# ---- what an attempt comes to ----------------------------------------------------------------------------------------

A_DOWN = {"kind": "role_outage", "at_s": 10, "for_s": 10, "role": "A"}


def of_role(plan: Plan, name: str) -> int:
    """A task of that role."""
    return int(np.flatnonzero(plan.role == plan.role_names.index(name))[0])


@pytest.mark.parametrize(
    ("settings", "started_s", "place", "outcome"),
    [
        ({}, 0.0, 0, Outcome(2.0, False, False)),
        ({}, 10.0, 0, Outcome(6.0, True, False)),  # 2 · 3, and A is out
        ({}, 15.0, 0, Outcome(12.0, True, False)),  # 2 · 3 · 2
        ({}, 20.0, 0, Outcome(4.0, False, False)),  # 2 · 2, and A is back
        ({"rules.retry.timeout_s": 2}, 0.0, 0, Outcome(2.0, False, False)),  # just in time
        ({"rules.retry.timeout_s": 1.5}, 0.0, 0, Outcome(1.5, True, False)),
        ({"rules.retry.timeout_s": 3}, 20.0, 0, Outcome(3.0, True, False)),  # the slow worker's are cut …
        ({"rules.retry.timeout_s": 3}, 20.0, 2, Outcome(2.0, False, False)),  # … the others' are not
        ({"workload.roles.A.failure_rate": 1}, 0.0, 0, Outcome(2.0, True, False)),
        ({"workload.roles.A.failure_rate": 1, "workload.roles.A.permanent_share": 1}, 0, 0, Outcome(2.0, True, True)),
        ({"workload.roles.A.fail_first": 1, "workload.roles.A.permanent_share": 1}, 0, 0, Outcome(2.0, True, True)),
        ({"workload.roles.A.permanent_share": 1}, 0, 0, Outcome(2.0, False, False)),  # a share of no failures
        # Cut or out, an attempt never came to its own failure: a retry may mend it.
        (
            {"rules.retry.timeout_s": 1, "workload.roles.A.fail_first": 1, "workload.roles.A.permanent_share": 1},
            0.0,
            0,
            Outcome(1.0, True, False),
        ),
        ({"workload.roles.A.fail_first": 1, "workload.roles.A.permanent_share": 1}, 10, 2, Outcome(6.0, True, False)),
    ],
)
def test_what_an_attempt_comes_to(settings: dict[str, Any], started_s: float, place: int, outcome: Outcome) -> None:
    plan = planned(SLOW, SLOW_0, A_DOWN, **settings)
    assert plan.outcome(of_role(plan, "A"), 1, started_s, place) == outcome


def test_without_anything_new_an_outcome_is_the_plan_as_it_always_was() -> None:
    changes = {"workload.roles.A.failure_rate": 0.4, "workload.roles.A.service": {"dist": "exponential", "mean_s": 1}}
    plan = planned(SLOW, **changes)
    for task in range(200):
        for attempt in (1, 2):
            factor = faults.service_factor(plan.scenario.faults, 12.0, 0)
            old = (plan.service_s(task, attempt) * factor, plan.fails(task, attempt), False)
            assert plan.outcome(task, attempt, 12.0, 0) == old


@pytest.mark.parametrize(
    ("fault", "settings", "purpose"),
    [
        ({**A_DOWN, "share": 0.3}, {}, "failed"),
        (SLOW, {"workload.roles.A.fail_first": 9, "workload.roles.A.permanent_share": 0.3}, "permanent"),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_shares_are_kept_and_drawn_anew_for_each_attempt(
    fault: dict[str, Any], settings: dict[str, Any], purpose: str, attempt: int
) -> None:
    plan = planned(fault, **settings)
    mine = np.flatnonzero(plan.role == plan.role_names.index("A")).tolist()
    hit = {task for task in mine if getattr(plan.outcome(task, attempt, 12.0, 0), purpose)}
    other = {task for task in mine if getattr(plan.outcome(task, 3 - attempt, 12.0, 0), purpose)}
    # About 1,000 tasks of A: √(0.3 · 0.7 / 1000) = 0.0145; four of them. Both: 0.09 ± 4 · 0.009.
    assert len(hit) / len(mine) == pytest.approx(0.3, abs=0.058)
    assert len(hit & other) / len(mine) == pytest.approx(0.09, abs=0.037)


# ---- patience --------------------------------------------------------------------------------------------------------


def test_clients_wait_for_ever_without_a_deadline() -> None:
    assert planned().patience_s(0, 1) == math.inf


def test_a_fixed_patience_is_everybodys() -> None:
    plan = planned(**{"rules.deadline.wait_s": 3})
    assert {plan.patience_s(task, attempt) for task in range(9) for attempt in (1, 2)} == {3.0}


def test_exponential_patience_is_drawn_for_each_try() -> None:
    plan = planned(**{"rules.deadline.wait_s": 3, "rules.deadline.spread": "exponential"})
    first, second = (np.array([plan.patience_s(task, attempt) for task in range(2000)]) for attempt in (1, 2))
    # The mean of 2,000 exponentials of mean 3: 3 ± 3/√2000 = ±0.067; four of them.
    assert first.mean() == pytest.approx(3.0, abs=0.27)
    assert second.mean() == pytest.approx(3.0, abs=0.27)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.09  # 4/√2000
    assert np.abs(first * 1e6 - np.rint(first * 1e6)).max() < 1e-3  # whole microseconds
