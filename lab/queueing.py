"""Queueing theory: exact results in steady state for tasks that come at random, wait in one queue, and are served.

All of it is arithmetic on rates (1/s), mean times (s) and numbers of servers: no scenario, no record. `laws.py` says
which result belongs to which scenario; `impatience.py`, `feedback.py` and `transients.py` hold the results for clients
that leave, for retries, and for runs too short for a steady state. docs/THEORY.md is the page for people.

Kendall's notation: arrivals / service / servers / places. M is memoryless (Poisson arrivals, exponential service), D is
constant, G is any distribution. Poisson arrivals see time averages, so a share of time is a share of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab.draws import Floats

PLACES_MAX = 1_000_000
"""A finite queue is summed place by place; beyond this many places it is no different from an endless one."""
BISECTIONS = 80
"""Halvings of an interval: more than a float64 has digits."""
CONTRACTIONS, NEWTON_STEPS = 20, 8
"""Steps to Crommelin's roots: float64's last digit at any load up to 0.99999."""


def utilisation(arrival_per_s: float, service_s: float, servers: int) -> float:
    """ρ = λ · E[S] / c: the share of the servers that the work needs; 1 and above is more than there are."""
    return arrival_per_s * service_s / servers


def relaxation_s(servers: int, service_per_s: float, load: float) -> float:
    """τ = 1 / (c·μ·(1 − √ρ)²): seconds in which an M/M/c forgets its past by a factor e; infinite at ρ = 1.

    `service_per_s` is μ of one server, `load` is ρ = λ / (c·μ). Exact for one server (the spectral gap of M/M/1: Morse,
    J. Oper. Res. Soc. Am. 3, 1955), the heavy-traffic value for several.
    """
    gap = (1.0 - math.sqrt(load)) ** 2
    return 1.0 / (servers * service_per_s * gap) if gap else math.inf


# ---- M/M/c: Erlang ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1_024)
def erlang_b(servers: int, erlangs: float) -> float:
    """The share of tasks that find all servers busy where nobody may wait (M/G/c/c); `erlangs` = λ·E[S].

    B(0) = 1, B(k) = a·B(k − 1) / (k + a·B(k − 1)): no factorials, so no overflow at any size. (Erlang 1917; the
    recursion: Jagerman, Bell System Technical Journal 53, 1974.)
    """
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = erlangs * blocked / (server + erlangs * blocked)
        if blocked == 0.0:  # less than a float64 can hold, and falling
            break
    return blocked


def erlang_c(servers: int, erlangs: float) -> float:
    """The share of tasks that must wait where all may (M/M/c): C = B / (1 − ρ·(1 − B)); 1 where ρ ≥ 1."""
    load = erlangs / servers
    if load >= 1.0:
        return 1.0
    blocked = erlang_b(servers, erlangs)
    return blocked / (1.0 - load * (1.0 - blocked))


@dataclass(frozen=True)
class MMc:
    """M/M/c in steady state, first come first served. Raises ValueError where there is none (ρ ≥ 1).

    P(W > t) = C·exp(−(cμ − λ)·t), so E[W] = C / (cμ − λ). (Erlang 1917; Kleinrock, Queueing Systems I, 1975, section
    3.5.)
    """

    arrival_per_s: float
    service_s: float
    servers: int

    def __post_init__(self) -> None:
        _demand_steady(self.load)

    @property
    def load(self) -> float:
        """ρ."""
        return utilisation(self.arrival_per_s, self.service_s, self.servers)

    @cached_property
    def wait_chance(self) -> float:
        """The share of tasks that wait: Erlang C."""
        return erlang_c(self.servers, self.arrival_per_s * self.service_s)

    @property
    def drain_per_s(self) -> float:
        """cμ − λ: how fast a queue shrinks while all servers are busy."""
        return self.servers / self.service_s - self.arrival_per_s

    @property
    def mean_wait_s(self) -> float:
        """Mean seconds in the queue, those who do not wait included."""
        return self.wait_chance / self.drain_per_s

    @property
    def mean_queue(self) -> float:
        """Mean number of waiting tasks: Little's law, L = λ·W."""
        return self.arrival_per_s * self.mean_wait_s

    @property
    def mean_latency_s(self) -> float:
        """Mean seconds from arrival to completion."""
        return self.mean_wait_s + self.service_s

    def wait_tail(self, longer_than_s: float) -> float:
        """The share of tasks that wait longer than so many seconds."""
        return self.wait_chance * math.exp(-self.drain_per_s * longer_than_s)

    def wait_quantile_s(self, share: float) -> float:
        """The wait that `share` of the tasks do not exceed; 0 where as many do not wait at all."""
        return max(0.0, math.log(self.wait_chance / (1.0 - share)) / self.drain_per_s) if self.wait_chance else 0.0

    def latency_tail(self, longer_than_s: float) -> float:
        """The share of tasks whose wait and service together take longer: a sum of independent exponentials."""
        served = math.exp(-longer_than_s / self.service_s)
        both = _two_phase_tail(self.drain_per_s, 1.0 / self.service_s, longer_than_s)
        return (1.0 - self.wait_chance) * served + self.wait_chance * both

    def latency_quantile_s(self, share: float) -> float:
        """The latency that `share` of the tasks do not exceed."""
        return quantile_s(self.latency_tail, share, self.mean_latency_s)


