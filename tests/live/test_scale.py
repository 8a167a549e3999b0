"""What keeps a standing mesh quick and small: pruning, and indexes that stay narrow."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from benchmarks import ten_million
from live_backend import database, narrowing, pruning
from live_backend.pruning import Pruned, prune
from live_backend.revisions import migrate
from live_backend.servers import Servers

pytestmark = pytest.mark.live

DAY_S = 86_400.0
OLD, YOUNG = "2 days", "2 hours"

ADD = """
with new as (
    insert into task (id, role, priority, class, state, attempt, token, changed_at)
    select id, 'A', 3, 0, %(state)s, 1, 1, now() - %(age)s::interval from unnest(%(ids)s::bigint[]) as id returning id),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, from_state, to_state, 1, 1, ''
    from new, (values ('', 'PENDING'), ('PENDING', 'RUNNING'), ('RUNNING', %(state)s)) as move (from_state, to_state)),
paid as (insert into payload (task, body) select id, '{}' from new),
brought as (insert into result (task, token, body) select id, 1, '{}' from new),
failed as (insert into failure (task, attempt, token, error) select id, 1, 1, 'boom' from new)
insert into submission_key (key, digest, task) select 'key ' || id, '', id from new"""
KEPT_OF_A_TASK = ("task", "payload", "result", "failure", "submission_key", "transition")


@pytest.fixture
def mesh(shared_servers: Servers) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the tables of a mesh of this test's own."""
    schema = f"scale_{uuid.uuid4().hex[:8]}"
    migrate(shared_servers.dsn, schema)
    with pruning.connect(shared_servers.dsn, schema) as connection:
        yield connection
    database.drop(shared_servers.dsn, schema)


def add(mesh: psycopg.Connection[Any], ids: range | list[int], state: str = "COMPLETED", age: str = OLD) -> None:
    """Tasks with all that may be kept of a task, in that state for so long."""
    mesh.execute(ADD, {"ids": list(ids), "state": state, "age": age})


def known(mesh: psycopg.Connection[Any], table: str = "task") -> set[int]:
    """Ids that a table still knows."""
    column = "id" if table == "task" else "task"
    return {row[0] for row in mesh.execute(f"select {column} from {table}")}  # names of this test's own


