"""PostgreSQL, the authority: every change of a task's state, each with its audit row in one statement.

The statements hold, order and compare. They decide nothing: states, delays and reasons come in as parameters, from the
rulebook. Each is guarded (by the state it expects, by the fencing token, by the lease's end), so that repeating it, or
coming late with it, changes nothing. Time is the server's own (`now()`), never a client's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.rules.lease import LeaseRules
from lab.rules.tasks import TERMINAL, Accepted, Event, State, Task
from lab.workload import Plan
from live_backend.database import Database

SUBMIT = """
with new as (
    insert into task (id, role, priority, class, state, patience_s)
    select id, role, priority, class, %(state)s, patience_s
    from unnest(%(ids)s::bigint[], %(roles)s::text[], %(priorities)s::smallint[], %(classes)s::smallint[],
                %(patience_s)s::float8[])
         as t (id, role, priority, class, patience_s)
    on conflict (id) do nothing
    returning id),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, '', %(state)s, 0, 0, %(reason)s from new)
select id from new"""

KNOWN = """
select id from task where id = any(%(ids)s) order by id"""

CLAIM = """
with won as (
    update task
    set state = %(to)s, attempt = attempt + 1, token = token + 1, worker = %(worker)s, changed_at = now(),
        waited_s = extract(epoch from now() - changed_at), lease_until = now() + %(lease_s)s * interval '1 second'
    where id = any(%(ids)s) and state = %(from)s
        and (patience_s is null or changed_at + patience_s * interval '1 second' > now())
    returning id, attempt, token, forgiven, waited_s),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason)
    select id, %(from)s, %(to)s, %(worker)s, attempt, token, %(reason)s from won)
select id, attempt, token, forgiven, waited_s from won"""

MINE = """
select id, attempt, token, forgiven, waited_s from task
where id = any(%(ids)s) and state = %(running)s and worker = %(worker)s"""

SETTLE = """
with verdict as (
    select * from unnest(%(ids)s::bigint[], %(tokens)s::integer[], %(attempts)s::integer[], %(states)s::text[],
                         %(delays_s)s::float8[], %(reasons)s::text[], %(patience_s)s::float8[])
             as v (id, token, attempt, state, delay_s, reason, patience_s)),
moved as (
    update task
    set state = verdict.state, attempt = verdict.attempt, changed_at = now(), lease_until = null,
        due_at = now() + verdict.delay_s * interval '1 second', patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = %(from)s
    returning task.id, task.attempt, task.token, task.worker, task.state, verdict.delay_s, verdict.reason, task.due_at),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason, delay_s)
    select id, %(from)s, state, worker, attempt, token, reason, delay_s from moved)
select id, extract(epoch from due_at)::float8 from moved"""

ALREADY = """
select id, extract(epoch from due_at)::float8, class
from task
join unnest(%(ids)s::bigint[], %(tokens)s::integer[], %(states)s::text[]) as v (id, token, state)
     using (id, token, state)"""

DUE = """
with moved as (
    update task set state = %(to)s, changed_at = now()
    where id = any(%(ids)s) and state = %(from)s and due_at <= now()
    returning id, class, attempt, token),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason)
    select id, %(from)s, %(to)s, %(worker)s, attempt, token, %(reason)s from moved)
select id, class from moved order by id"""

RENEW = """
update task set lease_until = now() + %(lease_s)s * interval '1 second'
where id = any(%(ids)s) and worker = %(worker)s and state = %(running)s"""

LAPSED = """
select id, attempt, token, forgiven from task
where id >= %(lowest)s and state = %(running)s and lease_until <= now() order by lease_until limit %(limit)s"""

RECLAIM = """
with verdict as (
    select * from unnest(%(ids)s::bigint[], %(tokens)s::integer[], %(states)s::text[], %(patience_s)s::float8[])
             as v (id, token, state, patience_s)),
moved as (
    update task set state = verdict.state, changed_at = now(), lease_until = null, patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = %(from)s and task.lease_until <= now()
    returning task.id, task.class, task.attempt, task.token, task.state),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, %(from)s, state, attempt, token, %(reason)s from moved)
select id, class, state from moved order by id"""

DEAD = """
select id, attempt, token, forgiven from task
where state = %(dead)s and (%(role)s::text is null or role = %(role)s) order by id"""

REDRIVE = """
with verdict as (
    select * from unnest(%(ids)s::bigint[], %(tokens)s::integer[], %(states)s::text[], %(forgiven)s::integer[],
                         %(patience_s)s::float8[])
             as v (id, token, state, forgiven, patience_s)),
moved as (
    update task
    set state = verdict.state, forgiven = verdict.forgiven, changed_at = now(), patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = %(from)s
    returning task.id, task.class, task.attempt, task.token, task.state),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, %(from)s, state, attempt, token, %(reason)s from moved order by id)
