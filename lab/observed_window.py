"""The last minutes of a standing mesh: what its audit log says, and what waited when they began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lab.rules import health
from lab.scenario import Scenario


class LogRow(NamedTuple):
    """A row of the audit log. `at_s` in seconds of the epoch by the store's clock."""

    task: int
    start: str
    end: str
    at_s: float
    worker: str
    attempt: int
    reason: str
    delay_s: float


class TaskFacts(NamedTuple):
    """What does not change of a task. `queue`: 0 high, 1 medium, 2 low."""

    role: str
    priority: int
    queue: int


class Unmoved(NamedTuple):
    """A task that is open and has not moved since the window began."""

    task: int
    state: str
    changed_at_s: float
    due_at_s: float | None
    worker: str


class WorkerFacts(NamedTuple):
    """A worker process. `silent_s`: for how long it has not been heard of."""

    id: str
    host: str
    place: int
    slots: int
    started_at_s: float
    silent_s: float
    left: bool


class Window(NamedTuple):
    """What is read at a look. Moments in seconds of the epoch, by the store's clock."""

    start_at_s: float
    end_at_s: float
    scenario: Scenario
    rows: list[LogRow]
    facts: Mapping[int, TaskFacts]
    unmoved: list[Unmoved]
    workers: list[WorkerFacts]
    cut: str = ""
    """Why it is shorter than asked; empty if it is not."""

    @property
    def span_s(self) -> float:
        """Its length."""
        return self.end_at_s - self.start_at_s

    def manned(self) -> list[WorkerFacts]:
        """The newest process of every place; one that has left by itself is none."""
        newest: dict[tuple[str, int], WorkerFacts] = {}
        for one in sorted(self.workers, key=lambda worker: worker.started_at_s):
            newest[_post(one.id), one.place] = one
        return [one for one in newest.values() if not one.left]

    def silent(self) -> list[WorkerFacts]:
        """Those of `manned` of which nobody has heard for as long as the rules allow."""
        rules = self.scenario.rules.health
        return [one for one in self.manned() if health.counts_as_closed(True, one.silent_s, rules)]

    def manned_since_s(self) -> float:
        """When the first of the workers that are heard of was started, in seconds of the epoch; before that, nobody was
        there whom a model could stand for. 0 if nobody is heard of.
        """
        silent = {one.id for one in self.silent()}
        return min((one.started_at_s for one in self.manned() if one.id not in silent), default=0.0)


def _post(worker: str) -> str:
    """Of `host-3fa2-0.2` the part that all lives at all places of one `meshlab up` share: `host-3fa2`."""
    return worker.rpartition("-")[0]
