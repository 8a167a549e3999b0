"""Figures from a record: the headline numbers of section 6 of the design, and the curves behind them.

- latency (of completed tasks) = done − scheduled arrival, so a late submitter is not forgiven;
- queue wait = first claim − scheduled arrival;
- overhead = latency − the plan's service and backoff, so all waiting in queues and all that the machinery took;
- throughput = completed / (last completion − first arrival).
Percentiles are those of all tasks, linearly interpolated. Several runs are put together in `lab/pooling.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from lab.draws import Floats
from lab.rules.priority import QUEUES
from lab.rules.tasks import Event, State

if TYPE_CHECKING:
    import pandas as pd

    from lab.record import Record

PERCENTILES: Final[Mapping[str, float]] = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
"""By their names, as shares of the tasks."""
SPREADS: Final = ("latency_s", "queue_wait_s", "overhead_s")
"""The figures that every task has, so that a run has a spread of them."""


@dataclass(frozen=True, eq=False)
class Times:
    """The times of a run's tasks in seconds, an array each, in order of arrival; NaN where a task has none: all that
    percentiles need, and little enough to be kept of many runs (33 bytes a task).
    """

    arrival_s: Floats
    latency_s: Floats
    """Of completed tasks."""
    queue_wait_s: Floats
    """Of tasks that were claimed at all."""
    overhead_s: Floats
    """Of completed tasks."""
    queue: npt.NDArray[np.int8]
    """Index into QUEUES."""

    @classmethod
    def of(cls, record: Record) -> Times:
        """The times of the tasks in a record."""
        import pandas as pd

        tasks = record.tasks
        queue = pd.Categorical(tasks["queue"], categories=pd.Index(QUEUES)).codes.astype(np.int8)
        latency, wait, overhead = (seconds(tasks, figure) for figure in SPREADS)
        return cls(tasks["arrival_s"].to_numpy(dtype=np.float64), latency, wait, overhead, queue)

    def values(self, figure: str, queue: str | None = None) -> Floats:
        """A figure of SPREADS of the tasks that have it: of all, or of those of one queue that were completed."""
        values: Floats = getattr(self, figure)
        if queue is not None:
            values = values[(self.queue == QUEUES.index(queue)) & ~np.isnan(self.latency_s)]
        return values[~np.isnan(values)]

    def from_task(self, first: int) -> Times:
        """Without the tasks that arrived before task number `first`."""
        return Times(*(getattr(self, one.name)[first:] for one in fields(self)))


def summary(record: Record) -> dict[str, Any]:
    """The headline figures. A figure without any task behind it is None, never 0 or NaN."""
    tasks, completions_s = record.tasks, completed_at_s(record)
    first_arrival_s = float(tasks["arrival_s"].min())
    last_s = float(completions_s.max()) if len(completions_s) else first_arrival_s
    completions = len(completions_s)
    del completions_s  # of a million tasks every column of times is 8 MB: one at a time
    return {
        "tasks": task_counts(record),
        "throughput_per_s": _rate(completions, last_s - first_arrival_s),
        "makespan_s": _number(tasks["done_s"].max() - first_arrival_s),
        **{figure: spread(_values(tasks, figure)) for figure in SPREADS},
        "by_queue": {name: _queue_summary(tasks, name) for name in QUEUES},
        "rss_bytes": _rss(record),
        "backpressure": closed_time(record, "admission"),
        "gates": closed_time(record, "gate"),
    }


def seconds(tasks: pd.DataFrame, figure: str) -> Floats:
    """A figure of SPREADS of every task; NaN where a task has none."""
    waited = figure == "queue_wait_s"
    found: Floats = tasks["first_claim_s" if waited else "done_s"].to_numpy(dtype=np.float64, copy=True)
    found -= tasks["arrival_s"].to_numpy()
    if not waited:
        found[(tasks["state"] != State.COMPLETED).to_numpy()] = np.nan
    if figure == "overhead_s":
        found -= tasks["service_s"].to_numpy()
        found -= tasks["backoff_s"].to_numpy()
    return found


def _values(tasks: pd.DataFrame, figure: str, queue: str | None = None) -> Floats:
    """A figure of SPREADS of the tasks that have it: of all, or of those of one queue that were completed."""
    found = seconds(tasks, figure)
    has_it = ~np.isnan(found)
    if queue is not None:
        has_it &= ((tasks["queue"] == queue) & (tasks["state"] == State.COMPLETED)).to_numpy()
    return found[has_it]


def task_counts(record: Record) -> dict[str, int]:
    """How many tasks came in, and what became of them."""
    states, moves = record.tasks["state"].value_counts(), record.moves
    return {
        "submitted": moves.count_of(Event.SUBMITTED),
        "completed": int(states.get(State.COMPLETED, 0)),
        "dead": int(states.get(State.PERMANENT_FAILURE, 0)),
        "cancelled": int(states.get(State.CANCELLED, 0)),
        "attempts": moves.count_of(Event.CLAIMED) - moves.count_of(Event.HANDED_BACK),
        "retries": int(record.tasks["retries"].sum()),
        "reclaimed": moves.count_of(Event.LEASE_LAPSED),
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


def completed_at_s(record: Record) -> Floats:
    """The moments of completion (s of the run), in order of arrival."""
    done: Floats = record.tasks["done_s"].to_numpy(dtype=np.float64)
    return done[(record.tasks["state"] == State.COMPLETED).to_numpy()]


def spread(values: Floats) -> dict[str, float | None]:
    """Mean, percentiles and maximum. It may put the values into another order."""
    if len(values) == 0:
        return dict.fromkeys(("mean", *PERCENTILES, "max"))
    mean = _number(values.mean())  # before the order changes: a sum of floats depends on it
    points = np.quantile(values, list(PERCENTILES.values()), overwrite_input=True)
    named = {name: _number(point) for name, point in zip(PERCENTILES, points, strict=True)}
    return {"mean": mean, **named, "max": _number(values.max())}


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
    if since:
        last_s = end_s(record)
        closed_s += sum(max(0.0, last_s - start_s) for start_s in since.values())
    return {"closed_s": round(closed_s, 6), "closings": closings}


def end_s(record: Record) -> float:
    """The moment of the last transition."""
    at_s = record.moves.at_s
    return float(at_s[-1]) if len(at_s) else 0.0


# ---- curves ----------------------------------------------------------------------------------------------------------


def throughput_curve(record: Record, bin_s: float = 1.0) -> tuple[Floats, Floats]:
    """(start of each bin in s, completions a second in it)."""
    bins = np.arange(0.0, max(end_s(record), bin_s) + bin_s, bin_s)
    starts: Floats = bins[:-1].copy()
    per_s: Floats = np.histogram(completed_at_s(record), bins)[0] / bin_s
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


def _queue_summary(tasks: pd.DataFrame, queue: str) -> dict[str, Any]:
    latency = _values(tasks, "latency_s", queue)
    return {
        "completed": len(latency),
        "queue_wait_s": spread(_values(tasks, "queue_wait_s", queue)),
        "latency_s": spread(latency),
    }


def _rss(record: Record) -> dict[str, float | None]:
    rss = record.samples.loc[record.samples["worker"] != "", "rss_bytes"].to_numpy(dtype=float)
    return {"peak": _number(rss.max()) if len(rss) else None, "mean": _number(rss.mean()) if len(rss) else None}


def _rate(count: int, span_s: float) -> float | None:
    return _number(count / span_s) if span_s > 0 else None


def _number(value: Any) -> float | None:
    """A figure for people and JSON: nine decimals, None where there is none."""
    return None if value is None or math.isnan(value) else round(float(value), 9)