select id, class from moved order by id"""

EXPIRE = """
with moved as (
    update task set state = %(to)s, changed_at = now()
    where id >= %(lowest)s and state = %(from)s
        and changed_at + patience_s * interval '1 second' <= now()
    returning id, class, attempt, token),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, %(from)s, %(to)s, attempt, token, %(reason)s from moved)
select id, class from moved order by id"""

OVERDUE = """
select id from task
where id >= %(lowest)s and state = %(waiting)s and due_at <= now() - %(late_s)s * interval '1 second'
order by due_at limit %(limit)s"""

STILL_WAITING = """
select id from task where id = any(%(ids)s) and state = %(waiting)s"""

WAITING = """
select id, class from task
where id >= %(lowest)s and state = %(pending)s and changed_at <= now() - %(older_s)s * interval '1 second'
order by changed_at, id"""

LOWEST = """
select coalesce((select min(id) from task where id >= %(lowest)s and state <> all(%(terminal)s)),
                (select max(id) + 1 from task), %(lowest)s)"""

COUNTS = """
select state, count(*) from task where id >= %(lowest)s group by state"""


class NewTask(NamedTuple):
    """A task that comes in. `queue` is its class; `patience_s` how long its client will wait (None: for ever)."""

    id: int
    role: str
    priority: int
    queue: int
    patience_s: float | None


class Claim(NamedTuple):
    """A task that this worker won, with the facts that the rules need. `waited_s`: how long it had been PENDING."""

    id: int
    task: Task
    waited_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rulebook said of a claim that ended: to be written if the token is still current.

    `patience_s` is how long the client will wait for the next try (None: for ever).
    """

    id: int
    token: int
    accepted: Accepted
    patience_s: float | None = None


def patience_s(plan: Plan, task: int, attempt: int) -> float | None:
    """How long a row keeps its client while it waits for that attempt: None (for ever) unless leaving cancels it."""
    return plan.patience_s(task, attempt) if plan.scenario.rules.deadline.cancels else None


