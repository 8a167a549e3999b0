"""The editor in a real browser: slips are marked as one types, help is at hand, forms follow, a refresh is harmless."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.ui.browser import e2e

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = e2e
CLEAN = re.compile("No problems")


def at_the_end(page: Page) -> Locator:
    text = page.locator(".cm-content")
    text.click()
    page.keyboard.press("Control+End")
    return text


def test_a_slip_is_marked_in_its_line_and_goes_when_it_is_mended(app_url: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{app_url}/studio?scenario=rankup_squad")
    status = page.locator(".status")
    expect(status).to_have_text(CLEAN)
    at_the_end(page)
    page.keyboard.type("\nmesch: {workers: 2}")
    expect(status).to_have_text("1 problem to mend")
    expect(page.locator(".cm-lintRange-error")).to_have_text("mesch")
    expect(page.locator(".cm-lint-marker-error")).to_have_count(1)
    page.keyboard.press("Control+Home")
    page.locator(".problems button", has_text="did you mean 'mesh'?").click()
    expect(page.locator(".cm-activeLine")).to_have_text("mesch: {workers: 2}")
    expect(page.get_by_role("button", name="Run both")).to_be_disabled()

    page.reload()  # what was typed is still there, and still wrong
    expect(page.locator(".notice")).to_have_text("Your unsaved changes are back.")
    expect(page.locator(".problems button")).to_have_count(1)
    at_the_end(page)
    page.keyboard.press("Shift+Home")
    page.keyboard.type("# mended")
    expect(status).to_have_text(CLEAN)
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)
    expect(page.get_by_role("button", name="Run both")).to_be_enabled()


def test_forms_and_text_stay_in_step(app_url: str, page: Page) -> None:
    from playwright.sync_api import expect

    page.goto(f"{app_url}/studio?scenario=new")
    expect(page.locator(".status")).to_have_text(CLEAN)
    text = at_the_end(page)
    page.keyboard.type("rules:\nretry:\nba")
    expect(page.locator(".cm-tooltip-autocomplete li")).to_have_text(re.compile("base_s"))
    expect(page.locator(".cm-completionInfo")).to_contain_text("unit of the backoff")
    page.locator(".cm-tooltip-autocomplete li").click()
    page.keyboard.type("0.25")
    expect(text).to_contain_text("base_s: 0.25")
    expect(page.locator(".status")).to_have_text(CLEAN)

    page.get_by_role("radio", name="Form").click()
    page.get_by_role("tab", name="Agents").click()
    workers = page.get_by_role("spinbutton", name="Workers")
    workers.fill("7")
    workers.press("Enter")
    expect(text).to_contain_text("workers: 7")
    expect(text).to_contain_text("base_s: 0.25")
    text.click()
    page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("from_the_browser")
    dialog.get_by_role("button", name="Save a copy").click()
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile("scenario=from_the_browser"))
    expect(page.locator(".cm-content")).to_contain_text("workers: 7")
