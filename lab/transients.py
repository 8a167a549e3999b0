"""Queueing theory of runs that end: what the first n tasks of an empty mesh meet, which no steady state describes.

A mesh starts empty, so a short run waits less than Erlang's formula says (the first 2,000 tasks of an M/M/8 at ρ 0.95:
a fifth less). And a burst is all transient. These laws are exact for any load, but for `overload` and what follows it,
which are approximations and say so. `queueing.py` explains the conventions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lab.draws import Floats
from lab.queueing import MMc, Waits, utilisation

NEGLIGIBLE = 1e-14
"""Queue lengths less likely than this are left out of the chain, and draws of departures likewise."""
GRID_POINTS = 20_000
"""Moments at which a rate that changes is looked at: errors below a thousandth, in about a millisecond."""


def first_waits(arrival_per_s: float, service_s: float, servers: int, count: int) -> Waits:
    """Mean wait, and share that waits, of the first `count` tasks of an M/M/c that starts empty. Exact at any load.

    The embedded chain: X is what an arrival finds. From X + 1 tasks, those in service end one by one until the next
    arrival comes; with i present the next event is an end with chance min(i, c)·μ / (λ + min(i, c)·μ). A task that
    finds m waits (m − c + 1)⁺ / (cμ) on average. (Kelton and Law, Operations Research 33, 1985.)
    Costs `count` steps of the length of the longest likely queue.
    """
    ends = _end_chances(arrival_per_s, service_s, servers, count)
    leaps = _leaps(ends)
    found = np.arange(len(ends) - 1)
    wait_s = np.maximum(0, found - servers + 1) * (service_s / servers)
    state: Floats = np.zeros(len(ends))
    state[0] = 1.0
    total_s = waited = 0.0
    for _ in range(count):
        total_s += float(state[:-1] @ wait_s)
        waited += float(state[servers:].sum())
        state = _next(state, ends, leaps)
    return Waits(waited / count, total_s / count)


def _end_chances(arrival_per_s: float, service_s: float, servers: int, count: int) -> Floats:
    """P(the next event is an end) with i tasks present, i = 0 … as many as the chain needs."""
    load = utilisation(arrival_per_s, service_s, servers)
    # Started empty, the queue is never longer (in distribution) than in steady state, where it falls by ρ a place.
    likely = math.log(NEGLIGIBLE) / math.log(load) if load < 1.0 else math.inf
    present = np.arange(min(count, servers + math.ceil(min(likely, count))) + 2)
    ending_per_s = np.minimum(present, servers) / service_s
    return np.asarray(ending_per_s / (arrival_per_s + ending_per_s))


def _leaps(ends: Floats) -> list[Floats]:
    """For k = 0, 1, 2, …: the chance of 2^k ends in a row that lead to i present, by i; as far as it matters."""
    leaps, length = [ends[1:]], 1
    while length < len(leaps[-1]) and leaps[-1].max() > NEGLIGIBLE:
        leap = leaps[-1]
        leaps.append(leap[:-length] * leap[length:])
        length *= 2
    return leaps


def _next(state: Floats, ends: Floats, leaps: list[Floats]) -> Floats:
    """What the next arrival finds. The visits to i are u(i) = v(i) + e(i + 1)·u(i + 1); by doubling: after k rounds u
    holds all that came over fewer than 2^k ends.
    """
    visits: Floats = np.empty_like(state)
    visits[0] = 0.0
    visits[1:] = state[:-1]
    visits[-1] += state[-1]
    length = 1
    for leap in leaps:
        visits[:-length] += leap * visits[length:]
        length *= 2
    return np.asarray(visits * (1.0 - ends))


def later_waits(arrival_per_s: float, service_s: float, servers: int, count: int) -> Waits:
    """The same as `first_waits`, in one step instead of `count`: exact but for a share of about exp(−count / (λ·τ)) of
    the difference to the steady state, τ = `queueing.relaxation_s`. Raises ValueError where there is no steady state.

    All that the first tasks together wait less than as many in steady state is a constant: Σ δ(m)·P(N ≥ m), where δ
    solves Poisson's equation of the birth-death chain, λ·δ(m) = min(m, c)·μ·δ(m − 1) + λ·(W − w(m)). (Whitt, Management
    Science 38, 1992; Glynn and Meyn, Annals of Probability 24, 1996.)
    """
    steady = MMc(arrival_per_s, service_s, servers)
    drain_per_s, step_s = steady.drain_per_s, service_s / servers
    slope = arrival_per_s * step_s / drain_per_s
    start = (slope / step_s - arrival_per_s * ((servers - 1) * step_s + steady.mean_wait_s)) / drain_per_s
    flat = arrival_per_s * (1.0 - steady.wait_chance) / drain_per_s
    saved_s = _saved(steady, steady.mean_wait_s, slope, start)
    saved = _saved(steady, steady.wait_chance, 0.0, flat)
    return Waits(steady.wait_chance - saved / count, steady.mean_wait_s - saved_s / count)


def _saved(steady: MMc, mean: float, slope: float, start: float) -> float:
    """Σ δ(m)·P(N ≥ m): below c from δ(m) = m·μ/λ·δ(m − 1) + mean, from c on the line slope·m + start."""
    servers, erlangs, load = steady.servers, steady.arrival_per_s * steady.service_s, steady.load
    unlike, busy = steady.wait_chance * (1.0 - load), steady.wait_chance  # P(N = c) and P(N ≥ c)
    at_least: Floats = np.empty(servers)
    for present in range(servers - 1, -1, -1):
        unlike *= (present + 1) / erlangs
        busy += unlike
        at_least[present] = busy
    total, delta = 0.0, 0.0
    for present in range(servers):
        delta = present / erlangs * delta + mean
        total += delta * float(at_least[present])
    line = slope * servers + start
    return total + steady.wait_chance * (line / (1.0 - load) + slope * load / (1.0 - load) ** 2)


class Drain(NamedTuple):
    """How a burst is worked off: the mean wait, and the moment at which the last task is done, both in seconds."""

    mean_wait_s: float
    makespan_s: float


def burst_constant(count: int, service_s: float, servers: int) -> Drain:
    """`count` tasks at once, each taking `service_s`: rounds of `servers`, ceil(n/c) of them. No chance in it."""
    rounds, rest = divmod(count, servers)
    waits = servers * rounds * (rounds - 1) / 2 + rest * rounds
    return Drain(waits / count * service_s, math.ceil(count / servers) * service_s)


def burst_wait_quantile_s(count: int, service_s: float, servers: int, share: float) -> float:
    """A percentile of the waits of `burst_constant`, interpolated linearly between tasks as the summary does it."""
    rank = (count - 1) * share
    low, part = math.floor(rank), rank % 1.0
    first, second = low // servers, min(low + 1, count - 1) // servers
    return (first + part * (second - first)) * service_s


def burst_exponential(count: int, service_s: float, servers: int) -> Drain:
    """`count` tasks at once with exponential service: means over all chance, exact.

    Task i (from 0) starts with completion i − c + 1, and completions come every E[S]/c while all servers are busy; the
    last c tasks end like the maximum of c exponentials: E[S]·(1 + 1/2 + … + 1/c).
    """
    behind = max(0, count - servers)
    mean_wait_s = behind * (behind + 1) / 2 * service_s / servers / count
    last_s = service_s * sum(1.0 / present for present in range(1, min(count, servers) + 1))
    return Drain(mean_wait_s, behind * service_s / servers + last_s)


def even_constant(count: int, arrival_per_s: float, service_s: float, servers: int) -> Drain:
    """D/D/c: one task every 1/λ s, each taking `service_s`. Task i starts at i/λ + floor(i/c)·(E[S] − c/λ)⁺."""
    late_s = max(0.0, service_s - servers / arrival_per_s)
    last = count - 1
    makespan_s = last / arrival_per_s + last // servers * late_s + service_s
    return Drain(burst_constant(count, late_s, servers).mean_wait_s, makespan_s)


def overload(count: int, arrival_per_s: float, service_s: float, servers: int) -> Drain:
    """A fluid for ρ > 1, an APPROXIMATION: work runs in at rate λ and off at c/E[S], so the task of moment t waits
    (ρ − 1)·t, and the last is done when all the work is. (Newell, Applications of Queueing Theory, 1971, chapter 2.)
    """
    excess = utilisation(arrival_per_s, service_s, servers) - 1.0
    return Drain(max(0.0, excess) * count / arrival_per_s / 2.0, max(1.0 / arrival_per_s, service_s / servers) * count)


# ---- rates that change -----------------------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """A time in which the arrival rate changes linearly."""

    duration_s: float
    from_per_s: float
    to_per_s: float

    @property
    def tasks(self) -> float:
        """How many tasks are expected in it."""
        return self.duration_s * (self.from_per_s + self.to_per_s) / 2.0


def fluid(stretches: Sequence[Stretch], service_s: float, servers: int) -> Drain:
    """A fluid for any course of the rate, an APPROXIMATION: work runs in at λ(t)·E[S] and off at c, chance left out.

    The wait V of the task of moment t grows by ρ(t) − 1 a second and never falls below 0: V = X − min(0, min X) with
    X = ∫ (ρ − 1). (Newell, Applications of Queueing Theory, 1971, chapter 2.) On a grid of `GRID_POINTS`. `service_s`
    is the work of a task over all its attempts; the makespan is that of the last drop of work, a last service left out.
    """
    at_s, rate = _curve(stretches)
    step_s = np.diff(at_s)
    excess = rate * service_s / servers - 1.0
    grown = np.concatenate([[0.0], np.cumsum((excess[1:] + excess[:-1]) / 2.0 * step_s)])
    wait_s = grown - np.minimum(0.0, np.minimum.accumulate(grown))
    arrived = float(np.sum((rate[1:] + rate[:-1]) / 2.0 * step_s))
    waited = rate * wait_s
    mean_s = float(np.sum((waited[1:] + waited[:-1]) / 2.0 * step_s)) / arrived
    return Drain(mean_s, float((at_s + wait_s)[rate > 0.0].max()))


def _curve(stretches: Sequence[Stretch]) -> tuple[Floats, Floats]:
    """(moments in s, rates) on a grid that has both ends of every stretch; where the rate jumps, the moment twice."""
    points = max(2, GRID_POINTS // len(stretches))
    share = np.linspace(0.0, 1.0, points)
    starts = np.concatenate([[0.0], np.cumsum([stretch.duration_s for stretch in stretches])])
    at_s = [start + share * stretch.duration_s for start, stretch in zip(starts, stretches, strict=False)]
    rate = [stretch.from_per_s + share * (stretch.to_per_s - stretch.from_per_s) for stretch in stretches]
    return np.concatenate(at_s), np.concatenate(rate)


def rates_met(stretches: Sequence[Stretch], tasks: int) -> list[float]:
    """The arrival rates that so many tasks meet, evenly chosen among all that come."""
    at_s, rate = _curve(stretches)
    passed = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2.0 * np.diff(at_s))])
    marks = (np.arange(tasks) + 0.5) / tasks * passed[-1]
    return [float(rate[index]) for index in np.searchsorted(passed, marks)]


def as_one_server(arrival_s: Floats, service_s: Floats, servers: int) -> Drain:
    """These very tasks on one server that is as fast as `servers` together, an APPROXIMATION of the mesh, exact for one
    server. It sees every burst, and waits where several slots would still have one free, so it is mostly too high.

    V_i = X_i − min(X_0 … X_i), with X_i = (S_0 + … + S_{i−1}) / c − t_i. (Lindley, Proceedings of the Cambridge
    Philosophical Society 48, 1952; as a bound: Brumelle, Operations Research 19, 1971.)
    """
    work_s = service_s / servers
    ahead = np.cumsum(work_s) - work_s - arrival_s
    wait_s = ahead - np.minimum.accumulate(ahead)
    return Drain(float(wait_s.mean()), float((arrival_s + wait_s + service_s).max()))
