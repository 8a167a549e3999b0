"""Which queue a task joins, and which queue is served next.

Three classes, three Redis lists. Inside a class the order is first in, first out. Between classes it is `strict` (the
published order, which starves the low class under load), `aging` or `weighted` (neither starves anybody).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from lab.rules.base import Rules, rule

QUEUES = ("agent_high", "agent_medium", "agent_low")
"""The queues by class: index 0 is served first."""
DEAD_LETTERS = "agent_dead_letter"
PRIORITY_MIN, PRIORITY_MAX = 1, 5
PRIORITY_DEFAULT = 3

CLASS_OF_PRIORITY = {5: 0, 4: 0, 3: 0, 2: 1, 1: 2}
CLASS_OF_ROLE = {
    "ARCHITECT": 0,
    "MAGNUS_STRATEGIST": 0,
    "DEVELOPER": 1,
    "CEDRIC_WRITER": 1,
    "QA_ENGINEER": 2,
    "LYRA_AUDITOR": 2,
}
STRICT_ORDER = (0, 1, 2)

Share = Annotated[int, Field(ge=1, le=100)]


class PriorityRules(Rules):
    """How tasks are routed and ordered."""

    route_by: Literal["priority", "role"] = rule(
        "priority",
        "The request's priority decides, as in the published code; its README promised the role, so that is a switch.",
        formula="priority 3, 4, 5 → agent_high; 2 → agent_medium; 1 → agent_low",
    )
    order: Literal["strict", "aging", "weighted"] = rule(
        "strict", "Published order: a lower class is served only while every higher one is empty. It can starve."
    )
    aging_s: float = rule(
        30.0,
        "In aging order, waiting this long counts as one class higher, so nothing waits for ever.",
        unit="s",
        formula="effective class = class − floor(waited / aging_s)",
        gt=0,
        le=86_400,
    )
    weights: tuple[Share, Share, Share] = rule(
        (6, 3, 1),
        "In weighted order, of ten tasks six come from high, three from medium, one from low while all have work.",
        unit="shares",
        strict=False,
    )


def queue_class(priority: int, role: str, rules: PriorityRules) -> int:
    """The class (0 high, 1 medium, 2 low) that a task joins. A role without a class of its own goes by its priority."""
    if rules.route_by == "role":
        return CLASS_OF_ROLE.get(role, CLASS_OF_PRIORITY[priority])
    return CLASS_OF_PRIORITY[priority]


def service_order(rules: PriorityRules, head_waits_s: Sequence[float | None], turn: int) -> tuple[int, ...]:
    """The classes in the order in which the next free slot should try them.

    `head_waits_s` holds how long the first task of each class has waited (None: the class is empty); only `aging`
    looks at it. `turn` counts the tasks taken so far; only `weighted` looks at it.
    """
    if rules.order == "aging":
        return _by_age(rules.aging_s, head_waits_s)
    if rules.order == "weighted":
        first = _rota(rules.weights)[turn % sum(rules.weights)]
        return (first, *(c for c in STRICT_ORDER if c != first))
    return STRICT_ORDER


def _by_age(aging_s: float, head_waits_s: Sequence[float | None]) -> tuple[int, ...]:
    """Effective class first, then the longer wait, so that an aged task is not passed by a fresh one of the same
    standing.
    """

    def standing(queue: int) -> tuple[float, float]:
        waited_s = head_waits_s[queue]
        return (queue - waited_s // aging_s, -waited_s) if waited_s is not None else (float("inf"), 0.0)

    return tuple(sorted(STRICT_ORDER, key=standing))


@lru_cache(maxsize=256)
def _rota(weights: tuple[int, ...]) -> tuple[int, ...]:
    """Smooth weighted round robin (nginx's): 6:3:1 gives 0 1 0 0 1 0 2 0 1 0 rather than six in a row."""
    current = [0] * len(weights)
    rota = []
    for _ in range(sum(weights)):
        current = [have + weight for have, weight in zip(current, weights, strict=True)]
        first = current.index(max(current))
        current[first] -= sum(weights)
        rota.append(first)
    return tuple(rota)
