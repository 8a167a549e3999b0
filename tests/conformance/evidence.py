"""What the record of a run says of one task, or of the whole mesh: the only thing that a conformance case may look at,
so that it cannot tell which engine it looks at."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from lab.record import Record
from lab.rules.tasks import Event, State
from lab.workload import Plan

GRAIN_S = 2e-6
"""Moments are whole microseconds: two of them may each be off by half of one, and a difference by twice that."""
LATE_S = 3.0
"""How much later than the rule says something may happen on a machine that is busy with other things. Never how much
earlier: no case allows that."""


class Move(NamedTuple):
    """One accepted transition of a task, without its time and worker."""

    reason: Event
    to: State
    attempt: int
    token: int


class Row(NamedTuple):
    """The same with them. `at_s` in seconds of the run, `delay_s` the backoff that was granted."""

    move: Move
    at_s: float
    worker: str
    delay_s: float
    start: str


class Note(NamedTuple):
    """Something that happened to the mesh: a gate, a worker that came or left, a refused write."""

    at_s: float
    worker: str
    task: int


class Seen:
    """A record, by task and by kind of event."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.plan = Plan(record.scenario)
        self.rules = record.scenario.rules
        self.states = [str(state) for state in record.tasks["state"]]
        self.queues = [str(queue) for queue in record.tasks["queue"]]
        self.counts: dict[str, int] = record.info["summary"]["tasks"]
        self._rows: dict[int, list[Row]] = {task: [] for task in range(len(record.tasks))}
        self._claims: list[int] = []
        frame = record.transitions
        columns = ("task", "from", "to", "at_s", "worker", "attempt", "token", "reason", "delay_s")
        for task, start, to, at_s, worker, attempt, token, reason, delay_s in zip(
            *(frame[name].tolist() for name in columns), strict=True
        ):
            move = Move(Event(reason), State(to), attempt, token)
            self._rows[task].append(Row(move, at_s, str(worker), delay_s, str(start)))
            if reason == Event.CLAIMED:
                self._claims.append(task)

    def rows(self, task: int, event: Event | None = None) -> list[Row]:
        """What happened to a task, in order; with `event` only the transitions made for that reason."""
        return [row for row in self._rows[task] if event is None or row.move.reason is event]

    def path(self, task: int) -> list[Move]:
        """The same without times and workers."""
        return [row.move for row in self._rows[task]]

    def at_s(self, task: int, event: Event, number: int = 0) -> float:
        """When this happened to a task for the first time (or the `number`-th, from 0)."""
        found = self.rows(task, event)
        assert len(found) > number, f"task {task} was not {event} {number + 1} times: {self.path(task)}"
        return found[number].at_s

    def claims(self) -> list[int]:
        """The tasks in the order in which they were claimed."""
        return self._claims

    def delays_s(self, task: int) -> list[float]:
        """The backoffs that a task was granted."""
        return [row.delay_s for row in self._rows[task] if row.move.to is State.RETRY_WAIT]

    def waits_s(self, task: int) -> list[float]:
        """How long a task really was in RETRY_WAIT, each time."""
        pairs = pairwise(self._rows[task])
        return [after.at_s - before.at_s for before, after in pairs if before.move.to is State.RETRY_WAIT]

    def pending_s(self, task: int) -> list[tuple[float, Event]]:
        """Each stay of a task in PENDING: how long (s), and what ended it."""
        pairs = pairwise(self._rows[task])
        return [(then.at_s - row.at_s, then.move.reason) for row, then in pairs if row.move.to is State.PENDING]

    def most_pending(self) -> int:
        """The largest number of tasks that were PENDING at the same time."""
        steps = [
            (row.at_s, (row.move.to is State.PENDING) - (row.start == State.PENDING))
            for rows in self._rows.values()
            for row in rows
        ]
        now = most = 0
        for _, change in sorted(steps):  # of one moment those that leave come first
            now += change
            most = max(most, now)
        return most

    def noted(self, kind: str) -> list[Note]:
        """The events of a kind, in order."""
        rows = self.record.events[self.record.events["kind"] == kind]
        columns = (rows[name].tolist() for name in ("t_s", "worker", "task"))
        return [Note(at_s, str(worker), task) for at_s, worker, task in zip(*columns, strict=True)]

    def edges(self) -> set[tuple[str, Event, State]]:
        """Every (from, event, to) that was taken."""
        return {(row.start, row.move.reason, row.move.to) for rows in self._rows.values() for row in rows}


def way(text: str) -> list[Move]:
    """A task's path from shorthand: one word a move, `claimed failed due claimed succeeded`, with the numbers that
    follow from it. `failed!` and `lapsed!` are the ones after which there is no retry.
    """
    state_of = {
        "submitted": (Event.SUBMITTED, State.PENDING),
        "claimed": (Event.CLAIMED, State.RUNNING),
        "succeeded": (Event.SUCCEEDED, State.COMPLETED),
        "failed": (Event.FAILED, State.RETRY_WAIT),
        "failed!": (Event.FAILED, State.PERMANENT_FAILURE),
        "due": (Event.DUE, State.PENDING),
        "lapsed": (Event.LEASE_LAPSED, State.PENDING),
        "lapsed!": (Event.LEASE_LAPSED, State.PERMANENT_FAILURE),
        "handed-back": (Event.HANDED_BACK, State.PENDING),
        "left": (Event.EXPIRED, State.CANCELLED),
        "redriven": (Event.REDRIVEN, State.PENDING),
    }
    moves, attempt, token = list[Move](), 0, 0
    for word in ["submitted", *text.split()]:
        event, state = state_of[word]
        claimed = event is Event.CLAIMED
        attempt, token = attempt + claimed - (event is Event.HANDED_BACK), token + claimed
        moves.append(Move(event, state, attempt, token))
    return moves
