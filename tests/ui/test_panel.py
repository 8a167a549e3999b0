"""The command center's panel in a browser, on a fake mesh: what people do there, and what it must not believe."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from streamlit.testing.v1 import AppTest

from tests.live.helpers import eventually
from tests.ui import fake_side
from tests.ui.fake_mesh import ASSETS, FakeMesh, serve
from ui import palette, panel

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
WAIT_MS = 30_000
HOSTILE = ('<img src=x onerror="alert(1)">', "**bold** [link](javascript:alert(1))", "</script><b>")

playwright = pytest.importorskip("playwright.sync_api", reason="the Playwright client is not installed")
browser_test = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH (Debian: apt-get install chromium)"),
]
expect = playwright.expect


class Served:
    """A fake mesh on a port of its own; it can go away and come back there."""

    def __init__(self, mesh: FakeMesh) -> None:
        self.mesh = mesh
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None

    def start(self) -> None:
        """Returns when it answers."""
        self._server = serve(self.mesh, self.port)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        eventually(lambda: self._server is not None and self._server.started)

    def stop(self) -> None:
        """Returns when it is gone."""
        if self._server is not None:
            self._server.should_exit = True
            self._thread.join(10)
            assert not self._thread.is_alive()
            self._server = None


Serve = Callable[[FakeMesh], Served]


@pytest.fixture
def served() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def start(mesh: FakeMesh) -> Served:
            one = Served(mesh)
            one.start()
            stack.callback(one.stop)
            return one

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: playwright.Browser) -> Iterator[playwright.Page]:
    """A page that has nothing to complain of in the end."""
    opened = browser.new_page(viewport={"width": 1280, "height": 720})
    opened.set_default_timeout(WAIT_MS)
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    yield opened
    opened.close()
    # A server that is away is told by the browser itself, once for each try.
    assert [line for line in said if "net::ERR_" not in line and "409" not in line] == []


def _open(page: playwright.Page, served: Served) -> None:
    page.goto(served.address)
    expect(page.locator(".state-word")).to_have_text("Ready", timeout=WAIT_MS)


def _press(page: playwright.Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


class TestInTheBrowser:
    pytestmark = browser_test

    def test_one_press_and_the_queues_explode(self, page: playwright.Page, served: Serve) -> None:
        one = served(FakeMesh())
        _open(page, one)
        _press(page, "Send 500 tasks")
        lane = page.get_by_role("group", name=re.compile("^ARCHITECT"))
        for side in ("model", "live"):
            expect(lane.locator(f".queue.{side} .depth-number")).to_have_text(re.compile(r"^\d{3}$"), timeout=WAIT_MS)
            waiting = lane.locator(f".zone-waiting.{side}")
            expect(waiting.locator(".more")).to_have_text(re.compile(r"^\+\d+ more$"))
            assert 5 <= waiting.locator(".card").count() <= 20
            expect(lane.locator(f".zone-finished.{side} .card[data-s=COMPLETED]").first).to_be_visible()
        expect(page.locator(".state-word")).to_have_text("Running")
        expect(page.locator(".promise")).to_have_text("lost 0 · doubled 0")
        expect(page.get_by_role("switch", name="Live stress mode")).to_be_checked()
        assert one.mesh.commands[0] == {"do": "stress", "on": True, "mode": "burst", "count": 500, "rate_per_s": 50}
        shown = page.evaluate("panel.root.scrollWidth <= panel.root.clientWidth")
        assert shown, "the panel is wider than its page"

    def test_a_killed_worker_s_tasks_are_counted_until_all_are_done(
        self, page: playwright.Page, served: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fake_side, "LEASE_S", 0.5)
        monkeypatch.setattr(fake_side, "RESTART_S", 0.2)
        one = served(FakeMesh(steady_per_s=50, service_s=0.3))
        page.goto(one.address)
        for side in ("model", "live"):  # somebody is at work before the blow
            expect(page.locator(f".worker-side.{side} [data-busy]").first).to_be_visible(timeout=WAIT_MS)
        page.keyboard.press("k")
        for side, name in (("model", "Model"), ("live", "Live")):
            line = page.locator(f".rail .strike-side.{side}")
            told = re.compile(rf"^{name} (\d+) in hand → \1 back → \1 done · lost 0 · doubled 0$")
            expect(line).to_have_text(told, timeout=WAIT_MS)
            expect(line).to_have_attribute("data-over", "true")
        expect(page.locator(".events")).to_contain_text("killed (SIGKILL)")

    def test_a_session_ends_with_links_to_what_it_left(self, page: playwright.Page, served: Serve) -> None:
        one = served(FakeMesh(steady_per_s=20))
        page.goto(one.address)
        expect(page.locator(".card").first).to_be_visible(timeout=WAIT_MS)
        page.get_by_role("button", name="Stop & save").click()
        link = page.get_by_role("link", name="Compare task by task")
        expect(link).to_have_attribute("href", "/run?run=fake-sim-1,fake-live-1")
        expect(page.get_by_role("link", name="Scenario")).to_have_attribute("href", "/lab/mesh/scenario.yaml")
        expect(page.locator(".card").first).to_be_visible()  # what was shown stays
        page.keyboard.press("k")
        expect(page.get_by_role("alert")).to_have_text(re.compile("There is no session for 'chaos'"))

    def test_hostile_names_are_text(self, page: playwright.Page, served: Serve) -> None:
        one = served(FakeMesh(roles=HOSTILE, steady_per_s=20))
        page.goto(one.address)
        expect(page.locator(".role-name")).to_have_text(list(HOSTILE))
        expect(page.locator(".role-choice option")).to_have_text(list(HOSTILE))
        assert page.locator("img, .mesh script, .role-name *").count() == 0

    def test_dark_ground_has_the_lighter_colours_and_much_traffic_is_told(
        self, browser: playwright.Browser, served: Serve
    ) -> None:
        one = served(FakeMesh(steady_per_s=400, service_s=0.03))
        page = browser.new_page(color_scheme="dark", viewport={"width": 1920, "height": 1080})
        page.goto(one.address)
        expect(page.locator(".mesh")).to_have_attribute("data-theme", "dark")
        colour = "getComputedStyle(panel.root).getPropertyValue('--{}').trim()"
        assert page.evaluate(colour.format("model")) == palette.MODEL_DARK
        assert page.evaluate(colour.format("live")) == palette.LIVE_DARK
        expect(page.locator(".traffic")).to_have_attribute("data-on", "", timeout=WAIT_MS)
        page.close()

    def test_a_server_that_was_away_is_found_again(self, page: playwright.Page, served: Serve) -> None:
        one = served(FakeMesh())
        _open(page, one)
        one.stop()
        expect(page.locator(".state-word")).to_have_text("Connection lost", timeout=WAIT_MS)
        expect(page.locator(".bar .primary")).to_be_disabled()
        one.start()
        expect(page.locator(".state-word")).to_have_text("Ready", timeout=WAIT_MS)
        expect(page.locator(".bar .primary")).to_be_enabled()

    def test_what_is_older_changes_nothing(self, page: playwright.Page, served: Serve) -> None:
        """The fold is pure: messages in, what is known out."""
        _open(page, served(FakeMesh()))
        found = page.evaluate(
            """async () => {
              const { blank, fold } = await import("/lab/assets/state.js");
              const bins = (first, values) => ({ width_s: 0.5, first, throughput: values, p50: values, p95: values,
                                                 depth: values, rss: values, retries: values });
              const card = (v, s) => ({ id: 7, p: 3, s, a: 1, v, w: "", t: 1 });
              const message = (n, zone, one, some) => {
                const role = { name: "A", pending_cards: [], running_cards: [], finished_cards: [], [zone]: [one] };
                return { n, at: n, session: { id: "s" }, live: null, model: { roles: [role], bins: some, events: [] } };
              };
              const first = fold(blank(), message(1, "pending_cards", card(1, "PENDING"), bins(0, [1, 2, 3])));
              const second = fold(first, message(3, "finished_cards", card(3, "COMPLETED"), bins(2, [9, 9])));
              const late = fold(second, message(2, "running_cards", card(2, "RUNNING"), bins(0, [0])));
              const stale = fold(second, message(4, "running_cards", card(2, "RUNNING"), bins(4, [5])));
              const other = fold(second, { ...message(1, "pending_cards", card(1, "PENDING"), bins(0, [4])),
                                           session: { id: "t" } });
              return {
                unchanged: late === second,
                untouched: first.model.series.depth,
                curve: stale.model.series.depth,
                running: stale.model.roles[0].running_cards.length,
                anew: [other.model.series.depth, other.model.roles[0].pending_cards[0].s],
              };
            }"""
        )
        assert found == {
            "unchanged": True,
            "untouched": [1, 2, 3],
            "curve": [1, 2, 9, 9, 5],
            "running": 0,
            "anew": [[4], "PENDING"],
        }


def test_the_page_only_mounts_the_panel() -> None:
    script = AppTest.from_file(str(ROOT / "pages" / "mesh.py"), default_timeout=30).run()
    assert not script.exception
    assert not script.error and not script.warning


def test_the_panel_has_no_colour_of_its_own_for_what_has_a_meaning() -> None:
    """ui/palette.py decides; the style sheet takes what it is given."""
    names = ("panel", "stage", "rail", "sizes")
    sheet = "".join((ASSETS / f"{name}.css").read_text("utf-8") for name in names).upper()
    given = panel.colours()
    named = [given[name] for name in ("model", "live", "model-dark", "live-dark", "good", "warn", "bad")]
    assert [colour for colour in [*named, *given["roles"]] if colour.upper() in sheet] == []


def test_data_is_never_markup() -> None:
    """Nothing in the panel can turn text into elements, and no file of ours grows past what one can read."""
    seen, toread = set(), [ASSETS / "panel.js"]
    while toread:
        path = toread.pop()
        source = path.read_text("utf-8")
        seen.add(path.name)
        markup = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", source)
        assert markup == [], path.name
        assert len(source.splitlines()) <= 500, path.name
        assert max(map(len, source.splitlines())) <= 120, path.name
        imported = set(re.findall(r'from "\./([\w.]+)"', source)) - seen - {"uplot.js"}
        toread += [ASSETS / name for name in imported]
    assert len(seen) > 5
