"""Random plans, replayed by the model and by the live engine: every task must make the same moves in both.

Compared are (from, to, reason, attempt, token, backoff) of every transition, in order, task by task; workers and times
are the engines' own. Always the same plans; others and more with MESHLAB_DIFFERENTIAL_EXAMPLES=40. A failing one prints
its number, which replays it: `pytest tests/conformance/test_differential.py -k "[NUMBER]"`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import pytest

from lab import Scenario
from lab.record import Record
from lab.rules.tasks import TERMINAL, Event
from live_backend import run_live
from live_backend.servers import Servers
from simulation import simulate
from tests.conformance.random_plans import plan

ENOUGH = 10
"""Plans, for everything that they can hold to be among them."""
COUNT = int(os.environ.get("MESHLAB_DIFFERENTIAL_EXAMPLES", ENOUGH))
REDRIVES_AT_S = (2.0, 10.0, 60.0)
"""A redrive finds all that is dead by then, so it must come when all is over. If this machine was not so far, the plan
is run once more with a later one. The tasks need half a second."""
SHOWN_MAX = 5
"""Tasks of which a failure tells both stories."""

Story = list["Step"]


class Step(NamedTuple):
    """One transition without its worker and moment. `delay_us`: the backoff, in whole microseconds."""

    start: str
    to: str
    reason: str
    attempt: int
    token: int
    delay_us: int


@pytest.mark.live
@pytest.mark.parametrize("number", range(COUNT))
def test_both_engines_make_the_same_moves(number: int, servers: Servers) -> None:
    for redrive_at_s in REDRIVES_AT_S:
        scenario = Scenario.from_data(plan(number, redrive_at_s))
        model, live = simulate(scenario), run_live(scenario)
        if _was_quiet(live):
            break
    told = "\n".join(_differences(model, live))
    assert not told, f"plan {number}:\n{told}\n\n{scenario.to_yaml()}"
    assert live.info["checks"]["ok"], f"plan {number}: {live.info['checks']['details']}"
    print(f"plan {number}: {len(live.tasks):,} tasks, {len(live.transitions):,} steps the same in both engines")


def test_the_plans_are_worth_comparing() -> None:
    """In the model alone, since both engines make the same: how much there is to compare, and that nothing which can
    happen without luck is missing among it. Refusals are messages that came twice."""
    records = [simulate(Scenario.from_data(plan(number))) for number in range(ENOUGH)]
    reasons = Counter(str(reason) for record in records for reason in record.transitions["reason"])
    refused = Counter(str(kind) for record in records for kind in record.events["kind"])
    assert all(_all_ended(record) for record in records)
    assert sum(reasons.values()) > 20_000
    by_luck = {Event.LEASE_LAPSED, Event.HANDED_BACK, Event.CANCELLED, Event.EXPIRED}
    assert set(reasons) == {str(event) for event in Event if event not in by_luck}
    assert {"duplicate_submission", "duplicate_completion"} <= set(refused)
    print(f"{ENOUGH} plans, {sum(reasons.values()):,} steps: {dict(reasons)}")


def _was_quiet(live: Record) -> bool:
    """Whether all tasks had ended when the operator came (if one did)."""
    moves = live.transitions
    redriven = moves.index[moves["reason"] == str(Event.REDRIVEN)]
    if len(redriven) == 0:
        return "redrive" not in {fault.kind for fault in live.scenario.faults} or _all_ended(live)
    before = moves[: redriven[0]].groupby("task", observed=True)["to"].last()
    return len(before) == len(live.tasks) and set(before) <= set(map(str, TERMINAL))


def _differences(model: Record, live: Record) -> Iterator[str]:
    """What a person needs to see of tasks that went other ways."""
    mine, theirs = _stories(model), _stories(live)
    apart = [task for task, story in mine.items() if story != theirs[task]]
    for task in apart[:SHOWN_MAX]:
        yield f"task {task} ({model.tasks['role'][task]}), model | live:"
        yield from (f"  {_told(one)} | {_told(other)}" for one, other in zip_longest(mine[task], theirs[task]))
    if len(apart) > SHOWN_MAX:
        yield f"and {len(apart) - SHOWN_MAX:,} more tasks"


def _stories(record: Record) -> dict[int, Story]:
    stories: dict[int, Story] = {task: [] for task in range(len(record.tasks))}
    names = ("task", "from", "to", "reason", "attempt", "token", "delay_s")
    columns = (record.transitions[name].tolist() for name in names)
    for task, start, to, reason, attempt, token, delay_s in zip(*columns, strict=True):
        stories[task].append(Step(start, to, reason, attempt, token, round(delay_s * 1e6)))
    return stories


def _told(step: Step | None) -> str:
    if step is None:
        return "nothing"
    wait = f" for {step.delay_us} µs" if step.delay_us else ""
    return f"{step.start or '–'} → {step.to}{wait} ({step.reason}, attempt {step.attempt}, token {step.token})"


def _all_ended(record: Record) -> bool:
    return set(record.tasks["state"]) <= {str(state) for state in TERMINAL}
