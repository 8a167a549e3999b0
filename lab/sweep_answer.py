"""What a sweep says of one figure, in a sentence or two: between what it lies and where, and what moves it most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from lab import units
from lab.headlines import Figure
from lab.sweep_result import Sweep
from lab.sweep_words import figure_of, interval, number, path_words, value

if TYPE_CHECKING:
    import pandas as pd

STILL: Final = 1.02
"""A knob whose values differ by less than this factor is said to hardly move the figure."""
PATHS_TOLD_MAX: Final = 4


class Effect(NamedTuple):
    """What a path does to a figure, the other paths averaged: the least and the largest of its values' means."""

    path: str
    low: float
    high: float

    @property
    def factor(self) -> float | None:
        """How many times the least the largest is; None where a ratio says nothing."""
        return self.high / self.low if self.low > 0 else None


def answer(sweep: Sweep, figure: str) -> list[str]:
    """The sentences; the first is the headline. Empty where no point, or only one, has the figure."""
    what, table = figure_of(figure), sweep.table(figure)
    known = table[table["mean"].notna()].sort_values("mean", kind="stable")
    if len(known) < 2:
        return []
    least, most = known.iloc[0], known.iloc[-1]
    if least["mean"] == most["mean"]:
        return [f"{what.label}: {number(what, float(least['mean']))} at every point"]
    said = [f"{what.label}: {_at(sweep, what, least)}, up to {_at(sweep, what, most)}"]
    return [*said, *_moved(sweep, what, known)]


def effects(sweep: Sweep, table: pd.DataFrame) -> list[Effect]:
    """What each path of a whole grid does, the strongest first. Of a sample, or a part of a grid, nothing: there the
    other paths would not average out.
    """
    if sweep.about["sampled"] or not sweep.complete or len(table) < len(sweep.points):
        return []
    found = []
    for path in sweep.varying():
        means = table.groupby(path, dropna=False)["mean"].mean()
        found.append(Effect(path, float(means.min()), float(means.max())))
    return sorted(found, key=lambda one: one.low - one.high)


def _at(sweep: Sweep, what: Figure, row: pd.Series[float]) -> str:
    """`2.23 s (2.20 to 2.26) with workers 9, slots 15`."""
    bounds = interval(what, float(row["low"]), float(row["high"]))
    sure = f" ({bounds})" if bounds else ""
    where = ", ".join(f"{path_words(path)} {value(row[path])}" for path in sweep.varying())
    return f"{number(what, float(row['mean']))}{sure} with {where}"


def _moved(sweep: Sweep, what: Figure, table: pd.DataFrame) -> list[str]:
    """What each knob is worth, the others averaged."""
    found = effects(sweep, table)[:PATHS_TOLD_MAX]
    if len(found) < 2:
        return []
    first, *others = (_worth(what, one) for one in found)
    return [f"Moved most by {first}; then {', '.join(others)} (each over its values, the others averaged)"]


def _worth(what: Figure, one: Effect) -> str:
    name, factor = path_words(one.path), one.factor
    if factor is None:
        return f"{name}, {units.interval(number(what, one.low), number(what, one.high))}"
    return f"{name} hardly" if factor < STILL else f"{name}, ×{factor:.3g}"
