"""Guards are taken away one at a time, and each time something here must fail: a guard that nothing needs is either no
guard or not tested.

In the rulebook and the model a line of a function is replaced, in the live store a clause of a statement. What is
replaced must still stand there, so that a mutation cannot outlive its guard: who moves a guard moves it here too.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from lab.rules import retry, tasks
from lab.rules.tasks import MOVES, Event, Move, State
from live_backend import statements
from live_backend.servers import Servers
from simulation import automaton, fleet, leases, simulate, slots
from tests.conformance.cases import CASES
from tests.conformance.desk import TRIES, Try, deviations, receipts_of_a_repeated_key


def _without(owner: Any, name: str, guard: str, instead: str) -> Any:
    """The function `owner.name` with `guard` replaced, in the names of its own module."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert guard in source, f"{name} has no {guard!r} any more: take the guard away where it stands now"
    module = inspect.getmodule(function)
    assert module is not None
    made: dict[str, Any] = {}
    code = compile(
        "from __future__ import annotations\n" + source.replace(guard, instead), module.__file__ or "", "exec"
    )
    exec(code, module.__dict__, made)
    return made[name]


# ---- the rulebook and the model --------------------------------------------------------------------------------------


class Lines(NamedTuple):
    """A guard in a function, where it is asked for, and the case that must notice. `also`: modules that have imported
    the function by its name.
    """

    owner: Any
    name: str
    guard: str
    instead: str
    case: str
    also: tuple[ModuleType, ...] = ()


IN_CODE = {
    "fencing token of a success": Lines(
        fleet.Fleet,
        "report_success",
        "if self._store.standings[task] is not claim.standing:",
        "if False:",
        "a_verdict_that_comes_after_its_lease_is_refused",
    ),
    "fencing token of a failure": Lines(
        fleet.Fleet,
        "report_failure",
        "if store.standings[task] is not claim.standing:",
        "if False:",
        "a_verdict_that_comes_after_its_lease_is_refused",
    ),
    "fencing token in the rulebook": Lines(
        tasks,
        "transition",
        "if event in FENCED and task is not None and token != task.token:",
        "if False:",
        "a_verdict_that_comes_after_its_lease_is_refused",
        also=(automaton,),
    ),
    "lease end": Lines(
        slots.Worker,
        "lease_until_s",
        "return max(lapses_s, slot.sleeps_until_s)",
        "return silent_from_s",
        "a_task_that_kills_its_worker_is_reclaimed_until_it_is_spent",
    ),
    "lease renewed": Lines(
        leases.Leases,
        "_reclaim",
        "left.renewed or",
        "",
        "heartbeats_keep_a_claim_that_outlasts_its_lease",
    ),
    "attempt cap": Lines(
        retry, "is_spent", "return attempts > rules.max_retries", "return False", "backoff_grows_is_capped_and_jittered"
    ),
    "attempt cap of reclaims": Lines(
        retry,
        "is_spent",
        "return attempts > rules.max_retries",
        "return attempts > rules.max_retries + 1",
        "a_task_that_kills_its_worker_is_reclaimed_until_it_is_spent",
    ),
}
TO_MOVES: Mapping[str, tuple[dict[tuple[State | None, Event], Move], str]] = {
    "dedup of submission": (
        {(state, Event.SUBMITTED): Move(State.PENDING) for state in State},
        "what_is_said_twice_counts_once",
    ),
    "state guard of claim": (
        {(State.CANCELLED, Event.CLAIMED): Move(State.RUNNING)},
        "a_task_whose_client_has_left_is_cancelled",
    ),
}


