"""Routing and the order of service: priority map, role map, strict, aging, weighted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.rules.priority import QUEUES, PriorityRules, queue_class, service_order

HIGH, MEDIUM, LOW = 0, 1, 2
AGING = PriorityRules(order="aging", aging_s=30.0)
WEIGHTED = PriorityRules(order="weighted")


def test_the_queues_are_named_as_promised() -> None:
    assert QUEUES == ("agent_high", "agent_medium", "agent_low")


@pytest.mark.parametrize(("priority", "queue"), [(5, HIGH), (4, HIGH), (3, HIGH), (2, MEDIUM), (1, LOW)])
def test_priority_decides_by_default(priority: int, queue: int) -> None:
    assert queue_class(priority, "QA_ENGINEER", PriorityRules()) == queue


@pytest.mark.parametrize(
    ("role", "queue"),
    [
        ("ARCHITECT", HIGH),
        ("MAGNUS_STRATEGIST", HIGH),
        ("DEVELOPER", MEDIUM),
        ("CEDRIC_WRITER", MEDIUM),
        ("QA_ENGINEER", LOW),
        ("LYRA_AUDITOR", LOW),
    ],
)
@pytest.mark.parametrize("priority", [1, 5])
def test_the_role_decides_where_it_is_asked_to(role: str, queue: int, priority: int) -> None:
    assert queue_class(priority, role, PriorityRules(route_by="role")) == queue


def test_a_role_without_a_class_goes_by_its_priority() -> None:
    assert queue_class(1, "PLUMBER", PriorityRules(route_by="role")) == LOW


@pytest.mark.parametrize("waits", [(None, None, 1e6), (0.0, 5.0, 1e6)])
def test_strict_looks_at_nothing(waits: tuple[float | None, ...]) -> None:
    assert service_order(PriorityRules(), waits, turn=9) == (HIGH, MEDIUM, LOW)


@pytest.mark.parametrize(
    ("waits", "order"),
    [
        ((0.0, 0.0, 0.0), (HIGH, MEDIUM, LOW)),  # standings 0, 1, 2
        ((0.0, 29.9, 59.9), (HIGH, LOW, MEDIUM)),  # 0, 1 − 0, 2 − 1 = 1: low has waited longer than medium
        ((0.0, 30.0, 0.0), (MEDIUM, HIGH, LOW)),  # 0, 1 − 1 = 0: equal standing, the longer wait first
        ((0.0, 0.0, 60.0), (LOW, HIGH, MEDIUM)),  # 2 − 2 = 0 and the longest wait
        ((0.0, 0.0, 59.999), (HIGH, LOW, MEDIUM)),  # 2 − 1 = 1 only
        ((90.0, 119.9, 150.0), (LOW, HIGH, MEDIUM)),  # 0 − 3, 1 − 3 = −2, 2 − 5 = −3: low waited longer than high
        ((None, 1.0, 0.0), (MEDIUM, LOW, HIGH)),  # an empty class comes last
    ],
)
def test_aging_counts_a_class_for_each_step_waited(waits: tuple[float | None, ...], order: tuple[int, ...]) -> None:
    assert service_order(AGING, waits, turn=0) == order


def test_weighted_deals_six_three_one_and_spreads_them() -> None:
    firsts = [service_order(WEIGHTED, (None, None, None), turn)[0] for turn in range(10)]
    assert Counter(firsts) == {HIGH: 6, MEDIUM: 3, LOW: 1}
    # Smooth weighted round robin by hand: add (6, 3, 1), serve the largest, take 10 from it.
    # (6,3,1)→0 (-4,3,1); (2,6,2)→1 (2,-4,2); (8,-1,3)→0 (-2,-1,3); (4,2,4)→0 (-6,2,4); (0,5,5)→1 (0,-5,5);
    # (6,-2,6)→0 (-4,-2,6); (2,1,7)→2 (2,1,-3); (8,4,-2)→0 (-2,4,-2); (4,7,-1)→1 (4,-3,-1); (10,0,0)→0 (0,0,0)
    assert firsts == [HIGH, MEDIUM, HIGH, HIGH, MEDIUM, HIGH, LOW, HIGH, MEDIUM, HIGH]


@given(weights=st.tuples(*[st.integers(1, 100)] * 3), start=st.integers(0, 1_000))
def test_weighted_keeps_every_share_in_every_full_round(weights: tuple[int, int, int], start: int) -> None:
    rules = PriorityRules(order="weighted", weights=weights)
    rounds = range(start, start + sum(weights))
    firsts = Counter(service_order(rules, (None, None, None), turn)[0] for turn in rounds)
    assert tuple(firsts[queue] for queue in (HIGH, MEDIUM, LOW)) == weights


@given(
    rules=st.sampled_from([PriorityRules(), AGING, WEIGHTED]),
    waits=st.tuples(*[st.none() | st.floats(0, 1e6)] * 3),
    turn=st.integers(0, 10**6),
)
def test_every_order_tries_every_class_once(rules: PriorityRules, waits: tuple[float | None, ...], turn: int) -> None:
    assert sorted(service_order(rules, waits, turn)) == [HIGH, MEDIUM, LOW]
