"""A private PostgreSQL whose data outlives it, and private servers that are started again when they have died."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from live_backend.servers import Servers, ServersUnavailable, open_servers
from tests.live.helpers import eventually

pytestmark = pytest.mark.live
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user may enter, as root's PostgreSQL needs it; pytest's own are closed to all but us."""
    with tempfile.TemporaryDirectory(prefix="mesh-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def _rows(servers: Servers, query: str) -> list[tuple[int]]:
    with psycopg.connect(servers.dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def test_what_was_committed_is_there_in_the_next_run(folder: Path) -> None:
    with open_servers({}, data=folder / "kept") as servers:
        _rows(servers, "create table kept as select 1 as number")
    private = (folder / "kept" / "postgres").stat()
    assert private.st_mode & 0o077 == 0
    (folder / "kept" / "postgres.new").mkdir()  # as a lab leaves it that was killed while it made its first data
    with open_servers({}, data=folder / "kept") as servers:
        assert _rows(servers, "select number from kept") == [(1,)]


def test_unfinished_data_is_made_anew(folder: Path) -> None:
    unfinished = folder / "postgres.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    with open_servers({}, data=folder) as servers:
        assert _rows(servers, "select 1") == [(1,)]
    assert not unfinished.exists()


def test_data_in_use_and_data_of_another_version_are_left_alone(folder: Path) -> None:
    with open_servers({}, data=folder) as servers:
        _rows(servers, "create table kept as select 1 as number")
        with pytest.raises(ServersUnavailable, match=r"postmaster\.pid|another postmaster"):
            open_servers({}, data=folder)
        assert _rows(servers, "select number from kept") == [(1,)]
    (folder / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServersUnavailable, match="was written by version 9"):
        open_servers({}, data=folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root's PostgreSQL runs as somebody else")
def test_a_folder_that_is_closed_to_who_runs_postgres_is_said_to_be_so(folder: Path) -> None:
    folder.chmod(0o700)
    with pytest.raises(ServersUnavailable, match=f"PostgreSQL runs as nobody, to whom {folder} is closed"):
        open_servers({}, data=folder / "kept")


def _kill(program: str, of_others: Collection[psutil.Process]) -> Callable[[], bool]:
    """Kill our server of this name, and none that other tests have started; what tells that it is gone."""
    own = [one for one in _children() if one not in of_others and _name(one).startswith(program)]
    server = min(own, key=lambda one: one.create_time())
    server.kill()

    def gone() -> bool:
        try:
            return server.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return gone


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:  # one of PostgreSQL's helpers, that ended while we looked
        return ""


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_servers_that_have_died_are_started_again() -> None:
    of_others = _children()
    with open_servers({}) as servers:
        assert servers.start_ended() == []
        _rows(servers, "create table kept as select 1 as number")
        eventually(_kill("redis", of_others))
        assert eventually(servers.start_ended) == ["redis"]  # it takes a moment to be known
        assert redis.Redis.from_url(servers.redis_url).ping()
        eventually(_kill("postgres", of_others))
        eventually(lambda: _started_again(servers))
        assert _rows(servers, "select number from kept") == [(1,)]


def _started_again(servers: Servers) -> bool:
    """A PostgreSQL whose backends have not noticed yet that it was killed cannot be started over them."""
    try:
        return servers.start_ended() == ["postgres"]
    except ServersUnavailable:
        return False
