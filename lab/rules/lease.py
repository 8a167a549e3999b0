"""How long a claim holds, and when it is taken back.

A claim is a lease with a fencing token. The worker renews it; a worker that died or froze does not, and after
`length_s` the task is anybody's again. The frozen worker may wake up and finish, but its token is old by then and its
write is refused. Only the store's clock judges a lease: a worker's clock may be minutes off.
"""

from __future__ import annotations

from typing import Literal

from lab.rules.base import Rules, rule

RENEWALS_PER_LEASE = 3
"""Two renewals may be lost before a lease lapses; more often would only cost writes."""


class LeaseRules(Rules):
    """How claims are held and reclaimed."""

    length_s: float = rule(
        10.0,
        "Long enough for a busy worker's heartbeat to be late, short enough that a crash is mended while people watch.",
        unit="s",
        formula="renewed every length_s / 3; a crash is mended within length_s + sweep_s",
        gt=0,
        le=86_400,
    )
    sweep_s: float = rule(
        1.0,
        "How often lapsed leases are looked for. It adds to the time a crashed task waits, and costs one query.",
        unit="s",
        gt=0,
        le=3_600,
    )
    claim: Literal["leased", "pop_then_update"] = rule(
        "leased",
        "pop_then_update is the published behaviour: the queue forgets the task before the store knows who has it, and "
        "nothing is ever reclaimed.",
    )

    @property
    def reclaims(self) -> bool:
        """True when a lost claim is ever taken back."""
        return self.claim == "leased"


def renew_every_s(rules: LeaseRules) -> float:
    """Seconds between two heartbeats of a worker: a third of the lease."""
    return rules.length_s / RENEWALS_PER_LEASE


def has_lapsed(lease_until: float, now: float) -> bool:
    """True when a lease that holds until `lease_until` is over at `now` (both by the store's clock)."""
    return now >= lease_until
