"""The audit log of a run as columns: what an engine writes while it runs, and what the record is built from.

A million tasks make some three million transitions. As columns of numbers these cost 16 bytes each; as tuples of Python
they cost twenty times as much. The states, the attempt, the token and the reason of a transition repeat from task to
task, so each distinct combination (a `Step`) is kept once and a transition holds its number; the same goes for workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lab.draws import Floats
from lab.rules.tasks import Event, State

Numbers = npt.NDArray[np.integer[Any]]

MICROSECONDS = 1e6
"""In a second. Both engines keep time in whole microseconds, so that a record is the same on every machine."""

CHUNK_ROWS = 1 << 17
"""Long tables are read, judged, hashed and saved this many rows at a time: some 10 MB of intermediate results."""

STATES = ("", *State)
"""The states by their number; "" is where a task is before it comes in."""
EVENTS = tuple(Event)
STATE_TYPE = pd.CategoricalDtype(pd.Index([str(state) for state in STATES], dtype="str"))
EVENT_TYPE = pd.CategoricalDtype(pd.Index([str(event) for event in EVENTS], dtype="str"))


class TransitionRow(NamedTuple):
    """One accepted transition. `delay_s` is the backoff that the rulebook granted (RETRY_WAIT only)."""

    task: int
    from_state: str
    to_state: str
    at_s: float
    worker: str
    attempt: int
    token: int
    reason: str
    delay_s: float


class Step(NamedTuple):
    """What a transition may share with many others. `attempt` and `token` are the task's after it; the first
    transition of a task comes from the state "".
    """

    from_state: str
    to_state: str
    attempt: int
    token: int
    reason: str


class StepCodes(NamedTuple):
    """The steps as columns, to be indexed by the number of a step. States and events by their numbers."""

    start: npt.NDArray[np.int8]
    end: npt.NDArray[np.int8]
    attempt: npt.NDArray[np.int16]
    token: npt.NDArray[np.int32]
    reason: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Moves:
    """The transitions of a run in the order in which the engine wrote them; row i of each column belongs to row i.

    `delayed` are the rows to which the rulebook granted a backoff, rising, and `delay_s` how long, in seconds; the
    other rows have none. The arrays are taken as they are, not copied: an engine may hand over `np.frombuffer` of its
    `array.array`s, of any integer type. Raises ValueError if the lengths do not fit each other.
    """

    task: Numbers
    """Task ids."""
    at_s: Floats
    """Seconds from the run's start, in whole microseconds (see `round_to_microseconds`)."""
    step: Numbers
    """Index into `steps`."""
    worker: Numbers
    """Index into `workers`."""
    steps: Sequence[Step]
    workers: Sequence[str]
    """The names of the workers, each once; "" is nobody."""
    delayed: Numbers
    delay_s: Floats

    def __post_init__(self) -> None:
        lengths = [len(column) for column in (self.task, self.at_s, self.step, self.worker)]
        if len(set(lengths)) > 1 or len(self.delayed) != len(self.delay_s):
            delays = f"{len(self.delayed)} delayed rows, {len(self.delay_s)} delays"
            raise ValueError(f"columns of different length: task, at_s, step, worker {lengths}; {delays}")

    def __len__(self) -> int:
        return len(self.task)

    @classmethod
    def of(cls, rows: Iterable[TransitionRow]) -> Moves:
        """The same transitions as columns."""
        rows = list(rows)
        steps: dict[Step, int] = {}
        workers = {"": 0}
        step_of = [steps.setdefault(_step(row), len(steps)) for row in rows]
        worker_of = [workers.setdefault(row.worker, len(workers)) for row in rows]
        delayed = [number for number, row in enumerate(rows) if row.delay_s]
        return cls(
            task=np.array([row.task for row in rows], dtype=np.int32),
            at_s=np.array([row.at_s for row in rows], dtype=np.float64),
            step=np.array(step_of, dtype=np.int32),
            worker=np.array(worker_of, dtype=np.int32),
            steps=list(steps),
            workers=list(workers),
            delayed=np.array(delayed, dtype=np.int32),
            delay_s=np.array([rows[number].delay_s for number in delayed], dtype=np.float64),
        )

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Moves:
        """The same transitions as columns, from a record's table. Raises ValueError if it names a state or an event
        that does not exist.
        """
        found = [
            _codes(frame["from"], STATES),
            _codes(frame["to"], STATES),
            frame["attempt"].to_numpy(),
            frame["token"].to_numpy(),
            _codes(frame["reason"], EVENTS),
        ]
        sizes = [int(column.max(initial=0)) + 1 for column in found]
        step, kinds = pd.factorize(np.ravel_multi_index(tuple(found), tuple(sizes)))
        worker, names = pd.factorize(frame["worker"])
        delay_s = frame["delay_s"].to_numpy(dtype=np.float64)
        delayed = np.flatnonzero(delay_s)
        distinct = zip(*(column.tolist() for column in np.unravel_index(kinds, tuple(sizes))), strict=True)
        return cls(
            task=frame["task"].to_numpy(),
            at_s=frame["at_s"].to_numpy(dtype=np.float64),
            step=step.astype(np.int32),
            worker=worker.astype(np.int32),
            steps=[Step(STATES[a], STATES[b], attempt, token, EVENTS[e]) for a, b, attempt, token, e in distinct],
            workers=[str(name) for name in names],
            delayed=delayed,
            delay_s=delay_s[delayed],
        )

    @cached_property
    def codes(self) -> StepCodes:
        """`steps` as columns of numbers."""
        state, event = ({name: code for code, name in enumerate(names)} for names in (STATES, EVENTS))
        return StepCodes(
            np.array([state[step.from_state] for step in self.steps], dtype=np.int8),
            np.array([state[step.to_state] for step in self.steps], dtype=np.int8),
            np.array([step.attempt for step in self.steps], dtype=np.int16),
            np.array([step.token for step in self.steps], dtype=np.int32),
            np.array([event[step.reason] for step in self.steps], dtype=np.int8),
        )

    @cached_property
    def worker_names(self) -> tuple[npt.NDArray[np.int32], pd.CategoricalDtype]:
        """The workers that did anything, sorted by name, and each worker's number among them."""
        used = np.zeros(len(self.workers), dtype=np.bool_)
        for begin, end in chunks(len(self)):
            used[self.worker[begin:end]] = True
        names = sorted(name for name, was_used in zip(self.workers, used, strict=True) if was_used)
        place = {name: code for code, name in enumerate(names)}
        codes = np.array([place.get(name, -1) for name in self.workers], dtype=np.int32)
        return codes, pd.CategoricalDtype(pd.Index(names, dtype="str"))

    def count(self, wanted: npt.NDArray[np.bool_]) -> int:
        """How many transitions made one of the steps that are `wanted` (by their numbers)."""
        return sum(int(np.count_nonzero(wanted[self.step[begin:end]])) for begin, end in chunks(len(self)))

    def count_of(self, event: Event) -> int:
        """How many transitions happened for this reason."""
        return self.count(self.codes.reason == EVENTS.index(event))

    def in_time(self) -> Moves:
        """The same in order of time; rows of one moment stay in the order in which they were written."""
        if bool((self.at_s[1:] >= self.at_s[:-1]).all()):
            return self
        order = np.argsort(self.at_s, kind="stable")
        place = np.empty(len(order), dtype=np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        delayed = place[self.delayed]
        by_place = np.argsort(delayed)
        return Moves(
            task=self.task[order],
            at_s=self.at_s[order],
            step=self.step[order],
            worker=self.worker[order],
            steps=self.steps,
            workers=self.workers,
            delayed=delayed[by_place],
            delay_s=self.delay_s[by_place],
        )

    def frame(self, begin: int = 0, end: int | None = None) -> pd.DataFrame:
        """Rows `begin` to `end` as the record's table of transitions: the columns of DESIGN section 5."""
        end = len(self) if end is None else end
        step, codes = self.step[begin:end], self.codes
        worker_code, worker_type = self.worker_names
        delay_s = np.zeros(len(step))
        first, last = np.searchsorted(self.delayed, [begin, end])
        delay_s[self.delayed[first:last] - begin] = self.delay_s[first:last]
        columns = {
            "task": self.task[begin:end].astype(np.int32, copy=False),
            "from": pd.Categorical.from_codes(codes.start[step], dtype=STATE_TYPE),
            "to": pd.Categorical.from_codes(codes.end[step], dtype=STATE_TYPE),
            "at_s": self.at_s[begin:end],
            "worker": pd.Categorical.from_codes(worker_code[self.worker[begin:end]], dtype=worker_type),
            "attempt": codes.attempt[step],
            "token": codes.token[step],
            "reason": pd.Categorical.from_codes(codes.reason[step], dtype=EVENT_TYPE),
            "delay_s": delay_s,
        }
        return pd.DataFrame(columns, copy=False)


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of each stretch of CHUNK_ROWS rows; the last one may be shorter."""
    return ((begin, min(begin + CHUNK_ROWS, rows)) for begin in range(0, rows, CHUNK_ROWS))


def round_to_microseconds(seconds: Floats) -> Floats:
    """Round the moments to whole microseconds, in place. Returns the same array."""
    np.multiply(seconds, MICROSECONDS, out=seconds)
    np.rint(seconds, out=seconds)
    return np.divide(seconds, MICROSECONDS, out=seconds)


def _codes(column: pd.Series[Any], names: Sequence[str]) -> npt.NDArray[np.int8]:
    """The index in `names` of each value."""
    codes, found = pd.factorize(column, use_na_sentinel=False)
    place = {str(name): code for code, name in enumerate(names)}
    unknown = sorted({str(name) for name in found} - place.keys())
    if unknown:
        raise ValueError(f"transitions.{column.name}: found {unknown[0]!r}; it must be one of {', '.join(place)}")
    return np.array([place[str(name)] for name in found], dtype=np.int8)[codes]


def _step(row: TransitionRow) -> Step:
    return Step(str(row.from_state), str(row.to_state), row.attempt, row.token, str(row.reason))
