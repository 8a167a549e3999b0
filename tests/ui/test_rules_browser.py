"""The Rules page in a real browser: a flaw is played beside its cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.flaws import FLAWS
from lab.rules.tasks import State
from tests.ui.browser import e2e
from ui import rules_replay

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = e2e


def test_a_flaw_is_played_beside_its_cure(app_url: str, page: Page) -> None:
    from playwright.sync_api import expect

    pair = rules_replay.run("killed_worker")
    page.goto(f"{app_url}/rules")
    expect(page.locator(".replay[data-state=playing]")).to_be_visible()  # it starts by itself
    slider = page.get_by_role("slider", name="Moment of the run")
    slider.press("End")
    expect(page.locator(".replay[data-state=ended]")).to_be_visible()
    flawed, cured = page.locator(".side").all()
    for side, run in ((flawed, pair.flawed), (cured, pair.cured)):
        for where in ("completed", "lost"):
            expect(count(side, where)).to_have_text(str(run.play.last[where]))
    assert ink(page) > 0

    slider.press("Home")
    expect(count(flawed, "completed")).to_have_text("0")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".replay[data-state=playing]")).to_be_visible()

    other = next(flaw for flaw in FLAWS if flaw.key == "sleeping_slots")
    page.get_by_role("radio", name=other.title).click()
    expect(page.get_by_text("retry.wait: in_slot")).to_be_visible()
    assert f"flaw={other.key}" in page.url
    page.reload()
    expect(page.get_by_text("retry.wait: in_slot")).to_be_visible()


def count(side: Locator, where: str) -> Locator:
    return side.locator(f"[data-where={where}] b")


def ink(page: Page) -> int:
    """How many pixels of the first chart are drawn on."""
    pixels = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
    opaque = f"c => {pixels}.filter((value, at) => at % 4 == 3 && value > 0).length"
    return int(page.locator(".side canvas").first.evaluate(opaque))


def test_states_values_and_presets(app_url: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{app_url}/rules?scenario=worker_crash")
    expect(page.get_by_text("3 values")).to_be_visible()
    expect(page.locator(".katex-error")).to_have_count(0)
    page.locator(".katex").first.wait_for()
    page.get_by_role("radio", name="Task states").click()
    for state in State:
        expect(page.locator("svg .node text", has_text=str(state))).to_be_visible()
    page.get_by_role("radio", name="Published and lab").click()
    expect(page.locator("mark.flawed", has_text="in_slot")).to_be_visible()
