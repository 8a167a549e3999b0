"""What people call the paths that a sweep varies and the figures that it measures, with their units."""

from __future__ import annotations

from typing import Any, Final

from lab import units
from lab.headlines import BY_PATH, Figure
from lab.limits import MIB

ENDINGS: Final = (("_per_s", "1/s"), ("_bytes", "bytes"), ("_mib", "MiB"), ("_s", "s"))
"""How names end that have a unit, the longer endings first."""
POINTS: Final = {"mean": "mean", "p50": "p50", "p95": "p95", "p99": "p99", "max": "longest", "peak": "peak"}
QUEUES: Final = {"agent_high": "high", "agent_medium": "medium", "agent_low": "low"}
DEFAULT_FIGURE: Final = "latency_s.p95"
SHOWN: Final = (
    "throughput_per_s",
    "latency_s.p50",
    "latency_s.p95",
    "latency_s.p99",
    "queue_wait_s.mean",
    "tasks.dead",
)
"""The figures that a report has of every point."""


def figure_of(path: str) -> Figure:
    """The headline figure at a path; for those that are none, made of the path's own words."""
    if path in BY_PATH:
        return BY_PATH[path]
    *way, last = path.split(".")
    if way[:1] == ["by_queue"] and len(way) > 1:
        inner = figure_of(".".join([*way[2:], last]))
        queue = QUEUES.get(way[1], way[1])
        return Figure(path, f"{inner.label}, {queue} priority", inner.unit, f"Of {queue} priority. {inner.about}")
    name, unit = _name_and_unit(last)
    if way:
        noun, of_all = _name_and_unit(way[-1])
        noun = "RSS" if noun == "rss" else noun
        name, unit = f"{noun.capitalize() if noun.islower() else noun}, {POINTS.get(last, name)}", unit or of_all
    return Figure(path, name[:1].upper() + name[1:], unit, "")


def path_words(path: str) -> str:
    """A path as an axis names it, from its last parts: `rules.retry.base_s` is `retry base (s)`."""
    parts = [part for part in path.split(".") if not part.isdecimal()]
    name, unit = _name_and_unit(parts[-1])
    words = " ".join([*parts[-2:-1], name]) if parts[0] != "mesh" else name
    return f"{words} ({unit})" if unit else words


def _name_and_unit(key: str) -> tuple[str, str]:
    for ending, unit in ENDINGS:
        if key.endswith(ending):
            return key.removesuffix(ending).replace("_", " "), unit
    return key.replace("_", " "), ""


def axis(figure: Figure) -> tuple[str, float]:
    """The title of a figure's axis, and what its values are divided by to have the unit that stands in it."""
    if figure.unit == "bytes":
        return f"{figure.label} (MiB)", float(MIB)
    return (f"{figure.label} ({figure.unit})" if figure.unit else figure.label), 1.0


def number(figure: Figure, value: float | None) -> str:
    """A value of the figure as people read it; NaN is none."""
    return units.WRITTEN[figure.unit](None if value is None or value != value else value)


def interval(figure: Figure, low: float, high: float) -> str:
    """Its 95 % interval, or nothing where there is none."""
    return "" if low != low or high != high else units.interval(number(figure, low), number(figure, high))


def value(found: Any) -> str:
    """A value of a path in a table or on an axis."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return str(found)
    return f"{found:,}" if isinstance(found, int) else f"{found:g}"