class Store:
    """The tasks of one run. `lowest` is the lowest id that may not be finished yet: sweeps start there. A redrive
    sets it back.
    """

    def __init__(self, database: Database, lease: LeaseRules) -> None:
        self.database = database
        self.lowest = 0
        self._lease = lease

    async def submit(self, tasks: Sequence[NewTask]) -> set[int]:
        """Insert tasks as PENDING. Returns the ids that now have to be pushed; one that was there before is left as it
        is.
        """
        batch = {
            "ids": [task.id for task in tasks],
            "roles": [task.role for task in tasks],
            "priorities": [task.priority for task in tasks],
            "classes": [task.queue for task in tasks],
            "patience_s": [task.patience_s for task in tasks],
        }
        rows, repeated = await self.database.run(SUBMIT, {**batch, "state": State.PENDING, "reason": Event.SUBMITTED})
        if repeated:  # the first try may have been committed before the connection broke; pushing twice is harmless
            return {task.id for task in tasks}
        return {row[0] for row in rows}

    async def known(self, ids: Sequence[int]) -> list[int]:
        """Those of `ids` that have been accepted."""
        return [row[0] for row in await self.database.rows(KNOWN, {"ids": list(ids)})]

    async def claim(self, ids: Sequence[int], worker: str) -> list[Claim]:
        """PENDING → RUNNING for those of `ids` that are still to be had, under a lease."""
        rows, repeated = await self.database.run(
            CLAIM,
            {
                "ids": list(ids),
                "worker": worker,
                "lease_s": self._lease.length_s,
                "from": State.PENDING,
                "to": State.RUNNING,
                "reason": Event.CLAIMED,
            },
        )
        if repeated:  # the first try may have been committed before the connection broke: those claims are ours too
            rows = await self.database.rows(MINE, {"ids": list(ids), "worker": worker, "running": State.RUNNING})
        return [Claim(row[0], Task(State.RUNNING, row[1], row[2], row[3]), row[4]) for row in rows]

    async def settle(self, verdicts: Sequence[Verdict]) -> dict[int, float]:
        """Write verdicts on RUNNING tasks. Returns id → due time (epoch, s) of those that held; the others came too
        late.
        """
        batch = {
            "ids": [one.id for one in verdicts],
            "tokens": [one.token for one in verdicts],
            "states": [one.accepted.task.state for one in verdicts],
        }
        rows, repeated = await self.database.run(
            SETTLE,
            {
                **batch,
                "attempts": [one.accepted.task.attempt for one in verdicts],
                "delays_s": [one.accepted.delay_s for one in verdicts],
                "reasons": [one.accepted.reason for one in verdicts],
                "patience_s": [one.patience_s for one in verdicts],
                "from": State.RUNNING,
            },
        )
        if repeated:
            rows = await self.database.rows(ALREADY, batch)
        return {row[0]: row[1] for row in rows}

    async def due(self, ids: Sequence[int], worker: str = "") -> list[tuple[int, int]]:
        """RETRY_WAIT → PENDING for those of `ids` whose time has come by the store's clock. Returns (id, class)."""
        moves = {"from": State.RETRY_WAIT, "to": State.PENDING, "reason": Event.DUE}
        rows = await self.database.rows(DUE, {"ids": list(ids), "worker": worker, **moves})
        return [(row[0], row[1]) for row in rows]

    async def lapsed(self, limit: int) -> list[tuple[int, Task]]:
        """Tasks whose lease is over."""
        rows = await self.database.rows(LAPSED, {"lowest": self.lowest, "running": State.RUNNING, "limit": limit})
        return [(row[0], Task(State.RUNNING, row[1], row[2], row[3])) for row in rows]

    async def reclaim(self, verdicts: Sequence[Verdict]) -> list[tuple[int, int, State]]:
        """Take lapsed claims back. Returns (id, class, new state) of those that were not renewed meanwhile."""
        batch = {
            "ids": [one.id for one in verdicts],
            "tokens": [one.token for one in verdicts],
            "states": [one.accepted.task.state for one in verdicts],
            "patience_s": [one.patience_s for one in verdicts],
        }
        rows = await self.database.rows(RECLAIM, {**batch, "from": State.RUNNING, "reason": Event.LEASE_LAPSED})
        return [(row[0], row[1], State(row[2])) for row in rows]

    async def dead(self, role: str | None) -> list[tuple[int, Task]]:
        """The dead tasks (of a role, or all), by id."""
        rows = await self.database.rows(DEAD, {"dead": State.PERMANENT_FAILURE, "role": role})
        return [(row[0], Task(State.PERMANENT_FAILURE, row[1], row[2], row[3])) for row in rows]

    async def redrive(self, verdicts: Sequence[Verdict]) -> list[tuple[int, int]]:
        """PERMANENT_FAILURE → PENDING. Returns (id, class) of those that nobody had redriven before."""
        batch = {
            "ids": [one.id for one in verdicts],
            "tokens": [one.token for one in verdicts],
            "states": [one.accepted.task.state for one in verdicts],
        }
        rows, repeated = await self.database.run(
            REDRIVE,
            {
                **batch,
                "forgiven": [one.accepted.task.forgiven for one in verdicts],
                "patience_s": [one.patience_s for one in verdicts],
                "from": State.PERMANENT_FAILURE,
                "reason": Event.REDRIVEN,
            },
        )
        self.lowest = min([self.lowest, *(one.id for one in verdicts)])
        if repeated:  # the first try may have been committed before the connection broke; pushing twice is harmless
            return [(row[0], row[2]) for row in await self.database.rows(ALREADY, batch)]
        return [(row[0], row[1]) for row in rows]

    async def expire(self) -> list[tuple[int, int]]:
        """PENDING → CANCELLED for every task whose client has left by the store's clock. Returns (id, class)."""
        moves = {"from": State.PENDING, "to": State.CANCELLED, "reason": Event.EXPIRED}
        return [(row[0], row[1]) for row in await self.database.rows(EXPIRE, {"lowest": self.lowest, **moves})]

    async def overdue(self, late_s: float, limit: int) -> list[int]:
        """Retries that should have been due at least `late_s` ago."""
        values = {"lowest": self.lowest, "waiting": State.RETRY_WAIT, "late_s": late_s, "limit": limit}
        return [row[0] for row in await self.database.rows(OVERDUE, values)]

    async def still_waiting(self, ids: Collection[int]) -> set[int]:
        """Those of `ids` that are in RETRY_WAIT."""
        rows = await self.database.rows(STILL_WAITING, {"ids": list(ids), "waiting": State.RETRY_WAIT})
        return {row[0] for row in rows}

    async def waits_for(self, task: int, token: int) -> bool:
        """Whether a task is still in the RETRY_WAIT that this claim put it into."""
        values = {"ids": [task], "tokens": [token], "states": [State.RETRY_WAIT]}
        return bool(await self.database.rows(ALREADY, values))

    async def waiting(self, older_s: float) -> list[tuple[int, int]]:
        """(id, class) of tasks that have been PENDING for at least `older_s`, those that wait longest first."""
        values = {"lowest": self.lowest, "pending": State.PENDING, "older_s": older_s}
        return [(row[0], row[1]) for row in await self.database.rows(WAITING, values)]

    async def advance(self) -> int:
        """Move `lowest` past all finished tasks; returns it."""
        rows = await self.database.rows(LOWEST, {"lowest": self.lowest, "terminal": [str(state) for state in TERMINAL]})
        self.lowest = rows[0][0]
        return self.lowest

    async def counts(self) -> dict[State, int]:
        """Tasks by state, from `lowest` on."""
        return {State(row[0]): row[1] for row in await self.database.rows(COUNTS, {"lowest": self.lowest})}
