"""BRIN indexes that stay narrow: a lookup in the audit log reads a few ranges of pages, not the table.

PostgreSQL summarizes a range when it vacuums, and the event feed asks for it every second. If that is cut short (a
server killed in the middle, an autovacuum that gives way to a lock) the range keeps an unfinished summary, which
neither a vacuum nor another attempt finishes; and a lookup then reads every range behind it as well (seen with
PostgreSQL 15 and 18: 34,000 pages instead of 128 at a million tasks). To forget that summary and make a new one mends
it; so would a new index, and nothing less.

`mend` finds out by looking up what cannot be there. `narrow` makes all summaries of an index anew.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import psycopg

from lab.limits import FEED_LOCK_MS_MAX, NARROW_RANGES, PROBE_RANGES_MAX, PROBE_S_MAX

TABLES: Final = ("transition", "submission_key")
POSTGRES_PAGES_PER_RANGE: Final = 128
"""Of a BRIN index that does not say otherwise."""

INDEXES = """
select index.relname, pg_relation_size(log.oid) / current_setting('block_size')::int,
       (select option_value::int from pg_options_to_table(index.reloptions) where option_name = 'pages_per_range')
from pg_class index
join pg_am on pg_am.oid = index.relam and amname = 'brin'
join pg_index on indexrelid = index.oid
join pg_class log on log.oid = indrelid
where log.relnamespace = current_schema()::regnamespace and log.relname = any(%(tables)s)
order by index.relname"""

SUMMARIZE_ANEW = """
select brin_desummarize_range(%(index)s, page), brin_summarize_range(%(index)s, page)
from generate_series(%(first)s::bigint, %(last)s::bigint, %(step)s) as page"""

SUMMARIZE_NEW = "select brin_summarize_new_values(%(index)s)"

ALONE = """
lock table transition, submission_key in share update exclusive mode"""

FOR_THIS_TRANSACTION = "select set_config(%(name)s, %(value)s, true)"

PROBES: Final = {
    "transition_task": "explain (analyze, buffers, timing off, format json) select from transition where task = -1",
    "transition_xid": "explain (analyze, buffers, timing off, format json) select from transition where xid = -1",
    "submission_key_task": (
        "explain (analyze, buffers, timing off, format json) select from submission_key where task = -1"
    ),
}
"""Lookups of what cannot be there: whatever they read of the table, the index could not rule out."""


class Index(NamedTuple):
    """A BRIN index: its name, the pages of its table, and how many of them a range has."""

    name: str
    pages: int
    pages_per_range: int


def indexes(connection: psycopg.Connection[Any]) -> list[Index]:
    """Those of the schema that the connection sees."""
    found = connection.execute(INDEXES, {"tables": list(TABLES)}).fetchall()
    return [Index(name, pages, per_range or POSTGRES_PAGES_PER_RANGE) for name, pages, per_range in found]


def narrow(connection: psycopg.Connection[Any], index: Index) -> None:
    """Make all summaries anew, some at a time: 0.1 s for a million rows. Meanwhile lookups read those ranges whole."""
    step = index.pages_per_range
    for first in range(0, index.pages, step * NARROW_RANGES):
        last = min(first + step * NARROW_RANGES, index.pages) - 1
        connection.execute(SUMMARIZE_ANEW, {"index": index.name, "first": first, "last": last, "step": step})


def mend(connection: psycopg.Connection[Any]) -> list[str]:
    """Make those indexes narrow again that are not. Returns their names.

    To be called now and then, by one process at a time: some 20 ms when nothing is wrong. While a vacuum is at work
    nothing is done.
    """
    try:
        wide = [index for index in indexes(connection) if _is_wide(connection, index)]
    except psycopg.errors.LockNotAvailable:
        return []
    for index in wide:
        narrow(connection, index)
    return [index.name for index in wide]


def _is_wide(connection: psycopg.Connection[Any], index: Index) -> bool:
    """Whether a lookup of what is not there reads more than what is new."""
    with connection.transaction():
        _set(connection, "lock_timeout", f"{FEED_LOCK_MS_MAX}ms")
        connection.execute(ALONE)  # or the unfinished summary might be one that somebody is just about to finish
        connection.execute(SUMMARIZE_NEW, {"index": index.name})
        _set(connection, "enable_seqscan", "off")
        _set(connection, "statement_timeout", f"{PROBE_S_MAX * 1000:.0f}ms")
        try:
            with connection.transaction():  # a savepoint: the lock stays
                row = connection.execute(PROBES[index.name]).fetchone()
        except psycopg.errors.QueryCanceled:
            return True
    assert row is not None
    return _heap_pages(row[0][0]["Plan"]) > PROBE_RANGES_MAX * index.pages_per_range


def _heap_pages(plan: dict[str, Any]) -> int:
    """Pages of the table that a bitmap scan looked at."""
    own = plan.get("Exact Heap Blocks", 0) + plan.get("Lossy Heap Blocks", 0)
    return int(own + sum(_heap_pages(part) for part in plan.get("Plans", [])))


def _set(connection: psycopg.Connection[Any], name: str, value: str) -> None:
    connection.execute(FOR_THIS_TRANSACTION, {"name": name, "value": value})
