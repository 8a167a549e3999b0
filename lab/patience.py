"""When a run in which nothing moves any more is over. Both engines ask here, so both give up at the same point."""

from __future__ import annotations

from lab.limits import STALL_S
from lab.rules import Rulebook
from lab.rules.health import MISSING_REPORTS_CLOSED


def patience_s(rules: Rulebook) -> float:
    """Seconds without any transition, with nothing running and nothing due, after which no rule can move a task any
    more.

    Long enough for every rule that could: a lease that lapses, a gate that opens, a worker that is replaced.
    """
    wait_s = STALL_S + MISSING_REPORTS_CLOSED * rules.health.report_s
    if rules.lease.reclaims:
        wait_s += rules.lease.length_s + rules.lease.sweep_s
    if rules.health.backpressure:
        wait_s += rules.health.recycle_after_s
    return wait_s + (rules.health.restart_after_s or 0.0)
