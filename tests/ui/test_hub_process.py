"""The mesh in a real server: an open stream does not keep the app from ending, and nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PUPPET = Path(__file__).with_name("puppet.py")
APP = """\
import sys

sys.path.insert(0, {root!r})
import streamlit as st

if __name__ == "__main__":
    st.write("hello")
else:
    from ui.mesh.hub import Hub
    from ui.mesh.routes import lifespan, routes

    hub = Hub({{name: [sys.executable, {puppet!r}, name, "good"] for name in ("model", "live")}})
    app = st.App(__file__, routes=routes(hub), lifespan=lifespan(hub))
"""


class Server:
    """A `streamlit run` of its own, with puppets for sides."""

    def __init__(self, folder: Path) -> None:
        (folder / "app.py").write_text(APP.format(root=str(ROOT), puppet=str(PUPPET)))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "streamlit", "run", str(folder / "app.py"), "--server.headless", "true"]
        command += ["--server.address", "127.0.0.1", "--server.port", str(self.port)]
        command += ["--server.showEmailPrompt", "false", "--browser.gatherUsageStats", "false"]
        self.log = folder / "log"
        env = {**os.environ, "MESHLAB_RUNS": str(folder / "runs")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def get(self, path: str) -> HTTPResponse:
        """An answer whose body is still to be read."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        return connection.getresponse()

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/lab/mesh/state", timeout=10) as answer:
            return dict(json.load(answer))

    def command(self, **command: Any) -> None:
        address = f"http://127.0.0.1:{self.port}/lab/mesh/command"
        headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"}
        request = urllib.request.Request(address, json.dumps(command).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def until(self, happens: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if happens():
                    return
            except OSError:
                pass  # it does not listen yet
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_app_ends_although_somebody_watches_and_nothing_outlives_it(server: Server, number: signal.Signals) -> None:
    server.until(lambda: server.state()["session"]["state"] == "idle")
    stream = server.get("/lab/mesh/stream")
    assert stream.status == 200 and stream.readline() == b"retry: 500\n"
    server.command(do="start")
    server.until(lambda: server.state()["session"]["state"] == "running")
    sides = psutil.Process(server.process.pid).children(recursive=True)
    assert len(sides) >= 2
    server.process.send_signal(number)
    server.process.wait(30)
    try:
        while stream.readline():
            pass  # what was under way
    except OSError:
        assert number is signal.SIGKILL
    _, alive = psutil.wait_procs(sides, timeout=30)
    assert not alive
    assert "Traceback" not in server.log.read_text()
