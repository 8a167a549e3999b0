"""What-if: a scenario before and after something happens to it."""

from ui import whatif_view

whatif_view.screen()
