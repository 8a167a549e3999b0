"""One modelled worker process: slots, memory, a gate, and a life that may be short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.rules import lease
from lab.rules.lease import LeaseRules


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt of one task in one slot. Until its claim is committed it has no number and no token."""

    task: int
    worker: Worker
    number: int = 0
    token: int = 0
    claimed_at_s: float = 0.0
    lease_until_s: float = float("inf")
    sleeps_until_s: float = 0.0
    """Until when the slot only sleeps through a backoff (wait: in_slot); 0 while it works."""


@dataclass(slots=True, eq=False)
class Worker:
    """A process. `index` is its position in the mesh, `life` counts the processes that have stood there."""

    index: int
    life: int
    slots: int
    started_at_s: float
    rss_base_bytes: int
    alive: bool = True
    gate_open: bool = True
    leaving: bool = False
    paused: bool = False
    closed_since_s: float = 0.0
    reported_at_s: float = 0.0
    held_bytes: int = 0
    cpu: float = 0.0
    idle_tokens: int = 0
    attempts: set[Attempt] = field(default_factory=set)
    deferred: list[tuple[Callable[[Attempt], None], Attempt]] = field(default_factory=list)
    """What fell due while the process was frozen."""

    @property
    def name(self) -> str:
        """Unique within a run: position and life."""
        return f"w{self.index}.{self.life}"

    @property
    def takes_tasks(self) -> bool:
        """Whether it may be given work now."""
        return self.alive and self.gate_open and not self.leaving and not self.paused

    @property
    def rss_bytes(self) -> int:
        """Base plus what its running tasks hold."""
        return self.rss_base_bytes + self.held_bytes

    def lease_until_s(self, attempt: Attempt, silent_from_s: float, rules: LeaseRules) -> float:
        """Until when an attempt is held if the worker's heartbeats end at a moment: its last renewal plus the lease."""
        every_s = lease.renew_every_s(rules)
        beats = int((silent_from_s - self.started_at_s) / every_s)
        lapses_s = max(attempt.claimed_at_s, self.started_at_s + beats * every_s) + rules.length_s
        return max(lapses_s, attempt.sleeps_until_s)
