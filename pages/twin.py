"""Twin: how far the model of this machine may be trusted."""

from ui import twin_view

twin_view.screen()