def _two_phase_tail(rate_a: float, rate_b: float, t: float) -> float:
    """P(A + B > t) of two exponentials with these rates, which may be equal: no difference of like numbers."""
    low, high = sorted((rate_a, rate_b))
    apart = high - low
    grown = -math.expm1(-apart * t) / apart if apart * t > 1e-12 else t
    return math.exp(-low * t) * (1.0 + low * grown)


def quantile_s(tail: Callable[[float], float], share: float, scale_s: float) -> float:
    """The smallest t with tail(t) ≤ 1 − share, `tail` falling from at most 1 to 0; 0 where it starts that low.

    `scale_s` is any time of the right magnitude; the answer is exact to float64.
    """
    beyond = 1.0 - share
    if tail(0.0) <= beyond:
        return 0.0
    low, high = 0.0, scale_s
    while tail(high) > beyond:
        low, high = high, 2.0 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if tail(middle) > beyond else (low, middle)
    return high


# ---- M/M/c/K: a queue with an end ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MMcK:
    """M/M/c with room for `places` tasks, those in service included; who finds it full is refused. Any ρ.

    p(n) falls by λ/(nμ) up to n = c and by ρ after it. Waits are those of the tasks that were let in: one that finds j
    waiting waits for j + 1 completions, an Erlang time. (Kleinrock I, section 3.7; Gross and Harris, section 2.5.)
    Raises ValueError for fewer places than servers, or for more waiting places than `PLACES_MAX`.
    """

    arrival_per_s: float
    service_s: float
    servers: int
    places: int

    def __post_init__(self) -> None:
        if not 0 <= self.places - self.servers <= PLACES_MAX:
            raise ValueError(f"{self.places:,} places for {self.servers:,} servers: give at most {PLACES_MAX:,} more")

    @cached_property
    def _queued(self) -> Floats:
        """P(j tasks wait and all servers are busy), j = 0 … places − servers."""
        load = utilisation(self.arrival_per_s, self.service_s, self.servers)
        blocked = erlang_b(self.servers, self.arrival_per_s * self.service_s)
        waiting = np.arange(self.places - self.servers + 1)
        if blocked == 0.0:
            return np.zeros(len(waiting))
        # Relative to the largest of them, so that no power of ρ overflows.
        grows = waiting * math.log(load)
        shift = float(grows.max())
        weights = np.exp(grows - shift)
        return np.asarray(weights / (weights.sum() + math.exp(-shift) * (1.0 / blocked - 1.0)))

    @property
    def refused_share(self) -> float:
        """The share of tasks that find every place taken."""
        return float(self._queued[-1])

    @cached_property
    def _found(self) -> Floats:
        """P(an admitted task finds all servers busy and j before it in the queue)."""
        return np.asarray(self._queued[:-1] / (1.0 - self.refused_share))

    @property
    def wait_chance(self) -> float:
        """The share of the admitted tasks that wait."""
        return float(self._found.sum())

    @property
    def mean_wait_s(self) -> float:
        """Mean wait of the admitted tasks."""
        completions = np.arange(1, len(self._found) + 1)
        return float(self._found @ completions) * self.service_s / self.servers

    def wait_tail(self, longer_than_s: float) -> float:
        """The share of the admitted tasks that wait longer: at most j completions in that time."""
        done = self.servers / self.service_s * longer_than_s
        if done == 0.0:
            return self.wait_chance
        completions = np.arange(1, len(self._found))
        logs = np.concatenate([[0.0], np.cumsum(math.log(done) - np.log(completions))])
        return float(self._found @ np.cumsum(np.exp(logs - done)))

    def wait_quantile_s(self, share: float) -> float:
        """The wait that `share` of the admitted tasks do not exceed."""
        return quantile_s(self.wait_tail, share, self.service_s)

    @property
    def relaxation_s(self) -> float:
        """Seconds to forget the past by a factor e: 1 / (cμ·((1 − √ρ)² + 2√ρ·(1 − cos(π/(K + 1))))).

        Exact for one server (Takács, Introduction to the Theory of Queues, 1962); finite even at ρ = 1.
        """
        root = math.sqrt(utilisation(self.arrival_per_s, self.service_s, self.servers))
        gap = (1.0 - root) ** 2 + 2.0 * root * (1.0 - math.cos(math.pi / (self.places + 1)))
        return self.service_s / (self.servers * gap)


