"""The model against exact queueing results. Tolerances are stated in standard errors or from published
interval widths.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lab import Scenario, metrics, tables
from lab.demand import Demand, demand
from lab.laws import TAILS, Law, fit
from lab.statistics import student_t
from lab.workload import Plan
from simulation import simulate
from simulation.engine import Model

CUSTOMERS, SEEDS = 120_000, (1, 2)


def test_mm8_at_rho_08(build) -> None:
    """M/M/8, ρ 0.8: mean wait 0.286028, P(wait) 0.457645 (Erlang C).

    A run of 200,000 has a 95 % half-width of 8.5 % for the mean wait (reference, section 8); two of 120,000 pooled
    have 7.8 %, so ± 12 % is past 99.7 %. For P(wait) the half-width is about a third of that.
    """
    waits = [_waits(build, seed) for seed in SEEDS]
    pooled = np.concatenate(waits)
    assert pooled.mean() == pytest.approx(0.286028, rel=0.12), f"seeds {SEEDS}"
    assert (pooled > 1e-6).mean() == pytest.approx(0.457645, rel=0.04), f"seeds {SEEDS}"


def _waits(build, seed: int):
    scenario = build(
        seed=seed,
        workload__arrivals={"kind": "poisson", "rate_per_s": 6.4, "count": CUSTOMERS},
        workload__roles__A__service={"dist": "exponential", "mean_s": 1.0},
        mesh__slots=8,
        rules__health__report_s=600.0,
    )
    return metrics.queue_wait_s(simulate(scenario).tasks)[CUSTOMERS // 50 :]  # the first 2 % start from empty


def test_littles_law_holds_exactly_on_the_record(build) -> None:
    """∫ depth dt = Σ waits, for every run whatsoever: L = λ W without any randomness."""
    scenario = build(
        workload__arrivals={"kind": "poisson", "rate_per_s": 3.0, "count": 3_000},
        workload__roles__A__service={"dist": "gamma", "mean_s": 1.0, "cv": 2.0},
        mesh__slots=4,
    )
    record = simulate(scenario)
    at_s, depth = metrics.depth_curve(record)
    area = float((depth[:-1] * np.diff(at_s)).sum())
    assert area == pytest.approx(metrics.queue_wait_s(record.tasks).sum(), abs=1e-3)


def test_non_preemptive_priorities_obey_cobham(build) -> None:
    """M/M/8, ρ 0.8, shares .2/.3/.5: W = .068102, .113503, .476713 (Cobham 1954); three runs, ± 15 %."""
    sums, counts = np.zeros(3), np.zeros(3)
    for seed in (1, 2, 3):
        scenario = build(
            seed=seed,
            workload__arrivals={"kind": "poisson", "rate_per_s": 6.4, "count": 60_000},
            workload__roles__A={
                "priority": {3: 0.2, 2: 0.3, 1: 0.5},
                "service": {"dist": "exponential", "mean_s": 1.0},
            },
            mesh__slots=8,
            rules__health__report_s=600.0,
        )
        tasks = simulate(scenario).tasks
        waits = (tasks["first_claim_s"] - tasks["arrival_s"]).groupby(tasks["queue"], observed=False)
        sums, counts = sums + waits.sum().to_numpy(), counts + waits.count().to_numpy()
    assert (sums / counts) == pytest.approx([0.068102, 0.113503, 0.476713], rel=0.15)


# ---- the matrix ------------------------------------------------------------------------------------------------------
#
# Every point is a scenario; `fit` names its exact law, and each figure of the law is one check (of a percentile: the
# share of tasks beyond it). The interval comes from the simulation itself: independent replications, the first 20
# relaxation times of each left out (nothing where the law is that of a run which starts empty), and Student's t.
#
# Of so many checks at 99 % one or two must be outside by chance. So two things are demanded: no check lies outside the
# interval of 1 − 1 % / checks (Bonferroni: then all of them are inside with 99 %), and at least 95 % of the checks lie
# inside their own 99 % interval. The seeds are fixed, so both hold for ever or break with a change.

REPLICATIONS, TASKS = 12, 4_000
"""Of the points in steady state: runs, and tasks in each that count."""
SHORT_REPLICATIONS = 100
"""Of the points that are runs from empty: they are short."""
WARM_UP_RELAXATIONS = 20
LONG_RUN = 5_000_000
SEED = 20_261_121
CHECKS_MAX = 300
"""At least as many as there are: what the family's error is shared among."""
FAMILY_ERROR, OWN_ERROR, INSIDE_SHARE = 0.01, 0.01, 0.95


