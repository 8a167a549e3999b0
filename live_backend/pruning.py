"""Forgetting finished tasks, with all that is kept of them, so that a standing mesh needs a bounded disk.

`prune` walks over all tasks by id, a bounded batch in one transaction: either a task is there with its log, payload,
result and key, or all of them are gone. Whoever ends it in the middle has pruned what was done; the next one starts
again. What is not finished is never touched, nor a dead letter that nobody has discarded.

`refresh` then lets PostgreSQL use the space again. A BRIN index keeps the values that occur in a range of pages, as a
few intervals, and a delete does not narrow them: with every cycle of new rows in old pages they would cover more, until
a lookup read most of the table. So the ranges are summarized anew (0.3 s for a million rows). Safe at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final

import psycopg
from psycopg import sql

from lab.errors import Unavailable, UsageError
from lab.limits import PRUNE_BATCH_ROWS, PRUNE_BATCH_TASKS, PRUNE_KEEP_S_MIN
from lab.rules.tasks import TERMINAL, State
from live_backend import narrowing
from live_backend.addresses import CONNECT_TIMEOUT_S, one_line

TABLES: Final = (
    "task",
    "transition",
    "payload",
    "result",
    "failure",
    "submission_key",
    "dead_letter",
    "report",
    "note",
)
"""What grows with every task or second."""
MOMENT = "select now() - %(keep_s)s * interval '1 second'"

PAGE = """
select max(id), count(*) filter (
    where changed_at <= %(before)s
        and (state = any(%(ended)s) or (state = %(dead)s and exists (
            select from dead_letter where task = id and discarded_at <= %(before)s))))
from (select * from task where id > %(after)s order by id limit %(batch)s) as page"""

PRUNE_TASKS = """
delete from task
where id > %(after)s and id <= %(until)s and changed_at <= %(before)s
    and (state = any(%(ended)s) or (state = %(dead)s and exists (
        select from dead_letter where task = id and discarded_at <= %(before)s)))
returning id"""

# Joined to the ids of one batch these would be guessed at by a planner that knows nothing of them (23 s instead of 1 s
# for 20,000 tasks). As an array they are looked up by key; the bounds are what a BRIN index understands.
PRUNE_PAYLOADS = "delete from payload where task = any(%(ids)s)"
PRUNE_RESULTS = "delete from result where task = any(%(ids)s)"
PRUNE_FAILURES = "delete from failure where task = any(%(ids)s)"
PRUNE_DEAD_LETTERS = "delete from dead_letter where task = any(%(ids)s)"
PRUNE_STRAGGLERS = "delete from straggler where task = any(%(ids)s)"
PRUNE_TRANSITIONS = """
delete from transition where task > %(after)s and task <= %(until)s and task = any(%(ids)s)"""
PRUNE_KEYS = """
delete from submission_key where task > %(after)s and task <= %(until)s and task = any(%(ids)s)"""

PRUNE_REPORTS = """
delete from report where ctid = any(array(select ctid from report where at <= %(before)s limit %(batch)s))"""

PRUNE_NOTES = """
delete from note where ctid = any(array(select ctid from note where at <= %(before)s limit %(batch)s))"""

PRUNE_WORKERS = """
delete from worker where seen_at <= %(before)s"""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Rows that were removed."""

    tasks: int = 0
    transitions: int = 0
    payloads: int = 0
    results: int = 0
    failures: int = 0
    keys: int = 0
    dead_letters: int = 0
    reports: int = 0
    notes: int = 0
    workers: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@contextmanager
