"""The producer: tasks arrive as planned, admission is asked, and what is admitted is committed as PENDING and then
pushed.

Batching is natural: a batch is whatever has arrived while the previous one was being committed, never waited for.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from lab.errors import LabError
from lab.limits import LIVE_BATCH_TASKS_MAX
from lab.rules import admission
from lab.rules.admission import Answer
from lab.workload import Plan
from live_backend.broker import GONE, Broker
from live_backend.notes import Notes
from live_backend.store import NewTask, Store, patience_s

REVIEW_S = 0.02
"""How often held tasks ask again: a gate that has opened is used within this time."""
GROWTH_LOOK_S = 0.05
"""How often a run that may grow looks whether it has: a part of how far ahead of its moment growth is told."""


class Producer:
    """Replays a plan's arrivals against the clock. `closed_workers` and `pending` are kept up to date by the
    caretaker, `workers` by the striker.

    While it `may_grow`, another plan may take the place of this one, and the run is not over when this one is.
    """

    def __init__(self, plan: Plan, store: Store, broker: Broker, notes: Notes, now_s: Callable[[], float]) -> None:
        self.arrived = 0
        self.rejected = 0
        self.submitted = 0
        self.last_submitted = -1
        """The id of the task that was committed last; they are committed in the order of their ids."""
        self.closed_workers = 0
        self.pending = 0
        self.workers = plan.scenario.mesh.workers
        self.may_grow = False
        self._stale_from_s = math.inf
        self._plan, self._store, self._broker, self._notes, self._now_s = plan, store, broker, notes, now_s
        self._rules = plan.scenario.rules
        self._held: deque[int] = deque()
        self._was_open = True

    @property
    def done(self) -> bool:
        """Whether every task has arrived and been committed or refused."""
        return not self.may_grow and self.submitted + self.rejected == self._plan.count

    @property
    def more_may_come(self) -> bool:
        """Whether a task has still to arrive, or might."""
        return self.may_grow or self.arrived < self._plan.count

    @property
    def is_open(self) -> bool:
        """What admission said last."""
        return self._was_open

    @property
    def holding(self) -> int:
        """Tasks that wait for admission."""
        return len(self._held)

    async def run(self) -> None:
        """Submit until all have been."""
        while not self.done:
            batch = self._admitted(self._now_s())
            if batch:
                await self._submit(batch)
            elif self._held:
                await asyncio.sleep(REVIEW_S)
            elif self.more_may_come:
                await asyncio.sleep(self._rest_s())

    def _rest_s(self) -> float:
        """How long nothing comes, in seconds; no longer than growth might be overlooked."""
        next_s = self._plan.arrival_column[self.arrived] if self.arrived < self._plan.count else math.inf
        if self.may_grow:
            rest_s = GROWTH_LOOK_S if next_s >= self._stale_from_s else min(next_s - self._now_s(), GROWTH_LOOK_S)
        else:
            rest_s = next_s - self._now_s()
        return max(0.0, rest_s)

    def expect_growth(self, from_s: float) -> None:
        """The plan is stale from a moment of the run on: what arrives then waits for the next `follow`."""
        self._stale_from_s = min(self._stale_from_s, from_s)

    def follow(self, plan: Plan, stale_from_s: float = math.inf) -> None:
        """From now on the arrivals are those of this plan: the same as before, and others later.

        Raises LabError if what has arrived already would have come at other moments.
        """
        old, arrived = self._plan.arrival_s[: self.arrived], plan.arrival_s[: self.arrived]
        if not np.array_equal(old, arrived):
            raise LabError(
                "a change came too late for this machine: tasks have already come that it would have moved; "
                "start the session again, with less load"
            )
        self._plan, self._stale_from_s = plan, stale_from_s

    def _admitted(self, now_s: float) -> list[int]:
        """The next batch: held tasks first, then those whose time has come."""
        batch: list[int] = []
        while self._held and len(batch) < LIVE_BATCH_TASKS_MAX and self._is_open(len(batch)):
            batch.append(self._held.popleft())
        arrivals = self._plan.arrival_column
        while self.arrived < self._plan.count and arrivals[self.arrived] <= now_s:
            if len(batch) >= LIVE_BATCH_TASKS_MAX or arrivals[self.arrived] >= self._stale_from_s:
                break
            self._ask(batch)
        return batch

    def _ask(self, batch: list[int]) -> None:
        """Admission's answer for the task that arrives now."""
        answer = admission.answer(self._is_open(len(batch)), len(self._held), self._rules.admission)
        if answer is Answer.ADMIT:
            batch.append(self.arrived)
        elif answer is Answer.HOLD:
            self._held.append(self.arrived)
        else:
            self.rejected += 1
            self._notes.add("rejected", task=self.arrived)
        self.arrived += 1

    def _is_open(self, coming_in: int) -> bool:
        is_open = admission.is_open(
            self.closed_workers, self.workers, self.pending + coming_in, self._rules.health, self._rules.admission
        )
        if is_open != self._was_open:
            self._notes.add("admission_opened" if is_open else "admission_closed")
            self._was_open = is_open
        return is_open

    async def _submit(self, batch: list[int]) -> None:
        """Commit, then push. If the push is lost, the reaper finds the row and repeats it."""
        await self._bring_in(batch)
        self.submitted += len(batch)
        self.last_submitted = batch[-1]
        self.pending += len(batch)

    async def _bring_in(self, batch: list[int]) -> None:
        """The way of every submission: a task that is there already stays as it is and is not pushed again."""
        new = await self._store.submit([self._described(task) for task in batch])
        by_class: dict[int, list[int]] = {}
        for task in batch:
            if task in new:
                by_class.setdefault(self._plan.queue[task], []).append(task)
        if by_class:
            with suppress(*GONE):
                await self._broker.push(by_class)

    def _described(self, task: int) -> NewTask:
        plan = self._plan
        role, queue = plan.role_names[plan.role[task]], plan.queue[task]
        return NewTask(task, role, int(plan.priority[task]), queue, patience_s(plan, task, attempt=1))

    async def repeat(self, before_s: float, count: int) -> None:
        """The client submits its last `count` tasks from before a moment once more; only those that were accepted."""
        accepted = await self._store.known(self._plan.last_arrivals(before_s, count))
        for start in range(0, len(accepted), LIVE_BATCH_TASKS_MAX):
            batch = accepted[start : start + LIVE_BATCH_TASKS_MAX]
            await self._bring_in(batch)
            for task in batch:
                self._notes.add("duplicate_submission", task=task)
