"""The readable twin: the mesh of `simulation/` once more, written the way a SimPy textbook writes a queue.

A process per task; a `simpy.Store` of free slots and, before it, the sorted line of `simpy.PriorityResource`;
heartbeats, sweeps and reports that really tick; `simpy.Interrupt` for what dies with its worker. Nobody runs it in
production: the fast engine is compared with it, transition by transition, and timed against it. So it imports nothing
of `simulation`, knows no short cut and wastes nothing on purpose. What the rulebook decides it asks the rulebook.
Admission, the other orders, budgets, recycling, SIGTERM and Redis are in `textbook_appendix.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from itertools import count, groupby
from typing import Any

import simpy
from simpy.resources.resource import SortedQueue
from simpy.resources.store import StoreGet

from lab import faults, profile
from lab.record import TransitionRow
from lab.rules import health, lease
from lab.rules.tasks import Accepted, Event, Refused, State, Task, transition
from lab.workload import Plan

Steps = Generator[simpy.Event, Any, None]


class Line(simpy.Store):
    """One operation of one process: a batch is all that has come while the one before was under way."""

    def __init__(self, mesh: Textbook, loop: simpy.Resource, *costs: profile.Cost) -> None:
        super().__init__(mesh.env)
        self.env, self.costs = mesh.env, [cost for cost in costs if cost.alone_s]
        if self.costs:
            self.env.process(self._work(loop, mesh.database))

    def through(self, done: simpy.Event) -> simpy.Event:
        """Let an event happen when it is through; its value is how many of the batch are still behind it."""
        self.put(done) if self.costs else done.succeed(0)
        return done

    def _work(self, loop: simpy.Resource, database: simpy.Resource) -> Steps:
        while True:
            batch = [] if self.items else [(yield self.get())]  # with it comes what else comes in that instant
            batch += self.items
            self.items.clear()
            for cost in self.costs:
                yield from self._occupy(loop, cost.loop_s + cost.loop_task_s * len(batch))
                yield from self._occupy(database, cost.database_s + cost.database_task_s * len(batch))
                yield self.env.timeout(cost.wait_s)
            for number, done in enumerate(batch, start=1):
                done.succeed(len(batch) - number)

    def _occupy(self, server: simpy.Resource, seconds: float) -> Steps:
        if seconds:
            with server.request() as turn:
                yield turn
                yield self.env.timeout(seconds)


class Worker:
    """One worker process. `awake` has happened unless it is frozen; `idle` counts free slots that are not on offer."""

    alive, gate_open, leaving = True, True, False
    idle, held_bytes, silent_since_s = 0, 0, 0.0

    def __init__(self, mesh: Textbook, index: int, life: int) -> None:
        self.index, self.life, self.name, self.started_at_s = index, life, f"w{index}.{life}", mesh.env.now
        self.awake, self.beat_at_s, self.tries = mesh.env.event().succeed(), mesh.env.now, list[Try]()
        loop = simpy.Resource(mesh.env)
        self.intake = Line(mesh, loop, mesh.profile.fetch, mesh.profile.claim)
        self.settling = Line(mesh, loop, mesh.profile.settle)

    @property
    def takes_tasks(self) -> bool:
        return self.alive and self.gate_open and self.awake.triggered and not self.leaving


class Try(StoreGet):
    """One try of a task: its place at the back of its class (or at the front), then in a worker's slot."""

    worker: Worker
    proc: simpy.Process
    claimed_at_s = sleeps_until_s = 0.0

    def __init__(self, slots: Slots, task: int, front: bool = False) -> None:
        self.task, self.key = task, (slots.mesh.plan.queue[task], next(slots.fronts) if front else 0)
        self.token = slots.mesh.tasks[task].token  # the last that it has seen
        super().__init__(slots)


class Slots(simpy.Store):
    """Free slots, the one that has been free longest first, and the line of tasks for them."""

    GetQueue = SortedQueue
    filling = False

    def __init__(self, mesh: Textbook) -> None:
        super().__init__(mesh.env)
        self.mesh, self.fronts = mesh, count(-1, -1)

    def _do_put(self, event: Any) -> None:
        super()._do_put(event)
        self._trigger_get(None)  # a slot goes to whoever is first in line at the moment at which it becomes free

    def _trigger_get(self, put_event: Any) -> None:
        """Serve the line, unless more of a batch are about to join it. A slot that cannot be used loses its place."""
        while self.items and self.get_queue and not self.filling:
            worker = self.items.pop(0)
            if worker.takes_tasks:
                one = self._next()
                one.worker, one.claimed_at_s = worker, self._env.now
                worker.tries.append(one)
                self.mesh.leases[one] = None
                worker.intake.through(one)
            else:
                worker.idle += 1

    def _next(self) -> Any:
        return self.get_queue.pop(0)


