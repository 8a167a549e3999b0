"""What the editor asks for while somebody types: what is wrong with this text, and what the schema knows.

POST /lab/scenario/check    {"text": …, "folder": ""}  →  {"ok", "problems": [{line, column, path, message}], "load"}
GET  /lab/scenario/outline  →  the shapes of `ui.studio_schema`
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lab.limits import STUDIO_BODY_BYTES_MAX, STUDIO_CHECKS_MAX
from ui import library, studio_check, studio_schema
from ui.mesh.door import NO_STORE, Refusal, cross_site, read_json, refused

WANTED = 'The body must be {"text": the scenario, "folder": where its paths start}.'
Endpoint = Callable[[Request], Awaitable[Response]]
_room = functools.cache(lambda: anyio.CapacityLimiter(STUDIO_CHECKS_MAX))


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Only for the app's own pages."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        why_not = cross_site(request)
        return refused(why_not) if why_not is not None else await endpoint(request)

    return guarded


@_guarded
async def check(request: Request) -> Response:
    """Everything that is wrong with a scenario's text, and its load in words if nothing is."""
    body = await read_json(request, STUDIO_BODY_BYTES_MAX)
    if isinstance(body, Refusal):
        return refused(body)
    if not isinstance(body, dict) or not body.keys() <= {"text", "folder"}:
        return refused(Refusal(400, WANTED))
    text, folder = body.get("text"), body.get("folder", "")
    if not isinstance(text, str) or not isinstance(folder, str):
        return refused(Refusal(400, WANTED))
    if folder not in library.FOLDERS:
        known = ", ".join(filter(None, library.FOLDERS))
        return refused(Refusal(400, f"There is no folder {folder[:40]!r}; known: {known}."))
    # Reading 256 KiB of YAML takes seconds; the server's loop has streams to serve meanwhile.
    checked = await anyio.to_thread.run_sync(studio_check.check, text, library.base(folder), limiter=_room())
    # Half a surrogate pair, which UTF-8 cannot say, is escaped.
    return Response(json.dumps(_told(checked)), headers=NO_STORE, media_type="application/json")


@_guarded
async def outline(request: Request) -> Response:
    """The schema for completion and help."""
    return Response(_outline(), headers=NO_STORE, media_type="application/json")


@functools.cache
def _outline() -> str:
    return json.dumps(studio_schema.outline())


def _told(checked: studio_check.Checked) -> dict[str, Any]:
    problems = [
        {"line": one.line, "column": one.column, "path": one.path, "message": one.message} for one in checked.problems
    ]
    return {"ok": checked.scenario is not None, "problems": problems, "load": checked.load}


ROUTES = [
    Route("/lab/scenario/check", check, methods=["POST"]),
    Route("/lab/scenario/outline", outline, methods=["GET"]),
]
