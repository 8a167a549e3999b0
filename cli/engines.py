"""One scenario on one engine, once or many times: what `meshlab run` prints about it, its records saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.errors import Interrupted, Unavailable
from lab.progress import OnProgress, Progress, Stop, ignore
from lab.scenario import Scenario

if TYPE_CHECKING:
    from lab.metrics import Times
    from lab.precision import StartUp
    from lab.record import Record
    from lab.until import Outcome, Target


@dataclass(frozen=True)
class Ran:
    """What a run came to: its JSON object, and in plain words what was wrong."""

    result: dict[str, Any]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Watch:
    """Who is told while engines run, and who may end it."""

    on_progress: OnProgress
    on_saved: Callable[[str], None]
    stop: Stop


@dataclass(frozen=True)
class Asked:
    """What is to be run, and how often: once, `replications` times, or `until` a figure is known (then `replications`
    is the most).
    """

    engine: str
    scenario: Scenario
    folder: Path
    start_up: StartUp = "keep"
    replications: int | None = None
    until: Target | None = None


class Replica(NamedTuple):
    """A run, its figures, and the times of its tasks for pooling."""

    ran: Ran
    summary: dict[str, Any]
    times: Times

    @property
    def kept(self) -> Times:
        """The times of the tasks that count, whatever was asked to become of the first ones."""
        return self.times.from_task(self.ran.result["precision"]["start_up"]["deleted_tasks"])


def run(asked: Asked, watch: Watch) -> Ran:
    """Run as often as asked, saving every record."""
    if asked.until is not None:
        return _until(asked, asked.until, watch)
    if asked.replications is not None and asked.replications > 1:
        return _replicated(asked, asked.replications, watch)
    ran, _ = _saved(asked, asked.scenario, watch.on_progress, watch.stop)
    watch.on_saved(ran.result["record"])
    return ran


def _saved(asked: Asked, scenario: Scenario, on_progress: OnProgress, stop: Stop) -> tuple[Ran, Record]:
    """Run once, and save the record in `folder`/<run id>."""
    from lab import outcome
    from lab.precision import precision

    record = _engine(asked.engine)(scenario, on_progress=on_progress, stop=stop)
    if asked.start_up != "keep":
        record.info["precision"] = precision(record, asked.start_up)
    target = asked.folder / str(record.info["run_id"])
    try:
        record.save(target)
    except OSError as error:
        raise Unavailable(
            f"{target}: the record cannot be saved here ({error.strerror}); give another folder with --out"
        ) from error
    return Ran(outcome.result(record), tuple(_faults(record.info))), record


def _engine(name: str) -> Callable[..., Any]:
    if name == "sim":
        from simulation import simulate

        return simulate
    from live_backend import run_live

    return run_live


def _faults(info: dict[str, Any]) -> Iterator[str]:
    """What a person must know about a run that was not as it should be."""
    from lab.checks import Check, failures

    if info.get("stalled"):
        yield "the run stalled: tasks were left over when nothing could happen any more"
    yield from failures([Check(**{**one, "tasks": tuple(one["tasks"])}) for one in info["checks"]["details"]])


# ---- many runs -------------------------------------------------------------------------------------------------------


def _replicated(asked: Asked, replications: int, watch: Watch) -> Ran:
    """Run with seeds seed, seed + 1, … and put the figures together with their 95 % intervals.

    The model runs on all cores, one process a replication; the live engine needs the machine for itself.
    If it is stopped, the finished replications count; if there is none, the first one as far as it came.
    """
    from lab.replicate import affordable, seeded

    scenarios = seeded(asked.scenario, range(affordable(asked.scenario, replications)))
    if asked.engine == "live":
        replicas = _in_turn(asked, scenarios, watch)
    else:
        with _cores(asked, replications) as cores:
            replicas = cores.run(scenarios, on_done=_telling(watch), on_progress=watch.on_progress, stop=watch.stop)
    whole = _whole(replicas)
    return _merged(whole or replicas[:1], interrupted=len(whole) < replications)


def _until(asked: Asked, target: Target, watch: Watch) -> Ran:
    """Run rounds of replications of the model until the figure is known as well as asked, or as many were made as may
    be. Stopped, it has what is finished.
    """
    from lab.limits import REPLICATIONS_MAX
    from lab.replicate import replications_max, seeded
    from lab.until import until

    most = min(asked.replications or REPLICATIONS_MAX, replications_max(asked.scenario))
    started, unfinished = time.monotonic(), list[Replica]()
    with _cores(asked, most) as cores:

        def run_round(numbers: range, so_far: Outcome) -> list[Replica]:
            on_progress = _in_rounds(watch.on_progress, numbers, so_far, started)
            scenarios = seeded(asked.scenario, numbers)
            replicas = cores.run(scenarios, on_done=_telling(watch), on_progress=on_progress, stop=watch.stop)
            unfinished.extend(replica for replica in replicas if replica.ran.result["interrupted"])
            return _whole(replicas)

        replicas, outcome = until(target, most, run_round, lambda replica: replica.kept)
    merged = _merged(replicas or unfinished[:1], interrupted=watch.stop() and not outcome.reached)
    return replace(merged, result={**merged.result, "until": outcome.as_json()})


def _cores(asked: Asked, runs: int) -> Any:
    from lab.replicate import Cores

    return Cores[Scenario, Replica](partial(_replica, replace(asked, until=None)), runs)


def _replica(asked: Asked, scenario: Scenario, stop: Stop, on_progress: OnProgress = ignore) -> Replica:
    """One replication, in whatever process."""
    from lab.metrics import Times

    ran, record = _saved(asked, scenario, on_progress, stop)
    return Replica(ran, record.info["summary"], Times.of(record))


def _whole(replicas: Sequence[Replica]) -> list[Replica]:
    """Those that were not stopped before their end."""
    return [replica for replica in replicas if not replica.ran.result["interrupted"]]


def _merged(replicas: Sequence[Replica], *, interrupted: bool) -> Ran:
    """One object of many: figures are put together with their intervals, everything else stays sensible."""
    from lab import theory
    from lab.pooling import pooled
    from lab.precision import of_replications

    if not replicas:
        raise Interrupted("stopped before anything had happened")
    runs = [replica.ran for replica in replicas]
    first = runs[0].result
    merged = pooled([replica.summary for replica in replicas], [replica.times for replica in replicas])
    result = {
        **first,
        **merged,
        "precision": of_replications(first["precision"], [replica.kept for replica in replicas]),
        "checks": {
            "ok": all(run.result["checks"]["ok"] for run in runs),
            "failed": sorted({name for run in runs for name in run.result["checks"]["failed"]}),
        },
        "theory": theory.of_replications([run.result["theory"] for run in runs], merged),
        "interrupted": interrupted,
        "wall_s": round(sum(run.result["wall_s"] for run in runs), 3),
        "replications": len(runs),
        "seeds": [run.result["seed"] for run in runs],
        "records": [run.result["record"] for run in runs],
    }
    return Ran(result, tuple(f"seed {run.result['seed']}: {fault}" for run in runs for fault in run.faults))


def _in_turn(asked: Asked, scenarios: Sequence[Scenario], watch: Watch) -> list[Replica]:
    """The live engine's replications, one after the other."""
    replicas: list[Replica] = []
    for number, scenario in enumerate(scenarios, start=1):
        on_progress = _numbered(watch.on_progress, number, len(scenarios))
        replicas.append(_replica(asked, scenario, watch.stop, on_progress))
        watch.on_saved(replicas[-1].ran.result["record"])
        if watch.stop():
            break
    return replicas


def _telling(watch: Watch) -> Callable[[Replica], None]:
    return lambda replica: watch.on_saved(replica.ran.result["record"])


def _numbered(on_progress: OnProgress, number: int, of: int) -> OnProgress:
    """The progress of one replication as that of all: tasks of the earlier ones are done."""
    started = time.monotonic()

    def told(one: Progress) -> None:
        done, wall_s = one.total * (number - 1) + one.done, time.monotonic() - started
        on_progress(Progress(one.engine, done, one.total * of, one.now_s, wall_s, f"replication {number} of {of}"))

    return told


def _in_rounds(on_progress: OnProgress, numbers: range, so_far: Outcome, started: float) -> OnProgress:
    """The progress of one round as that of all: what is known, what is asked, and how many runs that may take."""

    def told(one: Progress) -> None:
        done, wall_s = numbers.start + one.done, time.monotonic() - started
        on_progress(Progress(one.engine, done, numbers.stop, 0.0, wall_s, so_far.words))

    return told
