"""Live runs on real servers: the same tasks as in the model, the same ends, and nothing left behind."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
import redis

from lab import compare
from lab.errors import UsageError
from lab.limits import LIVE_WORKERS_MAX, MIB
from lab.rules.tasks import Event, State
from live_backend import run_live
from simulation import simulate
from tests.live.helpers import eventually, worker_processes

pytestmark = pytest.mark.live


def test_failures_end_every_task_as_the_model_says(servers, build) -> None:
    """Which attempts fail is the plan's: state, attempts and retries of each task must be equal in both engines."""
    scenario = build(workload__roles__A__failure_rate=0.4, rules__retry__max_retries=2, workload__arrivals__count=150)
    live, model = run_live(scenario), simulate(scenario)
    columns = ["id", "state", "attempts", "retries", "queue"]
    assert live.tasks[columns].astype(str).equals(model.tasks[columns].astype(str))
    assert live.info["checks"]["ok"], live.info["checks"]
    counts = live.info["summary"]["tasks"]
    assert counts["dead"] > 0
    assert counts["retries"] > 0
    assert counts["submitted"] == counts["completed"] + counts["dead"] == 150


def test_model_and_reality_agree_task_by_task(servers, build) -> None:
    """No figure of speed, but of sameness: the same order of work gives latencies that go together."""
    scenario = build(workload__roles__A__service={"dist": "exponential", "mean_s": 0.1}, workload__arrivals__count=120)
    paired = compare(simulate(scenario), run_live(scenario)).data["paired"]
    assert paired["tasks"] == 120
    assert paired["correlation"] > 0.9


def test_a_run_leaves_nothing_on_the_servers_and_no_process(servers, build) -> None:
    run_live(build())
    with psycopg.connect(servers.dsn) as connection:
        schemas = connection.execute("select nspname from pg_namespace where nspname like 'run%'").fetchall()
    assert schemas == []
    client = redis.Redis.from_url(servers.redis_url)
    assert list(client.scan_iter("run:*")) == []
    assert worker_processes() == []


def test_two_runs_on_the_same_servers_never_meet(servers, build, start) -> None:
    first, second = start(build(seed=1)), start(build(seed=2, workload__arrivals__count=80))
    records = [first.record(), second.record()]
    assert [len(record.tasks) for record in records] == [60, 80]
    assert all(record.info["checks"]["ok"] for record in records)


def test_stopping_early_gives_a_partial_record_and_ends_all_workers(servers, build, start) -> None:
    run = start(build(workload__roles__A__service__mean_s=1.0))
    eventually(lambda: run.done > 0)
    run.stop()
    record = run.record()
    assert record.info["interrupted"]
    assert 0 < (record.tasks["state"] == State.COMPLETED).sum() < 60
    assert worker_processes() == []


def test_memory_is_really_held_and_returned(servers, build, start) -> None:
    """4 slots of 40 MiB in each worker: RSS rises by about 160 MiB and comes back, however late the processes get
    their turn. The redrive of nothing keeps the mesh up, idle, until that has been seen from outside."""
    run = start(
        build(
            workload__arrivals__count=32,  # four rounds: a worker that starts late fills its slots too
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.7}, "memory_mib": 40.0},
            faults=[{"kind": "redrive", "at_s": 600.0}],
        )
    )
    highest: dict[int, int] = {}
    now: dict[int, int] = {}

    def fell() -> bool:
        now.update((process.pid, process.memory_info().rss) for process in worker_processes())
        highest.update((pid, max(rss, highest.get(pid, 0))) for pid, rss in now.items())
        return len(now) == 2 and all(highest[pid] - rss >= 150 * MIB for pid, rss in now.items())

    eventually(fell)
    assert all(highest[pid] - rss <= 200 * MIB for pid, rss in now.items())
    run.stop()
    reported = run.record().samples.query("worker != ''").groupby("worker", observed=True)["rss_bytes"].max()
    assert min(reported) > min(highest.values()) - 50 * MIB  # one block less, if a report falls between two tasks


def test_processor_share_is_really_burnt(servers, build) -> None:
    """One slot, 1.5 s of work of which 60 % is computed: about 0.9 s of processor time, seen by psutil."""
    record = run_live(
        build(
            mesh={"workers": 1, "slots": 1},
            workload__arrivals={"kind": "burst", "count": 1},
            workload__roles__A={"service": {"dist": "constant", "mean_s": 1.5}, "cpu_share": 0.6},
        )
    )
    busy = record.samples[record.samples["worker"] != ""].sort_values("t_s")
    burnt_s = (busy["cpu"] * busy["t_s"].diff().fillna(0.0)).sum()
    assert 0.6 < burnt_s < 1.6


@pytest.mark.parametrize("order", ["aging", "weighted"])
def test_other_orders_serve_every_class(servers, build, order: str) -> None:
    record = run_live(
        build(
            mesh={"workers": 1, "slots": 2},
            workload__roles__A__priority={5: 1, 2: 1, 1: 1},
            workload__arrivals={"kind": "constant", "rate_per_s": 60, "count": 90},
            rules__priority={"order": order, "aging_s": 0.2},
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    claims = record.transitions[record.transitions["reason"] == Event.CLAIMED]
    first_half = record.tasks.set_index("id").loc[claims["task"].head(45), "queue"].value_counts()
    assert first_half["agent_low"] > 0, "the low class starved in the first half"


def test_held_and_rejected_tasks(servers, build) -> None:
    for policy, completed in (("hold", 60), ("reject", None)):
        record = run_live(build(rules__admission={"max_pending": 20, "on_closed": policy}))
        counts = record.info["summary"]["tasks"]
        assert counts["completed"] + counts["rejected"] == 60
        assert completed in (None, counts["completed"])
        assert (counts["rejected"] > 0) == (policy == "reject")
        assert record.info["checks"]["ok"], record.info["checks"]


def test_runs_inside_a_running_loop_as_in_a_notebook(servers, build) -> None:
    async def cell() -> int:
        return len(run_live(build(workload__arrivals__count=5)).tasks)

    assert asyncio.run(cell()) == 5


def test_too_many_processes_are_refused_before_any_starts(servers, build) -> None:
    with pytest.raises(UsageError, match=f"at most {LIVE_WORKERS_MAX} processes"):
        run_live(build(mesh__workers=LIVE_WORKERS_MAX + 1))


def test_restarting_servers_that_are_not_ours_is_refused(servers, build) -> None:
    with pytest.raises(UsageError, match="redis_restart needs the embedded servers"):
        run_live(build(faults=[{"kind": "redis_restart", "at_s": 1.0}]))
