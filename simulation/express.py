"""The express lane: the way of a task where nothing can interfere, in a few functions instead of a dozen.

`Fleet` and `Producer` ask at every turn whether a worker is frozen, the store is away, memory is held, a machine costs
time, a client has left. In a scenario in which none of that can happen (`is_clear`), the same steps are taken here
without asking: the same rulebook, the same queues, the same log. Whatever is not as expected after all (a process that
a user has added may cancel tasks) goes the long way, and everything does from the first fault that is struck. A test
demands the same record of both ways (tests/simulation/test_express.py); it is worth 1.6 times the speed
(docs/decisions/003).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush

from simpy.events import NORMAL

from lab.profile import Profile
from lab.rules import health
from lab.workload import Plan
from simulation.automaton import CLAIMED, SUBMITTED, SUCCEEDED
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.slots import FREE, Slot
from simulation.store import Store


def is_clear(plan: Plan, profile: Profile) -> bool:
    """Whether only arrivals, claims, work, verdicts and scheduled retries can happen, and cost no time of machinery."""
    rules, roles = plan.scenario.rules, plan.scenario.workload.roles.values()
    gates_stay_open = health.gate_open(True, health.score(profile.memory.fresh_bytes, rules.health), rules.health)
    return (
        plan.plain
        and profile.is_free
        and gates_stay_open
        and not any(role.memory_mib or role.cpu_share for role in roles)
        and rules.admission.max_pending is None
        and rules.deadline.wait_s is None
        and rules.retry.budget is None
        and rules.retry.wait == "scheduled"
        and rules.retry.position == "back"
        and rules.priority.order == "strict"
    )


def lay(clock: Clock, plan: Plan, store: Store, queues: Queues, fleet: Fleet, producer: Producer) -> Callable[[], None]:
    """Take over the arrivals of a producer and the slots of a fleet. Returns how to give them back.

    Closures rather than methods: what they share is looked up some ten times a task, and a variable is found faster
    than an attribute.
    """
    count, arrival_s, move, wait = plan.count, plan.arrival_column, store.move, store.wait
    standings, idle, planned = store.standings, fleet.idle, fleet.planned
    heap, next_id = clock._queue, clock._eid.__next__

    def arrive() -> float:
        """The next task comes, into a slot if one is free. Returns when the one after it comes."""
        task = producer.arrived
        after = task + 1
        if after == count or arrival_s[after] == clock.now:
            return producer.arrive()  # several at once, or the last one
        producer.arrived = after
        wait(task, SUBMITTED)
        enqueue(task)
        return arrival_s[after]

    def enqueue(task: int) -> None:
        """Into a free slot, or into the queue."""
        if idle and not queues.ready and idle[0].worker.open:
            slot = idle.popleft()
            slot.worker.busy += 1
            begin(slot, task)
        else:
            queues.push(task)
            if idle:
                fleet.dispatch()

    def begin(slot: Slot, task: int) -> None:
        """A slot claims a task and works on it."""
        slot.task = task
        standing = move(task, CLAIMED, slot.worker.number).to
        if standing is None:
            fleet.free(slot)
            return
        work_s, fails = planned[standing.attempt] or fleet.look_up(standing.attempt)
        slot.standing, slot.token, slot.failed = standing, standing.token, fails[task] == 1
        slot.claimed_at_s, slot.callbacks = clock.now, when_done
        ends_s = slot.claimed_at_s + work_s[task]
        heappush(heap, (ends_s, NORMAL, next_id(), slot)) if ends_s > clock.now else clock.put(slot, ends_s)

    def done(slot: Slot) -> None:
        """The work has ended: the verdict, and the next task for this slot."""
        task, worker = slot.task, slot.worker
        if not worker.open or standings[task] is not slot.standing:
            fleet.work_done(slot)
            return
        if not slot.failed:
            move(task, SUCCEEDED, worker.number)
        elif (delay_s := fleet.report_failure(slot)) is not None:
            fleet.schedule(task, slot.token, delay_s)
        if queues.ready:
            begin(slot, queues.pop())
        else:
            slot.task, slot.standing = FREE, None
            worker.busy -= 1
            idle.append(slot)

    fleet.when_done = when_done = (done,)
    clock.feed(arrival_s[0], arrive)
    return lambda: _leave(clock, plan, fleet, producer, when_done)


def _leave(
    clock: Clock, plan: Plan, fleet: Fleet, producer: Producer, when_done: tuple[Callable[[Slot], None]]
) -> None:
    """From now on everything goes the long way."""
    if fleet.when_done is not when_done:
        return
    fleet.when_done = (fleet.work_done,)
    for slot in (slot for worker in fleet.workers for slot in worker.slots):
        if slot.callbacks is when_done:
            slot.callbacks = fleet.when_done
    if producer.arrived < plan.count:
        clock.feed(plan.arrival_column[producer.arrived], producer.arrive)
