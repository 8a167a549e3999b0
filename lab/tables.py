"""The tables of a record: how they are built from what an engine wrote down, hashed, and kept in files.

Built for runs of millions of tasks: every column is an array of numbers, names are categories, and whatever is derived
from the audit log is derived a stretch of rows at a time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lab.draws import Floats
from lab.faults import SlowService, SlowWorker, service_factor
from lab.moves import EVENT_TYPE, EVENTS, STATE_TYPE, STATES, Moves, Numbers, chunks
from lab.rules import retry
from lab.rules.priority import QUEUES
from lab.rules.tasks import TERMINAL, Event, State
from lab.workload import Plan

REJECTED, NOT_SUBMITTED = "REJECTED", "NOT_SUBMITTED"
"""Besides the states of `rules.tasks`, a task may never have come in: refused by admission, or not there when the run
ended.
"""
TASK_STATES = (*map(str, State), REJECTED, NOT_SUBMITTED)
TASK_STATE_TYPE = pd.CategoricalDtype(pd.Index(TASK_STATES, dtype="str"))
QUEUE_TYPE = pd.CategoricalDtype(pd.Index(QUEUES, dtype="str"))

Table = pd.DataFrame | Moves
"""A table of a record. The transitions may be held as `Moves`, which take half the memory of the frame."""


class SampleRow(NamedTuple):
    """One worker at one moment; or, with an empty `worker`, the queues at that moment."""

    t_s: float
    worker: str
    rss_bytes: float
    cpu: float
    active: int
    gate: bool
    agent_high: int
    agent_medium: int
    agent_low: int
    retry_wait: int
    held: int


class EventRow(NamedTuple):
    """Something that happened to the mesh rather than to a task."""

    t_s: float
    kind: str
    worker: str
    task: int
    detail: str


NAME = np.int32
"""A name while a table is built: its number in order of appearance."""
SAMPLE_TYPES = dict[str, Any](
    t_s=np.float64,
    worker=NAME,
    rss_bytes=np.float64,
    cpu=np.float64,
    active=np.int32,
    gate=np.bool_,
    **dict.fromkeys((*QUEUES, "retry_wait", "held"), np.int32),
)
EVENT_TYPES = dict[str, Any](t_s=np.float64, kind=NAME, worker=NAME, task=np.int32, detail=NAME)
STORED_TYPES: Mapping[str, dict[str, Any]] = {
    "tasks": {"queue": QUEUE_TYPE, "state": TASK_STATE_TYPE},
    "transitions": {"from": STATE_TYPE, "to": STATE_TYPE, "reason": EVENT_TYPE},
}
"""Columns whose names are the rulebook's, so that all records share their categories."""


# ---- building --------------------------------------------------------------------------------------------------------


def sample_frame(rows: Iterable[SampleRow]) -> pd.DataFrame:
    """The table of samples."""
    return _frame(rows, SAMPLE_TYPES, ("worker",))


def event_frame(rows: Iterable[EventRow]) -> pd.DataFrame:
    """The table of events."""
    return _frame(rows, EVENT_TYPES, ("kind", "worker", "detail"))


def _frame(rows: Iterable[tuple[Any, ...]], types: Mapping[str, Any], named: tuple[str, ...]) -> pd.DataFrame:
    """Tuples as columns, without ever holding them all as tuples. The `named` columns become categories."""
    numbers: dict[str, dict[str, int]] = {name: {} for name in named}
    fields = [(place, numbers[name]) for place, name in enumerate(types) if name in numbers]

    def coded() -> Iterator[tuple[Any, ...]]:
        for row in rows:
            values = list(row)
            for place, known in fields:
                values[place] = known.setdefault(str(values[place]), len(known))
            yield tuple(values)

    table = np.fromiter(coded(), dtype=list(types.items()))
    columns = {
        name: categorical(table[name], list(numbers[name])) if name in numbers else table[name].copy() for name in types
    }
    return pd.DataFrame(columns, copy=False)