@dataclass(frozen=True)
class Point:
    """A scenario of the matrix by what it differs in. `short`: the run that starts empty is itself the question."""

    name: str
    rate_per_s: float
    slots: int
    changes: dict[str, Any]
    short: int = 0

    @functools.cached_property
    def _base(self) -> Scenario:
        data = {
            "name": "matrix",
            "workload": {
                "arrivals": {"kind": "poisson", "rate_per_s": self.rate_per_s, "count": 1},
                "roles": {"A": {"service": EXPONENTIAL}},
            },
            "mesh": {"workers": 1, "slots": self.slots},
            "rules": {"health": {"report_s": 3_600.0}},
            "profile": "ideal",
        }
        return Scenario.from_data(data).override(self.changes)

    def scenario(self, seed: int, count: int) -> Scenario:
        """The scenario with so many tasks."""
        return self._base.override({"seed": seed, "workload.arrivals.count": count})

    @property
    def law(self) -> Law:
        """The law of the short run, or of one that is as long as it may be."""
        return fit(self.scenario(SEED, self.short or LONG_RUN))


EXPONENTIAL = {"dist": "exponential", "mean_s": 1.0}
ROLE = "workload.roles.A"


def mmc(slots: int, load: float, name: str = "", short: int = 0, **changes: Any) -> Point:
    """Exponential work of 1 s; ρ = `load`."""
    changes = {path.replace("__", "."): value for path, value in changes.items()}
    return Point(f"{name or 'M/M'} {slots} {load:g}", slots * load, slots, changes, short)


def work(dist: str, cv: float | None = None, mean_s: float = 1.0) -> dict[str, Any]:
    return {"dist": dist, "mean_s": mean_s, **({} if cv is None else {"cv": cv})}


def general(slots: int, load: float, service: dict[str, Any]) -> Point:
    return mmc(slots, load, f"M/{service['dist']}", workload__roles__A__service=service)


def finite(slots: int, places: int, load: float, on_closed: str = "reject") -> Point:
    """M/M/c/K: K = slots + max_pending, and what the producer may hold."""
    waiting = places - slots
    admission = {"max_pending": waiting, "on_closed": "reject"}
    if on_closed == "hold":
        admission = {"max_pending": 1, "on_closed": "hold", "hold_max": waiting - 1}
    return mmc(slots, load, f"K={places} {on_closed}", rules__admission=admission)


def classes(slots: int, load: float, shares: tuple[float, float, float], order: str = "strict") -> Point:
    priority = dict(zip((3, 2, 1), shares, strict=True))
    rules = {"order": order, "aging_s": 2.0}
    return mmc(slots, load, f"{order} {shares}", workload__roles__A__priority=priority, rules__priority=rules)


def two_roles(load: float, high: dict[str, Any], low: dict[str, Any], priorities: tuple[int, int]) -> Point:
    """One slot, two roles of equal share with work of their own; mean work 1 s."""
    roles = {
        name: {"service": service, "priority": level}
        for name, service, level in zip(("A", "B"), (high, low), priorities, strict=True)
    }
    name = f"M/G/1 {high['dist']} {low['dist']} {priorities}"
    return mmc(1, load, name, workload__roles=roles)


def retried(slots: int, load: float, p: float, attempts: int, role: dict[str, Any], **retry: Any) -> Point:
    """Retries; `load` is that of all attempts, P(an attempt fails) = p."""
    rules = {"max_retries": attempts - 1, **retry}
    changes = {ROLE: {"service": EXPONENTIAL, "failure_rate": p, **role}, "rules.retry": rules}
    alone = Point("", 1.0, slots, changes)
    asked = demand(alone.scenario(SEED, LONG_RUN))
    assert isinstance(asked, Demand)
    rate_per_s = slots * load / asked.attempts_mean
    return Point(f"retries {slots} {load:g} p={p:g} {role} {retry}", rate_per_s, slots, changes)


def leaving(slots: int, load: float, wait_s: float, spread: str) -> Point:
    return mmc(slots, load, f"{spread} patience {wait_s:g}", rules__deadline={"wait_s": wait_s, "spread": spread})


def burst(slots: int, count: int) -> Point:
    return mmc(slots, 1.0, f"burst of {count}", count, workload__arrivals={"kind": "burst", "count": count})


