"""The faults of a scenario, struck in the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from lab.faults import (
    LAST_SECOND_S,
    Change,
    CutWorker,
    DelayCompletion,
    DuplicateCompletion,
    DuplicateSubmission,
    Fault,
    KillWorker,
    PauseWorker,
    PoisonTask,
    PostgresRestart,
    RedisFlush,
    RedisRestart,
    Redrive,
    RoleOutage,
    SlowService,
    SlowWorker,
    StopWorker,
    kills_after_s,
    told,
)
from lab.rules import shutdown
from lab.rules.tasks import State
from lab.workload import Plan
from simulation.automaton import REDRIVEN
from simulation.clock import Call, Clock
from simulation.fleet import Fleet
from simulation.leases import Leases
from simulation.post import Post
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.slots import Slot, Worker
from simulation.store import Store


class Faults:
    """Strikes each fault at its moment. What only stretches or spoils work is in the plan already."""

    def __init__(
        self, clock: Clock, plan: Plan, store: Store, queues: Queues, fleet: Fleet, leases: Leases, producer: Producer
    ) -> None:
        self._clock, self._store, self._queues = clock, store, queues
        self._fleet, self._leases, self._producer = fleet, leases, producer
        self._plan, self._rules = plan, plan.scenario.rules
        self._redis_up_at_s = 0.0
        self.before_strike: Callable[[], None] = lambda: None
        """Told of every fault: whoever takes a short way that no fault can cross leaves it."""
        self.turn: Callable[[Change], None] = lambda change: None
        """Told of every knob that is turned (`simulation.knobs`)."""
        faults = plan.scenario.faults
        for fault in faults:
            clock.call_after(fault.at_s, self.strike, fault)
        self._faults = faults
        producer.redrives_to_come.update(fault for fault in faults if isinstance(fault, Redrive))
        if any(isinstance(fault, DelayCompletion | DuplicateCompletion) for fault in faults):
            fleet.post = Post(clock, store, fleet, leases, faults)
        if any(isinstance(fault, PoisonTask) for fault in faults):
            fleet.tell_of_claims(self._swallow)

    def strike(self, fault: Fault) -> None:
        """Strike now, whatever the fault's own moment. A process that a user has added may do so too, with what hits
        workers and servers; faults that hold for a window must stand in the scenario.
        """
        self.before_strike()
        self._store.note("fault", detail=told(fault))
        match fault:
            case KillWorker() | StopWorker() | PauseWorker() | CutWorker():
                worker = self._fleet.at(fault.worker)
                if worker is not None:  # else it has not been started yet, after somebody asked for one more
                    self._strike_worker(worker, fault)
            case RedisFlush():
                self._lose_queues(0.0, "nothing")
            case RedisRestart():
                self._lose_queues(fault.down_s, fault.keeps)
            case PostgresRestart():
                self._store.up_at_s = max(self._store.up_at_s, self._clock.now + fault.down_s)
            case DuplicateSubmission():
                self._producer.repeat(fault.tasks)
            case Redrive():
                self._redrive(fault)
            case Change():
                self.turn(fault)
            case SlowService() | SlowWorker() | RoleOutage():
                pass  # in the plan: work that starts in the window is slow, or fails
            case DelayCompletion() | DuplicateCompletion() | PoisonTask():
                pass  # in the post, and in `_swallow`: they meet reports and attempts as these come

    # -- workers --

    def _strike_worker(self, worker: Worker, fault: KillWorker | StopWorker | PauseWorker | CutWorker) -> None:
        match fault:
            case KillWorker():
                self._kill(worker)
            case StopWorker():
                self.stop(worker)
            case PauseWorker():
                self._pause(worker, fault.for_s)
            case CutWorker():
                self._cut(worker, fault)

    def _kill(self, worker: Worker) -> None:
        if worker.alive:
            for slot in self._fleet.end(worker, "killed"):
                self._leases.abandon(slot, self._clock.now)
            self._fleet.replace(worker, self._rules.health.restart_after_s)

    def _pause(self, worker: Worker, for_s: float) -> None:
        if worker.alive:
            worker.paused = True
            worker.loop.crowd.freeze(True)
            self._fall_silent(worker)
            self._clock.later(for_s, self._wake, worker)

    def _wake(self, worker: Worker) -> None:
        if worker.alive and worker.paused:
            worker.paused = False
            worker.loop.crowd.freeze(False)
            self._be_heard_of(worker)

    def _cut(self, worker: Worker, fault: CutWorker) -> None:
        """It works on, but takes nothing; without the store it can neither renew nor report nor settle."""
        if worker.alive:
            worker.cut_from[fault.server] += 1
            self._fall_silent(worker)
            self._clock.later(fault.for_s, self._heal, worker, fault.server)

    def _heal(self, worker: Worker, server: str) -> None:
        if worker.alive:
            worker.cut_from[server] -= 1
            self._be_heard_of(worker)

    def _fall_silent(self, worker: Worker) -> None:
        was_hindered = worker.hindered
        worker.review()
        if worker.hindered and not was_hindered:
            for slot in worker.held():
                self._leases.abandon(slot, self._clock.now)

    def _be_heard_of(self, worker: Worker) -> None:
        was_hindered = worker.hindered
        worker.review()
        if worker.hindered:
            return
        if was_hindered:
            self._leases.heard_of(worker)
        self._fleet.resume(worker)

    def stop(self, worker: Worker) -> None:
        """SIGTERM: claim nothing more; finish within the grace or hand back; the published way just drops it all."""
        if not worker.alive or worker.leaving:
            return
        worker.leaving = True
        worker.review()
        if not shutdown.hands_back(self._rules.shutdown):
            self._kill(worker)
        elif not worker.busy:
            self._fleet.depart(worker)
        else:
            self._clock.later(shutdown.grace_s(self._rules.shutdown), self._grace_over, worker)

    def _grace_over(self, worker: Worker) -> None:
        if not worker.alive:
            return
        for slot in self._fleet.end(worker, "grace over"):
            if not worker.cut_from["postgres"]:  # else it cannot say so: its leases lapse
                self._leases.hand_back(slot)
        self._fleet.replace(worker, self._rules.health.restart_after_s)

    def _swallow(self, slot: Slot) -> None:
        """An attempt has begun: if its task is poison, its worker is going to die of it."""
        after_s = kills_after_s(self._faults, slot.task, self._clock.now)
        if after_s < math.inf:
            self._clock.put_first(Call(self._die_of, (slot.task, slot.token, slot)), self._clock.now + after_s)

    def _die_of(self, task: int, token: int, slot: Slot) -> None:
        if slot.worker.paused:
            slot.worker.deferred.append((partial(self._die_of, task, token), slot))
        elif slot.task == task and slot.token == token and not slot.sleeps_until_s:
            self._kill(slot.worker)

    # -- servers --

    def _lose_queues(self, down_s: float, keeps: str) -> None:
        """Redis goes, for a while or for no time, and forgets; the first sweep after its return rebuilds it."""
        kept_until_s = self._clock.now - LAST_SECOND_S
        since_s = self._store.since_s
        lost = {
            "nothing": lambda task: True,
            "all": lambda task: False,
            "all_but_last_second": lambda task: since_s[task] > kept_until_s,
        }[keeps]
        self._queues.lose(lost)
        self._redis_up_at_s = max(self._redis_up_at_s, self._clock.now + down_s)
        self._clock.at(self._redis_up_at_s, self._redis_back)
        self._leases.rebuild_after(self._redis_up_at_s)

    def _redis_back(self) -> None:
        if self._clock.now >= self._redis_up_at_s:  # else it went down again meanwhile
            self._queues.come_back()
            self._fleet.dispatch()

    # -- an operator --

    def _redrive(self, fault: Redrive) -> None:
        """The dead go back to their queues, all of them before the first is served."""
        if self._store.down:
            self._clock.at(self._store.up_at_s, self._redrive, fault)
            return
        dead = [task for task in range(self._plan.count) if self._is_dead(task, fault.role)]
        self._fleet.planned.extend([None] * self._rules.attempts_max)  # each of them has so many attempts more
        for task in dead:
            self._store.wait(task, REDRIVEN)
        self._fleet.enqueue_all(dead)
        self._producer.redrives_to_come.discard(fault)
        self._producer.look_for_the_end()

    def _is_dead(self, task: int, role: str | None) -> bool:
        """Whether a task is a dead letter, of that role if one is asked for."""
        plan, dead = self._plan, self._store.standings[task].state is State.PERMANENT_FAILURE
        return dead and (role is None or plan.role_names[plan.role[task]] == role)
