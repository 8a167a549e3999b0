"""The prediction test: the same scenarios in the model and, repeatedly, on the real machine, and how far they part.

    from lab import twin, twin_matrix
    study = twin.run(simulate, run_live, twin_matrix.matrix(), repeats=3)
    study.data["summary"]

The model runs each scenario once, since it is deterministic. The live runs are shuffled within each round of repeats,
so that a machine that warms up or is disturbed does not look like a property of one scenario. Seed and tasks are the
same in all runs of a scenario. Engines come as arguments, because `lab` imports none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lab import metrics, twin_results
from lab.errors import Interrupted, UsageError
from lab.limits import TWIN_TASKS_MAX
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.twin_matrix import Case
from lab.workload import Plan

if TYPE_CHECKING:
    import pandas as pd

    from lab.record import Record

REPEATS: Final = 3
"""The least that shows the live system's own spread with an idea of how sure it is."""
START_S: Final = 3.2
"""What servers, worker processes and the reading of the record take around a live run: for the estimate only."""

Engine = Callable[..., "Record"]
"""`engine(scenario, on_progress=…, stop=…)` returns a record."""


@dataclass
class Tried:
    """One scenario: the model's record and those of the repeats that were finished."""

    case: Case
    model: Record
    live: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Another repeat is done; what was worked out before is out of date."""
        self.live.append(record)
        self.__dict__.pop("data", None)

    @cached_property
    def data(self) -> dict[str, Any]:
        """Everything that the test says about this scenario, as plain data. Needs at least one repeat."""
        return twin_results.of_scenario(self.case, self.model, self.live)


@dataclass(frozen=True)
class Study:
    """A finished, or interrupted, test."""

    tried: tuple[Tried, ...]
    repeats: int
    seed: int
    started_at: str
    complete: bool

    @cached_property
    def data(self) -> dict[str, Any]:
        """All of it as plain data: what results.json holds."""
        scenarios = [one.data for one in self.tried if one.live]
        facts = {"repeats": self.repeats, "seed": self.seed, "started_at": self.started_at, "complete": self.complete}
        return twin_results.whole(scenarios, self.tried[0].model if self.tried else None, facts)

    def table(self) -> pd.DataFrame:
        """A row a scenario and figure."""
        return twin_results.table(self.data)


def run(
    model: Engine,
    live: Engine,
    cases: Sequence[Case],
    repeats: int = REPEATS,
    *,
    seed: int = 1,
    on_progress: OnProgress = ignore,
    on_done: Callable[[Study, Record], None] | None = None,
    stop: Stop = never,
) -> Study:
    """Run it all. `on_done` gets what is known so far after each live run, and that run's record.

    Stopped, it has the runs that were finished; Interrupted if none was. Raises UsageError for a scenario with too many
    tasks.
    """
    from lab.record import now

    _demand_few_tasks(cases)
    started_at, meter = now().isoformat(timespec="seconds"), _Meter(cases, repeats, on_progress)
    tried = []
    for case in cases:
        if stop():
            break
        tried.append(Tried(case, model(case.scenario, stop=stop)))
        meter.modelled(tried[-1])

    def so_far(*, complete: bool) -> Study:
        return Study(tuple(tried), repeats, seed, started_at, complete)

    done = 0
    for number, repeat in [] if stop() else order(len(cases), repeats, seed):
        one = tried[number]
        record = live(one.case.scenario, on_progress=meter.during(one.case, repeat, repeats), stop=stop)
        if stop() or record.info.get("interrupted"):
            break
        one.add(record)
        done += 1
        meter.ended(one.case)
        if on_done is not None:
            on_done(so_far(complete=done == repeats * len(cases)), record)
    if not done:
        raise Interrupted("stopped before the first live run was done")
    return so_far(complete=done == repeats * len(cases))


def order(cases: int, repeats: int, seed: int) -> Iterator[tuple[int, int]]:
    """(case from 0, repeat from 1) in the order of the live runs: each round has every case once, mixed by `seed`."""
    random = np.random.default_rng(seed)
    for repeat in range(1, repeats + 1):
        yield from ((int(case), repeat) for case in random.permutation(cases))


def _demand_few_tasks(cases: Sequence[Case]) -> None:
    for case in cases:
        if (count := Plan(case.scenario).count) > TWIN_TASKS_MAX:
            raise UsageError(
                f"{case.name}: {count:,} tasks; the test holds every run of a scenario in memory, so at most "
                f"{TWIN_TASKS_MAX:,} are allowed: shorten the arrivals"
            )


class _Meter:
    """Progress in expected seconds of live running, so that the estimate holds for runs of different lengths."""

    def __init__(self, cases: Sequence[Case], repeats: int, on_progress: OnProgress) -> None:
        self._on_progress, self._repeats, self._cases = on_progress, repeats, len(cases)
        self._takes_s: dict[str, float] = {}
        self._done_s, self._runs, self._started = 0.0, 0, time.monotonic()

    def modelled(self, one: Tried) -> None:
        """The model has said how long a scenario takes."""
        self._takes_s[one.case.name] = metrics.end_s(one.model) + START_S
        self._tell(0.0, f"model: {len(self._takes_s)} of {self._cases} scenarios")

    def during(self, case: Case, repeat: int, repeats: int) -> OnProgress:
        """How a live run is followed."""
        note = f"run {self._runs + 1} of {self._cases * self._repeats}: {case.name}"
        if repeats > 1:
            note += f", repeat {repeat}"
        self._tell(0.0, note)
        return lambda progress: self._tell(min(progress.now_s, self._takes_s[case.name]), note)

    def ended(self, case: Case) -> None:
        """A live run is over."""
        self._done_s += self._takes_s[case.name]
        self._runs += 1
        self._tell(0.0, f"run {self._runs} of {self._cases * self._repeats}: {case.name}, done")

    def _tell(self, within_s: float, note: str) -> None:
        total = max(1, round(self._repeats * sum(self._takes_s.values())))
        wall_s = time.monotonic() - self._started
        done = min(total, round(self._done_s + within_s))
        self._on_progress(Progress("twin", done, total, wall_s, wall_s, note))
