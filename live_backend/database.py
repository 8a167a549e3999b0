"""PostgreSQL connections that come back, and the schema of a run."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from lab.errors import Unavailable
from lab.limits import RECONNECT_S_MAX, RECONNECT_S_MIN, SERVER_AWAY_S_MAX
from live_backend.cuts import Reachable, always

GONE = (psycopg.OperationalError, psycopg.InterfaceError)
"""What a PostgreSQL that is away, or has just gone, raises."""

Row = tuple[Any, ...]

_migrating = threading.Lock()
"""Alembic keeps the migration that is under way in a module: two runs in one process must take turns."""


def options(schema: str) -> str:
    """libpq options that make a connection see this schema only."""
    return f"-c search_path={schema}"


def backoff_s(failures: int) -> float:
    """How long to wait before the next attempt to connect: doubling, bounded, with jitter so that a fleet does not
    stampede.
    """
    return min(RECONNECT_S_MAX, RECONNECT_S_MIN * 2.0**failures) * (0.5 + random.random() / 2)


class Database:
    """One asynchronous connection, opened again whenever it is lost. Statements commit one by one.

    A statement that was under way when the connection broke may or may not have been committed. `run` therefore takes
    only statements that may be repeated: guarded by state and token, or `on conflict do nothing`.
    """

    def __init__(self, dsn: str, schema: str, reachable: Reachable = always) -> None:
        self._dsn, self._schema, self._reachable = dsn, schema, reachable
        self._connection: psycopg.AsyncConnection[Row] | None = None
        self._lock = asyncio.Lock()

    async def run(self, query: str, parameters: Mapping[str, Any] | None = None) -> tuple[list[Row], bool]:
        """The rows of a statement, and whether it had to be repeated (so an earlier try may have taken effect).

        Raises Unavailable if PostgreSQL stays away for SERVER_AWAY_S_MAX.
        """
        failures, asked_at = 0, time.monotonic()
        async with self._lock:
            while True:
                try:
                    connection = await self._connected()
                    cursor = await connection.execute(query, parameters)
                    rows = await cursor.fetchall() if cursor.description else []
                    return rows, failures > 0
                except GONE as error:
                    await self._drop()
                    if time.monotonic() - asked_at > SERVER_AWAY_S_MAX:
                        said = str(error).strip().splitlines() or [type(error).__name__]
                        raise Unavailable(
                            f"PostgreSQL has been away for {SERVER_AWAY_S_MAX:.0f} s ({said[0]}); is it still running?"
                        ) from error
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1

    async def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """The rows of a statement."""
        return (await self.run(query, parameters))[0]

    async def close(self) -> None:
        """Close the connection; a later statement would open a new one."""
        async with self._lock:
            await self._drop()

    async def _connected(self) -> psycopg.AsyncConnection[Row]:
        if not self._reachable():
            raise psycopg.OperationalError("cut off from PostgreSQL")
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, options=options(self._schema), connect_timeout=5
            )
        return self._connection

    async def _drop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def create(dsn: str, schema: str) -> None:
    """Make the schema if need be and bring it to the newest version."""
    _migrate(dsn, schema, "head")


def drop(dsn: str, schema: str) -> None:
    """Remove a run's schema and all that is in it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))


def _migrate(dsn: str, schema: str, revision: str) -> None:
    from alembic import command  # imported here: only the engine migrates, and it costs a third of a second
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn, options=options(schema)), poolclass=NullPool
    )
    with _migrating, engine.begin() as migrating:
        config.attributes.update(connection=migrating, schema=schema)
        command.upgrade(config, revision)
