"""The model's PostgreSQL: the one place that says where a task stands, and the audit log of how it got there."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lab.moves import Moves, round_to_microseconds
from lab.record import EventRow
from lab.rules.retry import RetryRules
from lab.rules.tasks import Refused, State
from lab.telemetry import Moved
from simulation.automaton import EVENTS, SUBMITTED, Automaton, Standing, Step
from simulation.clock import Clock

NOBODY = 0
"""The worker of a transition that no worker made."""


class Store:
    """Tasks by id, moved only by the rulebook. The log is kept in columns: some 16 bytes a transition."""

    def __init__(self, clock: Clock, tasks: int, rules: RetryRules) -> None:
        self.automaton = Automaton(rules)
        self.standings: list[Standing] = [self.automaton.unknown] * tasks
        self.since_s = array("d", bytes(8 * tasks))
        """When each task last became PENDING."""
        self.up_at_s = 0.0
        """When it answers again, if it is down."""
        self.notes: list[EventRow] = []
        self.workers = [""]
        """The names behind the worker numbers of the log."""
        self.on_pending: Callable[[int], None] | None = None
        """Told of every task that becomes PENDING, if somebody counts how long it waits."""
        self.stop_when: int | None = None
        """Stop the clock once so many tasks have ended; None: some have not come in yet."""
        self.ended = 0
        self._clock, self._jitter = clock, rules.jitter > 0.0
        self._at_s, self._task, self._step, self._worker = array("d"), array("i"), array("i"), array("i")
        self._delay_row, self._delay_s = array("q"), array("d")
        self.move = self._mover()
        """`move(task, event's code, worker's number)`: let the rulebook decide what an event makes of a task, and write
        down what it said. The step's `to` is None if it refused.
        """

    def enlist(self, worker: str) -> int:
        """A number for a worker's name in the log."""
        self.workers.append(worker)
        return len(self.workers) - 1

    # -- moving tasks --

    def _mover(self) -> Callable[[int, int, int], Step]:
        """`move`, as a closure: it is called three times a task, and a variable of its own is found faster than an
        attribute (measured: docs/decisions/003).
        """
        standings, learn, clock, count_end = self.standings, self.automaton.learn, self._clock, self._count_end
        log_at, log_task = self._at_s.append, self._task.append
        log_step, log_worker = self._step.append, self._worker.append

        def move(task: int, code: int, worker: int) -> Step:
            standing = standings[task]
            step = standing.ways[code] or learn(standing, code)
            if step.to is not None:
                standings[task] = step.to
                step.count += 1
                log_at(clock.now)
                log_task(task)
                log_step(step.number)
                log_worker(worker)
                if step.ends:
                    count_end(step.ends)
            return step

        return move

    def submit(self, tasks: Sequence[int]) -> None:
        """Tasks come in, all at this moment: what is true of the first is true of all that nobody knows yet."""
        standings, unknown, rows = self.standings, self.automaton.unknown, len(tasks)
        step = unknown.ways[SUBMITTED]
        if (
            rows == 1
            or step is None
            or self.on_pending is not None
            or any(standings[one] is not unknown for one in tasks)
        ):
            for task in tasks:
                self.wait(task, SUBMITTED)
            return
        assert step.to is not None, "what nobody knows yet may be submitted"
        now_s, since_s = self._clock.now, self.since_s
        for task in tasks:
            standings[task] = step.to
            since_s[task] = now_s
        step.count += rows
        self._at_s.extend([now_s] * rows)
        self._task.extend(tasks)
        self._step.extend([step.number] * rows)
        self._worker.extend([NOBODY] * rows)

    def wait(self, task: int, code: int, worker: int = NOBODY) -> Step:
        """The same for an event after which the task is to be had: it waits from now on, if it is PENDING."""
        step = self.move(task, code, worker)
        if step.pending > 0:
            self.since_s[task] = self._clock.now
            if self.on_pending is not None:
                self.on_pending(task)
        return step

    def fail(self, task: int, code: int, worker: int, roll: float) -> tuple[Step, float]:
        """The same for a failure: also how long (s) the task must wait, if it is to be tried again."""
        standing = self.standings[task]
        step = self.move(task, code, worker)
        if not step.waits:
            return step, 0.0
        delay_s = self.automaton.delay_s(standing, roll) if self._jitter else step.delay_s
        self._delay_row.append(len(self._at_s) - 1)
        self._delay_s.append(delay_s)
        return step, delay_s

    def refuse(self, task: int, code: int, token: int, worker: str) -> None:
        """A worker reports an event about a claim that is not the current one."""
        self.note("stale_write", worker, task, self.why_refused(task, code, token).reason)

    def why_refused(self, task: int, code: int, token: int) -> Refused:
        """What the rulebook says to a report of the claim with this token, which is not the current one any more."""
        return self.automaton.why_refused(self.standings[task], EVENTS[code], token)

    def _count_end(self, ends: int) -> None:
        self.ended += ends
        if self.ended == self.stop_when:
            self._clock.stop()

    # -- looking --

    @property
    def down(self) -> bool:
        """Whether it is away."""
        return self.up_at_s > self._clock.now

    @property
    def pending(self) -> int:
        """Tasks that are PENDING."""
        return sum(step.count * step.pending for step in self.automaton.steps)

    @property
    def retrying(self) -> int:
        """Tasks that are in RETRY_WAIT."""
        return sum(step.count * step.retrying for step in self.automaton.steps)

    @property
    def submitted(self) -> int:
        """Tasks that have come in."""
        first = self.automaton.unknown.ways[SUBMITTED]
        return first.count if first is not None else 0

    @property
    def moved_at_s(self) -> float:
        """When a task last moved; 0 if none has."""
        return self._at_s[-1] if self._at_s else 0.0

    def is_pending(self, task: int) -> bool:
        """Whether a task is to be had."""
        return self.standings[task].state is State.PENDING

    def waiting(self) -> list[int]:
        """The pending tasks, those that have waited longest first: what queues are rebuilt from."""
        pending = [task for task in range(len(self.standings)) if self.is_pending(task)]
        return sorted(pending, key=self.since_s.__getitem__)

    def note(self, kind: str, worker: str = "", task: int = -1, detail: str = "") -> None:
        """Write down something that happened to the mesh rather than to where a task stands."""
        self.notes.append(EventRow(self._clock.now, kind, worker, task, detail))

    # -- being watched --

    def written(self, before_s: float, first: int = 0) -> int:
        """How many transitions the log has from before a moment; `first` of them are known to be."""
        return bisect_left(self._at_s, before_s, first)

    def moment_after(self, rows: int) -> float:
        """A moment from before which the log has more than `rows` transitions, and few more; infinite if it has not."""
        if rows >= len(self._at_s):
            return math.inf
        more = bisect_right(self._at_s, self._at_s[rows], rows)
        return self._at_s[more] if more < len(self._at_s) else math.inf

    def told(self, begin: int, end: int) -> list[Moved]:
        """Rows `begin` to `end` of the log, as somebody who watches is told of them."""
        rows, workers = self.automaton.rows, self.workers
        columns = zip(
            self._at_s[begin:end], self._task[begin:end], self._step[begin:end], self._worker[begin:end], strict=True
        )
        return [
            Moved(at_s, task, rows[step][0], rows[step][1], workers[worker], rows[step][2], rows[step][4])
            for at_s, task, step, worker in columns
        ]

    # -- the record --

    def moves(self) -> Moves:
        """The audit log, moments in whole microseconds. The store is not to be used afterwards."""
        return Moves(
            np.asarray(self._task),
            round_to_microseconds(np.asarray(self._at_s)),
            _narrow(self._step, len(self.automaton.rows)),
            _narrow(self._worker, len(self.workers)),
            self.automaton.rows,
            self.workers,
            np.asarray(self._delay_row),
            np.asarray(self._delay_s),
        )


def _narrow(numbers: array[int], different: int) -> npt.NDArray[np.signedinteger[Any]]:
    """The same numbers, which are less than `different`, in half the memory if they fit."""
    wide = np.asarray(numbers)
    return wide.astype(np.int16) if different <= 1 << 15 else wide
