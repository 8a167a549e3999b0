"""The event feed: every row of the audit log, once, in the order of commit, to whoever listens.

An event's id is `<xid>-<seq>`: the transaction that wrote it, and its number. Rows below the oldest transaction under
way are complete, and only those are read; so a reader that goes on after an id has no gap and no double, even though
transactions commit in another order than they took their numbers. (A sequence alone would hide rows that commit late.)

One tail per process reads the log while anybody listens, and hands each event to all readers. Each has a queue with a
bound: a reader that is too slow is told what it missed, and goes on from there; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

import psycopg

from lab.errors import Unavailable
from lab.limits import (
    FEED_BACKLOG_EVENTS_MAX,
    FEED_BATCH_EVENTS,
    FEED_HEARTBEAT_S,
    FEED_LOCK_MS_MAX,
    FEED_QUEUE_EVENTS_MAX,
    FEED_RESUME_EVENTS,
    FEED_RESUME_S_MAX,
    FEED_START_S_MAX,
    FEED_STREAMS_MAX,
    FEED_SUMMARIZE_S,
    FEED_WRITE_EVENTS_MAX,
)
from lab.rules.view import ViewRules
from live_backend.database import SYNC_GONE, backoff_s, options
from live_backend.reading import moment

VERSION = 1
"""Of the events' data. A reader that does not know a version must not guess."""

HORIZON = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint"

EVENTS = """
with page as (
    select xid, seq, task, from_state, to_state, at, worker, attempt, token, reason, delay_s
    from transition
    where xid >= %(xid)s and (xid, seq) > (%(xid)s, %(seq)s)
        and xid <= %(end_xid)s and (xid, seq) <= (%(end_xid)s, %(end_seq)s)
    order by xid, seq limit %(limit)s)
select page.xid, page.seq, page.task, task.role, page.from_state, page.to_state, page.at, page.worker, page.attempt,
    page.token, page.reason, page.delay_s
from page
left join task on task.id = page.task
order by page.xid, page.seq"""

BACKLOG = """
select count(*) from (
    select from transition where xid >= %(xid)s and (xid, seq) > (%(xid)s, %(seq)s) limit %(limit)s) as rows"""

KNOWN = """
select at > now() - %(resume_s)s * interval '1 second' from transition where xid = %(xid)s and seq = %(seq)s"""

FIRST_AFTER = """
select at > now() - %(resume_s)s * interval '1 second' from transition
where xid >= %(xid)s and (xid, seq) > (%(xid)s, %(seq)s) order by xid, seq limit 1"""

LOCK_TIMEOUT = "select set_config('lock_timeout', %(ms)s::text, false)"
SUMMARIZE = "select brin_summarize_new_values('transition_xid')"


class Position(NamedTuple):
    """Behind which event a reader stands. `seq` 0: before every event of the transaction."""

    xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The position that an event's id names; None: it is no id."""
        found = re.fullmatch(r"(\d{1,18})-(\d{1,18})", text, re.ASCII)
        return cls(int(found[1]), int(found[2])) if found else None

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """That of a frame."""
        xid, _, seq = frame.id.partition("-")
        return cls(int(xid), int(seq))


class Frame(NamedTuple):
    """What a reader gets: an id, the kind of event, and its data as JSON on one line. Without a kind it only says how
    far the feed has come.
    """

    id: str
    event: str = ""
    data: str = ""


class Filter(NamedTuple):
    """Which events a reader wants: of one task, of one role, or all."""

    task: int | None = None
    role: str | None = None

    def wants(self, task: int, role: str | None) -> bool:
        """Whether an event passes."""
        return (self.task is None or self.task == task) and (self.role is None or self.role == role)


class _Event(NamedTuple):
    task: int
    role: str | None
    frame: Frame


