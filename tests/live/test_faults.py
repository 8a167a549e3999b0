"""What must survive: workers killed, frozen and told to leave, Redis wiped and restarted, PostgreSQL restarted. And
what the published rules lose. After each the checks judge the whole history: nothing lost, nothing completed twice."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from lab.rules.tasks import Event, State
from live_backend import run_live
from tests.live.helpers import eventually, worker_processes

pytestmark = pytest.mark.live
POISON = Path(__file__).parents[2] / "scenarios/data/poison.csv"


def _all_completed(record) -> None:
    assert record.info["checks"]["ok"], record.info["checks"]
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()


def test_f1_workers_killed_from_outside_in_mid_run(servers, build, start) -> None:
    """kill -9 of every worker there is, twice: their tasks are reclaimed, done once, and the dead are replaced."""
    run = start(build(workload__arrivals__count=200, workload__roles__A__service__mean_s=0.1))
    for done in (10, 60):
        eventually(lambda done=done: run.done >= done)
        for process in worker_processes():
            process.send_signal(signal.SIGKILL)
    record = run.record()
    _all_completed(record)
    assert record.info["summary"]["tasks"]["reclaimed"] > 0
    assert (record.events["detail"] == "killed by SIGKILL").sum() >= 2


def test_f7_a_frozen_worker_wakes_up_and_its_writes_are_refused(servers, build) -> None:
    """Frozen for 3 s with a lease of 1 s: others take its tasks; what it writes after waking is stale, and is
    counted.
    """
    record = run_live(
        build(
            workload__roles__A__service__mean_s=0.5,  # 60 tasks on 8 slots: none is free when the worker freezes
            faults=[{"kind": "pause_worker", "at_s": 0.7, "worker": 0, "for_s": 2.5}],
        )
    )
    _all_completed(record)
    assert record.info["summary"]["tasks"]["stale_writes"] > 0


def test_f7_a_slot_that_was_frozen_asleep_finds_its_task_gone(servers, build) -> None:
    """in_slot backoff of 0.4 s, worker 0 frozen for 3 s with a lease of 1 s: the reaper returns what slept there,
    others run it, and the sleepers wake up to nothing. The run must end all the same."""
    record = run_live(
        build(
            workload__arrivals__count=24,
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.2}, "fail_first": 2},
            rules__retry={"base_s": 0.2, "wait": "in_slot"},
            faults=[{"kind": "pause_worker", "at_s": 0.35, "worker": 0, "for_s": 3.0}],
        )
    )
    _all_completed(record)


def test_f5_sigterm_hands_back_uncounted_what_the_grace_does_not_allow(servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals__count=8,
            workload__roles__A__service__mean_s=2.0,
            rules__shutdown__grace_s=0.3,
            faults=[{"kind": "stop_worker", "at_s": 0.5, "worker": 0}],
        )
    )
    _all_completed(record)
    assert (record.transitions["reason"] == Event.HANDED_BACK).sum() == 4
    assert (record.tasks["attempts"] == 1).all()
    assert "exit 0" in record.events["detail"].tolist()


def test_f19_redis_wiped_from_outside_in_mid_run(servers, build, start) -> None:
    run = start(build(workload__arrivals__count=300, workload__roles__A__service__mean_s=0.08))
    eventually(lambda: run.done >= 20)
    redis.Redis.from_url(servers.redis_url).flushall()
    record = run.record()
    _all_completed(record)
    assert (record.events["kind"] == "requeued").sum() > 0


def test_f19_wipes_during_arrivals_and_retries(servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "poisson", "rate_per_s": 60, "duration_s": 4},
            workload__roles__A={"service": {"dist": "exponential", "mean_s": 0.08}, "fail_first": 1},
            rules__retry__base_s=0.3,
            faults=[{"kind": "redis_flush", "at_s": at_s} for at_s in (0.7, 1.3, 2.1, 3.0)],
        )
    )
    _all_completed(record)


def test_f18_redis_restarts_empty(own_servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 40, "duration_s": 4},
            faults=[{"kind": "redis_restart", "at_s": 1.0, "down_s": 1.0}],
        )
    )
    _all_completed(record)


def test_f25_postgres_restarts_under_load(own_servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 40, "duration_s": 5},
            workload__roles__A__failure_rate=0.2,
            faults=[{"kind": "postgres_restart", "at_s": at_s, "down_s": 0.3} for at_s in (1.0, 2.5)],
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]


def test_f27_connections_cut_in_mid_statement(servers, build, start) -> None:
    """pg_terminate_backend on everybody, again and again: a commit whose answer was lost is read again, not repeated
    blindly.
    """
    run = start(build(workload__arrivals__count=300, workload__roles__A__service__mean_s=0.05))
    for done in range(20, 260, 20):
        eventually(lambda done=done: run.done >= done)
        with psycopg.connect(servers.dsn, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
    _all_completed(run.record())


def _attempt_under_way(dsn: str) -> int:
    """The number of the attempt that runs in the newest run; 0: none does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        newest = "select nspname from pg_namespace where nspname like 'run\\_%' order by oid desc limit 1"
        row = connection.execute(newest).fetchone()
        if row is None or connection.execute("select to_regclass(%s)", [f"{row[0]}.task"]).fetchone() == (None,):
            return 0
        table = sql.Identifier(row[0], "task")
        running = sql.SQL("select coalesce(max(attempt), 0) from {} where state = {}")
        found = connection.execute(running.format(table, sql.Literal(State.RUNNING))).fetchone()
        return int(found[0]) if found else 0


