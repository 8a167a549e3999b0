"""The workers at work: tasks from the queues into free slots, through their service, to the rulebook's verdict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from lab.profile import Profile
from lab.rules.tasks import Accepted, Event, State
from lab.workload import Plan
from simulation.clock import Clock
from simulation.queues import Queues
from simulation.store import Store
from simulation.worker import Attempt, Worker


class Fleet:
    """Hands ready tasks to free slots. The slot that has been free longest is served first."""

    def __init__(self, clock: Clock, plan: Plan, profile: Profile, store: Store, queues: Queues) -> None:
        self.workers: list[Worker] = []
        self.active = 0
        self.on_claimed: Callable[[], None] = lambda: None
        self._clock, self._plan, self._profile = clock, plan, profile
        self._store, self._queues = store, queues
        self._rules, self._mesh = plan.scenario.rules, plan.scenario.mesh
        self._idle: deque[Worker] = deque()
        for index in range(self._mesh.workers):
            self.workers.append(self._new_worker(index, 1))
        for _ in range(self._mesh.slots):
            for worker in self.workers:
                self._offer_slot(worker)

    # -- workers come and go --

    def _new_worker(self, index: int, life: int) -> Worker:
        now_s = self._clock.now
        worker = Worker(index, life, self._mesh.slots, now_s, self._profile.rss_base_bytes, reported_at_s=now_s)
        self._store.note("worker_started", worker.name)
        return worker

    def replace(self, worker: Worker, after_s: float | None) -> None:
        """Put a fresh process where a dead one was, `after_s` and its start-up time later; None: never."""
        if after_s is not None:
            self._clock.later(after_s + self._profile.worker_start_s, self._start, worker)

    def _start(self, gone: Worker) -> None:
        self.workers[gone.index] = fresh = self._new_worker(gone.index, gone.life + 1)
        self.offer_slots(fresh)

    def end(self, worker: Worker, how: str) -> list[Attempt]:
        """A process is gone. Returns what it was doing, which nobody has been told."""
        orphans = sorted(worker.attempts, key=lambda attempt: attempt.task)
        worker.alive = False
        self.active -= len(worker.attempts)
        worker.attempts.clear()
        worker.held_bytes, worker.cpu = 0, 0.0
        self._store.note("worker_left", worker.name, detail=how)
        return orphans

    def offer_slots(self, worker: Worker) -> None:
        """Offer all free slots of a worker that may take tasks (again)."""
        for _ in range(worker.slots - len(worker.attempts) - worker.idle_tokens):
            self._offer_slot(worker)
        self.dispatch()

    def _offer_slot(self, worker: Worker) -> None:
        self._idle.append(worker)
        worker.idle_tokens += 1

    # -- a task's way through a slot --

    def enqueue(self, task: int, *, front: bool = False) -> None:
        """Put a pending task into its queue, and serve it if a slot is free."""
        self._queues.push(task, front=front)
        self.dispatch()

    def enqueue_all(self, tasks: Sequence[int]) -> None:
        """The same for tasks that come in one batch: all of them are there before the first is served."""
        for task in tasks:
            self._queues.push(task)
        self.dispatch()

    def dispatch(self) -> None:
        """Give waiting tasks to free slots."""
        while self._idle and len(self._queues):
            worker = self._idle.popleft()
            worker.idle_tokens -= 1
            if worker.takes_tasks:
                attempt = Attempt(self._queues.pop(), worker)
                worker.attempts.add(attempt)
                self.active += 1
                self._clock.later(self._profile.claim_s, self._claim, attempt)

    def _claim(self, attempt: Attempt) -> None:
        """PENDING → RUNNING in the store, if the task is still to be had; then the work begins."""
        if self._must_wait(self._claim, attempt):
            return
        verdict = self._store.apply(attempt.task, Event.CLAIMED, attempt.worker.name)
        if not isinstance(verdict, Accepted):
            self._free(attempt)
            return
        now_s, worker, task = self._clock.now, attempt.worker, attempt.task
        attempt.number, attempt.token, attempt.claimed_at_s = verdict.task.attempt, verdict.task.token, now_s
        worker.held_bytes += self._plan.memory_bytes[task]
        worker.cpu += self._plan.cpu_share(task)
        self._clock.call_after(self._plan.stretched_service_s(task, attempt.number, now_s), self._work_done, attempt)
        self.on_claimed()

    def _work_done(self, attempt: Attempt) -> None:
        worker = attempt.worker
        if self._must_wait(self._work_done, attempt, needs_store=False):
            return
        worker.held_bytes -= self._plan.memory_bytes[attempt.task]
        worker.cpu -= self._plan.cpu_share(attempt.task)
        self._clock.later(self._profile.settle_s, self._settle, attempt)

    def _settle(self, attempt: Attempt) -> None:
        """The verdict, guarded by the token; a retry waits in its slot or in the schedule, as the rule says."""
        if self._must_wait(self._settle, attempt):
            return
        task, number = attempt.task, attempt.number
        event = Event.FAILED if self._plan.fails(task, number) else Event.SUCCEEDED
        roll = self._plan.jitter_roll(task, number) if event is Event.FAILED else 0.0
        verdict = self._store.apply(task, event, attempt.worker.name, token=attempt.token, roll=roll)
        if isinstance(verdict, Accepted) and verdict.task.state is State.RETRY_WAIT:
            if self._rules.retry.wait == "in_slot":
                attempt.sleeps_until_s = self._clock.now + verdict.delay_s
                self._clock.later(verdict.delay_s, self._slept, attempt)
                return
            self._clock.later(verdict.delay_s + self._profile.due_s, self.due, task, attempt.token)
        self._free(attempt)

    def _slept(self, attempt: Attempt) -> None:
        """The end of a backoff that was slept through in the slot."""
        if not self._must_wait(self._slept, attempt):
            self.due(attempt.task, attempt.token)
            self._free(attempt)

    def _must_wait(self, step: Callable[[Attempt], None], attempt: Attempt, *, needs_store: bool = True) -> bool:
        """True if a step of an attempt cannot happen now: its process is dead or frozen, or the store is down."""
        worker = attempt.worker
        if not worker.alive:
            return True
        if worker.paused:
            worker.deferred.append((step, attempt))
            return True
        if needs_store and self._store.up_at_s > self._clock.now:
            self._clock.at(self._store.up_at_s, step, attempt)
            return True
        return False

    def due(self, task: int, token: int) -> None:
        """RETRY_WAIT → PENDING, and into the queue where the rule says; unless another claim has come since."""
        facts = self._store.tasks[task]
        if self._store.up_at_s > self._clock.now:
            self._clock.at(self._store.up_at_s, self.due, task, token)
        elif facts and facts.token == token and isinstance(self._store.apply(task, Event.DUE), Accepted):
            self.enqueue(task, front=self._rules.retry.position == "front")

    def _free(self, attempt: Attempt) -> None:
        worker = attempt.worker
        worker.attempts.discard(attempt)
        self.active -= 1
        if worker.takes_tasks:
            self._offer_slot(worker)
            self.dispatch()
        elif worker.leaving and not worker.attempts and worker.alive:
            self.depart(worker)

    # -- freezing, thawing, leaving --

    def resume(self, worker: Worker) -> None:
        """A frozen process goes on: heartbeats too, and everything whose time came meanwhile happens now."""
        worker.paused = False
        for attempt in worker.attempts:
            attempt.lease_until_s = float("inf")
        late, worker.deferred = worker.deferred, []
        for step, attempt in late:
            step(attempt)
        if worker.takes_tasks:
            self.offer_slots(worker)

    def depart(self, worker: Worker) -> None:
        """A process that was asked to leave has nothing left to do."""
        self.end(worker, "left")
        self.replace(worker, 0.0 if not worker.gate_open else self._rules.health.restart_after_s)
