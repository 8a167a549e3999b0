"""What is read off a run for the prediction test, and with which aim and floor each figure is judged.

The error of a figure is model / live − 1, live being the mean of the repeats. Near 0 a ratio says nothing: there the
difference is told as a share of a floor (error = (model − live) / floor), so that 3 ms of queue wait instead of 1 ms is
an error of 4 % of 50 ms and not of 200 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from lab import metrics
from lab.draws import Floats
from lab.equivalence import Verdict, of_differences, of_ratios
from lab.headlines import Figure
from lab.record import Record
from lab.rules.priority import QUEUES

WAIT_FLOOR_S: Final = 0.05
"""Waits are told in shares of at least this: below it they are made of wake-ups and timers, not of queueing."""
DRAIN_FLOOR_S: Final = 0.5
COUNT_FLOOR: Final = 20.0
"""One reclaim more or less of four is no error of 25 %."""
WORST_FACTOR: Final = 3.0
"""No scenario may be worse than so many times the aim, or than the live spread if that is larger."""
BIN_S: Final = 1.0


@dataclass(frozen=True)
class Measure:
    """A figure of the test. `aim`: the median error over the matrix that is wanted; None: it is told, not judged."""

    figure: Figure
    aim: float | None = None
    floor: float = 0.0

    @property
    def path(self) -> str:
        """Its name in the results."""
        return self.figure.path


def _waits() -> Sequence[Measure]:
    about = "From scheduled arrival to first claim, of the completed tasks of this class."
    return [
        Measure(Figure(f"queue_wait_s.{queue}.{part}", f"{queue} wait, {part}", "s", about), floor=WAIT_FLOOR_S)
        for queue in QUEUES
        for part in ("mean", "p95")
    ]


MEASURES: Final = (
    Measure(Figure("throughput_per_s", "Throughput", "1/s", "Completed ÷ (last completion − first arrival)."), 0.02),
    Measure(Figure("latency_s.p50", "Latency p50", "s", "Of completed tasks, from the scheduled arrival."), 0.05),
    Measure(Figure("latency_s.p95", "Latency p95", "s", "Of completed tasks, from the scheduled arrival."), 0.08),
    Measure(Figure("latency_s.p99", "Latency p99", "s", "Of completed tasks, from the scheduled arrival."), 0.12),
    Measure(Figure("latency_s.mean", "Mean latency", "s", "Of completed tasks, from the scheduled arrival.")),
    Measure(Figure("drain_s", "Drain", "s", "From the last arrival to the end of the last task."), 0.03, DRAIN_FLOOR_S),
    Measure(Figure("saturation_per_s", "Saturation rate", "1/s", "Tasks a second that the machine can do."), 0.10),
    Measure(Figure("rss_bytes.peak", "Peak RSS", "bytes", "The highest resident memory of a worker."), 0.05),
    Measure(Figure("rss_bytes.mean", "Mean RSS", "bytes", "Mean over workers and reports.")),
    *_waits(),
    Measure(Figure("tasks.retries", "Retries", "", "Failed attempts followed by a backoff."), floor=COUNT_FLOOR),
    Measure(Figure("tasks.reclaimed", "Reclaims", "", "Attempts whose lease lapsed."), floor=COUNT_FLOOR),
    Measure(Figure("tasks.dead", "Dead letters", "", "Tasks that failed for good."), floor=COUNT_FLOOR),
)
BY_PATH: Final = {measure.path: measure for measure in MEASURES}


def figures_of(record: Record, *, saturates: bool) -> dict[str, float | None]:
    """The figures of one run by path; None where it has none."""
    summary = record.info["summary"]
    found: dict[str, float | None] = {
        "throughput_per_s": summary["throughput_per_s"],
        **{f"latency_s.{part}": summary["latency_s"][part] for part in ("p50", "p95", "p99", "mean")},
        "drain_s": drain_s(record),
        "saturation_per_s": summary["throughput_per_s"] if saturates else None,
        **{f"rss_bytes.{part}": summary["rss_bytes"][part] for part in ("peak", "mean")},
    }
    for queue in QUEUES:
        wait = summary["by_queue"][queue]["queue_wait_s"]
        found |= {f"queue_wait_s.{queue}.{part}": wait[part] for part in ("mean", "p95")}
    return found | {f"tasks.{name}": summary["tasks"][name] for name in ("retries", "reclaimed", "dead")}


def drain_s(record: Record) -> float | None:
    """Seconds from the last arrival to the end of the last task."""
    ended = record.tasks["done_s"].max()
    return None if np.isnan(ended) else float(ended - record.tasks["arrival_s"].max())


def is_backlogged(record: Record) -> bool:
    """Whether more tasks are left at the last arrival than there are slots: then how long they drain is a figure."""
    mesh, tasks = record.scenario.mesh, record.tasks
    left = tasks["done_s"].isna() | (tasks["done_s"] > tasks["arrival_s"].max())
    return int(left.sum()) > mesh.workers * mesh.slots


# ---- model against live ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """One figure of one scenario: the model against the live repeats."""

    measure: Measure
    model: float
    live: tuple[float, ...]
    counts: bool
    """Whether it is held against its aim (in this scenario)."""

    @property
    def live_mean(self) -> float:
        """Mean of the repeats."""
        return float(np.mean(self.live))

    @property
    def scale(self) -> float:
        """What errors are shares of: the live mean, or the floor where that is larger."""
        return max(abs(self.live_mean), self.measure.floor)

    @property
    def error(self) -> float:
        """model / live − 1, or the difference as a share of the floor; two zeros agree."""
        apart = self.model - self.live_mean
        return 0.0 if apart == 0 else apart / self.scale if self.scale else float(np.sign(apart))

    @property
    def spread(self) -> float:
        """The live system's own: the largest deviation of a repeat from their mean."""
        return max(abs(one - self.live_mean) for one in self.live) / self.scale if self.scale else 0.0

    @property
    def allowance(self) -> float | None:
        """How far off this scenario may be."""
        return None if self.measure.aim is None else max(WORST_FACTOR * self.measure.aim, self.spread)

    def verdict(self, margin: float) -> Verdict:
        """By equivalence: on ratios; on differences where a value lies below the floor."""
        values = (self.model, *self.live)
        if min(values) <= 0 or self.scale > abs(self.live_mean):
            return of_differences(self.model, self.live, self.scale or 1.0, margin)
        return of_ratios(self.model, self.live, margin)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        found = {
            "model": _round(self.model),
            "live": [_round(one) for one in self.live],
            "live_mean": _round(self.live_mean),
            "error": _round(self.error),
            "spread": _round(self.spread) if len(self.live) > 1 else None,
            "floored": self.scale > abs(self.live_mean),
            "judged": self.counts,
        }
        aim, allowance = self.measure.aim, self.allowance
        if aim is None or allowance is None:
            return found
        return {
            **found,
            "aim": aim,
            "allowance": _round(allowance),
            "within_aim": abs(self.error) <= aim,
            "within_allowance": abs(self.error) <= allowance,
            "at_aim": self.verdict(aim).as_json(),
            "at_allowance": self.verdict(allowance).as_json(),
        }