def connect(dsn: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection on which each statement commits by itself, and which sees this schema only. Raises Unavailable if
    PostgreSQL cannot be reached, or goes away.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
            connection.execute("select set_config('search_path', quote_ident(%(schema)s), false)", {"schema": schema})
            yield connection
    except psycopg.OperationalError as error:
        said = one_line(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
        raise Unavailable(f"PostgreSQL cannot be reached ({said}); is it running?") from error


def count(connection: psycopg.Connection[Any], keep_s: float) -> int:
    """How many tasks `prune` would remove now. Changes nothing."""
    return sum(prunable for _, _, prunable in _pages(connection, _conditions(connection, keep_s)))


def prune(
    connection: psycopg.Connection[Any], keep_s: float, on_batch: Callable[[Pruned], None] | None = None
) -> Pruned:
    """Remove every task that has been finished for `keep_s`, by the store's clock, with all that is kept of it, and
    reports, notes and lost workers of that age. `on_batch` is told what has been removed so far.

    Raises UsageError for less than PRUNE_KEEP_S_MIN.
    """
    conditions = _conditions(connection, keep_s)
    total = Pruned()
    for after, until, prunable in _pages(connection, conditions):
        if prunable:
            total += _prune_page(connection, {**conditions, "after": after, "until": until})
            if on_batch:
                on_batch(total)
    reports = _repeated(connection, PRUNE_REPORTS, conditions)
    notes = _repeated(connection, PRUNE_NOTES, conditions)
    workers = connection.execute(PRUNE_WORKERS, conditions).rowcount
    return total + Pruned(reports=reports, notes=notes, workers=workers)


def refresh(connection: psycopg.Connection[Any]) -> None:
    """Let the space of what was removed be used again, and make the BRIN indexes narrow again."""
    for table in TABLES:
        connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier(table)))
    for index in narrowing.indexes(connection):
        narrowing.narrow(connection, index)


def _conditions(connection: psycopg.Connection[Any], keep_s: float) -> dict[str, Any]:
    """One moment for the whole walk, by the store's clock, and the states that may go."""
    if keep_s < PRUNE_KEEP_S_MIN:
        raise UsageError(f"what finished within the last {PRUNE_KEEP_S_MIN:.0f} s cannot be pruned; ask for more")
    row = connection.execute(MOMENT, {"keep_s": keep_s}).fetchone()
    ended = sorted(str(state) for state in TERMINAL - {State.PERMANENT_FAILURE})
    return {
        "before": row and row[0],
        "ended": ended,
        "dead": State.PERMANENT_FAILURE,
        "batch": PRUNE_BATCH_TASKS,
    }


def _pages(connection: psycopg.Connection[Any], conditions: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
    """All tasks by id, a batch at a time: the id before its first, its last id, and how many of it may go."""
    after = -1
    while (row := connection.execute(PAGE, {**conditions, "after": after}).fetchone()) and row[0] is not None:
        yield after, row[0], row[1]
        after = row[0]


def _prune_page(connection: psycopg.Connection[Any], page: dict[str, Any]) -> Pruned:
    """Remove what may go between two ids, in one transaction."""
    with connection.transaction():
        gone = {**page, "ids": [row[0] for row in connection.execute(PRUNE_TASKS, page)]}
        connection.execute(PRUNE_STRAGGLERS, gone)
        return Pruned(
            tasks=len(gone["ids"]),
            transitions=connection.execute(PRUNE_TRANSITIONS, gone).rowcount,
            payloads=connection.execute(PRUNE_PAYLOADS, gone).rowcount,
            results=connection.execute(PRUNE_RESULTS, gone).rowcount,
            failures=connection.execute(PRUNE_FAILURES, gone).rowcount,
            keys=connection.execute(PRUNE_KEYS, gone).rowcount,
            dead_letters=connection.execute(PRUNE_DEAD_LETTERS, gone).rowcount,
        )


def _repeated(connection: psycopg.Connection[Any], delete: str, conditions: dict[str, Any]) -> int:
    """Delete in batches until a batch comes out short. Returns the rows."""
    removed = 0
    while batch := connection.execute(delete, {**conditions, "batch": PRUNE_BATCH_ROWS}).rowcount:
        removed += batch
    return removed
