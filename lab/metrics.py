"""Figures from a record: the headline numbers of section 6 of the design, and the curves behind them.

- latency (of completed tasks) = done − scheduled arrival, so a late submitter is not forgiven;
- queue wait = first claim − scheduled arrival;
- overhead = latency − the plan's service and backoff, so all waiting in queues and all that the machinery took;
- throughput = completed / (last completion − first arrival).
Percentiles are those of the pooled tasks, linearly interpolated; they are never averaged.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.draws import Floats
from lab.rules.priority import QUEUES
from lab.rules.tasks import Event, State

if TYPE_CHECKING:
    import pandas as pd

    from lab.record import Record

PERCENTILES = {"p50": 50, "p95": 95, "p99": 99}


def summary(record: Record) -> dict[str, Any]:
    """The headline figures. A figure without any task behind it is None, never 0 or NaN."""
    done = completed(record)
    first_arrival_s = float(record.tasks["arrival_s"].min())
    by_queue = {name: _queue_summary(done[done["queue"] == name]) for name in QUEUES}
    return {
        "tasks": task_counts(record),
        "throughput_per_s": _rate(len(done), float(done["done_s"].max()) - first_arrival_s if len(done) else 0.0),
        "makespan_s": _number(record.tasks["done_s"].max() - first_arrival_s),
        "latency_s": spread(latency_s(done)),
        "queue_wait_s": spread(queue_wait_s(record.tasks)),
        "overhead_s": spread(overhead_s(done)),
        "by_queue": by_queue,
        "rss_bytes": _rss(record),
        "backpressure": closed_time(record, "admission"),
        "gates": closed_time(record, "gate"),
    }


def task_counts(record: Record) -> dict[str, int]:
    """How many tasks came in, and what became of them."""
    states, reasons = record.tasks["state"].value_counts(), record.transitions["reason"].value_counts()
    return {
        "submitted": int(reasons.get(Event.SUBMITTED, 0)),
        "completed": int(states.get(State.COMPLETED, 0)),
        "dead": int(states.get(State.PERMANENT_FAILURE, 0)),
        "cancelled": int(states.get(State.CANCELLED, 0)),
        "attempts": int(reasons.get(Event.CLAIMED, 0) - reasons.get(Event.HANDED_BACK, 0)),
        "retries": int((record.transitions["to"] == State.RETRY_WAIT).sum()),
        "reclaimed": int(reasons.get(Event.LEASE_LAPSED, 0)),
        "stale_writes": int((record.events["kind"] == "stale_write").sum()),
        "rejected": int((record.events["kind"] == "rejected").sum()),
    }


def completed(record: Record) -> pd.DataFrame:
    """The completed tasks."""
    return record.tasks[record.tasks["state"] == State.COMPLETED]


def latency_s(tasks: pd.DataFrame) -> Floats:
    """Seconds from scheduled arrival to completion."""
    return (tasks["done_s"] - tasks["arrival_s"]).to_numpy()


def queue_wait_s(tasks: pd.DataFrame) -> Floats:
    """Seconds from scheduled arrival to the first claim, of the tasks that were claimed at all."""
    waits = (tasks["first_claim_s"] - tasks["arrival_s"]).to_numpy()
    return np.asarray(waits[~np.isnan(waits)])


def overhead_s(tasks: pd.DataFrame) -> Floats:
    """Seconds that neither planned work nor planned backoff explain: waiting in queues, and machinery."""
    return (tasks["done_s"] - tasks["arrival_s"] - tasks["service_s"] - tasks["backoff_s"]).to_numpy()


def spread(values: Floats) -> dict[str, float | None]:
    """Mean, percentiles and maximum."""
    if len(values) == 0:
        return dict.fromkeys(("mean", *PERCENTILES, "max"))
    points = np.percentile(values, list(PERCENTILES.values()))
    named = {name: _number(point) for name, point in zip(PERCENTILES, points, strict=True)}
    return {"mean": _number(values.mean()), **named, "max": _number(values.max())}


def closed_time(record: Record, what: str) -> dict[str, float | int]:
    """How often and for how long (s) `admission`, or the workers' `gate`s, were closed. Open ends last till the end."""
    closed_s, closings, since = 0.0, 0, dict[str, float]()
    columns = (record.events[name].tolist() for name in ("t_s", "kind", "worker"))
    for t_s, kind, worker in zip(*columns, strict=True):
        if kind == f"{what}_closed":
            since.setdefault(worker, t_s)
            closings += 1
        elif kind == f"{what}_opened" or (what == "gate" and kind == "worker_left"):
            closed_s += t_s - since.pop(worker, t_s)
    closed_s += sum(max(0.0, end_s(record) - start_s) for start_s in since.values())
    return {"closed_s": round(closed_s, 6), "closings": closings}


