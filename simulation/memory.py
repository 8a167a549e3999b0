"""RSS of one modelled worker process: base, what running tasks hold, garbage that lingers, heap that does not come
back.
"""

from __future__ import annotations

from lab.profile import MemoryCosts


class Memory:
    """Bytes of one process. A sawtooth: garbage rises with every task that ends, until a collection."""

    __slots__ = (
        "_collect_at_bytes", "_costs", "_garbage_bytes", "_garbage_share", "base_bytes", "garbage_bytes", "held_bytes",
        "kept_bytes",
    )  # fmt: skip

    def __init__(self, costs: MemoryCosts) -> None:
        self._costs = costs
        self._garbage_share, self._garbage_bytes = costs.garbage_share, costs.garbage_per_task_bytes
        self._collect_at_bytes = costs.collect_at_bytes
        self.base_bytes = costs.base_bytes
        self.held_bytes = self.garbage_bytes = 0.0
        self.kept_bytes = costs.slack_bytes

    @property
    def rss_bytes(self) -> float:
        """What the system would report."""
        return self.base_bytes + self.held_bytes + self.garbage_bytes + self.kept_bytes

    def hold(self, task_bytes: float) -> None:
        """A task begins: it takes the memory that it needs."""
        self.held_bytes += task_bytes

    def let_go(self, task_bytes: int) -> None:
        """A task ends: part of its memory stays as garbage, until there is enough of it to be collected."""
        self.held_bytes -= task_bytes
        self.garbage_bytes += task_bytes * self._garbage_share + self._garbage_bytes
        if self.garbage_bytes >= self._collect_at_bytes:
            self.collect()

    def collect(self) -> None:
        """A collection as Python does it of itself: garbage is free again, but part of the heap stays with the
        process.
        """
        self.kept_bytes += self.garbage_bytes * self._costs.kept_share
        self.garbage_bytes = 0.0

    def release(self) -> None:
        """Under pressure: collect, and return free heap to the system."""
        self.collect()
        self.kept_bytes *= 1.0 - self._costs.returned_share
