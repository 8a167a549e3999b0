"""Workers elsewhere: `meshlab worker` hosts take up what an engine offers through Redis. Nothing may be lost, and no
process may be left, whoever of engine, host and worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
import yaml
from psycopg import sql

from lab.errors import Unavailable
from lab.rules.tasks import Event, State
from live_backend import engine, run_live
from live_backend.config import INVITATIONS, WorkerConfig
from live_backend.invitations import workers_are_remote
from tests.live.helpers import eventually, worker_processes

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[2]
SERVERS = {"REDIS_URL": "redis://localhost:6379/0", "DB_DSN": "postgresql://localhost/lab"}


class Host:
    """A `meshlab worker` as a process of its own."""

    def __init__(self) -> None:
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        self.process = subprocess.Popen([sys.executable, "-m", "cli", "worker"], cwd=ROOT, stderr=self._err)
        self.pid = self.process.pid

    def said(self) -> str:
        """All that it told so far."""
        return os.pread(self._err.fileno(), 1_000_000, 0).decode()

    def children(self) -> list[psutil.Process]:
        """Its worker processes."""
        return [one for one in worker_processes() if one.ppid() == self.pid]

    def end(self) -> None:
        """Gone, by its id; its children go with it."""
        self.process.kill()
        self.process.wait(10)
        self._err.close()


@pytest.fixture
def host(servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Host]]:
    """Starts hosts that are ready; runs of this test take their workers from them."""
    monkeypatch.setenv("MESHLAB_WORKERS", "remote")
    hosts: list[Host] = []

    def started() -> Host:
        one = Host()
        hosts.append(one)
        eventually(lambda: "waits for invitations" in one.said())
        return one

    yield started
    for one in hosts:
        one.end()
    eventually(lambda: not worker_processes())


@pytest.fixture
def client(servers) -> redis.Redis:
    return redis.Redis.from_url(servers.redis_url, decode_responses=True)


def _all_completed(record) -> None:
    assert record.info["checks"]["ok"], record.info["checks"]
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()


def _left(record) -> list[str]:
    """How workers ended before the end of the run, in order."""
    return record.events.loc[record.events["kind"] == "worker_left", "detail"].tolist()


def _places(record) -> list[str]:
    return record.events.loc[record.events["kind"] == "worker_started", "detail"].tolist()


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_two_hosts_serve_a_run_with_three_workers(host, build, client) -> None:
    first, second = host(), host()
    record = run_live(build(mesh__workers=3, workload__roles__A__failure_rate=0.2))
    assert record.info["checks"]["ok"], record.info["checks"]
    assert len(_places(record)) == 3
    for one in (first, second):
        assert any(place.endswith(f":{one.pid}") for place in _places(record))
    assert _left(record) == ["exit 0"] * 3
    eventually(lambda: not worker_processes())
    eventually(lambda: not list(client.scan_iter("run:*")))
    assert not client.exists(INVITATIONS)


def test_faults_reach_the_workers(host, build) -> None:
    """Killed, told to leave, frozen and awake again: what each leads to is the same as for a child of the engine."""
    host()
    record = run_live(
        build(
            mesh__workers=3,
            workload__arrivals__count=160,  # so many that every slot is taken at every moment
            workload__roles__A__service__mean_s=0.4,
            rules__shutdown__grace_s=0.1,
            faults=[
                {"kind": "kill_worker", "at_s": 0.7, "worker": 0},
                {"kind": "stop_worker", "at_s": 1.0, "worker": 1},
                {"kind": "pause_worker", "at_s": 1.0, "worker": 2, "for_s": 3.0},
            ],
        )
    )
    _all_completed(record)
    assert _left(record)[:2] == ["killed by SIGKILL", "exit 0"]
    assert len(_places(record)) == 5
    assert (record.transitions["reason"] == Event.HANDED_BACK).any()
    assert record.info["summary"]["tasks"]["stale_writes"] > 0


def test_redis_wiped_in_mid_run_costs_no_worker(host, build, start, client) -> None:
    host()
    run = start(build(workload__arrivals__count=300, workload__roles__A__service__mean_s=0.08))
    for done in (20, 100, 180):
        eventually(lambda done=done: run.done >= done)
        client.flushall()
    record = run.record()
    _all_completed(record)
    assert _left(record) == ["exit 0"] * 2


def test_a_wiped_invitation_is_offered_again(host, build, start, client) -> None:
    """No host yet; the list is wiped; then one comes."""
    run = start(build())
    eventually(lambda: client.exists(INVITATIONS))
    client.flushall()
    host()
    _all_completed(run.record())


# ---- deaths ----------------------------------------------------------------------------------------------------------


def test_a_host_killed_in_mid_run_loses_nothing(host, build, start) -> None:
    """kill -9: its worker dies with it, and is replaced on the other host."""
    first, second = host(), host()
    run = start(build(workload__arrivals__count=100, workload__roles__A__service__mean_s=0.3))
    eventually(lambda: run.done >= 10)
    assert len(first.children()) == len(second.children()) == 1
    first.process.kill()
    first.process.wait(10)
    record = run.record()
    _all_completed(record)
    assert _left(record)[0] == "its host is gone"
    assert len(_places(record)) == 3
    assert _places(record)[2].endswith(f":{second.pid}")
    assert record.info["summary"]["tasks"]["reclaimed"] > 0


def test_a_host_told_to_leave_in_mid_run(host, build, start) -> None:
    """SIGTERM: its worker finishes what it runs and goes; the host exits 0; the other host takes the place."""
    first, second = host(), host()
    run = start(build(workload__arrivals__count=120, workload__roles__A__service__mean_s=0.2))
    eventually(lambda: run.done >= 10)
    (worker,) = first.children()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(20) == 0, first.said()
    assert not worker.is_running()
    record = run.record()
    _all_completed(record)
    assert _left(record)[0] == "exit 0"
    assert _places(record)[2].endswith(f":{second.pid}")
    assert record.info["summary"]["tasks"]["reclaimed"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_host_leaves_at_once(host, number: signal.Signals) -> None:
    one = host()
    one.process.send_signal(number)
    assert one.process.wait(10) == 0


def test_the_second_signal_ends_a_host_at_once(host, build, start) -> None:
    one = host()
    run = start(build(workload__roles__A__service__mean_s=20.0))
    eventually(lambda: len(one.children()) == 2)
    eventually(lambda: one.said().count("started") == 2)
    one.process.send_signal(signal.SIGTERM)
    eventually(lambda: "once more to leave at once" in one.said())
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(10) == 130
    assert not worker_processes()
    run.stop()


def test_the_workers_of_a_dead_engine_end(host, build, servers, tmp_path: Path) -> None:
    """kill -9 of the engine: its workers end within seconds, and the host serves the next run."""
    one = host()
    scenario = build(workload__roles__A__service__mean_s=60.0)
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(scenario.data))
    words = ["run", str(path), "--engine", "live", "--quiet", "--out", str(tmp_path)]
    dying = subprocess.Popen([sys.executable, "-m", "cli", *words], cwd=ROOT)
    try:
        eventually(lambda: len(one.children()) == 2)
    finally:
        dying.kill()
        dying.wait(10)
    eventually(lambda: not one.children(), timeout_s=15.0)
    _drop_what_a_dead_engine_left(servers.dsn)
    _all_completed(run_live(build()))


def _drop_what_a_dead_engine_left(dsn: str) -> None:
    """The tests of a session share their servers, and one of them looks for left-overs."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (schema,) in connection.execute("select nspname from pg_namespace where nspname like 'run%'").fetchall():
            connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