@pytest.mark.parametrize("guard", IN_CODE)
def test_a_case_fails_without(guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = IN_CODE[guard]
    without = _without(lines.owner, lines.name, lines.guard, lines.instead)
    for owner in (lines.owner, *lines.also):
        monkeypatch.setattr(owner, lines.name, without)
    assert _fails(lines.case, tmp_path)


@pytest.mark.parametrize("guard", TO_MOVES)
def test_a_case_fails_if_the_table_allows_it(guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves, case = TO_MOVES[guard]
    monkeypatch.setattr(tasks, "MOVES", {**MOVES, **moves})
    assert _fails(case, tmp_path)


def _fails(name: str, folder: Path) -> bool:
    """Whether a case fails in the model as it now is: by its own assertions, the record's checks, or the engine's."""
    case = next(case for case in CASES if case.name == name)
    try:
        case.look_at(simulate(case.scenario(folder)))
    except AssertionError:
        return True
    return False


# ---- the live store --------------------------------------------------------------------------------------------------


class Clause(NamedTuple):
    """A guard in a statement, and the event that must tell."""

    statement: str
    guard: str
    event: Event
    instead: str = ""


IN_SQL = {
    "fencing token of a success": Clause(
        "COMPLETE", " and token = $2", Event.SUCCEEDED, " and $2::integer is not null"
    ),
    "fencing token of a failure": Clause("SETTLE", " and task.token = verdict.token", Event.FAILED),
    "fencing token of what is handed back": Clause("SETTLE", " and task.token = verdict.token", Event.HANDED_BACK),
    "token of a reclaim": Clause("RECLAIM", " and task.token = verdict.token", Event.LEASE_LAPSED),
    "token of a redrive": Clause("REDRIVE", " and task.token = verdict.token", Event.REDRIVEN),
    "lease end": Clause("RECLAIM", " and task.lease_until <= now()", Event.LEASE_LAPSED),
    "time of a retry": Clause("DUE", " and due_at <= now()", Event.DUE),
    "patience of a client": Clause("CLAIM", "\n        and (patience_s is null or changed_at + patience_s"
                                   " * interval '1 second' > now())", Event.CLAIMED),
    "state guard of claim": Clause("CLAIM", " and state = $4", Event.CLAIMED),
    "state guard of a success": Clause("COMPLETE", " and state = $4", Event.SUCCEEDED),
    "state guard of a failure": Clause("SETTLE", " and task.state = $10", Event.FAILED),
    "state guard of a retry": Clause("DUE", " and state = $4", Event.DUE),
    "state guard of a redrive": Clause("REDRIVE", " and task.state = $6", Event.REDRIVEN),
    "dedup of submission": Clause("SUBMIT", "on conflict (id) do nothing", Event.SUBMITTED,
                                  "on conflict (id) do update set state = excluded.state"),
}  # fmt: skip
"""All but the state guard of a reclaim: only a RUNNING row has a lease that ends, so it guards what is guarded."""


@pytest.mark.live
@pytest.mark.parametrize("guard", IN_SQL)
def test_the_store_deviates_without(guard: str, servers: Servers, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clause = IN_SQL[guard]
    _take_away(clause.statement, clause.guard, clause.instead, monkeypatch)
    assert deviations(servers, schema, _tries_of(clause.event))


@pytest.mark.live
def test_a_key_stands_for_two_tasks_without_its_guard(
    servers: Servers, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = "where key is null or id in (select task from kept)"
    _take_away("SUBMIT_WITH_MORE", guard, "", monkeypatch)
    assert [one.status for one in receipts_of_a_repeated_key(servers, schema)] == ["created"] * 3


@pytest.mark.live
def test_the_store_is_fenced_even_if_the_rulebook_were_not(
    servers: Servers, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two guards, and either is enough: no line of a worker's own can let an old claim write."""
    lines = IN_CODE["fencing token in the rulebook"]
    monkeypatch.setattr(tasks, "transition", _without(tasks, "transition", lines.guard, lines.instead))
    assert not deviations(servers, schema, _tries_of(Event.SUCCEEDED))


def _tries_of(event: Event) -> list[Try]:
    return [one for one in TRIES if one.event is event]


def _take_away(statement: str, guard: str, instead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole: str = getattr(statements, statement)
    assert guard in whole, f"{statement} has no {guard!r} any more: take the guard away where it stands now"
    monkeypatch.setattr(statements, statement, whole.replace(guard, instead))