class _Reader:
    """One reader's queue."""

    def __init__(self, only: Filter, start: Position | None) -> None:
        self.only, self.start, self.behind = only, start, Position(0, 0)
        self.missed_total = 0
        self._frames: deque[Frame] = deque()
        self._missed_from = self._missed_to = ""
        self._missed = 0
        self._something = asyncio.Event()

    def offer(self, events: Sequence[_Event]) -> None:
        """Queue what the reader wants, as far as there is room."""
        for event in events:
            if self.only.wants(event.task, event.role):
                self._put(event.frame)
        self._something.set()

    def _put(self, frame: Frame) -> None:
        if not self._missed and len(self._frames) < FEED_QUEUE_EVENTS_MAX:
            self._frames.append(frame)
            return
        self._missed_from = self._missed_from or frame.id
        self._missed_to = frame.id
        self._missed += 1
        self.missed_total += 1

    def wake(self) -> None:
        """End a wait."""
        self._something.set()

    async def wait(self) -> None:
        """Until there is something, or it is time for a heartbeat."""
        if self._frames or self._missed:
            return
        self._something.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._something.wait(), FEED_HEARTBEAT_S)

    def take(self) -> list[Frame]:
        """The next few frames; after the last one of the queue, what was missed behind it."""
        while self._frames and Position.of(self._frames[0]) <= self.behind:
            self._frames.popleft()
        count = min(len(self._frames), FEED_WRITE_EVENTS_MAX)
        frames = [self._frames.popleft() for _ in range(count)]
        if self._missed and not self._frames:
            data = {"version": VERSION, "from": self._missed_from, "to": self._missed_to, "count": self._missed}
            frames.append(Frame(self._missed_to, "missed", json.dumps(data)))
            self._missed, self._missed_from, self._missed_to = 0, "", ""
        return frames


class Feed:
    """The tail, and its readers. Nothing is read while nobody listens."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn, self._schema = dsn, schema
        self._readers: set[_Reader] = set()
        self._position: Position | None = None
        self._started = asyncio.Event()
        self._tail: asyncio.Task[None] | None = None
        self._closed = False
        self._missed_before = 0

    @property
    def readers(self) -> int:
        """How many listen."""
        return len(self._readers)

    @property
    def missed(self) -> int:
        """Events that readers were too slow for, so far."""
        return self._missed_before + sum(reader.missed_total for reader in self._readers)

    @property
    def is_full(self) -> bool:
        """Whether no more may listen."""
        return len(self._readers) >= FEED_STREAMS_MAX

    def close(self) -> None:
        """End all streams: the server stops."""
        self._closed = True
        for reader in self._readers:
            reader.wake()

    async def listen(self, since: str | None, only: Filter) -> AsyncGenerator[list[Frame], None]:
        """Frames as they come, in lists; a list of one frame without a kind is a heartbeat. Goes on after the event
        `since`, or starts now. Ends when the feed is closed. Raises Unavailable if PostgreSQL is away at the start.
        """
        reader = self._join(only)
        try:
            start = await self._start_of(reader)
            yield [Frame(str(start) if since is None else since if Position.parse(since) else str(start))]
            if since is not None:
                async for frames in self._resumed(since, start, reader):
                    yield frames
            while not self._closed:
                await reader.wait()
                self._refuse_dead_tail()
                position = self._position
                if frames := reader.take():
                    yield frames
                elif position is not None:
                    yield [Frame(str(max(position, reader.behind)))]
        finally:
            self._readers.discard(reader)
            self._missed_before += reader.missed_total

    def _refuse_dead_tail(self) -> None:
        """A tail that a defect has ended takes its readers along: they would wait for ever."""
        if self._tail is not None and self._tail.done():
            self._tail.result()

    def _join(self, only: Filter) -> _Reader:
        reader = _Reader(only, self._position)
        self._readers.add(reader)
        if self._tail is None or self._tail.done():
            self._tail = asyncio.get_running_loop().create_task(self._follow())
        return reader

    async def _start_of(self, reader: _Reader) -> Position:
        """From where on the reader's queue is complete."""
        if reader.start is None:
            try:
                async with asyncio.timeout(FEED_START_S_MAX):
                    await self._started.wait()
            except TimeoutError:
                raise Unavailable("PostgreSQL does not answer, so there are no events. Connect again later.") from None
        assert reader.start is not None
        return reader.start

    # -- the past --

    async def _resumed(self, since: str, start: Position, reader: _Reader) -> AsyncIterator[list[Frame]]:
        """What lies between an id and the start of the queue; or that this cannot be told any more. If the id is
        ahead of the queue, because another process has told it, the queue is passed over up to there.
        """
        async with await self._connected() as connection:
            behind = Position.parse(since)
            if behind is None or (refusal := await _refusal(connection, behind)):
                reason = "it is no event's id" if behind is None else refusal
                data = {"version": VERSION, "from": since, "to": str(start), "reason": reason}
                yield [Frame(str(start), "reset", json.dumps(data))]
                return
            reader.behind = behind
            while events := await _read(connection, behind, start, FEED_RESUME_EVENTS):
                wanted = [event.frame for event in events if reader.only.wants(event.task, event.role)]
                for first in range(0, len(wanted), FEED_WRITE_EVENTS_MAX):
                    yield wanted[first : first + FEED_WRITE_EVENTS_MAX]
                behind = Position.of(events[-1].frame)

    # -- the tail --

    async def _follow(self) -> None:
        """Read as long as anybody listens. What breaks is connected again, and goes on from where it was."""
        failures = 0
        while self._readers:
            try:
                async with await self._connected() as connection:
                    await self._follow_on(connection)
            except SYNC_GONE:
                await asyncio.sleep(backoff_s(failures))
                failures += 1
        self._position = None
        self._started.clear()

    async def _follow_on(self, connection: psycopg.AsyncConnection[Any]) -> None:
        flush_s, loop = ViewRules().flush_s, asyncio.get_running_loop()
        next_summary = loop.time()
        await connection.execute(LOCK_TIMEOUT, {"ms": FEED_LOCK_MS_MAX})
        while self._readers:
            if loop.time() >= next_summary:
                next_summary = loop.time() + FEED_SUMMARIZE_S
                await _summarize(connection)
            if not await self._read_on(connection):
                await asyncio.sleep(flush_s)

    async def _read_on(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        """One batch for everybody. Returns whether there may be more at once."""
        horizon = await _horizon(connection)
        if self._position is None:
            self._begin(horizon)
            return False
        events = await _read(connection, self._position, horizon, FEED_BATCH_EVENTS)
        more = len(events) == FEED_BATCH_EVENTS
        self._position = Position.of(events[-1].frame) if more else max(horizon, self._position)
        if events:
            for reader in self._readers:
                reader.offer(events)
        return more

    def _begin(self, horizon: Position) -> None:
        self._position = horizon
        for reader in self._readers:
            reader.start = reader.start or horizon
        self._started.set()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        # Without statistics of a log that has only just grown, the planner would rather read all of it.
        settings = f"{options(self._schema)} -c timezone=UTC -c enable_seqscan=off"
        return await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, options=settings, connect_timeout=5)


