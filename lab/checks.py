"""The invariants, checked on the record of every run of either engine.

What goes in must come out, once; only legal transitions; tokens rise; attempts are bounded; backoff is never short; the
priority order is kept; leases never overlap. Each check reads the audit log alone and knows nothing of the engine that
wrote it, except how late its queues may lag behind its store (`order_slack_s`, stated by the engine in the record).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lab.changes import turned
from lab.draws import Floats
from lab.limits import CHANGE_LAG_S_MAX
from lab.moves import EVENTS, STATES, Moves, Numbers, chunks
from lab.rules import retry
from lab.rules.priority import QUEUES
from lab.rules.retry import RetryRules
from lab.rules.tasks import LEGAL_STEPS, TERMINAL, Event, State
from lab.tables import NOT_SUBMITTED, REJECTED

if TYPE_CHECKING:
    from lab.record import Record

Mask = npt.NDArray[np.bool_]

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


_CLAIMS = {
    "completed_once": ("No task is completed twice.", "tasks completed twice"),
    "legal_transitions": ("Every history is a path through the state table.", "tasks moved illegally"),
    "tokens_rise": (
        "Each claim raises the fencing token by one; nothing else changes it.",
        "tasks with a token out of order",
    ),
    "backoff_kept": (
        "No retry starts before base_s · factor^k has passed since the k-th failure.",
        "tasks retried too early",
    ),
    "priority_order": (
        "First in, first out within a class; strict order serves no lower class while a higher one waits.",
        "tasks were passed by one that should have waited",
    ),
    "leases_apart": (
        "Two leases of a task never overlap, and none is taken back before it is over.",
        "tasks with overlapping leases",
    ),
}
"""What is judged row by row: what is claimed, and what to call the tasks that broke it."""


def check(record: Record) -> list[Check]:
    """All invariants on one record, in a fixed order.

    The log is read once, in order of time and a stretch of rows at a time: no check needs it sorted or copied.
    """
    moves, rules = record.moves, record.scenario.rules
    order, redriven = _Order(record), _rows_of(moves, Event.REDRIVEN)
    judges: dict[str, Callable[[_Rows], Mask]] = {
        "completed_once": _Completions(len(record.tasks)).repeated,
        "legal_transitions": _illegal,
        "tokens_rise": _token_out_of_order,
        "backoff_kept": partial(_retried_too_early, floors=_Floors(record), redriven=redriven),
        "priority_order": order.passed,
        "leases_apart": partial(_leases_overlap, length_s=rules.lease.length_s),
    }
    broken = {name: np.zeros(len(record.tasks), dtype=np.bool_) for name in judges}
    for rows in _stretches(moves, len(record.tasks)):
        for name, judge in judges.items():
            broken[name][rows.task[judge(rows)]] = True

    def judged(name: str, kept: str) -> Check:
        claim, noun = _CLAIMS[name]
        return _result(name, claim, np.flatnonzero(broken[name]), kept, noun)

    ends, starts = moves.codes.end, moves.codes.start
    completions = moves.count(ends == STATES.index(State.COMPLETED))
    retries = moves.count((starts == STATES.index(State.RETRY_WAIT)) & (ends == STATES.index(State.PENDING)))
    return [
        _nothing_lost(record),
        judged("completed_once", f"{completions:,} completions"),
        judged("legal_transitions", f"{len(moves):,} transitions"),
        judged("tokens_rise", "tokens rise"),
        _attempts_bounded(record, moves.task[redriven]),
        judged("backoff_kept", f"{retries:,} retries waited"),
        judged("priority_order", f"{order.judged:,} claims, order {rules.priority.order}"),
        judged("leases_apart", f"{moves.count_of(Event.LEASE_LAPSED):,} reclaims"),
    ]


def verdict(record: Record) -> dict[str, Any]:
    """The checks as they stand in run.json and in `--json`."""
    results = check(record)
    failed = [one.name for one in results if not one.ok]
    return {"ok": not failed, "failed": failed, "details": [asdict(one) for one in results]}


def failures(results: list[Check]) -> Iterator[str]:
    """A line for each check that failed, for people."""
    for one in results:
        if not one.ok:
            examples = ", ".join(map(str, one.tasks))
            yield f"{one.name}: {one.found} (for example {examples}). The rule: {one.claim}"


def _result(name: str, claim: str, broken: Numbers, kept: str, noun: str) -> Check:
    """A check from the ids of the tasks that broke it, each once and in order."""
    if len(broken) == 0:
        return Check(name, True, claim, kept)
    return Check(name, False, claim, f"{len(broken):,} {noun}", tuple(broken[:EXAMPLES_MAX].tolist()))


# ---- reading the log -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some consecutive rows of the log, column by column. `before` is the row of the whole log in which the same task
    moved last, −1 where it had not moved yet.
    """

    moves: Moves
    begin: int
    task: Numbers
    at_s: Floats
    step: Numbers
    before: npt.NDArray[np.int64]

    @cached_property
    def first(self) -> Mask:
        """Where a task comes in: whatever is said below of the row before is then meaningless."""
        return self.before < 0

    @cached_property
    def step_before(self) -> Numbers:
        """The step of the row before."""
        return self.moves.step[self.before]

    @cached_property
    def since_s(self) -> Floats:
        """The moment of the row before."""
        return self.moves.at_s[self.before]

    @cached_property
    def start(self) -> npt.NDArray[np.int8]:
        """The number of the state that the task left."""
        return self.moves.codes.start[self.step]

    @cached_property
    def end(self) -> npt.NDArray[np.int8]:
        """The number of the state that it reached."""
        return self.moves.codes.end[self.step]

    @cached_property
    def reason(self) -> npt.NDArray[np.int8]:
        """The number of the event."""
        return self.moves.codes.reason[self.step]

    @cached_property
    def claimed(self) -> Mask:
        """Where a worker claimed the task."""
        claimed: Mask = self.reason == EVENTS.index(Event.CLAIMED)
        return claimed


