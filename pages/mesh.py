"""The command center: the mesh as it runs, model and live side by side, and everything that can be done to it."""

from __future__ import annotations

from ui import panel

panel.show()
