"""Queues and their order: DESIGN 3.2. One slot, and a blocker in it while the others come in."""

from __future__ import annotations

from lab.rules.priority import QUEUES
from tests.conformance.case import T, case
from tests.conformance.evidence import GRAIN_S, Seen

HIGH, MEDIUM, LOW = QUEUES
BLOCKER = T(work_s=0.4)


@case(
    T(work_s=0.6),
    *[T(at_s=0.1, role="ARCHITECT", priority=priority) for priority in (1, 2)],
    *[T(at_s=0.3, role="QA_ENGINEER", priority=priority) for priority in (3, 4, 5, 1, 2, 3)],
    rules={"priority": {"route_by": "priority", "order": "strict", "aging_s": 0.1}},
)  # fmt: skip
def the_priority_routes_and_high_goes_first(seen: Seen) -> None:
    """3, 4, 5 → high; 2 → medium; 1 → low, whatever the role. First in, first out within a class: all of high before
    medium, then low, however long that has waited."""
    assert seen.queues == [HIGH, LOW, MEDIUM, HIGH, HIGH, HIGH, LOW, MEDIUM, HIGH]
    assert seen.claims() == [0, 3, 4, 5, 8, 2, 7, 1, 6]


CLASS_BY_ROLE = {
    "QA_ENGINEER": LOW,
    "LYRA_AUDITOR": LOW,
    "DEVELOPER": MEDIUM,
    "CEDRIC_WRITER": MEDIUM,
    "ARCHITECT": HIGH,
    "MAGNUS_STRATEGIST": HIGH,
}


@case(
    BLOCKER, *[T(at_s=0.1, role=role, priority=3) for role in CLASS_BY_ROLE], T(at_s=0.1, role="OTHER", priority=2),
    rules={"priority": {"route_by": "role"}},
)  # fmt: skip
def the_role_routes_if_asked_to(seen: Seen) -> None:
    """All but the last have the priority of the high class; the last, of a role without a class, goes by its
    priority."""
    assert seen.queues == [HIGH, *CLASS_BY_ROLE.values(), MEDIUM]
    assert seen.claims() == [0, 5, 6, 3, 4, 7, 1, 2]


@case(
    BLOCKER, *[T(at_s=0.1, priority=priority) for priority in (1, 1, 2, 2, 3, 3, 3, 3)],
    rules={"priority": {"order": "weighted", "weights": [2, 1, 1]}},
)  # fmt: skip
def weights_give_every_class_its_share(seen: Seen) -> None:
    """Smooth round robin of 2:1:1 is high, medium, low, high. The blocker had the first turn: medium, low, high, then
    high, medium, low, high, high."""
    assert seen.claims() == [0, 3, 1, 5, 6, 4, 2, 7, 8]


@case(
    *[T(at_s=at_s, work_s=0.15) for at_s in (0.0, 0.0, 0.0)],
    T(at_s=0.05, work_s=0.15, priority=1),
    *[T(at_s=number / 10, work_s=0.15) for number in range(1, 9)],
    rules={"priority": {"order": "aging", "aging_s": 0.2}},
)  # fmt: skip
def who_has_waited_counts_higher(seen: Seen) -> None:
    """High tasks come faster than the slot serves them, so in strict order the low one would be last. To pass a high
    one it has to rise by two classes, which takes 2 · 0.2 s of waiting."""
    claims, low = seen.claims(), 3
    assert 3 <= claims.index(low) < len(claims) - 1
    assert seen.pending_s(low)[0][0] >= 0.4 - GRAIN_S
