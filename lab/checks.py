"""The invariants, checked on the record of every run of either engine.

What goes in must come out, once; only legal transitions; tokens rise; attempts are bounded; backoff is never short; the
priority order is kept; leases never overlap. Each check reads the audit log alone and knows nothing of the engine that
wrote it, except how late its queues may lag behind its store (`order_slack_s`, stated by the engine in the record).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.draws import Floats
from lab.record import NOT_SUBMITTED
from lab.rules import retry
from lab.rules.priority import QUEUES
from lab.rules.tasks import LEGAL_STEPS, TERMINAL, Event, State

if TYPE_CHECKING:
    import pandas as pd

    from lab.record import Record

CLOCK_GRAIN_S = 2e-6
"""Both engines keep time in whole microseconds; two roundings may differ by this much."""
EXAMPLES_MAX = 5


@dataclass(frozen=True)
class Check:
    """One invariant and its verdict. `found` says in a sentence what was seen; `tasks` names some that broke it."""

    name: str
    ok: bool
    claim: str
    found: str
    tasks: tuple[int, ...] = ()


def check(record: Record) -> list[Check]:
    """All invariants on one record, in a fixed order."""
    moves = record.transitions.sort_values("task", kind="stable", ignore_index=True)
    previous = _previous_of_task(moves)
    return [
        _nothing_lost(record),
        _completed_once(moves),
        _legal(moves),
        _tokens_rise(moves, previous),
        _attempts_bounded(record),
        _backoff_kept(record, moves, previous),
        _order_kept(record, moves, previous),
        _leases_apart(record, moves, previous),
    ]


def verdict(record: Record) -> dict[str, Any]:
    """The checks as they stand in run.json and in `--json`."""
    results = check(record)
    failed = [one.name for one in results if not one.ok]
    return {"ok": not failed, "failed": failed, "details": [asdict(one) for one in results]}


def _previous_of_task(moves: pd.DataFrame) -> pd.DataFrame:
    """The row before, of the same task; the first row of a task has none (NaN)."""
    shifted = moves.shift()
    return shifted.where(shifted["task"] == moves["task"])


def _result(name: str, claim: str, broken: Any, kept: str, noun: str) -> Check:
    """A check from the ids of the tasks that broke it."""
    ids = sorted({int(task) for task in broken})
    if not ids:
        return Check(name, True, claim, kept)
    return Check(name, False, claim, f"{len(ids):,} {noun}", tuple(ids[:EXAMPLES_MAX]))


def _nothing_lost(record: Record) -> Check:
    claim = "Every task that came in ends completed, dead-lettered or cancelled."
    if record.info.get("interrupted"):
        return Check("nothing_lost", True, claim, "not judged: the run was interrupted")
    ended = {*map(str, TERMINAL), "REJECTED"}
    open_ended = record.tasks[~record.tasks["state"].isin(ended)]
    held = int((open_ended["state"] == NOT_SUBMITTED).sum())
    noun = "tasks lost: accepted, and in no final state when nothing more could happen"
    if held:
        noun += f" ({held:,} of them were never admitted)"
    return _result("nothing_lost", claim, open_ended["id"], f"{len(record.tasks):,} tasks accounted for", noun)


def _completed_once(moves: pd.DataFrame) -> Check:
    times = moves.loc[moves["to"] == State.COMPLETED, "task"].value_counts()
    claim = "No task is completed twice."
    return _result(
        "completed_once", claim, times[times > 1].index, f"{len(times):,} completions", "tasks completed twice"
    )


def _legal(moves: pd.DataFrame) -> Check:
    """Each step is in the table, and begins where the step before it ended (a task's first one: nowhere)."""
    states = ["", *State]
    legal = np.array([[(a or None, b) in LEGAL_STEPS for b in states] for a in states])
    start, end = (_codes(moves[column], states) for column in ("from", "to"))
    first = np.append(True, np.diff(moves["task"].to_numpy()) != 0)[: len(moves)]
    torn = start != np.where(first, states.index(""), np.roll(end, 1))
    broken = moves.loc[~legal[start, end] | torn, "task"]
    claim = "Every history is a path through the state table."
    return _result("legal_transitions", claim, broken, f"{len(moves):,} transitions", "tasks moved illegally")


def _codes(column: pd.Series[str], names: list[str]) -> Any:
    """The index in `names` of each value."""
    import pandas as pd

    return pd.Categorical(column, categories=names).codes


def _tokens_rise(moves: pd.DataFrame, previous: pd.DataFrame) -> Check:
    step = moves["token"].to_numpy() - previous["token"].fillna(0).to_numpy(dtype=float)
    wrong = step != (moves["reason"] == Event.CLAIMED).to_numpy()
    claim = "Each claim raises the fencing token by one; nothing else changes it."
    return _result("tokens_rise", claim, moves.loc[wrong, "task"], "tokens rise", "tasks with a token out of order")


def _attempts_bounded(record: Record) -> Check:
    allowed = record.scenario.rules.attempts_max
    redriven = (record.transitions["reason"] == Event.REDRIVEN).groupby(record.transitions["task"]).sum()
    times = 1 + record.tasks["id"].map(redriven).fillna(0).to_numpy()
    over = record.tasks.loc[record.tasks["attempts"].to_numpy() > allowed * times, "id"]
    claim = "No task is executed more often than max_retries + 1, crashes included."
    return _result("attempts_bounded", claim, over, f"at most {allowed} each", f"tasks ran more than {allowed} times")


def _backoff_kept(record: Record, moves: pd.DataFrame, previous: pd.DataFrame) -> Check:
    """A retry starts no earlier than the rule's floor after the failure: recomputed here, not taken from the log."""
    rules = record.scenario.rules.retry
    due = (moves["from"] == State.RETRY_WAIT).to_numpy() & (moves["to"] == State.PENDING).to_numpy()
    waited = (moves["at_s"] - previous["at_s"]).to_numpy()
    forgiven = _forgiven(moves)
    floor = np.array([retry.delay_s(int(k), rules) for k in (moves["attempt"].to_numpy() - forgiven)[due]], dtype=float)
    short = moves.loc[due, "task"].to_numpy()[waited[due] < floor - CLOCK_GRAIN_S]
    claim = "No retry starts before base_s · factor^k has passed since the k-th failure."
    return _result("backoff_kept", claim, short, f"{int(due.sum()):,} retries waited", "tasks retried too early")


def _forgiven(moves: pd.DataFrame) -> Floats:
    """Attempts forgiven by the last redrive before each row."""
    at_redrive = moves["attempt"].where(moves["reason"] == Event.REDRIVEN)
    return at_redrive.groupby(moves["task"]).ffill().fillna(0).to_numpy()


def _order_kept(record: Record, moves: pd.DataFrame, previous: pd.DataFrame) -> Check:
    """First in, first out in each class; and with strict order, no claim while a higher class waits.

    A violation is a task that was passed: it waited from before another one began to wait (or from before the other's
    claim, if the other is of a lower class) until after that claim, each by more than the engine's slack. Tasks that a
    queue had lost (a worker died between taking and claiming, or Redis was wiped) and that were put back from the
    store are not judged.
    """
    rules, slack = record.scenario.rules, float(record.info.get("order_slack_s", 0.0)) + CLOCK_GRAIN_S
    claimed = (moves["reason"] == Event.CLAIMED).to_numpy()
    if rules.retry.position == "front":
        claimed = claimed & (previous["reason"] == Event.SUBMITTED).to_numpy()
    put_back = record.events.loc[record.events["kind"] == "requeued", "task"]
    claimed = claimed & ~moves["task"].isin(put_back).to_numpy()
    queue_of = record.tasks["queue"].cat.codes.to_numpy()
    task = moves.loc[claimed, "task"].to_numpy()
    since, until = previous.loc[claimed, "at_s"].to_numpy(dtype=float), moves.loc[claimed, "at_s"].to_numpy()
    queue = queue_of[task]
    passed: list[int] = []
    for level in range(len(QUEUES)):
        mine = queue == level
        passed += task[mine][_passed_by_later(since[mine], until[mine], slack)].tolist()
        if rules.priority.order == "strict":
            lower = np.sort(until[queue > level])
            passed += task[mine][_passed_by_lower(since[mine], until[mine], lower, slack)].tolist()
    claim = "First in, first out within a class; strict order serves no lower class while a higher one waits."
    kept = f"{len(task):,} claims, order {rules.priority.order}"
    return _result("priority_order", claim, passed, kept, "tasks were passed by one that should have waited")


def _passed_by_later(since: Floats, until: Floats, slack: float) -> Any:
    """Which waits [since, until] contain the claim of a task that began to wait later."""
    if len(since) == 0:
        return np.zeros(0, dtype=bool)
    order = np.argsort(since, kind="stable")
    starts, earliest = since[order], np.minimum.accumulate(until[order][::-1])[::-1]
    later = np.searchsorted(starts, since + slack, side="right")
    return np.append(earliest, np.inf)[later] < until - slack


def _passed_by_lower(since: Floats, until: Floats, lower_claims: Floats, slack: float) -> Any:
    """Which waits [since, until] contain a claim of a lower class."""
    begin = np.searchsorted(lower_claims, since + slack, side="right")
    end = np.searchsorted(lower_claims, until - slack, side="left")
    return end > begin


def _leases_apart(record: Record, moves: pd.DataFrame, previous: pd.DataFrame) -> Check:
    """A task is claimed only when nobody holds it, and taken back only when its lease is over."""
    length_s = record.scenario.rules.lease.length_s
    claimed_while_held = (moves["reason"] == Event.CLAIMED) & (previous["to"] == State.RUNNING)
    reclaimed = moves["reason"] == Event.LEASE_LAPSED
    too_early = reclaimed & ((moves["at_s"] - previous["at_s"]) < length_s - CLOCK_GRAIN_S)
    broken = moves.loc[claimed_while_held | too_early, "task"]
    claim = "Two leases of a task never overlap, and none is taken back before it is over."
    return _result("leases_apart", claim, broken, f"{int(reclaimed.sum()):,} reclaims", "tasks with overlapping leases")


def failures(results: list[Check]) -> Iterator[str]:
    """A line for each check that failed, for people."""
    for one in results:
        if not one.ok:
            examples = ", ".join(map(str, one.tasks))
            yield f"{one.name}: {one.found} (for example {examples}). The rule: {one.claim}"
