"""A session's run as it is watched: the audit log in the order of commit, the workers' reports, the notes; all of it
told to a `Telemetry` a few times a second.

The order is that of `feed.py`: rows below the oldest transaction under way are complete, and only those are read. While
PostgreSQL is away nothing new is told, and `is_away` says so; then it goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from lab.limits import TAIL_CATCH_UP_S_MAX, TOLD_ROWS_AT_A_TIME, VERIFY_SHARE_MAX
from lab.record import EventRow, SampleRow
from lab.rules.view import ViewRules
from lab.telemetry import Moved, Telemetry
from live_backend.database import GONE, backoff_s, connect
from live_backend.feed import SUMMARIZE, Position

MOVES: Final = """
select xid, seq, extract(epoch from at)::float8 - $1::float8, task, from_state, to_state, worker, attempt, reason
from transition
where xid >= $2 and (xid, seq) > ($2, $3) and xid < (select pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
order by xid, seq limit $4"""

REPORTED: Final = """
select extract(epoch from seen_at)::float8 - $1::float8, id, rss_bytes::float8, cpu, active, gate from worker
where left_at is null and rss_bytes > 0"""

NOTES: Final = """
select extract(epoch from at)::float8 - $1::float8, kind, worker, task, detail from note
where at >= to_timestamp($1::float8 + $2::float8) order by at"""

STORED: Final = """
select count(*) from task where id <= $1"""

LOOK_S = 0.5
"""How often reports and notes are read, and what is stored is counted (seldomer, where that takes long)."""
OVERLAP_S = 1.0
"""Notes are read again for so long: one may be committed after another that bears a later moment."""
SETTINGS: Final = {"enable_seqscan": "off"}
"""Without statistics of a log that has only just grown, the planner would rather read all of it."""


class Tail:
    """Follows one run until cancelled. `own_notes` gives what the engine itself has noted since it was asked last;
    `submitted` how many tasks have been committed, and the id of the last.
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        start_epoch_s: float,
        telemetry: Telemetry,
        own_notes: Callable[[], list[EventRow]],
        submitted: Callable[[], tuple[int, int]],
    ) -> None:
        self.is_away = False
        self._dsn, self._schema, self._start_epoch_s, self._telemetry = dsn, schema, start_epoch_s, telemetry
        self._own_notes, self._submitted = own_notes, submitted
        self._behind = Position(0, 0)
        self._reported: dict[str, float] = {}
        self._noted: dict[EventRow, None] = {}
        self._noted_until_s = -OVERLAP_S
        self._completed: set[int] = set()
        self._doubled: set[int] = set()
        self._next_look = self._next_count = 0.0
        self._looks = 0
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Look as often as people can see; what breaks is connected again."""
        failures = 0
        while True:
            connection = None
            try:
                connection = await connect(self._dsn, self._schema, SETTINGS)
                while True:
                    await self._look(connection)
                    self.is_away, failures = False, 0
            except GONE:
                self.is_away = True
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            finally:
                if connection is not None:
                    connection.terminate()

    async def catch_up(self) -> None:
        """Wait until all that has been committed by now has been told; but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TAIL_CATCH_UP_S_MAX), self._looked:
                asked = self._looks
                await self._looked.wait_for(lambda: self._looks >= asked + 2)  # one may be under way already

    async def _look(self, connection: asyncpg.Connection) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            await self._read_slowly(connection)
        if await self._read_moves(connection):
            return  # there may be more at once
        self._telemetry.notes(self._own_notes())
        async with self._looked:
            self._looks += 1
            self._looked.notify_all()
        await asyncio.sleep(ViewRules().flush_s)

    async def _read_moves(self, connection: asyncpg.Connection) -> bool:
        """One batch of the log. Returns whether there may be more at once."""
        rows = await connection.fetch(MOVES, self._start_epoch_s, *self._behind, TOLD_ROWS_AT_A_TIME)
        if rows:
            moves = [Moved(*row[2:]) for row in rows]
            self._telemetry.notes(self._own_notes())
            self._telemetry.moves(moves)
            self._count(moves)
            self._behind = Position(rows[-1][0], rows[-1][1])
        return len(rows) == TOLD_ROWS_AT_A_TIME

    def _count(self, moves: list[Moved]) -> None:
        """Completions, task by task: a second one is what must never be."""
        for move in moves:
            if move.to == "COMPLETED":
                (self._doubled if move.task in self._completed else self._completed).add(move.task)

    # -- what changes slowly --

    async def _read_slowly(self, connection: asyncpg.Connection) -> None:
        with suppress(asyncpg.InsufficientPrivilegeError):
            await connection.execute(SUMMARIZE)  # else each look at the log would read all since the last vacuum
        rows = [SampleRow._make((*row, 0, 0, 0, 0, 0)) for row in await connection.fetch(REPORTED, self._start_epoch_s)]
        fresh = [row for row in rows if self._reported.get(row.worker, 0.0) < row.t_s]
        self._reported |= {row.worker: row.t_s for row in fresh}
        self._telemetry.samples(fresh)
        await self._read_notes(connection)
        if time.monotonic() >= self._next_count:
            began = time.monotonic()
            await self._verify(connection)
            took_s = time.monotonic() - began
            self._next_count = time.monotonic() + took_s / VERIFY_SHARE_MAX

    async def _read_notes(self, connection: asyncpg.Connection) -> None:
        """Each note once, although the last second's are read again."""
        since_s = self._noted_until_s - OVERLAP_S
        found = [EventRow(*row) for row in await connection.fetch(NOTES, self._start_epoch_s, since_s)]
        self._telemetry.notes([note for note in found if note not in self._noted])
        self._noted = dict.fromkeys(found)
        self._noted_until_s = max([self._noted_until_s, *(note.t_s for note in found)])

    async def _verify(self, connection: asyncpg.Connection) -> None:
        """What was committed must be there; what was completed, once."""
        count, last = self._submitted()
        stored = await connection.fetchval(STORED, last)
        self._telemetry.verified(max(0, count - stored), len(self._doubled))
