"""PostgreSQL connections that come back, and the schema of a run or of the standing mesh.

The hot path speaks asyncpg, which costs half of psycopg in the batches of a busy mesh (docs/decisions/004); everything
else psycopg.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from lab.errors import Unavailable
from lab.limits import CONNECT_S_MAX, RECONNECT_S_MAX, RECONNECT_S_MIN, SERVER_AWAY_S_MAX, STATEMENT_S_MAX
from live_backend import revisions
from live_backend.cuts import Reachable, always

GONE: Final = (
    OSError,  # with ConnectionError and TimeoutError
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the connection was closed under us
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # shut down, crashed, starting up; also a statement that took too long
    asyncpg.InsufficientResourcesError,  # out of connections, of disk, of memory
    asyncpg.ReadOnlySQLTransactionError,  # demoted: whoever is the primary now must be asked instead
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.LockNotAvailableError,
)
"""What a PostgreSQL raises that is away, has just gone, or cannot take a statement now."""
SYNC_GONE: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
"""The same from psycopg."""
MAYBE_DONE: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # a server that is ended from outside may say so after the commit
)
"""Of these nobody knows whether the statement took effect. All others are the server's own word that it did not."""

Row = asyncpg.Record

KNOWN_TO_ASYNCPG: Final = frozenset(
    [
        "host",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "target_session_attrs",
    ]
)
"""What asyncpg reads of a DSN; it would send everything else to the server as a setting."""


PLANNED_ANEW: Final = {"plan_cache_mode": "force_custom_plan"}
"""For statements whose best plan depends on how the tables are at the moment."""
PLANNED_ONCE: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
"""For statements that find their rows by id. They are planned once, which may be while the table is empty: then reading
all of it looks cheap, and goes on when there are millions of rows (it took half of PostgreSQL's time until this was
here).
"""
JOINED_BY_ID: Final = {**PLANNED_ONCE, "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""The same for statements that join a batch with its tasks: row by row, through the index."""


def options(schema: str) -> str:
    """libpq options that make a connection see this schema only."""
    return f"-c search_path={schema}"


def backoff_s(failures: int) -> float:
    """How long to wait before the next attempt to connect: doubling, bounded, with jitter so that a fleet does not
    stampede.
    """
    return float(min(RECONNECT_S_MAX, RECONNECT_S_MIN * 2.0**failures) * (0.5 + random.random() / 2))


async def connect(dsn: str, schema: str, settings: Mapping[str, str] | None = None) -> asyncpg.Connection:
    """A connection of asyncpg for a DSN as libpq reads it, which sees this schema only."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if name in KNOWN_TO_ASYNCPG}
    bounds = {"statement_timeout": str(round(STATEMENT_S_MAX * 1000)), "jit": "off"}
    return await asyncpg.connect(
        f"postgresql://?{urlencode(parts)}",
        timeout=CONNECT_S_MAX,
        command_timeout=STATEMENT_S_MAX + CONNECT_S_MAX,
        server_settings={"search_path": schema, "application_name": "meshlab", **bounds, **(settings or {})},
    )


class Database:
    """One asynchronous connection, opened again whenever it is lost. Statements commit one by one.

    A statement that was under way when the connection broke may or may not have been committed. `run` therefore takes
    only statements that may be repeated: guarded by state and token, or `on conflict do nothing`.
    """

    def __init__(
        self, dsn: str, schema: str, settings: Mapping[str, str] | None = None, reachable: Reachable = always
    ) -> None:
        self._dsn, self._schema, self._reachable, self._settings = dsn, schema, reachable, settings
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()

    async def run(self, query: str, *values: Any, patience_s: float = SERVER_AWAY_S_MAX) -> tuple[list[Row], bool]:
        """The rows of a statement, and whether an earlier try of it may have taken effect.

        Raises Unavailable if PostgreSQL stays away for `patience_s`.
        """
        failures, asked_at, maybe_done = 0, time.monotonic(), False
        async with self._lock:
            while True:
                sent = False
                try:
                    connection = await self._connected()
                    sent = True
                    return await connection.fetch(query, *values), maybe_done
                except ValueError:
                    raise  # asyncpg's word for a parameter that does not fit: it calls that an InterfaceError too
                except GONE as error:
                    maybe_done = maybe_done or (sent and isinstance(error, MAYBE_DONE))
                    self._drop()
                    if time.monotonic() - asked_at > patience_s:
                        said = str(error).strip().splitlines() or [type(error).__name__]
                        raise Unavailable(
                            f"PostgreSQL has been away for {patience_s:.0f} s ({said[0]}); is it still running?"
                        ) from error
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1
                except asyncio.CancelledError:
                    self._drop()  # its answer would be taken for that of the next statement's
                    raise

    async def rows(self, query: str, *values: Any) -> list[Row]:
        """The rows of a statement."""
        return (await self.run(query, *values))[0]

    async def close(self) -> None:
        """Close the connection; a later statement would open a new one."""
        async with self._lock:
            self._drop()

    async def _connected(self) -> asyncpg.Connection:
        if not self._reachable():
            raise ConnectionError("cut off from PostgreSQL")
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._dsn, self._schema, self._settings)
        return self._connection

    def _drop(self) -> None:
        """Without a farewell: whoever is gone, or is no primary any more, need not hear it."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def create(dsn: str, schema: str) -> None:
    """Make the schema if need be and bring it to the newest version."""
    revisions.migrate(dsn, schema)


def drop(dsn: str, schema: str) -> None:
    """Remove a run's schema and all that is in it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema)))
