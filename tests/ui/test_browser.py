"""The app in a real browser, once: from `streamlit run app.py` to a result that a refresh and a second tab keep."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# As root in a container Chromium needs its own sandbox off; the rest keeps it from calling home.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WAIT_MS = 60_000

playwright = pytest.importorskip("playwright.sync_api", reason="the Playwright client is not installed")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]


@pytest.fixture
def server(runs: Path, tmp_path: Path) -> Iterator[str]:
    """The app on a free port, as a user starts it; ended by its own process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1", "--server.port", str(port)]
    log = (tmp_path / "server.log").open("wb")
    env = {**os.environ, "MESHLAB_RUNS": str(runs)}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _until_healthy(address, process, tmp_path / "server.log")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _until_healthy(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the app did not answer: {log.read_text()}")


@pytest.fixture
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def test_run_the_model_and_keep_the_result(server: str, browser: playwright.Browser) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(WAIT_MS)
    page.goto(server)
    page.get_by_role("button", name=re.compile("Run sdlc-quick in both")).wait_for()
    page.get_by_role("button", name="Model", exact=True).click()
    _result(page)
    assert "job=" in page.url

    page.reload()
    _result(page)

    second = browser.new_page()
    second.set_default_timeout(WAIT_MS)
    second.goto(page.url)
    _result(second)


def _result(page: playwright.Page) -> None:
    """A finished run of the model, drawn: verdict, figures, and charts that are not blank."""
    page.get_by_text("All 8 checks hold").wait_for()
    page.get_by_text("Headline figures").wait_for()
    page.locator(".js-plotly-plot .scatterlayer .trace path.js-line").first.wait_for()
    page.locator(".js-plotly-plot").nth(3).wait_for()  # charts come one after the other
    assert page.locator(".js-plotly-plot").count() == 4
    assert page.get_by_test_id("stException").count() == 0


def test_a_deep_link_to_a_fresh_server_goes_through_the_entry(server: str, browser: playwright.Browser) -> None:
    """Streamlit's older kind of pages/ would answer without app.py: another title, and a list of files at the side."""
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{server}/run?scenario=poison")
    page.get_by_role("button", name=re.compile("Run poison in both")).wait_for()
    assert page.title() == "Agent Mesh Lab"
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_test_id("stSidebarNav").count() == 0
