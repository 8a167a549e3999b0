"""How well a run knows what it says: intervals from its batches, its length in relaxation times, and what was done
about its start.

A queue that starts empty forgets that after some relaxation times, and anything else as slowly: a run is worth about as
many independent looks as it has relaxation times, not as it has tasks. So every run states how many it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from lab import statistics
from lab.draws import Floats
from lab.metrics import Times, seconds
from lab.offered import Load, offered
from lab.record import Record
from lab.scenario import Scenario
from lab.statistics import Groups

RELAXATIONS_MIN: Final = 500.0
"""A run shorter than this many relaxation times is warned of. Measured on M/M/8 with 20 plain batches: at 280 of them
nominal 95 % intervals cover the truth in 91 % of runs, at 60 in 86 %, at 13 in 75 %, at 600 and more in 94 %.
"""
START_BIAS: Final = 0.65
"""What starting empty takes off the mean wait, as a share of it, is at most this over the run's relaxation times: the
most found in exact transients of M/M/1 and M/M/8 at loads of 0.8 to 0.95 (M/M/8 at 0.8, 500 tasks: 9.0 % at 7.0).
"""
START_UP_RELAXATIONS: Final = 20.0
"""What `delete` leaves out: after 20 relaxation times the empty start weighs e⁻²⁰."""
TAIL_RELAXATIONS_MIN: Final = 2.0
"""The p99 of a run gets an interval if the slowest hundredth of it makes up this many relaxation times, so from 200 on:
at 280 such intervals cover the truth in 90 % of runs, at 59 they would in 62 %.
"""
FIGURES: Final = ("queue_wait_s", "latency_s")
SHARE: Final = 0.99

StartUp = Literal["keep", "delete", "mser5"]
"""What becomes of the first tasks, which met an empty mesh: they count (the default), those of the first 20 relaxation
times are left out, or those that MSER-5 cuts off.
"""
Question = Literal["steady state", "terminating", "overloaded"]

NOTES: Final = {
    "terminating": "nothing is deleted: the run begins and ends empty, and that is what was asked; "
    "replications are its sample",
    "overloaded": "nothing is deleted: more work comes than the slots can do, so there is no steady state, and waits "
    "grow as long as the run lasts; replications are its sample",
}
"""How the start is handled where no steady state is asked for."""


def precision(record: Record, start_up: StartUp = "keep") -> dict[str, Any]:
    """What one run can say, ready for JSON.

    `question` (see `Question`), `load` ρ, `relaxation_s`, `run_s` from the first arrival to the last, their `ratio`,
    `batches`, `start_up` in words and in tasks left out, mean and p99 of `queue_wait_s` and `latency_s` with their
    intervals, and a `warning` or None. A run that asks for no steady state has neither relaxation time nor intervals.
    """
    scenario = record.scenario
    load = offered(record, scenario)
    question = question_of(scenario, load)
    arrival_s = record.tasks["arrival_s"].to_numpy()
    found = {
        "question": question,
        "load": None if load is None else round(load.busy, 9),
        "relaxation_s": None,
        "run_s": round(float(arrival_s[-1] - arrival_s[0]), 6),
        "ratio": None,
        "batches": None,
        "start_up": {"handling": "keep", "deleted_tasks": 0, "note": NOTES.get(question)},
        **dict.fromkeys(FIGURES),
        "warning": None,
    }
    return found | _steady(record.tasks, load, start_up) if question == "steady state" and load is not None else found


def of_replications(first: dict[str, Any], times: Sequence[Times]) -> dict[str, Any]:
    """The precision of many runs: `first` is that of the first of them, `times` are of the tasks that count.

    The intervals are those over the runs, whatever the question is; `run_s`, `ratio` and `warning` speak of each run.
    """
    figures: dict[str, Any] = dict.fromkeys(FIGURES)
    for figure in FIGURES:
        if groups := [values for one in times if len(values := one.values(figure))]:
            figures[figure] = _estimates(groups, groups, serial=False)
    ratio = first["ratio"]
    warning = None if ratio is None else _warning("each run", ratio, len(times[0].arrival_s))
    return {**first, "batches": None, "replications": len(times), **figures, "warning": warning}


def question_of(scenario: Scenario, load: Load | None) -> Question:
    """What a run of the scenario asks: how the mesh is in the long run (tasks at one rate, slots enough, nothing that
    goes wrong at some moment), or how one course of events goes from its beginning to its end.
    """
    if load is None or scenario.faults:
        return "terminating"
    return "steady state" if load.busy < 1 else "overloaded"


def _steady(tasks: pd.DataFrame, load: Load, start_up: StartUp) -> dict[str, Any]:
    """What is known of a run that looks for a steady state."""
    arrival_s = tasks["arrival_s"].to_numpy()
    ratio = float(arrival_s[-1] - arrival_s[0]) / load.relaxation_s
    first = _first_kept(tasks, load, start_up)
    # Batches that are shorter than a relaxation time say nothing of the mean's error.
    count = statistics.BATCHES if ratio >= statistics.BATCHES else 1
    return {
        "relaxation_s": round(load.relaxation_s, 9),
        "ratio": round(ratio, 3),
        "batches": count if count > 1 else None,
        "start_up": {"handling": start_up, "deleted_tasks": first, "note": _note(len(tasks), first, ratio, start_up)},
        **{figure: _of_batches(seconds(tasks, figure)[first:], count, ratio) for figure in FIGURES},
        "warning": _warning("the run", ratio, len(tasks)),
    }


def _of_batches(values: Floats, count: int, ratio: float) -> dict[str, Any] | None:
    """The estimates from `count` batches of a run's values, in order of arrival; NaN where a task has none."""
    values = values[~np.isnan(values)]
    groups = statistics.batches(values, count)
    has_tail = (1 - SHARE) * ratio >= TAIL_RELAXATIONS_MIN
    return _estimates(groups, groups if has_tail else [values], serial=True) if len(values) else None


