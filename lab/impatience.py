"""Queueing theory of clients that leave: M/M/c where a task is thrown out of the queue when its client's patience ends.

A steady state exists at any load, since a longer queue loses more. Who leaves has waited all its patience; who is
served has waited less. `queueing.py` explains the conventions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lab.queueing import erlang_b

STATES_MAX = 1_000_000
"""Queue lengths that are summed one by one; beyond, a float64 sees no more of them or the answer is a fluid's."""
NEGLIGIBLE_LOG = -60.0
"""The chain is cut where a state is e^60 times less likely than the likeliest."""


class Impatient(NamedTuple):
    """Shares of all tasks, and mean seconds: of all tasks in the queue, and of those that were served."""

    left_share: float
    wait_chance: float
    mean_wait_s: float
    served_wait_s: float


def erlang_a(arrival_per_s: float, service_s: float, servers: int, patience_s: float) -> Impatient:
    """M/M/c+M (Erlang-A): exponential patience with mean `patience_s` = 1/θ.

    A birth-death chain: p(n + 1) / p(n) = λ / (min(n + 1, c)·μ + max(0, n + 1 − c)·θ); P(left) = θ·Lq / λ. A client
    with j before it in the queue is served with chance cμ / (cμ + (j + 1)·θ), and has then waited the sum of
    1 / (cμ + i·θ), i = 1 … j + 1. (Palm 1957; Mandelbaum and Zeltyn, "Service engineering in action", 2007, section 4.)
    Raises ValueError for a queue of more than `STATES_MAX`.
    """
    leave_per_s, full_per_s = 1.0 / patience_s, servers / service_s
    blocked = erlang_b(servers, arrival_per_s * service_s)
    if blocked == 0.0:
        return Impatient(0.0, 0.0, 0.0, 0.0)
    # λ / (cμ + jθ) falls from λ/(cμ) to 0: the sum of its logarithms rises to a peak, then falls for ever.
    waiting = np.arange(_states(arrival_per_s, full_per_s, leave_per_s))
    leaving = full_per_s + leave_per_s * waiting
    logs = np.concatenate([[0.0], np.cumsum(np.log(arrival_per_s / leaving[1:]))])
    shift = float(logs.max())
    weights = np.exp(logs - shift)
    weights /= weights.sum() + math.exp(-shift) * (1.0 / blocked - 1.0)
    next_leaving = leaving + leave_per_s
    served = full_per_s / next_leaving
    left_share = leave_per_s * float(weights @ waiting) / arrival_per_s
    served_wait = float((weights * served) @ np.cumsum(1.0 / next_leaving))
    return Impatient(left_share, float(weights.sum()), left_share * patience_s, served_wait / (1.0 - left_share))


def _states(arrival_per_s: float, full_per_s: float, leave_per_s: float) -> int:
    """How many waiting tasks the chain must hold: past its likeliest length by some thirty standard deviations."""
    likeliest = max(0.0, (arrival_per_s - full_per_s) / leave_per_s)
    spread = math.sqrt(max(arrival_per_s, full_per_s) / leave_per_s)
    thin = math.inf if arrival_per_s >= full_per_s else NEGLIGIBLE_LOG / math.log(arrival_per_s / full_per_s)
    needed = likeliest + min(30.0 * spread + 100.0, thin + 10.0)
    if needed > STATES_MAX:
        raise ValueError(f"about {needed:,.0f} tasks would wait; at most {STATES_MAX:,} can be summed")
    return int(needed)


def fixed_patience(arrival_per_s: float, service_s: float, servers: int, patience_s: float) -> Impatient:
    """M/M/c+D: every client leaves after exactly `patience_s`.

    The wait that a client of endless patience would have has the density λ·exp(λ·min(x, d) − cμ·x) / N for x > 0, d the
    patience, and N − λ·∫ = 1 / B(c − 1) for no wait at all; a client leaves where it exceeds d. (Barrer, Operations
    Research 5, 1957; Zeltyn and Mandelbaum, Queueing Systems 51, 2005, section 2.)
    """
    full_per_s = servers / service_s
    drain_per_s = full_per_s - arrival_per_s
    blocked = erlang_b(servers - 1, arrival_per_s * service_s)
    if blocked == 0.0:
        return Impatient(0.0, 0.0, 0.0, 0.0)
    # Relative to the largest value of the density, so that nothing overflows under overload.
    shift = max(0.0, -drain_per_s * patience_s)
    shorter, shorter_s = _moments(drain_per_s, patience_s)
    longer = math.exp(-drain_per_s * patience_s - shift) / full_per_s
    whole = math.exp(-shift) / blocked + arrival_per_s * (shorter + longer)
    left_share = arrival_per_s * longer / whole
    served_s = arrival_per_s * shorter_s / whole
    return Impatient(
        left_share,
        arrival_per_s * (shorter + longer) / whole,
        served_s + left_share * patience_s,
        served_s / (1.0 - left_share),
    )


def _moments(rate: float, upto: float) -> tuple[float, float]:
    """∫ e^(−rate·x) dx and ∫ x·e^(−rate·x) dx over 0 … upto; for a negative rate divided by e^(−rate·upto)."""
    y = abs(rate) * upto
    if y < 1e-4:  # the differences below would cancel; the next terms are of order y²
        zeroth, first = upto * (1.0 - y / 2.0), upto**2 * (0.5 - y / 3.0)
    else:
        zeroth = -math.expm1(-y) / abs(rate)
        first = (zeroth - upto * math.exp(-y)) / abs(rate)
    return (zeroth, first) if rate >= 0 else (zeroth, upto * zeroth - first)
