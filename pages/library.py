"""Runs: the library of records."""

from ui import runs_view

runs_view.screen()
