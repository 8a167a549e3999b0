"""Which points a sweep visits: a grid of values, random ones, or a Latin hypercube, all checked before the first runs.

A point is a set of values by their dotted paths in the scenario (`mesh.workers`, `rules.retry.base_s`). Replication r
of every point has the scenario's seed + r, so all points meet the same draws (common random numbers).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

from lab import yaml_source
from lab.errors import ScenarioError, UsageError
from lab.limits import FINDINGS_MAX, SWEEP_POINTS_MAX, SWEEP_RUNS_MAX
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.scenario import Scenario

Point = Mapping[str, Any]
Scale = Literal["real", "int", "log"]
Sampling = Literal["random", "latin"]
NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
SPAN: Final = re.compile(rf"({NUMBER})\.\.({NUMBER})(?::({NUMBER}|int|log))?")
"""LOW..HIGH, or LOW..HIGH:STEP in a grid, LOW..HIGH:int and LOW..HIGH:log in a range."""
DIGITS: Final = 6
"""Significant digits of a drawn value: more say nothing, and nobody reads them."""
CHECKED_AT_A_TIME: Final = 200
"""Points between two words about how far the check has come: some 0.1 s."""


class Range(NamedTuple):
    """Where a sampled value lies: from `low` to `high`, both included; whole numbers only, or even on a log scale."""

    low: float
    high: float
    scale: Scale = "real"

    def at(self, share: float) -> int | float:
        """The value at a share (from 0, below 1) of the range."""
        if self.scale == "int":
            return int(self.low) + math.floor(share * (int(self.high) - int(self.low) + 1))
        if self.scale == "log":
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + share * (self.high - self.low)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Design:
    """What is to be run: each point `replications` times, from the scenario's seed on. `method` says how the points
    were chosen, in words.
    """

    scenario: Scenario
    points: tuple[Point, ...]
    replications: int
    method: str

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the points set, in the order in which they were given."""
        return tuple(self.points[0])

    @property
    def runs(self) -> int:
        """Points times replications."""
        return len(self.points) * self.replications

    @property
    def sampled(self) -> bool:
        """Whether the points were drawn rather than laid out."""
        return self.method.startswith(("Random", "Latin"))

    def at(self, point: int) -> Scenario:
        """The scenario of a point, by its number from 0, with the scenario's own seed."""
        return self.scenario.override(self.points[point]) if self.points[point] else self.scenario

    @cached_property
    def digest(self) -> str:
        """The same for the same scenario, files, points and replications; another for any other."""
        from lab.sweep_files import digests

        what = [self.scenario.data, list(map(dict, self.points)), self.replications, digests(self)]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def check(self, on_progress: OnProgress = ignore, stop: Stop = never) -> None:
        """Raise UsageError with all that is wrong with any point, each thing once, with the first point that has it."""
        problems = dict[tuple[str, str], str]()
        points = len(self.points)
        for number, point in enumerate(self.points):
            if number % CHECKED_AT_A_TIME == 0:
                on_progress(Progress("sim", 0, self.runs, 0.0, 0.0, f"checking {points:,} points"))
                if stop():
                    return
            for where, what in _problems(self, number):
                problems.setdefault((where, what), f"point {number} ({told(point)}): {where}: {what}")
        if problems:
            more = len(problems) - FINDINGS_MAX
            lines = list(problems.values())[:FINDINGS_MAX] + ([f"and {more} more"] if more > 0 else [])
            raise UsageError("\n".join(lines))


def told(point: Point) -> str:
    """A point in words: `mesh.workers=2, mesh.slots=4`."""
    return ", ".join(f"{path}={written(value)}" for path, value in point.items()) or "the scenario as it is"


def written(value: Any) -> str:
    """A value as it stands in a scenario file."""
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _problems(design: Design, number: int) -> Iterator[tuple[str, str]]:
    try:
        design.at(number)
    except ScenarioError as error:
        yield from ((problem.path, problem.message) for problem in error.problems)
    except UsageError as error:
        where, _, what = str(error).removeprefix("--set ").partition(": ")
        yield where, what


# ---- making designs --------------------------------------------------------------------------------------------------