async def _horizon(connection: psycopg.AsyncConnection[Any]) -> Position:
    """The position before which everything is complete."""
    row = await (await connection.execute(HORIZON)).fetchone()
    assert row is not None
    return Position(row[0], 0)


async def _refusal(connection: psycopg.AsyncConnection[Any], behind: Position) -> str:
    """Why the feed cannot go on behind that position without a gap; nothing: it can."""
    values = {"xid": behind.xid, "seq": behind.seq, "resume_s": FEED_RESUME_S_MAX}
    row = await (await connection.execute(KNOWN if behind.seq else FIRST_AFTER, values)).fetchone()
    if (row is None and behind.seq) or behind > await _horizon(connection):
        return "there is no such event"
    if row is not None and not row[0]:
        return f"it is older than {FEED_RESUME_S_MAX:.0f} s"
    backlog = await (await connection.execute(BACKLOG, {**values, "limit": FEED_BACKLOG_EVENTS_MAX + 1})).fetchone()
    if backlog is not None and backlog[0] > FEED_BACKLOG_EVENTS_MAX:
        return f"more than {FEED_BACKLOG_EVENTS_MAX} events lie behind it"
    return ""


async def _summarize(connection: psycopg.AsyncConnection[Any]) -> None:
    """Bring the newest rows into the index by transaction, else every look would read all since the last vacuum."""
    with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):  # the next time, or a vacuum
        await connection.execute(SUMMARIZE)


async def _read(connection: psycopg.AsyncConnection[Any], behind: Position, end: Position, limit: int) -> list[_Event]:
    """At most `limit` events behind one position, up to another."""
    values = {"xid": behind.xid, "seq": behind.seq, "end_xid": end.xid, "end_seq": end.seq}
    rows = await (await connection.execute(EVENTS, {**values, "limit": limit})).fetchall()
    return [_event(*row) for row in rows]


def _event(
    xid: int, seq: int, task: int, role: str | None, start: str, end: str, at: Any, worker: str, *facts: Any
) -> _Event:
    attempt, token, reason, delay_s = facts
    data = {
        "version": VERSION,
        "subject": f"task/{task}",
        "task": task,
        "role": role,
        "from": start or None,
        "to": end,
        "at": moment(at),
        "worker": worker or None,
        "attempt": attempt,
        "token": token,
        "reason": reason,
        "delay_s": delay_s,
    }
    return _Event(task, role, Frame(str(Position(xid, seq)), "transition", json.dumps(data)))