def end_s(record: Record) -> float:
    """The moment of the last transition."""
    return float(record.transitions["at_s"].max()) if len(record.transitions) else 0.0


# ---- curves ----------------------------------------------------------------------------------------------------------


def throughput_curve(record: Record, bin_s: float = 1.0) -> tuple[Floats, Floats]:
    """(start of each bin in s, completions a second in it)."""
    done = completed(record)["done_s"].to_numpy()
    bins = np.arange(0.0, max(end_s(record), bin_s) + bin_s, bin_s)
    starts: Floats = bins[:-1].copy()
    per_s: Floats = np.histogram(done, bins)[0] / bin_s
    return starts, per_s


def depth_curve(record: Record, state: State = State.PENDING, queue: str | None = None) -> tuple[Floats, Floats]:
    """(moment in s, tasks in `state` from then on): exact, from the audit log; of one queue or of all."""
    moves = record.transitions
    if queue is not None:
        ids = record.tasks.loc[record.tasks["queue"] == queue, "id"]
        moves = moves[moves["task"].isin(ids)]
    change = (moves["to"] == state).astype(int) - (moves["from"] == state).astype(int)
    steps = change.groupby(moves["at_s"]).sum()
    moments: Floats = np.asarray(steps.index, dtype=np.float64)
    depths: Floats = np.cumsum(steps.to_numpy(), dtype=np.float64)
    return moments, depths


def rss_curves(record: Record) -> dict[str, tuple[Floats, Floats]]:
    """(moment in s, RSS in bytes) of each worker process, by its name."""
    of_workers = record.samples[record.samples["worker"] != ""]
    return {
        str(worker): (rows["t_s"].to_numpy(dtype=float), rows["rss_bytes"].to_numpy(dtype=float))
        for worker, rows in of_workers.groupby("worker", sort=True)
    }


# ---- replications ----------------------------------------------------------------------------------------------------


def with_intervals(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The means of several runs' figures, each with a sibling `…_ci95`: the 95 % interval of Student's t over
    the runs.
    """
    merged: dict[str, Any] = {}
    for key, first in summaries[0].items():
        found = [one.get(key) for one in summaries]
        values = [value for value in found if value is not None]
        if isinstance(first, dict):
            merged[key] = with_intervals([value or {} for value in found])
        elif len(values) < len(found):
            merged[key] = merged[f"{key}_ci95"] = None
        else:
            mean = statistics.fmean(values)
            half = _t95(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
            merged[key], merged[f"{key}_ci95"] = mean, [mean - half, mean + half]
    return merged


def _t95(runs: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(runs - 1, 0.975))


def _queue_summary(done: pd.DataFrame) -> dict[str, Any]:
    return {
        "completed": len(done),
        "queue_wait_s": spread(queue_wait_s(done)),
        "latency_s": spread(latency_s(done)),
    }


def _rss(record: Record) -> dict[str, float | None]:
    rss = record.samples.loc[record.samples["worker"] != "", "rss_bytes"].to_numpy(dtype=float)
    return {"peak": _number(rss.max()) if len(rss) else None, "mean": _number(rss.mean()) if len(rss) else None}


def _rate(count: int, span_s: float) -> float | None:
    return _number(count / span_s) if span_s > 0 else None


def _number(value: Any) -> float | None:
    """A figure for people and JSON: nine decimals, None where there is none."""
    return None if value is None or math.isnan(value) else round(float(value), 9)