def _stretches(moves: Moves, tasks: int) -> Iterator[_Rows]:
    """The log in order of time, a stretch of rows at a time."""
    latest = np.full(tasks, -1, dtype=np.int32)
    for begin, end in chunks(len(moves)):
        task = moves.task[begin:end]
        before = latest[task].astype(np.int64)
        order = np.argsort(task, kind="stable")
        again = np.flatnonzero(np.diff(task[order]) == 0)  # the same task more than once within the stretch
        before[order[again + 1]] = begin + order[again]
        latest[task] = np.arange(begin, end, dtype=np.int32)  # of several rows of a task the last one stays
        yield _Rows(moves, begin, task, moves.at_s[begin:end], moves.step[begin:end], before)


def _rows_of(moves: Moves, event: Event) -> npt.NDArray[np.int64]:
    """The rows of the log in which this happened."""
    wanted = moves.codes.reason == EVENTS.index(event)
    if not wanted.any():
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([begin + np.flatnonzero(wanted[moves.step[begin:end]]) for begin, end in chunks(len(moves))])


# ---- the invariants --------------------------------------------------------------------------------------------------


def _nothing_lost(record: Record) -> Check:
    claim = "Every task that came in ends completed, dead-lettered or cancelled."
    if record.info.get("interrupted"):
        return Check("nothing_lost", True, claim, "not judged: the run was interrupted")
    ended = [*map(str, TERMINAL), REJECTED]
    open_ended = ~record.tasks["state"].isin(ended).to_numpy()
    held = int((record.tasks["state"] == NOT_SUBMITTED).sum())
    noun = "tasks lost: accepted, and in no final state when nothing more could happen"
    if held:
        noun += f" ({held:,} of them were never admitted)"
    lost = record.tasks["id"].to_numpy()[open_ended]
    return _result("nothing_lost", claim, lost, f"{len(record.tasks):,} tasks accounted for", noun)


class _Completions:
    """How often each task was completed, up to where the log has been read."""

    def __init__(self, tasks: int) -> None:
        self._times = np.zeros(tasks, dtype=np.int16)

    def repeated(self, rows: _Rows) -> Mask:
        """Completions of tasks that are completed more than once."""
        completed = rows.end == STATES.index(State.COMPLETED)
        np.add.at(self._times, rows.task[completed], 1)
        again: Mask = completed & (self._times[rows.task] > 1)
        return again


