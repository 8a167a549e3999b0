"""What the engine itself saw happen to the mesh, with the moment of the run."""

from __future__ import annotations

from collections.abc import Callable

from lab.record import EventRow


class Notes:
    """A list that dates its entries."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.rows: list[EventRow] = []
        self._now_s = now_s

    def add(self, kind: str, worker: str = "", task: int = -1, detail: str = "") -> None:
        """Note that something happened now."""
        self.rows.append(EventRow(max(0.0, round(self._now_s(), 6)), kind, worker, task, detail))
