"""What a shadow reads of a standing mesh: the audit log of the last minutes, who waits, and who works. It only reads.

Rows are found by their transaction (`xid` has a BRIN index; `at` has none). Where the window begins is found by looking
back in steps that grow, each bounded in its rows; after that each look reads what is new: all from the oldest
transaction that was under way at the last look, as in `feed.py`. A look is one snapshot, and every statement has a time
limit of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import psycopg

from lab.errors import Unavailable, UsageError
from lab.limits import (
    SHADOW_BACKLOG_TASKS_MAX,
    SHADOW_QUERY_S_MAX,
    SHADOW_ROWS_MAX,
    WORKER_SHOWN_S,
    WORKERS_SHOWN_MAX,
)
from lab.observed import Observed
from lab.observed_window import LogRow, TaskFacts, Unmoved, Window, WorkerFacts
from lab.rules.tasks import TERMINAL, State
from lab.scenario import Scenario
from live_backend import definition
from live_backend.addresses import CONNECT_TIMEOUT_S, external_postgres, one_line, postgres_address
from live_backend.database import options
from live_backend.whereabouts import find_private_dsn

HORIZON: Final = """
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, extract(epoch from now())::float8"""

PROBE: Final = """
select count(*), extract(epoch from min(at))::float8
from (select at from transition where xid >= %(xid)s limit %(limit)s) as rows"""

ROWS: Final = """
select xid, task, from_state, to_state, extract(epoch from at)::float8, worker, attempt, reason, delay_s
from transition where xid >= %(xid)s order by xid, seq limit %(limit)s"""

FACTS: Final = """
select id, role, priority, class from task where id = any(%(ids)s)"""

UNMOVED: Final = """
select id, state, extract(epoch from changed_at)::float8, extract(epoch from due_at)::float8, worker,
    role, priority, class
from open_task where changed_at <= to_timestamp(%(start)s) and state = any(%(open)s)
order by changed_at limit %(limit)s"""

WORKERS: Final = """
select id, host, place, slots, extract(epoch from started_at)::float8,
    extract(epoch from now() - seen_at)::float8, left_at is not null
