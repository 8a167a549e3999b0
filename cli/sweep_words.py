"""What a sweep says on the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.terminal import BOLD, NONE, lasting, painted, table
from lab.errors import UsageError
from lab.sweep_words import figure_of, interval, number, value
from lab.units import plural

if TYPE_CHECKING:
    import pandas as pd

    from lab.sweep_result import Sweep

FIGURES: Final = ("throughput_per_s", "latency_s.p95", "latency_s.p99")
"""What is printed of each point unless asked otherwise; the last but one also as a difference."""
POINTS_MAX: Final = 20
"""More points than this are not all printed: the best and the worst by each figure are."""
EXTREMES: Final = 5
FAULTS_MAX: Final = 5
BETTER_HIGH: Final = ("throughput_per_s", "tasks.completed")
"""Of these figures more is better; of all others less."""


def report(found: Sweep, figures: Sequence[str], baseline: int | None) -> Iterator[str]:
    """The lines that people read."""
    about = found.about
    runs = plural(about["replications"], "replication")
    yield painted(f"{about['scenario_name']}: {about['method']}, {plural(about['points'], 'point')} × {runs}", BOLD)
    last = about["seed"] + about["replications"] - 1
    seeds = f"seeds {about['seed']} to {last}" if last > about["seed"] else f"seed {last}"
    yield f"{seeds}, the same for every point; {plural(len(found.frame), 'run')} in {lasting(about['wall_s'])}"
    yield ""
    tables = {figure: found.table(figure, baseline) for figure in figures}
    base = found.points.index[0] if baseline is None else baseline
    if len(found.points) <= POINTS_MAX:
        yield from _table(found, tables, list(found.points.index), base)
    else:
        yield from _extremes(found, tables, base)
    yield ""
    yield from _meaning(found, tables, base)


def _table(found: Sweep, tables: dict[str, pd.DataFrame], points: Sequence[int], base: int) -> Iterator[str]:
    """A row a point: its values, each figure with its interval, and how far the last but one is from the baseline."""
    compared = _compared(list(tables))
    head = ["point", *found.paths, *(figure_of(one).label for one in tables), f"{figure_of(compared).label}, Δ"]
    known = {figure: _by_point(one.loc[list(points)]) for figure, one in tables.items()}
    rows = []
    for point in points:
        cells = [str(point), *(value(known[compared][point][path]) for path in found.paths)]
        cells += [_sure(figure, one[point], "mean", "low", "high") for figure, one in known.items()]
        far = _sure(compared, known[compared][point], "difference", "difference_low", "difference_high")
        rows.append([*cells, "baseline" if point == base else far])
    yield from table(rows, head, right=range(1, len(head)))


def _compared(figures: Sequence[str]) -> str:
    """The figure whose differences are printed: there is room for one."""
    return "latency_s.p95" if "latency_s.p95" in figures else figures[0]


def _by_point(table: pd.DataFrame) -> dict[int, dict[str, Any]]:
    return {
        int(str(point)): {str(name): one for name, one in row.items()} for point, row in table.to_dict("index").items()
    }


def _sure(figure: str, row: Mapping[str, Any], mean: str, low: str, high: str) -> str:
    """A number with its interval."""
    what = figure_of(figure)
    if row[mean] != row[mean]:
        return NONE
    around = interval(what, row[low], row[high])
    return f"{number(what, row[mean])} ({around})" if around else number(what, row[mean])


def _extremes(found: Sweep, tables: dict[str, pd.DataFrame], base: int) -> Iterator[str]:
    """Of many points the best and the worst by each figure."""
    for figure, one in tables.items():
        known = one[one["mean"].notna()].sort_values("mean", ascending=figure not in BETTER_HIGH, kind="stable")
        if known.empty:
            continue
        for name, rows in (("best", known.head(EXTREMES)), ("worst", known.tail(EXTREMES)[::-1])):
            yield painted(f"{figure_of(figure).label}, {name}", BOLD)
            yield from _table(found, {figure: one}, list(rows.index), base)
            yield ""


def _meaning(found: Sweep, tables: dict[str, pd.DataFrame], base: int) -> Iterator[str]:
    """Where the intervals come from, and what the common random numbers were worth."""
    if found.about["replications"] < 2:
        yield "one run of each point: no intervals; --replications 5 gives them"
        return
    yield "in brackets: 95 % intervals of the mean over the replications (Student's t);"
    yield f"Δ: difference from point {base}, from pairs of one seed"
    compared = _compared(list(tables))
    worth = tables[compared]["variance_reduction"].median()
    if worth == worth:
        yield f"   (worth {worth:.3g} times as many runs with chance of their own: the median of all points)"


def faults(found: Sweep) -> Iterator[str]:
    """Which runs came to nothing, and which broke a check."""
    for name, rows in (("came to no figures", found.failed), ("broke a check", found.broken)):
        if rows.empty:
            continue
        yield f"{plural(len(rows), 'run')} {name}:"
        for row in rows.head(FAULTS_MAX).to_dict("records"):
            at = ", ".join(f"{path}={value(row[path])}" for path in found.paths)
            why = row["error"] if name == "came to no figures" else row["checks_failed"]
            yield f"  point {row['point']} ({at}), seed {_whole(row['seed'])}: {why}"
        if len(rows) > FAULTS_MAX:
            yield f"  and {len(rows) - FAULTS_MAX:,} more; the file has them all (columns error and checks_failed)"


def _whole(number_: float) -> str:
    return NONE if number_ != number_ else f"{number_:.0f}"


def as_json(found: Sweep, out: Path, figures: Sequence[str], baseline: int | None) -> dict[str, Any]:
    """The object of `--json`."""
    about = found.about
    tables = {figure: _by_point(found.table(figure, baseline)) for figure in figures}
    return {
        "scenario": about["scenario_name"],
        "seed": about["seed"],
        "method": about["method"],
        "paths": found.paths,
        "points": about["points"],
        "replications": about["replications"],
        "runs": len(found.frame),
        "complete": found.complete,
        "failed": len(found.failed),
        "checks": {"ok": found.broken.empty, "failed": sorted(set(found.broken["checks_failed"]))},
        "baseline": int(found.points.index[0]) if baseline is None else baseline,
        "table": [_point(found, tables, point) for point in found.points.index],
        "wall_s": about["wall_s"],
        "out": str(out),
    }


def _point(found: Sweep, tables: dict[str, dict[int, dict[str, Any]]], point: int) -> dict[str, Any]:
    first = next(iter(tables.values()))[point]
    values = {path: _plain(first[path]) for path in found.paths}
    return {"point": int(point), "values": values, **{name: _figure(one[point]) for name, one in tables.items()}}


def _figure(row: Mapping[str, Any]) -> dict[str, Any]:
    def bounds(low: str, high: str) -> list[float] | None:
        return None if row[low] != row[low] else [round(float(row[low]), 9), round(float(row[high]), 9)]

    return {
        "mean": _rounded(row["mean"]),
        "ci95": bounds("low", "high"),
        "difference": _rounded(row["difference"]),
        "difference_ci95": bounds("difference_low", "difference_high"),
        "variance_reduction": _rounded(row["variance_reduction"]),
    }


def _rounded(found: float) -> float | None:
    return None if found != found else round(float(found), 9)


def _plain(found: Any) -> Any:
    """A value that JSON has."""
    return found.item() if hasattr(found, "item") else found


def demand_figures(found: Sweep, figures: Sequence[str]) -> None:
    """Raise UsageError, naming the option, for a figure that no run has."""
    for one in figures:
        try:
            found.demand(one)
        except UsageError as error:
            raise UsageError(f"--figure {one}: {error}") from error
