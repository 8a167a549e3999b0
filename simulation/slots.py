"""One modelled worker process and its slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from lab.rules import lease
from lab.rules.lease import LeaseRules
from simulation.automaton import Standing
from simulation.clock import Planned

if TYPE_CHECKING:
    from simulation.machinery import Line, Loop, Timers
    from simulation.memory import Memory

FREE = -1


class Claim(Protocol):
    """What a worker reports about: a task that it holds, or held until a moment ago."""

    task: int
    token: int
    standing: Standing | None
    permanent: bool
    ended_s: float
    worker: Worker


class Slot(Planned):
    """A place for one task in one worker process, and the event that ends what it does now.

    Reused for task after task; a process that dies takes its slots along, so what is still on the clock for them
    finds a dead worker.
    """

    __slots__ = (
        "claimed", "claimed_at_s", "ended_s", "failed", "freed", "permanent", "sleeps_until_s", "standing", "task",
        "token", "worker",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker = worker
        self.task = FREE
        self.standing: Standing | None = None
        """Where its task stands by its own claim; None until the claim is committed."""
        self.token = 0
        self.claimed_at_s = 0.0
        self.ended_s = 0.0
        """When its work ended; kept only where a fault asks for it."""
        self.failed = self.permanent = False
        self.claimed = self.freed = False
        """Whether its worker has not heard yet that it has a task by the log, or that it is free."""
        self.sleeps_until_s = 0.0
        """Until when it only sleeps through a backoff (wait: in_slot); 0 while it works."""


class Worker:
    """A process. `index` is its position in the mesh, `life` counts the processes that have stood there."""

    def __init__(self, index: int, life: int, slots: int, now_s: float, memory: Memory) -> None:
        self.index, self.life, self.started_at_s, self.memory = index, life, now_s, memory
        self.number = 0
        """Its number in the log."""
        self.slots = [Slot(self) for _ in range(slots)]
        self.surplus = 0
        """Slots that are to go as soon as they are free: somebody has turned the number down."""
        self.busy = 0
        """Slots that hold a task."""
        self.alive = self.gate_open = True
        self.leaving = self.paused = self.recycled = False
        self.cut_from = Counter[str]()
        """How many faults cut it off from which server now."""
        self.open = True
        """Whether it may be given work now: alive, gate open, not leaving, not frozen, not cut off."""
        self.hindered = False
        """Whether it can do nothing now: dead, frozen, or cut off from the store."""
        self.closed_since_s = 0.0
        self.reported_at_s = now_s
        self.woke_at_s = now_s
        """When it could last do something again after it could not: its heart beats at once then."""
        self.cpu = 0.0
        self.retry_tokens = 0.0
        self.loop: Loop
        """Its event loop, and the threads that compute beside it."""
        self.timers: Timers | None = None
        """None: they ring in time."""
        self.intake: Line[Slot] | None = None
        self.settling: Line[Slot] | None = None
        self.deferred: list[tuple[Callable[[Slot], None], Slot]] = []
        """What fell due while the process could do nothing."""

    @property
    def name(self) -> str:
        """Unique within a run: position and life."""
        return f"w{self.index}.{self.life}"

    def review(self) -> None:
        """Draw `open` and `hindered` anew from what it is."""
        self.hindered = not self.alive or self.paused or self.cut_from["postgres"] > 0
        self.open = not self.hindered and not self.cut_from["redis"] and self.gate_open and not self.leaving

    def held(self) -> Iterator[Slot]:
        """The slots that hold a task, in the order of the tasks."""
        return iter(sorted((slot for slot in self.slots if slot.task != FREE), key=lambda slot: slot.task))

    def lease_until_s(self, slot: Slot, silent_from_s: float, rules: LeaseRules) -> float:
        """Until when a claim is held if the worker's heartbeats end at a moment: its last renewal plus the lease."""
        every_s = lease.renew_every_s(rules)
        beats = int((silent_from_s - self.started_at_s) / every_s)
        lapses_s = max(slot.claimed_at_s, self.woke_at_s, self.started_at_s + beats * every_s) + rules.length_s
        return max(lapses_s, slot.sleeps_until_s)
