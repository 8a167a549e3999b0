"""The four pages that ask the model, in a real browser: the shortest way through each, from its first sight to its
answer, and back to it by the address.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import e2e
from tests.ui.conftest import TEXT

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = e2e
NAME = "questions"


@pytest.fixture(scope="module")
def asked(app_url: str, app_runs: Path) -> str:
    """The app, which has a scenario of forty tasks to ask."""
    folder = app_runs / ".scenarios"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.yaml").write_text(TEXT.replace("name: small", f"name: {NAME}"), encoding="utf-8")
    return app_url


def _enter(page: Page, field: Locator, values: str) -> None:
    """Type, and let the page hear of it: what is typed while it is drawn anew may be lost."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    field.fill(values)
    field.press("Enter")
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def test_a_sweep_is_started_answered_and_found_again(asked: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{asked}/sweep?scenario={NAME}")
    for place, values in enumerate(("1,2", "2,4")):
        _enter(page, page.get_by_role("textbox", name="Values").nth(place), values)
    page.get_by_role("button", name=f"Start 20 runs of {NAME}").click()
    expect(page.get_by_text("with workers 2, slots 4")).to_be_visible()
    expect(page.locator(".js-plotly-plot .heatmaplayer .hm")).to_have_count(1)
    address = page.url
    assert "job=" in address

    page.get_by_role("button", name="New sweep").click()
    expect(page.get_by_text("Or open an earlier one")).to_be_visible()
    page.goto(address)
    expect(page.get_by_text(re.compile("^Moved most by (workers|slots)"))).to_be_visible()


def test_a_plan_names_the_mesh_and_a_bad_wish_is_told(asked: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{asked}/plan?scenario={NAME}")
    start = page.get_by_role("button", name="Find the cheapest mesh").last
    page.get_by_text("What may be tried").click()
    _enter(page, page.get_by_role("textbox", name="Workers"), "many")
    expect(start).to_be_disabled()
    for name, values in (("Workers", "3,4"), ("Slots of a worker", "2")):
        _enter(page, page.get_by_role("textbox", name=name), values)
    expect(start).to_be_enabled()
    start.click()
    expect(page.get_by_role("heading", name=re.compile(r"^[34] workers × 2 slots|^No mesh"))).to_be_visible()
    expect(page.get_by_text("What more money would buy")).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_attached()
    expect(page).to_have_url(re.compile("job="))


def test_a_card_is_an_answer_and_the_way_back_is_none(asked: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{asked}/whatif?scenario={NAME}")
    page.get_by_role("button", name="Traffic doubles").click()
    expect(page.get_by_role("heading", name=re.compile("^Latency p99 "))).to_be_visible()
    expect(page).to_have_url(re.compile("card=traffic"))
    expect(page.get_by_role("button", name=re.compile("^Run it live"))).to_be_enabled()
    page.get_by_role("button", name="Traffic doubles").click()
    expect(page.get_by_text("Choose a card to see what it does")).to_be_visible()


def test_a_test_of_the_model_can_be_begun_and_left(asked: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{asked}/twin")
    page.get_by_role("button", name=re.compile("^Quick test")).click()
    expect(page.get_by_text(re.compile(r"\d+ of \d+"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("was cancelled")).to_be_visible()
    page.get_by_text("Shadow of a running mesh").click()
    expect(page.get_by_role("heading", name=re.compile("^Shadow: your running mesh"))).to_be_visible()
    expect(page).to_have_url(re.compile("view=shadow"))