_LEGAL = np.array([[(start or None, end) in LEGAL_STEPS for end in STATES] for start in STATES])


def _illegal(rows: _Rows) -> Mask:
    """Steps that are not in the table, or do not begin where the step before ended (a task's first one: nowhere)."""
    was = np.where(rows.first, STATES.index(""), rows.moves.codes.end[rows.step_before])
    illegal: Mask = ~_LEGAL[rows.start, rows.end] | (rows.start != was)
    return illegal


def _token_out_of_order(rows: _Rows) -> Mask:
    token = rows.moves.codes.token
    wrong: Mask = token[rows.step] - np.where(rows.first, 0, token[rows.step_before]) != rows.claimed
    return wrong


def _attempts_bounded(record: Record, redriven: Numbers) -> Check:
    """`redriven` are the tasks that an operator redrove, as often as that: each time the count began anew."""
    allowed = record.scenario.rules.attempts_max
    bound = allowed * (1 + np.bincount(redriven, minlength=len(record.tasks))) if len(redriven) else allowed
    over = record.tasks["id"].to_numpy()[record.tasks["attempts"].to_numpy() > bound]
    claim = "No task is executed more often than max_retries + 1, crashes included."
    return _result("attempts_bounded", claim, over, f"at most {allowed} each", f"tasks ran more than {allowed} times")


class _Floors:
    """How long a task must wait at least after a failure: by the rules of that moment, where somebody turns the base.

    A live worker may hear of a turn a little later, and a verdict that it has reached may be committed later still, at
    most when its lease is over; the model knows no such delay.
    """

    def __init__(self, record: Record) -> None:
        scenario = record.scenario
        self._rules = scenario.rules.retry
        self._turns = turned(scenario, "retry_base_s")
        lease = scenario.rules.lease
        self._lag_s = CHANGE_LAG_S_MAX + lease.length_s + lease.sweep_s if record.engine == "live" else 0.0

    def delays_s(self, failures: npt.NDArray[np.int64], failed_s: Floats) -> Floats:
        """The floor of each, given which failure of its task it was (from 1) and when."""
        floors = self._by(self._rules, failures)
        for turned_s, base_s in self._turns:
            turned_to = self._by(self._rules.model_copy(update={"base_s": base_s}), failures)
            after = failed_s >= turned_s - CLOCK_GRAIN_S
            unsure = after & (failed_s <= turned_s + max(self._lag_s, CLOCK_GRAIN_S))
            kept = np.minimum(floors, turned_to)
            floors = np.where(unsure, kept, np.where(after, turned_to, floors))
        return floors

    def _by(self, rules: RetryRules, failures: npt.NDArray[np.int64]) -> Floats:
        counts, which = np.unique(failures, return_inverse=True)
        return np.array([retry.delay_s(int(count), rules) for count in counts], dtype=np.float64)[which]


def _retried_too_early(rows: _Rows, floors: _Floors, redriven: npt.NDArray[np.int64]) -> Mask:
    """Retries sooner after the failure than the rule's floor: recomputed here, not taken from the log."""
    due: Mask = (rows.start == STATES.index(State.RETRY_WAIT)) & (rows.end == STATES.index(State.PENDING)) & ~rows.first
    failures = rows.moves.codes.attempt[rows.step[due]] - _forgiven(rows, due, redriven)
    failed_s = rows.since_s[due]
    due[due] = rows.at_s[due] - failed_s < floors.delays_s(failures, failed_s) - CLOCK_GRAIN_S
    return due