def pages_read(mesh: psycopg.Connection[Any], query: str, *values: object) -> int:
    """How many pages PostgreSQL looks at for a query."""
    row = mesh.execute(f"explain (analyze, buffers, format json) {query}", values).fetchone()
    assert row is not None
    plan = (row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def pages_of(mesh: psycopg.Connection[Any], table: str) -> int:
    """How large a table is."""
    row = mesh.execute("select pg_relation_size(%s) / current_setting('block_size')::int", (table,)).fetchone()
    assert row is not None
    return int(row[0])


class TestPruning:
    def test_only_what_has_been_finished_for_long_goes(self, mesh: psycopg.Connection[Any]) -> None:
        for tenth, (state, age) in enumerate(
            [("COMPLETED", OLD), ("CANCELLED", OLD), ("COMPLETED", YOUNG), ("CANCELLED", YOUNG)]
            + [(state, OLD) for state in ("PENDING", "RUNNING", "RETRY_WAIT", "PERMANENT_FAILURE")]
        ):
            add(mesh, range(10 * tenth, 10 * tenth + 10), state, age)
        assert pruning.count(mesh, DAY_S) == 20
        assert prune(mesh, DAY_S) == Pruned(tasks=20, transitions=60, payloads=20, results=20, failures=20, keys=20)
        for table in KEPT_OF_A_TASK:
            assert known(mesh, table) == set(range(20, 80)), table

    def test_a_dead_letter_stays_until_it_has_been_discarded_for_long(self, mesh: psycopg.Connection[Any]) -> None:
        add(mesh, range(1, 5), "PERMANENT_FAILURE")
        mesh.execute(
            "insert into dead_letter (task, at, discarded_at) values (1, now() - interval '2 days', null), "
            "(2, now() - interval '2 days', now() - interval '2 hours'), "
            "(3, now() - interval '3 days', now() - interval '2 days')"
        )  # and 4 died, but nobody has noted it yet
        assert prune(mesh, DAY_S) == Pruned(
            tasks=1, transitions=3, payloads=1, results=1, failures=1, keys=1, dead_letters=1
        )
        assert known(mesh) == {1, 2, 4}
        assert known(mesh, "dead_letter") == {1, 2}

    def test_ended_in_the_middle_it_leaves_whole_tasks_and_goes_on_next_time(
        self, mesh: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pruning, "PRUNE_BATCH_TASKS", 7)
        add(mesh, range(50))

        def stop(so_far: Pruned) -> None:
            if so_far.tasks >= 21:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            prune(mesh, DAY_S, stop)
        for table in KEPT_OF_A_TASK:
            assert known(mesh, table) == set(range(21, 50)), table
        assert prune(mesh, DAY_S).tasks == 29
        assert prune(mesh, DAY_S) == Pruned()

    def test_ids_need_not_rise_with_time(self, mesh: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """Each API process hands out ids of its own block: a slow one's are low and young."""
        monkeypatch.setattr(pruning, "PRUNE_BATCH_TASKS", 5)
        add(mesh, range(20), age=YOUNG)
        add(mesh, range(1_000_000, 1_000_020))
        assert prune(mesh, DAY_S).tasks == 20
        assert known(mesh) == set(range(20))

    def test_reports_notes_and_lost_workers_go_too(self, mesh: psycopg.Connection[Any]) -> None:
        for worker, age in (("gone", OLD), ("here", YOUNG)):
            values = {"worker": worker, "age": age}
            seen = "insert into worker (id, place, pid, seen_at) values (%(worker)s, 0, 1, now() - %(age)s::interval)"
            reported = (
                "insert into report (worker, at, rss_bytes, cpu, active, gate) "
                "values (%(worker)s, now() - %(age)s::interval, 1, 0, 0, true)"
            )
            noted = "insert into note (at, kind, worker) values (now() - %(age)s::interval, 'fault', %(worker)s)"
            for statement in (seen, reported, noted):
                mesh.execute(statement, values)
        assert prune(mesh, DAY_S) == Pruned(reports=1, notes=1, workers=1)
        assert mesh.execute("select worker from report union select id from worker").fetchall() == [("here",)]


class TestIndexesStayNarrow:
    """20,000 tasks have some 900 pages of audit log; a range of an index has 128 (task) or 32 (transaction)."""

    TASKS = 20_000
    RANGE = 128
    ONE = "select * from transition where task = %s"
    TAIL = "select * from transition where xid >= %s order by xid, seq"

    def test_one_tasks_log_is_found_when_two_processes_hand_out_ids(self, mesh: psycopg.Connection[Any]) -> None:
        for first in range(0, self.TASKS // 2, 500):
            add(mesh, range(first, first + 500))
            add(mesh, range(first + 1_000_000, first + 1_000_500))
        mesh.execute("vacuum (analyze) transition")
        assert pages_of(mesh, "transition") > 4 * self.RANGE
        for task in (100, self.TASKS // 4, 1_000_100, 1_000_000 + self.TASKS // 4):
            assert pages_read(mesh, self.ONE, task) < 2.5 * self.RANGE, task

    def test_pruning_gives_space_back_and_narrows_the_indexes(self, mesh: psycopg.Connection[Any]) -> None:
        self.fill(mesh, 0)
        size = pages_of(mesh, "transition")
        assert prune(mesh, DAY_S).tasks == self.TASKS
        add(mesh, [self.TASKS - 1])  # at the end, so that vacuum cannot cut the table short
        mesh.execute("vacuum (analyze) transition")
        assert pages_read(mesh, self.ONE, 5_000) >= self.RANGE, "the indexes still say that pruned rows are there"
        pruning.refresh(mesh)
        assert pages_read(mesh, self.ONE, 5_000) < self.RANGE
        tail = self.fill(mesh, self.TASKS)
        mesh.execute("vacuum (analyze) transition")
        assert pages_of(mesh, "transition") <= 1.05 * size, "the space was not used again"
        assert pages_read(mesh, self.ONE, self.TASKS + 5_000) < 2.5 * self.RANGE
        assert pages_read(mesh, self.TAIL, tail) < 2.5 * self.RANGE

    def test_a_summary_that_was_cut_short_is_found_and_mended(
        self, mesh: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a server leaves it that is killed in the middle of summarizing, or an autovacuum that gives way."""
        monkeypatch.setattr(narrowing, "PROBE_RANGES_MAX", 2)  # the table is small
        mesh.execute("alter table transition set (autovacuum_enabled = off)")
        mesh.execute("alter index transition_task set (autosummarize = off)")  # or it may come between
        self.fill(mesh, 0)
        assert narrowing.mend(mesh) == []
        self.cut_short(mesh)
        assert narrowing.mend(mesh) == ["transition_task"]
        assert pages_read(mesh, self.ONE, -1) < self.RANGE
        assert narrowing.mend(mesh) == []

    def test_while_a_vacuum_is_at_work_nothing_is_mended(
        self, mesh: psycopg.Connection[Any], shared_servers: Servers
    ) -> None:
        self.fill(mesh, 0)
        schema = mesh.execute("select current_schema()").fetchone()
        assert schema is not None
        with pruning.connect(shared_servers.dsn, schema[0]) as other, other.transaction():
            other.execute("lock table transition in share update exclusive mode")
            assert narrowing.mend(mesh) == []

    def cut_short(self, mesh: psycopg.Connection[Any]) -> None:
        """Cancel summarizing until it was in the middle of a range: from then on lookups read all that follows, and a
        vacuum does not help.
        """
        for _ in range(200):
            mesh.execute(
                "select brin_desummarize_range('transition_task', page) "
                "from generate_series(0, pg_relation_size('transition') / 8192 - 1, 128) as page"
            )
            mesh.execute("set statement_timeout = '3ms'")
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                mesh.execute("select brin_summarize_range('transition_task', 0)")
            mesh.execute("set statement_timeout = 0")
            mesh.execute("select brin_summarize_new_values('transition_task')")
            if pages_read(mesh, self.ONE, -1) > 4 * self.RANGE:
                mesh.execute("vacuum (analyze) transition")
                if pages_read(mesh, self.ONE, -1) > 4 * self.RANGE:
                    return
        raise AssertionError("never cut short, or PostgreSQL mends it by itself now: then remove narrowing.py")

    def fill(self, mesh: psycopg.Connection[Any], first: int) -> int:
        """Finished tasks, 500 a transaction; returns the last one's transaction id."""
        for lowest in range(first, first + self.TASKS, 500):
            add(mesh, range(lowest, lowest + 500))
        row = mesh.execute("select max(xid) from transition").fetchone()
        assert row is not None
        return int(row[0])


def test_no_statement_reads_more_because_finished_tasks_lie_there(
    shared_servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/ten_million.py in small. Pages, not milliseconds: those are the same on every machine.

    A planner that knew nothing of the sweeps' small tables would read all tasks from some 20,000 on.
    """
    monkeypatch.setattr(ten_million, "ROUNDS", 3)
    with ten_million.a_schema(shared_servers.dsn) as schema:
        book = ten_million.measured(shared_servers.dsn, schema, [0, 30_000], audit=1)
    for name, found in book.items():
        small, large = found.pages.values()
        assert large < 2 * small + 5 or name == "API: a task's transitions", (name, found.pages)
        assert "all of task" not in found.through[30_000], name
    assert book["API: a task's transitions"].pages[30_000] < 3 * TestIndexesStayNarrow.RANGE
