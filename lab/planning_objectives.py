"""What a plan must meet, and what a mesh costs.

A percentile counts every task that came: one that is never completed is later than any other. Of completed tasks alone
a mesh that drops its slow ones would look fast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from lab import statistics, units
from lab.draws import Floats
from lab.errors import UsageError
from lab.limits import MIB
from lab.recovery import wilson
from lab.statistics import Estimate

Unit = Literal["s", "share", "bytes"]
SECONDS_AN_HOUR: Final = 3_600.0


@dataclass(frozen=True)
class Figure:
    """Something that a run shows and that an objective may bound: a percentile of its tasks (`share` is set), or one
    number of the run.
    """

    name: str
    words: str
    unit: Unit
    column: str
    """Where a `planning_trials.Trial` has it."""
    share: float | None = None

    def shown(self, value: float | None) -> str:
        """The value with its unit."""
        if value is None or math.isnan(value):
            return units.NONE
        if math.isinf(value):
            return "never"
        if self.unit == "share":
            return f"{100 * value:.3g} %"
        return units.seconds(value) if self.unit == "s" else units.size(value)

    def told(self, found: Estimate) -> str:
        """`4.80 s (4.60 to 5.00 s)`: the value and its interval, where that has any width to be seen."""
        value = self.shown(found.value)
        if found.ci95 is None:
            return value
        low, high = (self.shown(bound) for bound in found.ci95)
        return value if low == high == value else f"{value} ({units.interval(low, high)})"


FIGURES: Final[Mapping[str, Figure]] = {
    one.name: one
    for one in (
        Figure("p99", "p99 latency", "s", "latency_s", 0.99),
        Figure("p95", "p95 latency", "s", "latency_s", 0.95),
        Figure("p50", "p50 latency", "s", "latency_s", 0.50),
        Figure("queue_wait_p99", "p99 queue wait", "s", "queue_wait_s", 0.99),
        Figure("drain", "drain after the last arrival", "s", "drain_s"),
        Figure("dead", "dead letters", "share", "dead_share"),
        Figure("rss", "peak RSS of a worker", "bytes", "rss_bytes"),
    )
}
"""By their names, those of time first: the first that is bounded is the one that the frontier shows."""


@dataclass(frozen=True)
class Objective:
    """A figure and the most that it may be, in the figure's unit (s, share, bytes)."""

    figure: Figure
    most: float

    @property
    def words(self) -> str:
        """`p99 latency ≤ 5 s`."""
        return f"{self.figure.words} ≤ {self.figure.shown(self.most)}"

    def met(self, value: float) -> bool:
        """Whether a value meets it; a figure that nothing is known of does not."""
        return value <= self.most

    def strain(self, value: float) -> float:
        """The value as a share of the most: above 1 it breaks the objective. Of a bound of 0: 0 or infinite."""
        if self.most > 0:
            return value / self.most
        return 0.0 if value <= 0 else math.inf


@dataclass(frozen=True)
class Objectives:
    """Bounds on what a mesh does; at least one. Percentiles are of all tasks; see the head of this file."""

    p99_s: float | None = None
    p95_s: float | None = None
    p50_s: float | None = None
    queue_wait_p99_s: float | None = None
    drain_s: float | None = None
    """From the last arrival to the end of the last task."""
    dead_share: float | None = None
    """Share of the tasks that are dead-lettered, 0 to 1."""
    rss_mib: float | None = None
    """The highest RSS that any worker process reports."""

    def __post_init__(self) -> None:
        given = list(self)
        if not given:
            raise UsageError("a plan needs an objective; give one at least, as in --p99 5 (seconds)")
        for one in given:
            if not (math.isfinite(one.most) and one.most >= 0):
                raise UsageError(f"{one.figure.words}: {one.most:g} is no bound; give a number of at least 0")
        if self.dead_share is not None and self.dead_share > 1:
            raise UsageError(f"dead letters: a share of {self.dead_share:g} is more than all; give 0.001 or 0.1%")

    def __iter__(self) -> Iterator[Objective]:
        """Those that are given, of time first."""
        bounds = {
            "p99": self.p99_s,
            "p95": self.p95_s,
            "p50": self.p50_s,
            "queue_wait_p99": self.queue_wait_p99_s,
            "drain": self.drain_s,
            "dead": self.dead_share,
            "rss": None if self.rss_mib is None else self.rss_mib * MIB,
        }
        for name, most in bounds.items():
            if most is not None:
                yield Objective(FIGURES[name], most)

    @property
    def leading(self) -> Figure:
        """The figure that costs are set against: the first that is bounded, p99 latency if none of them is a time."""
        first = next(iter(self)).figure
        return first if first.unit == "s" else FIGURES["p99"]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """What must be known of a candidate."""
        return tuple(dict.fromkeys((self.leading, *(one.figure for one in self))))

    @property
    def tightest_s(self) -> float:
        """The shortest time that any of them allows a task; infinite if none bounds a time. p50 says nothing of the
        other half of the tasks.
        """
        of_all = [one.most for one in self if one.figure.unit == "s" and one.figure.name != "p50"]
        return min(of_all, default=math.inf)

    def as_json(self) -> list[dict[str, Any]]:
        """A row an objective."""
        return [{"figure": one.figure.name, "words": one.words, "most": one.most} for one in self]


