"""Admission: when it is open, and what becomes of a task that arrives."""

from __future__ import annotations

import pytest

from lab.rules.admission import AdmissionRules, Answer, answer, is_open, room
from lab.rules.health import HealthRules

FLEET, WORKER, OFF = HealthRules(), HealthRules(scope="worker"), HealthRules(backpressure=False)
NO_LIMIT, TEN = AdmissionRules(), AdmissionRules(max_pending=10)


@pytest.mark.parametrize(
    ("closed", "workers", "health", "is_it_open"),
    [
        (0, 3, FLEET, True),
        (1, 3, FLEET, True),  # 1/3 < 0.5
        (2, 4, FLEET, False),  # 2/4 = 0.5: at least close_share
        (2, 3, FLEET, False),  # 2/3
        (3, 3, WORKER, True),  # scope worker: the producer goes on
        (3, 3, OFF, True),  # no backpressure at all
        (0, 0, FLEET, True),  # no worker has reported yet
    ],
)
def test_the_fleet_closes_admission_at_half(closed: int, workers: int, health: HealthRules, is_it_open: bool) -> None:
    assert is_open(closed, workers, pending=10**6, health=health, rules=NO_LIMIT) is is_it_open


@pytest.mark.parametrize(("pending", "is_it_open"), [(9, True), (10, False), (11, False)])
@pytest.mark.parametrize("health", [FLEET, OFF])
def test_queue_depth_closes_admission_whatever_the_health(pending: int, is_it_open: bool, health: HealthRules) -> None:
    assert is_open(0, 3, pending, health, TEN) is is_it_open


@pytest.mark.parametrize(("pending", "left"), [(0, 10), (9, 1), (10, 0), (12, 0)])
def test_room_is_what_max_pending_leaves(pending: int, left: int) -> None:
    assert room(pending, TEN) == left
    assert room(pending, NO_LIMIT) is None


@pytest.mark.parametrize(
    ("open_now", "held", "rules", "what"),
    [
        (True, 0, NO_LIMIT, Answer.ADMIT),
        (True, 1, NO_LIMIT, Answer.HOLD),  # held tasks go first
        (False, 0, NO_LIMIT, Answer.HOLD),
        (False, 0, AdmissionRules(on_closed="reject"), Answer.REJECT),
        (False, 1, AdmissionRules(hold_max=2), Answer.HOLD),
        (False, 2, AdmissionRules(hold_max=2), Answer.REJECT),  # the producer's memory is full
        (False, 0, AdmissionRules(hold_max=0), Answer.REJECT),
        (True, 0, AdmissionRules(on_closed="reject"), Answer.ADMIT),
    ],
)
def test_what_becomes_of_an_arriving_task(open_now: bool, held: int, rules: AdmissionRules, what: Answer) -> None:
    assert answer(open_now, held, rules) is what
