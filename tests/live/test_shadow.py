"""A shadow of a real standing mesh: in agreement under traffic, an alarm when a worker process stands still."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lab.errors import UsageError
from lab.fitting_replay import lone_overhead_s
from lab.observed_watch import Look, Shadow
from live_backend import definition, shadowing
from live_backend.client import Client
from live_backend.servers import Servers, open_servers
from live_backend.shadowing import Shadowing
from simulation import simulate
from tests.live.helpers import eventually
from tests.live.test_standing import Meshlab

pytestmark = pytest.mark.live
MESH = """\
name: shadowed
workload:
  arrivals: {kind: burst, count: 1}
  roles:
    QUICK: {service: {dist: gamma, mean_s: 1.0, cv: 0.3}}
    FAILING: {priority: 1, service: {dist: constant, mean_s: 0.8}, failure_rate: 0.2}
mesh: {workers: 2, slots: 4}
rules:
  retry: {base_s: 0.1}
  lease: {length_s: 60}
  health: {report_s: 0.5, close_share: 1}
"""
"""Tasks so long that a slow machine's own lateness stays within the tenth of them that the shadow tolerates."""
WINDOW_S, EVERY_S = 10.0, 1.0
TASK_EVERY_S = 0.25
"""With tasks of 0.93 s on average: 3.7 of the eight slots are busy, and nearly all of the four that a worker has."""
MISSING = "1 of 2 workers are heard of: 4 slots are missing"


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers of this file's own: a standing mesh has the plain names."""
    with open_servers({}) as opened:
        yield opened


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Meshlab]:
    """A standing mesh with servers of its own."""
    (tmp_path / "mesh.yaml").write_text(MESH)
    mesh = Meshlab(tmp_path, {}, "up", str(tmp_path / "mesh.yaml"), "--port", "0")
    try:
        yield mesh.ready()
    finally:
        mesh.end()


class Traffic:
    """A client that submits four tasks a second until told to stop; one that came late is made up for."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(30.0)

    def _run(self) -> None:
        number, began = 0, time.monotonic()
        while not self._stopped.wait(max(0.0, began + number * TASK_EVERY_S - time.monotonic())):
            self._client.submit("QUICK" if number % 3 else "FAILING")
            number += 1


def test_it_agrees_and_then_finds_a_worker_that_stands_still(up: Meshlab) -> None:
    """Found as the command finds it: by the state file of the `meshlab up` of this user, since nobody said DB_DSN."""
    shadow = Shadow(simulate, EVERY_S, overhead_s=lone_overhead_s(simulate, "default"))
    with up.client() as client, Shadowing(shadowing.find_dsn(up.environ)) as reader, Traffic(client):

        def look() -> Look:
            time.sleep(EVERY_S / 2)  # looks more often than this learn nothing
            return shadow.look(reader.look(WINDOW_S))

        calm = eventually(lambda: (one := look()).state == "agree" and _busy(one) and one, 60.0)
        assert calm.predicted["throughput_per_s"] == pytest.approx(calm.seen["throughput_per_s"], rel=0.3)
        worker = up.processes("live_backend.worker")[0].pid
        os.kill(worker, signal.SIGSTOP)
        try:
            found = eventually(lambda: (one := look()).state == "apart" and _names_the_silent(one) and one, 60.0)
        finally:
            os.kill(worker, signal.SIGCONT)
        seen = shadowing.observed(up.environ, 600.0)
    assert "mesh slower" in [alarm.name for alarm in found.alarms]
    assert MISSING in found.causes
    assert {"QUICK", "FAILING"} == set(seen.roles), "the same log as records for `meshlab fit --mesh`"
    assert (seen.facts["workers"], seen.facts["slots"]) == (2, 4)
    assert seen.backoffs["exact"].all()


def _busy(look: Look) -> bool:
    """Whether fifteen tasks are done: the figures of fewer say little. On a slow machine that takes a while."""
    return (look.seen["throughput_per_s"] or 0.0) * look.window_s >= 15


def _names_the_silent(look: Look) -> bool:
    """Whether the worker has missed so many reports that it counts as silent; tasks may have been late before that."""
    return "mesh slower" in [alarm.name for alarm in look.alarms] and MISSING in look.causes


# ---- what it reads ---------------------------------------------------------------------------------------------------

SCHEMA = "shadow_reads"


@pytest.fixture
def log(servers: Servers) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The tables of a mesh without processes."""
    from live_backend import database

    database.create(servers.dsn, SCHEMA)
    with psycopg.connect(servers.dsn, autocommit=True, options=database.options(SCHEMA)) as connection:
        connection.execute("insert into mesh (scenario, base) values (%s, '.')", (_json(),))
        yield connection
        database.drop(servers.dsn, SCHEMA)


