"""PostgreSQL killed, demoted, full, deadlocked, at its limits. It is the authority: what it has acknowledged holds, and
what it has not must be asked again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lab.errors import LabError
from live_backend.database import Database
from live_backend.servers import Servers, ServersUnavailable, open_servers
from tests.faults.live.striking import Outside, counts, postmaster, sound
from tests.live.helpers import eventually

pytestmark = pytest.mark.live

STEADY = {"workload__arrivals": {"kind": "constant", "rate_per_s": 60, "duration_s": 3}}
BUSY = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """Servers of this test alone, which may be ruined; runs are told of them as if somebody else ran them."""
    with open_servers({}) as opened:
        monkeypatch.setenv("REDIS_URL", opened.redis_url)
        monkeypatch.setenv("DB_DSN", opened.dsn)
        monkeypatch.delenv("REDIS_ADDR", raising=False)
        yield opened


def test_f25_kill_9_of_a_backend_in_mid_commit(mine, build, start) -> None:
    """PostgreSQL takes the death of one backend as a crash: it throws everybody out and replays its log. Five times."""
    with Outside(mine) as outside:
        run = start(build(workload__arrivals__count=300))
        for done in range(30, 280, 50):
            eventually(lambda done=done: run.done >= done)
            victim = eventually(lambda: _a_backend(outside))
            os.kill(victim, signal.SIGKILL)
        record = run.record()
    sound(record)


def _a_backend(outside: Outside) -> int | None:
    """One that is at work, best in the middle of its commit."""
    try:
        rows = outside.rows(f"{BUSY} order by state = 'active' desc, wait_event = 'WALSync' desc nulls last limit 1")
    except psycopg.OperationalError:
        return None  # it still recovers from the last one
    return int(rows[0][0]) if rows else None


def test_f25_kill_9_of_the_whole_server_again_and_again(mine, build, start) -> None:
    with Outside(mine) as outside:
        run = start(build(workload__arrivals={"kind": "constant", "rate_per_s": 60, "duration_s": 4}))
        for done in (20, 80, 140):
            eventually(lambda done=done: run.done >= done)
            os.kill(postmaster(outside), signal.SIGKILL)
            eventually(lambda: _starts(mine))
        record = run.record()
    sound(record)


def _starts(servers: Servers) -> bool:
    """Whether it starts: not as long as a backend of the dead one is still there."""
    try:
        servers.start_postgres()
    except ServersUnavailable:
        return False
    return True


def test_f26_a_server_that_has_become_read_only(servers, outside, build, start) -> None:
    """As after a failover to a standby: it answers every question and refuses every write (25006) for a second. A
    connection to it is no good, and must not count as healthy."""
    run = start(build(**STEADY))
    eventually(lambda: run.done >= 30)
    outside.setting("default_transaction_read_only", "on")
    try:
        with psycopg.connect(outside.dsn) as other, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            other.execute("create table refused ()")
        time.sleep(1.0)  # the fault's length
    finally:
        outside.setting("default_transaction_read_only", None)
    sound(run.record())


def test_f27_the_answer_to_a_commit_is_lost(between, build, start) -> None:
    """Every statement that is struck was committed, and its client never heard: what is true is read by token, and
    nothing is done again that has been done."""
    run = start(build(workload__arrivals__count=300))
    for done in range(15, 285, 15):
        eventually(lambda done=done: run.done >= done)
        between.postgres.lose_reply(2)
    record = run.record()
    sound(record)
    assert between.postgres.struck >= 18
    assert counts(record, "completed") == (300,)


def test_f27_answers_break_off_in_the_middle(between, build, start) -> None:
    run = start(build(workload__arrivals__count=300))
    for done in range(20, 280, 20):
        eventually(lambda done=done: run.done >= done)
        between.postgres.halve(2)
    sound(run.record())
    assert between.postgres.struck >= 13


TANGLED = 800
"""Ten seconds of work for eight slots: whether a try meets a statement with several rows is chance."""


def test_f28_deadlocks_with_somebody_else(servers, outside, build, start) -> None:
    """Rows that workers are about to write are locked in another order from outside. The worker's statement is the
    victim (40P01), and is repeated; the task is not."""
    run = start(build(workload__arrivals__count=TANGLED, workload__roles__A__service__mean_s=0.1))
    eventually(lambda: run.done >= 16)
    outside.setting("deadlock_timeout", "50ms")
    try:
        before = _deadlocks(outside)
        eventually(lambda: _entangle(outside) and _deadlocks(outside) > before, 10.0)
    finally:
        outside.setting("deadlock_timeout", None)
    record = run.record()
    sound(record)
    assert counts(record, "attempts") == (TANGLED + counts(record, "reclaimed")[0],)


def _entangle(outside: Outside) -> bool:
    """Lock a running task in the middle, wait until somebody waits for it, and then lock all others."""
    schema = outside.schema()
    assert schema, "the run is over, and no try has met a statement with several rows"
    with outside.connect() as connection:
        connection.execute("set deadlock_timeout = '1min'")  # the others notice first
        lock = f"select id from {schema}.task where state = 'RUNNING' order by id".encode()
        ids = [row[0] for row in connection.execute(lock)]
        if len(ids) < 3:
            return False
        one = f"select id from {schema}.task where id = %s for update".encode()
        connection.execute(one, [ids[len(ids) // 2]])
        waits = "select count(*) from pg_locks where not granted"
        try:
            eventually(lambda: outside.rows(waits)[0][0], 1.0)
        except AssertionError:
            return False  # nobody was about to write it: another try
        for task in ids:
            connection.execute(one, [task])
    return True


def _deadlocks(outside: Outside) -> int:
    ((count,),) = outside.rows("select deadlocks from pg_stat_database where datname = current_database()")
    return int(count)


def test_f28_transactions_that_cannot_be_serialized(servers, outside, build, start) -> None:
    """Under repeatable read every concurrent write of a row is an error (40001). Rows of running tasks are written from
    outside all the while, and none of it is the task's fault."""
    outside.setting("default_transaction_isolation", "repeatable read")
    try:
        run = start(build(workload__arrivals__count=160, workload__roles__A__service__mean_s=0.1))
        eventually(lambda: run.done >= 16)
        with outside.connect() as connection:
            touch = f"update {outside.schema()}.task set role = role where state = 'RUNNING'".encode()
            while run.done < 140:
                connection.execute(touch)
                time.sleep(0.02)  # the rows are held for so long: whoever wants them waits, and fails
                connection.commit()
                time.sleep(0.1)  # how often it strikes
        record = run.record()
    finally:
        outside.setting("default_transaction_isolation", None)
    sound(record)
    assert counts(record, "retries") == (0,)


