"""An operator puts dead letters back into their queues (`redrive`), on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lab import Scenario
from lab.rules.priority import DEAD_LETTERS
from lab.rules.tasks import Accepted, Event, State, Task, transition
from live_backend import database, run_live
from live_backend.broker import Broker, connect
from live_backend.database import Database
from live_backend.reaper import Reaper
from live_backend.servers import Servers
from live_backend.store import NewTask, Store, Verdict
from simulation import simulate

pytestmark = pytest.mark.live

# Two tries of 50 ms with 40 ms between them.
TWO_TRIES = {"rules__retry": {"base_s": 0.02, "max_retries": 1}, "workload__arrivals__count": 24}


def _sound(record) -> None:
    assert record.info["checks"]["ok"], record.info["checks"]
    assert not record.info["stalled"]


def test_the_redriven_end_as_in_the_model_and_the_others_stay_dead(servers, build) -> None:
    """Every try of both roles fails but the fourth; only the tasks of A get one. The run waits for the operator, since
    long before him all tasks are dead."""
    role = {"service": {"dist": "constant", "mean_s": 0.05}, "fail_first": 3}
    faults = [{"kind": "redrive", "at_s": 2.0, "role": "A"}]
    scenario = build(**TWO_TRIES, workload__mix="exact", workload__roles={"A": role, "B": role}, faults=faults)
    live, model = run_live(scenario), simulate(scenario)
    _sound(live)
    columns = ["id", "state", "attempts", "retries", "queue"]
    assert live.tasks[columns].astype(str).equals(model.tasks[columns].astype(str))
    counts = live.info["summary"]["tasks"]
    assert (counts["submitted"], counts["completed"], counts["dead"], counts["attempts"]) == (24, 12, 12, 12 * 4 + 24)
    back = live.transitions[live.transitions["reason"] == Event.REDRIVEN]
    assert back["task"].tolist() == live.tasks.loc[live.tasks["role"] == "A", "id"].tolist()
    assert back["at_s"].min() >= 2.0
    assert live.events.loc[live.events["kind"] == "fault", "detail"].tolist() == ["redrive role A"]


def test_sweeps_look_after_redriven_tasks_as_after_new_ones(servers, build) -> None:
    """Long before 1.5 s every task is dead and the sweeps have gone past them all. Then they come back, and the worker
    that has four of them in its slots is killed: its leases must be found lapsed."""
    service = {"service": {"dist": "constant", "mean_s": 0.5}, "fail_first": 1}
    record = run_live(
        build(
            workload__arrivals__count=8,
            workload__roles__A=service,
            rules__retry={"base_s": 0.02, "max_retries": 1, "budget": {"ratio": 0.0, "burst": 0}},  # dead after one try
            faults=[{"kind": "redrive", "at_s": 1.5}, {"kind": "kill_worker", "at_s": 1.8, "worker": 0}],
        )
    )
    _sound(record)
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()
    counts = record.info["summary"]["tasks"]
    assert (counts["reclaimed"], counts["attempts"]) == (4, 8 + 8 + 4)


def test_redriven_while_redis_is_away(own_servers, build) -> None:
    """Redis comes back empty: the sweep queues what was redriven meanwhile."""
    faults = [{"kind": "redis_restart", "at_s": 1.0, "down_s": 0.8}, {"kind": "redrive", "at_s": 1.4}]
    record = run_live(build(**TWO_TRIES, workload__roles__A__fail_first=2, faults=faults))
    _sound(record)
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()
    assert (record.tasks["attempts"] == 3).all()
    assert (record.events["kind"] == "requeued").sum() >= 24


# ---- the reaper and its store, by themselves -------------------------------------------------------------------------

DEAD = Task(State.PERMANENT_FAILURE, attempt=1, token=1)


@asynccontextmanager
async def _dead_letters(servers: Servers, scenario: Scenario, ids: list[int]) -> AsyncIterator[tuple[Store, Broker]]:
    """A mesh without workers, in which these tasks of the scenario are dead."""
    schema, prefix = "run_redrive_test", "run:redrive_test:"
    await asyncio.to_thread(database.create, servers.dsn, schema)
    store = Store(Database(servers.dsn, schema), scenario.rules.lease)
    broker = Broker(connect(servers.redis_url), prefix)
    try:
        await store.submit([NewTask(task, "A", 3, 0, None) for task in ids])
        claims = await store.claim(ids, "w0.1")
        failed = Accepted(DEAD, Event.FAILED)
        await store.settle([Verdict(claim.id, claim.task.token, failed) for claim in claims])
        await broker.settled({}, ids)
        yield store, broker
    finally:
        await broker.wipe()
        await broker.client.aclose()
        await store.database.close()
        await asyncio.to_thread(database.drop, servers.dsn, schema)


def test_an_operator_who_asks_twice_redrives_once(servers, build) -> None:
    scenario = build()
    ids = [3, 5, 8]

    async def story() -> None:
        async with _dead_letters(servers, scenario, ids) as (store, broker):
            assert [await store.advance(0.0) for _ in range(2)] == [True, True]  # past all that is finished
            assert await store.database.rows("select ceiling from sweep") == [(9,)]
            reaper = Reaper(store, broker, scenario.rules, lambda task: None)
            await asyncio.gather(reaper.redrive(), reaper.redrive(), reaper.sweep())
            assert [task for task, _ in await store.waiting(0.0)] == ids
            assert await broker.client.lrange(broker.prefix + DEAD_LETTERS, 0, -1) == []
            assert await broker.take("w0.1", 0, [(9, (0, 1, 2))], keep_list=True) == ids
            log = await store.database.rows(
                "select task, to_state, attempt, token, reason from transition order by seq"
            )
            assert log[-3:] == [(task, "PENDING", 1, 1, "redriven") for task in ids]
            assert len(log) == 4 * len(ids)

    asyncio.run(story())


def _lose_the_next_answer(database: Database, monkeypatch) -> None:
    """The connection breaks after the server has done what it was asked."""
    connected = database._connected

    class Breaking:
        def __init__(self, connection) -> None:
            self.connection = connection

        async def fetch(self, *query):
            await self.connection.fetch(*query)
            monkeypatch.undo()
            raise ConnectionResetError("the answer never came")

    async def breaking() -> Breaking:
        return Breaking(await connected())

    monkeypatch.setattr(database, "_connected", breaking)


def test_a_redrive_whose_answer_was_lost_is_known_and_not_written_twice(servers, build, monkeypatch) -> None:
    """The statement is committed, the connection breaks before its answer comes, and it is sent again."""
    scenario = build()
    redriven = transition(DEAD, Event.REDRIVEN, scenario.rules.retry)
    assert isinstance(redriven, Accepted)

    async def story() -> None:
        async with _dead_letters(servers, scenario, [0, 1]) as (store, _):
            verdicts = [Verdict(task, 1, redriven) for task in (0, 1)]
            assert await store.redrive(verdicts) == [(0, 0), (1, 0)]
            assert await store.redrive(verdicts) == []  # nothing is dead any more, and nothing was lost on the way
            _lose_the_next_answer(store.database, monkeypatch)
            assert await store.redrive(verdicts) == [(0, 0), (1, 0)]  # who was cut off must push them (again)
            assert await store.database.rows("select forgiven, token, count(*) from task group by 1, 2") == [(1, 1, 2)]
            assert await store.database.rows("select count(*) from transition where reason = 'redriven'") == [(2,)]

    asyncio.run(story())