def _json() -> str:
    import json

    return json.dumps(definition.default_mesh().data)


def _submit(log: psycopg.Connection[tuple[object, ...]], tasks: range, age_s: float) -> None:
    """Tasks that came so long ago, each in a transaction of its own."""
    for task in tasks:
        log.execute(
            "with new as (insert into task (id, role, priority, class, state, changed_at)"
            " values (%(id)s, 'DEVELOPER', 3, 0, 'PENDING', now() - make_interval(secs => %(age)s)))"
            " insert into transition (task, from_state, to_state, at, attempt, token, reason)"
            " values (%(id)s, '', 'PENDING', now() - make_interval(secs => %(age)s), 0, 0, 'submitted')",
            {"id": task, "age": age_s},
        )


def test_a_look_reads_the_window_and_what_waited_before_it(
    servers: Servers, log: psycopg.Connection[tuple[object, ...]]
) -> None:
    _submit(log, range(1, 4), 100.0)
    _submit(log, range(4, 9), 5.0)
    with Shadowing(servers.dsn, SCHEMA) as reader:
        window = reader.look(20.0)
        assert [row.task for row in window.rows] == [4, 5, 6, 7, 8]
        assert [one.task for one in window.unmoved] == [1, 2, 3]
        assert set(window.facts) == set(range(1, 9))
        assert (window.cut, round(window.span_s)) == ("", 20)
        _submit(log, range(9, 10), 0.0)
        assert [row.task for row in reader.look(20.0).rows][-1] == 9
        assert [row.task for row in reader.look(200.0).rows] == list(range(1, 10)), "a longer window begins anew"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader._open().execute("delete from task")


def test_a_row_of_a_transaction_under_way_is_read_when_it_is_there(
    servers: Servers, log: psycopg.Connection[tuple[object, ...]]
) -> None:
    from live_backend import database

    _submit(log, range(1, 2), 1.0)
    with (
        psycopg.connect(servers.dsn, options=database.options(SCHEMA)) as late,
        Shadowing(servers.dsn, SCHEMA) as reader,
    ):
        _submit(late, range(2, 3), 1.0)  # not committed
        _submit(log, range(3, 4), 1.0)
        assert [row.task for row in reader.look(60.0).rows] == [1, 3]
        late.commit()
        assert sorted(row.task for row in reader.look(60.0).rows) == [1, 2, 3], "once each"


def test_a_busier_mesh_has_a_shorter_window(
    servers: Servers, log: psycopg.Connection[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadowing, "SHADOW_ROWS_MAX", 20)
    _submit(log, range(1, 40), 30.0)
    _submit(log, range(40, 50), 3.0)
    with Shadowing(servers.dsn, SCHEMA) as reader:
        window = reader.look(60.0)
        assert window.cut and len(window.rows) <= 20
        assert [row.task for row in window.rows][-10:] == list(range(40, 50))
        _submit(log, range(50, 80), 0.0)
        assert reader.look(60.0).rows[-1].task == 79
        assert len(reader.look(60.0).rows) <= 20


def test_no_mesh_and_no_server_are_said_in_words(servers: Servers) -> None:
    with Shadowing(servers.dsn, "pg_catalog") as reader, pytest.raises(UsageError, match="no standing mesh was found"):
        reader.look(10.0)
