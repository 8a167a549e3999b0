"""What a fault did to the tasks that were in the hands of what it struck: counted from the moment it strikes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from lab.limits import STRIKES_MAX

PROCESS_FAULTS = frozenset({"kill_worker", "stop_worker", "pause_worker", "cut_worker", "slow_worker"})
SERVER_FAULTS = frozenset({"redis_flush", "redis_restart", "postgres_restart"})
WORK_FAULTS = frozenset({"slow_service", "role_outage"})


@dataclass
class Strike:
    """One strike. Of the tasks in hand: `reclaimed` were taken or given back, `ended` have ended since."""

    number: int
    t_s: float
    what: str
    in_hand: set[int]
    reclaimed: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    doubled: set[int] = field(default_factory=set)
    lost_before: int = 0
    lost: int = 0

    def told(self) -> dict[str, Any]:
        """As a frame has it."""
        return {
            "n": self.number,
            "t": round(self.t_s, 3),
            "what": self.what,
            "in_hand": len(self.in_hand),
            "reclaimed": len(self.reclaimed),
            "ended": len(self.ended),
            "lost": self.lost,
            "doubled": len(self.doubled),
            "over": len(self.ended) == len(self.in_hand),
        }


class Strikes:
    """All strikes of a run."""

    def __init__(self) -> None:
        self._all: list[Strike] = []
        self._of_task: dict[int, list[Strike]] = {}
        self.touched = self._of_task.keys()
        """Tasks that something has struck: of the others nothing needs to be told here."""

    def begin(self, t_s: float, what: str, in_hand: Collection[int], lost: int) -> None:
        """Something is struck that has these tasks in hand; `lost` were lost before."""
        strike = Strike(len(self._all) + 1, t_s, what, set(in_hand), lost_before=lost)
        self._all.append(strike)
        for task in in_hand:
            self._of_task.setdefault(task, []).append(strike)
        if len(self._all) > STRIKES_MAX:
            self._leave(self._all[-STRIKES_MAX - 1])

    def reclaimed(self, task: int) -> None:
        """A task that was struck is PENDING again."""
        for strike in self._of_task[task]:
            strike.reclaimed.add(task)

    def ended(self, task: int) -> None:
        """It has come to its end."""
        for strike in self._of_task[task]:
            strike.ended.add(task)

    def doubled(self, task: int) -> None:
        """It was completed twice."""
        for strike in self._of_task[task]:
            strike.doubled.add(task)

    def lost(self, lost: int) -> None:
        """So many tasks are lost now: since which strike?"""
        for strike in self._all:
            strike.lost = max(0, lost - strike.lost_before)

    def told(self) -> list[dict[str, Any]]:
        """The newest of them as a frame has them."""
        return [strike.told() for strike in self._all[-STRIKES_MAX:]]

    def _leave(self, strike: Strike) -> None:
        """Follow the tasks of a strike no longer."""
        for task in strike.in_hand:
            left = [other for other in self._of_task[task] if other is not strike]
            if left:
                self._of_task[task] = left
            else:
                del self._of_task[task]


# ---- in words --------------------------------------------------------------------------------------------------------

FAULT_WORDS = {
    "kill_worker": "worker {worker} killed (SIGKILL)",
    "stop_worker": "worker {worker} asked to leave (SIGTERM)",
    "pause_worker": "worker {worker} frozen (SIGSTOP)",
    "cut_worker": "worker {worker} cut off from {server}",
    "slow_worker": "worker {worker} slows down",
    "poison_task": "task {task} is poison: it kills its worker",
    "redis_flush": "Redis wiped",
    "redis_restart": "Redis killed; it comes back",
    "postgres_restart": "PostgreSQL killed; it recovers",
    "slow_service": "the provider slows down",
    "role_outage": "{role}: its model is down",
    "redrive": "dead letters redriven",
}


def fault_words(detail: str) -> tuple[str, dict[str, str], str]:
    """(kind, what it names, the sentence for people) of a fault as `lab.faults.told` notes it."""
    kind, *rest = detail.split()
    if kind == "change":  # change slots to 8
        return kind, {}, f"{rest[0].replace('_', ' ')} set {' '.join(rest[1:])}"
    named = dict(zip(rest[::2], rest[1::2], strict=False))
    try:
        words = FAULT_WORDS[kind].format(**named)
    except KeyError:  # a kind without words of its own, or one that names nothing
        words = detail.replace("_", " ")
    return kind, named, words
