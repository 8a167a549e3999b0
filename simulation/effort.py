"""What attempts do on their process's processor: fill their memory, and compute their role's share of the work.

All of it comes before an attempt's waiting, as in live_backend/work.py: the attempt ends when its time has passed and
it has had its processor time.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from lab.limits import LOOP_FILL_BYTES_MAX, MIB
from lab.profile import MemoryCosts
from lab.workload import Plan
from simulation.clock import Clock
from simulation.slots import Slot

PIECES: Final = 8
"""In so many a large memory is filled: a report in between sees what is there by then."""


class Effort:
    """The processor time of a plan's attempts. `costs` says what filling and freeing memory takes."""

    def __init__(self, clock: Clock, plan: Plan, costs: MemoryCosts) -> None:
        self._clock, self._plan = clock, plan
        roles = plan.scenario.workload.roles.values()
        touches = costs.touch_s_per_mib > 0 and any(role.memory_mib for role in roles)
        self._burns = any(role.cpu_share for role in roles)
        self.is_needed = touches or self._burns
        self._touch_s, self._drop_s = costs.touch_s_per_mib, costs.drop_s_per_mib
        self._held_bytes = plan.memory_bytes

    def fills_in_a_thread(self, task: int) -> bool:
        """Whether a task's memory comes piece by piece, beside the event loop, rather than at once."""
        return self._held_bytes[task] > LOOP_FILL_BYTES_MAX and self._touch_s > 0

    def begin(self, slot: Slot, work_s: float, ends_s: float) -> None:
        """An attempt that works for `work_s` seconds begins; its time has passed at `ends_s`."""
        burns_s = work_s * self._plan.cpu_share(slot.task) if self._burns else 0.0
        filling_s = self._held_bytes[slot.task] / MIB * self._touch_s
        if self.fills_in_a_thread(slot.task):
            self._fill(slot, filling_s / PIECES, burns_s, ends_s, pieces=0)
        else:
            slot.worker.loop.book(filling_s)
            self._burn(slot, burns_s, ends_s)

    def _fill(self, slot: Slot, piece_s: float, burns_s: float, ends_s: float, pieces: int) -> None:
        """So many pieces are filled: the next one, or the computing."""
        if pieces:
            slot.worker.memory.hold(self._held_bytes[slot.task] / PIECES)
        if pieces == PIECES:
            self._burn(slot, burns_s, ends_s)
        else:
            slot.worker.loop.crowd.add(piece_s, partial(self._fill, slot, piece_s, burns_s, ends_s, pieces + 1))

    def _burn(self, slot: Slot, burns_s: float, ends_s: float) -> None:
        if burns_s > 0.0:
            slot.worker.loop.crowd.add(burns_s, partial(self._end, slot, ends_s))
        else:
            self._end(slot, ends_s)

    def _end(self, slot: Slot, ends_s: float) -> None:
        """The processor is done with it: it ends when its time has passed, or now if that is over."""
        self._clock.put(slot, max(ends_s, self._clock.now))

    def give_back(self, slot: Slot) -> None:
        """The memory of an attempt that has ended is freed by its event loop."""
        slot.worker.loop.book(self._held_bytes[slot.task] / MIB * self._drop_s)
