"""Links between some workers and some servers: cut, silent, healed in any order, while the other links work.

Two `meshlab worker` hosts, each with a Redis and a PostgreSQL proxy of its own; the engine reaches both directly.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.rules.tasks import Event
from live_backend.servers import Servers
from tests.faults.live.striking import Between, because, counts, noted, sound
from tests.live.helpers import eventually, worker_processes
from tests.live.proxy import Proxy, dsn_through, postgres_target, redis_target, redis_url_through

pytestmark = pytest.mark.live
ROOT = Path(__file__).parents[3]


class Host:
    """A `meshlab worker` that reaches the servers by links of its own."""

    def __init__(self, servers: Servers) -> None:
        self.links = Between(Proxy(redis_target(servers.redis_url)), Proxy(postgres_target(servers.dsn)))
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        environ = {
            **os.environ,
            "REDIS_URL": redis_url_through(self.links.redis),
            "DB_DSN": dsn_through(self.links.postgres, servers.dsn),
        }
        words = [sys.executable, "-m", "cli", "worker"]
        self._process = subprocess.Popen(words, cwd=ROOT, stderr=self._err, env=environ)
        self.pid = self._process.pid

    def ready(self) -> bool:
        """Whether it waits for work."""
        return b"waits for invitations" in os.pread(self._err.fileno(), 1_000_000, 0)

    def mine(self, record: Any) -> set[str]:
        """The workers of a record that ran here."""
        started = noted(record, "worker_started")
        return set(started.loc[started["detail"].astype(str).str.endswith(f":{self.pid}"), "worker"].astype(str))

    def end(self) -> None:
        """Gone, by its id; its children go with it."""
        self._process.kill()
        self._process.wait(10)
        self._err.close()
        for link in self.links:
            link.close()


@pytest.fixture
def hosts(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Host]]:
    """Two of them; runs of this test take their workers from there."""
    monkeypatch.setenv("MESHLAB_WORKERS", "remote")
    made = [Host(servers) for _ in range(2)]
    try:
        for one in made:
            eventually(one.ready)
        yield made
    finally:
        for one in made:
            one.end()
        eventually(lambda: not worker_processes())


STEADY = {"workload__arrivals": {"kind": "constant", "rate_per_s": 40, "duration_s": 4}}


def test_f37_one_host_cannot_reach_postgres(hosts, build, start) -> None:
    """Cut for 1.5 s, longer than the lease: what ran there is done by the other host, and no more is claimed there."""
    run = start(build(**STEADY, workload__roles__A__service__mean_s=0.15))
    eventually(lambda: run.done >= 30)
    hosts[0].links.postgres.cut()
    cut_at = run.done
    time.sleep(1.5)  # the fault's length
    assert run.done > cut_at  # the other host went on
    hosts[0].links.postgres.heal()
    record = run.record()
    sound(record)
    claims = because(record, Event.CLAIMED)
    assert all(set(claims["worker"]) & host.mine(record) for host in hosts)


def test_f37_one_host_cannot_reach_redis(hosts, build, start) -> None:
    """It settles what it runs, and takes nothing until the link is back."""
    run = start(build(**STEADY))
    eventually(lambda: run.done >= 30)
    hosts[0].links.redis.cut()
    time.sleep(1.2)  # the fault's length; a host that is silent for longer than 1.5 s counts as gone
    hosts[0].links.redis.heal()
    sound(run.record())


def test_f37_f36_verdicts_arrive_after_their_leases_and_are_refused(hosts, outside, build, start) -> None:
    """The link to PostgreSQL falls silent, with all four slots at work there, for as long as it takes the other host to
    do their tasks. Then what was on its way arrives, out of order: late verdicts and renewals, all refused."""
    run = start(build(workload__arrivals__count=60, workload__roles__A__service__mean_s=0.3))
    eventually(lambda: outside.running() == 8)
    hosts[0].links.postgres.pause()
    lapsed = f"select count(*) from {outside.schema()}.transition where reason = 'lease lapsed'"
    eventually(lambda: outside.rows(lapsed)[0][0] >= 4)
    hosts[0].links.postgres.heal()
    record = run.record()
    sound(record)
    reclaimed, stale = counts(record, "reclaimed", "stale_writes")
    assert reclaimed >= 4
    assert stale >= 1


def test_f53_links_are_cut_one_by_one_and_healed_in_another_order(hosts, build, start) -> None:
    """Swizzle: until every link of every worker is down, and back in random order. Nothing is lost, and it drains."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    links = [link for host in hosts for link in host.links]
    run = start(build(workload__arrivals={"kind": "constant", "rate_per_s": 40, "duration_s": 3}))
    eventually(lambda: run.done >= 20)
    for how in (Proxy.cut, Proxy.heal):
        for link in chance.sample(links, len(links)):
            how(link)
            time.sleep(chance.uniform(0.05, 0.25))  # the order matters, and not by how much
    sound(run.record())
