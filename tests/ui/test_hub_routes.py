"""The app's own HTTP routes: who may come in, what is answered, and the stream as a browser gets it."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from lab.limits import COMMAND_BYTES_MAX
from lab.scenario import Scenario
from ui.doorway import Doorway
from ui.mesh import assets, hub
from ui.mesh.hub import Hub
from ui.mesh.routes import lifespan, routes

PUPPET = Path(__file__).with_name("puppet.py")
HOST = "127.0.0.1:8501"
COMMAND, STREAM, STATE, FILE = (f"/lab/mesh/{name}" for name in ("command", "stream", "state", "scenario.yaml"))
KNOB = {"do": "knob", "knob": "rate", "value": 5}

pytestmark = pytest.mark.usefixtures("runs")


def app_of(the_hub: Hub, loopback_only: bool = True) -> Starlette:
    door = Middleware(Doorway, loopback_only=lambda: loopback_only, allowed=list)
    return Starlette(routes=routes(the_hub), lifespan=lifespan(the_hub), middleware=[door])


@contextmanager
def client_of(*, loopback_only: bool = True, host: str = HOST) -> Iterator[TestClient]:
    commands: Any = {name: [sys.executable, str(PUPPET), name, "good"] for name in ("model", "live")}
    with TestClient(app_of(Hub(commands), loopback_only), base_url=f"http://{host}") as client:
        yield client


@pytest.fixture
def client() -> Iterator[TestClient]:
    with client_of() as client:
        yield client


def reaches(client: TestClient, wanted: str) -> dict[str, Any]:
    """The session, once it is in that state."""
    until = time.monotonic() + 20
    while (session := client.get(STATE).json()["session"])["state"] != wanted:
        assert time.monotonic() < until, session
        time.sleep(0.02)
    return dict(session)


# ---- who may come in -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"host": "evil.example"}, 421, "not this machine"),
        ({"host": "127.0.0.1.evil.example:8501"}, 421, "not this machine"),
        ({"origin": "http://evil.example"}, 403, "evil.example"),
        ({"origin": "null"}, 403, "may not use this app"),
        ({"origin": "http://127.0.0.1:9999"}, 403, "9999"),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"}, 403, "Another site"),
        ({"host": "localhost:8501", "origin": "http://localhost:8501"}, 409, "No session"),
        ({"host": "[::1]:8501", "origin": "http://[::1]:8501"}, 409, "No session"),
        ({"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, 409, "No session"),
        ({}, 409, "No session"),
    ],
)
def test_only_the_apps_own_pages_come_in(client: TestClient, headers: dict[str, str], status: int, words: str) -> None:
    answer = client.post(COMMAND, json=KNOB, headers=headers)
    assert answer.status_code == status and words in answer.json()["error"]
    if status != 409:
        for path in (STATE, STREAM, FILE, "/lab/assets/panel.js"):
            assert client.get(path, headers=headers).status_code == status


def test_an_app_that_listens_elsewhere_has_other_names_but_still_only_its_own_pages() -> None:
    with client_of(loopback_only=False, host="lab.example") as client:
        assert client.get(STATE).status_code == 200
        assert client.post(COMMAND, json=KNOB, headers={"origin": "https://lab.example"}).status_code == 409
        assert client.post(COMMAND, json=KNOB, headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (json.dumps(KNOB), "text/plain", 415, "application/json"),
        (json.dumps(KNOB), "application/x-www-form-urlencoded", 415, "application/json"),
        ("{", "application/json", 400, "not JSON"),
        ("[" * 4_000, "application/json", 400, "not JSON"),
        (json.dumps({**KNOB, "more": 1}), "application/json", 422, "Nothing was done"),
        (json.dumps({"do": "start", "scenario": "nothing"}), "application/json", 422, "no scenario 'nothing'"),
        ('{"do": "knob", "knob": "rate", "value": NaN}', "application/json", 422, "Nothing was done"),
        (" " * (COMMAND_BYTES_MAX + 1), "application/json", 413, "4,096 bytes"),
        (json.dumps(KNOB), "application/json; charset=utf-8", 409, "No session"),
    ],
)
def test_a_body_is_bounded_json_of_a_closed_schema(
    client: TestClient, body: str, content_type: str, status: int, words: str
) -> None:
    answer = client.post(COMMAND, content=body, headers={"content-type": content_type})
    assert answer.status_code == status and words in answer.json()["error"]


def test_other_methods_are_refused(client: TestClient) -> None:
    assert client.get(COMMAND).status_code == client.post(STREAM).status_code == client.put(STATE).status_code == 405


# ---- a session over HTTP ---------------------------------------------------------------------------------------------


def test_a_session_over_http_and_its_scenario_file(client: TestClient) -> None:
    assert client.get(FILE).status_code == 404
    idle = client.get(STATE).json()["session"]
    assert (idle["state"], idle["knobs"]["workers"], idle["limits"]["slots"]) == ("idle", 3, [1, 64, 1])
    answer = client.post(COMMAND, json={"do": "stress", "on": True, "mode": "burst", "count": 40})
    assert answer.status_code == 200 and answer.json()["ok"] and answer.json()["session"]["state"] == "starting"
    reaches(client, "running")
    assert client.post(COMMAND, json={"do": "chaos", "what": "wipe_redis"}).status_code == 200
    assert client.post(COMMAND, json={"do": "stop"}).status_code == 200
    assert reaches(client, "ended")["records"] == ["record-of-model", "record-of-live"]
    file = client.get(FILE)
    assert file.headers["content-disposition"] == 'attachment; filename="command-center-session.yaml"'
    again = Scenario.parse(file.text)
    assert [fault.kind for fault in again.faults] == ["redis_flush"]


# ---- the stream ------------------------------------------------------------------------------------------------------


class Reader:
    """A browser on the stream, without a network: it may stop taking, and it may leave."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self.status, self.headers = 0, dict[bytes, bytes]()
        self.got: list[bytes] = []
        self._takes, self._left = asyncio.Event(), asyncio.Event()
        self._takes.set()
        self.task = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        headers = [(b"host", HOST.encode())]
        scope = {"type": "http", "method": "GET", "path": STREAM, "headers": headers, "query_string": b""}
        await self._app({**scope, "http_version": "1.1", "scheme": "http"}, self._receive, self._send)

    async def _receive(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        await self._takes.wait()
        self.got.append(message["body"])

    def pause(self) -> None:
        self._takes.clear()

    def go_on(self) -> None:
        self._takes.set()

    def leave(self) -> None:
        self._left.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                await asyncio.sleep(0.01)


def told(sent: bytes) -> dict[str, Any]:
    return dict(json.loads(sent.split(b"data: ", 1)[1]))


def test_the_stream_as_a_browser_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "STREAMS_MAX", 2)
    monkeypatch.setattr(hub, "IDLE_S", 0.05)

    async def work() -> None:
        the_hub = Hub()
        app = app_of(the_hub)
        first, slow = Reader(app), Reader(app)
        await asyncio.gather(first.until(1), slow.until(1))
        slow.pause()
        assert (first.status, first.headers[b"x-accel-buffering"]) == (200, b"no")
        assert first.headers[b"content-type"].startswith(b"text/event-stream")
        assert first.got[0].startswith(b"retry: 500\n\nevent: frame\ndata: ")
        assert told(first.got[0])["session"]["state"] == "idle"
        await first.until(6)
        taken = len(slow.got)
        slow.go_on()
        await slow.until(taken + 2)
        assert told(slow.got[-1])["n"] >= told(first.got[5])["n"]
        assert len(slow.got) <= taken + 2 < len(first.got)  # no backlog
        third = Reader(app)
        await third.task
        assert (third.status, b"Too many" in third.got[0]) == (503, True)
        first.leave()
        await asyncio.wait_for(first.task, 5)
        again = Reader(app)  # a reload
        await again.until(1)
        the_hub.leave()  # Ctrl-C
        await asyncio.wait_for(asyncio.gather(again.task, slow.task), 2)
        await the_hub.close()

    asyncio.run(work())


