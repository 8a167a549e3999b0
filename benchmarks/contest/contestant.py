"""What the harness asks of every contestant, the two workloads, and the marks that tell what was executed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.contest.body import RECORD
from benchmarks.contest.processes import Group, Trouble

Kind = Literal["noop", "sleep"]
KINDS: tuple[Kind, ...] = ("noop", "sleep")
WARM_TASKS = 200
WARM_FIRST = 1_000_000_000
"""Warm-up tasks are numbered from here, so that they are told from those that count."""
LOOK_S = 0.005


@dataclass(frozen=True)
class Place:
    """Where a contestant works: addresses, its own empty database, its own file of marks."""

    redis_url: str
    dsn: str
    marks: Path

    def environ(self) -> dict[str, str]:
        """As environment variables."""
        return {"CONTEST_REDIS": self.redis_url, "CONTEST_DSN": self.dsn, "CONTEST_MARKS": str(self.marks)}


class Contestant(Protocol):
    """One backend in one configuration. Calls come in the order in which they stand here; failures raise Trouble."""

    @property
    def name(self) -> str:
        """For tables."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Which workloads it takes part in."""

    def setting(self, kind: Kind) -> str:
        """Its configuration for this workload, in a line: it is printed beside the figure."""

    def start(self, place: Place, kind: Kind) -> Sequence[Group]:
        """Start two worker processes on an empty store. Returns what is measured; `stop` ends it, come what may."""

    def enqueue(self, kind: Kind, first: int, count: int) -> float:
        """Submit tasks numbered from `first`, by the bulk call if it has one. Returns seconds."""

    def freeze(self) -> None:
        """Stop its workers where they are."""

    def resume(self) -> None:
        """Let them go on."""

    def wait_done(self, count: int, timeout_s: float) -> float:
        """Wait until the warm-up and `count` more are done. Returns when the last one was, s since 1970."""

    def verify(self, count: int) -> str:
        """What its store says about them, in a line. Raises Trouble if a task is missing or was done twice."""

    def stop(self) -> None:
        """End all that was started. May be called whatever happened before."""


class Marks:
    """The file of marks of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        """How many tasks have been executed."""
        return self.path.stat().st_size // RECORD.size if self.path.exists() else 0

    def wait(self, count: int, timeout_s: float, groups: Sequence[Group] = ()) -> None:
        """Until so many are there. Raises Trouble if that takes too long or a process of `groups` dies meanwhile."""
        deadline = time.monotonic() + timeout_s
        while self.count() < count:
            dead = next((group for group in groups if not group.alive), None)
            if dead is not None:
                raise Trouble(f"a worker died after {self.count():,} of {count:,} tasks:\n{dead.said()}")
            if time.monotonic() > deadline:
                last = groups[0].said() if groups else ""
                raise Trouble(f"{self.count():,} of {count:,} tasks after {timeout_s:g} s; it said last:\n{last}")
            time.sleep(LOOK_S)

    def read(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(numbers, moments in ns) in the order in which they were written."""
        whole = np.fromfile(self.path, dtype="<i8").reshape(-1, 2)
        return whole[:, 0], whole[:, 1]

    def last_s(self) -> float:
        """When the last counted task was executed, s since 1970."""
        numbers, at_ns = self.read()
        return float(at_ns[numbers < WARM_FIRST].max()) / 1e9

    def refuse_gaps(self, count: int) -> str:
        """That tasks 0 to count − 1 were executed once each, in words."""
        numbers, _ = self.read()
        counted = numbers[numbers < WARM_FIRST]
        missing = count - len(np.unique(counted))
        twice = len(counted) - len(np.unique(counted))
        if missing or twice:
            raise Trouble(f"{missing:,} tasks were not executed and {twice:,} executed twice")
        return f"{count:,} executed once each"
