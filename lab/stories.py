"""Where the time of a task went: from its scheduled arrival to its end in spans, attempt by attempt, off the audit log.

The spans of a completed task follow one another without a gap, so their lengths add up to its latency:

    admission  until the task was accepted (a late submitter, or backpressure that held it)
    waiting    PENDING, for a slot
    service    the work that the plan gives to this attempt, as far as it came
    overhead   what an attempt took beyond its work, and a retry beyond its backoff: the machinery's own time
    backoff    the wait that the rulebook granted after a failure
    lost       an attempt whose lease lapsed: its worker was gone or stuck, and somebody had to notice
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import pandas as pd

from lab import units
from lab.errors import LabError
from lab.metrics import seconds
from lab.record import Record
from lab.rules.tasks import Event, State
from lab.workload import Plan

Kind = Literal["admission", "waiting", "service", "overhead", "backoff", "lost"]
KINDS: Final[tuple[Kind, ...]] = ("admission", "waiting", "service", "overhead", "backoff", "lost")
ABOUT: Final[dict[Kind, str]] = {
    "admission": "held back before it was accepted",
    "waiting": "in the queue, for a slot",
    "service": "the planned work",
    "overhead": "the machinery's own time",
    "backoff": "between a failure and the next attempt",
    "lost": "an attempt that nobody finished, until its lease lapsed",
}
GRAIN_S: Final = 1e-6
"""Moments are whole microseconds: nothing shorter is a span."""
PARTS_TOLD: Final = 2
"""In one line: the two largest parts mostly say it all."""
FAR_S: Final = 1e-3
"""A difference of less is not worth a sentence."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a task's life, in seconds of the run. `ended` says how, where an attempt ended in it."""

    kind: Kind
    attempt: int
    start_s: float
    end_s: float
    worker: str = ""
    ended: str = ""

    @property
    def length_s(self) -> float:
        """How long it lasted."""
        return self.end_s - self.start_s


def stories(record: Record, tasks: Sequence[int]) -> dict[int, list[Span]]:
    """The spans of each of these tasks, in order of time."""
    plan = _plan(record)
    moves = record.transitions
    mine = moves[moves["task"].isin(tasks)]
    arrivals = record.tasks.set_index("id")["arrival_s"].loc[list(tasks)]
    told: dict[int, list[Span]] = {}
    for task in tasks:
        rows = mine[mine["task"] == task].sort_values("at_s", kind="stable")
        spans = _spans(rows, float(arrivals[task]), plan, task)
        told[task] = [span for span in spans if span.length_s > GRAIN_S / 2]
    return told


def _plan(record: Record) -> Plan | None:
    """The plan that was run; None where it cannot be made any more (the trace that it needs is gone)."""
    try:
        return Plan(record.scenario)
    except LabError:
        return None


def _spans(rows: pd.DataFrame, arrival_s: float, plan: Plan | None, task: int) -> Iterator[Span]:
    columns = ("to", "at_s", "worker", "attempt", "reason", "delay_s")
    steps = list(zip(*(rows[name].tolist() for name in columns), strict=True))
    if steps:
        yield Span("admission", 0, arrival_s, steps[0][1])
    for (state, start_s, worker, attempt, _, delay_s), after in pairwise(steps):
        end_s, reason = after[1], after[4]
        if state == State.PENDING:
            yield Span("waiting", attempt + 1, start_s, end_s)
        elif state == State.RUNNING and reason == Event.LEASE_LAPSED:
            yield Span("lost", attempt, start_s, end_s, worker, reason)
        elif state == State.RUNNING:
            worked_s = end_s
            if plan is not None:
                planned_s = plan.outcome(task, attempt, start_s, _place(worker)).work_s
                worked_s = min(end_s, start_s + planned_s)
            yield Span("service", attempt, start_s, worked_s, worker, reason)
            yield Span("overhead", attempt, worked_s, end_s, worker, reason)
        elif state == State.RETRY_WAIT:
            due_s = min(end_s, start_s + delay_s)
            yield Span("backoff", attempt, start_s, due_s)
            yield Span("overhead", attempt, due_s, end_s)