def test_a_browser_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.mesh.stream.STREAM_SEND_S_MAX", 0.1)

    async def work() -> None:
        the_hub = Hub()
        reader = Reader(app_of(the_hub))
        reader.pause()
        await asyncio.wait_for(asyncio.gather(reader.task, return_exceptions=True), 5)
        assert not the_hub.is_full and not the_hub._viewers
        await the_hub.close()

    asyncio.run(work())


# ---- assets ----------------------------------------------------------------------------------------------------------


def test_assets_are_sent_by_their_exact_name_and_only_when_they_have_changed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "assets"
    (folder / "editor").mkdir(parents=True)
    for name, text in (("a.js", "export {}"), ("editor/b.css", "b {}"), ("secret.py", "x = 1")):
        (folder / name).write_text(text)
    (tmp_path / "outside.js").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "outside.js")
    real = assets.find
    monkeypatch.setattr(assets, "find", lambda name: real(name, folder))
    found = client.get("/lab/assets/a.js")
    assert (found.status_code, found.text) == (200, "export {}")
    assert found.headers["content-type"] == "text/javascript; charset=utf-8"
    assert (found.headers["cache-control"], found.headers["x-content-type-options"]) == ("no-cache", "nosniff")
    assert client.get("/lab/assets/a.js", headers={"if-none-match": found.headers["etag"]}).status_code == 304
    assert client.get("/lab/assets/editor/b.css").headers["content-type"] == "text/css; charset=utf-8"
    for name in ("secret.py", "no.js", "../outside.js", "..%2Foutside.js", "link.js", "editor", "", "/etc/passwd"):
        assert client.get(f"/lab/assets/{name}").status_code == 404, name


def test_what_the_panel_needs_is_there() -> None:
    for file in assets.FOLDER.rglob("*.js"):
        assert assets.find(file.relative_to(assets.FOLDER).as_posix()) is not None
