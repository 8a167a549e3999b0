"""The states of a task, and the only legal ways between them.

Everything that affects a transition stands in this file; the file does not know which engine asks. `MOVES` is the
table, and the checks, the docs and the tests read the same table. What is not in it is refused, as a value with a
reason and never by an exception, and leaves the task as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from lab.rules import retry
from lab.rules.retry import RetryRules


class State(StrEnum):
    """Where a task is. Stored and shown under exactly these names."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETRY_WAIT = "RETRY_WAIT"
    COMPLETED = "COMPLETED"
    PERMANENT_FAILURE = "PERMANENT_FAILURE"
    CANCELLED = "CANCELLED"


class Event(StrEnum):
    """What can happen to a task. The name is also the reason written beside the transition in the audit log."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DUE = "due"
    LEASE_LAPSED = "lease lapsed"
    HANDED_BACK = "handed back"
    CANCELLED = "cancelled"
    EXPIRED = "client left"
    REDRIVEN = "redriven"


TERMINAL = frozenset({State.COMPLETED, State.PERMANENT_FAILURE, State.CANCELLED})


class Move(NamedTuple):
    """Where an event leads: `to`, or `when_spent` if the task has used up its attempts."""

    to: State
    when_spent: State | None = None


MOVES: Mapping[tuple[State | None, Event], Move] = MappingProxyType(
    {
        (None, Event.SUBMITTED): Move(State.PENDING),
        (State.PENDING, Event.CLAIMED): Move(State.RUNNING),
        (State.RUNNING, Event.SUCCEEDED): Move(State.COMPLETED),
        (State.RUNNING, Event.FAILED): Move(State.RETRY_WAIT, when_spent=State.PERMANENT_FAILURE),
        (State.RETRY_WAIT, Event.DUE): Move(State.PENDING),
        (State.RUNNING, Event.LEASE_LAPSED): Move(State.PENDING, when_spent=State.PERMANENT_FAILURE),
        (State.RUNNING, Event.HANDED_BACK): Move(State.PENDING),
        (State.PENDING, Event.CANCELLED): Move(State.CANCELLED),
        (State.RETRY_WAIT, Event.CANCELLED): Move(State.CANCELLED),
        (State.PENDING, Event.EXPIRED): Move(State.CANCELLED),
        (State.PERMANENT_FAILURE, Event.REDRIVEN): Move(State.PENDING),
    }
)

FENCED = frozenset({Event.SUCCEEDED, Event.FAILED, Event.HANDED_BACK})
"""Events that a worker reports about its own claim: they count only while its token is the current one."""

LEGAL_STEPS: frozenset[tuple[State | None, State]] = frozenset(
    (start, end) for (start, _), move in MOVES.items() for end in (move.to, move.when_spent) if end is not None
)
"""Every (from, to) that an audit log may hold."""


class Task(NamedTuple):
    """The facts that the rules look at.

    `attempt` counts executions (a claim that was handed back at shutdown is not counted), `token` counts claims and
    only ever rises, `forgiven` is the attempt count at the last redrive: attempts up to there no longer count against
    the task.
    """

    state: State
    attempt: int = 0
    token: int = 0
    forgiven: int = 0

    @property
    def spent(self) -> int:
        """Attempts that count against the retry budget."""
        return self.attempt - self.forgiven


class Accepted(NamedTuple):
    """The event happened: the task as it is now, and how long it must wait (s) if it went to RETRY_WAIT."""

    task: Task
    reason: str
    delay_s: float = 0.0


class Refused(NamedTuple):
    """The event did not happen, and why. `stale` marks a write with an old token: refused and counted."""

    reason: str
    stale: bool = False


def transition(
    task: Task | None,
    event: Event,
    retry_rules: RetryRules,
    *,
    token: int | None = None,
    roll: float = 0.0,
    may_retry: bool = True,
) -> Accepted | Refused:
    """What becomes of `task` when `event` happens to it.

    `token` is the claim that a worker speaks for (fenced events only); `roll` in [0, 1) is the draw for jitter.
    `may_retry` is what `retry.after_failure` said: False makes a failure permanent although attempts are left.
    A reclaim counts as an attempt, so a task that kills its worker every time is dead-lettered too.
    """
    state = task.state if task is not None else None
    move = MOVES.get((state, event))
    if event in FENCED and task is not None and token != task.token:
        return Refused(f"token {token} is not the current token {task.token}", stale=True)
    if move is None:
        return Refused(f"a task in state {state or 'none'} cannot be {event}")
    if task is None:
        return Accepted(Task(move.to), event)
    if event is Event.CLAIMED:
        return Accepted(Task(move.to, task.attempt + 1, task.token + 1, task.forgiven), event)
    if event is Event.HANDED_BACK:
        return Accepted(task._replace(state=move.to, attempt=task.attempt - 1), event)
    if event is Event.REDRIVEN:
        return Accepted(task._replace(state=move.to, forgiven=task.attempt), event)
    given_up = event is Event.FAILED and not may_retry
    if move.when_spent is not None and (given_up or retry.is_spent(task.spent, retry_rules)):
        return Accepted(task._replace(state=move.when_spent), event)
    delay_s = retry.delay_s(task.spent, retry_rules, roll) if move.to is State.RETRY_WAIT else 0.0
    return Accepted(task._replace(state=move.to), event, delay_s)
