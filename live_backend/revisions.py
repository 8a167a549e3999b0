"""The version of a schema's tables: moving it forward and back, and refusing one that this program does not know.

Programs and tables change together (docs/SCALING.md, "Upgrading"). A program that met tables of another version would
guess at columns, so it is refused when it starts, in one line, and never in the middle of a task.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from lab.errors import Unavailable
from lab.limits import SERVER_AWAY_S_MAX
from live_backend.addresses import CONNECT_TIMEOUT_S, one_line

MIGRATIONS: Final = Path(__file__).with_name("migrations")
HEAD: Final = max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
"""The newest revision that this program knows. From the files' names: alembic itself costs a third of a second."""
TURN: Final = "meshlab migration"
"""What processes that migrate at the same time take turns by: a PostgreSQL advisory lock of this name."""

TAKE_TURN = "select pg_advisory_xact_lock(hashtextextended(%(turn)s, 0))"
HAS_SCHEMA = "select to_regnamespace(quote_ident(%(schema)s)) is not null"
SEE_SCHEMA = "select set_config('search_path', quote_ident(%(schema)s), true)"
HAS_VERSION = "select to_regclass(format('%%I.alembic_version', %(schema)s::text)) is not null"

_migrating = threading.Lock()
"""Alembic keeps the migration that is under way in a module: two runs in one process must take turns."""


def migrate(dsn: str, schema: str, revision: str = "head") -> None:
    """Make the schema if need be, and bring its tables to a revision, forward or back, in one transaction.

    Any number of processes may do so at the same time: one works, the others find it done. Raises Unavailable, and
    changes nothing, if the tables are newer than this program.
    """
    from alembic import command  # imported here: only few processes migrate, and it costs a third of a second
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    target = HEAD if revision == "head" else revision
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    with _migrating, engine.begin() as migrating:
        present = _enter(migrating.connection.driver_connection, schema)
        if present is not None and present > HEAD:
            raise Unavailable(_refusal(schema, present))
        config.attributes.update(connection=migrating, schema=schema)
        if present is None or present < target:
            command.upgrade(config, target)
        elif present > target:
            command.downgrade(config, target)


def _enter(connection: Any, schema: str) -> str | None:
    """Wait for our turn, then make the schema and look into it until the transaction ends. Returns its revision."""
    connection.execute(TAKE_TURN, {"turn": TURN})
    if connection.execute(HAS_SCHEMA, {"schema": schema}).fetchone() != (True,):
        # Only then: it takes a right on the database that a managed PostgreSQL may not give.
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    connection.execute(SEE_SCHEMA, {"schema": schema})
    return _present(connection, schema)


def refuse_other_revision(dsn: str, schema: str, patience_s: float = SERVER_AWAY_S_MAX) -> None:
    """Raises Unavailable, saying which side must be upgraded, unless the schema's tables are at `HEAD`.

    Blocks while PostgreSQL is away, for `patience_s`: processes start while it restarts, too.
    """
    from live_backend.database import backoff_s  # not above: it imports this module

    failures, asked_at = 0, time.monotonic()
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
                present = _present(connection, schema)
            break
        except psycopg.OperationalError as error:
            if time.monotonic() - asked_at > patience_s:
                said = one_line(str(error).strip() or type(error).__name__)
                raise Unavailable(f"PostgreSQL cannot be asked for the version of its tables: {said}") from error
            time.sleep(backoff_s(failures))
            failures += 1
    if present != HEAD:
        raise Unavailable(_refusal(schema, present))


def _present(connection: psycopg.Connection[Any], schema: str) -> str | None:
    """The revision of the schema's tables; None: there are none."""
    if connection.execute(HAS_VERSION, {"schema": schema}).fetchone() != (True,):
        return None
    table = sql.Identifier(schema, "alembic_version")
    row = connection.execute(sql.SQL("select version_num from {}").format(table)).fetchone()
    return str(row[0]) if row else None


def _refusal(schema: str, present: str | None) -> str:
    if present is None:
        return f"There are no tables of a mesh in schema {schema} of this PostgreSQL: start one with meshlab up."
    if present > HEAD:
        return (
            f"The tables in schema {schema} are at revision {present}, made by a newer meshlab; "
            f"this one knows {HEAD}: upgrade it here too."
        )
    return (
        f"The tables in schema {schema} are at revision {present}, and this meshlab needs {HEAD}: "
        "stop what runs with the older one, then start meshlab up or meshlab api, which bring the tables forward."
    )
