"""One scenario on one engine, once or many times: what `meshlab run` prints about it, its records saved."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from lab.errors import Unavailable
from lab.progress import OnProgress, Progress, Stop, ignore
from lab.scenario import Scenario

LOOK_S = 0.1
"""How often a parallel run looks whether it has been stopped."""


@dataclass(frozen=True)
class Ran:
    """What a run came to: its JSON object, which of the keys are figures, and in plain words what was wrong."""

    result: dict[str, Any]
    figures: tuple[str, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Watch:
    """Who is told while engines run, and who may end it."""

    on_progress: OnProgress
    on_saved: Callable[[str], None]
    stop: Stop


def run_once(engine: str, scenario: Scenario, folder: Path, on_progress: OnProgress, stop: Stop) -> Ran:
    """Run, and save the record in `folder`/<run id>."""
    from lab import outcome

    record = _engine(engine)(scenario, on_progress=on_progress, stop=stop)
    target = folder / str(record.info["run_id"])
    try:
        record.save(target)
    except OSError as error:
        raise Unavailable(
            f"{target}: the record cannot be saved here ({error.strerror}); give another folder with --out"
        ) from error
    return Ran(outcome.result(record), tuple(record.info["summary"]), tuple(_faults(record.info)))


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


def replicated(engine: str, scenario: Scenario, folder: Path, replications: int, watch: Watch) -> Ran:
    """Run with seeds seed, seed + 1, … and give the means with their 95 % intervals.

    The model runs on all cores, one process a replication; the live engine needs the machine for itself.
    If it is stopped, the finished replications count; if there is none, the first one as far as it came.
    """
    scenarios = [scenario.override({"seed": scenario.seed + number}) for number in range(replications)]
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, replications)
    runs = (
        _in_parallel(scenarios, folder, cores, watch)
        if engine == "sim" and cores > 1
        else _in_turn(engine, scenarios, folder, watch)
    )
    whole = [run for run in runs if not run.result["interrupted"]]
    return _merged(whole or runs[:1], replications)


def _merged(runs: list[Ran], asked: int) -> Ran:
    """One object of many: figures are means with intervals, everything else stays sensible."""
    from lab import metrics

    first = runs[0]
    figures = [{key: run.result[key] for key in first.figures} for run in runs]
    result = {
        **first.result,
        **(metrics.with_intervals(figures) if len(runs) > 1 else figures[0]),
        "checks": {
            "ok": all(run.result["checks"]["ok"] for run in runs),
            "failed": sorted({name for run in runs for name in run.result["checks"]["failed"]}),
        },
        "interrupted": len(runs) < asked or bool(first.result["interrupted"]),
        "wall_s": round(sum(run.result["wall_s"] for run in runs), 3),
        "replications": len(runs),
        "seeds": [run.result["seed"] for run in runs],
        "records": [run.result["record"] for run in runs],
    }
    faults = tuple(f"seed {run.result['seed']}: {fault}" for run in runs for fault in run.faults)
    return Ran(result, first.figures, faults)


def _in_turn(engine: str, scenarios: list[Scenario], folder: Path, watch: Watch) -> list[Ran]:
    runs: list[Ran] = []
    for number, scenario in enumerate(scenarios, start=1):
        runs.append(
            run_once(engine, scenario, folder, _numbered(watch.on_progress, number, len(scenarios)), watch.stop)
        )
        watch.on_saved(runs[-1].result["record"])
        if watch.stop():
            break
    return runs


def _numbered(on_progress: OnProgress, number: int, of: int) -> OnProgress:
    """The progress of one replication as that of all: tasks of the earlier ones are done."""

    started = time.monotonic()

    def told(one: Progress) -> None:
        done, wall_s = one.total * (number - 1) + one.done, time.monotonic() - started
        on_progress(Progress(one.engine, done, one.total * of, one.now_s, wall_s, f"replication {number} of {of}"))

    return told


def _in_parallel(scenarios: list[Scenario], folder: Path, cores: int, watch: Watch) -> list[Ran]:
    """The model's replications in fresh processes. Results come in the order of the seeds."""
    context = multiprocessing.get_context("spawn")  # forking a process that holds threads (numpy's, a test's) can hang
    stopped, started = context.Event(), time.monotonic()
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_begin_child, initargs=(stopped,)) as pool:
        asked = [pool.submit(_in_child, scenario, folder) for scenario in scenarios]
        waiting = set(asked)
        while waiting:
            done, waiting = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            _tell_saved(done, watch)
            ended = len(asked) - len(waiting)
            note = f"replication {min(ended + 1, len(asked))} of {len(asked)}"
            watch.on_progress(Progress("sim", ended, len(asked), 0.0, time.monotonic() - started, note))
            if watch.stop() and not stopped.is_set():
                stopped.set()
                waiting = {future for future in waiting if not future.cancel()}
        return [future.result() for future in asked if not future.cancelled()]


def _tell_saved(done: set[Future[Ran]], watch: Watch) -> None:
    for future in done:
        if not future.cancelled() and future.exception() is None:
            watch.on_saved(future.result().result["record"])


_stopped: Event | None = None
"""In a child: set when the parent wants it to end."""


def _begin_child(stopped: Event) -> None:
    """Ctrl-C reaches every process of the terminal; only the parent decides. And no child outlives it."""
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_child(scenario: Scenario, folder: Path) -> Ran:
    return run_once("sim", scenario, folder, ignore, lambda: _stopped is not None and _stopped.is_set())
