"""The appendix of the textbook: admission, the other orders, deadlines, budgets, recycling, SIGTERM, Redis, poison.

Each as far as the textbook leaves room for it: more processes, and more to do in some of its steps. What neither covers
is refused (`NOT_COVERED`), but for samples and events (only the audit log is kept) and redrive.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import count
from typing import Any

from lab import faults
from lab.rules import admission, deadline, health, priority, retry, shutdown
from lab.rules.tasks import Accepted, Event, Refused, State, Task
from lab.workload import Plan
from tests.simulation.textbook import Slots, Steps, Textbook, Try, Worker

NOT_COVERED = (faults.CutWorker, faults.DelayCompletion)


class ForgetfulSlots(Slots):
    """Slots whose line is in Redis: served in any order of the rulebook, and lost while Redis is away."""

    outages = 0

    def __init__(self, mesh: Textbook) -> None:
        super().__init__(mesh)
        self.lost, self._taken = list[Try](), count()

    def _trigger_get(self, put_event: Any) -> None:
        if self.outages:  # lost: what stands in line and what lines up meanwhile; the tasks do not know, and wait on
            self.lost += self.get_queue
            self.get_queue.clear()
        super()._trigger_get(put_event)

    def rebuild(self) -> None:
        """What is lost goes to the front of the line, those that have waited longest first."""
        since_s, tasks = self.mesh.since_s, self.mesh.tasks
        lost, self.lost = self.lost, []
        for one in sorted(lost, key=lambda one: (since_s[one.task], one.task), reverse=True):
            if tasks[one.task].state is State.PENDING:
                one.key = (one.key[0], next(self.fronts))
                self.get_queue.append(one)
        self._trigger_get(None)

    def _next(self) -> Any:
        rules, since_s = self.mesh.rules.priority, self.mesh.since_s
        heads = {one.key[0]: one for one in reversed(self.get_queue)}
        waits_s = [self._env.now - since_s[heads[c].task] if c in heads else None for c in priority.STRICT_ORDER]
        order = priority.service_order(rules, waits_s, next(self._taken))
        return self.get_queue.pop(self.get_queue.index(next(heads[c] for c in order if c in heads)))


class FullTextbook(Textbook):
    """The mesh with all of this."""

    slots_kind = ForgetfulSlots
    slots: ForgetfulSlots

    def __init__(self, plan: Plan) -> None:
        if not_covered := [fault.kind for fault in plan.scenario.faults if isinstance(fault, NOT_COVERED)]:
            raise NotImplementedError(f"the twin knows no {', '.join(not_covered)}: draw only what it covers")
        self.held, self.pending, self.closed_workers = deque[int](), 0, 0
        self.waits_since_s: dict[int, float] = {}
        self.retry_tokens: dict[Worker, float] = {}
        self.closed_since_s: dict[Worker, float] = {}
        self.reported_at_s: dict[Worker, float] = {}
        self.recycled: set[Worker] = set()
        super().__init__(plan)
        self.env.process(self._reviews())
        self.env.process(self._rebuilds())

    # -- admission --

    def _bring_in(self, batch: list[int]) -> None:
        """Only those that are admitted. The others are held, or refused."""
        super()._bring_in([task for task in batch if self._admits(task)])

    def _admits(self, task: int) -> bool:
        answer = admission.answer(self._is_open(), len(self.held), self.rules.admission)
        if answer is admission.Answer.HOLD:
            self.held.append(task)
        self.pending += answer is admission.Answer.ADMIT
        return answer is admission.Answer.ADMIT

    def _is_open(self) -> bool:
        counts = (self.closed_workers, len(self.workers), self.pending)
        return admission.is_open(*counts, self.rules.health, self.rules.admission)

    def _let_held_in(self) -> None:
        """In their order, for as long as admission is open."""
        batch = []
        while self.held and self._is_open():
            batch.append(self.held.popleft())
            self.pending += 1
        super()._bring_in(batch)

    def _move(self, task: int, event: Event, worker: str = "", **facts: Any) -> Accepted | Refused:
        """Those that wait are counted from their admission on; a claim makes room, and so does a client that leaves."""
        verdict = super()._move(task, event, worker, **facts)
        if isinstance(verdict, Accepted):
            waits = verdict.task.state is State.PENDING
            self.pending += (waits and event is not Event.SUBMITTED) - (event in (Event.CLAIMED, Event.EXPIRED))
            if waits:
                self.waits_since_s[task] = self.env.now
                if self.rules.deadline.cancels:
                    self.env.process(self._client(task, verdict.task.attempt + 1))
            elif event is Event.CLAIMED:
                after_s = faults.kills_after_s(self.plan.scenario.faults, task, self.env.now)
                if after_s < math.inf:
                    self.env.process(self._poison(task, verdict.task.token, after_s))
            if self.rules.admission.max_pending and event in (Event.CLAIMED, Event.EXPIRED):
                self._let_held_in()
        return verdict

    # -- clients and poison --

    def _client(self, task: int, attempt: int) -> Steps:
        """It leaves when this wait has become too long for it, and takes its task out of the queue."""
        since_s = self.env.now
        yield self.env.timeout(self.plan.patience_s(task, attempt))
        yield from self._ready()
        if self.tasks[task].state is State.PENDING and self.waits_since_s[task] == since_s:
            self._move(task, Event.EXPIRED)

    def _poison(self, task: int, token: int, after_s: float) -> Steps:
        """A task that kills its worker in the middle of its work."""
        yield self.env.timeout(after_s)
        for worker in [worker for worker in self.workers if worker.alive and worker.awake.triggered]:
            if any((one.task, one.token, one.sleeps_until_s) == (task, token, 0.0) for one in worker.tries):
                self.env.process(self._end(worker, self.rules.health.restart_after_s))

    # -- gates --

    def _reviews(self) -> Steps:
        """After the reports of each time: workers that stay closed are replaced, and admission is asked again."""
        rules = self.rules.health
        while True:
            now_s = self.env.now
            for worker in [worker for worker in self.workers if worker.alive and worker.awake.triggered]:
                self.reported_at_s[worker] = now_s
                if worker.gate_open:
                    self.closed_since_s.pop(worker, None)
                elif health.must_recycle(now_s - self.closed_since_s.setdefault(worker, now_s), rules):
                    worker.leaving = True
                    self.recycled.add(worker)
                    self._leave(worker)
            self.closed_workers = sum(map(self._counts_as_closed, self.workers))
            self._let_held_in()
            yield self.env.timeout(rules.report_s)

    def _counts_as_closed(self, worker: Worker) -> bool:
        silent_s = self.env.now - self.reported_at_s.get(worker, worker.started_at_s)
        return health.counts_as_closed(worker.gate_open, silent_s, self.rules.health)

    # -- budgets --

    def _settle(self, one: Try, claimed: Task, failed: bool, may_retry: bool) -> Accepted | Refused:
        """A verdict that is accepted counts for the retry budget of the worker's process."""
        rules, waited_s = self.rules.retry, one.claimed_at_s - self.waits_since_s[one.task]
        if self.rules.deadline.wastes:  # nobody has told the worker that the client had left when it began
            failed |= deadline.has_left(waited_s, self.plan.patience_s(one.task, claimed.attempt))
        have = self.retry_tokens.get(one.worker, retry.budget_start(rules))
        left = retry.after_success(have, rules)
        if failed:
            left, may_retry = retry.after_failure(have, claimed.spent, not may_retry, rules)
        verdict = super()._settle(one, claimed, failed, may_retry)
        if isinstance(verdict, Accepted):
            self.retry_tokens[one.worker] = left
        return verdict

    # -- leaving --

    def _free(self, one: Try) -> None:
        super()._free(one)
        self._leave(one.worker)

    def _leave(self, worker: Worker) -> None:
        """A process that was asked to leave goes when it has nothing left to do; a recycled one is replaced at once."""
        if worker.leaving and worker.alive and not worker.tries:
            worker.alive = False
            after_s = 0.0 if worker in self.recycled else self.rules.health.restart_after_s
            self.env.process(self._end(worker, after_s))

    def _stop(self, worker: Worker) -> Steps:
        """SIGTERM: it claims nothing more, and what is not done within the grace is handed back, or dropped."""
        if not worker.alive or worker.leaving:
            return
        worker.leaving = True
        self._leave(worker)
        yield self.env.timeout(shutdown.grace_s(self.rules.shutdown))
        if worker.alive:
            self.env.process(self._end(worker, self.rules.health.restart_after_s))
            for one in sorted(worker.tries, key=lambda one: one.task):
                if shutdown.hands_back(self.rules.shutdown):
                    self.env.process(self._hand_back(one))

    def _hand_back(self, one: Try) -> Steps:
        """At once; but a backoff that was slept through there ends when it would have."""
        if one.sleeps_until_s > self.env.now:
            yield self.env.timeout(one.sleeps_until_s - self.env.now)
        yield from self._ready()
        self._take_back(one, Event.HANDED_BACK, one.worker.name)

    # -- Redis --

    def _rebuilds(self) -> Steps:
        """The reaper puts back what Redis has lost, at every sweep at which both servers answer."""
        rules = self.rules.lease
        for number in count(1) if rules.reclaims else ():
            yield self.env.timeout(number * rules.sweep_s - self.env.now)
            if self.store.triggered and not self.slots.outages:
                self.slots.rebuild()

    def _strike(self, fault: faults.Fault) -> Steps:
        if isinstance(fault, faults.StopWorker):
            yield self.env.timeout(fault.at_s)
            yield from self._stop(self.workers[fault.worker])
        elif isinstance(fault, faults.RedisFlush | faults.RedisRestart):
            yield self.env.timeout(fault.at_s)
            self.slots.outages += 1
            self.slots._trigger_get(None)
            yield self.env.timeout(fault.down_s if isinstance(fault, faults.RedisRestart) else 0.0)
            self.slots.outages -= 1
        else:
            yield from super()._strike(fault)