def judged(
    model: Mapping[str, float | None], live: Sequence[Mapping[str, float | None]], *, saturates: bool, drains: bool
) -> dict[str, Judged]:
    """The figures that the model and every repeat have. Where the machine itself is measured, only its rate and memory
    are held against an aim: all times follow from the rate. A drain is, where there was a backlog.
    """
    found = {}
    for measure in MEASURES:
        value, values = model[measure.path], [one[measure.path] for one in live]
        if value is None or any(one is None for one in values) or not values:
            continue
        counts = measure.aim is not None and (measure.path != "drain_s" or drains)
        if saturates:
            counts = measure.path in ("saturation_per_s", "rss_bytes.peak")
        found[measure.path] = Judged(measure, value, tuple(one for one in values if one is not None), counts)
    return found


def throughput_bins(model: Record, live: Sequence[Record]) -> dict[str, float | None]:
    """Completions in bins of a second: mean bias and mean absolute error of the model against each repeat, and of the
    repeats against one another, as shares of the mean rate.
    """
    end_s = max(metrics.end_s(one) for one in (model, *live))
    edges = np.arange(0.0, end_s + BIN_S, BIN_S)
    curves = [np.histogram(metrics.completed_at_s(one), edges)[0] / BIN_S for one in (model, *live)]
    mean = float(np.mean(curves[1:]))
    if mean == 0:
        return {"bias": None, "error": None, "live_error": None}
    apart = [curves[0] - one for one in curves[1:]]
    among = [float(np.abs(a - b).mean()) / mean for a, b in combinations(curves[1:], 2)]
    return {
        "bias": _round(float(np.mean(apart)) / mean),
        "error": _round(float(np.mean(np.abs(apart))) / mean),
        "live_error": _round(float(np.mean(among))) if among else None,
    }


def latencies(record: Record) -> Floats:
    """Of every task, in seconds; NaN where it was not completed."""
    return metrics.seconds(record.tasks, "latency_s")


def _round(value: float) -> float:
    """Nine decimals: more is noise, and files stay small."""
    return round(float(value), 9)
