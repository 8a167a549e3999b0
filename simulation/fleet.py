"""The workers at work: tasks from the queues into free slots, through their work, to the rulebook's verdict.

The way of one task through here: `dispatch` → `_claim` → `work_done` → `_settle` → `free`. Read them in that order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from lab.limits import ATTEMPTS_MAX
from lab.profile import Profile
from lab.rules import retry
from lab.rules.tasks import State
from lab.workload import Column, Plan
from simulation.automaton import CLAIMED, DUE, FAILED, FAILED_FOR_GOOD, SUCCEEDED
from simulation.clock import Clock
from simulation.deadlines import Deadlines
from simulation.effort import Effort
from simulation.machinery import Line, Machinery
from simulation.memory import Memory
from simulation.post import Post
from simulation.queues import Queues
from simulation.slots import FREE, Claim, Slot, Worker
from simulation.store import Store


class Fleet:
    """Hands ready tasks to free slots. The slot that has been free longest is served first."""

    def __init__(
        self, clock: Clock, plan: Plan, profile: Profile, machinery: Machinery, store: Store, queues: Queues
    ) -> None:
        self.places = plan.scenario.mesh.workers
        """How many processes the mesh should have; `workers` also has those that have left or are on their way out."""
        self.slots = plan.scenario.mesh.slots
        """How many slots each of them should have."""
        self.workers: list[Worker] = []
        self.claim_lag_s = 0.0
        """The longest time from taking a task to its committed claim: how late the log may tell of an order."""
        self.push_lag_s = 0.0
        """The longest time from a PENDING row to the queue: for so long nobody can take what the log shows."""
        self.post: Post | None = None
        """What delays or doubles the reports of workers, if a fault does."""
        self.deadlines = Deadlines(clock, plan, store)
        self._clock, self._plan, self._profile, self._machinery = clock, plan, profile, machinery
        self._store, self._queues = store, queues
        self._rules = plan.scenario.rules
        self.when_done = (self.work_done,)
        self._in_slot = self._rules.retry.wait == "in_slot"
        roles = plan.scenario.workload.roles.values()
        self._always_retries = self._rules.retry.budget is None and not any(role.permanent_share for role in roles)
        self._front = self._rules.retry.position == "front"
        self._plain = plan.plain and not self.deadlines.in_vain
        self.planned: list[tuple[Column, bytes] | None] = [None] * (ATTEMPTS_MAX + 2)
        self._holds_memory = any(role.memory_mib for role in roles) or profile.memory.garbage_per_task_mib > 0
        self._burns = any(role.cpu_share for role in roles)
        self._effort = Effort(clock, plan, profile.memory)
        self._returning: Line[tuple[int, int]] | None = machinery.line(
            machinery.reaper, [profile.due], self._return_all, "due"
        )
        self._pushing: Line[tuple[int, bool]] | None = machinery.line(
            machinery.reaper, [profile.push], self._put_all, "push"
        )
        self._on_claimed: list[Callable[[Slot], None]] = []
        self._heeds_claims = self._holds_memory or self._burns
        self.idle: deque[Slot] = deque()
        self._dispatching = False
        self._unheard = False
        """Whether a batch is being written of which its worker does not know yet."""
        self._takers: dict[Line[Slot], list[Slot]] = {}
        """By intake: the slots that `dispatch` has just given a task."""
        self._coming = set[int]()
        """Places for which a process is being started."""
        for index in range(self.places):
            self.workers.append(self._new_worker(index, 1))
        for slots in zip(*(worker.slots for worker in self.workers), strict=True):
            self.idle.extend(slots)

    @property
    def active(self) -> int:
        """Slots that hold a task."""
        return sum(worker.busy for worker in self.workers)

    def tell_of_claims(self, function: Callable[[Slot], None]) -> None:
        """Have a function called after every claim."""
        self._on_claimed.append(function)
        self._heeds_claims = True

    # -- workers come and go --

    def _new_worker(self, index: int, life: int) -> Worker:
        worker = Worker(index, life, self.slots, self._clock.now, Memory(self._profile.memory))
        worker.number = self._store.enlist(worker.name)
        worker.retry_tokens = retry.budget_start(self._rules.retry)
        loop, profile = self._machinery.new_worker_loop(), self._profile
        worker.loop, name = loop, worker.name
        worker.timers = self._machinery.timers(name, worker.number)
        taking, claimed = [profile.fetch, profile.claim, profile.begin], {2: self._claim_all}
        worker.intake = self._machinery.line(loop, taking, self._begin_all, f"{name}/intake", claimed)
        steps, marks = [profile.settle, profile.reply], {1: self._settle_all}
        worker.settling = self._machinery.line(loop, steps, self._hear_all, f"{name}/settle", marks)
        self._store.note("worker_started", worker.name)
        return worker

    def replace(self, worker: Worker, after_s: float | None) -> None:
        """Put a fresh process where a dead one was, `after_s` and its start-up time later; None: never. Nor where the
        mesh should have none any more.
        """
        if after_s is not None and worker.index < self.places:
            self._begin_at(worker.index, after_s)

    def _begin_at(self, index: int, after_s: float) -> None:
        self._coming.add(index)
        self._clock.later(after_s + self._profile.worker_start_s, self._start, index)

    def _start(self, index: int) -> None:
        self._coming.discard(index)
        if index >= self.places:
            return
        if index == len(self.workers):
            fresh = self._new_worker(index, 1)
            self.workers.append(fresh)
        else:
            fresh = self.workers[index] = self._new_worker(index, self.workers[index].life + 1)
        self.offer_slots(fresh)

    def at(self, index: int) -> Worker | None:
        """The process at a place; None if there has not been one yet."""
        return self.workers[index] if index < len(self.workers) else None

    def turn_places(self, places: int) -> list[Worker]:
        """The mesh should have so many processes from now on: new ones start. Returns those that must leave."""
        added, self.places = range(self.places, places), places
        for index in added:
            worker = self.at(index)
            if (worker is None or not worker.alive) and index not in self._coming:
                self._begin_at(index, 0.0)
        return self.workers[places:]

    def turn_slots(self, slots: int) -> None:
        """Each process should have so many slots from now on. What runs goes on: a surplus goes as it becomes free."""
        self.slots = slots
        for worker in filter(lambda worker: worker.alive, self.workers):
            more = slots - (len(worker.slots) - worker.surplus)
            kept = min(worker.surplus, max(0, more))
            worker.surplus += max(0, -more) - kept
            worker.slots.extend(Slot(worker) for _ in range(more - kept))
            if worker.open:
                self.offer_slots(worker)

    def _retire(self, slot: Slot) -> bool:
        """A free slot goes for good, since its worker has too many. Returns True."""
        slot.worker.slots.remove(slot)
        slot.worker.surplus -= 1
        return True

    def end(self, worker: Worker, how: str) -> list[Slot]:
        """A process is gone. Returns the slots that held a task, of which nobody has been told."""
        orphans = list(worker.held())
        worker.alive = False
        worker.review()
        worker.busy, worker.cpu = 0, 0.0
        worker.loop.crowd.end()
        self._store.note("worker_left", worker.name, detail=how)
        return orphans

    def depart(self, worker: Worker) -> None:
        """A process that was asked to leave has nothing left to do."""
        self.end(worker, "left")
        self.replace(worker, 0.0 if worker.recycled else self._rules.health.restart_after_s)

    def offer_slots(self, worker: Worker) -> None:
        """Offer all free slots of a worker that may take tasks (again)."""
        in_line = {id(slot) for slot in self.idle}
        free = (slot for slot in worker.slots if slot.task == FREE and not slot.freed)
        self.idle.extend(slot for slot in free if id(slot) not in in_line)
        self.dispatch()

    # -- into the queue --

    def enqueue(self, task: int, *, front: bool = False) -> None:
        """Put a pending task into its queue, and serve it if a slot is free."""
        self._queues.push(task, front=front)
        if self.idle:
            self.dispatch()

    def enqueue_all(self, tasks: Iterable[int]) -> None:
        """The same for tasks that come in one batch: all of them are there before the first is served."""
        self._queues.push_all(tasks)
        if self.idle:
            self.dispatch()

    # -- a task's way through a slot --

    def dispatch(self) -> None:
        """Give waiting tasks to free slots."""
        if self._dispatching:
            return  # a claim that came to nothing has freed its slot: the loop below goes on with it
        self._dispatching = True
        idle, queues = self.idle, self._queues
        while idle and queues.ready:
            slot = idle.popleft()
            worker = slot.worker
            if worker.open and not (worker.surplus and self._retire(slot)):
                slot.task, slot.claimed_at_s, slot.sleeps_until_s = queues.pop(), self._clock.now, 0.0
                worker.busy += 1
                if worker.intake is None:
                    self._claim(slot)
                else:
                    self._takers.setdefault(worker.intake, []).append(slot)
        if self._takers:
            self._send_takers()
        self._dispatching = False

    def _send_takers(self) -> None:
        """Each worker that was given tasks claims them as one batch."""
        takers, self._takers = self._takers, {}
        for intake, slots in takers.items():
            intake.add(slots)

    def _claim_all(self, slots: list[Slot]) -> None:
        """A batch is RUNNING by the log; its worker has not heard of it yet."""
        self._unheard = True
        for slot in slots:
            self._claim(slot)
        self._unheard = False

    def _begin_all(self, slots: list[Slot]) -> None:
        """The worker hears of what it has claimed. What it did not win has left its slot free."""
        for slot in slots:
            if slot.claimed:
                slot.claimed = False
                self._begin(slot)
        if self.idle and self._queues.ready:
            self.dispatch()

    def _claim(self, slot: Slot) -> None:
        """PENDING → RUNNING in the store, if the task is still to be had; then the work begins."""
        worker, store = slot.worker, self._store
        if (worker.hindered or store.up_at_s) and self._must_wait(self._claim, slot):
            return
        now_s = self._clock.now
        standing = store.move(slot.task, CLAIMED, worker.number).to
        if standing is None:
            self._lose(slot)
            return
        if worker.intake is not None and now_s - slot.claimed_at_s > self.claim_lag_s:
            self.claim_lag_s = now_s - slot.claimed_at_s
        slot.standing, slot.token, slot.claimed_at_s, slot.sleeps_until_s = standing, standing.token, now_s, 0.0
        if self._unheard:
            slot.claimed = True
        else:
            self._begin(slot)

    def _lose(self, slot: Slot) -> None:
        """Somebody else has the task, or it was cancelled: nothing was committed that anybody would have to hear of."""
        unheard, self._unheard = self._unheard, False
        self.free(slot)
        self._unheard = unheard

    def _begin(self, slot: Slot) -> None:
        """The work begins."""
        worker = slot.worker
        if worker.hindered and self._must_wait(self._begin, slot, needs_store=False):
            return
        task, now_s, standing = slot.task, self._clock.now, slot.standing
        assert standing is not None, "only what has been claimed begins"
        if self._plain:
            work_s, fails = self.planned[standing.attempt] or self.look_up(standing.attempt)
            slot.failed = fails[task] == 1
            ends_s = now_s + work_s[task]
        else:
            ends_s = now_s + self._drawn_s(slot, standing.attempt)
        if worker.timers is not None and ends_s > now_s:
            ends_s = worker.timers.ring_at(now_s, ends_s - now_s)
        slot.callbacks = self.when_done
        if self._effort.is_needed:
            self._effort.begin(slot, ends_s - now_s, ends_s)
        else:
            self._clock.put(slot, ends_s)
        if self._heeds_claims:
            self._started(slot)

    def _drawn_s(self, slot: Slot, attempt: int) -> float:
        """What comes of this attempt where more than the plan's columns has a say. Returns how long (s) it works."""
        outcome = self._plan.outcome(slot.task, attempt, self._clock.now, slot.worker.index)
        slot.failed = outcome.failed or self.deadlines.missed(slot.task, attempt)
        slot.permanent = outcome.permanent
        return outcome.work_s

    def look_up(self, attempt: int) -> tuple[Column, bytes]:
        """By task: how long (s) attempt number `attempt` works and whether it fails (1 or 0)."""
        self.planned[attempt] = columns = self._plan.columns(attempt)
        return columns

    def _started(self, slot: Slot) -> None:
        """Memory and processor are taken; and whoever waits for a claim is told."""
        if self._holds_memory and not self._effort.fills_in_a_thread(slot.task):
            slot.worker.memory.hold(self._plan.memory_bytes[slot.task])
        if self._burns:
            slot.worker.cpu += self._plan.cpu_share(slot.task)
        for told in self._on_claimed:
            told(slot)

    def work_done(self, slot: Slot) -> None:
        worker = slot.worker
        if worker.hindered and self._must_wait(self.work_done, slot, needs_store=False):
            return
        if self._holds_memory:
            worker.memory.let_go(self._plan.memory_bytes[slot.task])
            self._effort.give_back(slot)
        if self._burns:
            worker.cpu -= self._plan.cpu_share(slot.task)
        if self.post is not None and self.post.holds_back(slot):
            self.free(slot)
        elif worker.settling is None:
            self._settle(slot)
        else:
            worker.settling.add((slot,))

    def _settle_all(self, slots: list[Slot]) -> None:
        """The verdicts of a batch. Their slots are free, but nobody has heard of it yet."""
        self._unheard = True
        store, worker = self._store, slots[0].worker
        undisturbed = self._always_retries and self.post is None and not (worker.hindered or store.up_at_s)
        for slot in slots:
            if undisturbed and not (slot.failed or worker.leaving) and store.standings[slot.task] is slot.standing:
                store.move(slot.task, SUCCEEDED, worker.number)  # the way of most, in short
                slot.task, slot.standing, slot.freed = FREE, None, True
                worker.busy -= 1
            else:
                self._settle(slot)
        self._unheard = False

    def _hear_all(self, slots: list[Slot]) -> None:
        """The worker hears of the commit: the slots are given new tasks, which are claimed as one batch again."""
        is_open, offer = slots[0].worker.open, self.idle.append
        for slot in slots:
            if slot.freed:
                slot.freed = False
                if is_open:
                    offer(slot)
        if self._queues.ready:
            self.dispatch()

    def _settle(self, slot: Slot) -> None:
        """The verdict; a retry waits in its slot or in the schedule, as the rule says."""
        if (slot.worker.hindered or self._store.up_at_s) and self._must_wait(self._settle, slot):
            return
        if slot.failed:
            delay_s = self.report_failure(slot)
            if delay_s is not None and self._in_slot:
                slot.sleeps_until_s = self._clock.now + delay_s
                slot.callbacks = (self._slept,)
                self._clock.put(slot, slot.sleeps_until_s)
                return
            if delay_s is not None:
                self.schedule(slot.task, slot.token, delay_s)
        else:
            self.report_success(slot)
        self.free(slot)

    def report_success(self, claim: Claim) -> None:
        """A worker says that it has done its task; it counts if the claim is still the current one."""
        task, worker = claim.task, claim.worker
        if self._store.standings[task] is not claim.standing:
            self._store.refuse(task, SUCCEEDED, claim.token, worker.name)
            return
        self._store.move(task, SUCCEEDED, worker.number)
        if not self._always_retries:
            worker.retry_tokens = retry.after_success(worker.retry_tokens, self._rules.retry)
        if self.post is not None:
            self.post.double(claim, SUCCEEDED)

    def report_failure(self, claim: Claim) -> float | None:
        """A worker says that its task has failed. Returns the backoff in seconds if it is to be tried again."""
        task, worker, store = claim.task, claim.worker, self._store
        if store.standings[task] is not claim.standing:
            store.refuse(task, FAILED, claim.token, worker.name)
            return None
        code = FAILED if self._may_retry(claim) else FAILED_FOR_GOOD
        jitters = self._rules.retry.jitter > 0.0
        roll = self._plan.jitter_roll(task, store.standings[task].attempt) if jitters else 0.0
        step, delay_s = store.fail(task, code, worker.number, roll)
        if self.post is not None:
            self.post.double(claim, FAILED)
        return delay_s if step.waits else None

    def _may_retry(self, claim: Claim) -> bool:
        """Whether the rulebook lets the worker order a retry: not of what no retry can mend, nor beyond its budget."""
        if self._always_retries:
            return True
        worker, facts = claim.worker, self._store.standings[claim.task].facts
        assert facts is not None
        tokens, may_retry = retry.after_failure(worker.retry_tokens, facts.spent, claim.permanent, self._rules.retry)
        worker.retry_tokens = tokens
        return may_retry

    def _must_wait(self, step: Callable[[Slot], None], slot: Slot, *, needs_store: bool = True) -> bool:
        """True if a step of an attempt cannot happen now: its process is dead, frozen or cut off, or the store is
        down.
        """
        worker = slot.worker
        if not worker.alive:
            return True
        if worker.paused or (needs_store and worker.hindered):
            worker.deferred.append((step, slot))
            return True
        if needs_store and self._store.down:
            self._clock.at(self._store.up_at_s, step, slot)
            return True
        return False

    # -- retries --

    def schedule(self, task: int, token: int, delay_s: float) -> None:
        """Return a task to its queue when its backoff is over."""
        if self._returning is None:
            self._clock.later(delay_s, self.due, task, token)
        else:
            self._clock.later(delay_s, self._returning.add, [(task, token)])

    def _return_all(self, tasks: list[tuple[int, int]]) -> None:
        for task, token in tasks:
            self.due(task, token)

    def _slept(self, slot: Slot) -> None:
        """The end of a backoff that was slept through in the slot."""
        if not self._must_wait(self._slept, slot):
            self.due(slot.task, slot.token)
            self.free(slot)

    def due(self, task: int, token: int) -> None:
        """RETRY_WAIT → PENDING, and into the queue where the rule says; unless another claim has come since."""
        store = self._store
        if store.down:
            self._clock.at(store.up_at_s, self.due, task, token)
            return
        facts = store.standings[task].facts
        if facts is not None and facts.token == token and facts.state is State.RETRY_WAIT:
            store.wait(task, DUE)
            if self._pushing is None:
                self.enqueue(task, front=self._front)
            else:
                self._pushing.add([(task, self._front)])

    def _put_all(self, tasks: list[tuple[int, bool]]) -> None:
        """Pending tasks that have been told to Redis."""
        for task, front in tasks:
            self.push_lag_s = max(self.push_lag_s, self._clock.now - self._store.since_s[task])
            self.enqueue(task, front=front)

    # -- the slot is free again --

    def free(self, slot: Slot) -> None:
        """A slot has ended with its task: it takes the next one, or waits in line, or its worker leaves."""
        worker = slot.worker
        slot.task, slot.standing = FREE, None
        worker.busy -= 1
        if self._unheard:
            slot.freed = True
        elif worker.open:
            self.idle.append(slot)
            if self._queues.ready:
                self.dispatch()
        if worker.leaving and not worker.busy and worker.alive:
            self.depart(worker)

    def resume(self, worker: Worker) -> None:
        """A frozen or cut-off process goes on: everything whose time came meanwhile happens now."""
        late, worker.deferred = worker.deferred, []
        for step, slot in late:
            step(slot)
        if worker.open:
            self.offer_slots(worker)
