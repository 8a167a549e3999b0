"""Clients that leave and runs that end: the formulas against published values and against arithmetic.

"Reference" is section 5 of the project's simulation reference, as in test_queueing.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab import transients
from lab.impatience import erlang_a, fixed_patience
from lab.queueing import MMc

PRINTED = 5.01e-7
"""Values printed with six decimals are right to half of the last one."""


# ---- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrival_per_s", "leave_per_s", "left", "wait_s", "chance"),  # reference 5.6: eight servers, mean service 1 s
    [
        (6.4, 0.5, 0.049438, 0.098876, 0.350393),
        (8.0, 0.5, 0.116014, 0.232029, 0.623531),
        (9.6, 0.5, 0.203990, 0.407980, 0.833441),
        (9.6, 0.1, 0.171947, 1.719474, 0.976434),
        (12.0, 1.0, 0.347181, 0.347181, 0.910496),
    ],
)
def test_erlang_a(arrival_per_s: float, leave_per_s: float, left: float, wait_s: float, chance: float) -> None:
    """And all wait what the served and the leaving wait together; whoever leaves, leaves at rate θ·Lq."""
    found = erlang_a(arrival_per_s, 1.0, 8, 1.0 / leave_per_s)
    assert (found.left_share, found.mean_wait_s, found.wait_chance) == pytest.approx(
        (left, wait_s, chance), abs=PRINTED
    )


def test_erlang_a_where_clients_leave_as_fast_as_they_are_served() -> None:
    """θ = μ: every task leaves the mesh at rate μ, so N is Poisson(λ/μ) as in M/M/∞; here λ/μ = 2 and c = 1.

    P(left) = Lq·θ/λ = (2 − P(busy))/2 = (2 − (1 − e^−2))/2.
    """
    found = erlang_a(2.0, 1.0, 1, 1.0)
    assert found.left_share == pytest.approx((1.0 + math.exp(-2.0)) / 2.0, rel=1e-12)
    assert found.wait_chance == pytest.approx(1.0 - math.exp(-2.0), rel=1e-12)


@pytest.mark.parametrize("patience", [erlang_a, fixed_patience])
def test_endless_patience_is_erlang_c(patience) -> None:
    """Nobody leaves; the mean differs by what a patience of 10,000 s still does."""
    found = patience(6.4, 1.0, 8, 1e4)
    assert found.left_share == pytest.approx(0.0, abs=1e-4)
    assert found.served_wait_s == pytest.approx(0.286028, rel=1e-3)
    assert found.wait_chance == pytest.approx(0.457645, rel=1e-3)


@pytest.mark.parametrize(("arrival_per_s", "wait_s"), [(0.5, 1.0), (1.5, 1.0), (1.0, 2.0), (0.999999, 2.0), (9.0, 3.0)])
def test_fixed_patience_of_one_server(arrival_per_s: float, wait_s: float) -> None:
    """M/M/1+D by the workload: density v(x) = λ·v0·e^((λ−μ)x) up to d, then λ·v0·e^(λd − μx); ∫v + v0 = 1."""
    x = np.linspace(0.0, wait_s, 200_001)
    below = arrival_per_s * np.exp((arrival_per_s - 1.0) * x)
    beyond = arrival_per_s * math.exp((arrival_per_s - 1.0) * wait_s)
    nobody = 1.0 / (1.0 + np.trapezoid(below, x) + beyond)
    found = fixed_patience(arrival_per_s, 1.0, 1, wait_s)
    served_s = np.trapezoid(below * x, x) * nobody / (1.0 - beyond * nobody)
    assert found.left_share == pytest.approx(beyond * nobody, rel=1e-8)
    assert found.wait_chance == pytest.approx(1.0 - nobody, rel=1e-8)
    assert found.served_wait_s == pytest.approx(served_s, rel=1e-8)
    assert found.mean_wait_s == pytest.approx(served_s * (1 - found.left_share) + wait_s * found.left_share, rel=1e-8)


def test_flow_is_conserved_with_impatience() -> None:
    """What is served keeps the servers busy: λ·(1 − P(left))·E[S] = E[busy servers], here c under a huge overload."""
    for found in (erlang_a(80.0, 1.0, 8, 2.0), fixed_patience(80.0, 1.0, 8, 2.0)):
        assert 80.0 * (1.0 - found.left_share) == pytest.approx(8.0, rel=1e-9)


def test_a_queue_too_long_to_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="would wait"):
        erlang_a(1e6, 1.0, 8, 3_600.0)


# ---- runs that end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "load", "service_s", "count", "wait_s"),  # reference 5.7b; d(25|0) = 2.12 in Law and Kelton
    [
        (1, 0.9, 0.9, 25, 2.124489),
        (1, 0.9, 0.9, 50, 3.052970),
        (1, 0.9, 0.9, 100, 4.134185),
        (1, 0.9, 0.9, 200, 5.275563),
        (1, 0.8, 1.0, 25, 1.919005),
        (1, 0.8, 1.0, 100, 3.100054),
        (1, 0.8, 1.0, 500, 3.800035),
        (1, 0.8, 1.0, 2_000, 3.950000),
        (8, 0.8, 1.0, 25, 0.039869),
        (8, 0.8, 1.0, 100, 0.171106),
        (8, 0.8, 1.0, 500, 0.260313),
        (8, 0.8, 1.0, 2_000, 0.279598),
        (8, 0.9, 1.0, 25, 0.059334),
        (8, 0.9, 1.0, 100, 0.314823),
        (8, 0.9, 1.0, 500, 0.665152),
        (8, 0.9, 1.0, 2_000, 0.819408),
        (8, 0.95, 1.0, 25, 0.070168),
        (8, 0.95, 1.0, 100, 0.408025),
        (8, 0.95, 1.0, 500, 1.074406),
        (8, 0.95, 1.0, 2_000, 1.674165),
    ],
)
def test_the_first_tasks_of_an_empty_mesh(
    servers: int, load: float, service_s: float, count: int, wait_s: float
) -> None:
    found = transients.first_waits(servers * load / service_s, service_s, servers, count)
    assert found.mean_s == pytest.approx(wait_s, abs=PRINTED)


def test_the_first_tasks_one_by_one() -> None:
    """M/M/1, λ = μ = 1: every event is an end or an arrival with chance ½. Task 2 finds one with chance ½: W = ½.
    Task 3 finds two with chance ½·½, and one with ½·½·½ + ½·½ = ⅜: W = ½ + ⅜.
    """
    assert transients.first_waits(1.0, 1.0, 1, 1) == pytest.approx((0.0, 0.0))
    assert transients.first_waits(1.0, 1.0, 1, 2) == pytest.approx((0.25, 0.25))
    assert transients.first_waits(1.0, 1.0, 1, 3).mean_s == pytest.approx((0.5 + 0.875) / 3.0)


def test_no_more_tasks_than_servers_never_wait() -> None:
    assert transients.first_waits(50.0, 1.0, 8, 8) == pytest.approx((0.0, 0.0), abs=1e-15)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (8, 0.8), (8, 0.5), (20, 0.7)])
def test_the_closed_form_continues_the_chain(servers: int, load: float) -> None:
    """2,000 tasks are more than 20 relaxation times at these loads, so both must give the same nine digits."""
    stepped = transients.first_waits(servers * load, 1.0, servers, 2_000)
    assert transients.later_waits(servers * load, 1.0, servers, 2_000) == pytest.approx(stepped, rel=1e-9)


@pytest.mark.parametrize(("load", "saved_s"), [(0.5, 4.0), (0.8, 100.0), (0.9, 900.0)])
def test_what_the_first_tasks_of_one_server_save(load: float, saved_s: float) -> None:
    """M/M/1, μ 1: ρ / (1 − ρ)³ in all. (At ρ .8 the reference's n = 2,000 says (4 − 3.95)·2,000 = 100.)"""
    steady_s = MMc(load, 1.0, 1).mean_wait_s
    assert 10_000 * (steady_s - transients.later_waits(load, 1.0, 1, 10_000).mean_s) == pytest.approx(saved_s)


def test_bursts() -> None:
    """500 tasks of 2 s on 15 slots: 34 rounds, 68 s; the mean wait is 2·(15·Σ_{i<33} i + 5·33)/500 = 32.34 s. Of the
    sorted waits number 494.01 is 64 + .01·2 = 64.02 s (tasks 480 to 494 start at 64, 495 to 499 at 66).
    """
    drain = transients.burst_constant(500, 2.0, 15)
    waits = np.repeat(np.arange(34), 15)[:500] * 2.0
    assert drain == pytest.approx((waits.mean(), 68.0))
    for share in (0.5, 0.95, 0.99, 1.0):
        assert transients.burst_wait_quantile_s(500, 2.0, 15, share) == pytest.approx(np.quantile(waits, share))
    assert transients.burst_constant(3, 2.0, 15) == pytest.approx((0.0, 2.0))


def test_bursts_of_exponential_work() -> None:
    """Three on two slots, mean 1 s: the third starts at the first end, after ½; the two left take 1 + ½."""
    assert transients.burst_exponential(3, 1.0, 2) == pytest.approx((0.5 / 3.0, 0.5 + 1.5))
    assert transients.burst_exponential(4, 1.0, 16) == pytest.approx((0.0, 1.0 + 1 / 2 + 1 / 3 + 1 / 4))


def test_even_arrivals_and_constant_work() -> None:
    """Task i at i/10, 0.3 s each, two slots: task 2q starts at q·.3, .1·q late: waits 0, 0, .1, .1, .2, .2; task 5 is
    done at .5 + .2 + .3 = 1.0. With three slots nobody waits.
    """
    assert transients.even_constant(6, 10.0, 0.3, 2) == pytest.approx((0.1, 1.0))
    assert transients.even_constant(6, 10.0, 0.3, 3) == pytest.approx((0.0, 0.8))


def test_the_fluid_of_an_overload() -> None:
    """900/s for 15 s on 60 slots of .1 s: 600/s, so 13,500 tasks take 22.5 s and wait (22.5 − 15)/2 on average."""
    assert transients.overload(13_500, 900.0, 0.1, 60) == pytest.approx((3.75, 22.5))
