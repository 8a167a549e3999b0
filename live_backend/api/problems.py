"""What goes back to a client: JSON, and for errors RFC 9457 problem documents that say what happened, to what, and what
to do next.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from lab.errors import Unavailable, UsageError
from lab.limits import API_AWAY_RETRY_S, FOUND_CHARS_MAX

MEDIA_TYPE = "application/problem+json"


class Finding(NamedTuple):
    """One thing wrong with a request: where (`tasks[3].priority`), what stood there, what may stand there."""

    path: str
    found: str
    allowed: str


class Problem(Exception):
    """A request that is not answered as asked: a 4xx or 5xx."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        findings: Sequence[Finding] = (),
        instance: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.findings, self.instance = status, detail, findings, instance
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(math.ceil(retry_after_s))

    def response(self) -> Response:
        """The document."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.instance is not None:
            document["instance"] = self.instance
        if self.findings:
            document["errors"] = [finding._asdict() for finding in self.findings]
        return answer(document, self.status, self.headers, MEDIA_TYPE)


def answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None, media_type: str = "application/json"
) -> Response:
    """A JSON response. Escaped to ASCII, so that whatever a worker's result holds can be sent."""
    return Response(json.dumps(content, separators=(",", ":")), status, headers, media_type)


def shown(value: Any) -> str:
    """A value from a request, short enough to be quoted back."""
    text = json.dumps(value, default=str)
    return text if len(text) <= FOUND_CHARS_MAX else text[: FOUND_CHARS_MAX - 1] + "…"


def from_pydantic(errors: Sequence[Any], prefix: str = "") -> list[Finding]:
    """pydantic's errors as findings."""
    return [_finding(error, prefix) for error in errors]


def _finding(error: Any, prefix: str) -> Finding:
    kind, location = error["type"], _joined(prefix, error["loc"])
    if kind == "missing":
        return Finding(location, "nothing", "required")
    if kind == "extra_forbidden":
        return Finding(location, shown(error["input"]), "no such field")
    return Finding(location, shown(error["input"]), error["msg"])


def _joined(prefix: str, parts: Sequence[str | int]) -> str:
    path = prefix
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def away(what: str = "PostgreSQL", error: BaseException | None = None) -> Problem:
    """A server that the request needs does not answer."""
    detail = str(error) if isinstance(error, Unavailable) else f"{what} does not answer. Repeat the request later."
    return Problem(503, detail, retry_after_s=API_AWAY_RETRY_S)


def install(app: FastAPI) -> None:
    """Answer every error with a problem document; what nobody expected, the door answers."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(Unavailable, _on_unavailable)
    app.add_exception_handler(UsageError, _on_usage)


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return Problem(404, f"There is nothing at {shown(path)}. /docs lists all routes.").response()
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        detail = f"{request.method} is not possible on {shown(path)}; possible: {allowed}."
        return Problem(405, detail, headers={"Allow": allowed}).response()
    return Problem(error.status_code, str(error.detail), headers=error.headers).response()


def _methods(request: Request) -> set[str]:
    """All methods that a path answers to; the router names only those of the first route that fits."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(dict(request.scope))[0] is not Match.NONE:
            found |= route.methods
    return found


async def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [{**each, "loc": each["loc"][1:] or each["loc"]} for each in error.errors()]
    return invalid(from_pydantic(errors)).response()


def invalid(findings: Sequence[Finding]) -> Problem:
    """A request that is JSON but not what the schema allows."""
    first = findings[0]
    more = f" ({len(findings) - 1} more in `errors`)" if len(findings) > 1 else ""
    detail = f"{first.path}: found {first.found}, allowed: {first.allowed}{more}. Correct it and send it again."
    return Problem(422, detail, findings=findings)


async def _on_unavailable(_: Request, error: Exception) -> Response:
    return away(error=error).response()


async def _on_usage(_: Request, error: Exception) -> Response:
    return Problem(422, str(error)).response()
