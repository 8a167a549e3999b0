"""The modelled health reports: memory, gates, recycling, admission; and the samples of the record."""

from __future__ import annotations

from collections.abc import Callable

from lab.rules import health
from lab.rules.health import HealthRules
from lab.workload import Plan
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.samples import Samples
from simulation.slots import Worker
from simulation.store import Store


class Health:
    """Every worker that can report does so every `report_s`; gates and admission follow."""

    def __init__(
        self,
        clock: Clock,
        plan: Plan,
        store: Store,
        queues: Queues,
        fleet: Fleet,
        producer: Producer,
        beat: Callable[[], None] = lambda: None,
        lead_s: float = 0.0,
        look_s: float = 0.0,
    ) -> None:
        self.samples = Samples()
        self._clock, self._store, self._queues = clock, store, queues
        self._fleet, self._producer, self._beat = fleet, producer, beat
        self._rules = plan.scenario.rules.health
        self._looks = look_s > 0
        if self._looks:
            clock.every(look_s, self._look, look_s)
        # Workers have reported for the first time a moment before the run starts, and go on from there.
        clock.every(self._rules.report_s, self._report, -lead_s % self._rules.report_s)

    def turn(self, rules: HealthRules) -> None:
        """From now on reports are judged by other rules."""
        self._rules = rules

    def _report(self) -> None:
        kept = self.samples.begin()
        for worker in self._fleet.workers:
            if not worker.hindered:
                worker.reported_at_s = self._clock.now
                self._beat()
                rss_bytes = worker.memory.rss_bytes
                self._review_gate(worker, rss_bytes)
                if kept:
                    row = (rss_bytes, worker.cpu, worker.busy, worker.gate_open)
                    self.samples.of_worker(self._clock.now, worker.name, *row)
        if kept:
            counts = (self._fleet.active, *self._queues.depths(), self._store.retrying, self._producer.holding)
            self.samples.of_queues(self._clock.now, *counts)
        if not self._looks:
            self._look()

    def _look(self) -> None:
        """The producer hears how the fleet is."""
        self._producer.review(self._closed_workers())

    def _review_gate(self, worker: Worker, rss_bytes: float) -> None:
        """The gate by the memory that was reported; a worker whose gate is closed gives back what it can."""
        rules, now_s = self._rules, self._clock.now
        was_open = worker.gate_open
        worker.gate_open = health.gate_open(was_open, health.score(rss_bytes, rules), rules)
        if worker.gate_open is not was_open:
            worker.review()
        if not worker.gate_open:
            worker.memory.release()
        if was_open and not worker.gate_open:
            worker.closed_since_s = now_s
            self._store.note("gate_closed", worker.name)
        elif worker.gate_open and not was_open:
            self._store.note("gate_opened", worker.name)
            self._fleet.offer_slots(worker)
        elif not was_open and not worker.leaving and health.must_recycle(now_s - worker.closed_since_s, rules):
            worker.leaving = worker.recycled = True
            worker.review()
            self._store.note("worker_recycled", worker.name)
            if not worker.busy:
                self._fleet.depart(worker)

    def _closed_workers(self) -> int:
        now_s, members = self._clock.now, self._fleet.workers[: self._fleet.places]
        return sum(
            health.counts_as_closed(worker.gate_open, now_s - worker.reported_at_s, self._rules) for worker in members
        )
