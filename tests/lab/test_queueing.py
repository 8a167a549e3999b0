"""Queueing formulas against published values and against arithmetic; each table says where its numbers are from.

"Reference" is section 5 of the project's simulation reference: values that were computed apart from this code, and
checked against the tests of Octave's `queueing` package (after Bolch, Greiner, de Meer and Trivedi).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab import queueing
from lab.feedback import Attempts, retried_mmc
from lab.queueing import MMc, MMcK

PRINTED = 5.01e-7
"""Values printed with six decimals are right to half of the last one."""


# ---- Erlang ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "erlangs", "blocked"),  # reference 5.2, eight digits
    [
        (1, 1.0, 0.5),  # a / (1 + a)
        (2, 1.6, 0.32989691),
        (8, 6.4, 0.14439389),
        (8, 8.0, 0.23557026),
        (10, 6.0, 0.04314184),
        (20, 15.0, 0.04559322),
        (100, 100.0, 0.07570045),
    ],
)
def test_erlang_b(servers: int, erlangs: float, blocked: float) -> None:
    assert queueing.erlang_b(servers, erlangs) == pytest.approx(blocked, abs=5.01e-9)


def test_erlang_b_is_the_definition() -> None:
    """(a^c / c!) / Σ a^k / k!, term by term."""
    terms = [6.4**k / math.factorial(k) for k in range(9)]
    assert queueing.erlang_b(8, 6.4) == pytest.approx(terms[-1] / sum(terms), rel=1e-14)


def test_erlang_b_at_sizes_that_overflow_factorials() -> None:
    """At a = c it falls like √(2 / (π·c)) (Jagerman 1974); with many servers to spare it is 0, not an error."""
    assert queueing.erlang_b(1_000_000, 1_000_000.0) == pytest.approx(math.sqrt(2 / (math.pi * 1e6)), rel=2e-3)
    assert queueing.erlang_b(100_000, 10.0) == 0.0
    assert queueing.erlang_c(100_000, 10.0) == 0.0


def test_erlang_c_of_ten_servers() -> None:
    """Reference 5.2: C(10, 6) = .10129924; and more work than servers always waits."""
    assert queueing.erlang_c(10, 6.0) == pytest.approx(0.10129924, abs=5.01e-9)
    assert queueing.erlang_c(2, 2.0) == queueing.erlang_c(2, 3.0) == 1.0


MMC = (  # reference 5.1, mean service 1 s: c, ρ, C, Wq, Lq, wait p95, wait p99
    (1, 0.5, 0.5, 1.0, 0.5, 4.6052, 7.8240),
    (1, 0.8, 0.8, 4.0, 3.2, 13.8629, 21.9101),
    (1, 0.9, 0.9, 9.0, 8.1, 28.9037, 44.9981),
    (1, 0.95, 0.95, 19.0, 18.05, 58.8888, 91.0775),
    (2, 0.5, 0.333333, 0.333333, 0.333333, 1.8971, 3.5066),
    (2, 0.8, 0.711111, 1.777778, 2.844444, 6.6370, 10.6606),
    (2, 0.9, 0.852632, 4.263158, 7.673684, 14.1815, 22.2287),
    (2, 0.95, 0.925641, 9.256410, 17.587179, 29.1846, 45.2790),
    (4, 0.5, 0.173913, 0.086957, 0.173913, 0.6233, 1.4280),
    (4, 0.8, 0.596432, 0.745541, 2.385730, 3.0987, 5.1105),
    (4, 0.9, 0.787753, 1.969383, 7.089779, 6.8929, 10.9165),
    (4, 0.95, 0.891419, 4.457095, 16.936961, 14.4040, 22.4511),
    (8, 0.5, 0.059044, 0.014761, 0.059044, 0.0416, 0.4439),
    (8, 0.8, 0.457645, 0.286028, 1.830580, 1.3838, 2.3897),
    (8, 0.9, 0.701533, 0.876916, 6.313797, 3.3016, 5.3134),
    (8, 0.95, 0.844169, 2.110422, 16.039204, 7.0658, 11.0894),
    (16, 0.5, 0.009019, 0.001127, 0.009019, 0.0, 0.0),
    (16, 0.8, 0.304884, 0.095276, 1.219536, 0.5650, 1.0679),
    (16, 0.9, 0.591343, 0.369590, 5.322091, 1.5440, 2.5499),
    (16, 0.95, 0.780192, 0.975241, 14.823657, 3.4344, 5.4462),
    (32, 0.5, 0.000291, 0.000018, 0.000291, 0.0, 0.0),
    (32, 0.8, 0.160623, 0.025097, 0.642493, 0.1823, 0.4338),
    (32, 0.9, 0.458197, 0.143186, 4.123770, 0.6923, 1.1952),
    (32, 0.95, 0.695710, 0.434819, 13.218492, 1.6456, 2.6515),
)


@pytest.mark.parametrize(("servers", "load", "chance", "wait_s", "queue", "p95_s", "p99_s"), MMC)
def test_mmc(servers: int, load: float, chance: float, wait_s: float, queue: float, p95_s: float, p99_s: float) -> None:
    law = MMc(servers * load, 1.0, servers)
    assert law.load == pytest.approx(load)
    assert law.wait_chance == pytest.approx(chance, abs=PRINTED)
    assert law.mean_wait_s == pytest.approx(wait_s, abs=PRINTED)
    assert law.mean_queue == pytest.approx(queue, abs=PRINTED)
    assert law.wait_quantile_s(0.95) == pytest.approx(p95_s, abs=5.01e-5)
    assert law.wait_quantile_s(0.99) == pytest.approx(p99_s, abs=5.01e-5)


@pytest.mark.parametrize(
    ("servers", "queue", "latency_s"),  # Octave `queueing`, inst/qsmmm.m: λ 9, μ 5; printed with three decimals
    [(2, 7.674, 1.053), (4, 0.105, 0.212)],
)
def test_mmc_as_octave_has_it(servers: int, queue: float, latency_s: float) -> None:
    law = MMc(9.0, 0.2, servers)
    assert (law.mean_queue, law.mean_latency_s) == pytest.approx((queue, latency_s), abs=5.01e-4)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (8, 0.8), (8, 0.875), (8, 0.3), (64, 0.95)])
def test_latencies_of_mmc(servers: int, load: float) -> None:
    """The tail integrates to the mean, its quantile is its inverse, and M/M/1's is exp(−(μ − λ)·t). At ρ = 1 − 1/c both
    exponentials of the sum have the same rate, where the textbook formula is 0/0.
    """
    law = MMc(servers * load, 1.0, servers)
    t = np.linspace(0.0, 60.0 / min(1.0, law.drain_per_s), 200_001)
    assert np.trapezoid([law.latency_tail(x) for x in t], t) == pytest.approx(law.mean_latency_s, rel=1e-4)
    p99_s = law.latency_quantile_s(0.99)
    assert law.latency_tail(p99_s) == pytest.approx(0.01, rel=1e-9)
    if servers == 1:
        assert p99_s == pytest.approx(-math.log(0.01) / (1.0 - load), rel=1e-9)


def test_an_unsteady_queue_is_refused() -> None:
    with pytest.raises(ValueError, match="100% of the servers"):
        MMc(2.0, 1.0, 2)


@pytest.mark.parametrize(
    ("servers", "load", "relaxation_s"),  # 1 / (c·(1 − √ρ)²), in hand with √.25 = .5 and √.64 = .8, √.81 = .9
    [(1, 0.25, 4.0), (1, 0.64, 25.0), (8, 0.64, 3.125), (8, 0.81, 12.5), (2, 1.0, math.inf)],
)
def test_relaxation_time(servers: int, load: float, relaxation_s: float) -> None:
    assert queueing.relaxation_s(servers, 1.0, load) == pytest.approx(relaxation_s, rel=1e-12)


# ---- a queue with an end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "places", "load", "refused", "wait_s"),  # reference 5.2, eight and six decimals
    [
        (1, 10, 0.8, 0.02349286, 2.797098),
        (1, 10, 1.0, 0.09090909, 4.5),  # 1/11; each of 1 … 9 in the queue as likely: (0 + … + 9)/10
        (1, 10, 1.2, 0.19258650, 5.926138),
        (8, 16, 0.8, 0.01636097, 0.174672),
        (8, 28, 0.8, 0.00105973, 0.270969),
        (8, 28, 1.0, 0.04124559, 1.129274),
        (8, 28, 1.2, 0.16877046, 1.920023),
        (8, 108, 1.2, 0.16666667, 11.875),
    ],
)
def test_mmck(servers: int, places: int, load: float, refused: float, wait_s: float) -> None:
    law = MMcK(servers * load, 1.0, servers, places)
    assert law.refused_share == pytest.approx(refused, abs=5.01e-9)
    assert law.mean_wait_s == pytest.approx(wait_s, abs=PRINTED)


@pytest.mark.parametrize(
    ("arrival_per_s", "service_s", "servers", "places", "refused"),  # Octave `queueing`, inst/qsmmmk.m
    [(50.0, 0.1, 4, 6, 0.293543), (3.0, 0.5, 2, 5, 0.085113)],
)
def test_mmck_as_octave_has_it(
    arrival_per_s: float, service_s: float, servers: int, places: int, refused: float
) -> None:
    """Printed with six decimals, the last one cut."""
    assert MMcK(arrival_per_s, service_s, servers, places).refused_share == pytest.approx(refused, abs=1e-6)


def test_mmck_latency_as_octave_has_it() -> None:
    """M/M/3/7, λ 40, μ 30: R = .036517."""
    assert MMcK(40.0, 1 / 30, 3, 7).mean_wait_s + 1 / 30 == pytest.approx(0.036517, abs=PRINTED)


def test_mmck_waits_are_a_distribution() -> None:
    """The tail starts at P(wait), integrates to the mean, and its quantile is its inverse."""
    law = MMcK(8.0, 1.0, 8, 20)
    t = np.linspace(0.0, 12.0, 6_001)
    assert law.wait_tail(0.0) == pytest.approx(law.wait_chance)
    assert np.trapezoid([law.wait_tail(x) for x in t], t) == pytest.approx(law.mean_wait_s, rel=1e-5)
    assert law.wait_tail(law.wait_quantile_s(0.99)) == pytest.approx(0.01, rel=1e-9)


def test_mmck_without_waiting_is_erlang_b_and_with_endless_waiting_erlang_c() -> None:
    assert MMcK(6.4, 1.0, 8, 8).refused_share == pytest.approx(queueing.erlang_b(8, 6.4), rel=1e-12)
    endless = MMcK(6.4, 1.0, 8, 8 + 2_000)
    assert endless.refused_share == 0.0 or endless.refused_share < 1e-190
    assert endless.mean_wait_s == pytest.approx(MMc(6.4, 1.0, 8).mean_wait_s, rel=1e-12)


def test_mmck_far_over_its_load_does_not_overflow() -> None:
    """ρ = 100 on 1,000 waiting places: all but 1 % are refused, and whoever comes in waits behind 999 or 1,000."""
    law = MMcK(200.0, 1.0, 2, 1_002)
    assert law.refused_share == pytest.approx(0.99, rel=1e-9)
    assert law.mean_wait_s == pytest.approx(500.0, rel=1e-3)


def test_mmck_with_places_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="3 places for 4 servers"):
        MMcK(1.0, 1.0, 4, 3)


def test_relaxation_of_one_server_and_one_place() -> None:
    """M/M/1/1 is a switch between two states: it forgets at rate λ + μ."""
    assert MMcK(2.0, 1.0, 1, 1).relaxation_s == pytest.approx(1.0 / 3.0, rel=1e-12)


# ---- other service times ---------------------------------------------------------------------------------------------

CV2 = {"D": 0.0, "E4": 0.25, "E2": 0.5, "M": 1.0, "lognormal 1": math.e - 1.0, "H2": 4.0}
CV2["lognormal 1.5"] = math.exp(1.5**2) - 1.0


@pytest.mark.parametrize(
    ("load", "waits_s"),  # reference 5.3, in the order of CV2
    [
        (0.5, (0.5, 0.625, 0.75, 1.0, 1.359141, 2.5, 4.743868)),
        (0.8, (2.0, 2.5, 3.0, 4.0, 5.436564, 10.0, 18.975472)),
        (0.9, (4.5, 5.625, 6.75, 9.0, 12.232268, 22.5, 42.694811)),
    ],
)
def test_pollaczek_khinchine(load: float, waits_s: tuple[float, ...]) -> None:
    found = [queueing.pollaczek_khinchine_s(load, 1.0, cv2) for cv2 in CV2.values()]
    assert found == pytest.approx(list(waits_s), abs=PRINTED)


@pytest.mark.parametrize(
    ("servers", "load", "wait_s", "chance"),  # reference 5.3: Crommelin's chain solved numerically
    [
        (1, 0.8, 2.0, 0.8),
        (2, 0.8, 0.903284, 0.701898),
        (4, 0.8, 0.386095, 0.578282),
        (8, 0.5, 0.009321, 0.054292),
        (8, 0.8, 0.151954, 0.433795),
        (8, 0.9, 0.449973, 0.681911),
        (16, 0.9, 0.192467, 0.565341),
    ],
)
def test_md_c(servers: int, load: float, wait_s: float, chance: float) -> None:
    assert queueing.md_c(servers * load, 1.0, servers) == pytest.approx((chance, wait_s), abs=PRINTED)


def test_md_c_is_crommelins_chain() -> None:
    """N(t + D) = (N(t) − c)⁺ + Poisson(λ·D), the chain iterated to its end."""
    servers, erlangs, size = 3, 2.4, 200
    arrivals = np.exp(-erlangs + np.arange(size) * math.log(erlangs) - [math.lgamma(k + 1) for k in range(size)])
    state = np.eye(1, size)[0]
    for _ in range(400):
        left = np.concatenate([[state[: servers + 1].sum()], state[servers + 1 :]])
        state = np.convolve(left, arrivals)[:size]
    waiting = float(state @ np.maximum(0, np.arange(size) - servers))
    found = queueing.md_c(erlangs, 1.0, servers)
    assert found.mean_s == pytest.approx(waiting / erlangs, rel=1e-9)
    assert found.chance == pytest.approx(float(state[servers:].sum()), rel=1e-9)


def test_md_c_with_servers_to_spare_waits_for_nothing() -> None:
    assert queueing.md_c(0.01, 1.0, 500) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_allen_cunneen_is_exact_where_it_should_be() -> None:
    """M/M/c (cv² 1) and M/G/1; a tenth off M/D/8 at ρ .8 (.143014 for .151954), which is why it is an approximation."""
    assert queueing.allen_cunneen_s(6.4, 1.0, 8, 1.0) == pytest.approx(MMc(6.4, 1.0, 8).mean_wait_s)
    assert queueing.allen_cunneen_s(0.8, 1.0, 1, 4.0) == pytest.approx(queueing.pollaczek_khinchine_s(0.8, 1.0, 4.0))
    assert queueing.allen_cunneen_s(6.4, 1.0, 8, 0.0) == pytest.approx(0.286028 / 2, abs=PRINTED)
    assert queueing.allen_cunneen_s(6.4, 1.0, 8, 0.0, arrival_cv2=0.0) == 0.0


# ---- priorities ------------------------------------------------------------------------------------------------------

THIRDS = (1 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize(
    ("servers", "load", "shares", "waits_s", "all_s"),  # reference 5.4
    [
        (8, 0.8, (0.2, 0.3, 0.5), (0.068102, 0.113503, 0.476713), 0.286028),
        (8, 0.8, THIRDS, (0.078008, 0.167159, 0.612917), 0.286028),
        (8, 0.9, (0.2, 0.3, 0.5), (0.106941, 0.194438, 1.594393), 0.876916),
        (16, 0.9, (0.2, 0.3, 0.5), (0.045072, 0.081949, 0.671981), 0.369590),
        (4, 0.9, THIRDS, (0.281340, 0.703351, 4.923458), 1.969383),
        (2, 0.8, (0.25, 0.375, 0.375), (0.444444, 0.888889, 3.555556), 1.777778),
        (1, 0.8, (0.25, 0.375, 0.375), (1.0, 2.0, 8.0), 4.0),
    ],
)
def test_cobham(servers: int, load: float, shares: tuple[float, ...], waits_s: tuple[float, ...], all_s: float) -> None:
    """And the mean over all tasks is that of first come first served: the conservation law."""
    found = queueing.cobham_s([servers * load * share for share in shares], 1.0, servers)
    assert found == pytest.approx(list(waits_s), abs=PRINTED)
    assert sum(share * wait for share, wait in zip(shares, found, strict=True)) == pytest.approx(all_s, abs=PRINTED)


@pytest.mark.parametrize(
    ("servers", "waits_h"),  # Hillier and Lieberman's County Hospital: μ 3, λ .2/.6/1.2 per hour, by the formula
    [(1, (0.23810, 0.32468, 0.90909)), (2, (0.02874, 0.03316, 0.04808))],
)
def test_county_hospital(servers: int, waits_h: tuple[float, ...]) -> None:
    assert queueing.cobham_s([0.2, 0.6, 1.2], 1 / 3, servers) == pytest.approx(list(waits_h), abs=5.01e-6)


def test_the_first_class_has_a_tail_of_its_own() -> None:
    """Reference 5.4, row 1: p99 = .5690; and the tail integrates to Cobham's mean, C/(cμ − λ_1)."""
    rates = [6.4 * share for share in (0.2, 0.3, 0.5)]
    assert queueing.first_class_quantile_s(rates, 1.0, 8, 0.99) == pytest.approx(0.5690, abs=5.01e-5)
    assert queueing.first_class_tail(rates, 1.0, 8, 0.0) / (8 - rates[0]) == pytest.approx(0.068102, abs=PRINTED)


