"""What the prediction test found, as plain data: per scenario, over the matrix, and as a table.

The data hold the curves too, thinned, so that the page and the report draw from them and need no record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lab import metrics, twin_pairs, units
from lab.limits import MIB
from lab.record import Record, machine, versions
from lab.twin_figures import (
    BIN_S,
    MEASURES,
    WORST_FACTOR,
    figures_of,
    is_backlogged,
    judged,
    latencies,
    throughput_bins,
)
from lab.twin_matrix import Case

if TYPE_CHECKING:
    import pandas as pd

CURVE_POINTS: Final = 240
ECDF_POINTS: Final = 120
PAIRS_SHOWN: Final = 600
"""Dots of a scatter: more are a smear."""


def of_scenario(case: Case, model: Record, live: Sequence[Record]) -> dict[str, Any]:
    """One scenario: its figures judged, bins, pairs, worst tasks, anatomy, checks and curves."""
    found = judged(
        figures_of(model, saturates=case.saturates),
        [figures_of(one, saturates=case.saturates) for one in live],
        saturates=case.saturates,
        drains=all(map(is_backlogged, live)),
    )
    return {
        "name": case.name,
        "about": case.about,
        "tasks": len(model.tasks),
        "seed": case.scenario.seed,
        "repeats": len(live),
        "saturates": case.saturates,
        "figures": {path: one.as_json() for path, one in found.items()},
        "bins": throughput_bins(model, live),
        "paired": twin_pairs.paired(model, live),
        "anatomy": twin_pairs.anatomy(model, live),
        "checks": _checks(model, live),
        "worst": twin_pairs.worst(model, live),
        "curves": {"model": curves(model), "live": [curves(one) for one in live], "pairs": _pairs(model, live)},
    }


def whole(scenarios: Sequence[Mapping[str, Any]], model: Record | None, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The whole test: the summary over the matrix, what was missed, and where it was made."""
    found = summary(scenarios)
    profile = (model.info.get("profile") or {}) if model is not None else {}
    return {
        **facts,
        "machine": machine(),
        "versions": versions(),
        "profile": {
            "name": model.scenario.profile if model is not None else "default",
            "measured": str(profile.get("measured", "")),
        },
        "ok": not found["missed"] and not found["broken"],
        "summary": found,
        "scenarios": list(scenarios),
    }


def summary(scenarios: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per figure with an aim: the median size of the error over the scenarios, and the one that is furthest beyond its
    allowance. `missed` says in words which aims were not met, `broken` which runs broke a check.
    """
    rows = {}
    for measure in MEASURES:
        seen = [(one["name"], one["figures"][measure.path]) for one in scenarios if measure.path in one["figures"]]
        seen = [(name, figure) for name, figure in seen if figure["judged"]]
        if measure.aim is not None and seen:
            rows[measure.path] = _row(measure.aim, seen)
    broken = [f"{one['name']} ({side})" for one in scenarios for side in ("model", "live") if one["checks"][side]]
    return {"figures": rows, "missed": list(_missed(rows)), "broken": broken}


def _row(aim: float, seen: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    sizes = [abs(figure["error"]) for _, figure in seen]
    name, worst = max(seen, key=lambda one: abs(one[1]["error"]) / one[1]["allowance"])
    median = float(np.median(sizes))
    words = [figure["at_allowance"]["verdict"] for _, figure in seen]
    return {
        "aim": aim,
        "scenarios": len(seen),
        "median_error": round(median, 6),
        "mean_bias": round(float(np.mean([figure["error"] for _, figure in seen])), 6),
        "met": median <= aim,
        "worst": name,
        "worst_error": worst["error"],
        "worst_allowance": worst["allowance"],
        "beyond": [name for name, figure in seen if not figure["within_allowance"]],
        "verdicts": {word: words.count(word) for word in ("equivalent", "not shown", "different")},
    }


def _missed(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for measure in MEASURES:
        row = rows.get(measure.path)
        if row is None:
            continue
        if not row["met"]:
            median, aim = _percent(row["median_error"]), _percent(row["aim"])
            yield f"{measure.figure.label}: median error {median}, the aim is {aim}"
        if row["beyond"]:
            yield f"{measure.figure.label}: beyond its allowance in {', '.join(row['beyond'])}"


def _percent(value: float) -> str:
    return units.percent(value).lstrip("+")


def _checks(model: Record, live: Sequence[Record]) -> dict[str, list[str]]:
    return {
        "model": list(model.info["checks"]["failed"]),
        "live": sorted({name for one in live for name in one.info["checks"]["failed"]}),
    }


# ---- curves ----------------------------------------------------------------------------------------------------------


def curves(record: Record) -> dict[str, list[list[float]]]:
    """What is drawn of a run, each as [x, y]: completions a second, waiting tasks, latency by share of the tasks, and
    the largest worker's RSS in MiB.
    """
    from lab import figures  # plotly comes with it

    start_s, per_s = metrics.throughput_curve(record, BIN_S)
    latency = np.sort(metrics.latency_s(metrics.completed(record)))
    shares = np.linspace(0, 1, ECDF_POINTS)
    quantiles = np.quantile(latency, shares) if len(latency) else np.empty(0)
    rss = figures.fleet_max(record) if (record.samples["worker"] != "").any() else (np.empty(0), np.empty(0))
    depth = metrics.depth_curve(record) if len(record.transitions) else (np.empty(0), np.empty(0))
    return {
        "throughput": _points(np.append(start_s, start_s[-1] + BIN_S), np.append(per_s, 0.0)),
        "depth": _points(*figures.thin(*depth, points_max=CURVE_POINTS)),
        "latency": _points(quantiles, shares[: len(quantiles)]),
        "rss": _points(*figures.thin(rss[0], rss[1] / MIB, points_max=CURVE_POINTS)),
    }


def _points(x: Any, y: Any) -> list[list[float]]:
    return [[round(float(value), 4) for value in axis] for axis in (x, y)]


def _pairs(model: Record, live: Sequence[Record]) -> dict[str, list[float]]:
    """Latencies (s) of tasks that the model and every repeat completed: evenly picked, the mean of the repeats."""
    mine, theirs = latencies(model), np.mean([latencies(one) for one in live], axis=0)
    both = np.flatnonzero(~np.isnan(mine) & ~np.isnan(theirs))
    if len(both) > PAIRS_SHOWN:
        both = both[np.linspace(0, len(both) - 1, PAIRS_SHOWN).astype(int)]
    return {
        "model_s": [round(float(one), 4) for one in mine[both]],
        "live_s": [round(float(one), 4) for one in theirs[both]],
        "task": [int(one) for one in both],
    }


# ---- as a table ------------------------------------------------------------------------------------------------------


def table(data: Mapping[str, Any]) -> pd.DataFrame:
    """A row a scenario and figure: model, live mean, error, spread, aim, allowance, and the verdict of the tests."""
    import pandas as pd

    return pd.DataFrame([row for one in data["scenarios"] for row in _rows(one)])


def _rows(one: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, figure in one["figures"].items():
        test = figure.get("at_allowance") or {}
        low, high = test.get("ci90") or (None, None)
        yield {
            "scenario": one["name"],
            "figure": path,
            **{name: figure[name] for name in ("model", "live_mean", "error", "spread", "floored", "judged")},
            "repeats": one["repeats"],
            "aim": figure.get("aim"),
            "allowance": figure.get("allowance"),
            "within_allowance": figure.get("within_allowance"),
            "verdict": test.get("verdict"),
            "p": test.get("p"),
            "ci90_low": low,
            "ci90_high": high,
            "worst_factor": WORST_FACTOR if figure.get("aim") is not None else None,
        }
