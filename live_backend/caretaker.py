"""Watches a live run: counts tasks, samples the queues, tells the producer how the fleet is, sees when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from lab.limits import PROGRESS_S
from lab.patience import patience_s
from lab.record import SampleRow
from lab.rules import Rulebook, health
from lab.rules.tasks import State
from live_backend.broker import GONE, Broker
from live_backend.producer import Producer
from live_backend.store import Store
from live_backend.striker import Striker


class Caretaker:
    """Sees when a run is over. `stalled` is True if it can never drain."""

    def __init__(
        self,
        rules: Rulebook,
        store: Store,
        broker: Broker,
        producer: Producer,
        striker: Striker,
        now_s: Callable[[], float],
    ) -> None:
        self.samples: list[SampleRow] = []
        self.ended = 0
        self.stalled = False
        self.redis_is_away = False
        self._store, self._broker, self._producer = store, broker, producer
        self._striker, self._now_s, self._rules = striker, now_s, rules
        self._counts: dict[State, int] = {}
        self._moved_at = time.monotonic()
        self._active = 0

    async def look(self) -> bool:
        """One look at the run. Returns True when it is over: every task ended, or none can move any more."""
        # Asked first: the counts must be later than the last submission and the last redrive.
        redrives_to_come, all_are_in = self._striker.redrives_to_come > 0, self._producer.done
        submitted = self._producer.submitted + self._producer.rejected
        counts, fleet = await self._store.counts(), await self._store.fleet()
        in_progress = sum(counts.get(state, 0) for state in (State.PENDING, State.RUNNING, State.RETRY_WAIT))
        self.ended = max(0, submitted - in_progress)
        self._producer.pending = counts.get(State.PENDING, 0)
        self._producer.closed_workers = sum(
            health.counts_as_closed(gate, age, self._rules.health)
            for place, age, gate, _ in fleet
            if place < self._producer.workers
        )
        self._active = sum(active for _, age, _, active in fleet if age < self._silence_s)
        await self._sample(counts)
        if all_are_in and in_progress == 0 and not redrives_to_come:
            return True
        if counts != self._counts or self._active or redrives_to_come or self._something_is_due():
            self._counts, self._moved_at = counts, time.monotonic()
        self.stalled = time.monotonic() - self._moved_at > patience_s(self._rules)
        return self.stalled

    @property
    def _silence_s(self) -> float:
        return health.MISSING_REPORTS_CLOSED * self._rules.health.report_s

    def _something_is_due(self) -> bool:
        """Whether anything will move by itself: an arrival, a retry in the schedule of a run that keeps one, a client
        that will lose its patience.
        """
        waiting = self._counts.get(State.RETRY_WAIT, 0) and self._rules.retry.wait == "scheduled"
        leaving = self._counts.get(State.PENDING, 0) and self._rules.deadline.cancels
        return bool(self._producer.more_may_come or waiting or leaving)

    async def _sample(self, counts: dict[State, int]) -> None:
        depths = (0, 0, 0)
        try:
            high, medium, low, _ = await self._broker.depths()
            depths, self.redis_is_away = (high, medium, low), False
        except GONE:
            self.redis_is_away = True
        tail = (*depths, counts.get(State.RETRY_WAIT, 0), self._producer.holding)
        self.samples.append(SampleRow(round(self._now_s(), 6), "", 0.0, 0.0, self._active, True, *tail))

    async def watch(self) -> None:
        """Look a few times a second until the run is over."""
        while not await self.look():
            await asyncio.sleep(PROGRESS_S)
