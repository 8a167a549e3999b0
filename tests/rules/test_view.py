"""High Traffic Mode and versions of what is shown."""

from __future__ import annotations

import pytest

from lab.rules.view import ViewRules, high_traffic, is_newer


@pytest.mark.parametrize(
    ("was_on", "events", "is_on"),
    [
        (False, 50, False),  # fifty is not more than fifty
        (False, 51, True),
        (True, 51, True),
        (True, 50, True),  # only an empty flush switches it off
        (True, 1, True),
        (True, 0, False),
        (False, 0, False),
    ],
)
def test_high_traffic_begins_above_fifty_and_ends_with_an_empty_flush(was_on: bool, events: int, is_on: bool) -> None:
    assert high_traffic(was_on, events, ViewRules()) is is_on


@pytest.mark.parametrize(("shown", "update", "newer"), [(3, 4, True), (3, 3, False), (3, 2, False)])
def test_an_older_version_never_overwrites(shown: int, update: int, newer: bool) -> None:
    assert is_newer(shown, update) is newer


def test_what_is_painted_is_as_designed() -> None:
    rules = ViewRules()
    assert (rules.flush_s, rules.pending_cards, rules.finished_cards) == (0.1, 20, 15)  # 10 paints a second
