"""Clients that do not wait for ever: each leaves when its task has not been started in time."""

from __future__ import annotations

from collections.abc import Callable

from lab.rules import deadline
from lab.workload import Plan
from simulation.automaton import EXPIRED
from simulation.clock import Clock
from simulation.store import NOBODY, Store


class Deadlines:
    """Cancels tasks whose client has left, or knows which attempts are made in vain, as the rule says."""

    def __init__(self, clock: Clock, plan: Plan, store: Store) -> None:
        rules = plan.scenario.rules.deadline
        self.in_vain = rules.wait_s is not None and rules.late == "fail"
        """Whether work for clients that have left is done, and counts as failed."""
        self.on_left: Callable[[], None] | None = None
        """Told of every client that leaves, if somebody waits for room in the queues."""
        self._clock, self._plan, self._store = clock, plan, store
        if rules.wait_s is not None and rules.late == "cancel":
            store.on_pending = self._watch

    def missed(self, task: int, attempt: int) -> bool:
        """Whether the client of the attempt that begins now has left, and nobody has told the worker."""
        if not self.in_vain:
            return False
        waited_s = self._clock.now - self._store.since_s[task]
        return deadline.has_left(waited_s, self._plan.patience_s(task, attempt))

    def _watch(self, task: int) -> None:
        """A task waits from now on, for its next attempt."""
        facts = self._store.standings[task].facts
        assert facts is not None
        patience_s = self._plan.patience_s(task, facts.attempt + 1)
        self._clock.call_after(patience_s, self._leave, task, self._clock.now)

    def _leave(self, task: int, since_s: float) -> None:
        """The client's patience is over: if this very wait still goes on, it is in vain."""
        if self._store.down:
            self._clock.at(self._store.up_at_s, self._leave, task, since_s)
        elif self._store.is_pending(task) and self._store.since_s[task] == since_s:
            self._store.move(task, EXPIRED, NOBODY)
            if self.on_left is not None:
                self.on_left()
