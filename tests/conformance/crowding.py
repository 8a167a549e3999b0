"""How crowded this machine is: how much longer a little computing takes here than its processor time."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

BURN_S = 0.002
EVERY_S = 0.05
CROWDED = 1.25
"""From here on what was late may have been late for want of a processor. On a quiet machine it is 1.0 to 1.1."""


class Crowding:
    """Looks all the time while it is entered; costs 4 % of a core."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="crowding", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def since(self, moment: float) -> float:
        """Wall-clock time over processor time, on average since a moment of `time.monotonic()`."""
        ratios = [ratio for at, ratio in self._seen if at >= moment]
        return sum(ratios) / len(ratios) if ratios else 1.0

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            started, until = time.perf_counter(), time.thread_time() + BURN_S
            while time.thread_time() < until:
                pass
            self._seen.append((time.monotonic(), (time.perf_counter() - started) / BURN_S))
