"""Who may come in, and with what: the rules that `ui/doorway.py` applies to the whole app and our routes to themselves.

On loopback the Host header must name this machine, so that a web page whose name was rebound to 127.0.0.1 gets
nothing. A page from elsewhere is refused everywhere: its browser would not let it read the answer, but it could press
buttons.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
NO_STORE = {**SAFE, "Cache-Control": "no-store"}
SHOWN_CHARS_MAX = 80
LOOPBACK_NAME = "localhost"


class Refusal(NamedTuple):
    """Why a request may not come in: an HTTP status and words."""

    status: int
    words: str


def refusal(headers: Headers, *, loopback_only: bool, allowed: Collection[str] = ()) -> Refusal | None:
    """Why a request may not come in to the app at all; None if it may. `allowed`: other origins than the app's own."""
    hosts = headers.getlist("host")
    host = hosts[0] if len(hosts) == 1 else ""
    if not host or (loopback_only and not is_loopback(_name(host))):
        return Refusal(421, f"The Host header names {_shown(host)}, not this machine. Open the app as it was started.")
    origin = headers.get("origin")
    if origin is not None and _authority(origin) != host.lower() and origin not in allowed:
        return Refusal(403, f"A page from {_shown(origin)} may not use this app. Open the app itself.")
    return None


def cross_site(request: Request) -> Refusal | None:
    """Why a request may not use a route of ours: another site's page sends it. (A link to a page of the app may stand
    anywhere, so this is not asked of pages.)
    """
    if request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none"):
        return None
    return Refusal(403, "Another site's page may not use this app. Open the app itself.")


async def read_json(request: Request, bytes_max: int) -> Any | Refusal:
    """The body of a POST as plain data, or why it is not read. Not more than `bytes_max` of it is ever held."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "The body must be application/json. Nothing was done.")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > bytes_max:
                return Refusal(413, f"The body has more than {bytes_max:,} bytes. Nothing was done.")
        return json.loads(body)
    except ClientDisconnect:
        return Refusal(400, "The body was cut off. Nothing was done.")
    except (ValueError, RecursionError):
        return Refusal(400, "The body is not JSON. Nothing was done.")


def refused(why: Refusal) -> Response:
    """The answer: `{"error": words}`."""
    return JSONResponse({"error": why.words}, why.status, NO_STORE)


def is_loopback(name: str) -> bool:
    """Whether a name or address means this machine and nothing else."""
    try:
        return name.lower() == LOOPBACK_NAME or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """The name or address in a Host header, without its port; empty if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _authority(origin: str) -> str:
    scheme, _, authority = origin.lower().partition("://")
    return authority if scheme in ("http", "https") else ""


def _shown(found: str) -> str:
    return repr(found[:SHOWN_CHARS_MAX]) if found else "nothing"
