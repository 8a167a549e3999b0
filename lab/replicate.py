"""Many runs of one scenario with seeds seed, seed + 1, …, on all cores: the same on the command line and in notebooks.

    from lab import replicate
    from simulation import simulate
    replicate.run(simulate, scenario, 20).table()

Engines come as arguments, because `lab` imports none. The results do not depend on the number of cores.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from lab.errors import Interrupted, Unavailable, UsageError
from lab.metrics import Times
from lab.pooling import pooled
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.scenario import Scenario
from lab.workload import Plan

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

    import pandas as pd
    from loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    from lab.record import Record

_LARGE_RUNS_ARE_NO_LEAK: Final = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}
"""loky would begin a new process after each run that leaves some hundred MB behind, and warn of it."""
LOOK_S: Final = 0.1
"""How often a parallel run looks whether it has been stopped."""
AHEAD: Final = 16
"""Items a core that are handed out at a time: no core is ever idle, and waiting for a few of so many costs nothing."""
POOLED_TASKS_MAX: Final = 20_000_000
"""Tasks of all replications together: the times of each take 33 bytes while they are pooled."""

Simulate = Callable[..., "Record"]
"""An engine: `simulate(scenario, stop=…)` returns a record."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Replication:
    """One run, in what its pooling needs."""

    seed: int
    summary: dict[str, Any]
    times: Times
    failed_checks: tuple[str, ...]


@dataclass(frozen=True)
class Replications:
    """Finished runs of one scenario, in the order of their seeds."""

    runs: tuple[Replication, ...]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The figures of all runs together, each with its sibling `…_ci95`; see `lab.pooling`."""
        return pooled([run.summary for run in self.runs], [run.times for run in self.runs])

    def table(self) -> pd.DataFrame:
        """A row a figure: its value and the bounds of its 95 % interval."""
        import pandas as pd

        rows = [(path, value, *(ci95 or (None, None))) for path, value, ci95 in _leaves(self.summary)]
        return pd.DataFrame(rows, columns=["figure", "value", "low", "high"]).set_index("figure")

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format=lambda value: f"{value:,.4g}"))


def run(
    simulate: Simulate,
    scenario: Scenario,
    replications: int,
    *,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Replications:
    """Run the scenario `replications` times. Stopped early, it has the runs that were done; Interrupted if none was."""
    scenarios = seeded(scenario, range(affordable(scenario, replications)))
    with Cores(partial(replication, simulate), replications, cores) as pool:
        done = pool.run(scenarios, on_progress=on_progress, stop=stop)
    runs = tuple(one for one in done if one is not None)
    if not runs:
        raise Interrupted(f"{scenario.name}: stopped before the first of {replications} replications was done")
    return Replications(runs)


def replication(simulate: Simulate, scenario: Scenario, stop: Stop) -> Replication | None:
    """One run; None if it was stopped before its end."""
    record = simulate(scenario, stop=stop)
    if record.info.get("interrupted"):
        return None
    failed = tuple(record.info["checks"]["failed"])
    return Replication(scenario.seed, record.info["summary"], Times.of(record), failed)


def seeded(scenario: Scenario, numbers: Sequence[int]) -> list[Scenario]:
    """The replications with these numbers, counted from 0: replication n has the scenario's seed + n."""
    return [scenario.override({"seed": scenario.seed + number}) for number in numbers]


def affordable(scenario: Scenario, replications: int) -> int:
    """`replications`. Raises UsageError if their tasks are too many to be pooled in memory."""
    most = replications_max(scenario)
    if replications > most:
        raise UsageError(
            f"{scenario.name}: the tasks of {replications:,} replications are more than the {POOLED_TASKS_MAX:,} that "
            f"can be pooled; ask for at most {most:,}, or for fewer tasks in each"
        )
    return replications


