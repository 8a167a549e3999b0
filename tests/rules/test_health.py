"""Health scores, bands, hysteresis, recycling, silence."""

from __future__ import annotations

import pytest

from lab.limits import MIB
from lab.rules.health import HealthRules, band, counts_as_closed, gate_open, must_recycle, score

DEFAULT = HealthRules()
LIMIT = 512 * MIB


@pytest.mark.parametrize(
    ("rss_mib", "expected"),
    [
        (0, 1.0),  # 1 − 0/512
        (256, 0.5),  # 1 − 256/512
        (512, 0.0),  # 1 − 512/512
        (640, -0.25),  # 1 − 640/512
    ],
)
def test_score_is_what_is_left_of_the_limit(rss_mib: int, expected: float) -> None:
    assert score(rss_mib * MIB, DEFAULT) == expected


@pytest.mark.parametrize(
    ("share", "colour"),
    [(0.0, "green"), (0.699, "green"), (0.70, "yellow"), (0.899, "yellow"), (0.90, "red"), (1.25, "red")],
)
def test_bands_begin_at_70_and_90_percent(share: float, colour: str) -> None:
    assert band(share * LIMIT, DEFAULT) == colour


@pytest.mark.parametrize(
    ("was_open", "health_score", "is_open"),
    [
        (True, 0.001, True),  # still above 0
        (True, 0.0, False),  # at the limit: closes
        (True, -0.25, False),
        (False, 0.001, False),  # in between: stays closed
        (False, 0.199, False),
        (False, 0.2, True),  # resume_score: opens
        (True, 0.199, True),  # in between: stays open
    ],
)
def test_the_gate_has_hysteresis(was_open: bool, health_score: float, is_open: bool) -> None:
    assert gate_open(was_open, health_score, DEFAULT) is is_open


def test_the_gate_never_closes_without_backpressure() -> None:
    assert gate_open(True, -5.0, HealthRules(backpressure=False))


@pytest.mark.parametrize(("closed_for_s", "recycle"), [(29.999, False), (30.0, True)])
def test_a_gate_closed_for_30_s_means_a_new_process(closed_for_s: float, recycle: bool) -> None:
    assert must_recycle(closed_for_s, DEFAULT) is recycle


@pytest.mark.parametrize(
    ("is_open", "silent_for_s", "closed"),
    [
        (True, 2.999, False),  # fewer than 3 reports of 1 s missed
        (True, 3.0, True),  # 3 · 1 s
        (False, 0.0, True),
    ],
)
def test_three_missing_reports_count_as_closed(is_open: bool, silent_for_s: float, closed: bool) -> None:
    assert counts_as_closed(is_open, silent_for_s, DEFAULT) is closed
