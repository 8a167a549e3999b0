"""Everything that can be said to the live store about a task in any state, and what it made of it.

The rulebook says what must happen (`lab.rules.tasks.transition`); the store's own clock says whether it is time. What
is refused must leave the row and its history as they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, product
from typing import NamedTuple

from lab.rules import tasks
from lab.rules.lease import LeaseRules
from lab.rules.retry import RetryRules
from lab.rules.tasks import FENCED, Accepted, Event, State, Task
from live_backend.broker import Broker, connect
from live_backend.database import Database
from live_backend.intake import Intake, Receipt, Submission
from live_backend.operating import Operating
from live_backend.reading import Reading
from live_backend.servers import Servers
from live_backend.store import NewTask, Store, Verdict

WORKER = "w0.1"
AT_ONCE_S, LONG_S = 1e-6, 3_600.0
"""A time that is over by the next statement, and one that no test sees the end of."""
SAID_OF = {
    Event.SUCCEEDED: State.RUNNING,
    Event.FAILED: State.RUNNING,
    Event.HANDED_BACK: State.RUNNING,
    Event.LEASE_LAPSED: State.RUNNING,
    Event.REDRIVEN: State.PERMANENT_FAILURE,
}
"""Events that are judged before they are written: the state that the task had when they were. It may have moved on."""
_NEW = count(10**12)
"""Ids far from those that an intake gives; and keys. Several desks may share a schema."""
CLOSE_S_MAX = 20.0
TIMED = {(State.RETRY_WAIT, Event.DUE), (State.RUNNING, Event.LEASE_LAPSED), (State.PENDING, Event.EXPIRED)}


class Try(NamedTuple):
    """An event that comes to a task in a state. `ripe`: its backoff, its lease, its client's patience are over.
    `current`: it speaks of the present claim and not of the one before.
    """

    state: State | None
    event: Event
    ripe: bool = False
    current: bool = True

    def counts(self, facts: Task | None) -> bool:
        """Whether it must be accepted."""
        if self.event in SAID_OF and not self.current:
            return False
        if (self.state, self.event) in TIMED and not self.ripe:
            return False
        if (self.state, self.event) == (State.PENDING, Event.CLAIMED) and self.ripe:
            return False  # its client has left
        token = facts.token if facts is not None else None
        return isinstance(tasks.transition(facts, self.event, RetryRules(), token=token), Accepted)


TRIES = [
    *(Try(state, event) for state, event in product((None, *State), Event)),
    *(Try(state, event, ripe=True) for state, event in sorted(TIMED)),
    Try(State.PENDING, Event.CLAIMED, ripe=True),
    *(Try(state, event, current=False) for state, event in product((None, *State), SAID_OF)),
    Try(State.RUNNING, Event.LEASE_LAPSED, ripe=True, current=False),
]


class Row(NamedTuple):
    """Where a task stands, and how long its history is."""

    facts: Task | None
    moves: int


@dataclass
class Desk:
    """The store of a schema of its own, and all who talk to it: producer, worker, reaper, operator."""

    store: Store
    impatient: Store
    """The same store for claims whose leases are over at once."""
    operating: Operating

    async def deviations(self, tries: Sequence[Try]) -> list[str]:
        """What went otherwise than it must."""
        return [told for one in tries if (told := await self._tried(one))]

    async def _tried(self, one: Try) -> str:
        task = await self._put(one)
        before = await self._look(task)
        must = one.counts(before.facts)
        heard = await self._happen(one, task, before.facts)
        after = await self._look(task)
        moved = after != before
        if moved is not must or heard is not must or (moved and after.moves != before.moves + 1):
            return f"{one}: must be {'accepted' if must else 'refused'}, answer {heard}, {before} became {after}"
        return ""

    # -- a task in any state --

    async def _put(self, one: Try) -> int:
        """A task in that state."""
        task, state = next(_NEW), one.state
        if state is None:
            return task
        leaves = state is State.CANCELLED or (state is State.PENDING and one.ripe)
        await self.store.submit([NewTask(task, "A", 3, 0, AT_ONCE_S if leaves else None)])
        if state is State.CANCELLED:
            await self.store.expire()
        elif state is not State.PENDING:
            claims = self.impatient if one.ripe else self.store
            (claim,) = await claims.claim([task], WORKER)
            if state is not State.RUNNING:
                await self._end(state, task, claim.task, 0.0 if one.ripe else LONG_S)
        return task

    async def _end(self, state: State, task: int, facts: Task, base_s: float) -> None:
        """From RUNNING into that state; a retry waits for at least `base_s`."""
        event = Event.SUCCEEDED if state is State.COMPLETED else Event.FAILED
        rules, may_retry = RetryRules(base_s=base_s), state is State.RETRY_WAIT
        said = tasks.transition(facts, event, rules, token=facts.token, may_retry=may_retry)
        assert isinstance(said, Accepted)
        assert task in await self.store.settle([Verdict(task, facts.token, said)])

    async def _look(self, task: int) -> Row:
        query = "select state, attempt, token, forgiven from task where id = $1"
        rows = await self.store.database.rows(query, task)
        moves = await self.store.database.rows("select count(*) from transition where task = $1", task)
        return Row(Task(State(rows[0][0]), *rows[0][1:]) if rows else None, moves[0][0])

    # -- and what may happen to it --

    async def _happen(self, one: Try, task: int, facts: Task | None) -> bool:
        """Say it to the store. Returns whether the answer says that it counted."""
        store, known = self.store, facts or Task(State.PENDING)
        if one.event in SAID_OF:
            token = known.token if one.current else known.token - 1
            return task in await self._write(one.event, task, known._replace(state=SAID_OF[one.event], token=token))
        if one.event is Event.SUBMITTED:
            return task in await store.submit([NewTask(task, "A", 3, 0, None)])
        if one.event is Event.CLAIMED:
            return [claim.id for claim in await store.claim([task], WORKER)] == [task]
        if one.event is Event.DUE:
            return [moved for moved, _ in await store.due([task])] == [task]
        if one.event is Event.EXPIRED:
            return task in [moved for moved, _ in await store.expire()]
        assert one.event is Event.CANCELLED
        try:
            return await self.operating.cancel(task, RetryRules()) is None
        except LookupError:
            return False

    async def _write(self, event: Event, task: int, facts: Task) -> list[int]:
        """What the rulebook says of a task as it was (or of an older claim), written now."""
        said = tasks.transition(facts, event, RetryRules(), token=facts.token)
        assert isinstance(said, Accepted)
        verdict = Verdict(task, facts.token, said)
        if event in FENCED:
            return list(await self.store.settle([verdict]))
        if event is Event.LEASE_LAPSED:
            return [moved for moved, *_ in await self.store.reclaim([verdict])]
        return [moved for moved, _ in await self.store.redrive([verdict])]


@asynccontextmanager
async def _desk(servers: Servers, schema: str) -> AsyncIterator[Desk]:
    impatient = LeaseRules(length_s=AT_ONCE_S)
    connection, reading = Database(servers.dsn, schema), Reading(servers.dsn, schema)
    broker = Broker(connect(servers.redis_url), f"{schema}:")
    operating = Operating(reading, broker)
    try:
        yield Desk(Store(connection, LeaseRules(length_s=LONG_S)), Store(connection, impatient), operating)
    finally:
        await broker.wipe()
        await broker.client.aclose()
        await reading.close()
        await connection.close()


def deviations(servers: Servers, schema: str, tries: Sequence[Try]) -> list[str]:
    """What the store of this schema makes otherwise than it must."""

    async def story() -> list[str]:
        async with _desk(servers, schema) as desk:
            return await desk.deviations(tries)

    return asyncio.run(story())


def receipts_of_a_repeated_key(servers: Servers, schema: str) -> list[Receipt]:
    """A submission, the same under the same key again, and another under that key."""

    async def story() -> list[Receipt]:
        broker = Broker(connect(servers.redis_url), f"{schema}:")
        intake = Intake(servers.dsn, broker, schema)
        intake.start()
        try:
            key = f"key {next(_NEW)}"
            asked = [Submission("A", 3, 0, "1", key, digest) for digest in (b"one", b"one", b"another")]
            return [receipt for one in asked for receipt in await intake.submit([one])]
        finally:
            async with asyncio.timeout(CLOSE_S_MAX):
                await intake.close()
            await broker.wipe()
            await broker.client.aclose()

    return asyncio.run(story())
