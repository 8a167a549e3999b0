"""Run until a figure is known well enough: `--until p99:5%`.

Replications come in rounds. After each round the interval is looked at, and the run ends when half of its width is
within the asked share of the figure. Who looks after every run stops too often at a lucky one, so rounds grow by at
least a quarter, and ten replications come before the first look (Law, Simulation Modeling and Analysis, section 9.4.1).
What is left of that bias is two or three points of coverage: see docs/STATISTICS.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lab import statistics
from lab.errors import UsageError
from lab.metrics import PERCENTILES, Times

REPLICATIONS_MIN: Final = 10
"""With fewer, the estimate of the spread is itself too uncertain to stop by: of 5 runs its error is ± 35 %, of 10 it is
± 24 %.
"""
GROWTH_MIN: Final = 1.25
GROWTH_MAX: Final = 4.0
"""No round trusts the spread seen so far for more than this."""
MARGIN: Final = 1.1
"""A tenth more than the spread seen asks for, so that most runs end with the second look."""

NAMES: Final = {"latency": "latency_s", "queue_wait": "queue_wait_s"}
POINTS: Final = ("mean", *PERCENTILES)
FORM: Final = re.compile(r"(?:(?P<figure>[a-z_]+)\.)?(?P<point>\w+):(?P<percent>\d+(?:\.\d*)?|\.\d+)\s?%")

Run = TypeVar("Run")


@dataclass(frozen=True)
class Target:
    """Which figure must be known, and within what share of itself."""

    figure: str
    """`latency_s` or `queue_wait_s`."""
    point: str
    """`mean` or a percentile's name."""
    within: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """[FIGURE.]POINT:X%. Raises UsageError for anything else."""
        found = FORM.fullmatch(text.strip())
        figure = (found["figure"] or "latency").removesuffix("_s") if found else ""
        within = float(found["percent"]) / 100 if found else 0.0
        if found is None or figure not in NAMES or found["point"] not in POINTS or not 0 < within < 1:
            raise UsageError(
                f"{text!r} is no [FIGURE.]POINT:X%, as in p99:5%, mean:2% or queue_wait.p99:5%; "
                f"FIGURE is {' or '.join(NAMES)} (default: latency), POINT {', '.join(POINTS)}, X above 0 and below 100"
            )
        return cls(NAMES[figure], found["point"], within)

    @property
    def path(self) -> str:
        """The figure's place in a summary."""
        return f"{self.figure}.{self.point}"

    def estimate(self, times: Sequence[Times]) -> statistics.Estimate | None:
        """What the runs say of the figure; None as long as no task has it."""
        groups = [values for one in times if len(values := one.values(self.figure))]
        if not groups:
            return None
        if self.point == "mean":
            return statistics.mean(groups)
        return statistics.quantile(groups, PERCENTILES[self.point])


@dataclass(frozen=True)
class Outcome:
    """How far it came. `half_width` is the share of the figure that half of its interval is, None where unbounded."""

    target: Target
    replications: int
    value: float | None
    half_width: float | None

    @property
    def reached(self) -> bool:
        """Whether the figure is known as well as asked."""
        enough = self.replications >= REPLICATIONS_MIN
        return enough and self.half_width is not None and self.half_width <= self.target.within

    @property
    def growth(self) -> float:
        """How many times as many replications the spread seen so far asks for; infinitely many where there is none."""
        return math.inf if self.half_width is None else (self.half_width / self.target.within) ** 2 * MARGIN

    @property
    def words(self) -> str:
        """What is known, what is asked, and how many replications that may take."""
        asked = f"{self.target.path} within {100 * self.target.within:g} %"
        if self.half_width is None:
            return f"{asked} asked, not known yet"
        return (
            f"{asked} asked, {100 * self.half_width:.2g} % so far, about {self.replications * self.growth:,.0f} needed"
        )

    def next_total(self, most: int) -> int:
        """How many replications to have after the next round: those needed, as far as that is trusted."""
        return min(most, math.ceil(self.replications * min(max(self.growth, GROWTH_MIN), GROWTH_MAX)))

    def as_json(self) -> dict[str, Any]:
        """The object `until` of `meshlab run --json`; `asked` and `half_width` are shares of the value."""
        return {
            "figure": self.target.path,
            "asked": self.target.within,
            "reached": self.reached,
            "replications": self.replications,
            "half_width": None if self.half_width is None else round(self.half_width, 6),
            "value": None if self.value is None else round(self.value, 9),
        }


def look(target: Target, times: Sequence[Times]) -> Outcome:
    """Where it stands after these runs."""
    found = target.estimate(times)
    if found is None:
        return Outcome(target, len(times), None, None)
    return Outcome(target, len(times), found.value, found.relative)


def until(
    target: Target,
    most: int,
    run_round: Callable[[range, Outcome], Sequence[Run]],
    times_of: Callable[[Run], Times],
) -> tuple[list[Run], Outcome]:
    """Run rounds until the target is reached or `most` replications are done.

    `run_round(numbers, so_far)` runs the replications with these numbers (from 0) and returns them; fewer than asked
    mean that it was stopped, and that is the end.
    """
    runs: list[Run] = []
    wanted = min(REPLICATIONS_MIN, most)
    outcome = Outcome(target, 0, None, None)
    while True:
        runs += run_round(range(len(runs), wanted), outcome)
        outcome = look(target, [times_of(run) for run in runs])
        if outcome.reached or len(runs) < wanted or wanted >= most:
            return runs, outcome
        wanted = outcome.next_total(most)
