"""PostgreSQL, the authority: every change of a task's state, each with its audit row in one statement.

The statements (`statements.py`) hold, order and compare. They decide nothing: states, delays and reasons come in as
parameters, from the rulebook. Each is guarded (by the state it expects, by the fencing token, by the lease's end), so
that repeating it, or coming late with it, changes nothing. Time is the server's own (`now()`), never a client's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.limits import SWEEP_LAG_S
from lab.rules.lease import LeaseRules
from lab.rules.tasks import TERMINAL, Accepted, Event, State, Task
from lab.workload import Plan
from live_backend import statements
from live_backend.database import Database

LOST = "the worker was lost: its lease lapsed"
"""What stands in `failure` for an attempt whose worker was not heard any more."""
ENDED = [str(state) for state in TERMINAL]


class NewTask(NamedTuple):
    """A task that comes in. `queue` is its class; `patience_s` how long its client will wait (None: for ever)."""

    id: int
    role: str
    priority: int
    queue: int
    patience_s: float | None


class Claim(NamedTuple):
    """A task that this worker won, with the facts that the rules need. `waited_s`: how long it had been PENDING;
    `payload` (JSON) is what its client sent along, None in a run.
    """

    id: int
    task: Task
    waited_s: float
    queue: int
    role: str
    priority: int
    payload: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rulebook said of a claim that ended: to be written if the token is still current.

    `patience_s` is how long the client will wait for the next try (None: for ever). `result` is what the work gave
    (JSON), `error` why it failed.
    """

    id: int
    token: int
    accepted: Accepted
    patience_s: float | None = None
    result: str | None = None
    error: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the state changes: the way of nearly every task."""
        return self.accepted.task.state is State.COMPLETED and self.result is None


class Look(NamedTuple):
    """What a sweep found: how many tasks have waited for long, whose leases are over, which retries are overdue (ids,
    longest first).
    """

    waiting: int
    lapsed: list[int]
    overdue: list[int]


def patience_s(plan: Plan, task: int, attempt: int) -> float | None:
    """How long a row keeps its client while it waits for that attempt: None (for ever) unless leaving cancels it."""
    return plan.patience_s(task, attempt) if plan.scenario.rules.deadline.cancels else None


class Store:
    """The tasks of one run, or of the standing mesh, over one connection."""

    def __init__(self, database: Database, lease: LeaseRules) -> None:
        self.database = database
        self._lease = lease

    # -- the way of a task --

    async def submit(self, tasks: Sequence[NewTask]) -> set[int]:
        """Insert tasks as PENDING. Returns the ids that now have to be pushed; one that was there before is left as it
        is.
        """
        rows, repeated = await self.database.run(
            statements.SUBMIT,
            [task.id for task in tasks],
            [task.role for task in tasks],
            [task.priority for task in tasks],
            [task.queue for task in tasks],
            [task.patience_s for task in tasks],
            State.PENDING,
            Event.SUBMITTED,
        )
        if repeated:  # the first try may have been committed before the connection broke; pushing twice is harmless
            return {task.id for task in tasks}
        return {row[0] for row in rows}

    async def known(self, ids: Sequence[int]) -> list[int]:
        """Those of `ids` that have been accepted."""
        return [row[0] for row in await self.database.rows(statements.KNOWN, list(ids))]

    async def claim(self, ids: Sequence[int], worker: str) -> list[Claim]:
        """PENDING → RUNNING for those of `ids` that are still to be had, under a lease."""
        rows, repeated = await self.database.run(
            statements.CLAIM, list(ids), worker, State.RUNNING, State.PENDING, Event.CLAIMED, self._lease.length_s
        )
        if repeated:  # the first try may have been committed before the connection broke: those claims are ours too
            rows = await self.database.rows(statements.MINE, list(ids), worker, State.RUNNING)
        return [Claim(row[0], Task(State.RUNNING, *row[1:4]), *row[4:]) for row in rows]

    async def settle(self, verdicts: Sequence[Verdict]) -> dict[int, float]:
        """Write verdicts on RUNNING tasks. Returns id → due time (epoch, s; 0: none) of those that held; the others
        came too late.
        """
        by_token: dict[int, list[int]] = {}
        others = []
        for one in verdicts:
            if one.is_plain:
                by_token.setdefault(one.token, []).append(one.id)
            else:
                others.append(one)
        held: dict[int, float] = {}
        for token, ids in by_token.items():
            held |= dict.fromkeys(await self._complete(sorted(ids), token), 0.0)
        return held | await self._settle(others) if others else held

    async def rehearse_verdicts(self) -> None:
        """Both ways of `settle` with no task: the server plans the statements and reads its catalogue now, and not
        while the first tasks wait. All else here can be rehearsed by calling it with no task.
        """
        await self._complete([], 0)
        await self._settle([])

    async def _complete(self, ids: list[int], token: int) -> list[int]:
        """The short way for what succeeded: one token, one state, one reason. Nearly every task goes it with token 1,
        and `= any` finds rows at a third of the price of a join. The order is the same everywhere: nobody deadlocks.
        """
        rows, repeated = await self.database.run(
            statements.COMPLETE, ids, token, State.COMPLETED, State.RUNNING, Event.SUCCEEDED
        )
        if repeated:
            count = len(ids)
            rows = await self.database.rows(statements.ALREADY, ids, [token] * count, [State.COMPLETED] * count)
        return [row[0] for row in rows]

    async def _settle(self, verdicts: list[Verdict]) -> dict[int, float]:
        verdicts = sorted(verdicts, key=lambda one: one.id)
        ids, tokens = [one.id for one in verdicts], [one.token for one in verdicts]
        states = [one.accepted.task.state for one in verdicts]
        rows, repeated = await self.database.run(
            statements.SETTLE,
            ids,
            tokens,
            [one.accepted.task.attempt for one in verdicts],
            states,
            [one.accepted.delay_s for one in verdicts],
            [one.accepted.reason for one in verdicts],
            [one.patience_s for one in verdicts],
            [one.result for one in verdicts],
            [one.error for one in verdicts],
            State.RUNNING,
            State.PERMANENT_FAILURE,
        )
        if repeated:
            rows = await self.database.rows(statements.ALREADY, ids, tokens, states)
        return {row[0]: row[1] for row in rows}

    async def due(self, ids: Sequence[int], worker: str = "") -> list[tuple[int, int]]:
        """RETRY_WAIT → PENDING for those of `ids` whose time has come by the store's clock. Returns (id, class)."""
        rows = await self.database.rows(statements.DUE, sorted(ids), worker, State.PENDING, State.RETRY_WAIT, Event.DUE)
        return [(row[0], row[1]) for row in rows]

    # -- what should have happened by now --

    async def look(self, older_s: float, late_s: float) -> Look:
        """What should have happened by now, all in one pass: `older_s` PENDING, `late_s` past a retry's moment."""
        rows = await self.database.rows(
            statements.LOOK, State.PENDING, older_s, State.RUNNING, State.RETRY_WAIT, late_s
        )
        waiting, lapsed, overdue = rows[0]
        return Look(waiting, lapsed or [], overdue or [])

    async def lapsed(self, ids: Sequence[int]) -> list[tuple[int, Task]]:
        """Those of `ids` whose lease is over, with what the rules want to know of them."""
        rows = await self.database.rows(statements.LAPSED, list(ids), State.RUNNING)
        return [(row[0], Task(State.RUNNING, row[1], row[2], row[3])) for row in rows]

    async def reclaim(self, verdicts: Sequence[Verdict]) -> list[tuple[int, int, State]]:
        """Take lapsed claims back. Returns (id, class, new state) of those that were not renewed meanwhile."""
        verdicts = sorted(verdicts, key=lambda one: one.id)
        rows = await self.database.rows(
            statements.RECLAIM,
            [one.id for one in verdicts],
            [one.token for one in verdicts],
            [one.accepted.task.state for one in verdicts],
            [one.patience_s for one in verdicts],
            State.RUNNING,
            Event.LEASE_LAPSED,
            State.PERMANENT_FAILURE,
            LOST,
        )
        return [(row[0], row[1], State(row[2])) for row in rows]

    async def expire(self) -> list[tuple[int, int]]:
        """PENDING → CANCELLED for every task whose client has left by the store's clock. Returns (id, class)."""
        rows = await self.database.rows(statements.EXPIRE, State.CANCELLED, State.PENDING, Event.EXPIRED)
        return [(row[0], row[1]) for row in rows]

    async def still_waiting(self, ids: Collection[int]) -> set[int]:
        """Those of `ids` that are in RETRY_WAIT."""
        return {row[0] for row in await self.database.rows(statements.STILL, list(ids), State.RETRY_WAIT)}

    async def waits_for(self, task: int, token: int) -> bool:
        """Whether a task is still in the RETRY_WAIT that this claim put it into."""
        return bool(await self.database.rows(statements.ALREADY, [task], [token], [State.RETRY_WAIT]))

    async def waiting(self, older_s: float) -> list[tuple[int, int]]:
        """(id, class) of tasks that have been PENDING for at least `older_s`, those that wait longest first."""
        return [(row[0], row[1]) for row in await self.database.rows(statements.WAITING, State.PENDING, older_s)]

    async def advance(self, lag_s: float = SWEEP_LAG_S) -> bool:
        """Let later sweeps begin where everything older than `lag_s` is finished, but for the stragglers, which are
        remembered by id. Returns whether that was due.
        """
        moved = bool(await self.database.rows(statements.ADVANCE, lag_s, ENDED))
        if moved:
            await self.database.rows(statements.FORGET_FINISHED, ENDED)
        return moved

    async def counts(self) -> dict[State, int]:
        """Tasks by state; of the finished ones only the newest."""
        return {State(row[0]): row[1] for row in await self.database.rows(statements.COUNTS)}

    async def fleet(self) -> list[tuple[int, float, bool, int]]:
        """(place, seconds since its report, gate, active) of the newest worker at each place."""
        return [tuple(row) for row in await self.database.rows(statements.FLEET)]

    async def living(self, silent_s: float) -> list[str]:
        """Workers that were heard of within `silent_s`."""
        return [row[0] for row in await self.database.rows(statements.LIVING, silent_s)]

    # -- what operators do --

    async def dead(self, role: str | None, ids: Sequence[int] | None = None) -> list[tuple[int, Task]]:
        """The dead letters (of a role, or of these ids, or all), by id."""
        rows = await self.database.rows(statements.DEAD, State.PERMANENT_FAILURE, role, ids)
        return [(row[0], Task(State.PERMANENT_FAILURE, row[1], row[2], row[3])) for row in rows]

    async def redrive(self, verdicts: Sequence[Verdict]) -> list[tuple[int, int]]:
        """PERMANENT_FAILURE → PENDING. Returns (id, class) of those that nobody had redriven before."""
        verdicts = sorted(verdicts, key=lambda one: one.id)
        ids, tokens = [one.id for one in verdicts], [one.token for one in verdicts]
        states = [one.accepted.task.state for one in verdicts]
        rows, repeated = await self.database.run(
            statements.REDRIVE,
            ids,
            tokens,
            states,
            [one.accepted.task.forgiven for one in verdicts],
            [one.patience_s for one in verdicts],
            State.PERMANENT_FAILURE,
            Event.REDRIVEN,
        )
        if repeated:  # the first try may have been committed before the connection broke; pushing twice is harmless
            return [(row[0], row[2]) for row in await self.database.rows(statements.ALREADY, ids, tokens, states)]
        return [(row[0], row[1]) for row in rows]

    async def note(self, kind: str, tasks: Sequence[tuple[int, str]], worker: str = "") -> None:
        """Keep a word of what happened to tasks: (id, detail). There may be thousands; it is one statement."""
        ids, details = [task for task, _ in tasks], [detail for _, detail in tasks]
        await self.database.run(statements.NOTE, kind, worker, ids, details)
