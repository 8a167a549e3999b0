"""Puts the API together: one object for each job, the routes, the errors, the door around all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI

from lab.errors import Unavailable, UsageError
from live_backend.api import dead_letters, describing, events, mesh, problems, submitting, tasks
from live_backend.api.door import Door
from live_backend.api.metrics import Metrics
from live_backend.api.services import Services
from live_backend.api.settings import Settings
from live_backend.broker import Broker, connect
from live_backend.feed import Feed
from live_backend.gauge import Gauge
from live_backend.intake import Intake
from live_backend.loops import supervised
from live_backend.operating import Operating
from live_backend.reading import Reading

DESCRIPTION = (
    "A standing mesh of agents: submit tasks, watch them, and look after those that failed. Every accepted task is "
    "committed to PostgreSQL before the answer; it is completed once, or ends among the dead letters."
)


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Its servers are reached when it is started, and it starts without them too."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _opened(settings, metrics) as opened:
            app.state.services = opened
            yield

    metrics = Metrics()
    app = FastAPI(
        title="Agent Mesh Lab",
        version=_version(),
        summary="The HTTP API of a standing mesh",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    submitting.add_routes(app)
    for each in (tasks, dead_letters, mesh, events):
        app.router.routes.extend(each.router.routes)  # flat: an included router would cost every request a detour
    app.add_middleware(Door, settings=settings, observe=metrics.observe)
    app.openapi = lambda: _described(app, settings)  # type: ignore[method-assign]
    problems.install(app)
    return app


def _described(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """Anew each time: the mesh may have been published again, with other roles."""
    found: Services | None = getattr(app.state, "services", None)
    scenario = found.gauge.scenario if found is not None else None
    return describing.describe(app, scenario, with_token=settings.token is not None)


@asynccontextmanager
async def _opened(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    """Everything that the routes need, running; closed again in the opposite order."""
    async with AsyncExitStack() as stack:
        reading = Reading(settings.dsn, settings.schema)
        stack.push_async_callback(reading.close)
        client = connect(settings.redis_url)
        stack.push_async_callback(client.aclose)
        broker = Broker(client, settings.prefix)
        gauge, feed = Gauge(reading), Feed(settings.dsn, settings.schema)
        intake = Intake(settings.dsn, broker, settings.schema, metrics.committed)
        intake.start()
        stack.push_async_callback(intake.close)
        with suppress(Unavailable, UsageError):  # it looks again every GAUGE_S, and says in the log what is wrong
            await gauge.review()
        looking = supervised(gauge.run(), "gauge")
        stack.callback(looking.cancel)
        stack.callback(feed.close)
        operating = Operating(reading, broker)
        yield Services(settings, reading, operating, broker, gauge, feed, intake, metrics)


def _version() -> str:
    try:
        return version("agent-mesh-lab")
    except PackageNotFoundError:  # run from a checkout
        return "0"
