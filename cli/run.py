"""`meshlab run`: a scenario in the model, live, or both side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from cli import failing, figures
from cli.engines import Asked, Ran, Watch, run
from cli.overriding import loaded
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.terminal import RED, harmless, painted, runs_folder, say, say_json, tell
from cli.watching import Meter, both
from lab.errors import UsageError
from lab.scenario import Scenario

EXIT_CHECK_FAILED = 3


def command(options: argparse.Namespace) -> int:
    """Run, save, print. Whatever goes wrong stands in the status file too, if there is one."""
    status = StatusFile(options.status)
    status.begin()
    folder = runs_folder(options.out)
    try:
        return _run(options, folder, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, folder, status)


def _run(options: argparse.Namespace, folder: Path, status: StatusFile) -> int:
    engines = ("sim", "live") if options.engine == "both" else (options.engine,)
    if options.until is not None and engines != ("sim",):
        raise UsageError("--until: is for the model alone, since nobody knows how long it takes; leave --engine out")
    scenario = loaded(options.scenario, options.set, options.seed)
    _make(folder)
    _warn_of_the_profile(engines, scenario)
    with StopFlag() as stop:
        stop.before_exit = lambda: status.end(
            "cancelled", EXIT_INTERRUPTED, message="stopped at once; what ran last is lost"
        )
        meter = Meter(quiet=options.quiet)
        watch = Watch(both(meter, status.on_progress), status.add_record, stop)
        ran = {}
        for engine in engines:
            asked = Asked(engine, scenario, folder, options.start_up, options.replications, options.until)
            ran[engine] = run(asked, watch)
            meter.clear()
            if stop():
                break
        result = _result(engines, ran)
        return _conclude(options, scenario, ran, result, status, stopped=stop())


def _warn_of_the_profile(engines: tuple[str, ...], scenario: Scenario) -> None:
    """Say so if the model may be wrong about this machine."""
    from lab.calibration_age import warning

    if "sim" in engines and (text := warning(scenario.profile, scenario.base, beside_live="live" in engines)):
        tell(harmless(text))


def _make(folder: Path) -> None:
    """Make the folder of the records before the work rather than fail after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: records cannot be kept here ({error.strerror}); give another folder with --out"
        ) from error


def _result(engines: tuple[str, ...], ran: dict[str, Ran]) -> dict[str, Any]:
    """The JSON object. An engine that was not reached, because the run was stopped before, is null."""
    if len(engines) == 1:
        return ran[engines[0]].result
    objects = {engine: ran[engine].result if engine in ran else None for engine in engines}
    return {**objects, "compare": _compared(objects) if len(ran) == len(engines) else None}


def _compared(objects: dict[str, Any]) -> dict[str, Any]:
    """The first records compared; with replications the figures are those of all runs."""
    from lab.compare import compare, side_by_side
    from lab.record import Record

    data = compare(*(Record.load(objects[engine]["record"]) for engine in ("sim", "live"))).data
    if any("replications" in one for one in objects.values()):
        data |= side_by_side(objects["sim"], objects["live"], ("sim", "live"))
    return data


def _conclude(
    options: argparse.Namespace,
    scenario: Scenario,
    ran: dict[str, Ran],
    result: dict[str, Any],
    status: StatusFile,
    *,
    stopped: bool,
) -> int:
    """Print, tell what was wrong, and find the exit status."""
    if options.json:
        say_json(result)
        for fault in (fault for one in ran.values() for fault in one.faults):
            tell(painted(fault, RED, sys.stderr))
    else:
        for line in figures.report(scenario, ran, result.get("compare")):
            say(line)
    if stopped or any(one.result["interrupted"] for one in ran.values()):
        kept = ", ".join(str(one.result["record"]) for one in ran.values())
        tell(f"interrupted; what happened until then is in {kept}")
        status.end("cancelled", EXIT_INTERRUPTED, result=result, message="interrupted")
        return EXIT_INTERRUPTED
    code = 0 if all(one.result["checks"]["ok"] for one in ran.values()) else EXIT_CHECK_FAILED
    status.end("done", code, result=result)
    return code