def _place(worker: str) -> int:
    """The place of a worker in its fleet: w3.2 is the second process at place 3. −1: its name tells none."""
    place = worker.removeprefix("w").partition(".")[0]
    return int(place) if place.isdecimal() else -1


def totals(spans: Sequence[Span]) -> dict[Kind, float]:
    """Seconds of each kind."""
    return {kind: sum(span.length_s for span in spans if span.kind == kind) for kind in KINDS}


def mean_s(record: Record) -> dict[Kind, float]:
    """Where the time of a completed task went on average, in seconds; empty where none was completed.

    Read off the whole log at once, so attempts that were lost count with their planned work as service.
    """
    tasks = record.tasks
    latency = seconds(tasks, "latency_s")
    done = ~np.isnan(latency)
    if not done.any():
        return {}
    moves = record.transitions.sort_values(["task", "at_s"], kind="stable")
    task, at_s = moves["task"].to_numpy(), moves["at_s"].to_numpy()
    same = task[1:] == task[:-1]
    length_s = np.where(same, at_s[1:] - at_s[:-1], 0.0)
    state = moves["to"].to_numpy()[:-1]

    def spent(wanted: State) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        chosen = state == wanted
        found = np.bincount(task[:-1][chosen], weights=length_s[chosen], minlength=len(tasks))
        return np.asarray(found[done], dtype=np.float64)

    waiting, running, resting = (spent(one) for one in (State.PENDING, State.RUNNING, State.RETRY_WAIT))
    backoff = np.minimum(tasks["backoff_s"].to_numpy()[done], resting)
    service = np.minimum(tasks["service_s"].to_numpy()[done], running)
    overhead = running - service + resting - backoff
    admission = latency[done] - waiting - running - resting
    parts: dict[Kind, float] = {"admission": float(admission.mean()), "waiting": float(waiting.mean())}
    parts |= {"service": float(service.mean()), "overhead": float(overhead.mean()), "backoff": float(backoff.mean())}
    return parts


# ---- two runs --------------------------------------------------------------------------------------------------------


def paired_tasks(a: Record, b: Record) -> pd.DataFrame:
    """A row a task that both runs completed, those furthest apart first: id, role, priority, arrival_s, latency in a
    and b, difference_s = a − b, attempts in a and b. The two must have run the same tasks.
    """
    latency_a, latency_b = (seconds(record.tasks, "latency_s") for record in (a, b))
    frame = a.tasks[["id", "role", "priority", "arrival_s"]].assign(
        a_s=latency_a,
        b_s=latency_b,
        difference_s=latency_a - latency_b,
        attempts_a=a.tasks["attempts"].to_numpy(),
        attempts_b=b.tasks["attempts"].to_numpy(),
    )
    both = frame[frame["difference_s"].notna()]
    order = np.argsort(-both["difference_s"].abs().to_numpy(), kind="stable")
    return both.iloc[order]


def slowest_tasks(record: Record) -> pd.DataFrame:
    """The same of one run: a row a completed task, the slowest first, with its latency_s and attempts."""
    frame = record.tasks[["id", "role", "priority", "arrival_s", "attempts"]].assign(
        latency_s=seconds(record.tasks, "latency_s")
    )
    return frame[frame["latency_s"].notna()].sort_values("latency_s", ascending=False, kind="stable")


def why(a: Sequence[Span], b: Sequence[Span]) -> str:
    """What made the difference a − b, its largest parts first: waiting +2.9 s, backoff −0.3 s."""
    first, second = totals(a), totals(b)
    parts = sorted(((first[kind] - second[kind], kind) for kind in KINDS), key=lambda part: -abs(part[0]))
    told = [f"{kind} {'+' if apart > 0 else ''}{units.seconds(apart)}" for apart, kind in parts if abs(apart) >= FAR_S]
    return ", ".join(told[:PARTS_TOLD]) or f"less than {units.seconds(FAR_S)} in any part"


def where(spans: Sequence[Span]) -> str:
    """Where the time of one task went, the largest parts first: waiting 2.9 s, service 1.2 s."""
    parts = sorted(((length, kind) for kind, length in totals(spans).items()), reverse=True)
    return ", ".join(f"{kind} {units.seconds(length)}" for length, kind in parts[:PARTS_TOLD] if length >= FAR_S)