# ---- other service times ---------------------------------------------------------------------------------------------


def pollaczek_khinchine_s(arrival_per_s: float, service_s: float, service_cv2: float) -> float:
    """Mean wait of M/G/1: E[W] = ρ·E[S]·(1 + cv²) / (2·(1 − ρ)), `service_cv2` the squared coefficient of variation.

    Any order of service that does not look at service times has this mean. Raises ValueError where ρ ≥ 1. (Pollaczek
    1930, Khinchine 1932; Kleinrock I, section 5.6.) P(wait) = ρ.
    """
    load = utilisation(arrival_per_s, service_s, 1)
    _demand_steady(load)
    return load * service_s * (1.0 + service_cv2) / (2.0 * (1.0 - load))


class Waits(NamedTuple):
    """What a law says of waiting: the share of tasks that wait, and the mean wait in seconds of all."""

    chance: float
    mean_s: float


def md_c(arrival_per_s: float, service_s: float, servers: int) -> Waits:
    """M/D/c, exact. Raises ValueError where ρ ≥ 1.

    With a = λ·D and z_1 … z_{c−1} the roots of z^c = exp(a·(z − 1)) inside the unit circle,
    P(no wait) = (c − a) / Π(1 − z_k),
    mean queue = Σ 1/(1 − z_k) + (a² − c·(c − 1)) / (2·(c − a)).
    (Crommelin, Post Office Electrical Engineers' Journal 25, 1932; in this form Janssen and van Leeuwaarden, Surveys in
    Operations Research 13, 2008.)
    """
    erlangs, load = arrival_per_s * service_s, utilisation(arrival_per_s, service_s, servers)
    _demand_steady(load)
    apart = 1.0 - _crommelin_roots(load, servers)
    chance = -math.expm1(math.log(servers - erlangs) - float(np.log(np.abs(apart)).sum()))
    queue = float((1.0 / apart).real.sum()) + (erlangs**2 - servers * (servers - 1)) / (2.0 * (servers - erlangs))
    return Waits(max(0.0, chance), max(0.0, queue) / arrival_per_s)


def _crommelin_roots(load: float, servers: int) -> npt.NDArray[np.complex128]:
    """z_1 … z_{c−1}: each solves z = w·exp(ρ·(z − 1)) for one of the c-th roots w of 1 except 1 itself. Iterating that
    is a contraction (by ρ or better), which Newton's method ends. (SciPy's `lambertw` gives the same to 1e-14, but
    takes a quarter of a second to load.)
    """
    unit_roots = np.exp(2j * math.pi * np.arange(1, servers) / servers)
    roots = np.zeros(servers - 1, dtype=np.complex128)
    for _ in range(CONTRACTIONS):
        roots = unit_roots * np.exp(load * (roots - 1.0))
    for _ in range(NEWTON_STEPS):
        image = unit_roots * np.exp(load * (roots - 1.0))
        roots -= (roots - image) / (1.0 - load * image)
    return roots


