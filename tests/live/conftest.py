"""One private Redis and PostgreSQL for all live tests of a session, and runs on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from lab import Scenario
from live_backend.servers import Servers, open_servers
from tests.live.helpers import Running


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[Servers]:
    """Real servers, started once."""
    with open_servers({}) as servers:
        yield servers


@pytest.fixture
def servers(shared_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """The shared servers, as a run finds servers that somebody else runs."""
    monkeypatch.setenv("REDIS_URL", shared_servers.redis_url)
    monkeypatch.setenv("DB_DSN", shared_servers.dsn)
    monkeypatch.delenv("REDIS_ADDR", raising=False)
    return shared_servers


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No servers but those that the run starts for itself."""
    for name in ("REDIS_URL", "REDIS_ADDR", "DB_DSN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def build() -> Callable[..., Scenario]:
    """A scenario of short tasks, with whatever is laid over it by dotted path."""

    def scenario(**values: object) -> Scenario:
        data = {
            "name": "live-test",
            "seed": 5,
            "workload": {
                "arrivals": {"kind": "burst", "count": 60},
                "roles": {"A": {"service": {"dist": "constant", "mean_s": 0.05}}},
            },
            "mesh": {"workers": 2, "slots": 4},
            "rules": {
                "retry": {"base_s": 0.02},
                "lease": {"length_s": 1.0, "sweep_s": 0.2},
                "health": {"report_s": 0.1, "restart_after_s": 0.1},
            },
        }
        return Scenario.from_data(data).override({path.replace("__", "."): value for path, value in values.items()})

    return scenario


@pytest.fixture
def start() -> Iterator[Callable[[Scenario], Running]]:
    """Start a run in a thread; whatever still runs at the end of the test is stopped."""
    runs: list[Running] = []

    def started(scenario: Scenario) -> Running:
        runs.append(Running(scenario))
        return runs[-1]

    yield started
    for run in runs:
        run.stop()
        run.join(30.0)
