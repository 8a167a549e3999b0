"""The command center whole, in a real browser: one press, real servers and workers, and every task counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.ui.browser import e2e

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [*e2e, pytest.mark.live]
LONG_MS = 180_000
"""Servers start, hundreds of tasks are done: on CI's busy cores this takes a while."""
SIDES = ("Model", "Live")


@pytest.fixture
def mesh(app_url: str) -> Iterator[str]:
    """The app, whose session is over when the test is."""
    yield app_url
    state = httpx.get(f"{app_url}/lab/mesh/state").json()["session"]["state"]
    if state in ("starting", "running"):
        headers = {"Origin": app_url}
        httpx.post(f"{app_url}/lab/mesh/command", json={"do": "stop"}, headers=headers, timeout=90).raise_for_status()


def count(page: Page, name: str, side: str) -> Locator:
    """A number at the top of the page."""
    return page.locator(f".total[data-name={name}] b.{side}")


def test_stress_a_kill_a_refresh_and_a_second_tab(mesh: str, page: Page) -> None:
    """The queue explodes; a worker is killed; the page is reloaded meanwhile; the queue drains; nothing is lost."""
    from playwright.sync_api import expect

    page.goto(mesh)
    page.get_by_role("button", name="Send 500 tasks").first.click()
    expect(page.locator(".state-word")).to_have_text("Running")
    page.get_by_role("slider", name="RSS limit").press("End")  # gates stay open
    page.get_by_role("slider", name="Slots").fill("240")  # of 1,000 positions: it drains while we look
    page.get_by_role("slider", name="Rate").press("Home")
    for side in ("model", "live"):
        expect(count(page, "pending", side)).to_have_text(re.compile(r"^[1-4]\d\d$"))
        expect(page.locator(f".worker-side.{side} [data-busy]").first).to_be_visible()

    page.get_by_role("button", name="Kill a worker").click()
    expect(page.locator(".rail .strike-title")).to_have_text(re.compile("^Killed worker"))
    page.reload()

    second = page.context.new_page()
    second.goto(mesh)
    for tab in (page, second):
        expect(tab.locator(".state-word")).to_have_text("Running")
        expect(tab.locator(".rail .strike-title")).to_have_text(re.compile("^Killed worker"))
        for side in ("model", "live"):
            expect(count(tab, "pending", side)).to_have_text("0", timeout=LONG_MS)
            expect(count(tab, "running", side)).to_have_text("0", timeout=LONG_MS)
        for name in SIDES:
            told = re.compile(rf"^{name} (\d+) in hand → \1 back → \1 done · lost 0 · doubled 0$")
            expect(tab.locator(f".rail .strike-side.{name.lower()}")).to_have_text(told)
        expect(tab.locator(".promise")).to_have_text("lost 0 · doubled 0")
    second.close()