def _first_kept(tasks: pd.DataFrame, load: Load, start_up: StartUp) -> int:
    """The number of the first task that counts."""
    if start_up == "delete":
        arrival_s = tasks["arrival_s"].to_numpy()
        return int(np.searchsorted(arrival_s, arrival_s[0] + START_UP_RELAXATIONS * load.relaxation_s))
    if start_up == "mser5":
        waits_s = seconds(tasks, "queue_wait_s")
        waited = np.flatnonzero(~np.isnan(waits_s))
        cut = statistics.mser5(waits_s[waited])
        return int(waited[cut]) if cut else 0
    return 0


def _note(tasks: int, first: int, ratio: float, start_up: StartUp) -> str:
    if start_up == "keep":
        bias = min(1.0, START_BIAS / ratio) if ratio else 1.0
        return f"nothing is deleted: having begun empty takes up to {100 * bias:.2g} % off a run's mean wait"
    how = f"{START_UP_RELAXATIONS:g} relaxation times" if start_up == "delete" else "MSER-5's choice"
    return f"the first {first:,} of {tasks:,} tasks are left out here ({how}); the other figures are of all tasks"


def _warning(run: str, ratio: float, tasks: int) -> str | None:
    if ratio >= RELAXATIONS_MIN:
        return None
    enough = float(f"{RELAXATIONS_MIN / max(ratio, 1e-9) * tasks:.2g}")  # two digits: it is a guide
    intervals = "its intervals may be too narrow" if ratio >= statistics.BATCHES else "it bears no intervals"
    return (
        f"{run} is only {ratio:,.{0 if ratio >= 10 else 1}f} relaxation times long, so {intervals}; "
        f"{RELAXATIONS_MIN:g} of them, about {enough:,.0f} tasks, would be enough"
    )


def _estimates(groups: Groups, tail_groups: Groups, *, serial: bool) -> dict[str, Any]:
    """Mean and p99 with their intervals, from groups of their own."""
    mean = statistics.mean(groups, serial=serial)
    p99 = statistics.quantile(tail_groups, SHARE, serial=serial)
    return statistics.as_figures("mean", mean) | statistics.as_figures("p99", p99)