def allen_cunneen_s(
    arrival_per_s: float, service_s: float, servers: int, service_cv2: float, arrival_cv2: float = 1.0
) -> float:
    """Mean wait of G/G/c, an APPROXIMATION: that of M/M/c times (ca² + cs²) / 2. Raises ValueError where ρ ≥ 1.

    Exact for M/M/c and M/G/1; asymptotically so as ρ → 1. (Allen, Probability, Statistics and Queueing Theory, 2nd ed.
    1990, section 5.3.6; after Lee and Longton 1959 and Kingman 1962.)
    """
    exponential_s = MMc(arrival_per_s, service_s, servers).mean_wait_s
    return exponential_s * (arrival_cv2 + service_cv2) / 2.0


# ---- priorities ------------------------------------------------------------------------------------------------------


def cobham_s(arrivals_per_s: Sequence[float], service_s: float, servers: int) -> list[float]:
    """Mean wait of each class, the first served first, in M/M/c with non-preemptive priorities; infinite where a class
    and those before it need all servers.

    W_k = C / (cμ) / ((1 − s_{k−1})·(1 − s_k)), s_k the load of the classes up to k. (Cobham, Operations Research 2,
    1954, equation 11.) Where all classes together need more than all servers, those are always busy (C = 1) and the
    classes with s_k < 1 still have this steady state.
    """
    erlangs = sum(arrivals_per_s) * service_s
    residual_s = erlang_c(servers, erlangs) * service_s / servers
    return _by_class(residual_s, [rate * service_s / servers for rate in arrivals_per_s])


def first_class_tail(arrivals_per_s: Sequence[float], service_s: float, servers: int, longer_than_s: float) -> float:
    """The share of the first class that waits longer: C·exp(−(cμ − λ_1)·t), exact, for it queues behind itself alone.

    (Davis, Operations Research 14, 1966; Kella and Yechiali, Naval Research Logistics 32, 1985.)
    """
    chance = erlang_c(servers, sum(arrivals_per_s) * service_s)
    return chance * math.exp(-(servers / service_s - arrivals_per_s[0]) * longer_than_s)


def first_class_quantile_s(arrivals_per_s: Sequence[float], service_s: float, servers: int, share: float) -> float:
    """The wait that `share` of the first class does not exceed."""
    return quantile_s(lambda t: first_class_tail(arrivals_per_s, service_s, servers, t), share, service_s)


def mg1_priority_s(
    arrivals_per_s: Sequence[float], services_s: Sequence[float], services_cv2: Sequence[float]
) -> list[float]:
    """Mean wait of each class, the first served first, in M/G/1 with non-preemptive priorities; each class has service
    times of its own. Infinite where a class and those before it need the whole server. Raises ValueError where all
    together do.

    W_k = R / ((1 − s_{k−1})·(1 − s_k)), R = Σ λ_i·E[S_i²] / 2 the mean rest of what is in service. (Cobham 1954,
    equation 3; Kleinrock, Queueing Systems II, 1976, section 3.5.)
    """
    loads = [rate * mean for rate, mean in zip(arrivals_per_s, services_s, strict=True)]
    _demand_steady(sum(loads))
    squares = (mean * mean * (1.0 + cv2) for mean, cv2 in zip(services_s, services_cv2, strict=True))
    residual_s = sum(rate * square for rate, square in zip(arrivals_per_s, squares, strict=True)) / 2.0
    return _by_class(residual_s, loads)


def _by_class(residual_s: float, loads: Sequence[float]) -> list[float]:
    waits, before = [], 0.0
    for load in loads:
        upto = before + load
        waits.append(residual_s / ((1.0 - before) * (1.0 - upto)) if upto < 1.0 else math.inf)
        before = upto
    return waits


def _demand_steady(load: float) -> None:
    if load >= 1.0:
        raise ValueError(f"the work needs {load:.0%} of the servers, so there is no steady state; add servers")
