"""The tables of a schema move forward and back with data in them, in turns, and never under a program of another
version.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from lab.errors import Unavailable
from live_backend import database, pruning
from live_backend.revisions import HEAD, MIGRATIONS, migrate, refuse_other_revision
from live_backend.servers import Servers
from tests.live.helpers import eventually

pytestmark = pytest.mark.live

FIRST_COLUMNS = {
    "task": "id, role, priority, class, state, attempt, token, forgiven, worker, changed_at, due_at, lease_until",
    "transition": "seq, task, from_state, to_state, at, worker, attempt, token, reason, delay_s",
    "worker": "id, place, pid, started_at, seen_at, left_at, rss_bytes, active, gate",
    "report": "worker, at, rss_bytes, cpu, active, gate",
    "note": "at, kind, worker, task, detail",
}
"""What revision 0001 knows: no later one may lose any of it."""

ROWS = """
insert into task (id, role, priority, class, state, attempt, token, forgiven, worker, due_at, lease_until) values
    (1, 'A', 5, 0, 'PENDING', 0, 0, 0, '', null, null),
    (2, 'B', 2, 1, 'RUNNING', 1, 1, 0, 'w0', null, now() + interval '5 seconds'),
    (3, 'B', 1, 2, 'RETRY_WAIT', 2, 2, 1, 'w1', now() + interval '9 seconds', null),
    (4, 'ü "quoted"', 3, 0, 'COMPLETED', 1, 1, 0, 'w1', null, null),
    (5, 'A', 3, 0, 'PERMANENT_FAILURE', 6, 6, 0, 'w1', null, null),
    (9223372036854775807, 'A', 3, 0, 'CANCELLED', 0, 0, 0, '', null, null);
insert into transition (task, from_state, to_state, worker, attempt, token, reason, delay_s) values
    (1, '', 'PENDING', '', 0, 0, 'submitted', 0),
    (3, 'RUNNING', 'RETRY_WAIT', 'w1', 2, 2, 'failed', 4.5),
    (9223372036854775807, 'PENDING', 'CANCELLED', '', 0, 0, 'cancelled', 0);
insert into worker (id, place, pid) values ('w0', 0, 17), ('w1', 1, 18);
insert into report (worker, rss_bytes, cpu, active, gate) values ('w0', 1000, 0.5, 3, true);
insert into note (kind, worker, task, detail) values ('fault', 'w0', 2, 'kill_worker');
"""


@pytest.fixture
def schema(shared_servers: Servers) -> Iterator[str]:
    """A name for a schema that is not there yet, and is gone afterwards."""
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    yield name
    database.drop(shared_servers.dsn, name)


def content(dsn: str, schema: str, columns: dict[str, str]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of tables, in an order that does not change."""
    with pruning.connect(dsn, schema) as connection:
        return {
            table: sorted(
                connection.execute(sql.SQL("select {} from {}").format(sql.SQL(names), sql.Identifier(table))), key=repr
            )
            for table, names in columns.items()
        }


def fill(dsn: str, schema: str) -> None:
    """Rows in every state, at any revision."""
    with pruning.connect(dsn, schema) as connection:
        connection.execute(ROWS)


def revision_of(dsn: str, schema: str) -> str:
    """What the schema itself says."""
    with pruning.connect(dsn, schema) as connection:
        row = connection.execute("select version_num from alembic_version").fetchone()
    assert row is not None
    return str(row[0])


def tables_of(dsn: str, schema: str) -> set[str]:
    """Tables, views, indexes and sequences by name."""
    query = "select relname from pg_class where relnamespace = to_regnamespace(%s)"
    with pruning.connect(dsn, schema) as connection:
        return {row[0] for row in connection.execute(query, (schema,))}