from worker where extract(epoch from now() - seen_at) < %(shown)s order by started_at desc limit %(limit)s"""

OPEN: Final = [str(state) for state in State if state not in TERMINAL]
STEP_XIDS: Final = 1_024
"""How far the first look back goes; the next ones go STEPS times as far."""
STEPS: Final = 4
CUT: Final = f"the window is shorter than asked: {SHADOW_ROWS_MAX:,} rows of the audit log are read at most"
NO_MESH: Final = (
    "no standing mesh was found: start one with `meshlab up`, or name its PostgreSQL in DB_DSN "
    "(a shadow reads the audit log, which the API does not hand out)"
)


Connection = psycopg.Connection[tuple[Any, ...]]


class Shadowing:
    """A connection that only reads. A context; `look` gives the window that ends now."""

    def __init__(self, dsn: str, schema: str = definition.SCHEMA) -> None:
        self._dsn, self._schema = dsn, schema
        self._connection: Connection | None = None
        self._next_xid: int | None = None
        self._window_s = 0.0
        self._settled: deque[LogRow] = deque()
        """Rows of the window to which no transaction under way can add any before `_next_xid`."""
        self._facts: dict[int, TaskFacts] = {}
        self._since_s = 0.0
        """From when on the rows are complete."""
        self._cut = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def look(self, window_s: float) -> Window:
        """The last `window_s` seconds. Raises Unavailable if PostgreSQL does not answer, UsageError if no mesh stands
        there. It may be called again after either.
        """
        try:
            connection = self._open()
            with connection.transaction():
                return self._look(connection, window_s)
        except psycopg.errors.UndefinedTable as error:
            raise UsageError(NO_MESH) from error
        except psycopg.Error as error:
            self.close()
            said = one_line(str(error).strip().partition("\n")[0] or type(error).__name__)
            raise Unavailable(f"PostgreSQL does not answer the shadow ({said}); repeat it later") from error

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            settings = (
                f"{options(self._schema)} -c default_transaction_read_only=on -c enable_seqscan=off"
                " -c default_transaction_isolation=repeatable\\ read"
                f" -c statement_timeout={SHADOW_QUERY_S_MAX * 1000:.0f} -c application_name=shadow"
            )
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, options=settings, connect_timeout=int(CONNECT_TIMEOUT_S)
            )
        return self._connection

    def _look(self, connection: Connection, window_s: float) -> Window:
        scenario = self._definition(connection)
        horizon, now_s = _one(connection.execute(HORIZON))
        if self._next_xid is None or window_s > self._window_s:
            self._begin(connection, horizon, now_s - window_s)
        self._window_s = window_s
        read = self._read(connection, horizon, now_s - window_s)
        values = {"shown": WORKER_SHOWN_S, "limit": WORKERS_SHOWN_MAX}
        workers = [WorkerFacts(*row) for row in connection.execute(WORKERS, values)]
        start_s = max(now_s - window_s, self._since_s)
        bare = Window(start_s, now_s, scenario, [], {}, [], workers, self._cut)
        start_s = max(start_s, bare.manned_since_s())
        rows = sorted((row for row in read if row.at_s >= start_s), key=lambda row: row.at_s)
        unmoved = self._unmoved(connection, start_s, {row.task for row in rows})
        self._learn(connection, {row.task for row in rows}, {one.task for one in unmoved})
        return bare._replace(start_at_s=start_s, rows=rows, facts=dict(self._facts), unmoved=unmoved)

    def _definition(self, connection: Connection) -> Scenario:
        row = connection.execute("select scenario, base from mesh").fetchone()
        if row is None:
            raise UsageError(NO_MESH)
        return Scenario.from_data(row[0], base=row[1], source="the standing mesh")

    def _begin(self, connection: Connection, horizon: int, start_s: float) -> None:
        """Find a transaction before the window, or the earliest one that the bound on rows allows."""
        self._settled.clear()
        self._since_s, self._cut = start_s, ""
        reach = STEP_XIDS
        count, earliest_s = self._probe(connection, horizon - reach)
        while count >= SHADOW_ROWS_MAX and reach > 1:
            reach = max(1, reach // STEPS)
            count, earliest_s = self._probe(connection, horizon - reach)
        is_near = reach >= STEP_XIDS
        while is_near and reach < horizon and not (earliest_s is not None and earliest_s <= start_s):
            further, further_s = self._probe(connection, horizon - reach * STEPS)
            is_near = further < SHADOW_ROWS_MAX
            if is_near:
                reach, earliest_s = reach * STEPS, further_s
        self._next_xid = max(0, horizon - reach)
        if not is_near:
            self._since_s = max(start_s, earliest_s or start_s)
            self._cut = CUT

    def _probe(self, connection: Connection, xid: int) -> tuple[int, float | None]:
        """(rows from a transaction on, up to the bound; the earliest of their moments)."""
        count, earliest_s = _one(connection.execute(PROBE, {"xid": max(0, xid), "limit": SHADOW_ROWS_MAX}))
        return int(count), earliest_s

    def _read(self, connection: Connection, horizon: int, start_s: float) -> list[LogRow]:
        """All rows of the window. Those below the horizon are kept; the others may get company, and are read again."""
        rows = self._from(connection)
        if len(rows) > SHADOW_ROWS_MAX:
            self._begin(connection, horizon, start_s)
            rows = self._from(connection)
        new = [LogRow(*row[1:]) for row in rows]
        settled = sum(row[0] < horizon for row in rows)
        whole = [*self._settled, *new]
        self._settled.extend(new[:settled])
        self._next_xid = max(self._next_xid or 0, horizon)
        while self._settled and (self._settled[0].at_s < start_s or len(self._settled) > SHADOW_ROWS_MAX):
            dropped = self._settled.popleft()
            if dropped.at_s >= start_s:
                self._since_s, self._cut = max(self._since_s, dropped.at_s), CUT
        if start_s > self._since_s:
            self._cut = ""
        return [row for row in whole if row.at_s >= max(start_s, self._since_s)]

    def _from(self, connection: Connection) -> list[tuple[Any, ...]]:
        values = {"xid": self._next_xid, "limit": SHADOW_ROWS_MAX + 1}
        return connection.execute(ROWS, values).fetchall()

    def _unmoved(self, connection: Connection, start_s: float, moved: set[int]) -> list[Unmoved]:
        found = []
        values = {"start": start_s, "open": OPEN, "limit": SHADOW_BACKLOG_TASKS_MAX}
        for task, state, changed_at_s, due_at_s, worker, role, priority, queue in connection.execute(UNMOVED, values):
            if task not in moved:
                found.append(Unmoved(task, state, changed_at_s, due_at_s, worker))
                self._facts[task] = TaskFacts(role, priority, queue)
        return found

    def _learn(self, connection: Connection, moved: set[int], unmoved: set[int]) -> None:
        """Know the facts of these tasks, and forget the others'."""
        wanted = moved | unmoved
        self._facts = {task: facts for task, facts in self._facts.items() if task in wanted}
        if missing := list(wanted - self._facts.keys()):
            for task, *facts in connection.execute(FACTS, {"ids": missing}):
                self._facts[task] = TaskFacts(*facts)


def _one(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None  # an aggregate always has one
    return row


# ---- where the mesh is -----------------------------------------------------------------------------------------------


def find_dsn(environ: Mapping[str, str]) -> str:
    """The PostgreSQL that DB_DSN names, else the private one of the `meshlab up` that runs as this user. Raises
    Unavailable if there is neither.
    """
    if named := postgres_address(environ):
        external_postgres(*named)
        return named[1]
    if dsn := find_private_dsn(environ):
        return dsn
    raise Unavailable(NO_MESH)


# ---- records for `meshlab fit --mesh` --------------------------------------------------------------------------------


def observed(environ: Mapping[str, str], last_s: float) -> Observed:
    """What the standing mesh has done in the last `last_s` seconds, as records of a queue."""
    import pandas as pd

    from lab import observed as records
    from lab import observed_mesh

    with Shadowing(find_dsn(environ)) as shadowing:
        window = shadowing.look(last_s)
    new = {row.task for row in window.rows if not row.start}
    rows = [row for row in window.rows if row.task in new and row.task in window.facts]
    log = pd.DataFrame(rows, columns=["task", "from", "to", "at_s", "worker", "attempt", "reason", "delay_s"])
    facts = {task: window.facts[task] for task in new & window.facts.keys()}
    tasks = pd.DataFrame.from_dict(facts, orient="index", columns=list(TaskFacts._fields))
    mesh = window.scenario.mesh
    known = {"workers": mesh.workers, "slots": mesh.slots, "rules": window.scenario.data.get("rules", {})}
    notes = [window.cut] if window.cut else []
    if older := len({row.task for row in window.rows}) - len(new):
        notes.append(f"{older:,} tasks that had come before are left out, with the load that they were")
    if not rows:
        raise UsageError(f"the standing mesh took in no task in the last {last_s:,.0f} s; ask for more with --last")
    return records.assembled(observed_mesh.of_log(log, tasks, known, notes), "the standing mesh", "mesh")
