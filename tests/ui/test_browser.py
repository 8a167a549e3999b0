"""The app in a real browser: from `streamlit run app.py` to a result that a refresh and a second tab keep."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.ui.browser import e2e

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = e2e


def test_run_the_model_and_keep_the_result(app_url: str, page: Page) -> None:
    page.goto(f"{app_url}/run")
    page.get_by_role("button", name=re.compile("Run sdlc-quick in both")).wait_for()
    page.get_by_role("button", name="Model", exact=True).click()
    _result(page)
    assert "job=" in page.url

    page.reload()
    _result(page)

    second = page.context.new_page()
    second.goto(page.url)
    _result(second)


@pytest.mark.live
def test_run_both_reload_in_mid_run_and_open_the_copied_link(app_url: str, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{app_url}/run?scenario=sdlc_quick")
    page.get_by_role("button", name=re.compile("Run sdlc-quick in both")).click()
    page.get_by_role("button", name="Cancel").wait_for()
    page.reload()
    page.get_by_role("button", name="Cancel").wait_for()  # still on its way
    _result(page)
    page.get_by_text("Latency, p50").first.wait_for()

    page.get_by_role("radio", name="Tasks", exact=True).click()
    page.get_by_text("Furthest apart").wait_for()
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "tab=tasks" in link

    page.goto(app_url)
    page.goto(link)
    page.get_by_text("Furthest apart").wait_for()
    page.get_by_text("Each task once").wait_for()


def _result(page: Page) -> None:
    """A finished run of the model, drawn: verdict, figures, and charts that are not blank."""
    page.get_by_text("All 8 checks hold").wait_for()
    page.get_by_text("Headline figures").wait_for()
    page.locator(".js-plotly-plot .scatterlayer .trace path.js-line").first.wait_for()
    page.locator(".js-plotly-plot").nth(3).wait_for()  # charts come one after the other


def test_a_deep_link_goes_through_the_entry(app_url: str, page: Page) -> None:
    """Streamlit's older kind of pages/ would answer without app.py: another title, and a list of files at the side."""
    page.goto(f"{app_url}/run?scenario=poison")
    page.get_by_role("button", name=re.compile("Run poison in both")).wait_for()
    assert page.title() == "Agent Mesh Lab"
    assert page.get_by_role("dialog").count() == 0
    assert page.get_by_test_id("stSidebarNav").count() == 0
    page.goto(f"{app_url}/mesh")  # the home page's own name
    page.wait_for_url(f"{app_url}/")
