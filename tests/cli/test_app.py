"""`meshlab app`: the server, the window, and what it says when there can be none."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import app_window
from cli.app_server import HOST, free_port
from cli.main import parser
from lab.errors import Unavailable

Meshlab = Callable[..., Any]
posix = pytest.mark.skipif(os.name == "nt", reason="the fake browser is a shell script")


@pytest.fixture
def without_pywebview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_window, "PLATFORM", "linux")


def browser(folder: Path, program: str, name: str = "chromium") -> Path:
    """A fake browser in a folder of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport os, sys, urllib.request\n{program}\n")
    path.chmod(0o755)
    return path


# ---- the window ------------------------------------------------------------------------------------------------------


def test_without_a_display_it_says_so_and_starts_nothing(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, linux: None
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    answer = meshlab("app", "--window")
    assert answer.status == 1
    assert "no display" in answer.err
    assert "without --window" in answer.err
    assert answer.out == ""


def test_without_a_browser_it_says_what_to_install(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, linux: None, without_pywebview: None
) -> None:
    monkeypatch.setenv("DISPLAY", ":7")
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = meshlab("app", "--window")
    assert answer.status == 1
    assert "neither pywebview nor a Chromium-family browser" in answer.err
    assert "apt-get install chromium" in answer.err


@posix
def test_the_app_mode_has_a_profile_of_its_own_that_goes_with_the_window(tmp_path: Path) -> None:
    told = tmp_path / "told"
    path = browser(tmp_path / "bin", f"open({str(told)!r}, 'w').write('\\n'.join(sys.argv[1:]))")
    app_window._app_mode(str(path), "http://127.0.0.1:1234")
    words = told.read_text().splitlines()
    assert words[0] == "--app=http://127.0.0.1:1234"
    profile = next(Path(word.partition("=")[2]) for word in words if word.startswith("--user-data-dir="))
    assert not profile.exists()


@posix
def test_a_browser_that_cannot_is_quoted(tmp_path: Path) -> None:
    path = browser(tmp_path / "bin", "sys.exit('cannot open display: :7')")
    with pytest.raises(
        Unavailable, match=r"chromium ended with status 1 \(cannot open display: :7\).*leave --window out"
    ):
        app_window._app_mode(str(path), "http://127.0.0.1:1234")


@posix
@pytest.mark.usefixtures("linux", "without_pywebview")
def test_browsers_are_looked_for_in_order(tmp_path: Path) -> None:
    browser(tmp_path / "bin", "", "microsoft-edge")
    environment = {"PATH": str(tmp_path / "bin"), "WAYLAND_DISPLAY": "wayland-0"}
    assert app_window.find_browser(environment) == str(tmp_path / "bin" / "microsoft-edge")
    browser(tmp_path / "bin", "", "chromium")
    assert app_window.find_browser(environment) == str(tmp_path / "bin" / "chromium")
    assert callable(app_window.window(environment))


def test_pywebview_comes_first(monkeypatch: pytest.MonkeyPatch, linux: None) -> None:
    shown: list[str] = []

    def create_window(title: str, url: str, **_: int) -> None:
        shown.append(f"{title} {url}")

    fake = SimpleNamespace(create_window=create_window, start=lambda: shown.append("started"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("importlib.import_module", lambda name: fake)
    app_window.window({"DISPLAY": ":7"})("http://127.0.0.1:1234")
    assert shown == ["Agent Mesh Lab http://127.0.0.1:1234", "started"]


def test_a_pywebview_without_a_toolkit_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        raise RuntimeError("You must have either QT or GTK")

    fake = SimpleNamespace(create_window=lambda *_, **__: None, start=start)
    monkeypatch.setattr("importlib.import_module", lambda name: fake)
    with pytest.raises(Unavailable, match=r"either QT or GTK.*leave --window out"):
        app_window._webview("http://127.0.0.1:1234")


@posix
def test_closing_the_window_ends_the_app(tmp_path: Path, environment: dict[str, str]) -> None:
    """The whole way, with a browser that looks at the page once and is closed."""
    told = tmp_path / "told"
    look = "url = sys.argv[1].partition('=')[2]\n"
    look += f"open({str(told)!r}, 'wb').write(urllib.request.urlopen(url).read())"
    browser(tmp_path / "bin", look)
    wanted = free_port(0)
    # pywebview, if this machine has it, would come first: a package of that name that cannot be found hides it.
    hide = "import sys; sys.modules['webview'] = None; from importlib import util; found = util.find_spec\n"
    hide += "util.find_spec = lambda name, *more: None if name == 'webview' else found(name, *more)\n"
    program = f"{hide}from cli.main import main; sys.exit(main(['app', '--window', '--port', '{wanted}']))"
    own = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}", "DISPLAY": ":7"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env={**environment, **own}, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout.split()[0]) == (0, f"http://{HOST}:{wanted}"), ended.stderr
    assert b"<!DOCTYPE html>" in told.read_bytes() or b"<!doctype html>" in told.read_bytes()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{HOST}:{wanted}", timeout=5)


# ---- the port --------------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_told(meshlab: Meshlab) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = meshlab("app", "--no-browser", "--port", str(port))
    assert answer.status == 1
    assert f"port {port} of {HOST} is taken" in answer.err


def test_without_a_wish_there_is_always_a_port() -> None:
    assert 1 <= free_port(None) <= 65_535


@pytest.mark.parametrize("words", [["--port", "0"], ["--port", "70000"], ["--window", "--no-browser"]])
def test_options_that_cannot_be_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        parser().parse_args(["app", *words])
    assert refused.value.code == 2
    assert "must be 1 to 65535" in (said := capsys.readouterr().err) or "not allowed with" in said
