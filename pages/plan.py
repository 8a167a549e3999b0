"""Plan: the cheapest mesh that meets objectives."""

from ui import plan_page

plan_page.screen()
