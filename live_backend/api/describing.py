"""How the API describes itself: what OpenAPI says of each route, with the roles of the mesh that it serves."""

from __future__ import annotations

import copy
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

from lab.scenario import Scenario
from live_backend.api.body import BIGINT_MAX, BIGINT_MIN
from live_backend.api.problems import MEDIA_TYPE
from live_backend.api.schemas import BatchRequest, LetterChoice, ProblemDocument, TaskRequest

REFERENCE: Final = "#/components/schemas/{model}"
REQUESTS: Final = (TaskRequest, BatchRequest, LetterChoice, ProblemDocument)
MEANINGS: Final = {
    200: "Known already: the same key with the same task.",
    400: "The body is not JSON that is accepted here.",
    404: "No such task.",
    408: "The body did not arrive in time.",
    409: "Not possible in the task's state, or the key belongs to another task.",
    413: "The body is too large.",
    415: "The content type is not JSON.",
    422: "The request is not what the schema allows.",
    429: "Admission is closed: keep the task, and send it again after Retry-After seconds.",
    503: "PostgreSQL is away, or too many streams are open: send it again after Retry-After seconds.",
}
NO_NUL: Final = {"type": "string", "pattern": "^[^\\u0000]*$"}
JSON_VALUE: Final = {
    "description": "Any JSON without NUL characters, of integers no larger than 64 bits, at most 64 levels deep.",
    "anyOf": [
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer", "minimum": BIGINT_MIN, "maximum": BIGINT_MAX},
        {"type": "number"},
        NO_NUL,
        {"type": "array", "items": {"$ref": "#/components/schemas/Json"}},
        {
            "type": "object",
            "propertyNames": NO_NUL,
            "additionalProperties": {"$ref": "#/components/schemas/Json"},
        },
    ],
}


class DirectRoute(APIRoute):
    """A route that FastAPI describes and does not run: `application` is plain ASGI."""

    def __init__(self, path: str, application: ASGIApp, **options: Any) -> None:
        super().__init__(path, _described_as(application), **options)
        self.app = application


def _described_as(application: Any) -> Any:
    """What FastAPI may look at: a function with the same name and text, and without parameters."""

    def description() -> None:
        raise NotImplementedError

    description.__name__, description.__doc__ = application.__name__, application.__doc__
    return description


def described(*statuses: int, known: type[BaseModel] | None = None) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these answers: problems, but for a 200 with a model of its own."""
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="ProblemDocument")}}}}
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"description": MEANINGS[status]}
        if status == 200 and known is not None:
            found[status]["model"] = known
        else:
            found[status].update(problem)
        if status in (429, 503):
            found[status]["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return found


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says of a body that FastAPI does not read itself."""
    schema = {"$ref": REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI, scenario: Scenario | None, *, with_token: bool) -> dict[str, Any]:
    """The OpenAPI document."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema([(model, "validation") for model in REQUESTS], ref_template=REFERENCE)
    schemas.update(copy.deepcopy(definitions["$defs"]))
    schemas["Json"] = JSON_VALUE
    payload = schemas["TaskRequest"]["properties"]["payload"]
    schemas["TaskRequest"]["properties"]["payload"] = {
        "description": payload["description"],
        "allOf": [{"$ref": "#/components/schemas/Json"}],
    }
    if scenario is not None:
        schemas["TaskRequest"]["properties"]["role"]["enum"] = sorted(scenario.workload.roles)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"]["/healthz"]["get"]["security"] = []
    return document
