"""What may happen to a worker's report on its way to the store: it is delivered twice, or late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lab.faults import Fault, completion_delay_s, is_delivered_twice
from simulation.clock import Clock
from simulation.slots import Claim, Slot
from simulation.store import Store

if TYPE_CHECKING:
    from simulation.fleet import Fleet
    from simulation.leases import Leases


class Letter:
    """A report under way: the worker that wrote it has let go of the task."""

    def __init__(self, slot: Slot) -> None:
        self.task, self.token, self.standing = slot.task, slot.token, slot.standing
        self.worker, self.failed, self.permanent = slot.worker, slot.failed, slot.permanent
        self.ended_s = slot.ended_s


class Post:
    """Carries the reports of workers, and looks up which faults meet them."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        fleet: Fleet,
        leases: Leases,
        faults: Sequence[Fault],
    ) -> None:
        self._clock, self._store, self._fleet, self._leases = clock, store, fleet, leases
        self._faults = faults

    def holds_back(self, slot: Slot) -> bool:
        """Whether the report of work that has just ended is late: then nobody renews its lease meanwhile."""
        now_s = self._clock.now
        slot.ended_s = now_s
        delay_s = completion_delay_s(self._faults, now_s)
        if delay_s <= 0.0:
            return False
        self._leases.abandon(slot, now_s, for_good=True)
        self._clock.call_after(delay_s, self._deliver, Letter(slot))
        return True

    def double(self, claim: Claim, code: int) -> None:
        """The report that has just been accepted comes a second time, if a fault has it so; it changes nothing."""
        if is_delivered_twice(self._faults, claim.ended_s):
            refused = self._store.why_refused(claim.task, code, claim.token)
            self._store.note("duplicate_completion", claim.worker.name, claim.task, refused.reason)

    def _deliver(self, letter: Letter) -> None:
        """The letter arrives, whatever has become of its writer."""
        if self._store.down:
            self._clock.at(self._store.up_at_s, self._deliver, letter)
        elif letter.failed:
            delay_s = self._fleet.report_failure(letter)
            if delay_s is not None:
                self._fleet.schedule(letter.task, letter.token, delay_s)
        else:
            self._fleet.report_success(letter)