MATRIX = (
    *(mmc(c, load) for c, load in ((1, 0.5), (1, 0.8), (2, 0.5), (2, 0.8), (4, 0.6), (4, 0.8))),
    *(mmc(c, load) for c, load in ((8, 0.5), (8, 0.8), (8, 0.9), (16, 0.8), (16, 0.9), (32, 0.9))),
    *(finite(c, k, load) for c, k, load in ((1, 10, 0.8), (1, 5, 1.2), (2, 6, 1.0), (8, 16, 0.8), (8, 12, 1.2))),
    finite(4, 9, 1.1, "hold"),
    general(1, 0.5, work("constant")),
    general(1, 0.8, work("constant")),
    general(1, 0.8, work("gamma", 0.5)),
    general(1, 0.6, work("gamma", 2.0)),
    general(1, 0.5, work("lognormal", 1.3)),
    general(1, 0.7, work("lognormal", 0.6)),
    two_roles(0.6, work("constant", mean_s=0.5), work("exponential", mean_s=1.5), (3, 3)),
    two_roles(0.6, work("constant", mean_s=0.5), work("exponential", mean_s=1.5), (3, 1)),
    two_roles(0.7, work("gamma", 0.7, mean_s=1.4), work("lognormal", 0.8, mean_s=0.6), (2, 1)),
    *(general(c, load, work("constant")) for c, load in ((2, 0.8), (4, 0.8), (8, 0.5), (8, 0.8))),
    classes(8, 0.8, (0.2, 0.3, 0.5)),
    classes(4, 0.8, (1 / 3, 1 / 3, 1 / 3)),
    classes(2, 0.8, (0.25, 0.375, 0.375)),
    classes(1, 0.7, (0.25, 0.375, 0.375)),
    classes(4, 0.8, (0.2, 0.3, 0.5), "aging"),
    classes(4, 0.8, (0.2, 0.3, 0.5), "weighted"),
    retried(8, 0.8, 0.1, 4, {}, base_s=0.25),
    retried(4, 0.7, 0.3, 5, {}, base_s=0.25, jitter=1.0),
    retried(2, 0.6, 0.2, 6, {}, base_s=0.5, factor=3.0, cap_s=2.0),
    retried(1, 0.6, 0.4, 3, {"permanent_share": 0.5}, base_s=0.0),
    retried(2, 0.7, 0.1, 4, {"fail_first": 1}, base_s=0.1),
    leaving(8, 0.8, 2.0, "exponential"),
    leaving(8, 1.2, 2.0, "exponential"),
    leaving(4, 1.5, 1.0, "exponential"),
    leaving(8, 1.0, 2.0, "fixed"),
    leaving(4, 1.25, 1.0, "fixed"),
    mmc(1, 0.9, "from empty", 25),
    mmc(8, 0.95, "from empty", 100),
    mmc(8, 0.9, "from empty", 500),
    mmc(4, 1.3, "from empty", 300),
    burst(8, 50),
    burst(5, 12),
)


def sampled(scenario: Scenario) -> pd.DataFrame:
    """The tasks of one run, a row each, in order of arrival. The one place where the matrix meets the engine; without
    what else a record holds, for thousands of runs are made here.
    """
    model = Model(Plan(scenario))
    model.run()
    return tables.task_frame(model.plan, model.moves().in_time(), tables.event_frame(model.events()))


class Check(NamedTuple):
    """One figure of one point: what the law says, and what each replication showed."""

    law: float
    values: npt.NDArray[np.float64]

    @property
    def off(self) -> float:
        """How many standard errors the simulation is off; 0 if it never differs."""
        error = float(self.values.std(ddof=1)) / math.sqrt(len(self.values))
        if error == 0.0:
            return 0.0 if self.values[0] == pytest.approx(self.law, rel=1e-9) else math.inf
        return float(abs(self.values.mean() - self.law)) / error


