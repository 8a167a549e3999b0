"""Redis frozen, full, without its scripts, replaced by one that remembers less; replies of it that are lost or halved.
It is an index: whatever it does, PostgreSQL knows every task."""

from __future__ import annotations

import time

import pytest
import redis

from lab.rules.tasks import Event
from live_backend.servers import open_servers
from tests.faults.live.striking import because, counts, freeze, noted, sound, thaw
from tests.live.helpers import eventually
from tests.live.proxy import redis_target

pytestmark = pytest.mark.live

STEADY = {"workload__arrivals": {"kind": "constant", "rate_per_s": 60, "duration_s": 3}}
"""180 tasks in 3 s, of which every slot could do a few more."""


def test_f20_redis_freezes_and_thaws(servers, outside, build, start) -> None:
    """SIGSTOP: connections stand and nobody answers. After 1.5 s all that was asked meanwhile is done at once."""
    run = start(build(**STEADY))
    eventually(lambda: run.done >= 30)
    pid = outside.redis.info("server")["process_id"]
    freeze(pid)
    try:
        time.sleep(1.5)  # the fault's length
    finally:
        thaw(pid)
    sound(run.record())


def test_f20_f18_redis_is_killed_and_away_while_tasks_come(own_servers, build, start, monkeypatch) -> None:
    """PostgreSQL goes on accepting; nobody claims; what came meanwhile is in no queue and is put back by the sweep."""
    with open_servers() as mine:
        monkeypatch.setenv("REDIS_URL", mine.redis_url)
        monkeypatch.setenv("DB_DSN", mine.dsn)
        run = start(build(**STEADY))
        eventually(lambda: run.done >= 30)
        mine.restart_redis(down_s=1.0)
        record = run.record()
    sound(record)
    assert len(noted(record, "requeued")) > 0
    submitted = because(record, Event.SUBMITTED)
    assert submitted["at_s"].diff().max() < 1.0  # accepted all the while, though nobody could be told


def test_f21_replies_of_redis_are_lost(between, build, start) -> None:
    """A command was carried out and its reply never came, again and again: a take that is repeated blindly would take
    twice, and forget the first."""
    run = start(build(workload__arrivals__count=300))
    for done in range(20, 280, 20):
        eventually(lambda done=done: run.done >= done)
        between.redis.lose_reply(2)
    record = run.record()
    sound(record)
    assert between.redis.struck >= 13
    assert counts(record, "attempts") == (300 + counts(record, "reclaimed")[0],)


def test_f21_replies_of_redis_break_off_in_the_middle(between, build, start) -> None:
    run = start(build(workload__arrivals__count=300))
    for done in range(20, 280, 20):
        eventually(lambda done=done: run.done >= done)
        between.redis.halve(2)
    sound(run.record())
    assert between.redis.struck >= 13


def test_f21_messages_are_late_and_connections_reset(between, build, start) -> None:
    """15 ms each way to both servers, and everything is reset four times."""
    between.redis.delay_s = between.postgres.delay_s = 0.015
    run = start(build(workload__arrivals__count=160))
    for done in (20, 60, 90, 120):
        eventually(lambda done=done: run.done >= done)
        between.redis.reset()
        between.postgres.reset()
    sound(run.record())


def test_f22_redis_is_out_of_memory(servers, outside, build, start) -> None:
    """It refuses every write for a second (noeviction), loudly, and forgets nothing."""
    assert outside.redis.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    run = start(build(**STEADY))
    eventually(lambda: run.done >= 30)
    outside.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.OutOfMemoryError):
            outside.redis.set("anything", "more")
        time.sleep(1.0)  # the fault's length
    finally:
        outside.redis.config_set("maxmemory", "0")
    sound(run.record())


def test_f23_redis_forgets_its_scripts(servers, outside, build, start) -> None:
    run = start(build(workload__arrivals__count=240))
    for done in range(20, 220, 40):
        eventually(lambda done=done: run.done >= done)
        outside.redis.script_flush()
    sound(run.record())


def test_f24_a_failover_to_a_redis_that_lacks_the_last_writes(between, shared_servers, outside, build, start) -> None:
    """The new one knows what the old one knew 60 tasks ago: queues of tasks that have long been done, and nothing of
    what came since."""
    run = start(build(**STEADY))
    with open_servers({"DB_DSN": shared_servers.dsn}) as other:
        replica = redis.Redis.from_url(other.redis_url)
        eventually(lambda: run.done >= 20)
        source = redis.Redis.from_url(shared_servers.redis_url)
        for key in source.scan_iter():
            if (content := source.dump(key)) is not None:
                replica.restore(key, 0, content)
        eventually(lambda: run.done >= 80)
        between.redis.target = redis_target(other.redis_url)
        between.redis.reset()
        record = run.record()
    sound(record)
    assert counts(record, "stale_writes") == (0,)


def test_f31_wake_up_calls_are_lost(servers, outside, build, start) -> None:
    """Whoever waits to be woken loses the connection on which it waits, ten times a second: at worst a task waits until
    its worker looks by itself."""
    run = start(build(workload__arrivals={"kind": "constant", "rate_per_s": 20, "duration_s": 3}))
    eventually(lambda: run.done >= 5)
    killed = 0
    while run.done < 55:
        killed += outside.kill_listeners()
        time.sleep(0.1)  # how often it strikes
    record = run.record()
    sound(record)
    assert killed > 0
    assert counts(record, "attempts") == (60,)
