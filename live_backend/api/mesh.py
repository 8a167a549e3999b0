"""Routes of the mesh: queues, workers, metrics, health, and the page at /docs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter, Request
from redis.exceptions import RedisError
from starlette.responses import Response

from lab.errors import Unavailable
from lab.limits import HEALTH_S_MAX
from lab.rules import Rulebook, health
from lab.rules.priority import DEAD_LETTERS, QUEUES
from live_backend.api import docs, schemas
from live_backend.api.describing import described
from live_backend.api.metrics import CONTENT_TYPE_LATEST
from live_backend.api.problems import answer
from live_backend.api.services import Services, services
from live_backend.broker import GONE

router = APIRouter(tags=["mesh"])


@router.get("/v1/queues", summary="How much waits", response_model=schemas.Queues, responses=described(503))
async def queues(request: Request) -> Response:
    """The queues in Redis, the states in PostgreSQL, and whether new tasks are taken."""
    at = services(request.scope)
    reason = at.gauge.closed()
    return answer(
        {
            "queues": [{"name": name, "depth": depth} for name, depth in (await _depths(at)).items()],
            "states": await at.reading.states(),
            "admission": {"open": reason is None, "reason": reason},
        }
    )


@router.get("/v1/workers", summary="Who works", response_model=schemas.Workers, responses=described(503))
async def workers(request: Request) -> Response:
    """Worker processes heard of lately, newest first. `alive` false: it has left, or missed three reports."""
    at = services(request.scope)
    rules = at.scenario.rules
    return answer({"workers": [_worker(one, rules) for one in await at.reading.workers()]})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "The text exposition.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Of this process, and of the mesh. What cannot be read is left out, and `meshlab_server_up` says so."""
    at = services(request.scope)
    found = at.metrics
    found.readers.set(at.feed.readers)
    found.missed.set(at.feed.missed)
    found.admission.set(at.gauge.closed() is None)
    try:
        states, notes = await at.reading.states(), await at.reading.notes()
        alive = [one for one in await at.reading.workers() if not one["left"]]
        found.set_mesh(await _depths(at), states, alive, notes)
    except Unavailable:
        found.set_mesh({}, {}, [], {})
    for server, up in (await _checks(at)).items():
        found.up.labels(server).set(up)
    return Response(found.text(), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/healthz",
    summary="Whether the mesh is whole",
    response_model=schemas.Health,
    responses={503: {"model": schemas.Health, "description": "Something is away; `detail` says what it means."}},
)
async def healthz(request: Request) -> Response:
    """PostgreSQL answers and is writable, Redis answers, and some reaper is at work."""
    found = await _checks(services(request.scope))
    bad = [MEANINGS[server] for server, up in found.items() if not up]
    status = "unavailable" if bad else "ok"
    return answer({"status": status, **found, "detail": " ".join(bad) or None}, 503 if bad else 200)


@router.get("/docs", include_in_schema=False)
async def page(request: Request) -> Response:
    """The OpenAPI document as a page that needs nothing from elsewhere."""
    return docs.page(request.app.openapi())


MEANINGS = {
    "postgres": "PostgreSQL does not answer, or is read-only: nothing is accepted until it does.",
    "redis": "Redis does not answer: tasks are accepted and committed, and go on when it is back.",
    "reaper": "No reaper is at work: retries and lapsed leases wait for one.",
}


def _worker(one: dict[str, Any], rules: Rulebook) -> dict[str, Any]:
    silent_s, left = one.pop("silent_s"), one.pop("left")
    silent = health.counts_as_closed(is_open=True, silent_for_s=silent_s, rules=rules.health)
    return {
        **one,
        "score": round(health.score(one["rss_bytes"], rules.health), 4),
        "band": health.band(one["rss_bytes"], rules.health),
        "alive": not left and not silent,
    }


async def _depths(at: Services) -> dict[str, int | None]:
    """By queue; None where Redis does not answer. Dead letters are counted in PostgreSQL, where they really are."""
    try:
        depths: list[int | None] = list((await at.broker.depths())[: len(QUEUES)])
    except (*GONE, RedisError):
        depths = [None] * len(QUEUES)
    return {**dict(zip(QUEUES, depths, strict=True)), DEAD_LETTERS: await at.reading.dead_count()}


async def _checks(at: Services) -> dict[str, bool]:
    postgres, redis, reaper = await asyncio.gather(
        _answers(at.reading.is_writable()), _answers(_pinged(at)), _answers(at.reading.reaper_is_active())
    )
    return {"postgres": postgres, "redis": redis, "reaper": reaper}


async def _pinged(at: Services) -> bool:
    return bool(await at.broker.client.ping())


async def _answers(question: Awaitable[bool]) -> bool:
    """What a server answers; False if it does not."""
    try:
        async with asyncio.timeout(HEALTH_S_MAX):
            return await question
    except (Unavailable, TimeoutError, RedisError, *GONE):
        return False
