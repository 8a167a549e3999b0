"""What an operator does to tasks: cancel, redrive, put dead letters aside.

The rulebook says whether it may be; a statement guarded by token and state writes it with its audit row; Redis hears of
it after the commit. A task that moved meanwhile is looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from lab.errors import Unavailable
from lab.limits import LETTERS_AT_ONCE_MAX, LOOKED_AGAIN_MAX
from lab.rules.retry import RetryRules
from lab.rules.tasks import Accepted, Event, Refused, State, Task, transition
from live_backend.broker import GONE, Broker
from live_backend.reading import Reading

FACTS = "select id, class, state, attempt, token, forgiven from task where id = any(%(ids)s) order by id"

LETTERS = """
select task.id, task.class, task.state, task.attempt, task.token, task.forgiven
from dead_letter
join task on task.id = dead_letter.task
where dead_letter.discarded_at is null and (%(role)s::text is null or task.role = %(role)s)
order by task.id limit %(limit)s"""

MOVE = """
with verdict as (
    select * from unnest(%(ids)s::bigint[], %(tokens)s::integer[], %(forgiven)s::integer[]) as v (id, token, forgiven)),
moved as (
    update task
    set state = %(to)s, forgiven = verdict.forgiven, changed_at = now(), lease_until = null, due_at = null
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = %(from)s
    returning task.id, task.attempt, task.token),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, %(from)s, %(to)s, attempt, token, %(reason)s from moved order by id)
select id from moved order by id"""

REVIVED = "delete from dead_letter where task = any(%(ids)s)"

SEEN_BY_SWEEPS = """
insert into straggler (task) select unnest(%(ids)s::bigint[]) on conflict do nothing"""

DISCARD = """
with chosen as (
    select dead_letter.task
    from dead_letter
    join task on task.id = dead_letter.task
    where dead_letter.discarded_at is null and (%(ids)s::bigint[] is null or task.id = any(%(ids)s))
        and (%(role)s::text is null or task.role = %(role)s)
    order by task.id limit %(limit)s),
gone as (
    update dead_letter set discarded_at = now() from chosen
    where dead_letter.task = chosen.task and dead_letter.discarded_at is null
    returning dead_letter.task)
select task from gone order by task"""


class Found(NamedTuple):
    """A task as it was when it was looked at."""

    id: int
    queue: int
    facts: Task


class Operating:
    """Operators' actions on the standing mesh. Raise Unavailable if PostgreSQL is away; Redis may be."""

    def __init__(self, reading: Reading, broker: Broker) -> None:
        self._reading, self._broker = reading, broker

    async def cancel(self, task_id: int, rules: RetryRules) -> Refused | None:
        """PENDING or RETRY_WAIT → CANCELLED; or the rulebook's reason why not. Raises LookupError: no such task."""
        found = await self._move_one(task_id, Event.CANCELLED, rules)
        if isinstance(found, Refused):
            return found
        with suppress(*GONE):  # what Redis still holds of it could not be claimed anyway
            if found.facts.state is State.RETRY_WAIT:
                await self._broker.unschedule([found.id])
            else:
                await self._broker.withdraw({found.queue: [found.id]})
        return None

    async def redrive(self, task_id: int, rules: RetryRules) -> Refused | None:
        """PERMANENT_FAILURE → PENDING, with a fresh retry budget. As `cancel`."""
        found = await self._move_one(task_id, Event.REDRIVEN, rules)
        if isinstance(found, Refused):
            return found
        await self._push([found])
        return None

    async def redrive_letters(self, ids: Sequence[int] | None, role: str | None, rules: RetryRules) -> list[int]:
        """Those of `ids` that are dead, or all dead letters (of a role), at most LETTERS_AT_ONCE_MAX."""
        async with self._reading.connection() as connection:
            if ids is not None:
                found = await _looked_up(connection, ids)
            else:
                rows = await _rows(connection, LETTERS, {"role": role, "limit": LETTERS_AT_ONCE_MAX})
                found = [_found(row) for row in rows]
            moved = set(await _move(connection, found, Event.REDRIVEN, rules))
        back = [one for one in found if one.id in moved]
        await self._push(back)
        return [one.id for one in back]

    async def discard_letters(self, ids: Sequence[int] | None, role: str | None) -> list[int]:
        """Put dead letters aside: their tasks stay as they are, and are listed no more."""
        chosen = {"ids": None if ids is None else list(ids), "role": role, "limit": LETTERS_AT_ONCE_MAX}
        async with self._reading.connection() as connection:
            gone = [row[0] for row in await _rows(connection, DISCARD, chosen)]
        with suppress(*GONE):
            await self._broker.withdraw_letters(gone)
        return gone

    async def _move_one(self, task_id: int, event: Event, rules: RetryRules) -> Found | Refused:
        for _ in range(LOOKED_AGAIN_MAX):
            async with self._reading.connection() as connection:
                found = await _looked_up(connection, [task_id])
                if not found:
                    raise LookupError(task_id)
                said = transition(found[0].facts, event, rules)
                if isinstance(said, Refused):
                    return said
                if await _move(connection, found, event, rules):
                    return found[0]
        raise Unavailable(f"Task {task_id} changed each time it was looked at. Repeat the request.")

    async def _push(self, tasks: Sequence[Found]) -> None:
        """If Redis is away, the next sweep puts them back."""
        if not tasks:
            return
        by_class: dict[int, list[int]] = {}
        for one in tasks:
            by_class.setdefault(one.queue, []).append(one.id)
        with suppress(*GONE):
            await self._broker.withdraw_letters([one.id for one in tasks])
            await self._broker.push(by_class)


async def _looked_up(connection: AsyncConnection, ids: Sequence[int]) -> list[Found]:
    return [_found(row) for row in await _rows(connection, FACTS, {"ids": list(ids)})]


def _found(row: Any) -> Found:
    return Found(row[0], row[1], Task(State(row[2]), row[3], row[4], row[5]))


async def _move(connection: AsyncConnection, found: Sequence[Found], event: Event, rules: RetryRules) -> list[int]:
    """Write the rulebook's verdict on those that it accepts. Returns the ids of those that had not moved meanwhile."""
    judged = [(one, transition(one.facts, event, rules)) for one in found]
    by_move: dict[tuple[State, State], list[tuple[Found, Accepted]]] = {}
    for one, said in judged:
        if isinstance(said, Accepted):
            by_move.setdefault((one.facts.state, said.task.state), []).append((one, said))
    moved: list[int] = []
    for (start, end), several in by_move.items():
        values = {
            "ids": [one.id for one, _ in several],
            "tokens": [one.facts.token for one, _ in several],
            "forgiven": [said.task.forgiven for _, said in several],
        }
        moved += [
            row[0] for row in await _rows(connection, MOVE, {**values, "from": start, "to": end, "reason": event})
        ]
    if event is Event.REDRIVEN and moved:
        await connection.exec_driver_sql(REVIVED, {"ids": moved})
        await connection.exec_driver_sql(SEEN_BY_SWEEPS, {"ids": moved})
    return moved


async def _rows(connection: AsyncConnection, query: str, values: dict[str, Any]) -> Sequence[Any]:
    return (await connection.exec_driver_sql(query, values)).all()
