"""The scenarios of scenarios/faults, run in the model, and what their records say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lab import Scenario
from lab.record import Record
from lab.rules.tasks import Event, State
from simulation import simulate

FOLDER = Path(__file__).parents[2] / "scenarios" / "faults"


def load(name: str, **changes: object) -> Scenario:
    """One of the scenarios by the name of its file, with whatever is laid over it by path (`__` for a dot)."""
    values = {path.replace("__", "."): value for path, value in changes.items()}
    return Scenario.load(FOLDER / f"{name}.yaml").override(values)


def run(name: str, **changes: object) -> Record:
    """The record of one. Every check of it must hold."""
    record = simulate(load(name, **changes))
    assert record.info["checks"]["ok"], record.info["checks"]["details"]
    return record


def moves(record: Record, task: int) -> list[tuple[str, float]]:
    """(state, since when in s) of one task, in order."""
    rows = record.transitions[record.transitions["task"] == task]
    return [(str(state), at_s) for state, at_s in zip(rows["to"], rows["at_s"].tolist(), strict=True)]


def because(record: Record, *reasons: Event) -> pd.DataFrame:
    """The transitions that were made for one of these reasons."""
    return record.transitions[record.transitions["reason"].isin(reasons)]


def claims_of(record: Record, worker: str) -> list[tuple[int, float]]:
    """(task, moment in s) of each claim of one worker process."""
    rows = because(record, Event.CLAIMED)
    mine = rows[rows["worker"] == worker]
    return list(zip(mine["task"].tolist(), mine["at_s"].tolist(), strict=True))


def noted(record: Record, *kinds: str) -> list[tuple[str, float]]:
    """(kind, moment in s) of the events of these kinds, in order."""
    rows = record.events[record.events["kind"].isin(kinds)]
    return list(zip(map(str, rows["kind"]), rows["t_s"].tolist(), strict=True))


def tasks_of(record: Record, kind: str) -> list[int]:
    """The tasks of the events of one kind, in their order."""
    return [int(task) for task in record.events.loc[record.events["kind"] == kind, "task"]]


def counts(record: Record, *names: str) -> tuple[int, ...]:
    """Counts of the summary: attempts, retries, reclaimed, stale_writes …"""
    return tuple(record.info["summary"]["tasks"][name] for name in names)


def all_completed(record: Record) -> bool:
    """Whether every task came to a good end."""
    return bool((record.tasks["state"] == State.COMPLETED).all())


def same_transitions(one: Record, other: Record) -> bool:
    """Whether every task of two runs made the same moves at the same moments."""
    return one.transitions.astype(str).equals(other.transitions.astype(str))