def test_a_worker_that_cannot_start_says_why(host, build, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's last words travel to the one who started the run."""
    host()
    whole = WorkerConfig.to_invitation
    monkeypatch.setattr(WorkerConfig, "to_invitation", lambda config: whole(replace(config, scenario={"name": 5})))
    with pytest.raises(Unavailable, match=r"did not get ready: .*name"):
        run_live(build())


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_without_a_host_the_run_says_what_to_start(servers, build, client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_WORKERS", "remote")
    monkeypatch.setattr(engine, "WORKER_READY_S_MAX", 0.5)
    with pytest.raises(Unavailable, match=r"no `meshlab worker` took up .*docker compose up --scale worker=3"):
        run_live(build())
    assert not client.exists(INVITATIONS)
    assert not list(client.scan_iter("run:*"))


def test_what_is_no_invitation_is_dropped_and_so_is_one_that_nobody_wants_any_more(host, build, client) -> None:
    one = host()
    stale = WorkerConfig("w0.1", 0, "", "", "run_gone", "run:gone:", build().data, ".").to_invitation()
    client.rpush(INVITATIONS, "{", "[1]", '{"worker": "w0.1"}', stale.replace("run:gone:", "a b"), stale)
    _all_completed(run_live(build()))
    assert one.said().count("an invitation was dropped") == 4
    assert one.said().count("started, pid") == 2


def test_an_invitation_holds_no_address(build) -> None:
    config = WorkerConfig("w0.1", 0, "dbname=secret", "redis://:secret@here", "run_1", "run:1:", build().data, ".")
    assert "secret" not in config.to_invitation()
    there = WorkerConfig.from_invitation(config.to_invitation(), dsn="own", redis_url="too")
    assert (there.dsn, there.redis_url, there.scenario) == ("own", "too", config.scenario)


@pytest.mark.parametrize("missing", ["REDIS_URL", "DB_DSN"])
def test_a_host_without_servers_names_the_variable(missing: str) -> None:
    own = {name: value for name, value in os.environ.items() if name not in ("REDIS_ADDR", *SERVERS)}
    given = {name: value for name, value in SERVERS.items() if name != missing}
    words = [sys.executable, "-m", "cli", "worker"]
    ended = subprocess.run(words, cwd=ROOT, env={**own, **given}, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 1
    assert f"meshlab worker needs {missing}" in ended.stderr


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MESHLAB_WORKERS": "remote"}, r"needs REDIS_URL \(or REDIS_ADDR\) and DB_DSN"),
        ({"MESHLAB_WORKERS": "remote", "REDIS_ADDR": "localhost"}, r"remote needs DB_DSN"),
        ({"MESHLAB_WORKERS": "far"}, r"MESHLAB_WORKERS: 'far' is not a choice"),
    ],
)
def test_a_bad_choice_of_workers_is_refused_before_anything_starts(environ: dict[str, str], said: str) -> None:
    with pytest.raises(Unavailable, match=said):
        workers_are_remote(environ)


def test_workers_are_local_unless_asked_for(build) -> None:
    assert not workers_are_remote({})
    assert not workers_are_remote({"MESHLAB_WORKERS": "local", **SERVERS})
    assert workers_are_remote({"MESHLAB_WORKERS": "remote", **SERVERS})
