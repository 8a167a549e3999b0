"""What the API reads out of PostgreSQL: tasks, their history, dead letters, workers. Never on the hot path.

SQLAlchemy Core on psycopg, with a bounded pool. A page is bounded in what it looks at, not only in what it shows: a
search for a rare state gives shorter pages and goes on from where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Text,
    cast,
    column,
    extract,
    func,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from lab.errors import Unavailable
from lab.limits import (
    API_CONNECTIONS_MAX,
    API_QUERY_S_MAX,
    POOL_WAIT_S_MAX,
    SCAN_ROWS_MAX,
    TRANSITIONS_SHOWN_MAX,
    WORKER_SHOWN_S,
    WORKERS_SHOWN_MAX,
)
from lab.rules.priority import QUEUES
from lab.rules.tasks import TERMINAL, State
from live_backend.database import SYNC_GONE, options

JsonObject = dict[str, Any]

TASK_COLUMNS = ("id", "role", "priority", "class", "state", "attempt", "token", "worker", "changed_at", "due_at")
task = table("task", *map(column, (*TASK_COLUMNS, "lease_until", "forgiven")))
open_task = table("open_task", *map(column, (*TASK_COLUMNS, "lease_until", "forgiven")))
payload = table("payload", column("task"), column("body"))
result = table("result", column("task"), column("body"))
failure = table("failure", column("task"), column("attempt"), column("at"), column("error"))
dead_letter = table("dead_letter", column("task"), column("at"), column("discarded_at"))
transition = table(
    "transition",
    *map(column, ("seq", "task", "from_state", "to_state", "at", "worker", "attempt", "token", "reason", "delay_s")),
)
mesh = table("mesh", column("scenario"), column("base"), column("changed_at"))
leadership = table("leadership", column("job"), column("until"))
note = table("note", column("kind"))
worker = table(
    "worker",
    *map(column, ("id", "place", "host", "pid", "started_at", "seen_at", "left_at", "rss_bytes", "cpu", "active")),
    column("slots"),
    column("gate"),
)

BY_INDEX = "set local enable_seqscan = off"
"""Without statistics of a log that has only just grown, the planner would rather read all of it."""

NEWEST_ERROR = (
    select(failure.c.error)
    .where(failure.c.task == task.c.id)
    .order_by(failure.c.attempt.desc(), failure.c.at.desc())
    .limit(1)
    .correlate(task)
    .scalar_subquery()
)


class WorkerFacts(NamedTuple):
    """What admission asks of a worker: its gate, and for how long it has not been heard of."""

    gate: bool
    silent_s: float


class Definition(NamedTuple):
    """The mesh as it was published."""

    scenario: JsonObject
    base: str
    changed_at: datetime


class Reading:
    """A pool of connections for reads and for operators' actions."""

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn, self._schema = dsn, schema
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connect,
            pool_size=API_CONNECTIONS_MAX,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S_MAX,
            pool_pre_ping=True,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        settings = f"{options(self._schema)} -c timezone=UTC -c statement_timeout={API_QUERY_S_MAX * 1000:.0f}"
        return await psycopg.AsyncConnection.connect(self._dsn, options=settings, connect_timeout=5)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """One connection in a transaction. Raises Unavailable if PostgreSQL, or the pool, has none to give."""
        try:
            async with self.engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if not (error.connection_invalidated or isinstance(error.orig, SYNC_GONE)):
                raise
            if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
                await self.engine.dispose()  # demoted: whoever is the primary now must be asked instead
            raise Unavailable("PostgreSQL does not answer in time. Repeat the request later.") from error
        except (*SYNC_GONE, PoolTimeout, OSError) as error:
            raise Unavailable("PostgreSQL has no connection to give. Repeat the request later.") from error

    async def rows(self, query: Select[*tuple[Any, ...]]) -> Sequence[Any]:
        """All rows of a query."""
        async with self.connection() as connection:
            found: Sequence[Any] = (await connection.execute(query)).all()
            return found

    # -- tasks --

    async def task(self, task_id: int) -> JsonObject | None:
        """A task with its payload, result and newest error."""
        query = (
            _tasks()
            .add_columns(cast(payload.c.body, Text).label("payload"), cast(result.c.body, Text).label("result"))
            .join(payload, payload.c.task == task.c.id, isouter=True)
            .join(result, result.c.task == task.c.id, isouter=True)
            .where(task.c.id == task_id)
        )
        rows = await self.rows(query)
        if not rows:
            return None
        row = rows[0]
        return {**_task(row), "payload": _json(row.payload), "result": _json(row.result)}

    async def tasks(
        self, state: State | None, role: str | None, before: int | None, limit: int
    ) -> tuple[list[JsonObject], int | None]:
        """A page of tasks, newest first, and from where the next one goes on."""
        source = task if state is None or state in TERMINAL else open_task
        window = select(source.c.id, source.c.state, source.c.role).order_by(source.c.id.desc()).limit(SCAN_ROWS_MAX)
        if before is not None:
            window = window.where(source.c.id < before)
        looked_at = window.cte("looked_at")
        fits: list[ColumnElement[bool]] = []
        if state is not None:
            fits.append(looked_at.c.state == str(state))
        if role is not None:
            fits.append(looked_at.c.role == role)
        found = select(looked_at.c.id).where(*fits).order_by(looked_at.c.id.desc()).limit(limit)
        rows = await self.rows(_tasks().where(task.c.id.in_(found)).order_by(task.c.id.desc()))
        if len(rows) == limit:
            return [_task(row) for row in rows], rows[-1].id
        [(lowest, count)] = await self.rows(select(func.min(looked_at.c.id), func.count()).select_from(looked_at))
        return [_task(row) for row in rows], lowest if count == SCAN_ROWS_MAX else None

    async def transitions(self, task_id: int) -> list[JsonObject]:
        """The history of a task, oldest first."""
        query = (
            select(transition)
            .where(transition.c.task == task_id)
            .order_by(transition.c.at, transition.c.seq)
            .limit(TRANSITIONS_SHOWN_MAX)
        )
        async with self.connection() as connection:
            await connection.exec_driver_sql(BY_INDEX)
            rows = (await connection.execute(query)).all()
        return [
            {
                "from": row.from_state or None,
                "to": row.to_state,
                "at": moment(row.at),
                "worker": row.worker or None,
                "attempt": row.attempt,
                "token": row.token,
                "reason": row.reason,
                "delay_s": row.delay_s,
            }
            for row in rows
        ]

    async def dead_letters(self, role: str | None, after: int, limit: int) -> list[JsonObject]:
        """Dead letters that nobody has put aside, by id."""
        query = _tasks().where(dead_letter.c.task > after, dead_letter.c.discarded_at.is_(None))
        if role is not None:
            query = query.where(task.c.role == role)
        return [_task(row) for row in await self.rows(query.order_by(dead_letter.c.task).limit(limit))]

    # -- the mesh --

    async def definition(self) -> Definition | None:
        """The scenario that the mesh runs."""
        rows = await self.rows(select(mesh.c.scenario, mesh.c.base, mesh.c.changed_at))
        return Definition(*rows[0]) if rows else None

    async def definition_changed_at(self) -> datetime | None:
        """When the mesh was published last."""
        rows = await self.rows(select(mesh.c.changed_at))
        return rows[0].changed_at if rows else None

    async def workers(self) -> list[JsonObject]:
        """Worker processes heard of lately, newest first; `silent_s` and `left` beside what a client is shown."""
        query = (
            select(worker, _silent_s().label("silent_s"))
            .where(_silent_s() < WORKER_SHOWN_S)
            .order_by(worker.c.started_at.desc(), worker.c.id)
            .limit(WORKERS_SHOWN_MAX)
        )
        return [
            {
                **{name: value for name, value in row._asdict().items() if name != "left_at"},
                "started_at": moment(row.started_at),
                "seen_at": moment(row.seen_at),
                "left": row.left_at is not None,
            }
            for row in await self.rows(query)
        ]

    async def fleet(self, silent_s_max: float) -> list[WorkerFacts]:
        """The workers that have not left and were heard of within `silent_s_max`."""
        silent_s = _silent_s()
        query = select(worker.c.gate, silent_s).where(worker.c.left_at.is_(None), silent_s < silent_s_max)
        return [WorkerFacts(*row) for row in await self.rows(query)]

    async def pending(self, up_to: int) -> int:
        """How many tasks are PENDING, counted no further than `up_to`."""
        some = select(open_task.c.id).where(open_task.c.state == str(State.PENDING)).limit(up_to).subquery()
        [(count,)] = await self.rows(select(func.count()).select_from(some))
        return int(count)

    async def states(self) -> dict[str, int]:
        """How many tasks are in each state that is not an end."""
        query = select(open_task.c.state, func.count()).group_by(open_task.c.state)
        counted = {row[0]: row[1] for row in await self.rows(query)}
        return {state: counted.get(state, 0) for state in (State.PENDING, State.RUNNING, State.RETRY_WAIT)}

    async def dead_count(self) -> int:
        """How many dead letters lie there."""
        [(count,)] = await self.rows(select(func.count()).where(dead_letter.c.discarded_at.is_(None)))
        return int(count)

    async def notes(self) -> dict[str, int]:
        """How often each kind of thing was noted: stale writes, gates, recycled workers."""
        return {row[0]: row[1] for row in await self.rows(select(note.c.kind, func.count()).group_by(note.c.kind))}

    async def reaper_is_active(self) -> bool:
        """Whether some reaper holds the lease of its job."""
        rows = await self.rows(select(leadership.c.job).where(leadership.c.until > func.now()))
        return bool(rows)

    async def is_writable(self) -> bool:
        """Whether PostgreSQL answers, and as a primary: a demoted one answers too."""
        [(read_only,)] = await self.rows(select(func.current_setting("transaction_read_only")))
        return bool(read_only == "off")


