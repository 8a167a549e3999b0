"""The modelled producer: tasks arrive as planned, admission is asked, and what is admitted becomes a PENDING row and a
queue entry.
"""

from __future__ import annotations

from collections import deque

from lab.profile import Profile
from lab.rules import admission
from lab.rules.admission import Answer
from lab.rules.tasks import Event
from lab.workload import Plan
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.store import Store


class Producer:
    """Replays the plan's arrivals. Held tasks go in first, in their order."""

    def __init__(self, clock: Clock, plan: Plan, profile: Profile, store: Store, fleet: Fleet) -> None:
        self.rejected = 0
        self.arrived = 0
        self._clock, self._plan, self._profile = clock, plan, profile
        self._store, self._fleet = store, fleet
        self._rules = plan.scenario.rules
        self._arrival_s: list[float] = plan.arrival_s.tolist()
        self._held: deque[int] = deque()
        self._coming_in = 0
        self._closed_workers = 0
        self._was_open = True

    def start(self) -> None:
        """Wait for the first arrival."""
        self._clock.at(self._arrival_s[0], self._arrive)

    @property
    def done(self) -> bool:
        """Whether every task has arrived and none is held or on its way in."""
        return self.arrived == self._plan.count and not self._held and not self._coming_in

    @property
    def holding(self) -> int:
        """Tasks that wait for admission."""
        return len(self._held)

    def review(self, closed_workers: int) -> None:
        """Look at the gates anew, and let held tasks in if admission is open."""
        self._closed_workers = closed_workers
        self._let_held_in()

    def _arrive(self) -> None:
        """All tasks of this moment come, as one batch; then wait for the next moment."""
        moment_s, admitted = self._arrival_s[self.arrived], list[int]()
        while self.arrived < self._plan.count and self._arrival_s[self.arrived] == moment_s:
            if self._ask(self.arrived):
                admitted.append(self.arrived)
                self._coming_in += 1
            self.arrived += 1
        self._bring_in(admitted)
        if self.arrived < self._plan.count:
            self._clock.at(self._arrival_s[self.arrived], self._arrive)

    def _ask(self, task: int) -> bool:
        """Whether a task is admitted; if not it is held or refused."""
        answer = admission.answer(self._is_open(), len(self._held), self._rules.admission)
        if answer is Answer.HOLD:
            self._held.append(task)
        elif answer is Answer.REJECT:
            self.rejected += 1
            self._store.note("rejected", task=task)
        return answer is Answer.ADMIT

    def _is_open(self) -> bool:
        is_open = admission.is_open(
            self._closed_workers,
            len(self._fleet.workers),
            self._store.pending + self._coming_in,
            self._rules.health,
            self._rules.admission,
        )
        if is_open != self._was_open:
            self._store.note("admission_opened" if is_open else "admission_closed")
            self._was_open = is_open
        return is_open

    def _let_held_in(self) -> None:
        admitted = list[int]()
        while self._is_open() and self._held:
            admitted.append(self._held.popleft())
            self._coming_in += 1
        self._bring_in(admitted)

    def _bring_in(self, tasks: list[int]) -> None:
        if tasks:
            self._clock.later(self._profile.submit_s, self._submit, tasks)

    def _submit(self, tasks: list[int]) -> None:
        """PENDING in the store, then into the queues."""
        if self._store.up_at_s > self._clock.now:
            self._clock.at(self._store.up_at_s, self._submit, tasks)
            return
        for task in tasks:
            self._store.apply(task, Event.SUBMITTED)
        self._coming_in -= len(tasks)
        self._fleet.enqueue_all(tasks)
        if self._held:
            self._let_held_in()

    def room_made(self) -> None:
        """A task has left the queues: with a bound on their depth, a held one may now come in."""
        if self._held and self._rules.admission.max_pending is not None:
            self._let_held_in()
