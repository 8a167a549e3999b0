"""Sweep: one scenario over many values, and what each knob is worth."""

from ui import sweep_view

sweep_view.screen()
