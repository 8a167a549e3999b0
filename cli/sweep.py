"""`meshlab sweep`: a scenario over many points, on all cores or on a Dask cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cli import failing
from cli.overriding import loaded
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.targets import target, write
from cli.terminal import harmless, runs_folder, say, say_json, tell
from cli.watching import Meter, both
from lab.errors import UsageError
from lab.progress import OnProgress, Stop

if TYPE_CHECKING:
    from lab.sweep_design import Design
    from lab.sweep_result import Sweep

EXIT_FAILED, EXIT_CHECK_FAILED = 1, 3
FOLDER: Final = ".sweeps"
"""Below the folder of the runs: sweeps are no records of runs."""
Found = TypeVar("Found")


def command(options: argparse.Namespace) -> int:
    """Run, save, print. Whatever goes wrong stands in the status file too, if there is one."""
    status = StatusFile(options.status)
    status.begin()
    try:
        return _sweep(options, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, runs_folder(None), status)


def _sweep(options: argparse.Namespace, status: StatusFile) -> int:
    asked = _design(options)
    out = _out(options, asked)
    html = target("--html", options.html)
    meter = Meter(quiet=options.quiet)

    told = both(meter, status.on_progress)

    with StopFlag() as stop:
        stop.before_exit = lambda: status.end(
            "cancelled", EXIT_INTERRUPTED, message="stopped at once; --resume goes on with what was run"
        )
        found = _finished(out, asked) if options.resume else None
        if found is None:
            found = _run(options, asked, out, told, stop)
        meter.clear()
        return _conclude(options, found, out, html, status)


def _run(options: argparse.Namespace, asked: Design, out: Path, on_progress: OnProgress, stop: Stop) -> Sweep:
    from lab.sweep import run
    from simulation import simulate

    return run(simulate, asked, out, resume=options.resume, cluster=options.cluster, on_progress=on_progress, stop=stop)


# ---- what is asked ---------------------------------------------------------------------------------------------------


def _design(options: argparse.Namespace) -> Design:
    """The points, as the options say. They are checked before the first run, not yet here."""
    from lab.sweep import REPLICATIONS
    from lab.sweep_design import design, range_of, values

    scenario = loaded(options.scenario, options.set, options.seed)
    grid = _by_path("--grid", "PATH=V1,V2,…, as in --grid mesh.workers=1,2,4", options.grid, values)
    ranges = _by_path(
        "--range", "PATH=LOW..HIGH, as in --range rules.retry.base_s=0.1..10:log", options.range, range_of
    )
    if not grid and not ranges:
        raise UsageError(
            "what is to be varied is missing: give --grid PATH=V1,V2,… or --range with --latin or --random"
        )
    if ranges and not (options.latin or options.random):
        raise UsageError(f"--range {options.range[0]}: needs --latin N or --random N, the number of points")
    asked = design(
        scenario,
        grid,
        ranges=ranges,
        samples=options.latin or options.random or 0,
        sampling="random" if options.random else "latin",
        replications=options.replications or REPLICATIONS,
    )
    if options.baseline is not None and not 0 <= options.baseline < len(asked.points):
        raise UsageError(f"--baseline {options.baseline}: the points are numbered 0 to {len(asked.points) - 1:,}")
    return asked


def _by_path(option: str, form: str, given: Sequence[str], read: Callable[[str], Found]) -> Mapping[str, Found]:
    """What each use of an option says, by its path."""
    found: dict[str, Found] = {}
    for text in given:
        path, equals, rest = text.partition("=")
        path = path.strip()
        if not equals or not path:
            raise UsageError(f"{option} {text}: write {form}")
        if path in found:
            raise UsageError(f"{option} {text}: {path} has been given before; write all that it may be in one")
        try:
            found[path] = read(rest)
        except UsageError as error:
            raise UsageError(f"{option} {text}: {error}") from error
    return found


def _out(options: argparse.Namespace, asked: Design) -> Path:
    """Where the result goes; resumed without --out, where the same sweep was stopped last."""
    if (out := target("--out", options.out, (".parquet",))) is not None:
        return out
    folder = runs_folder(None) / FOLDER
    if options.resume:
        return _stopped(folder, asked)
    from lab import record

    words = record.plain(asked.scenario.name)
    return folder / f"{words}-{record.now():%Y%m%d-%H%M%S}-{record.nonce()}.parquet"


def _stopped(folder: Path, asked: Design) -> Path:
    from lab.sweep_journal import SUFFIX, design_of

    journals = sorted(folder.glob(f"*.parquet{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for journal in journals:
        if design_of(journal) == asked.digest:
            return journal.with_name(journal.name.removesuffix(SUFFIX))
    raise UsageError(
        f"--resume: {folder} has no sweep of these points, replications and scenario that was stopped; leave --resume "
        "out, or name its file with --out"
    )


def _finished(out: Path, asked: Design) -> Sweep | None:
    """The result, if it is there already and whole: then there is nothing left to do."""
    from lab.sweep_journal import beside
    from lab.sweep_result import Sweep

    if not out.exists() or beside(out).exists():
        return None
    found = Sweep.load(out)
    if found.about["design"] != asked.digest:
        raise UsageError(f"--out {out}: holds another sweep; give another file, or leave --resume out to replace it")
    tell(f"{out}: this sweep is finished; here is what it has found")
    return found


# ---- what is found ---------------------------------------------------------------------------------------------------


def _conclude(options: argparse.Namespace, found: Sweep, out: Path, html: Path | None, status: StatusFile) -> int:
    """Print, write the page, tell what was wrong, and find the exit status."""
    from cli import sweep_words

    baseline, figures = options.baseline, tuple(options.figure or sweep_words.FIGURES)
    sweep_words.demand_figures(found, figures)
    if options.json:
        say_json(sweep_words.as_json(found, out, figures, baseline))
    else:
        for line in sweep_words.report(found, figures, baseline):
            say(harmless(line))
    if html is not None:
        from lab.sweep_page import page

        write("--html", html, page(found, figures, baseline))
        tell(f"written to {html}")
    for line in sweep_words.faults(found):
        tell(harmless(line))
    done = f"{len(found.frame):,} of {found.about['points'] * found.about['replications']:,} runs"
    if not found.complete:
        tell(f"interrupted; {done} are in {out}; the same command with --resume --out {out} goes on")
        status.end("cancelled", EXIT_INTERRUPTED, result={"out": str(out)}, message=f"stopped after {done}")
        return EXIT_INTERRUPTED
    tell(f"written to {out}")
    code = EXIT_CHECK_FAILED if len(found.broken) else EXIT_FAILED if len(found.failed) else 0
    status.end("done", code, result={"out": str(out)})
    return code
