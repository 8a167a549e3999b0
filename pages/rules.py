"""The rulebook: published flaws beside their cures, the states of a task, every formula and value."""

from __future__ import annotations

from ui import rules_view


def main() -> None:
    """Show the view that is asked for."""
    view = rules_view.chosen_view()
    if view == rules_view.STATES:
        rules_view.states()
    elif view == rules_view.VALUES:
        rules_view.values()
    elif view == rules_view.SWITCHES:
        rules_view.presets()
    else:
        rules_view.replay()


main()
