"""A user's own agents behind the queues of a standing mesh, from submission over HTTP to the stored result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from lab.rules.tasks import State
from lab.scenario import Scenario
from live_backend import definition
from live_backend.client import Client, Task
from live_backend.servers import Servers, open_servers
from live_backend.standing import Addresses, Listen, Standing, free_port

pytestmark = pytest.mark.live

MESH = """
name: agents
workload:
  arrivals: {kind: burst, count: 1}
  roles:
    SPEAKER: {service: {dist: constant, mean_s: 0.01}, handler: {python: "tests.live.agents:upper"}}
    FRAGILE:
      service: {dist: constant, mean_s: 0.01}
      handler: {python: "tests.live.agents:dies_first", isolation: process}
    STUCK: {service: {dist: constant, mean_s: 0.01}, handler: {python: "tests.live.agents:hangs", timeout_s: 0.1}}
mesh: {workers: 1, slots: 4}
rules: {retry: {base_s: 0.05, max_retries: 1}}
"""


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Servers with nothing but this mesh on them."""
    with open_servers({}) as servers:
        yield servers


def test_agents_answer_fail_and_are_replaced(servers: Servers) -> None:
    definition.prepare(servers.dsn)
    scenario, told = Scenario.parse(MESH), list[str]()
    definition.publish(servers.dsn, scenario)
    asks = [("SPEAKER", "hello"), ("SPEAKER", "again"), ("SPEAKER", "no"), ("FRAGILE", None), ("STUCK", None)]

    def ask(listen: Listen) -> list[Task]:
        with Client(listen.url) as client:
            receipts = [client.submit(role, payload) for role, payload in asks]
            return [client.wait(receipt.id, 60.0) for receipt in receipts]

    async def story() -> list[Task]:
        listen = Listen("127.0.0.1", free_port("127.0.0.1", 0))
        addresses = Addresses(servers.dsn, servers.redis_url)
        async with Standing(addresses, scenario, told.append, workers=1, listen=listen) as mesh:
            await mesh.ready()
            return await asyncio.to_thread(ask, listen)

    hello, again, no, fragile, stuck = asyncio.run(story())
    assert told == []  # no process of the mesh itself died
    assert (hello.state, hello.attempt, hello.result) == (State.COMPLETED, 1, {"said": "HELLO", "attempt": 1})
    assert (again.state, again.attempt, again.result) == (State.COMPLETED, 2, {"said": "AGAIN", "attempt": 2})
    assert again.error == "RuntimeError: the model was overloaded"
    assert (no.state, no.attempt, no.result) == (State.PERMANENT_FAILURE, 1, None)
    assert no.error == "nothing to be done" and no.dead_letter is not None
    assert (fragile.state, fragile.attempt, fragile.result) == (State.COMPLETED, 2, 2)
    assert "exit status 9" in (fragile.error or "") or "exit" in (fragile.error or ""), fragile.error
    assert (stuck.state, stuck.attempt) == (State.PERMANENT_FAILURE, 2)
    assert stuck.error == "timed out after 0.1 s"
