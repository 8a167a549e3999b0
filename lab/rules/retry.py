"""Whether a failed task is tried again, when, and where it queues.

After the k-th failure the task waits base_s · factor^k. With the defaults: 2, 4, 8, 16, 32 s (62 s in all), and the
sixth failure is permanent. The floor is exact because it was promised; jitter only ever adds to it, because
synchronised retries stampede and a shortened wait breaks the promise.
"""

from __future__ import annotations

from typing import Literal

from lab.rules.base import Rules, rule


class RetryRules(Rules):
    """How failures are retried."""

    max_retries: int = rule(
        5,
        "Five retries, so six attempts: the published systems give up at the sixth failure, and so do we.",
        unit="retries",
        formula="attempts allowed = max_retries + 1",
        ge=0,
        le=100,
    )
    base_s: float = rule(
        1.0,
        "The unit of the backoff. One second is long for a busy queue and short for a provider's outage.",
        unit="s",
        formula="wait after the k-th failure = base_s · factor^k",
        ge=0,
        le=86_400,
    )
    factor: float = rule(
        2.0,
        "Doubling: the load that retries add halves with every round.",
        unit="×",
        formula="wait after the k-th failure = base_s · factor^k",
        ge=1,
        le=100,
    )
    cap_s: float | None = rule(
        None,
        "No cap by default: 32 s is the longest wait that the default doubling reaches.",
        unit="s",
        formula="wait = min(base_s · factor^k, cap_s)",
        ge=0,
        le=86_400,
    )
    jitter: float = rule(
        0.0,
        "Off by default so that the published waits can be checked to the second. It only ever adds, up to this share.",
        unit="share",
        formula="wait · (1 + jitter · roll), roll uniform in [0, 1)",
        ge=0,
        le=10,
    )
    wait: Literal["scheduled", "in_slot"] = rule(
        "scheduled",
        "The slot is free while the task waits. in_slot is the published way: the slot sleeps through the backoff.",
    )
    position: Literal["back", "front"] = rule(
        "back", "A retried task joins the back of its class. front is a published variant: it jumps the whole class."
    )


def is_spent(attempts: int, rules: RetryRules) -> bool:
    """True when `attempts` executions (failures and reclaims alike) have used up what the rules allow."""
    return attempts > rules.max_retries


def delay_s(failures: int, rules: RetryRules, roll: float = 0.0) -> float:
    """Seconds to wait after failure number `failures` (from 1): min(base_s · factor^k, cap_s) · (1 + jitter · roll).

    `roll` in [0, 1) is the draw for the jitter. The exponent is bounded by max_retries ≤ 100, so nothing overflows.
    """
    wait_s = rules.base_s * rules.factor**failures
    if rules.cap_s is not None:
        wait_s = min(wait_s, rules.cap_s)
    return wait_s * (1.0 + rules.jitter * roll)
