"""`meshlab twin`: the model against the real machine over a matrix of scenarios, judged by equivalence."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import failing, twin_words
from cli.status import StatusFile
from cli.stopping import EXIT_INTERRUPTED, StopFlag
from cli.targets import write, writing
from cli.terminal import runs_folder, say, say_json, tell
from cli.watching import Meter, both
from lab.errors import Unavailable, UsageError
from lab.progress import Progress

if TYPE_CHECKING:
    from lab.record import Record
    from lab.twin import Study
    from lab.twin_matrix import Case

EXIT_CHECK_FAILED = 3
LISTS = ("curves", "worst")
"""What only the file has: too long for a terminal."""


def command(options: argparse.Namespace) -> int:
    """Test, print, write. Whatever goes wrong stands in the status file too, if there is one."""
    status = StatusFile(options.status)
    status.begin()
    try:
        return _command(options, status)
    except (Exception, KeyboardInterrupt) as error:
        return failing.ended(error, Path(options.out or "."), status)


def _command(options: argparse.Namespace, status: StatusFile) -> int:
    cases = _cases(options)
    if options.list:
        for line in twin_words.listed(cases):
            say(line)
        return 0
    if options.write:
        return _write_scenarios(cases, Path(options.write))
    target = _target(options.out)
    with StopFlag() as stop:
        meter = Meter(quiet=options.quiet)
        study = _study(options, cases, both(meter, status.on_progress), _on_done(options, target), stop)
        meter.clear()
        data = study.data
        if target is not None:
            _write(target, study)
        if options.json:
            say_json(without_lists(data))
        else:
            for line in twin_words.report(data):
                say(line)
        if target is not None:
            tell(f"written to {target}: results.json, table.csv, table.parquet, report.html")
        return _conclude(study, data, status, stopped=stop())


def _conclude(study: Study, data: dict[str, Any], status: StatusFile, *, stopped: bool) -> int:
    result = {"ok": data["ok"], "complete": study.complete, "missed": data["summary"]["missed"]}
    if stopped or not study.complete:
        tell("interrupted; this is what the finished runs say")
        status.end("cancelled", EXIT_INTERRUPTED, result=result, message="interrupted")
        return EXIT_INTERRUPTED
    code = 0 if data["ok"] else EXIT_CHECK_FAILED
    status.end("done", code, result=result)
    return code


def _cases(options: argparse.Namespace) -> list[Case]:
    """The matrix, a part of it, or the user's own files; all with the profile of --profile."""
    from lab import profile, twin_matrix

    names = None if options.only is None else [name.strip() for name in options.only.split(",") if name.strip()]
    if options.scenarios and (names or options.quick):
        raise UsageError("--only and --quick choose from the matrix; with scenario files leave them out")
    if options.scenarios:
        cases = twin_matrix.of_files(options.scenarios)
    else:
        cases = twin_matrix.matrix(names, quick=options.quick)
    if options.profile is None:
        return cases
    name = options.profile
    if name not in profile.BUILT_IN and Path(name).exists():
        name = str(Path(name).resolve())  # a scenario would look for it beside itself
    profile.load(name)
    return [replace(case, scenario=case.scenario.override({"profile": name})) for case in cases]


def _study(
    options: argparse.Namespace,
    cases: list[Case],
    on_progress: Callable[[Progress], None],
    on_done: Callable[[Study, Record], None],
    stop: StopFlag,
) -> Study:
    from lab import twin
    from live_backend import run_live
    from simulation import simulate

    repeats = options.repeats or (1 if options.quick else twin.REPEATS)
    study = twin.run(
        simulate,
        run_live,
        cases,
        repeats,
        seed=options.order_seed,
        on_progress=on_progress,
        on_done=on_done,
        stop=stop,
    )
    if options.keep:
        for one in study.tried:
            _keep(one.model)
    return study


def _on_done(options: argparse.Namespace, target: Path | None) -> Callable[[Study, Record], None]:
    """After each live run: the results so far, and its record if it is to be kept."""

    def told(study: Study, record: Record) -> None:
        if options.keep:
            _keep(record)
        if target is not None:
            _write_json(target, study)

    return told


def _keep(record: Record) -> None:
    target = runs_folder(None) / str(record.info["run_id"])
    try:
        record.save(target)
    except OSError as error:
        raise Unavailable(f"{target}: the record cannot be saved here ({error.strerror})") from error


def without_lists(data: dict[str, Any]) -> dict[str, Any]:
    """The results without curves and tasks."""
    scenarios = [{key: value for key, value in one.items() if key not in LISTS} for one in data["scenarios"]]
    return {**data, "scenarios": scenarios}


# ---- files -----------------------------------------------------------------------------------------------------------


def _write_scenarios(cases: list[Case], folder: Path) -> int:
    from lab import twin_matrix

    try:
        written = twin_matrix.write(cases, folder)
    except OSError as error:
        raise UsageError(f"--write {folder}: cannot be written ({error.strerror})") from error
    say(f"{len(written)} scenarios written to {folder}; run one with `meshlab run {written[0]} --engine both`")
    return 0


def _target(out: str | None) -> Path | None:
    """Where to write, refused before the work rather than after it."""
    if out is None:
        return None
    target = Path(out)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: results cannot be written here ({error.strerror})") from error
    return target


def _write_json(target: Path, study: Study) -> None:
    from lab.record import write_json

    try:
        write_json(target / "results.json", study.data)
    except OSError as error:
        raise Unavailable(f"{target}: cannot be written ({error.strerror}); give another folder with --out") from error


def _write(target: Path, study: Study) -> None:
    """All files."""
    from lab.twin_page import page

    _write_json(target, study)
    table, text = study.table(), page(study.data)
    with writing("--out", target / "table.csv") as scratch:
        table.to_csv(scratch, index=False, lineterminator="\n")
    with writing("--out", target / "table.parquet") as scratch:
        table.to_parquet(scratch, index=False)
    write("--out", target / "report.html", text)