def _forgiven(rows: _Rows, where: Mask, redriven: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Attempts forgiven by the last redrive before each of those rows."""
    task, row = rows.task[where].astype(np.int64), rows.begin + np.flatnonzero(where)
    if len(redriven) == 0:
        return np.zeros(len(task), dtype=np.int64)
    moves, span = rows.moves, len(rows.moves)
    redrives = np.sort(moves.task[redriven].astype(np.int64) * span + redriven)  # by task, and by row within a task
    latest = np.searchsorted(redrives, task * span + row) - 1
    mine = (latest >= 0) & (redrives[latest] // span == task)
    attempt = moves.codes.attempt[moves.step[redrives[latest] % span]]
    return np.where(mine, attempt, 0).astype(np.int64)


def _leases_overlap(rows: _Rows, length_s: float) -> Mask:
    """Claims of a task that somebody held, and leases taken back before they were over."""
    was_running = rows.moves.codes.end[rows.step_before] == STATES.index(State.RUNNING)
    reclaimed = rows.reason == EVENTS.index(Event.LEASE_LAPSED)
    too_early = rows.at_s - rows.since_s < length_s - CLOCK_GRAIN_S
    overlap: Mask = ((rows.claimed & was_running) | (reclaimed & too_early)) & ~rows.first
    return overlap


# ---- the order of service --------------------------------------------------------------------------------------------


class _Order:
    """First in, first out in each class; and with strict order, no claim while a higher class waits.

    A violation is a task that was passed: it waited from before another one began to wait (or from before the other's
    claim, if the other is of a lower class) until after that claim, each by more than the engine's slack. Tasks that a
    queue had lost (a worker died between taking and claiming, or Redis was wiped) and that were put back from the
    store are not judged; nor, if retries join at the front, any but first claims.
    """

    def __init__(self, record: Record) -> None:
        rules, slack_s = record.scenario.rules, float(record.info.get("order_slack_s", 0.0)) + CLOCK_GRAIN_S
        self.judged = 0
        self._front, self._strict = rules.retry.position == "front", rules.priority.order == "strict"
        self._queue_of = record.tasks["queue"].cat.codes.to_numpy()
        self._put_back = np.zeros(len(record.tasks), dtype=np.bool_)
        self._put_back[record.events.loc[record.events["kind"] == "requeued", "task"].to_numpy()] = True
        self._classes = [_Class(slack_s) for _ in QUEUES]

    def passed(self, rows: _Rows) -> Mask:
        """Claims of tasks that had been passed."""
        claims: Mask = rows.claimed & ~rows.first & ~self._put_back[rows.task]
        if self._front:
            claims &= rows.moves.codes.reason[rows.step_before] == EVENTS.index(Event.SUBMITTED)
        queue, since_s, until_s = self._queue_of[rows.task[claims]], rows.since_s[claims], rows.at_s[claims]
        broken = np.zeros(len(queue), dtype=np.bool_)
        for level, one in enumerate(self._classes):
            mine = queue == level
            rivals = queue >= level if self._strict else mine
            behind_s = np.where(mine, since_s, until_s)[rivals]
            broken[mine] = one.passed(until_s[rivals], behind_s, mine[rivals], since_s[mine])
        self.judged += len(queue)
        claims[claims] = broken
        return claims


class _Class:
    """One class of tasks, and the claims that may have passed one of them.

    Claims come in order of time. Each claim of a rival says behind which moment it had to stay: it is wrong if a task
    that has waited since before that moment is claimed only later. So it is enough to remember the latest such moment
    among the claims up to now, and beside it the claims of the last `slack_s` seconds, which are too close to be told
    apart from the next ones.
    """

    def __init__(self, slack_s: float) -> None:
        self._slack_s = slack_s
        self._at_s: Floats = np.zeros(0)
        self._behind_s: Floats = np.array([-np.inf])

    def passed(self, at_s: Floats, behind_s: Floats, mine: Mask, since_s: Floats) -> Mask:
        """Which of the class's own claims came too late. `at_s` and `behind_s` are of all rivals, the class's own
        included; `mine` marks those, and they have waited since `since_s`.
        """
        self._at_s = np.concatenate([self._at_s, at_s])
        self._behind_s = np.maximum.accumulate(np.concatenate([self._behind_s, behind_s]))
        surely_before = np.searchsorted(self._at_s, at_s[mine] - self._slack_s, side="left")
        passed: Mask = self._behind_s[surely_before] > since_s + self._slack_s
        if len(self._at_s):
            settled = int(np.searchsorted(self._at_s, self._at_s[-1] - self._slack_s, side="left"))
            self._at_s, self._behind_s = self._at_s[settled:], self._behind_s[settled:]
        return passed
