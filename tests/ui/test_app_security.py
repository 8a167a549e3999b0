"""The app is for the people at this machine: what it is set to, and what becomes of those who come from elsewhere."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from streamlit import config
from streamlit.testing.v1 import AppTest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from cli.app_server import App
from ui.doorway import GUARD, POLICY_VIOLATED, Doorway

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
SECRET = "hunter2-that-nobody-may-read"
ELSEWHERE = (
    "http://evil.example",
    "http://localhost:1",
    "http://127.0.0.1:1",
    "null",
    "https://127.0.0.1.evil.example",
)


# ---- what it is set to -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("server.address", "127.0.0.1"),
        ("server.enableXsrfProtection", True),
        ("server.enableCORS", True),
        ("server.corsAllowedOrigins", []),
        ("server.enableStaticServing", False),
        ("server.enableAgentApi", False),
        ("browser.gatherUsageStats", False),
        ("client.showErrorDetails", "none"),
        ("client.toolbarMode", "minimal"),
    ],
)
def test_the_settings_are_the_safe_ones(option: str, value: Any) -> None:
    """What config.toml says; what it leaves out has Streamlit's default, which may change with a version."""
    section, _, name = option.partition(".")
    default = config._config_options_template[option].default_val
    assert SETTINGS.get(section, {}).get(name, default) == value


def test_uploads_are_small() -> None:
    assert SETTINGS["server"]["maxUploadSize"] <= 5


# ---- the doorway -----------------------------------------------------------------------------------------------------


async def small_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says "in" to everybody."""
    if scope["type"] == "http":
        await PlainTextResponse("in")(scope, receive, send)
    else:
        await send({"type": "websocket.accept"})


def doorway(*, loopback: bool = True, allowed: tuple[str, ...] = ()) -> Doorway:
    return Doorway(small_app, loopback_only=lambda: loopback, allowed=lambda: list(allowed))


def ask(door: Doorway, method: str = "GET", **headers: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://127.0.0.1:8501") as client:
            return await client.request(method, "/", headers=headers)

    return asyncio.run(asked())


def dial(door: Doorway, **headers: str) -> list[Message]:
    """What a socket with these headers is told."""
    told: list[Message] = []

    async def send(message: Message) -> None:
        told.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    named = {"host": "127.0.0.1:8501", **headers}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    asyncio.run(door({"type": "websocket", "path": "/", "headers": raw}, receive, send))
    return told


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:8501", "LOCALHOST", "[::1]:8501", "127.0.0.1"])
def test_names_of_this_machine_come_in(host: str) -> None:
    assert ask(doorway(), host=host).text == "in"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8501", "0.0.0.0:8501", "10.0.0.1", ":8501", "["]
)
def test_on_loopback_other_names_are_refused(host: str) -> None:
    answer = ask(doorway(), host=host)
    assert answer.status_code == 421
    assert "Open the app as it was started" in answer.json()["error"]
    assert ask(doorway(loopback=False), host=host).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("origin", [*ELSEWHERE, "127.0.0.1:8501", "ftp://127.0.0.1:8501", ""])
def test_pages_of_other_origins_are_refused(method: str, origin: str) -> None:
    for loopback in (True, False):
        answer = ask(doorway(loopback=loopback), method, origin=origin)
        assert answer.status_code == 403
        assert "may not use this app" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8501", "https://127.0.0.1:8501", "HTTP://127.0.0.1:8501"])
def test_the_apps_own_pages_come_in(origin: str) -> None:
    assert ask(doorway(), "POST", origin=origin).text == "in"


def test_an_origin_that_the_operator_lists_comes_in() -> None:
    door = doorway(loopback=False, allowed=("https://lab.example",))
    assert ask(door, origin="https://lab.example", host="10.0.0.1:8501").text == "in"
    assert ask(door, origin="https://other.example", host="10.0.0.1:8501").status_code == 403


def test_sockets_are_guarded_like_pages() -> None:
    assert [message["type"] for message in dial(doorway(), origin="http://127.0.0.1:8501")] == ["websocket.accept"]
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        (told,) = dial(doorway(), **headers)
        assert (told["type"], told["code"]) == ("websocket.close", POLICY_VIOLATED)


def test_every_answer_forbids_frames() -> None:
    for answer in (ask(doorway()), ask(doorway(), host="evil.example")):
        assert {name: answer.headers[name] for name in GUARD} == GUARD


# ---- the app itself --------------------------------------------------------------------------------------------------


def stream_of(app_url: str) -> str:
    """Streamlit's own socket, over which everything on a page goes."""
    return app_url.replace("http", "ws", 1) + "/_stcore/stream"


def test_the_app_listens_on_loopback_only(app: App) -> None:
    processes = [psutil.Process(app.process.pid), *psutil.Process(app.process.pid).children(recursive=True)]
    listening = [
        one.laddr.ip for process in processes for one in process.net_connections("tcp") if one.status == "LISTEN"
    ]
    assert listening
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/", "/rules", "/_stcore/health", "/_stcore/host-config", "/lab/mesh/state"])
def test_a_name_that_was_rebound_gets_nothing_from_the_app(app_url: str, path: str) -> None:
    answer = httpx.get(app_url + path, headers={"host": "evil.example"})
    assert answer.status_code == 421


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_a_foreign_page_gets_no_socket_of_the_app(app_url: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(stream_of(app_url), origin=Origin(origin), open_timeout=60)
    assert refused.value.response.status_code == 403


def test_the_apps_own_page_gets_its_socket(app_url: str) -> None:
    with connect(stream_of(app_url), origin=Origin(app_url), subprotocols=[Subprotocol("streamlit")], open_timeout=60):
        pass


def test_an_upload_without_the_token_is_refused(app_url: str) -> None:
    """Streamlit's protection from forged requests: the cookie, which a browser sends for anybody, is not enough."""
    url = f"{app_url}/_stcore/upload_file/any-session/any-file"
    with httpx.Client() as someone:
        someone.get(f"{app_url}/_stcore/health")
        assert someone.put(url, files={"file": ("x.yaml", b"name: x")}).status_code == 403


def test_the_apps_pages_stand_in_no_frame(app_url: str) -> None:
    for path in ("/", "/_stcore/health", "/lab/mesh/state"):
        headers = httpx.get(app_url + path).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_files_of_the_project_are_not_served(app_url: str) -> None:
    for path in (
        "/app/static/../../pyproject.toml",
        "/lab/assets/../../pyproject.toml",
        "/lab/assets/%2e%2e/mesh/hub.py",
    ):
        assert "[project]" not in (answer := httpx.get(app_url + path)).text
        assert "class Hub" not in answer.text


@pytest.mark.parametrize("name", ["mesh", "run", "studio", "rules", "library", "tasks"])
def test_no_page_shows_a_secret(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords and tokens of the environment are in nothing that a page sends."""
    monkeypatch.setenv("DB_DSN", f"postgresql://lab:{SECRET}@127.0.0.1:1/lab")
    monkeypatch.setenv("REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    monkeypatch.setenv("MESHLAB_TOKEN", SECRET)
    page = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    page.run()
    if name != "mesh":
        page.switch_page(f"pages/{name}.py").run()
    assert not page.exception
    said = "".join(str(block.proto) for block in everything(page._tree))
    assert len(said) > 100
    assert SECRET not in said


def everything(node: Any) -> list[Any]:
    """All elements of a page."""
    children = getattr(node, "children", {})
    found = [one for child in children.values() for one in everything(child)]
    return [*found, node] if getattr(node, "proto", None) is not None else found
