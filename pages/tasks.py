"""Dead letters and audit: look into tasks, redrive and discard them."""

from ui import tasks_view

tasks_view.screen()