def design(
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]] | Sequence[Point] = (),
    *,
    ranges: Mapping[str, Range] | None = None,
    samples: int = 0,
    sampling: Sampling = "latin",
    replications: int = 1,
) -> Design:
    """Every combination of the grid's values; with `ranges`, each of them at so many sampled points, drawn from the
    scenario's seed. `grid` may be a list of points of one's own.

    Raises UsageError for a design that is empty, too large, or contradicts itself. The points are not checked yet.
    """
    listed = [dict(point) for point in grid] if not isinstance(grid, Mapping) else []
    axes = {_plain(path): list(values) for path, values in grid.items()} if isinstance(grid, Mapping) else {}
    ranges = {_plain(path): one for path, one in (ranges or {}).items()}
    _demand_order(scenario, axes, ranges, listed, samples, replications)
    laid_out = listed or [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    drawn = sampled(ranges, samples, sampling, scenario.seed) if ranges else [{}]
    points = tuple({**first, **second} for first in laid_out for second in drawn)
    return Design(scenario, points, replications, _method(axes, samples if ranges else 0, sampling, len(listed)))


def _plain(path: str) -> str:
    """`faults[0].at_s` and `faults.0.at_s` are one path."""
    return path.strip().replace("[", ".").replace("]", "")


def _demand_order(
    scenario: Scenario,
    axes: Mapping[str, Sequence[Any]],
    ranges: Mapping[str, Range],
    listed: Sequence[Point],
    samples: int,
    replications: int,
) -> None:
    paths = [*axes, *ranges] or [_plain(path) for path in (listed[0] if listed else ())]
    if not paths:
        raise UsageError("a sweep needs a path to vary: a grid, or ranges with a number of samples")
    for path in paths:
        if path == "seed":
            raise UsageError("seed: is that of the replications, one apart; ask for more of them instead")
        if above := next((one for one in paths if path != one and path.startswith(f"{one}.")), None):
            raise UsageError(f"{path}: lies inside {above}, which is varied too; vary one of them")
    if both := set(axes) & set(ranges):
        raise UsageError(f"{min(both)}: is in the grid and has a range too; keep one of them")
    if any(set(point) != set(listed[0]) for point in listed):
        raise UsageError("the points of a list must all set the same paths")
    if empty := next((path for path, values in axes.items() if not values), None):
        raise UsageError(f"{empty}: there is no value to try")
    if ranges and samples < 1:
        raise UsageError(f"{next(iter(ranges))}: has a range, but the number of samples is missing")
    if samples and not ranges:
        raise UsageError(f"{samples} samples are asked for, but there is no range to draw them from")
    count = math.prod(map(len, axes.values())) * (samples if ranges else 1) * max(1, len(listed))
    if count > SWEEP_POINTS_MAX:
        raise UsageError(f"the design has {count:,} points; at most {SWEEP_POINTS_MAX:,} are allowed")
    if replications < 1 or count * replications > SWEEP_RUNS_MAX:
        said = f"{count:,} points × {replications:,} replications are {count * replications:,} runs"
        raise UsageError(f"{said}; 1 to {SWEEP_RUNS_MAX:,} are allowed")
    scenario.override({"seed": scenario.seed + replications - 1})


def _method(axes: Mapping[str, Sequence[Any]], samples: int, sampling: Sampling, listed: int) -> str:
    if listed:
        return f"List of {listed:,}"
    grid = f"grid {' × '.join(f'{len(values):,}' for values in axes.values())}"
    if not samples:
        return grid.capitalize()
    drawn = f"{'Latin hypercube' if sampling == 'latin' else 'Random sample'} of {samples:,}"
    return f"{drawn} at each point of the {grid}" if axes else drawn


def sampled(ranges: Mapping[str, Range], samples: int, sampling: Sampling, seed: int) -> list[dict[str, Any]]:
    """So many points drawn from the ranges, the same for the same seed.

    A Latin hypercube cuts every range into `samples` strips and puts one point into each (McKay, Beckman and Conover,
    Technometrics 21, 1979), so few points already cover each range evenly.
    """
    import numpy as np
    from scipy.stats import qmc

    generator = np.random.default_rng(seed)
    if sampling == "latin":
        shares = qmc.LatinHypercube(len(ranges), rng=generator).random(samples)
    else:
        shares = generator.random((samples, len(ranges)))
    return [
        {path: one.at(float(share)) for (path, one), share in zip(ranges.items(), row, strict=True)} for row in shares
    ]


# ---- what people write -----------------------------------------------------------------------------------------------


def values(text: str) -> list[Any]:
    """The values of a grid's path: YAML as it stands in a scenario, commas between them, and spans: `1,2,4`, `1..10`,
    `0.1..0.9:0.1`, `strict,aging`. Raises UsageError for what cannot be read.
    """
    found = yaml_source.read(f"[{text}]")
    if found.problems:
        raise UsageError(f"{text!r} cannot be read as values: {found.problems[0].message}")
    if not found.data:
        raise UsageError("the values are missing; write them with commas between, as in 1,2,4 or 1..10")
    return [value for item in found.data for value in _spread(item)]


def _spread(item: Any) -> Iterator[Any]:
    """The values of a span, or the item itself."""
    span = SPAN.fullmatch(item.strip()) if isinstance(item, str) else None
    if span is None:
        yield item
        return
    low, high = Decimal(span[1]), Decimal(span[2])
    whole = all(re.fullmatch(r"[+-]?\d+", part) for part in (span[1], span[2], span[3] or "1"))
    if span[3] in ("int", "log") or (span[3] is None and not whole):
        raise UsageError(f"{item}: a span of a grid needs a step, as in {span[1]}..{span[2]}:0.1")
    step = Decimal(span[3] or 1)
    if step <= 0 or low > high:
        raise UsageError(f"{item}: a span goes up from the lower value to the higher one, by a step above 0")
    count = int((high - low) / step) + 1
    if count > SWEEP_POINTS_MAX:
        raise UsageError(f"{item}: that is {count:,} values; at most {SWEEP_POINTS_MAX:,} points are allowed")
    for number in range(count):
        value = low + number * step
        yield int(value) if whole else float(value)


def range_of(text: str) -> Range:
    """A range as people write it: `LOW..HIGH`, `LOW..HIGH:int`, `LOW..HIGH:log`. Raises UsageError otherwise."""
    span = SPAN.fullmatch(text.strip())
    if span is None or span[3] not in (None, "int", "log"):
        raise UsageError(f"{text!r} is no range; write LOW..HIGH, LOW..HIGH:int or LOW..HIGH:log, as in 0.1..10:log")
    scale: Scale = "int" if span[3] == "int" else "log" if span[3] == "log" else "real"
    low, high = float(span[1]), float(span[2])
    if not low < high < math.inf:
        raise UsageError(f"{text}: the lower end must be below the higher one")
    if scale == "log" and low <= 0:
        raise UsageError(f"{text}: a logarithmic range starts above 0")
    if scale == "int" and not (low.is_integer() and high.is_integer()):
        raise UsageError(f"{text}: the ends of a range of whole numbers are whole")
    return Range(low, high, scale)
