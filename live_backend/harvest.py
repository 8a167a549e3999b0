"""Reads a finished run out of PostgreSQL: the audit log, the workers' reports, the notes. What the record is
made of.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.record import EventRow, SampleRow, TransitionRow
from live_backend.database import Database

TRANSITIONS = """
select task, from_state, to_state, extract(epoch from at)::float8 - $1::float8, worker, attempt, token, reason, delay_s
from transition order by at, seq"""

REPORTS = """
select extract(epoch from at)::float8 - $1::float8, worker, rss_bytes, cpu, active, gate from report order by at"""

NOTES = """
select extract(epoch from at)::float8 - $1::float8, kind, worker, task, detail from note order by at"""


async def transitions(database: Database, start_epoch_s: float) -> Iterator[TransitionRow]:
    """The audit log, in seconds of the run."""
    rows = await database.rows(TRANSITIONS, start_epoch_s)
    return (TransitionRow._make((*row[:3], round(row[3], 6), *row[4:])) for row in rows)


async def samples(database: Database, start_epoch_s: float) -> list[SampleRow]:
    """The workers' reports since the start of the run."""
    rows = await database.rows(REPORTS, start_epoch_s)
    return [SampleRow._make((round(row[0], 6), *row[1:], 0, 0, 0, 0, 0)) for row in rows if row[0] >= 0]


async def events(database: Database, start_epoch_s: float) -> list[EventRow]:
    """What workers noted."""
    rows = await database.rows(NOTES, start_epoch_s)
    return [EventRow._make((round(row[0], 6), *row[1:])) for row in rows if row[0] >= 0]
