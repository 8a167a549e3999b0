"""Whether admission is open: looked up every half a second, asked for every task.

It also knows the mesh as it is published: its roles and its rules. What it has seen last stays true while PostgreSQL is
away; nothing can be accepted then anyway.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path

from lab.errors import Unavailable, UsageError
from lab.limits import GAUGE_S
from lab.rules import Rulebook, admission, health
from lab.rules.admission import Answer
from lab.scenario import Scenario
from live_backend.reading import Reading, WorkerFacts

log = logging.getLogger("meshlab.api")


def silent_s_max(rules: Rulebook) -> float:
    """A worker that has been silent for this long is no longer of the fleet: others have its tasks by then."""
    return rules.lease.length_s + health.MISSING_REPORTS_CLOSED * rules.health.report_s


class Gauge:
    """Read every GAUGE_S by `run`. `scenario` is None until a mesh has been published."""

    def __init__(self, reading: Reading) -> None:
        self.scenario: Scenario | None = None
        self._reading = reading
        self._published_at: datetime | None = None
        self._fleet: list[WorkerFacts] = []
        self._pending = 0
        self._entered = self._committed = self._counted = 0
        """Tasks let in since the start; those of them committed; those that the last count surely saw."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.review()
            except Unavailable:
                pass  # what was seen last stays; whoever submits hears of it from the intake
            except UsageError as error:  # a mesh published by a newer version: this one goes on with what it knows
                log.error("the published mesh cannot be read: %s", error)
            await asyncio.sleep(GAUGE_S)

    async def review(self) -> None:
        """Look once. Raises Unavailable if PostgreSQL is away."""
        published_at = await self._reading.definition_changed_at()
        if published_at != self._published_at and (found := await self._reading.definition()) is not None:
            self.scenario = Scenario.from_data(found.scenario, base=Path(found.base))
            self._published_at = found.changed_at
        if self.scenario is None:
            return
        rules = self.scenario.rules
        self._fleet = await self._reading.fleet(silent_s_max(rules))
        if rules.admission.max_pending is not None:
            committed = self._committed
            self._pending = await self._reading.pending(rules.admission.max_pending)
            self._counted = committed

    def enter(self, count: int) -> None:
        """So many tasks are let in; `leave` must follow."""
        self._entered += count

    def leave(self, count: int, accepted: int) -> None:
        """Of `count` tasks that were let in, `accepted` are committed now and the others will not be."""
        self._entered -= count - accepted
        self._committed += accepted

    def closed(self, coming: int = 1) -> str | None:
        """Why so many more tasks may not come in now; None: they may.

        Held or rejected, over HTTP that is the same answer: the client is the producer, and it is the one who holds.
        """
        if self.scenario is None:
            return None
        rules = self.scenario.rules
        pending = self._pending + self._entered - self._counted
        closed = sum(health.counts_as_closed(each.gate, each.silent_s, rules.health) for each in self._fleet)
        is_open = admission.is_open(closed, len(self._fleet), pending, rules.health, rules.admission)
        room = admission.room(pending, rules.admission)
        if admission.answer(is_open, 0, rules.admission) is Answer.ADMIT and (room is None or coming <= room):
            return None
        if room is not None and room < coming:
            return f"{pending} tasks are pending, and at most {rules.admission.max_pending} may be"
        return f"{closed} of {len(self._fleet)} workers take no tasks: their memory is full, or they are silent"
