"""A window of its own for the app: pywebview's if that is installed, else a Chromium-family browser's app mode."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lab.errors import Unavailable

TITLE: Final = "Agent Mesh Lab"
PLATFORM: str = sys.platform
WIDTH_PX, HEIGHT_PX = 1440, 900
BROWSERS: Final = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    *("microsoft-edge", "microsoft-edge-stable", "brave-browser", "vivaldi"),
)
ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
        "/Applications/Brave Browser.app/Contents/MacOS/Brave Browser",
    ),
    "win32": (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe"),
}
"""Where browsers lie on systems on which they are not on the PATH; on Windows below its folders for programs."""

Show = Callable[[str], None]
"""Shows an address in a window, and returns when the window has been closed."""


def window(environment: Mapping[str, str]) -> Show:
    """What can show a window here. Raises Unavailable, with what to do, if nothing can."""
    if PLATFORM not in ELSEWHERE and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        raise Unavailable(
            "--window: there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set); start it on a desktop, "
            "or without --window, and open its address in a browser"
        )
    if importlib.util.find_spec("webview") is not None:
        return _webview
    browser = find_browser(environment)
    if browser is None:
        raise Unavailable(
            "--window: there is neither pywebview nor a Chromium-family browser here "
            f"({', '.join(BROWSERS[:3])}, Edge, …); install one (Debian: apt-get install chromium), or pywebview with "
            "pip, or leave --window out"
        )
    return lambda url: _app_mode(browser, url)


def find_browser(environment: Mapping[str, str]) -> str | None:
    """A browser that knows --app: the first on the PATH, else the first in its usual place."""
    on_path = (shutil.which(name, path=environment.get("PATH")) for name in BROWSERS)
    return next(filter(None, on_path), None) or next(
        (path for path in _usual(environment) if Path(path).is_file()), None
    )


def _usual(environment: Mapping[str, str]) -> Iterator[str]:
    for path in ELSEWHERE.get(PLATFORM, ()):
        if PLATFORM != "win32":
            yield path
            continue
        for folder in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            if base := environment.get(folder):
                yield str(Path(base) / path)


def _webview(url: str) -> None:
    webview: Any = importlib.import_module("webview")
    webview.create_window(TITLE, url, width=WIDTH_PX, height=HEIGHT_PX)
    try:
        webview.start()  # returns when the window is closed
    except Exception as error:  # every toolkit that it may use has errors of its own
        raise Unavailable(f"--window: pywebview cannot open a window ({error}); leave --window out") from error


def _app_mode(browser: str, url: str) -> None:
    """With a profile of its own, so that it is a process of its own, whose end is the window's."""
    with tempfile.TemporaryDirectory(prefix="meshlab-window-", ignore_cleanup_errors=True) as profile:
        command = [browser, f"--app={url}", f"--user-data-dir={profile}", f"--window-size={WIDTH_PX},{HEIGHT_PX}"]
        command += ["--no-first-run", "--no-default-browser-check"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        hint = "; browsers refuse to run as root: use another user" if os.name == "posix" and os.geteuid() == 0 else ""
        raise Unavailable(
            f"--window: {browser} ended with status {process.returncode} ({last[0]}){hint}; leave --window out"
        )
