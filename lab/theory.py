"""A run beside its law: what theory predicts, what the run showed, and by how many standard errors they differ.

The standard error comes from the run itself: the tasks in order of arrival, cut into batches (`statistics.BATCHES`),
whose means are as good as independent once a batch lasts many relaxation times. A shorter run bears no standard error,
and so no z; replications do (`of_replications`). How many attempts a task makes does not depend on other tasks, so
there each task is a sample of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lab import laws, statistics
from lab.demand import machinery
from lab.draws import Floats
from lab.laws import Law
from lab.metrics import seconds
from lab.precision import RELAXATIONS_MIN
from lab.record import REJECTED, Record
from lab.rules.tasks import State

WAITED_S = 1e-6
"""Moments are whole microseconds: a wait of no more than one is none."""


class Compared(NamedTuple):
    """A figure of the run, its standard error, and how many of these it is above the law's."""

    value: float | None
    stderr: float | None = None
    z: float | None = None


def beside(record: Record) -> dict[str, Any] | None:
    """The law of a run and its figures next to the run's own, ready for JSON; None for a run that was cut short.

    `law` its name (null if there is none), `kind` exact, nearly, approximation or none, `exact`, `reason`, `note` on
    the standard errors or null, and `figures`: by the path in the summary `law`, `simulated` (or `live`), `stderr` and
    `z`, the last two null where the run bears none; the z of an approximation says how rough that is. Reads
    `record.info["summary"]`.
    """
    info = record.info
    if info.get("interrupted") or info.get("stalled") or len(record.tasks) == 0:
        return None
    law = _in_practice(laws.fit(record.scenario), record)
    lasts = _lasts(record, law)
    sample = Sample(record, steady=lasts is not None and lasts >= RELAXATIONS_MIN)
    showed = "simulated" if record.engine == "sim" else "live"
    figures = {}
    for path, predicted in law.figures.items():
        found = sample.beside(path, predicted)
        figures[path] = _row(predicted, showed, found)
    return {
        "law": law.name or None,
        "kind": law.kind,
        "exact": law.exact,
        "reason": law.reason,
        "note": _note(law, lasts),
        "figures": figures,
    }


def _row(predicted: float, showed: str, found: Compared) -> dict[str, float | None]:
    """One figure, with nine decimals as in the summary; z with three."""
    return {
        "law": _rounded(predicted),
        showed: _rounded(found.value),
        "stderr": _rounded(found.stderr),
        "z": _rounded(found.z, 3),
    }


def _rounded(value: float | None, digits: int = 9) -> float | None:
    return None if value is None else round(value, digits)


def _in_practice(law: Law, record: Record) -> Law:
    """The law, given what the run turned out to have that the scenario alone does not tell."""
    if record.engine == "live" and machinery(record.scenario) is None:
        law = laws.without_machinery(law, "what the real machinery costs")
    closings = record.info["summary"]["gates"]["closings"]
    return law.nearly(f"it leaves out that gates closed {closings:,} times") if closings else law


def _lasts(record: Record, law: Law) -> float | None:
    """The length of the run, first arrival to last, in relaxation times; None where there is no such thing."""
    if law.relaxation_s is None:
        return None
    arrival_s = record.tasks["arrival_s"]
    return float(arrival_s.iloc[-1] - arrival_s.iloc[0]) / law.relaxation_s


def _note(law: Law, lasts: float | None) -> str | None:
    of_waits = law.figures.keys() - {laws.ATTEMPTS, laws.DEAD}
    if not of_waits or law.horizon == "no chance" or (lasts is not None and lasts >= RELAXATIONS_MIN):
        return None
    if lasts is None:
        return "one run is one sample of its waits, so they bear no z; --replications give one"
    return (
        f"the run lasts {lasts:,.3g} relaxation times, too few to tell its own standard error ({RELAXATIONS_MIN:g} "
        "would do), so its waits bear no z; --replications give one"
    )


