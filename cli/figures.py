"""A run's figures as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cli.compare import comparison_lines, figure, words
from cli.engines import Ran
from cli.precision import precision_lines
from cli.terminal import BOLD, GREEN, RED, counted, lasting, mebibytes, painted, table
from cli.theory import theory_lines
from lab.scenario import Scenario

ENGINE_NAMES = {"sim": "model", "live": "live"}
SPREADS = ("latency_s", "queue_wait_s")
POINTS = ("p50", "p95", "p99")


def report(scenario: Scenario, ran: dict[str, Ran], compare: dict[str, Any] | None) -> Iterator[str]:
    """Everything that `meshlab run` says without --json."""
    first = next(iter(ran.values())).result
    yield painted(f"{scenario.name}, {_seeds(first)}", BOLD)
    yield ""
    if compare is None:
        for engine, one in ran.items():
            yield from _one(engine, one.result)
    else:
        rows = [(label, *values, "") for label, *values in _counts([one.result for one in ran.values()])]
        yield from table(rows, ("", "model", "live", ""), right=(1, 2))
        yield ""
        yield from comparison_lines(compare, ("model", "live"))
    yield from theory_lines({engine: one.result["theory"] for engine, one in ran.items()})
    for engine, one in ran.items():
        yield ""
        yield from precision_lines(one.result)
        yield from _verdict(engine, one)


def _seeds(result: dict[str, Any]) -> str:
    if "seeds" not in result:
        return f"seed {result['seed']}"
    seeds = f"seeds {result['seeds'][0]} to {result['seeds'][-1]}"
    return f"{result['replications']} replications with {seeds}: figures of all ± half of the 95 % interval"


def _one(engine: str, result: dict[str, Any]) -> Iterator[str]:
    rows = [(label, values[0]) for label, *values in _counts([result])]
    rows += [(words(path), _with_half(path, result)) for path in ("throughput_per_s", "makespan_s")]
    rows += [(words(name), _spread(name, result)) for name in SPREADS]
    rows.append(("peak RSS", _with_half("rss_bytes.peak", result)))
    rows.append(("wall time", f"{_wall(result['wall_s'])} on the {ENGINE_NAMES[engine]} engine"))
    yield from table(rows)


def _counts(results: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """What became of the tasks; a kind of end that nobody met is left out."""
    always = ("submitted", "completed")
    for name in first_keys(results[0]["tasks"]):
        values = [one["tasks"].get(name) for one in results]
        if name in always or any(values):
            yield (name.replace("_", " "), *map(counted, values))


def first_keys(figures: dict[str, Any]) -> list[str]:
    """The figures' own names, without their intervals."""
    return [name for name in figures if not name.endswith("_ci95")]


def _spread(name: str, result: dict[str, Any]) -> str:
    return ", ".join(f"{point} {_with_half(f'{name}.{point}', result)}" for point in POINTS)


def _with_half(path: str, result: dict[str, Any]) -> str:
    """A figure, and half the width of its interval if it has one."""
    *way, last = path.split(".")
    here: Any = result
    for part in way:
        here = here[part]
    interval = here.get(f"{last}_ci95")
    half = f" ± {_half(path, (interval[1] - interval[0]) / 2)}" if interval else ""
    return figure(path, here[last]) + half


def _wall(value_s: float) -> str:
    return f"{value_s:.2f} s" if value_s < 10 else lasting(value_s)


def _half(path: str, value: float) -> str:
    return mebibytes(value) if path.startswith("rss_bytes") else f"{value:,.3g}"


def _verdict(engine: str, one: Ran) -> Iterator[str]:
    """Whether the run kept every invariant, in plain words, and where its record is."""
    name = ENGINE_NAMES[engine]
    if one.result["checks"]["ok"]:
        yield f"{name}: {painted('all checks passed', GREEN)}"
    else:
        yield f"{name}: {painted('checks FAILED', RED)}"
    for fault in one.faults:
        yield painted(f"  {fault}", RED)
    yield f"{name}: record in {one.result['record']}"