def test_a_low_class_starves_and_the_high_ones_do_not_notice() -> None:
    """ρ = 1.5: all servers are always busy, so W_1 = 1/(cμ)/(1 − s_1) = .5/(1 − .5) = 1; class 3 has no steady
    state.
    """
    assert queueing.cobham_s([1.0, 0.5, 1.5], 1.0, 2) == pytest.approx([1.0, 4.0, math.inf])


def test_one_server_with_work_by_class() -> None:
    """λ .25 and .5, work constant 2 s and exponential 0.5 s: R = (.25·4 + .5·.5)/2 = .625, s = .5, .75; W = 1.25, 5."""
    assert queueing.mg1_priority_s([0.25, 0.5], [2.0, 0.5], [0.0, 1.0]) == pytest.approx([1.25, 5.0])
    assert queueing.mg1_priority_s([0.2, 0.3, 0.3], [1.0] * 3, [1.0] * 3) == pytest.approx([1.0, 2.0, 8.0])


# ---- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("servers", "p", "allowed", "base_s", "arrival_per_s", "attempts", "latency_s", "waited_s", "dead"),
    [  # reference 5.5 (a): backoff uniform in (0, base·2^(k−1)), so base·2^(k−2) on average
        (8, 0.1, 4, 0.5, 5.760576, 1.111, 1.459777, 0.317777, 0.0001),
        (8, 0.3, 5, 0.5, 4.490913, 1.4251, 1.995919, 0.407619, 0.00243),
        (8, 0.3, 5, 1.0, 5.052277, 1.4251, 3.001193, 1.249693, 0.00243),
        (8, 0.1, 4, 0.5, 6.480648, 1.111, 2.116254, 0.974254, 0.0001),
        (1, 0.2, 3, 1.0, 0.645161, 1.24, 6.34, 4.96, 0.008),
    ],
)
def test_retries(
    servers: int,
    p: float,
    allowed: int,
    base_s: float,
    arrival_per_s: float,
    attempts: float,
    latency_s: float,
    waited_s: float,
    dead: float,
) -> None:
    """The rates are printed with six decimals, which at ρ .9 moves the waits in their sixth digit."""
    tried = Attempts((p,) * allowed)
    queue = retried_mmc(arrival_per_s, 1.0, servers, tried.mean)
    backoff_s = [base_s * 2.0 ** (k - 2) for k in range(1, allowed)]
    assert tried.mean == pytest.approx(attempts, abs=PRINTED)
    assert tried.dead_share == pytest.approx(dead, abs=PRINTED)
    assert tried.mean * queue.mean_wait_s == pytest.approx(waited_s, rel=1e-5)
    assert tried.latency_s(queue.mean_wait_s + 1.0, backoff_s) == pytest.approx(latency_s, rel=1e-5)


def test_attempts_that_cannot_be_mended() -> None:
    """p = .4, half of it permanent, three attempts: reached 1, .2, .04; dead = .2 + .04 + .016 = .256."""
    tried = Attempts((0.4, 0.4, 0.4), permanent_share=0.5)
    assert tried.reached == pytest.approx((1.0, 0.2, 0.04))
    assert tried.dead_share == pytest.approx(0.256)
    assert Attempts((0.4, 0.4), permanent_share=1.0).repeats is False


def test_the_completed_alone_took_less() -> None:
    """p = ½, two attempts, stay 2 s, backoff 3 s: ½ done after 2 s, ¼ after 2 + 3 + 2 = 7 s, ¼ dead after 7 s. Of the
    completed (1 + 1.75)/.75 = 3.6667; of all 1 + 3.5 = 4.5.
    """
    tried = Attempts((0.5, 0.5))
    assert tried.completed_latency_s(2.0, (3.0,)) == pytest.approx(2.75 / 0.75)
    assert tried.latency_s(2.0, (3.0,)) == pytest.approx(4.5)