def categorical(codes: npt.NDArray[Any], names: list[str]) -> pd.Categorical[Any]:
    """The column of the names that `codes` (indexes into `names`) stand for; those that occur, sorted, are its
    categories.
    """
    used = np.bincount(codes, minlength=len(names)).astype(np.bool_)
    kept = sorted(name for name, was_used in zip(names, used, strict=True) if was_used)
    place = {name: code for code, name in enumerate(kept)}
    new_codes = np.array([place.get(name, -1) for name in names], dtype=np.int32)
    return pd.Categorical.from_codes(new_codes[codes], dtype=pd.CategoricalDtype(pd.Index(kept, dtype="str")))


def task_frame(plan: Plan, moves: Moves, events: pd.DataFrame) -> pd.DataFrame:
    """A row a task: the plan's facts, and what the audit log (in order of time) says became of it."""
    fates = _Fates(plan, moves)
    for begin, end in chunks(len(moves)):
        fates.read(begin, end)
    fates.state[events.loc[events["kind"] == "rejected", "task"].to_numpy()] = TASK_STATES.index(REJECTED)
    columns = {
        "id": np.arange(plan.count, dtype=np.int32),
        "role": pd.Categorical.from_codes(plan.role, categories=pd.Index(plan.role_names, dtype="str")),
        "priority": plan.priority.astype(np.int8),
        "queue": pd.Categorical.from_codes(np.asarray(plan.queue, dtype=np.int8), dtype=QUEUE_TYPE),
        "arrival_s": plan.arrival_s,
        "first_claim_s": fates.first_claim_s,
        "done_s": fates.done_s(),
        "state": pd.Categorical.from_codes(fates.state, dtype=TASK_STATE_TYPE),
        "attempts": fates.attempts,
        "retries": fates.retries,
        "service_s": fates.service_s,
        "backoff_s": fates.backoff_s,
        "worker": fates.worker(),
    }
    return pd.DataFrame(columns, copy=False)


class _Fates:
    """What became of each task, read off the audit log in order of time: where a task occurs again, the later row
    counts.
    """

    def __init__(self, plan: Plan, moves: Moves) -> None:
        count = plan.count
        self._plan, self._moves = plan, moves
        self.first_claim_s = np.full(count, np.nan)
        self.state = np.full(count, TASK_STATES.index(NOT_SUBMITTED), dtype=np.int8)
        self.attempts = np.zeros(count, dtype=np.int16)
        self.retries = np.zeros(count, dtype=np.int16)
        self.service_s, self.backoff_s = np.zeros(count), np.zeros(count)
        np.add.at(self.backoff_s, moves.task[moves.delayed], moves.delay_s)
        self._last_at_s = np.full(count, np.nan)
        self._workers = list(dict.fromkeys([*moves.workers, ""]))
        self._claimed_by = np.full(count, self._workers.index(""), dtype=np.int32)
        self._state_of_step = np.array([TASK_STATES.index(step.to_state) for step in moves.steps], dtype=np.int8)
        self._is_claim = moves.codes.reason == EVENTS.index(Event.CLAIMED)
        self._is_retry = moves.codes.end == STATES.index(State.RETRY_WAIT)
        self._places = [_place(name) for name in moves.workers]

    def read(self, begin: int, end: int) -> None:
        """Take in rows `begin` to `end` of the log."""
        moves = self._moves
        task, at_s, step = moves.task[begin:end], moves.at_s[begin:end], moves.step[begin:end]
        self.state[task] = self._state_of_step[step]
        self.attempts[task] = moves.codes.attempt[step]
        self._last_at_s[task] = at_s
        np.add.at(self.retries, task[self._is_retry[step]], 1)
        claims = np.flatnonzero(self._is_claim[step])
        worker = moves.worker[begin:end]
        self._read_claims(task[claims], at_s[claims], moves.codes.attempt[step[claims]], worker[claims])

    def _read_claims(self, task: Numbers, at_s: Floats, attempt: npt.NDArray[np.int16], worker: Numbers) -> None:
        np.fmin.at(self.first_claim_s, task, at_s)
        self._claimed_by[task] = worker
        for number in np.unique(attempt):
            mine = attempt == number
            work_s = self._work_s(_planned_s(self._plan, task[mine], int(number)), at_s[mine], worker[mine])
            np.add.at(self.service_s, task[mine], work_s)

    def _work_s(self, planned_s: Floats, at_s: Floats, worker: Numbers) -> Floats:
        """Seconds of work of attempts: as planned, stretched by the faults that slow, cut by the rule's timeout."""
        scenario = self._plan.scenario
        slow = [fault for fault in scenario.faults if isinstance(fault, SlowService | SlowWorker)]
        if slow:
            begun = zip(at_s.tolist(), worker.tolist(), strict=True)
            planned_s = planned_s * [service_factor(slow, when_s, self._places[number]) for when_s, number in begun]
        if scenario.rules.retry.timeout_s is None:
            return planned_s
        return np.array([retry.cut(work_s, scenario.rules.retry) for work_s in planned_s.tolist()])

    def done_s(self) -> Floats:
        """When each task came to its end; NaN for those that did not."""
        ended = np.array([name in TERMINAL for name in TASK_STATES])
        self._last_at_s[~ended[self.state]] = np.nan
        return self._last_at_s

    def worker(self) -> pd.Categorical[Any]:
        """Who claimed each task last; "" where nobody did."""
        return categorical(self._claimed_by, self._workers)


