"""What `meshlab twin` takes."""

from __future__ import annotations

import argparse

from cli.numbers import whole
from lab.limits import TWIN_REPEATS_MAX

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    twin = commands.add_parser(
        "twin",
        help="put the model to the test: the same runs live and in it",
        description="Run a matrix of scenarios (or your own) in the model and repeatedly live, and say how far the "
        "model may be trusted. Exit status 3: an aim was missed, or a run broke a check.",
    )
    twin.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="scenario files to test instead of the matrix")
    twin.add_argument("--only", metavar="NAME,…", help="these scenarios of the matrix only")
    twin.add_argument("--list", action="store_true", help="print the matrix and what each scenario tests, and end")
    twin.add_argument("--write", metavar="DIR", help="write the scenarios as files into DIR, and end")
    twin.add_argument(
        "--repeats", type=whole(1, TWIN_REPEATS_MAX), metavar="N", help="live runs of each scenario (default: 3)"
    )
    twin.add_argument("--quick", action="store_true", help="one repeat of a third of the matrix: within 90 s")
    twin.add_argument("--profile", metavar="NAME", help="the model's profile: its name or file (default: scenario's)")
    twin.add_argument("--order-seed", type=int, default=1, metavar="N", help="shuffles the live runs (default: 1)")
    twin.add_argument("--out", metavar="DIR", help="write results.json, table.csv, table.parquet and report.html there")
    twin.add_argument(
        "--keep", action="store_true", help="save every record where runs are kept ($MESHLAB_RUNS, runs/)"
    )
    twin.add_argument("--quiet", action="store_true", help="show no progress")
    twin.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    twin.add_argument("--status", help=argparse.SUPPRESS)
