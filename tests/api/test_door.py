"""Who may come in: the token, the Host header, foreign pages, content types; and what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from lab.errors import UsageError
from live_backend.api.settings import Settings, is_loopback
from tests.api.helpers import Api, Mesh, problem, thread

pytestmark = pytest.mark.live

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def locked(mesh: Mesh) -> Iterator[Api]:
    """An API that listens on every address, and so asks for a token."""
    with thread(mesh.settings(host="0.0.0.0", token=TOKEN)) as running:
        yield running


@pytest.fixture(scope="module")
def stranger(locked: Api) -> Iterator[httpx.Client]:
    """Somebody without the token."""
    with httpx.Client(base_url=locked.url) as client:
        yield client


def test_nothing_but_loopback_without_a_token() -> None:
    with pytest.raises(UsageError, match="MESHLAB_TOKEN"):
        Settings("dsn", "redis", host="0.0.0.0")
    with pytest.raises(UsageError, match="MESHLAB_TOKEN"):
        Settings("dsn", "redis", host="0.0.0.0", token="")
    assert "secret" not in repr(Settings("secret", "secret", token="secret"))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "[::1]", "127.1.2.3"])
def test_names_of_this_machine(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize("name", ["0.0.0.0", "example.com", "localhost.example.com", "10.0.0.1", "", "2130706433"])
def test_names_of_other_machines(name: str) -> None:
    assert not is_loopback(name)


PATHS = [
    "/v1/tasks",
    "/v1/tasks/1",
    "/v1/queues",
    "/v1/workers",
    "/v1/events",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_but_health_asks_for_the_token(stranger: httpx.Client, path: str) -> None:
    for headers in [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ]:
        answer = stranger.get(path, headers=headers)
        found = problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text and "wrong" not in found["detail"]
    assert stranger.get(f"{path}?token={TOKEN}").status_code == 401  # never in an address


def test_the_token_opens_and_health_is_open(locked: Api, stranger: httpx.Client) -> None:
    assert locked.http.get("/v1/tasks").status_code == 200
    assert locked.submit()["id"]
    assert stranger.get("/healthz").status_code == 200
    assert stranger.get("/v1/tasks", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_a_request_without_the_token_is_not_even_read(stranger: httpx.Client) -> None:
    answer = stranger.post("/v1/tasks", content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    problem(answer, 401)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8700", "", "169.254.169.254"])
def test_on_loopback_other_names_are_refused(api: Api, host: str) -> None:
    """DNS rebinding: a page of evil.example whose name suddenly means 127.0.0.1."""
    problem(api.http.get("/v1/tasks", headers={"Host": host}), 421)
    problem(api.http.get("/healthz", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "[::1]:8700", "LocalHost"])
def test_names_of_this_machine_are_taken(api: Api, host: str) -> None:
    assert api.http.get("/v1/tasks", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example"]
)
def test_foreign_pages_are_refused(api: Api, mesh: Mesh, origin: str) -> None:
    for method, path in [("GET", "/v1/tasks"), ("POST", "/v1/tasks"), ("POST", "/v1/tasks/1:cancel")]:
        problem(api.http.request(method, path, headers={"Origin": origin}), 403)
    assert mesh.rows("select count(*) from task") == [(0,)]


def test_our_own_page_is_not_foreign(api: Api) -> None:
    assert api.http.get("/v1/tasks", headers={"Origin": api.url}).status_code == 200


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_only_json_is_read(api: Api, mesh: Mesh, kind: str | None) -> None:
    """A form on another site may post these without asking first."""
    headers = {} if kind is None else {"Content-Type": kind}
    problem(api.http.post("/v1/tasks", content=b'{"role":"DEVELOPER"}', headers=headers), 415)
    assert mesh.rows("select count(*) from task") == [(0,)]


def test_json_with_a_charset_is_json(api: Api) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert api.http.post("/v1/tasks", content=b'{"role":"DEVELOPER"}', headers=headers).status_code == 201


@pytest.mark.parametrize(
    "path", ["/v1/tasks", "/v1/tasks/0", "/healthz", "/docs", "/openapi.json", "/metrics", "/nowhere"]
)
def test_every_answer_is_guarded(api: Api, path: str) -> None:
    headers = api.http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_headers_without_end_are_cut(api: Api) -> None:
    answer = api.http.get("/v1/tasks", headers={f"X-{n}": "x" * 8_000 for n in range(100)})
    assert answer.status_code == 431
    assert answer.headers["content-type"] == "application/problem+json"
