"""The model's Redis: three lists of task ids that hold and order, and decide nothing. It can be away, and it can
forget.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from lab.rules.priority import QUEUES, PriorityRules, service_order
from simulation.clock import Clock


class Queues:
    """Ready tasks by class. `up` is False while Redis is away; what is pushed then is forgotten."""

    def __init__(self, clock: Clock, rules: PriorityRules, class_of: Sequence[int], since_s: Sequence[float]) -> None:
        self.up = True
        self.ready = 0
        """Tasks that could be taken now."""
        self.lists: tuple[deque[int], ...] = tuple(deque() for _ in QUEUES)
        self._clock, self._rules = clock, rules
        self._class_of, self._since_s = class_of, since_s
        self._turn = 0
        self._strict = [self.lists[index] for index in service_order(rules, (), 0)] if rules.order == "strict" else []
        """The lists in the order in which they are served, if that is always the same."""

    def depths(self) -> tuple[int, int, int]:
        """Tasks in each queue."""
        high, medium, low = map(len, self.lists)
        return high, medium, low

    def push(self, task: int, *, front: bool = False) -> None:
        """Put a task at the back of its class (or at the front)."""
        if self.up:
            queue = self.lists[self._class_of[task]]
            queue.appendleft(task) if front else queue.append(task)
            self.ready += 1

    def push_all(self, tasks: Iterable[int]) -> None:
        """The same for several tasks, at the back."""
        if self.up:
            lists, class_of, pushed = self.lists, self._class_of, 0
            for task in tasks:
                lists[class_of[task]].append(task)
                pushed += 1
            self.ready += pushed

    def pop(self) -> int:
        """Take the task that the rulebook's order serves next. Only call it while there is one."""
        self.ready -= 1
        for queue in self._strict or self._in_order():
            if queue:
                return queue.popleft()
        raise IndexError("pop from empty queues")

    def _in_order(self) -> list[deque[int]]:
        order = service_order(self._rules, self._head_waits_s(), self._turn)
        self._turn += 1
        return [self.lists[index] for index in order]

    def lose(self, lost: Callable[[int], bool]) -> None:
        """Go away, and forget the tasks of which `lost` is True."""
        for queue in self.lists:
            kept = [task for task in queue if not lost(task)]
            queue.clear()
            queue.extend(kept)
        self.up, self.ready = False, 0

    def come_back(self) -> None:
        """Answer again, with what was not lost."""
        self.up, self.ready = True, sum(self.depths())

    def missing(self, tasks: Sequence[int]) -> list[int]:
        """Those of `tasks` that stand in no queue."""
        here = {task for queue in self.lists for task in queue}
        return [task for task in tasks if task not in here]

    def _head_waits_s(self) -> tuple[float | None, ...]:
        if self._rules.order != "aging":
            return ()
        now_s = self._clock.now
        return tuple(now_s - self._since_s[queue[0]] if queue else None for queue in self.lists)
