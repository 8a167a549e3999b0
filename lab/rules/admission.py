"""Whether a new task may come in now, must be held by the producer, or is refused.

A held task is not accepted and has not been acknowledged, so a crash loses nothing that anyone was promised.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from lab.rules.base import Rules, rule
from lab.rules.health import HealthRules


class AdmissionRules(Rules):
    """How admission closes, and what happens to tasks meanwhile."""

    max_pending: int | None = rule(
        None,
        "Off by default: the published systems queue without bound, and a burst of 500 is meant to fit.",
        unit="tasks",
        formula="admission closes while PENDING ≥ max_pending",
        ge=1,
        le=100_000_000,
    )
    on_closed: Literal["hold", "reject"] = rule(
        "hold", "hold: the producer keeps the task and persists it when the gate opens. reject: 429 with Retry-After."
    )
    hold_max: int = rule(
        100_000,
        "A producer's memory is finite too: what it cannot hold it must refuse.",
        unit="tasks",
        ge=0,
        le=100_000_000,
    )
    retry_after_s: float = rule(
        1.0,
        "What a refused client is told to wait: one report, after which the gate may have opened.",
        unit="s",
        gt=0,
        le=3_600,
    )


class Answer(StrEnum):
    """What the producer does with a task that arrives."""

    ADMIT = "admit"
    HOLD = "hold"
    REJECT = "reject"


def is_open(closed_workers: int, workers: int, pending: int, health: HealthRules, rules: AdmissionRules) -> bool:
    """Whether admission is open, given how many of the workers count as closed and how many tasks are pending."""
    if rules.max_pending is not None and pending >= rules.max_pending:
        return False
    if not health.backpressure or health.scope != "fleet" or workers == 0:
        return True
    return closed_workers / workers < health.close_share


def room(pending: int, rules: AdmissionRules) -> int | None:
    """How many more tasks the queue depth alone lets in; None: any number."""
    return None if rules.max_pending is None else max(0, rules.max_pending - pending)


def answer(open_now: bool, held: int, rules: AdmissionRules) -> Answer:
    """What becomes of an arriving task while the producer holds `held` others.

    Held tasks go first, so while any is held a new one is held behind it even if the gate has just opened.
    """
    if open_now and held == 0:
        return Answer.ADMIT
    if rules.on_closed == "hold" and held < rules.hold_max:
        return Answer.HOLD
    return Answer.REJECT
