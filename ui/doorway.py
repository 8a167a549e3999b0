"""Who may come in to the app at all: before Streamlit's own paths and ours, for pages, uploads, streams and sockets.

Streamlit lets any Host in, so that a page whose name was rebound to 127.0.0.1 would be the app's own page, and any
page of any port of this machine. Here the Host must name this machine while we listen on it only, a page's Origin must
be the app's own, and nobody may put the app into a frame, where a press of a button could be another's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from ui.mesh.door import is_loopback, refusal

GUARD: Final = {
    "Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'self'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY_VIOLATED: Final = 1008
"""RFC 6455: the close code for a socket that policy refuses."""


class Doorway:
    """Wraps the whole app. `loopback_only` says whether only this machine may reach it, `allowed` which other origins
    the operator lets in (`server.corsAllowedOrigins`, for a proxy that changes the Host).
    """

    def __init__(self, app: ASGIApp, loopback_only: Callable[[], bool], allowed: Callable[[], list[str]]) -> None:
        self._app, self._loopback_only, self._allowed = app, loopback_only, allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why_not = refusal(headers, loopback_only=self._loopback_only(), allowed=self._allowed())
        if why_not is not None and scope["type"] == "websocket":
            await receive()  # its request to connect, which must be read before it is refused
            await send({"type": "websocket.close", "code": POLICY_VIOLATED, "reason": why_not.words})
        elif why_not is not None:
            await JSONResponse({"error": why_not.words}, why_not.status, GUARD)(scope, receive, send)
        else:
            await self._app(scope, receive, _guarded(send))


def _guarded(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in GUARD.items():
                headers.setdefault(name, value)
        await send(message)

    return sent


def _listens_on_loopback() -> bool:
    """Whether Streamlit listens on this machine only."""
    return is_loopback(str(config.get_option("server.address") or ""))


def _allowed_origins() -> list[str]:
    return [str(origin) for origin in config.get_option("server.corsAllowedOrigins") or []]


MIDDLEWARE: Final = [Middleware(Doorway, loopback_only=_listens_on_loopback, allowed=_allowed_origins)]
"""For `st.App(…, middleware=MIDDLEWARE)`."""
