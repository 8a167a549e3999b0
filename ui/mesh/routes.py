"""The app's own HTTP routes: the stream of frames, commands, the session as a file, and what the browser loads.

GET  /lab/mesh/stream          frames as server-sent events
GET  /lab/mesh/state           the same once, as JSON
POST /lab/mesh/command         what somebody does at the controls
GET  /lab/mesh/scenario.yaml   the session as a scenario file
GET  /lab/assets/…             ui/assets
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lab.errors import LabError, UsageError
from lab.limits import COMMAND_BYTES_MAX
from ui.mesh import assets, commands
from ui.mesh.door import NO_STORE, SAFE, Refusal, cross_site, read_json, refused
from ui.mesh.hub import Hub, Refused
from ui.mesh.stream import Stream

Answer = Callable[[Request], Awaitable[Response]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def routes(hub: Hub) -> list[BaseRoute]:
    """The routes of an app whose mesh is `hub`. Whoever comes this far has come through `ui/doorway.py`."""

    def guarded(answer: Answer) -> Answer:
        async def checked(request: Request) -> Response:
            why_not = cross_site(request)
            return refused(why_not) if why_not is not None else await answer(request)

        return checked

    ways = Ways(hub)
    return [
        Route("/lab/mesh/stream", guarded(ways.stream), methods=["GET"]),
        Route("/lab/mesh/state", guarded(ways.state), methods=["GET"]),
        Route("/lab/mesh/command", guarded(ways.command), methods=["POST"]),
        Route("/lab/mesh/scenario.yaml", guarded(ways.scenario), methods=["GET"]),
        Route("/lab/assets/{name:path}", guarded(ways.asset), methods=["GET"]),
    ]


class Ways:
    """What each route does."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def stream(self, request: Request) -> Response:
        """Frames until somebody leaves."""
        if self._hub.is_full:
            return refused(Refusal(503, "Too many windows are watching. Close one, and reload this page."))
        return Stream(self._hub)

    async def state(self, request: Request) -> Response:
        """Everything, once."""
        return JSONResponse(self._hub.state(), headers=NO_STORE)

    async def command(self, request: Request) -> Response:
        """Somebody did something."""
        data = await read_json(request, COMMAND_BYTES_MAX)
        if isinstance(data, Refusal):
            return refused(data)
        try:
            session = await self._hub.command(commands.parse(data))
        except Refused as error:
            return refused(Refusal(409, str(error)))
        except UsageError as error:
            return refused(Refusal(422, str(error)))
        except LabError as error:
            return refused(Refusal(503, str(error)))
        return JSONResponse({"ok": True, "session": session}, headers=NO_STORE)

    async def scenario(self, request: Request) -> Response:
        """The session as a file."""
        script = self._hub.script
        if script is None:
            return refused(Refusal(404, "There is no session yet. Begin one on the page Mesh."))
        named = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in script.base.name)
        headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{named}-session.yaml"'}
        return Response(script.yaml, media_type="application/yaml", headers=headers)

    async def asset(self, request: Request) -> Response:
        """A file of ui/assets, asked for anew each time and sent only when it has changed."""
        found = await asyncio.to_thread(assets.find, request.path_params["name"])
        if found is None:
            return refused(Refusal(404, "There is no such file."))
        headers = {**SAFE, "Cache-Control": "no-cache", "ETag": found.etag}
        if found.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(found.content, media_type=found.media_type, headers=headers)


# ---- the app's life --------------------------------------------------------------------------------------------------


def lifespan(hub: Hub) -> Lifespan:
    """What the server does at its start and end: the hub ends with it, and its streams end at the first Ctrl-C."""

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with _before_the_server(lambda: loop.call_soon_threadsafe(hub.leave)):
            try:
                yield
            finally:
                await hub.close()

    return life


@contextmanager
def _before_the_server(leave: Callable[[], object]) -> Iterator[None]:
    """Hear SIGINT and SIGTERM first, and pass them on: the server waits for open streams, which must end by then."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def chained(next_: Any) -> Callable[[int, FrameType | None], None]:
        def heard(number: int, frame: FrameType | None) -> None:
            leave()
            if callable(next_):
                next_(number, frame)

        return heard

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        signal.signal(number, chained(handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


HUB = Hub()
"""The app's mesh. Other pages may ask it for `place()`."""
ROUTES = routes(HUB)
LIFESPAN = lifespan(HUB)