def test_f29_no_connection_is_to_be_had(mine, build, start, monkeypatch) -> None:
    """The run's user may have one connection, and all that it has are closed. A second later it may have more."""
    with Outside(mine) as outside:
        _admit("guest", outside)
        own = psycopg.conninfo.conninfo_to_dict(mine.dsn)
        monkeypatch.setenv("DB_DSN", psycopg.conninfo.make_conninfo(**{**own, "user": "guest"}))
        run = start(build(**STEADY))
        eventually(lambda: run.done >= 30)
        outside.rows("alter role guest connection limit 1")
        outside.rows("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'guest'")
        time.sleep(1.0)  # the fault's length
        outside.rows("alter role guest connection limit -1")
        record = run.record()
    sound(record)


def _admit(name: str, outside: Outside) -> None:
    """A user without privileges, whom the server lets in: limits do not hold for its owner."""
    ((hba,),) = outside.rows("show hba_file")
    path = Path(hba)
    path.write_text(f"local all {name} trust\n" + path.read_text())
    outside.rows(f"create role {name} login")
    outside.rows(f"grant create on database postgres to {name}")
    outside.rows("select pg_reload_conf()")


def test_f30_statements_time_out(servers, outside, build, start) -> None:
    """For a second every statement that takes over a millisecond is cancelled (57014), with all that it did."""
    run = start(build(**STEADY))
    eventually(lambda: run.done >= 30)
    outside.setting("statement_timeout", "1ms")
    try:
        time.sleep(1.0)  # the fault's length
    finally:
        outside.setting("statement_timeout", None)
    sound(run.record())


def test_f32_a_transaction_stays_open_for_the_whole_run(servers, outside, build, start) -> None:
    """No row version can be removed meanwhile. Claims and verdicts still find room beside the row they replace: most
    updates stay on their page (HOT) and touch no index."""
    run = start(build(workload__arrivals={"kind": "constant", "rate_per_s": 100, "duration_s": 3}))
    schema = eventually(outside.schema)
    with outside.connect() as holding:
        holding.execute("set transaction isolation level repeatable read")
        holding.execute("select pg_current_xact_id(), count(*) from pg_class")
        hot = (
            "select n_tup_hot_upd::float8 / n_tup_upd from pg_stat_user_tables "
            f"where schemaname = '{schema}' and relname = 'task' and n_tup_upd > 200"
        )
        ((share,),) = eventually(lambda: outside.rows(hot))
        record = run.record()
        assert holding.execute("select 1").fetchone() == (1,)  # it was open to the end
    sound(record)
    assert share > 0.9


def test_f25_a_server_that_never_comes_back_ends_the_run_with_one_line(mine, build, start, monkeypatch) -> None:
    """Gone for good: after a bound the run says so, and leaves nobody behind."""
    monkeypatch.setitem(Database.run.__kwdefaults__, "patience_s", 1.0)
    with Outside(mine) as outside:
        run = start(build(**STEADY))
        eventually(lambda: run.done >= 20)
        os.kill(postmaster(outside), signal.SIGKILL)
        run.join(60.0)
    (found,) = run.found
    assert isinstance(found, LabError)
    assert "PostgreSQL" in str(found) and "\n" not in str(found)
