"""The app in a real browser: one server for all tests, a browser for each file of them, a fresh profile for each test.

Playwright's own loop must not outlive a file: other tests run loops of their own in the same thread.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cli.app_server import App, free_port, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# As root in a container Chromium needs its own sandbox off; the rest keeps it from calling home.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SIZE: Any = {"width": 1280, "height": 720}
WAIT_MS = 60_000
"""CI's machine may be busy. Playwright waits for what is awaited, and no longer."""
FAILED = pytest.StashKey[bool]()
HARMLESS = re.compile(r"status of 404|ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|net::ERR_ABORTED|useWorker")
"""Streamlit asks its makers' host for texts and its server for files that need not be there."""

e2e = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]
"""The marks of a file of such tests: `pytestmark = e2e`."""


@pytest.fixture(scope="session")
def app_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of the app that `app_url` serves."""
    return tmp_path_factory.mktemp("app") / "runs"


@pytest.fixture(scope="session")
def app(app_runs: Path) -> Iterator[App]:
    """The app in a process of its own, as a user starts it; ended by its own process id."""
    environment = {**os.environ, "MESHLAB_RUNS": str(app_runs), "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none"}
    with (app_runs.parent / "server.log").open("wb") as log, running(free_port(0), environment, errors=log) as app:
        yield app


@pytest.fixture(scope="session")
def app_url(app: App) -> str:
    """Where the app is."""
    return app.url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium for the tests of one file."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the Playwright client is not installed")
    playwright.expect.set_options(timeout=WAIT_MS)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A page with a profile of its own. No test may leave an error in its console; a failed one leaves a picture."""
    context = chromium.new_context(viewport=SIZE)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    try:
        yield page
        if request.node.stash.get(FAILED, False):
            page.screenshot(path=tmp_path / "failed.png")
            print(f"what the page looked like: {tmp_path / 'failed.png'}\n{page.url}\n" + "\n".join(said))
        else:
            assert [one for one in said if not HARMLESS.search(one)] == []
            assert page.get_by_test_id("stException").count() == 0
    finally:
        context.close()
