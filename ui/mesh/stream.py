"""What a browser window listens to: server-sent events until it, or the app, has gone."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lab.limits import STREAM_SEND_S_MAX
from ui.mesh.hub import Hub, Viewer

RETRY_MS = 500
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Stream(Response):
    """A response that goes on until the reader or the app has gone. A slow reader gets the newest, never a backlog."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": HEADERS})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            with self._hub.watching() as viewer:
                await self._write(viewer, send, gone)
        finally:
            gone.cancel()

    async def _write(self, viewer: Viewer, send: Send, gone: asyncio.Future[None]) -> None:
        body = f"retry: {RETRY_MS}\n\n".encode()
        while not gone.done() and not self._hub.closing.is_set():
            message = {"type": "http.response.body", "body": body + self._hub.take(viewer), "more_body": True}
            try:
                await asyncio.wait_for(send(message), STREAM_SEND_S_MAX)
            except (TimeoutError, OSError):
                return
            body, news = b"", asyncio.ensure_future(_news(viewer))
            await asyncio.wait({gone, news}, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Wait until the reader has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _news(viewer: Viewer) -> None:
    await viewer.news.wait()
