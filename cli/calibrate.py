"""`meshlab calibrate`: the profile of this machine, measured, kept, and told with how well it fits."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli import failing
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.targets import target, write
from cli.terminal import harmless, percent, runs_folder, say, say_json, table, tell
from cli.watching import Meter, both
from lab import profile as profiles

if TYPE_CHECKING:
    from lab.calibration_run import Bench
    from lab.profile import Profile
    from lab.progress import Stop

BUSY_LOAD = 0.5
"""Processes at work beside us for every core, above which a measurement is not to be trusted."""

COSTS_HEAD = ("", "loop", "a task more", "servers", "a task more", "waits")
FITS_HEAD = ("fit: model against machine", "p50", "p95", "p99", "throughput", "machine against itself")


def command(options: argparse.Namespace) -> int:
    """Measure, keep, tell."""
    if options.show:
        return _tell(options, profiles.load(options.name), profiles.place(options.name))
    status = StatusFile(options.status)
    status.begin()
    try:
        found, path = _calibrated(options, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)
    status.end("done", 0, result={"profile": str(path), "fit": found.fit})
    return _tell(options, found, path)


def _calibrated(options: argparse.Namespace, status: StatusFile) -> tuple[Profile, Path]:
    from lab.calibration_run import calibrate
    from live_backend import run_live
    from simulation import simulate

    path = target("--out", options.out) or profiles.reserve(options.name)
    _warn_of_company()
    with StopFlag() as stop:
        stop.before_exit = lambda: status.end("cancelled", EXIT_INTERRUPTED, message="stopped at once; nothing is kept")
        meter = Meter(quiet=options.quiet)
        model = lambda scenario, profile: simulate(scenario, profile=profile)  # noqa: E731
        found = calibrate(partial(_bench, stop), run_live, model, both(meter, status.on_progress), stop)
        meter.clear()
    if options.out is None:
        return found, profiles.save(found, options.name)
    write("--out", path, profiles.as_yaml(found))
    return found, path


def _bench(stop: Stop) -> Bench:
    """The operations alone, on the servers that a run would use."""
    from lab.calibration_age import fingerprint
    from lab.calibration_run import Bench
    from lab.replicate import core_count
    from live_backend.calibrating import time_memory, time_operations, timer_tick_s
    from live_backend.servers import open_servers

    with open_servers() as servers:
        timings = time_operations(servers, stop)
        machine = fingerprint({fact.kind: f"{fact.version} ({fact.source})" for fact in servers.facts})
    fill_s, drop_s = time_memory()
    return Bench(tuple(timings), fill_s, drop_s, timer_tick_s(), core_count(), machine)


def _warn_of_company() -> None:
    """Say so if others use this machine now."""
    import psutil

    busy, cores = psutil.getloadavg()[0], psutil.cpu_count() or 1
    if busy / cores > BUSY_LOAD:
        tell(f"{busy:.1f} processes are at work on {cores} cores already: what is measured now includes them")


# ---- what it came to -------------------------------------------------------------------------------------------------


def _tell(options: argparse.Namespace, found: Profile, path: Path) -> int:
    from lab.calibration_age import doubts

    wrong = doubts(found)
    if options.json:
        say_json({"profile": str(path), "doubts": wrong, **found.model_dump(mode="json")})
        return 0
    for line in [*_lines(found), "", f"kept in {path}"]:
        say(line)
    for doubt in wrong:
        tell(harmless(f"in doubt: {doubt}"))
    return 0


def _lines(found: Profile) -> Iterator[str]:
    """Costs, waits and fit, for people."""
    yield harmless(found.measured)
    yield ""
    yield from table(list(_costs(found)), COSTS_HEAD, right=range(1, 6))
    yield ""
    yield f"a fresh worker claims after {found.worker_start_s:.2f} s and weighs {found.memory.base_mib:.1f} MiB;"
    yield f"a MiB of a task is filled in {1e3 * found.memory.touch_s_per_mib:.2f} ms; a report costs " + (
        f"{1e3 * found.heartbeat_s:.1f} ms"
    )
    if found.fit:
        yield ""
        yield from table(list(_fits(found)), FITS_HEAD, right=range(1, 6))


def _costs(found: Profile) -> Iterator[list[str]]:
    for name in ("submit", "push", "fetch", "claim", "begin", "settle", "reply", "due"):
        cost = getattr(found, name)
        late_s = [one for part in (cost.late_s, cost.woken_late_s) for one in part[len(part) // 2 : len(part) // 2 + 1]]
        parts = (cost.loop_s, cost.loop_task_s, cost.database_s, cost.database_task_s, cost.wait_s + sum(late_s))
        yield [name, *(f"{1e3 * part:.3f} ms" for part in parts)]


def _fits(found: Profile) -> Iterator[list[str]]:
    for name, figures in found.fit.items():
        errors = [figures.get(f"latency_s.{point}", {}) for point in ("p50", "p95", "p99")]
        errors.append(figures.get("throughput_per_s", {}))
        noise = max((one["noise"] for one in errors if "noise" in one), default=None)
        told = "fitted to nothing" if name == "check" else name
        yield [told, *(percent(one.get("error")) for one in errors), percent(noise)]
