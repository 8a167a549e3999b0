"""What looks after the modelled mesh: health reports and gates, lapsed leases, lost queues, and the faults of the
scenario.
"""

from __future__ import annotations

from lab.faults import (
    Fault,
    KillWorker,
    PauseWorker,
    PostgresRestart,
    RedisFlush,
    RedisRestart,
    SlowService,
    StopWorker,
)
from lab.record import SampleRow
from lab.rules import health, lease, shutdown
from lab.rules.tasks import Accepted, Event, State
from lab.workload import Plan
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.store import Store
from simulation.worker import Attempt, Worker


class Caretaker:
    """Reports every `report_s`; everything else only when there is something to look after."""

    def __init__(
        self, clock: Clock, plan: Plan, store: Store, queues: Queues, fleet: Fleet, producer: Producer
    ) -> None:
        self.samples: list[SampleRow] = []
        self._clock, self._plan, self._store, self._queues = clock, plan, store, queues
        self._fleet, self._producer = fleet, producer
        self._rules = plan.scenario.rules
        for fault in plan.scenario.faults:
            clock.call_after(fault.at_s, self._strike, fault)
        clock.every(self._rules.health.report_s, self._report)

    # -- health --

    def _report(self) -> None:
        """Every worker that can report does; gates and admission follow."""
        for worker in self._fleet.workers:
            if worker.alive and not worker.paused:
                worker.reported_at_s = self._clock.now
                self._review_gate(worker)
                self._sample(worker)
        self._sample_queues()
        self._producer.review(self._closed_workers())

    def _review_gate(self, worker: Worker) -> None:
        rules, now_s = self._rules.health, self._clock.now
        was_open = worker.gate_open
        worker.gate_open = health.gate_open(was_open, health.score(worker.rss_bytes, rules), rules)
        if was_open and not worker.gate_open:
            worker.closed_since_s = now_s
            self._store.note("gate_closed", worker.name)
        elif worker.gate_open and not was_open:
            self._store.note("gate_opened", worker.name)
            self._fleet.offer_slots(worker)
        elif not was_open and not worker.leaving and health.must_recycle(now_s - worker.closed_since_s, rules):
            worker.leaving = True
            self._store.note("worker_recycled", worker.name)
            if not worker.attempts:
                self._fleet.depart(worker)

    def _closed_workers(self) -> int:
        now_s = self._clock.now
        return sum(
            health.counts_as_closed(worker.gate_open, now_s - worker.reported_at_s, self._rules.health)
            for worker in self._fleet.workers
        )

    def _sample(self, worker: Worker) -> None:
        row = (worker.rss_bytes, worker.cpu, len(worker.attempts), worker.gate_open)
        self.samples.append(SampleRow(self._clock.now, worker.name, *row, 0, 0, 0, 0, 0))

    def _sample_queues(self) -> None:
        counts = (*self._queues.depths(), self._store.retrying, self._producer.holding)
        self.samples.append(SampleRow(self._clock.now, "", 0.0, 0.0, self._fleet.active, True, *counts))

    # -- leases --

    def _abandoned(self, attempt: Attempt, silent_from_s: float) -> None:
        """Nobody renews this attempt's lease any more: see to it at the first sweep after it lapses."""
        if self._rules.lease.reclaims:
            attempt.lease_until_s = attempt.worker.lease_until_s(attempt, silent_from_s, self._rules.lease)
            sweep_s = self._clock.next_sweep(attempt.lease_until_s, self._rules.lease)
            self._clock.at(sweep_s, self._reclaim, attempt)

    def _reclaim(self, attempt: Attempt) -> None:
        task = self._store.tasks[attempt.task]
        if task is None or not lease.has_lapsed(attempt.lease_until_s, self._clock.now):
            return
        if attempt.token == 0 and task.state is State.PENDING:
            self._put_back(attempt.task)
        elif task.token == attempt.token and task.state is State.RUNNING:
            verdict = self._store.apply(attempt.task, Event.LEASE_LAPSED)
            if isinstance(verdict, Accepted) and verdict.task.state is State.PENDING:
                self._fleet.enqueue(attempt.task)
        elif task.token == attempt.token and task.state is State.RETRY_WAIT:
            self._fleet.due(attempt.task, attempt.token)

    def _put_back(self, task: int) -> None:
        """A pending task that no queue holds: into the queue again, as it was there first at the front."""
        self._store.note("requeued", task=task)
        self._fleet.enqueue(task, front=True)

    # -- faults --

    def _strike(self, fault: Fault) -> None:
        detail = f"worker {fault.worker}" if isinstance(fault, KillWorker | StopWorker | PauseWorker) else ""
        self._store.note("fault", detail=f"{fault.kind} {detail}".strip())
        match fault:
            case KillWorker():
                self._kill(self._fleet.workers[fault.worker])
            case StopWorker():
                self._stop(self._fleet.workers[fault.worker])
            case PauseWorker():
                self._pause(self._fleet.workers[fault.worker], fault.for_s)
            case RedisFlush():
                self._lose_queues(0.0)
            case RedisRestart():
                self._lose_queues(fault.down_s)
            case PostgresRestart():
                self._store.up_at_s = max(self._store.up_at_s, self._clock.now + fault.down_s)
            case SlowService():
                pass  # the plan stretches the service of work that starts in the window

    def _kill(self, worker: Worker) -> None:
        if worker.alive:
            for attempt in self._fleet.end(worker, "killed"):
                self._abandoned(attempt, self._clock.now)
            self._fleet.replace(worker, self._rules.health.restart_after_s)

    def _pause(self, worker: Worker, for_s: float) -> None:
        if worker.alive:
            worker.paused = True
            for attempt in sorted(worker.attempts, key=lambda attempt: attempt.task):
                self._abandoned(attempt, self._clock.now)
            self._clock.later(for_s, self._resume, worker)

    def _resume(self, worker: Worker) -> None:
        if worker.alive and worker.paused:
            self._fleet.resume(worker)

    def _stop(self, worker: Worker) -> None:
        """SIGTERM: claim nothing more; finish within the grace or hand back; the published way just drops it all."""
        if not worker.alive or worker.leaving:
            return
        worker.leaving = True
        if not shutdown.hands_back(self._rules.shutdown):
            self._kill(worker)
        elif not worker.attempts:
            self._fleet.depart(worker)
        else:
            self._clock.later(shutdown.grace_s(self._rules.shutdown), self._grace_over, worker)

    def _grace_over(self, worker: Worker) -> None:
        if not worker.alive:
            return
        for attempt in self._fleet.end(worker, "grace over"):
            self._hand_back(attempt)
        self._fleet.replace(worker, self._rules.health.restart_after_s)

    def _hand_back(self, attempt: Attempt) -> None:
        """Work goes back to its queue, uncounted; a backoff that was slept through here ends by the schedule."""
        if attempt.sleeps_until_s:
            self._clock.at(attempt.sleeps_until_s, self._fleet.due, attempt.task, attempt.token)
        elif attempt.token == 0:
            self._put_back(attempt.task)
        else:
            verdict = self._store.apply(attempt.task, Event.HANDED_BACK, attempt.worker.name, token=attempt.token)
            if isinstance(verdict, Accepted):
                self._fleet.enqueue(attempt.task)

    def _lose_queues(self, down_s: float) -> None:
        """Redis forgets, and may be away for a while; the first sweep after its return rebuilds it from the store."""
        self._queues.forget()
        self._queues.up = down_s <= 0
        back_s = self._clock.now + down_s
        self._clock.at(back_s, self._redis_back)
        if self._rules.lease.reclaims:
            self._clock.at(self._clock.next_sweep(back_s + 1e-9, self._rules.lease), self._rebuild)

    def _redis_back(self) -> None:
        self._queues.up = True
        self._fleet.dispatch()

    def _rebuild(self) -> None:
        if not self._queues.up:
            return
        # Only what was taken and not yet claimed is in good hands; a claim that was taken back is somebody's past.
        attempts = (attempt for worker in self._fleet.workers for attempt in worker.attempts)
        taken = {attempt.task for attempt in attempts if attempt.token == 0}
        lost = [task for task in self._queues.missing(self._store.waiting()) if task not in taken]
        for task in reversed(lost):
            self._store.note("requeued", task=task)
            self._queues.push(task, front=True)
        self._fleet.dispatch()