def revisions() -> list[str]:
    """All revisions as alembic chains them, first to last."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def test_head_is_alembics_head_and_every_name_says_its_revision() -> None:
    assert revisions()[-1] == HEAD
    assert revisions() == sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("*.py"))


def test_rows_survive_every_step_forward_and_back(shared_servers: Servers, schema: str) -> None:
    dsn, steps = shared_servers.dsn, revisions()
    migrate(dsn, schema, steps[0])
    fill(dsn, schema)
    before, shape = content(dsn, schema, FIRST_COLUMNS), {steps[0]: tables_of(dsn, schema)}
    for step in steps[1:]:
        migrate(dsn, schema, step)
        assert content(dsn, schema, FIRST_COLUMNS) == before, step
        shape[step] = tables_of(dsn, schema)
    for step in steps[-2::-1]:
        migrate(dsn, schema, step)
        assert content(dsn, schema, FIRST_COLUMNS) == before, step
        assert tables_of(dsn, schema) == shape[step], f"going back to {step} left something, or took too much"
    migrate(dsn, schema)
    assert content(dsn, schema, FIRST_COLUMNS) == before


def test_the_dead_of_an_older_mesh_are_dead_letters_of_the_newer(shared_servers: Servers, schema: str) -> None:
    migrate(shared_servers.dsn, schema, "0002")
    fill(shared_servers.dsn, schema)
    migrate(shared_servers.dsn, schema)
    dead = content(shared_servers.dsn, schema, {"dead_letter": "task, discarded_at"})
    assert dead == {"dead_letter": [(5, None)]}


def test_a_migration_that_fails_leaves_all_as_it_was(shared_servers: Servers, schema: str) -> None:
    dsn = shared_servers.dsn
    migrate(dsn, schema, "0002")
    fill(dsn, schema)
    with pruning.connect(dsn, schema) as connection:
        connection.execute("create table submission_key (somebody text)")  # in the way of 0003, half way through it
    before, shape = content(dsn, schema, FIRST_COLUMNS), tables_of(dsn, schema)
    with pytest.raises(Exception, match="submission_key"):
        migrate(dsn, schema)
    assert (revision_of(dsn, schema), tables_of(dsn, schema)) == ("0002", shape)
    assert content(dsn, schema, FIRST_COLUMNS) == before


def test_threads_that_migrate_at_once_take_turns(shared_servers: Servers, schema: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate(shared_servers.dsn, schema), range(4)))
    assert revision_of(shared_servers.dsn, schema) == HEAD


def test_processes_that_migrate_at_once_take_turns(shared_servers: Servers, schema: str) -> None:
    """They wait until all have connected and asked for the lock, which the test holds; then all go at once."""
    code = "import sys; from live_backend.revisions import migrate; migrate(sys.stdin.readline().strip(), sys.argv[1])"
    with psycopg.connect(shared_servers.dsn) as holder:
        holder.execute("select pg_advisory_xact_lock(hashtextextended('meshlab migration', 0))")
        started = [
            subprocess.Popen(
                [sys.executable, "-c", code, schema],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=MIGRATIONS.parents[1],
            )
            for _ in range(3)
        ]
        for process in started:
            assert process.stdin is not None
            process.stdin.write(f"{shared_servers.dsn}\n")
            process.stdin.close()
            process.stdin = None  # communicate() below would flush it
        eventually(lambda: waiting_for_locks(shared_servers.dsn) >= len(started))
    said = [process.communicate(timeout=60)[1] for process in started]
    assert [(process.returncode, text) for process, text in zip(started, said, strict=True)] == [(0, "")] * 3
    assert revision_of(shared_servers.dsn, schema) == HEAD


def waiting_for_locks(dsn: str) -> int:
    """Sessions that wait for an advisory lock."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pg_locks where locktype = 'advisory' and not granted").fetchone()
    assert row is not None
    return int(row[0])


class TestRefusal:
    """F54: an old program with newer tables, a new program with old ones."""

    def test_the_right_revision_is_let_in(self, shared_servers: Servers, schema: str) -> None:
        migrate(shared_servers.dsn, schema)
        refuse_other_revision(shared_servers.dsn, schema)

    def test_older_tables(self, shared_servers: Servers, schema: str) -> None:
        migrate(shared_servers.dsn, schema, "0001")
        self.refused(shared_servers.dsn, schema, f"at revision 0001, and this meshlab needs {HEAD}: stop what runs")

    def test_newer_tables(self, shared_servers: Servers, schema: str) -> None:
        migrate(shared_servers.dsn, schema)
        with pruning.connect(shared_servers.dsn, schema) as connection:
            connection.execute("update alembic_version set version_num = '9999'")
        said = f"at revision 9999, made by a newer meshlab; this one knows {HEAD}: upgrade it"
        self.refused(shared_servers.dsn, schema, said)
        with pytest.raises(Unavailable, match=said):  # nor does it touch them
            migrate(shared_servers.dsn, schema)

    def test_no_tables(self, shared_servers: Servers, schema: str) -> None:
        self.refused(shared_servers.dsn, schema, f"no tables of a mesh in schema {schema}")

    def test_a_server_that_is_away_is_waited_for_and_then_said_to_be_so(self) -> None:
        nobody = "postgresql://nobody@/nothing?host=/nonexistent"
        with pytest.raises(Unavailable, match="cannot be asked for the version of its tables") as refusal:
            refuse_other_revision(nobody, "public", patience_s=0.0)
        assert "\n" not in str(refusal.value)

    @staticmethod
    def refused(dsn: str, schema: str, said: str) -> None:
        with pytest.raises(Unavailable, match=said) as refusal:
            refuse_other_revision(dsn, schema)
        assert "\n" not in str(refusal.value)
