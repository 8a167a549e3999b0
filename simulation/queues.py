"""The model's Redis: three lists of task ids that hold and order, and decide nothing. It can be away, and it can
forget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from lab.rules.priority import QUEUES, PriorityRules, service_order
from simulation.clock import Clock


class Queues:
    """Ready tasks by class. `up` is False while Redis is away; what is pushed then is forgotten."""

    def __init__(self, clock: Clock, rules: PriorityRules, class_of: Sequence[int], since_s: Sequence[float]) -> None:
        self.up = True
        self._lists: tuple[deque[int], ...] = tuple(deque() for _ in QUEUES)
        self._clock, self._rules = clock, rules
        self._class_of, self._since_s = class_of, since_s
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._lists)) if self.up else 0

    def depths(self) -> tuple[int, int, int]:
        """Tasks in each queue."""
        high, medium, low = map(len, self._lists)
        return high, medium, low

    def push(self, task: int, *, front: bool = False) -> None:
        """Put a task at the back of its class (or at the front)."""
        if self.up:
            queue = self._lists[self._class_of[task]]
            queue.appendleft(task) if front else queue.append(task)

    def pop(self) -> int:
        """Take the task that the rulebook's order serves next. Only call it while there is one."""
        for index in service_order(self._rules, self._head_waits_s(), self._turn):
            if self._lists[index]:
                self._turn += 1
                return self._lists[index].popleft()
        raise IndexError("pop from empty queues")

    def forget(self) -> None:
        """Lose everything, as a wiped Redis does."""
        for queue in self._lists:
            queue.clear()

    def missing(self, tasks: Sequence[int]) -> list[int]:
        """Those of `tasks` that stand in no queue."""
        here = {task for queue in self._lists for task in queue}
        return [task for task in tasks if task not in here]

    def _head_waits_s(self) -> tuple[float | None, ...]:
        if self._rules.order != "aging":
            return ()
        now_s = self._clock.now
        return tuple(now_s - self._since_s[queue[0]] if queue else None for queue in self._lists)