def _planned_s(plan: Plan, task: Numbers, attempt: int) -> Floats:
    """Seconds of work that the plan gives to that attempt of each of these tasks."""
    column = plan.column("service", attempt)
    if attempt == 1:
        return np.asarray(column)[task]
    return np.array([column[one] for one in task.tolist()])  # later attempts are rare: no need for the whole column


def _place(worker: str) -> int | None:
    """The place of a worker in its fleet: w3.2 is the second process at place 3."""
    found = re.match(r"w(\d+)", worker)
    return int(found[1]) if found else None


# ---- hashing ---------------------------------------------------------------------------------------------------------


def digest(tables: Mapping[str, Table]) -> str:
    """SHA-256 over the content of the tables: equal digests, equal runs.

    It looks at values only: types of different width, categories in another order and rows in other chunks are the
    same run.
    """
    whole = hashlib.sha256()
    for name, table in tables.items():
        columns: dict[str, Any] = {}
        for part in parts(table):
            for column in part.columns:
                columns.setdefault(column, hashlib.sha256()).update(_canonical(part[column]).tobytes())
        for column, content in columns.items():
            whole.update(f"{name}.{column}:{len(table)}:{content.hexdigest()}\n".encode())
    return whole.hexdigest()


def _canonical(values: pd.Series[Any]) -> npt.NDArray[Any]:
    """The values as eight bytes each: whole numbers and seconds as they are, names by their own hash."""
    kind = values.dtype.kind
    if kind in "iub":
        return values.to_numpy(dtype="<i8")
    if kind == "f":
        numbers = values.to_numpy(dtype="<f8") + 0.0  # −0.0 is 0.0
        numbers[np.isnan(numbers)] = np.nan  # one pattern of bits for all that is missing
        return numbers
    codes, names = pd.factorize(values, use_na_sentinel=False)
    hashes = [hashlib.sha256(str(name).encode()).digest()[:8] for name in names]
    return np.frombuffer(b"".join(hashes), dtype="<u8")[codes]


def parts(table: Table) -> Iterator[pd.DataFrame]:
    """The table a stretch of rows at a time; at least one stretch, though it may be empty."""
    for begin, end in list(chunks(len(table))) or [(0, 0)]:
        yield table.frame(begin, end) if isinstance(table, Moves) else table.iloc[begin:end]


# ---- files -----------------------------------------------------------------------------------------------------------


def write(table: Table, path: Path) -> None:
    """Write a table to a Parquet file, a row group for each stretch of rows.

    Names are stored as dictionaries; numbers are not (hardly one occurs twice), since looking for repetitions costs
    30 MB.
    """
    import pyarrow as pa
    from pyarrow import parquet

    stretches = (pa.Table.from_pandas(part, preserve_index=False, nthreads=1) for part in parts(table))
    first = next(stretches)
    named = [column.name for column in first.schema if pa.types.is_dictionary(column.type)]
    with parquet.ParquetWriter(path, first.schema, use_dictionary=named, compression="zstd") as file:
        file.write_table(first)
        for stretch in stretches:
            file.write_table(stretch)
    pa.default_memory_pool().release_unused()  # Arrow keeps for later what it once had


def read(name: str, path: Path) -> pd.DataFrame:
    """The table called `name` from its Parquet file, with the types that it was written with."""
    return pd.read_parquet(path).astype(STORED_TYPES.get(name, {}))