def replications_max(scenario: Scenario) -> int:
    """How many replications of the scenario can be pooled."""
    return max(1, POOLED_TASKS_MAX // Plan(scenario).count)


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Cores(Generic[Item, Result]):
    """Works off items on many cores, in processes that last as long as this context; on one core, in this process.

    `work(item, stop)` is called for each item; `stop()` turns True when the work is to end early.
    """

    def __init__(self, work: Callable[[Item, Stop], Result], items: int, cores: int | None = None) -> None:
        """For up to `items` items, on all cores unless told. Raises UsageError if `work` cannot reach another core."""
        self._work = work
        self._pool: ProcessPoolExecutor | None = None
        self._cores = cores = min(cores or core_count(), items)
        if cores > 1:
            # Imported where they are needed: `lab` is imported by every worker of a live mesh, which has no pool.
            from loky import ProcessPoolExecutor
            from loky.backend import get_context  # type: ignore[import-untyped]

            _demand_portable(work)
            # loky: forking a process that holds threads (numpy's) can hang, and what the standard library spawns runs
            # the caller's script again, be it a page of the app or a script that forgot its `__main__` guard.
            self._stopped = get_context("loky").Event()
            self._pool = ProcessPoolExecutor(
                cores, initializer=_begin_child, initargs=(self._stopped, os.getpid()), env=_LARGE_RUNS_ARE_NO_LEAK
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            if error is not None:
                self._stopped.set()
            self._pool.shutdown(kill_workers=error is not None)

    def run(
        self,
        items: Sequence[Item],
        *,
        on_done: Callable[[Result], None] = lambda _: None,
        on_progress: OnProgress = ignore,
        stop: Stop = never,
    ) -> list[Result]:
        """The results in the order of the items; of fewer items if it was stopped. `on_done` hears of each at once."""
        watched = _watched(len(items), on_progress)
        if self._pool is None:
            return list(self._in_turn(items, on_done, watched, stop))
        try:
            return self._shared_out(self._pool, items, on_done, watched, stop)
        except BrokenProcessPool as error:
            raise Unavailable(
                "a process that made some of the runs was ended from outside, most likely for want of memory; "
                "give the runs fewer tasks"
            ) from error

    def _in_turn(
        self, items: Sequence[Item], on_done: Callable[[Result], None], watched: Callable[[int], None], stop: Stop
    ) -> Iterator[Result]:
        for number, item in enumerate(items):
            watched(number)
            if stop():
                return
            result = self._work(item, stop)
            on_done(result)
            yield result
        watched(len(items))

    def _shared_out(
        self,
        pool: ProcessPoolExecutor,
        items: Sequence[Item],
        on_done: Callable[[Result], None],
        watched: Callable[[int], None],
        stop: Stop,
    ) -> list[Result]:
        asked: list[Future[Result]] = []
        waiting: set[Future[Result]] = set()
        left = iter(items)
        while True:
            for item in islice(left, AHEAD * self._cores - len(waiting)):
                asked.append(pool.submit(_in_child, self._work, item))
                waiting.add(asked[-1])
            if not waiting:
                return [future.result() for future in asked if not future.cancelled()]
            done, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for future in done:
                on_done(future.result())
            if not self._stopped.is_set():  # else some were cancelled, and not done
                watched(len(asked) - len(waiting))
            if stop() and not self._stopped.is_set():
                self._stopped.set()
                left = iter(())
                waiting = {future for future in waiting if not future.cancel()}


def _demand_portable(work: Callable[..., Any]) -> None:
    """Raise UsageError for what cannot travel to another process, say a function that holds a lock or a connection."""
    import cloudpickle  # type: ignore[import-untyped]

    try:
        cloudpickle.dumps(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(f"{error}: it cannot be handed to other processes; use cores=1") from error


def _watched(total: int, on_progress: OnProgress) -> Callable[[int], None]:
    """Tells how many of `total` runs are done."""
    started = time.monotonic()

    def told(done: int) -> None:
        on_progress(Progress("sim", done, total, 0.0, time.monotonic() - started, "replications"))

    return told


def _leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted path, figure, its interval or None) of a summary."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        elif not key.endswith("_ci95"):
            yield f"{path}{key}", value, tree.get(f"{key}_ci95")


# ---- in a child process ----------------------------------------------------------------------------------------------

_stopped: Event | None = None
"""Set when the parent wants its children to end."""


def _begin_child(stopped: Event, parent: int) -> None:
    """Ctrl-C reaches every process of the terminal; only the parent decides. And no child outlives it."""
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # it changes when the parent dies, even if nobody has asked how that ended
        time.sleep(LOOK_S)
    os._exit(1)


def _in_child(work: Callable[[Item, Stop], Result], item: Item) -> Result:
    return work(item, lambda: _stopped is not None and _stopped.is_set())
