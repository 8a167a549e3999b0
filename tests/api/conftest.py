"""One private Redis and PostgreSQL for the API's tests, a standing mesh on them, and a real API process before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Scenario
from live_backend import database
from live_backend.servers import Servers, open_servers
from tests.api.helpers import Api, Mesh, process

SCENARIO = {
    "name": "api-test",
    "workload": {
        "arrivals": {"kind": "burst", "count": 1},
        "roles": {
            "DEVELOPER": {"service": {"dist": "constant", "mean_s": 0.01}},
            "ARCHITECT": {"priority": 5, "service": {"dist": "constant", "mean_s": 0.01}},
            "QA_ENGINEER": {"priority": {1: 1, 2: 1}, "service": {"dist": "constant", "mean_s": 0.01}},
        },
    },
    "rules": {"health": {"report_s": 600}, "lease": {"length_s": 600}},
}


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Servers]:
    """Real servers, started once."""
    with open_servers({}) as servers:
        yield servers


@pytest.fixture(scope="session")
def mesh(shared_servers: Servers) -> Mesh:
    """A published mesh without workers, in a schema and under a prefix of its own."""
    database.create(shared_servers.dsn, "api")
    mesh = Mesh(shared_servers, "api", "api:")
    mesh.publish(Scenario.from_data(SCENARIO))
    mesh.execute("insert into leadership values ('reaper', 'a test', now() + interval '1 hour', 1)")
    return mesh


@pytest.fixture(scope="session")
def api(mesh: Mesh) -> Iterator[Api]:
    """A real API process."""
    with process(mesh.settings(port=0)) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(mesh: Mesh) -> None:
    """No tasks from the test before."""
    mesh.empty()
