"""A/B by common random numbers: two scenarios on the very same tasks and draws, and how far apart that sets them.

The tasks of a plan have draws of their own (lab/draws.py), so two scenarios that differ in a knob meet the same
arrivals, the same work and the same luck. What luck does to both cancels in the difference B − A, whose interval is
therefore narrower than that of two runs with chance of their own: narrower as if there were `variance_reduction` times
as many of those.

The sample comes in pairs: of replications (run A and run B of one seed), or, of a single pair of runs, of the batches
of their tasks in order of arrival. Every figure is one of all tasks; what each pair contributed to it says how far it
may be off (`statistics.pseudo_values`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lab import metrics, statistics
from lab.draws import Floats
from lab.errors import Interrupted, UsageError
from lab.metrics import PERCENTILES, Times
from lab.progress import OnProgress, Stop, ignore, never
from lab.record import Record
from lab.replicate import Cores, Replication, Simulate, affordable, replication, seeded
from lab.scenario import Scenario
from lab.workload import Plan

if TYPE_CHECKING:
    import pandas as pd

REPLICATIONS: Final = 10
"""Pairs of runs unless asked otherwise: enough for Student's t, whose factor is 2.3 here and 1.96 at best."""
GROUPS_MAX: Final = 50
"""More replications than this are put together in so many groups: the jackknife takes every figure once a group, and
Student's t gains nothing from more (2.01 of 50 groups).
"""
FIGURES: Final = (
    "latency_s.mean",
    *(f"latency_s.{name}" for name in PERCENTILES),
    "queue_wait_s.mean",
    "throughput_per_s",
    "tasks.attempts",
    "tasks.dead",
)

Pair = tuple[Replication, Replication]


@dataclass(frozen=True)
class Contributions:
    """A figure of A and of B, and what each pair contributed to each."""

    a: float
    b: float
    of_a: Floats
    of_b: Floats

    def as_json(self, *, serial: bool) -> dict[str, Any]:
        """A, B, B − A with its interval, and the variance reduction: (Var A + Var B) / Var(B − A), None where nothing
        varies. `serial` as in `statistics.mean`.
        """
        apart = statistics.of_contributions(self.b - self.a, self.of_b - self.of_a, serial=serial)
        apart_variance = float(np.var(self.of_b - self.of_a))
        alone = float(np.var(self.of_a) + np.var(self.of_b))
        found = statistics.as_figures("difference", apart)
        return {
            "a": round(self.a, 9),
            "b": round(self.b, 9),
            "difference": found["difference"],
            "ci95": found["difference_ci95"],
            "variance_reduction": round(alone / apart_variance, 3) if apart_variance > 0 else None,
        }


@dataclass(frozen=True)
class PairedComparison:
    """What A/B found: `figures` by their path in the summary, ready for JSON."""

    figures: dict[str, dict[str, Any]]
    method: str
    pairs: tuple[Pair, ...] = ()

    @property
    def seeds(self) -> list[int]:
        """The seeds of the replications."""
        return [first.seed for first, _ in self.pairs]

    @property
    def failed_checks(self) -> list[str]:
        """The checks that any of the runs broke."""
        return sorted({name for pair in self.pairs for run in pair for name in run.failed_checks})

    def table(self) -> pd.DataFrame:
        """A row a figure: A, B, B − A with its bounds, and the variance reduction."""
        import pandas as pd

        rows = []
        for path, one in self.figures.items():
            low, high = one["ci95"] or (None, None)
            rows.append((path, one["a"], one["b"], one["difference"], low, high, one["variance_reduction"]))
        columns = ["figure", "a", "b", "difference", "low", "high", "variance_reduction"]
        return pd.DataFrame(rows, columns=columns).set_index("figure")

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format=lambda value: f"{value:,.4g}"))


# ---- two scenarios ---------------------------------------------------------------------------------------------------


