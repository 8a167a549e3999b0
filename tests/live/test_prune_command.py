"""`meshlab prune` on the tables of a standing mesh, in a database of this test's own."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli import prune
from lab.errors import Unavailable, UsageError
from live_backend import pruning
from live_backend.revisions import migrate
from live_backend.servers import Servers
from tests.live.test_scale import add, known

pytestmark = pytest.mark.live


def asked(older: str, *, dry_run: bool = False) -> argparse.Namespace:
    """What the command line gives."""
    return argparse.Namespace(older=older, dry_run=dry_run, json=True)


@pytest.fixture
def database(shared_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """DB_DSN of an empty database: the command works on schema `public`, which a test must not share."""
    name = f"pruned_{uuid.uuid4().hex[:8]}"
    dsn = make_conninfo(shared_servers.dsn, dbname=name)
    monkeypatch.setenv("DB_DSN", dsn)
    with psycopg.connect(shared_servers.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield dsn
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_it_says_what_would_go_and_then_removes_it(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(database, prune.SCHEMA)
    with pruning.connect(database, prune.SCHEMA) as mesh:
        add(mesh, range(10))
        add(mesh, range(10, 30), age="2 hours")
        assert prune.command(asked("1d", dry_run=True)) == 0
        assert json.loads(capsys.readouterr().out) == {"older_s": 86_400.0, "dry_run": True, "tasks": 10}
        assert known(mesh) == set(range(30))
        assert prune.command(asked("1d")) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["tasks"], said["transitions"], said["keys"]) == (10, 30, 10)
        assert known(mesh) == set(range(10, 30))


def test_no_mesh_and_old_tables_are_refused(database: str) -> None:
    with pytest.raises(Unavailable, match="no tables of a mesh in schema public"):
        prune.command(asked("1d"))
    migrate(database, prune.SCHEMA, "0002")
    with pytest.raises(Unavailable, match="at revision 0002"):
        prune.command(asked("1d"))


def test_what_has_just_finished_cannot_go(database: str) -> None:
    migrate(database, prune.SCHEMA)
    with pruning.connect(database, prune.SCHEMA) as mesh:
        add(mesh, range(10), age="1 second")
        for dry_run in (True, False):
            with pytest.raises(UsageError, match="cannot be pruned"):
                prune.command(asked("59m", dry_run=dry_run))
        assert known(mesh) == set(range(10))


def test_without_an_address_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DB_DSN", raising=False)
    with pytest.raises(UsageError, match="DB_DSN"):
        prune.command(asked("1d"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("45s", 45), ("90m", 5_400), ("1.5h", 5_400), ("30d", 2_592_000), ("2w", 1_209_600)],
)
def test_ages(text: str, seconds: float) -> None:
    assert prune.age_s(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 d", "1e9d", "30D", "nan", "30d1h", "٣d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no age"):
        prune.age_s(text)
