"""Leases, and how a worker leaves."""

from __future__ import annotations

import pytest

from lab.rules.lease import LeaseRules, has_lapsed, renew_every_s
from lab.rules.shutdown import ShutdownRules, grace_s, hands_back


def test_a_lease_is_renewed_at_a_third() -> None:
    assert renew_every_s(LeaseRules(length_s=10.0)) == pytest.approx(10 / 3)


@pytest.mark.parametrize(("now", "lapsed"), [(9.999, False), (10.0, True), (10.001, True)])
def test_a_lease_is_over_at_its_end(now: float, lapsed: bool) -> None:
    assert has_lapsed(10.0, now) is lapsed


@pytest.mark.parametrize(("claim", "reclaims"), [("leased", True), ("pop_then_update", False)])
def test_only_leases_are_reclaimed(claim: str, reclaims: bool) -> None:
    assert LeaseRules.model_validate({"claim": claim}).reclaims is reclaims


@pytest.mark.parametrize(
    ("on_term", "grace", "back"),
    [
        ("finish", 30.0, True),
        ("drop", 0.0, False),  # the published behaviour forgets whatever runs, at once
    ],
)
def test_work_ends_within_the_grace_or_is_handed_back(on_term: str, grace: float, back: bool) -> None:
    rules = ShutdownRules.model_validate({"on_term": on_term})
    assert (grace_s(rules), hands_back(rules)) == (grace, back)
