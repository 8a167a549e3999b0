"""When a worker's gate closes and opens, and when its process is replaced.

HealthScore = 1 − RSS / rss_limit. At 0 the gate closes; it opens again only at `resume_score`, so it cannot flap. A
process whose memory never comes back is replaced: RSS of CPython need not fall after a collection, and waiting for it
could wait for ever.
"""

from __future__ import annotations

from typing import Literal

from lab.limits import MIB
from lab.rules.base import Rules, rule

MISSING_REPORTS_CLOSED = 3
"""A worker that has missed this many reports counts as closed: silence is not health."""
YELLOW_SHARE, RED_SHARE = 0.70, 0.90


class HealthRules(Rules):
    """How memory pressure is noticed and answered."""

    backpressure: bool = rule(True, "Off in the published systems, which drew the memory bar but never acted on it.")
    report_s: float = rule(
        1.0,
        "Twice as often as published (2 s): a gate can be no faster than the reports it is judged by.",
        unit="s",
        gt=0,
        le=3_600,
    )
    rss_limit_mib: float = rule(
        512.0,
        "The published soft limit of a worker process.",
        unit="MiB",
        formula="HealthScore = 1 − RSS / rss_limit_mib; 256 → 0.5, 512 → 0, 640 → −0.25",
        gt=0,
        le=1_048_576,
    )
    resume_score: float = rule(
        0.2,
        "The gate closes at 0 and opens only here, so a worker at the limit does not flap.",
        unit="score",
        formula="open → closed at score ≤ 0; closed → open at score ≥ resume_score",
        ge=0,
        lt=1,
    )
    recycle_after_s: float = rule(
        30.0,
        "A gate that is still closed after this long belongs to a process that will not shrink: replace it.",
        unit="s",
        gt=0,
        le=86_400,
    )
    restart_after_s: float | None = rule(
        1.0,
        "A worker process that died is replaced after this long, as any supervisor would; null: never.",
        unit="s",
        ge=0,
        le=86_400,
    )
    scope: Literal["fleet", "worker"] = rule(
        "fleet",
        "fleet: the producer admits nothing while too many workers are closed. worker: the others just go on.",
    )
    close_share: float = rule(
        0.5,
        "With half of the fleet closed, the rest would be next.",
        unit="share",
        formula="admission closes while closed workers / workers ≥ close_share",
        gt=0,
        le=1,
    )

    @property
    def rss_limit_bytes(self) -> float:
        """The limit in bytes, as processes report their RSS."""
        return self.rss_limit_mib * MIB


def score(rss_bytes: float, rules: HealthRules) -> float:
    """HealthScore = 1 − RSS / limit: 1 is empty, 0 is at the limit, below 0 is over it."""
    return 1.0 - rss_bytes / rules.rss_limit_bytes


def gate_open(was_open: bool, health_score: float, rules: HealthRules) -> bool:
    """Whether a worker may take tasks, given whether it might before (hysteresis)."""
    if not rules.backpressure:
        return True
    return health_score > 0.0 if was_open else health_score >= rules.resume_score


def must_recycle(closed_for_s: float, rules: HealthRules) -> bool:
    """Whether a worker whose gate has been closed for `closed_for_s` must be replaced by a fresh process."""
    return closed_for_s >= rules.recycle_after_s


def counts_as_closed(is_open: bool, silent_for_s: float, rules: HealthRules) -> bool:
    """Whether the fleet counts a worker as closed: its gate is, or it has missed three reports."""
    return not is_open or silent_for_s >= MISSING_REPORTS_CLOSED * rules.report_s


def band(rss_bytes: float, rules: HealthRules) -> Literal["green", "yellow", "red"]:
    """The colour of a worker's memory bar: yellow from 70 % of the limit, red from 90 %."""
    share = rss_bytes / rules.rss_limit_bytes
    if share >= RED_SHARE:
        return "red"
    return "yellow" if share >= YELLOW_SHARE else "green"
