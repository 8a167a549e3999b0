"""The API is what its OpenAPI document says: every route is in it, and schemathesis finds no request that is answered
otherwise. `MESHLAB_SCHEMATHESIS_EXAMPLES=500 pytest tests/api/test_openapi.py` looks longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from jsonschema import Draft202012Validator

from live_backend.api.app import create_app
from tests.api.helpers import Api, Mesh

pytestmark = pytest.mark.live

EXAMPLES_IN_CI = 5
EXAMPLES = int(os.environ.get("MESHLAB_SCHEMATHESIS_EXAMPLES", EXAMPLES_IN_CI))


@pytest.fixture(scope="session")
def document(api: Api) -> dict[str, Any]:
    """The OpenAPI document of a running API."""
    found: dict[str, Any] = api.http.get("/openapi.json").json()
    return found


def test_every_answer_is_what_the_document_says(api: Api, mesh: Mesh, tmp_path: Path) -> None:
    """Streams do not end, so that every case of theirs takes a second: they are left to longer looks."""
    mesh.add(1, "COMPLETED")
    longer = EXAMPLES > EXAMPLES_IN_CI
    arguments = ["--max-examples", str(EXAMPLES), "--request-timeout", "1" if longer else "20", "--no-color"]
    phases = ["--phases", "examples,coverage,fuzzing,stateful" if longer else "examples,coverage,fuzzing"]
    paths = [] if longer else ["--exclude-path", "/v1/events"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json", *arguments, *phases, *paths]
    found = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "5xx" not in found.stdout


def test_every_route_is_described(mesh: Mesh, document: dict[str, Any]) -> None:
    routes = create_app(mesh.settings()).routes
    routed = {
        (route.path_format, method)
        for route in routes
        if isinstance(route, APIRoute) and route.include_in_schema
        for method in route.methods
    }
    in_document = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert routed == in_document
    undescribed = {
        route.path
        for route in routes
        if not (isinstance(route, APIRoute) and route.include_in_schema)  # type: ignore[attr-defined]
    }
    assert undescribed == {"/docs", "/openapi.json", "/v1/ws"}
    assert [route.path for route in routes if isinstance(route, APIWebSocketRoute)] == ["/v1/ws"]


def test_requests_are_closed_and_have_examples_that_hold(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("TaskRequest", "BatchRequest", "LetterChoice"):
        assert schemas[name]["additionalProperties"] is False
        validator = Draft202012Validator({**schemas[name], "components": document["components"]})
        assert schemas[name]["examples"]
        for example in schemas[name]["examples"]:
            validator.validate(example)


def test_the_document_knows_the_roles_of_the_mesh(document: dict[str, Any]) -> None:
    role = document["components"]["schemas"]["TaskRequest"]["properties"]["role"]
    assert role["enum"] == ["ARCHITECT", "DEVELOPER", "QA_ENGINEER"]


def test_a_token_is_described_where_one_is_asked_for(mesh: Mesh) -> None:
    document = create_app(mesh.settings(token="t")).openapi()
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in create_app(mesh.settings()).openapi()
