"""`meshlab`: what commands there are, what each takes, and what its exit status says.

Exit status: 0 done, 1 error, 2 bad usage or scenario, 3 a check failed, 130 interrupted. A command's module is
loaded when it is called, and heavy packages where they are used, so that the small commands answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli import (
    calibrate_options,
    failing,
    fit_options,
    plan_options,
    report_options,
    shadow_options,
    sweep_options,
    twin_options,
    whatif_options,
)
from cli.numbers import PORT_MAX, replications, whole
from cli.standing_options import add_standing
from cli.terminal import flush_stdout, ready_streams, runs_folder, tell
from lab.errors import UsageError
from lab.rules.presets import PRESETS

if TYPE_CHECKING:
    from lab.until import Target

TWIN = (calibrate_options, twin_options, shadow_options, fit_options, sweep_options, plan_options, whatif_options)
"""What asks the model instead of the machine, and how far it may be trusted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status; never raises for what a user did or met."""
    ready_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        options = parser().parse_args(words)
        status = _dispatch(options)
    except SystemExit as end:  # argparse has said what is wrong, or shown the help
        status = end.code if isinstance(end.code, int) else 0
    flush_stdout()
    return status


def _dispatch(options: argparse.Namespace) -> int:
    try:
        command = importlib.import_module(f"cli.{options.command}").command
        return int(command(options))
    except (Exception, KeyboardInterrupt) as error:
        failure = failing.explain(error, runs_folder(getattr(options, "out", None)))
        tell(failure.message)
        return failure.exit_status


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="meshlab",
        description="A wind tunnel for fleets of AI agents: one scenario, in a model and on real Redis and PostgreSQL.",
        epilog="Exit status: 0 done, 1 error, 2 bad usage or scenario, 3 a check failed, 130 interrupted.",
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_scenario_commands(commands)
    _add_compare(commands)
    _add_metastability(commands)
    _add_runs(commands)
    report_options.add(commands)
    for one in TWIN:
        one.add(commands)
    doctor = commands.add_parser("doctor", help="what is here, what is missing, and how to mend it")
    _add_json(doctor)
    _add_app(commands)
    add_standing(commands)
    return top


Commands = argparse._SubParsersAction  # the only name that argparse has for it


def _add_run(commands: Commands[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run a scenario in the model, live, or both")
    run.add_argument("scenario", metavar="SCENARIO", help="a scenario file (YAML)")
    run.add_argument("--engine", choices=("sim", "live", "both"), default="sim", help="which engine (default: sim)")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="replace a value, as in --set mesh.workers=8; repeatable",
    )
    run.add_argument("--seed", type=int, metavar="N", help="use this seed instead of the scenario's")
    run.add_argument(
        "--replications",
        type=replications(),
        metavar="N",
        help="run N times with seeds seed, seed+1, …: figures of all runs with 95%% intervals; with --until, the most",
    )
    run.add_argument(
        "--until",
        type=_until,
        metavar="[FIGURE.]POINT:X%",
        help="replicate in the model until a figure is known within X%% of itself: p99:5%%, queue_wait.mean:2%%",
    )
    run.add_argument(
        "--start-up",
        choices=("keep", "delete", "mser5"),
        default="keep",
        help="what becomes of the first tasks in the estimates of a steady state: they count (default), those of 20 "
        "relaxation times are left out, or those that MSER-5 cuts off",
    )
    run.add_argument("--out", metavar="DIR", help="where records are kept (default: $MESHLAB_RUNS, else runs/)")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    run.add_argument("--status", help=argparse.SUPPRESS)
    _add_json(run)


def _add_scenario_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    validate = commands.add_parser("validate", help="check scenario files; all errors at once, with their lines")
    validate.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="a scenario file (YAML)")
    commands.add_parser("schema", help="print the JSON Schema of a scenario, for editors")
    rules = commands.add_parser("rules", help="print every rule with its value, unit, formula and reason")
    rules.add_argument("--preset", choices=tuple(PRESETS), default="lab", help="whose values (default: lab)")
    _add_json(rules)
    rules.add_argument("--markdown", action="store_true", help="print docs/RULES.md")


def _add_compare(commands: Commands[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="lay two runs of the same tasks side by side, or run two scenarios on the same tasks and draws",
        description="Two runs of the same tasks side by side; or two scenario files (.yaml), which are run in the "
        "model with the same seeds, tasks and draws, and compared pair by pair.",
    )
    for name, letter in (("first", "A"), ("second", "B")):
        compare.add_argument(name, metavar=letter, help="a run's id, its beginning, or its folder; or a scenario file")
    compare.add_argument(
        "--replications",
        type=replications(),
        metavar="N",
        help="pairs of runs of two scenarios, with seeds seed, seed+1, … (default: 10)",
    )
    compare.add_argument("--quiet", action="store_true", help="show no progress")
    _add_out(compare)
    _add_json(compare)


def _add_metastability(commands: Commands[argparse.ArgumentParser]) -> None:
    study = commands.add_parser("metastability", help="map which retry policies come back after a temporary overload")
    study.add_argument("scenario", metavar="SCENARIO", help="a scenario file: base load, trigger, mesh and deadline")
    study.add_argument(
        "--loads", metavar="L1,L2,…", help="base loads as shares of the capacity (default: 0.1 to 0.9 by 0.1)"
    )
    study.add_argument(
        "--policies",
        metavar="NAME,…",
        help="rows of the map: in-slot, scheduled, jitter, few, budget, cancel (the default), immediate, as-written",
    )
    study.add_argument("--replications", type=replications(), metavar="N", help="runs a cell (default: 12)")
    study.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value; repeatable")
    study.add_argument("--seed", type=int, metavar="N", help="use this seed instead of the scenario's")
    study.add_argument(
        "--out", metavar="FILE", help="write it to FILE.html (a page with figures), FILE.json or FILE.csv too"
    )
    study.add_argument("--quiet", action="store_true", help="show no progress")
    _add_json(study)


def _add_runs(commands: Commands[argparse.ArgumentParser]) -> None:
    runs = commands.add_parser("runs", help="list, show, remove or export the records that are kept")
    runs.set_defaults(action="list", json=False, out=None)
    actions = runs.add_subparsers(dest="action", metavar="[list|show|rm|export]")
    listing = actions.add_parser("list", help="all records, newest first (the default)")
    show = actions.add_parser("show", help="one record's figures and checks")
    remove = actions.add_parser("rm", help="remove records")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    export = actions.add_parser("export", help="write a record's tables as CSV or Parquet")
    export.add_argument("--to", required=True, metavar="DIR|FILE.zip", help="a folder, or a .zip archive to make")
    export.add_argument("--format", choices=("csv", "parquet"), default="csv", help="default: csv")
    for one in (show, export):
        one.add_argument("run", metavar="RUN", help="a run's id, its beginning, or its folder")
    remove.add_argument("runs", nargs="+", metavar="RUN", help="a run's id, its beginning, or its folder")
    for one in (listing, show, remove, export):
        _add_out(one)
    for one in (listing, show):
        _add_json(one)


def _add_app(commands: Commands[argparse.ArgumentParser]) -> None:
    app = commands.add_parser("app", help="open the app in the browser, or in a window of its own, until Ctrl-C")
    port = whole(1, PORT_MAX, form="d")
    app.add_argument("--port", type=port, metavar="N", help="listen here (default: 8501, or any that is free)")
    shown = app.add_mutually_exclusive_group()
    shown.add_argument(
        "--window",
        action="store_true",
        help="in a window of its own (pywebview if installed, else Chromium, Chrome, Edge, …); closing it ends the app",
    )
    shown.add_argument("--no-browser", action="store_true", help="only serve it, and say where")


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", metavar="DIR", help="where records are kept (default: $MESHLAB_RUNS, else runs/)")


def _until(text: str) -> Target:
    from lab.until import Target

    try:
        return Target.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class _Version(argparse.Action):
    """Looks the version up only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from cli.doctor import lab_version

        print(f"meshlab {lab_version()}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