def _tasks() -> Select[Any]:
    """Tasks with their newest error and their dead letter."""
    columns = [task.c[name] for name in (*TASK_COLUMNS, "lease_until")]
    letter = [dead_letter.c.at.label("died_at"), dead_letter.c.discarded_at]
    return (
        select(*columns, NEWEST_ERROR.label("error"), *letter)
        .select_from(task)
        .join(dead_letter, dead_letter.c.task == task.c.id, isouter=True)
    )


def _task(row: Any) -> JsonObject:
    letter = {"at": moment(row.died_at), "discarded_at": moment(row.discarded_at)} if row.died_at else None
    facts = row._mapping
    return {
        "id": row.id,
        "role": row.role,
        "priority": row.priority,
        "queue": QUEUES[facts["class"]],
        "state": row.state,
        "attempt": row.attempt,
        "token": row.token,
        "worker": row.worker or None,
        "changed_at": moment(row.changed_at),
        "due_at": moment(row.due_at) if row.state == State.RETRY_WAIT else None,
        "lease_until": moment(row.lease_until),
        "error": row.error,
        "dead_letter": letter,
    }


def _silent_s() -> ColumnElement[Any]:
    return cast(extract("epoch", func.now() - worker.c.seen_at), Double)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text, parse_float=_finite)


def _finite(digits: str) -> float | str:
    """PostgreSQL keeps numbers that no double holds; they stay what they are, as text."""
    return value if math.isfinite(value := float(digits)) else digits


def moment(at: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
