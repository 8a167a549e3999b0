"""The operations of the hot path, timed on real servers, which are left as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
import redis

from lab.calibration import OPERATIONS, Straight
from lab.errors import Interrupted
from lab.progress import never
from live_backend import calibrating
from live_backend.calibrating import time_memory, time_operations, timer_tick_s
from live_backend.loops import run_in_fast_loop
from live_backend.servers import Servers, open_servers

pytestmark = pytest.mark.live

BATCHES = (1, 20)
REPEATS = {1: 5, 20: 3}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "BATCHES", BATCHES)
    monkeypatch.setattr(calibrating, "REPEATS", REPEATS)
    monkeypatch.setattr(calibrating, "WARM_UP", 2)


def left_behind(servers: Servers) -> tuple[int, int]:
    """Schemas and keys that are there."""
    with psycopg.connect(servers.dsn) as connection:
        (schemas,) = connection.execute("select count(*) from information_schema.schemata").fetchone() or (0,)
    with redis.Redis.from_url(servers.redis_url) as client:
        return int(schemas), int(client.dbsize())


def stopped_after(asked: int) -> Callable[[], bool]:
    count = iter(range(asked))
    return lambda: next(count, None) is None


def test_every_operation_is_timed_at_every_size_and_nothing_stays(shared_servers: Servers) -> None:
    """On servers of our own their processor time is seen too."""
    before = left_behind(shared_servers)
    found = time_operations(shared_servers, never)
    assert left_behind(shared_servers) == before

    assert [(one.operation, one.batch) for one in found] == [(name, batch) for batch in BATCHES for name in OPERATIONS]
    for one in found:
        assert len(one.walls_s) == REPEATS[one.batch]
        assert min(one.walls_s) > 0
        assert 0 <= one.own_s <= sum(one.walls_s)
        assert one.server_s is not None and one.server_s >= 0
    assert sum(one.own_s for one in found) > 0
    assert sum(one.server_s or 0.0 for one in found) > 0
    for name in OPERATIONS:  # what comes out of it makes a cost
        line = Straight.through([(one.batch, one.own_s) for one in found if one.operation == name])
        assert line.fixed_s + line.task_s > 0


def test_other_peoples_servers_are_not_looked_into(servers: Servers) -> None:
    with open_servers() as others:
        found = time_operations(others, never)
    assert {one.server_s for one in found} == {None}


@pytest.mark.parametrize("asked", [0, 4])
def test_who_stops_it_leaves_nothing_behind(shared_servers: Servers, asked: int) -> None:
    before = left_behind(shared_servers)
    with pytest.raises(Interrupted, match="nothing was changed"):
        time_operations(shared_servers, stopped_after(asked))
    assert left_behind(shared_servers) == before


def test_memory_takes_time_to_fill_and_to_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "FILLED_MIB", (2, 4))
    monkeypatch.setattr(calibrating, "FILLS", 3)
    fill_s, drop_s = time_memory()
    assert fill_s > 0
    assert drop_s > 0


def test_the_tick_is_that_of_the_loop_which_workers_run_on() -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)

    run_in_fast_loop(look())
    assert timer_tick_s() == (0.001 if seen[0].startswith("uvloop") else 0.0)
