"""Whether a failed task is tried again, when, and where it queues; and when an attempt is cut as hung.

After the k-th failure the task waits base_s · factor^k. With the defaults: 2, 4, 8, 16, 32 s (62 s in all), and the
sixth failure is permanent. The floor is exact because it was promised; jitter only ever adds to it, because
synchronised retries stampede and a shortened wait breaks the promise.

A retry budget bounds what retries may add to the load of everybody: a token bucket in each worker process that
successes fill and retries empty. While everything fails, almost nothing is retried. (As in gRPC, proposal A6, and in
Finagle's RetryBudget.)
"""

from __future__ import annotations

import math
from typing import Literal

from lab.limits import SERVICE_S_MAX
from lab.rules.base import Rules, rule

TOKEN_DIGITS = 9
"""Tokens are counted to this many digits, so that ten successes at 0.1 are one retry and not 0.9999999999999999."""


class RetryBudget(Rules):
    """How many retries a worker process may order."""

    ratio: float = rule(
        0.1,
        "Retries may add a tenth to the load: enough for single failures, too little to feed an overload.",
        unit="retries / success",
        formula="tokens = min(tokens + ratio, burst) at a success",
        ge=0,
        le=100,
    )
    burst: float = rule(
        10.0,
        "What may be retried before anything has succeeded: a new process starts with a full bucket.",
        unit="retries",
        formula="tokens = burst at the start; tokens − 1 at a retry, which is refused while tokens < 1",
        ge=0,
        le=1_000_000,
    )


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
    budget: RetryBudget | None = rule(
        None,
        "Off by default, as in the published systems: every failure is retried. A failure that the budget refuses to "
        "retry is permanent.",
        formula="a token bucket in each worker process; `budget: {}` switches it on with the two values below",
    )
    timeout_s: float | None = rule(
        None,
        "Off by default: the lab's work ends by itself. An attempt that hangs would hold its slot for ever.",
        unit="s",
        formula="an attempt that works longer than timeout_s is cut there and has failed",
        gt=0,
        le=SERVICE_S_MAX,
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


def budget_start(rules: RetryRules) -> float:
    """Tokens of a new worker process: a full bucket; infinitely many without a budget."""
    return rules.budget.burst if rules.budget else math.inf


def after_success(tokens: float, rules: RetryRules) -> float:
    """Tokens after an attempt has succeeded: min(tokens + ratio, burst)."""
    if rules.budget is None:
        return tokens
    return min(round(tokens + rules.budget.ratio, TOKEN_DIGITS), rules.budget.burst)


def take_retry(tokens: float, rules: RetryRules) -> tuple[float, bool]:
    """(tokens left, whether one retry may be made): it takes one token, and is refused while there is less than one."""
    if rules.budget is None:
        return tokens, True
    if tokens < 1.0:
        return tokens, False
    return round(tokens - 1.0, TOKEN_DIGITS), True


def after_failure(tokens: float, attempts: int, permanent: bool, rules: RetryRules) -> tuple[float, bool]:
    """(tokens left, `may_retry` for `tasks.transition`) after execution number `attempts` of a task has failed.

    `attempts` are those that count (`Task.spent`). A failure that no retry can mend, or that was the last one allowed,
    takes no token.
    """
    if permanent or is_spent(attempts, rules):
        return tokens, False
    return take_retry(tokens, rules)


def cut(work_s: float, rules: RetryRules) -> float:
    """Seconds after which an attempt that would work for `work_s` is over: at most `timeout_s`."""
    return work_s if rules.timeout_s is None else min(work_s, rules.timeout_s)
