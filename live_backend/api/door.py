"""What every request passes first: whose it is, whether it may come in, and what every answer carries.

A plain ASGI application around the others. On loopback the Host header must name this machine, so that a web page whose
name was rebound to 127.0.0.1 gets nothing; a foreign Origin is refused everywhere. A token, where one is set, is asked
for on every path but /healthz.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from live_backend.api.problems import Problem, shown
from live_backend.api.settings import Settings, is_loopback

OPEN_PATH: Final = "/healthz"
JSON: Final = b"application/json"
SECURITY_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)

DEFECT: Final = Problem(500, "The API has a defect; its log says more. Repeating the request may work.")
log = logging.getLogger("meshlab.api")

Observe = Callable[[Scope, int, float], None]
"""Called with the scope, the status and the duration (s) of every answered request."""


class Door:
    """Guards `app`; `observe` counts."""

    def __init__(self, app: ASGIApp, settings: Settings, observe: Observe) -> None:
        self._app, self._observe = app, observe
        self._digest = sha256(settings.token.encode()).digest() if settings.token else None
        self._loopback_only = settings.is_loopback
        self._origins = frozenset(origin.lower().encode() for origin in settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                _add_headers(message)
            await send(message)

        if problem := self._refusal(scope):
            await problem.response()(scope, receive, answered)
        else:
            try:
                await self._app(scope, receive, answered)
            except Exception as error:  # whatever it is, the client gets a problem and the log the rest
                log.error("%s %s failed", scope.get("method", "WS"), scope["path"], exc_info=error)
                if status == 0 and scope["type"] == "http":
                    await DEFECT.response()(scope, receive, answered)
        self._observe(scope, status, time.perf_counter() - started_s)

    def _refusal(self, scope: Scope) -> Problem | None:
        """Why the request may not come in."""
        host = origin = authorization = content_type = None
        hosts, has_body = 0, False
        for name, value in scope["headers"]:
            if name == b"host":
                host, hosts = value, hosts + 1
            elif name == b"origin":
                origin = value
            elif name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                has_body = has_body or value != b"0"
            elif name == b"transfer-encoding":
                has_body = True
        if hosts > 1 or (self._loopback_only and not _is_this_machine(host)):
            return _wrong_host(host)
        if origin is not None and not self._is_own(origin, host):
            return Problem(403, f"Pages from {shown(origin.decode('latin-1'))} may not call this API.")
        if self._digest is not None and scope["path"] != OPEN_PATH and not self._is_known(authorization):
            return _no_token(authorization)
        if has_body and scope.get("method") == "POST" and not _is_json(content_type):
            return _wrong_type(content_type)
        return None

    def _is_own(self, origin: bytes, host: bytes | None) -> bool:
        """Whether a browser's page is ours, or one that we were told to let in."""
        scheme, _, authority = origin.lower().partition(b"://")
        ours = host is not None and authority == host.lower() and scheme in (b"http", b"https")
        return ours or origin.lower() in self._origins

    def _is_known(self, authorization: bytes | None) -> bool:
        scheme, _, token = (authorization or b"").partition(b" ")
        assert self._digest is not None
        given = sha256(token.strip()).digest()  # digests: the comparison tells nothing of the length either
        return hmac.compare_digest(given, self._digest) and scheme.lower() == b"bearer"


def _add_headers(message: Message) -> None:
    headers = message.setdefault("headers", [])
    present = {name for name, _ in headers}
    headers.extend(pair for pair in SECURITY_HEADERS if pair[0] not in present)


def _is_this_machine(host: bytes | None) -> bool:
    if host is None:
        return False
    try:
        name = urlsplit(b"//" + host).hostname
        return name is not None and is_loopback(name.decode("ascii"))
    except ValueError:
        return False


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == JSON


def _wrong_host(host: bytes | None) -> Problem:
    named = shown(host.decode("latin-1")) if host is not None else "nothing"
    return Problem(421, f"The Host header names {named}, not this machine. Call the API as http://127.0.0.1:<port>.")


def _no_token(authorization: bytes | None) -> Problem:
    what = "The token is not the one of this API" if authorization else "This API asks for a token"
    detail = f"{what}. Send `Authorization: Bearer <token>`; `meshlab up` said where the token is kept."
    return Problem(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _wrong_type(content_type: bytes | None) -> Problem:
    found = shown(content_type.decode("latin-1")) if content_type is not None else "none"
    return Problem(415, f"The content type is {found}; only application/json is read.")


def header(scope: Scope, name: bytes) -> list[str]:
    """All values of a header."""
    found: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for each, value in found if each == name]
