"""One run of a sweep, in whichever process it happens: a point and a replication in, a row of figures out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lab.errors import LabError
from lab.progress import Stop, never
from lab.scenario import Scenario

if TYPE_CHECKING:
    from lab.replicate import Simulate

Row = dict[str, Any]
BY_QUEUE: Final = ("mean", "p95")
"""Of each class of priority, only these points of latency and queue wait."""


class Unit(NamedTuple):
    """What one run of a sweep is: replication `replication` (from 0) of point `point`, which sets these values."""

    point: int
    replication: int
    values: Mapping[str, Any]

    @property
    def key(self) -> tuple[int, int]:
        """Tells it from all others of the sweep."""
        return self.point, self.replication


def run(simulate: Simulate, scenario: str, base: str, unit: Unit, stop: Stop = never) -> Row | None:
    """The row of one run; None if it was stopped before its end. `scenario` is JSON, `base` where its paths start.

    Whatever goes wrong with it is a row that says so, since the other points of the sweep are none the worse.
    """
    started = time.perf_counter()
    row: Row = {"point": unit.point, "replication": unit.replication}
    try:
        first = _scenario(scenario, base)
        row["seed"] = first.seed + unit.replication
        record = simulate(first.override({**unit.values, "seed": row["seed"]}), stop=stop)
        if record.info.get("interrupted"):
            return None
        row |= figures(record.info["summary"])
        row |= figures({"utilisation": record.info.get("utilisation") or {}})
        verdict = record.info["checks"]
        row |= {"checks_ok": verdict["ok"], "checks_failed": ", ".join(verdict["failed"]) or None}
        row |= {"digest": record.info["digest"], "error": None}
    except Exception as error:
        row["error"] = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    return {**row, "wall_s": round(time.perf_counter() - started, 6)}


@lru_cache(maxsize=2)
def _scenario(text: str, base: str) -> Scenario:
    """The scenario that all points start from: read once in each process."""
    return Scenario.from_data(json.loads(text), base=Path(base), source="the sweep's scenario")


def figures(summary: Mapping[str, Any], way: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted path, figure) of a summary, without most of what it says of single queues."""
    for key, value in summary.items():
        path = f"{way}{key}"
        if isinstance(value, Mapping):
            yield from figures(value, f"{path}.")
        elif not way.startswith("by_queue.") or key in BY_QUEUE:
            yield path, value