class Textbook:
    """The mesh. Make one for a plan, let its `env` run, and read its `log`."""

    slots_kind = Slots

    def __init__(self, plan: Plan) -> None:
        scenario = plan.scenario
        self.plan, self.rules, self.mesh = plan, scenario.rules, scenario.mesh
        self.profile, self.env = profile.load(scenario.profile, scenario.base), simpy.Environment()
        self.log, self.tasks, self.since_s = list[TransitionRow](), dict[int, Task](), [0.0] * plan.count
        self.leases, self.store = dict[Try, None](), self.env.event().succeed()
        self.database = simpy.Resource(self.env, self.profile.database_servers)
        self.submitting = Line(self, simpy.Resource(self.env), self.profile.submit)
        self.returning = Line(self, simpy.Resource(self.env), self.profile.due)
        self.slots = self.slots_kind(self)
        self.workers = [Worker(self, index, 1) for index in range(self.mesh.workers)]
        self.slots.items = self.workers * self.mesh.slots
        lives = [*map(self._heartbeats, self.workers), *map(self._strike, scenario.faults)]
        for process in (self._arrivals(), self._reports(), self._sweeps(), *lives):
            self.env.process(process)

    def _move(self, task: int, event: Event, worker: str = "", **facts: Any) -> Accepted | Refused:
        """Ask the rulebook what becomes of the task, and write it down."""
        before, now_s = self.tasks.get(task), self.env.now
        verdict = transition(before, event, self.rules.retry, **facts)
        if isinstance(verdict, Accepted):
            self.tasks[task], self.since_s[task], after = verdict.task, now_s, verdict.task
            about = (worker, after.attempt, after.token, event, verdict.delay_s)
            self.log.append(TransitionRow(task, before.state if before else "", after.state, round(now_s, 6), *about))
        return verdict

    def _ready(self, worker: Worker | None = None) -> Steps:
        """Wait until the worker is awake and the store answers."""
        while not (self.store.triggered and (worker is None or worker.awake.triggered)):
            yield self.store if worker is None or worker.awake.triggered else worker.awake

    def _arrivals(self) -> Steps:
        for moment_s, batch in groupby(range(self.plan.count), key=self.plan.arrival_s.tolist().__getitem__):
            if moment_s > self.env.now:
                yield self.env.timeout(moment_s - self.env.now)
            self._bring_in(list(batch))

    def _bring_in(self, batch: list[int]) -> None:
        for number, task in enumerate(batch, start=1):
            self.env.process(self._life(task, len(batch) - number))

    def _life(self, task: int, behind: int) -> Steps:
        """From its submission on. The whole of a batch stands in line before the first of it is served."""
        if self.submitting.costs:
            behind = yield self.submitting.through(self.env.event())
        yield from self._ready()
        self._move(task, Event.SUBMITTED)
        self.slots.filling = behind > 0
        yield from self._rounds(task)

    def _rounds(self, task: int, front: bool = False) -> Steps:
        """Wait in line, go through a slot, and round again after a backoff, until it is over or its worker is."""
        rules, one = self.rules.retry, Try(self.slots, task, front)
        with suppress(simpy.Interrupt):
            while True:
                yield one
                worker = one.worker
                yield from self._ready(worker)
                claim = self._move(task, Event.CLAIMED, worker.name)
                if isinstance(claim, Refused):
                    break
                one.token, one.claimed_at_s = claim.task.token, self.env.now
                worker.held_bytes += self.plan.memory_bytes[task]
                outcome = self.plan.outcome(task, claim.task.attempt, self.env.now, worker.index)
                yield self.env.timeout(outcome.work_s)
                yield worker.awake
                worker.held_bytes -= self.plan.memory_bytes[task]
                if worker.settling.costs:
                    yield worker.settling.through(self.env.event())
                yield from self._ready(worker)
                verdict = self._settle(one, claim.task, outcome.failed, not outcome.permanent)
                if isinstance(verdict, Refused) or verdict.task.state is not State.RETRY_WAIT:
                    break
                in_slot = rules.wait == "in_slot"
                one.sleeps_until_s = self.env.now + verdict.delay_s
                if not in_slot and (verdict.delay_s or self.returning.costs):
                    self._free(one)
                if verdict.delay_s:
                    yield self.env.timeout(verdict.delay_s)
                if not in_slot and self.returning.costs:
                    yield self.returning.through(self.env.event())
                yield from self._ready(worker if in_slot else None)
                if self.tasks[task].token != one.token or isinstance(self._move(task, Event.DUE), Refused):
                    break
                done, one = one, Try(self.slots, task, rules.position == "front")
                self._free(done)
            self._free(one)

    def _settle(self, one: Try, claimed: Task, failed: bool, may_retry: bool) -> Accepted | Refused:
        """The verdict of an attempt, guarded by the token."""
        event = Event.FAILED if failed else Event.SUCCEEDED
        roll = self.plan.jitter_roll(one.task, claimed.attempt) if failed else 0.0
        return self._move(one.task, event, one.worker.name, token=one.token, roll=roll, may_retry=may_retry)

    def _free(self, one: Try) -> None:
        """Its slot is free, if it was not already."""
        if one in one.worker.tries:
            one.worker.tries.remove(one)
            one.worker.idle += 1
            self.leases.pop(one, None)
            self._offer(one.worker)

    def _offer(self, worker: Worker) -> None:
        while worker.takes_tasks and worker.idle:
            worker.idle -= 1
            self.slots.put(worker)

    def _heartbeats(self, worker: Worker) -> Steps:
        while worker.alive:
            worker.beat_at_s = self.env.now if worker.awake.triggered else worker.beat_at_s
            yield self.env.timeout(lease.renew_every_s(self.rules.lease))

    def _reports(self) -> Steps:
        """Gates follow the memory of the workers that can report."""
        rules = self.rules.health
        while True:
            for worker in [worker for worker in self.workers if worker.alive and worker.awake.triggered]:
                score = health.score(self.profile.memory.fresh_bytes + worker.held_bytes, rules)
                worker.gate_open = health.gate_open(worker.gate_open, score, rules)
                self._offer(worker)
            yield self.env.timeout(rules.report_s)

    def _end(self, worker: Worker, restart_after_s: float | None) -> Steps:
        """The process is gone, with all that went on there. A fresh one takes its place."""
        worker.alive = False
        worker.silent_since_s = self.env.now if worker.awake.triggered else worker.silent_since_s
        for one in worker.tries:
            one.proc.interrupt()
        if restart_after_s is not None:
            yield self.env.timeout(restart_after_s + self.profile.worker_start_s)
            fresh = self.workers[worker.index] = Worker(self, worker.index, worker.life + 1)
            fresh.idle = self.mesh.slots
            self._offer(fresh)
            yield from self._heartbeats(fresh)

    def _sweeps(self) -> Steps:
        """Claims that nobody has renewed in time are taken back, those that have been silent longest first."""
        rules = self.rules.lease
        for number in count(1) if rules.reclaims else ():
            yield self.env.timeout(number * rules.sweep_s - self.env.now)
            for one in sorted(self.leases, key=lambda one: (one.worker.silent_since_s, one.task)):
                until_s = max(one.claimed_at_s, one.worker.beat_at_s) + rules.length_s
                if self.store.triggered and lease.has_lapsed(max(until_s, one.sleeps_until_s), self.env.now):
                    self._take_back(one, Event.LEASE_LAPSED)

    def _take_back(self, one: Try, event: Event, worker: str = "") -> None:
        """Nobody is at it any more: into the line again, unless another claim has come since."""
        del self.leases[one]
        before = self.tasks[one.task]
        slept, unclaimed = before.state is State.RETRY_WAIT, before.state is State.PENDING
        if before.token == one.token:
            self._move(one.task, Event.DUE if slept else event, "" if slept else worker, token=one.token)
            if self.tasks[one.task].state is State.PENDING:
                front = unclaimed or (slept and self.rules.retry.position == "front")
                self.env.process(self._rounds(one.task, front))

    def _strike(self, fault: faults.Fault) -> Steps:
        yield self.env.timeout(fault.at_s)
        worker = self.workers[fault.worker if isinstance(fault, faults.WorkerFault) else 0]
        if isinstance(fault, faults.PostgresRestart):
            self.store = self.env.event()
            yield self.env.timeout(fault.down_s)
            self.store.succeed()
        elif isinstance(fault, faults.KillWorker) and worker.alive:
            yield from self._end(worker, self.rules.health.restart_after_s)
        elif isinstance(fault, faults.PauseWorker):
            worker.awake, worker.silent_since_s = self.env.event(), self.env.now
            yield self.env.timeout(fault.for_s)
            worker.beat_at_s = self.env.now if worker.alive else worker.beat_at_s
            yield worker.awake.succeed()  # whatever fell due meanwhile happens now
            self._offer(worker)
