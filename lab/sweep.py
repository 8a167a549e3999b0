"""A scenario over many points: a grid of values, random ones or a Latin hypercube, with common random numbers.

    from lab import Scenario, sweep
    from simulation import simulate
    found = sweep(simulate, scenario, {"mesh.workers": [1, 2, 4]}, replications=5)
    found.table("latency_s.p95"); found.figure(); found.save("workers.parquet")

A run is one (point, replication), on all cores or on a Dask cluster. Each gives a row of figures, kept at once, so a
sweep that was stopped goes on where it was. The rows do not depend on who runs them, nor in which order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab import sweep_units
from lab.errors import Interrupted
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.replicate import Cores, Simulate
from lab.scenario import Scenario
from lab.sweep_design import Design, Point, Range, Sampling, design
from lab.sweep_journal import Journal, beside
from lab.sweep_units import Row, Unit

if TYPE_CHECKING:
    from lab.sweep_result import Sweep

__all__ = ["Range", "run", "sweep"]

REPLICATIONS: Final = 5
"""Runs of each point unless asked otherwise: the fewest whose intervals are not mostly Student's factor (2.8)."""


def sweep(
    simulate: Simulate,
    scenario: Scenario,
    grid: Mapping[str, Sequence[Any]] | Sequence[Point] = (),
    *,
    ranges: Mapping[str, Range] | None = None,
    samples: int = 0,
    sampling: Sampling = "latin",
    replications: int = REPLICATIONS,
    out: str | Path | None = None,
    resume: bool = False,
    cluster: str | None = None,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Sweep:
    """Run the scenario at every combination of the grid's values (or at a list of points of one's own), and at
    `samples` points drawn from the `ranges`; each point `replications` times, with seeds seed, seed + 1, …

    With `out` the result is written there, and while the sweep runs its rows are beside it; `resume` takes them up.
    `cluster` is the address of a Dask scheduler (`tcp://…`), whose workers then do the work. Raises UsageError if any
    point is wrong, before the first run; Interrupted if it was stopped before the first run was done.
    """
    asked = design(scenario, grid, ranges=ranges, samples=samples, sampling=sampling, replications=replications)
    path = None if out is None else Path(out)
    return run(simulate, asked, path, resume=resume, cluster=cluster, cores=cores, on_progress=on_progress, stop=stop)


def run(
    simulate: Simulate,
    asked: Design,
    out: Path | None = None,
    *,
    resume: bool = False,
    cluster: str | None = None,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Sweep:
    """The sweep of a design, as `sweep` has it. Stopped early, it has the rows that were done."""
    from lab.sweep_result import Sweep

    started_at, started = _now(), time.monotonic()
    asked.check(on_progress, stop)
    rows: list[Row] = []
    with ExitStack() as held:
        journal = held.enter_context(Journal(beside(out), asked, resume=resume)) if out is not None else None
        there = journal.rows if journal is not None else {}
        rows += there.values()

        def kept(row: Row | None) -> None:
            if row is not None:
                rows.append(row)
                if journal is not None:
                    journal.add(row)

        units = [unit for unit in _units(asked) if unit.key not in there]
        watched = _watched(asked, len(units), on_progress)
        if units and not stop():
            work = _on_cluster if cluster is not None else _on_cores
            work(simulate, asked, units, kept, watched, stop, cluster if cluster is not None else cores)
        if not rows:
            raise Interrupted(f"{asked.scenario.name}: stopped before the first of {asked.runs:,} runs was done")
        about = {**_about(), "started_at": started_at, "wall_s": round(time.monotonic() - started, 3)}
        found = Sweep.of(asked, rows, about)
        if out is not None and journal is not None:
            found.save(out)
            if found.complete:
                journal.remove()
    return found


def _units(asked: Design) -> list[Unit]:
    """All runs, one replication of every point after the other: a sweep that is stopped has seen every point first."""
    return [
        Unit(number, replication, point)
        for replication in range(asked.replications)
        for number, point in enumerate(asked.points)
    ]


Watched = Callable[[int], None]
Kept = Callable[[Row | None], None]


def _on_cores(
    simulate: Simulate,
    asked: Design,
    units: Sequence[Unit],
    kept: Kept,
    watched: Watched,
    stop: Stop,
    cores: Any,
) -> None:
    scenario, base = json.dumps(asked.scenario.data), str(asked.scenario.base.resolve())
    work = partial(sweep_units.run, simulate, scenario, base)
    with Cores(work, len(units), cores) as pool:
        pool.run(units, on_done=kept, on_progress=lambda one: watched(one.done), stop=stop)


def _on_cluster(
    simulate: Simulate,
    asked: Design,
    units: Sequence[Unit],
    kept: Kept,
    watched: Watched,
    stop: Stop,
    address: Any,
) -> None:
    from lab import sweep_cluster
    from lab.sweep_files import Luggage

    luggage = Luggage(asked)
    travelling = [unit._replace(values=luggage.values(unit.values)) for unit in units]
    sweep_cluster.run(address, simulate, luggage, travelling, kept, watched, stop)


def _watched(asked: Design, left: int, on_progress: OnProgress) -> Watched:
    """Tells how many of the runs that were left are done, and of how many points they are."""
    started = time.monotonic()
    before = asked.runs - left
    note = f"runs of {len(asked.points):,} points" + (f", and {before:,} runs from before" if before else "")

    def told(done: int) -> None:
        on_progress(Progress("sim", done, left, 0.0, time.monotonic() - started, note))

    told(0)
    return told


def _now() -> str:
    from lab import record

    return record.now().isoformat(timespec="seconds")


def _about() -> dict[str, Any]:
    """What else a result should say of its origin."""
    from lab import record

    return {"versions": record.versions(), "machine": record.machine()}