def ab(
    simulate: Simulate,
    a: Scenario,
    b: Scenario,
    replications: int = REPLICATIONS,
    *,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> PairedComparison:
    """Run both scenarios with seeds s, s + 1, …, s being A's, and compare them pair by pair.

    Raises UsageError if their tasks are not the same, Interrupted if it was stopped before the second pair was done.
    """
    b = b.override({"seed": a.seed})
    demand_one_plan(a, b)
    numbers = range(affordable(a, replications))
    items = list(zip(seeded(a, numbers), seeded(b, numbers), strict=True))
    with Cores(partial(_pair, simulate), replications, cores) as pool:
        done = pool.run(items, on_progress=on_progress, stop=stop)
    pairs = [pair for pair in done if pair is not None]
    if len(pairs) < 2:
        raise Interrupted(f"stopped when {len(pairs)} of {replications} pairs of runs were done; two are the least")
    method = f"Student's t over {len(pairs)} pairs of replications with common random numbers"
    return PairedComparison(of_pairs(pairs), method, tuple(pairs))


def demand_one_plan(a: Scenario, b: Scenario) -> None:
    """Raise UsageError, saying what differs, unless both scenarios give the same tasks: as many, at the same moments,
    of the same roles and priorities. How long the work is and what fails may differ: those draws are shared as well.
    """
    first, second = Plan(a), Plan(b)
    if first.count != second.count:
        raise _unlike(a, b, f"A has {first.count:,} tasks, B {second.count:,}")
    roles = [np.array(plan.role_names)[plan.role] for plan in (first, second)]
    columns = {
        "arrives at": (first.arrival_s, second.arrival_s),
        "has the role": (roles[0], roles[1]),
        "has priority": (first.priority, second.priority),
    }
    for word, (ours, theirs) in columns.items():
        apart = np.flatnonzero(ours != theirs)
        if len(apart):
            task = int(apart[0])
            raise _unlike(
                a, b, f"task {task} {word} {ours[task]} in A, {theirs[task]} in B ({len(apart):,} tasks differ)"
            )


def _unlike(a: Scenario, b: Scenario, what: str) -> UsageError:
    return UsageError(
        f"A ({a.name}) and B ({b.name}) do not run the same tasks: {what}; "
        "give both the same arrivals, roles, shares and priorities, and vary the mesh, the rules or the work"
    )


def _pair(simulate: Simulate, scenarios: tuple[Scenario, Scenario], stop: Stop) -> Pair | None:
    """A and B with one seed; None if it was stopped before both were done."""
    first = replication(simulate, scenarios[0], stop)
    second = replication(simulate, scenarios[1], stop) if first is not None else None
    return None if first is None or second is None else (first, second)


def of_pairs(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """The figures of pairs of replications; a figure that a run does not have is left out."""
    groups = min(len(pairs), GROUPS_MAX)
    bins = np.array_split(np.arange(len(pairs)), groups)
    found = {}
    for path in FIGURES:
        figure, _, point = path.partition(".")
        if figure in metrics.SPREADS:
            pools = [
                [np.concatenate([pairs[n][side].times.values(figure) for n in some]) for some in bins]
                for side in (0, 1)
            ]
            both = _contributions(pools[0], pools[1], point)
        else:
            both = _of_runs([[_at(pair[side].summary, path) for pair in pairs] for side in (0, 1)])
        if both is not None:
            found[path] = both.as_json(serial=False)
    return found


# ---- two records -----------------------------------------------------------------------------------------------------


def of_records(a: Record, b: Record) -> PairedComparison:
    """The figures of a single pair of runs of the same tasks, from either engine.

    Only tasks that have a figure in both runs count for it. Their batches, in order of arrival, give the interval; it
    speaks of this one course of events, not of other seeds. What a run has only once has no interval.
    """
    times = Times.of(a), Times.of(b)
    summaries = [record.info.get("summary") or metrics.summary(record) for record in (a, b)]
    found = {}
    for path in FIGURES:
        figure, _, point = path.partition(".")
        if figure in metrics.SPREADS:
            values = [getattr(one, figure) for one in times]
            shared = ~np.isnan(values[0]) & ~np.isnan(values[1])
            pools = [statistics.batches(one[shared]) for one in values]
            both = _contributions(pools[0], pools[1], point)
        else:
            both = _of_runs([[_at(summary, path)] for summary in summaries])
        if both is not None:
            found[path] = both.as_json(serial=True)
    return PairedComparison(
        found, f"{statistics.BATCHES} batches of the tasks of one pair of runs, in order of arrival"
    )


# ---- one figure ------------------------------------------------------------------------------------------------------


def _contributions(a: Sequence[Floats], b: Sequence[Floats], point: str) -> Contributions | None:
    """What the pairs of groups contribute to the mean, or a percentile, of A and of B; None where there are no values.

    A pair that one side has no values of (nothing was completed) tells no difference and is left out.
    """
    both = [(ours, theirs) for ours, theirs in zip(a, b, strict=True) if len(ours) and len(theirs)]
    if not both:
        return None
    groups_a, groups_b = zip(*both, strict=True)
    whole_a, of_a = statistics.pseudo_values(len(both), partial(_without, groups_a, point))
    whole_b, of_b = statistics.pseudo_values(len(both), partial(_without, groups_b, point))
    return Contributions(whole_a, whole_b, of_a, of_b)


def _without(groups: Sequence[Floats], point: str, left_out: int | None) -> float:
    """The figure of all groups but one."""
    values = np.concatenate([group for number, group in enumerate(groups) if number != left_out])
    return float(values.mean() if point == "mean" else np.quantile(values, PERCENTILES[point]))


def _of_runs(figures: Sequence[Sequence[float | None]]) -> Contributions | None:
    """A figure that each run has once: the mean of the runs, to which each contributes its own."""
    if any(value is None for side in figures for value in side):
        return None
    of_a, of_b = (np.array(side, dtype=np.float64) for side in figures)
    return Contributions(float(of_a.mean()), float(of_b.mean()), of_a, of_b)


def _at(summary: Mapping[str, Any], path: str) -> Any:
    here: Any = summary
    for part in path.split("."):
        here = here[part]
    return here
