"""An API process: how it is told, how it leaves, and what it says when it cannot start."""

from __future__ import annotations

import io
import signal
import socket
import threading
from typing import Any

import pytest

from lab.limits import API_GRACE_S_MAX
from live_backend.api.__main__ import main
from live_backend.api.settings import Settings
from tests.api.helpers import ApiProcess, Mesh
from tests.live.helpers import eventually

pytestmark = pytest.mark.live


@pytest.mark.parametrize("how", ["SIGTERM", "standard input closes"])
def test_it_leaves_with_open_streams_and_all_that_it_accepted(mesh: Mesh, how: str) -> None:
    api = ApiProcess(mesh.settings(port=0))
    accepted: list[int] = []
    ended: list[Any] = []

    def read() -> None:
        with api.events() as events:
            ended.append("begun")
            ended.append(sum(1 for _ in events))  # ends when the server ends it

    def submit() -> None:
        while api.process.poll() is None:
            try:
                accepted.append(api.submit()["id"])
            except Exception:  # it takes no more connections: nothing was acknowledged
                return

    threads = [threading.Thread(target=read), threading.Thread(target=submit)]
    for thread in threads:
        thread.start()
    eventually(lambda: ended and len(accepted) > 5)
    if how == "standard input closes":
        assert api.process.stdin is not None
        api.process.stdin.close()
    else:
        api.process.send_signal(signal.Signals[how])
    assert api.process.wait(API_GRACE_S_MAX + 30) == 0
    for thread in threads:
        thread.join(30)
    assert len(ended) == 2
    stored = {row[0] for row in mesh.rows("select id from task")}
    assert set(accepted) <= stored
    assert api.process.stdout is not None and api.process.stdout.read() == ""


def test_a_port_that_is_taken_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings("dsn", "redis", port=taken.getsockname()[1])
        monkeypatch.setattr("sys.stdin", io.StringIO(settings.to_line()))
        assert main() == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{settings.port}" in said.err


def test_settings_travel_in_one_line_and_bad_ones_are_refused() -> None:
    settings = Settings("dsn", "redis", port=1, token="t", origins=("http://a",))
    assert Settings.from_line(settings.to_line()) == settings
    for line in ["", "x", "[]", "{}", '{"dsn": "secret"}', '{"dsn": "secret", "redis_url": "r", "colour": 1}']:
        with pytest.raises(Exception, match="one JSON line") as refused:
            Settings.from_line(line)
        assert "secret" not in str(refused.value)
