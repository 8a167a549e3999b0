"""What the routes work with: put together by `app`, found by the routes on `request.app.state`."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

from lab.errors import Unavailable
from lab.scenario import Scenario
from live_backend.api.metrics import Metrics
from live_backend.api.settings import Settings
from live_backend.broker import Broker
from live_backend.feed import Feed
from live_backend.gauge import Gauge
from live_backend.intake import Intake
from live_backend.operating import Operating
from live_backend.reading import Reading


@dataclass
class Services:
    """One API process."""

    settings: Settings
    reading: Reading
    operating: Operating
    broker: Broker
    gauge: Gauge
    feed: Feed
    intake: Intake
    metrics: Metrics

    @property
    def scenario(self) -> Scenario:
        """The published mesh. Raises Unavailable if there is none yet."""
        if self.gauge.scenario is None:
            raise Unavailable("No mesh is published here yet, or PostgreSQL is away. `meshlab up` publishes one.")
        return self.gauge.scenario


def services(scope: Scope) -> Services:
    """Those of the application that a request came to."""
    found = scope["app"].state.services
    assert isinstance(found, Services)
    return found
