"""How much of a busy mesh is shown to a person: paints, cards, High Traffic Mode."""

from __future__ import annotations

from lab.rules.base import Rules, rule


class ViewRules(Rules):
    """What the live view paints."""

    flush_s: float = rule(
        0.1, "Ten paints a second, whatever the event rate: more cannot be seen.", unit="s", gt=0, le=10
    )
    high_traffic_events: int = rule(
        50,
        "More than fifty events in one flush (500 a second) is past reading one by one.",
        unit="events per flush",
        formula="on above it; off at the first empty flush",
        ge=1,
        le=1_000_000,
    )
    pending_cards: int = rule(20, "What fits a lane; the rest is counted as '+N more'.", unit="cards", ge=1, le=1_000)
    finished_cards: int = rule(15, "What fits a lane; the rest is counted as '+N more'.", unit="cards", ge=1, le=1_000)


def high_traffic(was_on: bool, events_in_flush: int, rules: ViewRules) -> bool:
    """Whether High Traffic Mode is on after a flush of `events_in_flush` events."""
    if events_in_flush > rules.high_traffic_events:
        return True
    return was_on and events_in_flush > 0


def is_newer(shown_version: int, update_version: int) -> bool:
    """Whether an update may overwrite what is shown: an older version never does."""
    return update_version > shown_version
