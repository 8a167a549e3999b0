"""A live run in a thread, and waiting for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from lab import Scenario
from lab.record import Record
from live_backend import run_live


@dataclass
class Running:
    """A live run in a thread, for tests that interfere with it from outside."""

    scenario: Scenario
    done: int = 0
    found: list[Record | BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.found.append(run_live(self.scenario, on_progress=self._see, stop=self._stop.is_set))
        except BaseException as error:
            self.found.append(error)

    def _see(self, progress: Any) -> None:
        self.done = progress.done

    def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait until it is over, however it ends."""
        self._thread.join(timeout_s)

    def record(self, timeout_s: float = 90.0) -> Record:
        """Wait for its record."""
        self._thread.join(timeout_s)
        assert self.found, f"the run was not over after {timeout_s} s"
        assert isinstance(self.found[0], Record), self.found[0]
        return self.found[0]


def eventually(happens: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Wait until `happens()` is true and return what it gave; fail after `timeout_s`."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if found := happens():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{happens} did not come true within {timeout_s} s")


def worker_processes() -> list[psutil.Process]:
    """The worker processes that this test process has started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "live_backend.worker" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue  # it ended while we looked
    return found
