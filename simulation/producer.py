"""The modelled producer: tasks arrive as planned, admission is asked, and what is admitted becomes a PENDING row and a
queue entry.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lab.faults import Redrive
from lab.profile import Profile
from lab.rules import admission
from lab.rules.admission import Answer
from lab.workload import Plan
from simulation.automaton import SUBMITTED
from simulation.clock import NEVER, Clock
from simulation.fleet import Fleet
from simulation.machinery import Line, Machinery
from simulation.store import NOBODY, Store


class Producer:
    """Replays the plan's arrivals. Held tasks go in first, in their order."""

    def __init__(
        self, clock: Clock, plan: Plan, profile: Profile, machinery: Machinery, store: Store, fleet: Fleet
    ) -> None:
        self.rejected = 0
        self.arrived = 0
        self.redrives_to_come = set[Redrive]()
        """What an operator has still to do: the run does not end before that."""
        self._clock, self._plan = clock, plan
        self._store, self._fleet = store, fleet
        self._rules, self._count = plan.scenario.rules, plan.count
        self._arrival_s = plan.arrival_column
        self._held: deque[int] = deque()
        self._coming_in = 0
        self._closed_workers = 0
        self._was_open = True
        self._counts_pending = self._rules.admission.max_pending is not None
        loop = machinery.producer
        steps = [profile.submit, profile.push]
        self._submitting: Line[int] | None = machinery.line(loop, steps, self._push, "submit", {1: self._commit})
        self._looks = profile.look_s > 0
        self._pending_seen = 0
        if self._counts_pending and not self._looks:
            fleet.tell_of_claims(lambda _: self._room_made())
            fleet.deadlines.on_left = self._room_made
        clock.feed(self._arrival_s[0], self.arrive)

    @property
    def done(self) -> bool:
        """Whether every task has arrived and none is held or on its way in."""
        return self.arrived == self._count and not self._held and not self._coming_in

    @property
    def holding(self) -> int:
        """Tasks that wait for admission."""
        return len(self._held)

    def review(self, closed_workers: int) -> None:
        """Look at the gates and the queues anew, and let held tasks in if admission is open."""
        self._closed_workers, self._pending_seen = closed_workers, self._store.pending
        self._ask_again()

    # -- arrivals --

    def arrive(self) -> float:
        """All tasks of this moment come, as one batch. Returns when the next ones do."""
        times, first, store = self._arrival_s, self.arrived, self._store
        moment_s, after = times[first], first + 1
        while after < self._count and times[after] == moment_s:
            after += 1
        self.arrived = after
        if self._was_open and not self._counts_pending and not self._held:
            if self._submitting is None and after < self._count and not store.up_at_s:
                store.submit(range(first, after))
                self._fleet.enqueue_all(range(first, after))
            else:
                self._coming_in += after - first
                self._bring_in(range(first, after))
        else:
            self._bring_in([task for task in range(first, after) if self._admits(task)])
        return times[after] if after < self._count else NEVER

    def _admits(self, task: int) -> bool:
        """Whether a task is admitted; if not it is held or refused."""
        answer = admission.answer(self._is_open(), len(self._held), self._rules.admission)
        if answer is Answer.HOLD:
            self._held.append(task)
        elif answer is Answer.REJECT:
            self.rejected += 1
            self._store.note("rejected", task=task)
        else:
            self._coming_in += 1
        return answer is Answer.ADMIT

    def _is_open(self) -> bool:
        pending = self._pending() if self._counts_pending else 0
        workers = self._fleet.places
        rules = self._rules
        is_open = admission.is_open(self._closed_workers, workers, pending, rules.health, rules.admission)
        if is_open != self._was_open:
            self._store.note("admission_opened" if is_open else "admission_closed")
            self._was_open = is_open
        return is_open

    def _pending(self) -> int:
        """Tasks that wait, as far as the producer knows: what it saw when it looked last, and what it let in since."""
        return (self._pending_seen if self._looks else self._store.pending) + self._coming_in

    def _ask_again(self) -> None:
        """Let held tasks in for as long as admission is open."""
        admitted = list[int]()
        while self._is_open() and self._held:
            admitted.append(self._held.popleft())
            self._coming_in += 1
        self._bring_in(admitted)

    # -- into the store and the queues --

    def _bring_in(self, tasks: Sequence[int]) -> None:
        if not tasks:
            self.look_for_the_end()
        elif self._submitting is None:
            self._commit(tasks)
            self._push(tasks)
        else:
            self._submitting.add(tasks)

    def _commit(self, tasks: Sequence[int]) -> None:
        """PENDING in the store."""
        store = self._store
        if store.up_at_s and store.down:
            return  # `_push` comes back to it when the store does
        store.submit(tasks)
        self._coming_in -= len(tasks)
        self._pending_seen += len(tasks)
        self.look_for_the_end()

    def _push(self, tasks: Sequence[int]) -> None:
        """Into the queues what is PENDING."""
        if self._store.standings[tasks[0]].facts is None:
            self._clock.at(self._store.up_at_s, self._bring_in_late, tasks)
            return
        self._fleet.push_lag_s = max(self._fleet.push_lag_s, self._clock.now - self._store.since_s[tasks[0]])
        self._fleet.enqueue_all(tasks)
        if self._held:
            self._ask_again()

    def _bring_in_late(self, tasks: Sequence[int]) -> None:
        """The store was away when these came."""
        self._commit(tasks)
        self._push(tasks)

    def look_for_the_end(self) -> None:
        """When no more tasks will come in or come back, the run is over as soon as all that did have ended."""
        store = self._store
        if self.done and not self.redrives_to_come and store.stop_when is None:
            store.stop_when = store.submitted
            if store.ended == store.stop_when:
                self._clock.stop()

    def _room_made(self) -> None:
        """A task has left the queues: with a bound on their depth, a held one may now come in."""
        if self._held:
            self._ask_again()

    def repeat(self, tasks: int) -> None:
        """The client repeats its last submissions: each is the task that it was, in the place that it had."""
        for task in self._plan.last_arrivals(self._clock.now, tasks):
            if self._store.standings[task].facts is None:
                continue  # held, refused or under way: nothing was accepted that could be repeated
            self._store.move(task, SUBMITTED, NOBODY)
            self._store.note("duplicate_submission", task=task)