def test_f12_a_task_that_outlives_its_workers_is_dead_after_its_attempts(servers, build, start) -> None:
    """Every process that runs the long task is killed: three claims, and then it is a dead letter, not an
    endless loop.
    """
    run = start(
        build(
            mesh={"workers": 1, "slots": 1},
            workload__arrivals={"kind": "burst", "count": 1},
            workload__roles__A__service__mean_s=600.0,
            rules__retry__max_retries=2,
        )
    )
    for attempt in (1, 2, 3):
        eventually(lambda attempt=attempt: _attempt_under_way(servers.dsn) == attempt)
        for process in worker_processes():
            process.send_signal(signal.SIGKILL)
    record = run.record()
    assert record.tasks["state"].tolist() == [State.PERMANENT_FAILURE]
    assert record.tasks["attempts"].tolist() == [3]
    assert record.info["checks"]["ok"], record.info["checks"]


def test_a_worker_over_its_limit_is_replaced_and_a_mesh_that_cannot_drain_says_so(servers, build) -> None:
    """A limit below an idle process's own memory: no gate ever opens, each process is replaced, and the run
    ends and admits it.
    """
    record = run_live(build(workload__arrivals__count=3, rules__health={"rss_limit_mib": 30, "recycle_after_s": 0.5}))
    assert record.info["stalled"]
    assert record.info["checks"]["failed"] == ["nothing_lost"]
    assert (record.events["kind"] == "worker_recycled").sum() >= 2
    assert (record.events["detail"] == "recycled").sum() >= 2


@pytest.mark.parametrize("preset", ["agent-mesh-published", "go-distributed-queue-published"])
def test_published_claims_lose_what_a_killed_worker_ran(servers, build, preset: str) -> None:
    record = run_live(
        build(
            workload__arrivals__count=40,
            workload__roles__A__service__mean_s=0.5,
            rules__preset=preset,
            faults=[{"kind": "kill_worker", "at_s": 0.7, "worker": 0}],
        )
    )
    assert record.info["checks"]["failed"] == ["nothing_lost"]
    assert record.info["stalled"]
    assert (record.tasks["state"] == State.RUNNING).sum() == 4  # its four slots


def test_published_shutdown_drops_what_runs_and_the_lab_hands_it_back(servers, build) -> None:
    """SIGTERM to worker 0 with four tasks in its slots: the published process is gone at once, and so are they."""
    lost = {}
    for preset in ("agent-mesh-published", "lab"):
        record = run_live(
            build(
                workload__arrivals__count=24,
                workload__roles__A__service__mean_s=0.6,
                rules__preset=preset,
                rules__shutdown__grace_s=0.1,
                faults=[{"kind": "stop_worker", "at_s": 0.8, "worker": 0}],
            )
        )
        assert "exit 0" in record.events["detail"].tolist()
        lost[preset] = int((record.tasks["state"] != State.COMPLETED).sum())
    assert lost == {"agent-mesh-published": 4, "lab": 0}


@pytest.mark.parametrize(("wait", "late"), [("scheduled", False), ("in_slot", True)])
def test_published_backoff_makes_good_tasks_late(servers, build, wait: str, late: bool) -> None:
    """4 poison tasks on 4 slots, then 8 good ones: with sleeping slots no good task can start before the first backoff
    is over.
    """
    record = run_live(
        build(
            mesh={"workers": 1, "slots": 4},
            workload__arrivals={"kind": "trace", "path": str(POISON), "limit": 12},
            workload__roles={
                "POISON": {"service": {"dist": "constant", "mean_s": 0.1}, "failure_rate": 1.0},
                "GOOD": {"service": {"dist": "constant", "mean_s": 0.1}},
            },
            rules__retry={"base_s": 0.5, "wait": wait, "max_retries": 2},
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    good = record.tasks[record.tasks["role"] == "GOOD"]
    assert (good["done_s"].max() > 1.0) == late  # the first backoff is 0.5 · 2 = 1 s