@functools.cache
def checks_of(number: int) -> dict[str, Check]:
    """All figures of a point of the matrix, each with its replications."""
    point = MATRIX[number]
    law = point.law
    warm_up = 0
    if not point.short:
        assert law.relaxation_s is not None
        warm_up = math.ceil(WARM_UP_RELAXATIONS * law.relaxation_s * point.rate_per_s)
    runs = SHORT_REPLICATIONS if point.short else REPLICATIONS
    seeds = range(SEED + 1_000 * number, SEED + 1_000 * number + runs)
    count = point.short or warm_up + TASKS
    samples = [Sample(sampled(point.scenario(seed, count)).iloc[warm_up:]) for seed in seeds]
    aims = {path: beyond(path, predicted) for path, predicted in law.figures.items()}
    return {
        path: Check(aim, np.array([sample.shown(path, law.figures[path]) for sample in samples]))
        for path, aim in aims.items()
        if aim is not None
    }


def beyond(path: str, predicted: float) -> float | None:
    """What a check aims at: the law's figure; of a percentile, the share of tasks beyond it. None for a percentile of
    0, when as many do not wait at all.
    """
    point = path.rpartition(".")[2]
    if point not in TAILS:
        return predicted
    return 1.0 - TAILS[point] if predicted > 0 else None


class Sample:
    """The tasks of one replication, and what the figures of laws mean for them."""

    def __init__(self, tasks: pd.DataFrame) -> None:
        self.queue, self.attempts = tasks["queue"].to_numpy(), tasks["attempts"].to_numpy()
        self.state = tasks["state"].to_numpy()
        self.arrival_s, self.done_s = tasks["arrival_s"].to_numpy(), tasks["done_s"].to_numpy()
        self.wait_s = tasks["first_claim_s"].to_numpy() - self.arrival_s

    def shown(self, path: str, predicted: float) -> float:
        """A figure; of a percentile, the share of tasks beyond `predicted`."""
        kind, point = path.split(".")[-2:] if "." in path else (path, "")
        if not point:
            return float(getattr(self, path)())
        wanted = self.queue == path.split(".")[1] if path.startswith("by_queue") else np.full(len(self.queue), True)
        values = self.done_s - self.arrival_s if kind == "latency_s" else self.wait_s
        wanted &= self.state == "COMPLETED" if kind == "latency_s" else ~np.isnan(self.wait_s)
        values = values[wanted]
        return float((values > predicted).mean() if point in TAILS else values.mean())

    def waiting_share(self) -> float:
        left, let_in = self.state == "CANCELLED", self.state != "REJECTED"
        return float(((self.wait_s > 1e-6) | left)[let_in].mean())

    def rejected_share(self) -> float:
        return float((self.state == "REJECTED").mean())

    def left_share(self) -> float:
        return float((self.state == "CANCELLED").mean())

    def attempts_mean(self) -> float:
        return float(self.attempts.mean())

    def dead_share(self) -> float:
        return float((self.state == "PERMANENT_FAILURE").mean())

    def makespan_s(self) -> float:
        return float(self.done_s.max() - self.arrival_s.min())


def allowed(check: Check, error: float) -> float:
    """Standard errors within which a check of this many replications stays but for a chance of `error`."""
    return student_t(len(check.values) - 1, 1.0 - error)


@pytest.mark.parametrize("number", range(len(MATRIX)), ids=[point.name for point in MATRIX])
def test_the_simulation_agrees_with_the_exact_law(number: int) -> None:
    """Each figure lies inside the interval that all figures of the matrix share with 99 %."""
    point, law = MATRIX[number], MATRIX[number].law
    assert law.exact, law.reason
    checks = checks_of(number)
    assert checks, "no figure to check"
    each = FAMILY_ERROR / CHECKS_MAX
    wrong = {path: check for path, check in checks.items() if check.off > allowed(check, each)}
    said = [
        f"{path}: law {one.law:.6g}, simulated {one.values.mean():.6g}, off {one.off:.1f} standard errors"
        for path, one in wrong.items()
    ]
    assert not wrong, f"{law.name}, {point}, seeds from {SEED + 1_000 * number}: {said}"


def test_the_intervals_are_honest_over_the_whole_matrix() -> None:
    """At least 95 % of all figures lie inside their own 99 % interval, and there are as many as the family assumes."""
    checks = {(MATRIX[n].name, path): check for n in range(len(MATRIX)) for path, check in checks_of(n).items()}
    inside = [check.off <= allowed(check, OWN_ERROR) for check in checks.values()]
    outside = {key: round(check.off, 1) for key, check in checks.items() if check.off > allowed(check, OWN_ERROR)}
    assert len(MATRIX) >= 40
    assert len(checks) <= CHECKS_MAX
    assert np.mean(inside) >= INSIDE_SHARE, f"outside their 99 %: {outside}"
