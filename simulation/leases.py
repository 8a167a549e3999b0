"""The modelled reaper: claims that nobody renews any more are taken back, and queues that Redis lost are rebuilt."""

from __future__ import annotations

from lab.rules import lease
from lab.rules.tasks import State
from lab.workload import Plan
from simulation.automaton import HANDED_BACK, LEASE_LAPSED
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.queues import Queues
from simulation.slots import FREE, Slot, Worker
from simulation.store import Store

UNCLAIMED = 0
"""The token of a task that was taken from a queue and whose claim is not committed."""


class Abandoned:
    """A task that was taken or claimed and whose holder is silent: until when the others must leave it alone."""

    def __init__(self, task: int, token: int, until_s: float) -> None:
        self.task, self.token, self.until_s = task, token, until_s
        self.asleep = False
        """Whether the holder was sleeping through a backoff, after which it would have put the task back."""
        self.renewed = False
        """Whether the holder has been heard of again."""


class Leases:
    """Only what is silent costs anything here: a lease that is renewed in time needs no event."""

    def __init__(self, clock: Clock, plan: Plan, store: Store, queues: Queues, fleet: Fleet) -> None:
        self._clock, self._store, self._queues, self._fleet = clock, store, queues, fleet
        self._rules = plan.scenario.rules.lease
        self._silent: dict[Worker, list[Abandoned]] = {}
        self._taken: dict[int, Abandoned] = {}
        """By task: what was taken from a queue by a worker that fell silent before its claim was committed."""

    def abandon(self, slot: Slot, silent_from_s: float, *, for_good: bool = False) -> None:
        """Nobody renews this claim any more: see to it at the first sweep after its lease.

        `for_good`: not even if its worker is heard of again, since that has let go of it.
        """
        if not self._rules.reclaims:
            return
        token = slot.token if slot.standing is not None else UNCLAIMED
        if token == UNCLAIMED and slot.task in self._taken:
            return  # one more fault strikes the worker that has it
        until_s = slot.worker.lease_until_s(slot, silent_from_s, self._rules)
        left = Abandoned(slot.task, token, until_s)
        left.asleep = slot.sleeps_until_s > 0.0
        if token == UNCLAIMED:
            self._taken[slot.task] = left
        if not for_good:
            self._silent.setdefault(slot.worker, []).append(left)
        self._clock.at(self._clock.next_sweep(until_s, self._rules), self._reclaim, left)

    def heard_of(self, worker: Worker) -> None:
        """A worker's heartbeats go on: what it holds it holds again."""
        worker.woke_at_s = self._clock.now
        for left in self._silent.pop(worker, ()):
            left.renewed = True
            if self._taken.get(left.task) is left:
                del self._taken[left.task]

    def _reclaim(self, left: Abandoned) -> None:
        if left.renewed or not lease.has_lapsed(left.until_s, self._clock.now):
            return
        if self._store.down:
            self._clock.at(self._clock.next_sweep(self._store.up_at_s, self._rules), self._reclaim, left)
            return
        facts = self._store.standings[left.task].facts
        if facts is None:
            return
        if left.token == UNCLAIMED:
            del self._taken[left.task]
            if facts.state is State.PENDING:
                self.put_back(left.task)
        elif facts.token == left.token and facts.state is State.RUNNING:
            if self._store.wait(left.task, LEASE_LAPSED).pending > 0:
                self._fleet.enqueue(left.task)
        elif left.asleep and facts.token == left.token and facts.state is State.RETRY_WAIT:
            self._fleet.due(left.task, left.token)

    def _forget(self, task: int) -> None:
        """Somebody else sees to a task that was taken and not claimed."""
        if (left := self._taken.pop(task, None)) is not None:
            left.renewed = True

    def put_back(self, task: int) -> None:
        """A pending task that no queue holds: into the queue again, as it was there first at the front."""
        self._store.note("requeued", task=task)
        self._fleet.enqueue(task, front=True)

    def hand_back(self, slot: Slot) -> None:
        """Work goes back to its queue, uncounted; a backoff that was slept through here ends by the schedule."""
        if self._store.down:
            self._clock.at(self._store.up_at_s, self.hand_back, slot)
        elif slot.standing is None:
            self._forget(slot.task)
            self.put_back(slot.task)
        elif slot.sleeps_until_s:
            self._clock.at(slot.sleeps_until_s, self._fleet.due, slot.task, slot.token)
        elif self._store.standings[slot.task] is slot.standing:
            self._store.wait(slot.task, HANDED_BACK, slot.worker.number)
            self._fleet.enqueue(slot.task)
        else:
            self._store.refuse(slot.task, HANDED_BACK, slot.token, slot.worker.name)

    # -- the index --

    def rebuild_after(self, moment_s: float) -> None:
        """Rebuild the queues from the store at the first sweep after a moment."""
        if self._rules.reclaims:
            self._clock.at(self._clock.next_sweep(moment_s + 1e-9, self._rules), self._rebuild)

    def _rebuild(self) -> None:
        if not self._queues.up:
            return
        if self._store.down:
            self._clock.at(self._clock.next_sweep(self._store.up_at_s, self._rules), self._rebuild)
            return
        # Only what was taken and not yet claimed is in good hands, for the length of a lease even in dead ones; a claim
        # that was taken back is somebody's past.
        slots = (slot for worker in self._fleet.workers if worker.alive for slot in worker.slots)
        taken = {slot.task for slot in slots if slot.task != FREE and slot.standing is None} | self._taken.keys()
        lost = [task for task in self._queues.missing(self._store.waiting()) if task not in taken]
        for task in reversed(lost):
            self._store.note("requeued", task=task)
            self._queues.push(task, front=True)
        self._fleet.dispatch()