# ---- what runs say of a figure ---------------------------------------------------------------------------------------


def of_run(figure: Figure, values: Floats | float) -> float:
    """The figure of one run: of a percentile's column all its tasks are given, infinite where one was never done."""
    if figure.share is None:
        return float(values)
    groups, most = _finite([np.asarray(values)])
    return _with_never(float(np.quantile(groups[0], figure.share)), most)


def of_runs(figure: Figure, columns: Sequence[Floats] | Sequence[float], tasks: int) -> Estimate:
    """The figure of several runs together, with its 95 % interval: a percentile of all their tasks, or a mean of runs.

    Dead letters that were never seen are not impossible: their interval is at least that of a share of `tasks` (of all
    runs) that were tried independently.
    """
    if figure.share is not None:
        groups, most = _finite([np.asarray(column) for column in columns])
        found = statistics.quantile(groups, figure.share)
        ci95 = None if found.ci95 is None else (_with_never(found.ci95[0], most), _with_never(found.ci95[1], most))
        return Estimate(_with_never(found.value, most), ci95)
    found = statistics.of_runs([float(value) for value in columns])
    if figure.unit != "share" or found.ci95 is None:
        return found
    low, high = wilson(round(found.value * tasks), tasks)
    return Estimate(found.value, (max(0.0, min(found.ci95[0], low)), max(found.ci95[1], high)))


def _finite(groups: Sequence[Floats]) -> tuple[list[Floats], float]:
    """The groups with a number above all others for what never happened, and the highest of the others."""
    finite = [group[np.isfinite(group)] for group in groups]
    most = max((float(group.max()) for group in finite if len(group)), default=0.0)
    return [np.where(np.isfinite(group), group, 2 * most + 1) for group in groups], most


def _with_never(value: float, most: float) -> float:
    """Back again: what lies above all that happened is never."""
    return math.inf if value > most else value


# ---- costs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prices:
    """What things cost, in any currency: a worker and a slot by the hour, and each attempt (a model call, say)."""

    worker: float = 1.0
    slot: float = 0.0
    attempt: float = 0.0

    def __post_init__(self) -> None:
        for name, price in (("worker", self.worker), ("slot", self.slot), ("attempt", self.attempt)):
            if not (math.isfinite(price) and price >= 0):
                raise UsageError(f"the cost of a {name} must be a number of at least 0, found {price:g}")
        if self.worker == 0 and self.slot == 0:
            raise UsageError("a mesh that costs nothing has no cheapest size; give --cost-worker or --cost-slot")

    def of_mesh(self, workers: int, slots: int) -> float:
        """An hour of the mesh, whatever it does."""
        return workers * self.worker + workers * slots * self.slot

    def an_hour(self, workers: int, slots: int, attempts_per_h: float) -> float:
        """An hour of the mesh and of the attempts made in it."""
        return self.of_mesh(workers, slots) + attempts_per_h * self.attempt

    def as_json(self) -> dict[str, float]:
        """The prices by their names."""
        return {"worker": self.worker, "slot": self.slot, "attempt": self.attempt}