class Sample:
    """The tasks of a run, as far as laws speak of them. `steady`: the run is long enough for batches."""

    def __init__(self, record: Record, *, steady: bool) -> None:
        self._record, self._steady = record, steady

    def beside(self, path: str, predicted: float) -> Compared:
        """The run's figure of that path, compared with the law's."""
        if path in (laws.MAKESPAN, laws.THROUGHPUT):
            return Compared(self._record.info["summary"][path])
        if path == laws.DEAD:
            dead = self._is(State.PERMANENT_FAILURE)[self._let_in]
            # By the law's own variance: a sample without any dead task would have none.
            error = math.sqrt(predicted * (1.0 - predicted) / len(dead)) if len(dead) else None
            return _against(predicted, _one_by_one(dead)[0], error)
        if path == laws.ATTEMPTS:
            return _against(predicted, *_one_by_one(self._record.tasks["attempts"].to_numpy()[self._let_in]))
        if path in (laws.WAITING, laws.REJECTED, laws.LEFT):
            return _against(predicted, *self._batched(self._share(path)))
        point = path.rpartition(".")[2]
        values = self._seconds(path)
        value = _at(self._record.info["summary"], path)
        if point == "mean":
            return _against(predicted, value, self._batched(values)[1])
        return self._beside_percentile(value, predicted, values, 1.0 - laws.TAILS[point])

    def _beside_percentile(self, value: float | None, predicted: float, values: Floats, beyond: float) -> Compared:
        """A percentile is judged by the share of tasks beyond the law's, which is to be `beyond`: the run's own
        percentile is above the law's exactly if that share is too large. Its standard error is what that z amounts to.
        """
        if predicted <= 0.0 or value is None:
            return Compared(value)
        share, error = self._batched(values > predicted)
        z = _against(beyond, share, error).z
        return Compared(value, abs(value - predicted) / abs(z) if z else None, z)

    def _batched(self, values: npt.NDArray[Any]) -> tuple[float | None, float | None]:
        """(mean, standard error from batch means, if the run bears one)."""
        if len(values) == 0:
            return None, None
        if not self._steady or len(values) < statistics.BATCHES * statistics.BATCH_VALUES_MIN:
            return float(values.mean()), None
        batches = statistics.batches(values, statistics.BATCHES)
        means = np.array([float(batch.mean()) for batch in batches])
        return float(values.mean()), float(means.std(ddof=1)) / math.sqrt(len(means))

    def _seconds(self, path: str) -> Floats:
        """The waits or latencies that a path of the summary speaks of, in order of arrival.

        One column of times at a time: a million tasks are eight megabytes of them.
        """
        tasks = self._record.tasks
        found = seconds(tasks, "latency_s" if path.startswith("latency_s.") else "queue_wait_s")
        chosen = ~np.isnan(found)
        if path.startswith("by_queue."):
            chosen = ((tasks["queue"] == path.split(".")[1]) & (tasks["state"] == State.COMPLETED)).to_numpy()
        return found if chosen.all() else found[chosen]

    def _share(self, path: str) -> npt.NDArray[np.bool_]:
        """Task by task, whether it is one of those that the share counts; of all tasks that it could count."""
        if path == laws.REJECTED:
            return self._is(REJECTED)
        left = self._is(State.CANCELLED)
        if path == laws.LEFT:
            return left
        wait_s = seconds(self._record.tasks, "queue_wait_s")
        known = left | ~np.isnan(wait_s)
        return np.asarray((left | (wait_s > WAITED_S))[known])

    @property
    def _let_in(self) -> npt.NDArray[np.bool_]:
        return ~self._is(REJECTED)

    def _is(self, state: str) -> npt.NDArray[np.bool_]:
        return np.asarray(self._record.tasks["state"] == state)


def _one_by_one(values: npt.NDArray[Any]) -> tuple[float | None, float | None]:
    """(mean, standard error) of independent values."""
    if len(values) < 2:
        return (float(values[0]) if len(values) else None), None
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _against(predicted: float, value: float | None, stderr: float | None) -> Compared:
    if value is None or not stderr:
        return Compared(value, stderr)
    return Compared(value, stderr, (value - predicted) / stderr)


def _at(figures: Mapping[str, Any], path: str) -> Any:
    here: Any = figures
    for part in path.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here


# ---- many runs -------------------------------------------------------------------------------------------------------


def of_replications(besides: Sequence[dict[str, Any] | None], merged: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same over the replications of one scenario, whose runs are independent whatever their length.

    `besides` are those of the runs, `merged` their merged result, whose figures and intervals (`…_ci95`) are taken
    where it has them; shares are averaged over the runs. The standard error of an interval is its half width over
    Student's point. None if no run has a law's figures.
    """
    known = [one for one in besides if one is not None]
    if not known or len(known) < 2:
        return known[0] if known else None
    points = statistics.student_t(len(known) - 1)
    figures = {}
    for path, first in known[0]["figures"].items():
        found = _merged(merged, path, points) or _averaged([one["figures"].get(path) for one in known])
        showed = "simulated" if "simulated" in first else "live"
        compared = _against(first["law"], *found)
        figures[path] = _row(first["law"], showed, compared)
    return {**known[0], "note": None, "figures": figures}


def _merged(merged: Mapping[str, Any], path: str, points: float) -> tuple[float | None, float | None] | None:
    """(figure, standard error) by the merged result; None where it has no such figure."""
    value, interval = _at(merged, path), _at(merged, f"{path}_ci95")
    if value is None:
        return None
    return value, (interval[1] - interval[0]) / 2.0 / points if interval else None


def _averaged(found: Sequence[Mapping[str, Any] | None]) -> tuple[float | None, float | None]:
    """(mean, standard error) of a share that each run has once."""
    values = [one.get("simulated", one.get("live")) for one in found if one is not None]
    return _one_by_one(np.array([value for value in values if value is not None]))
