"""What `meshlab fit` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it
LAST_DEFAULT = "1h"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    fit = commands.add_parser(
        "fit",
        help="make a scenario of what a real queue has recorded",
        description="Reads the records of a real queue (a CSV or Parquet table with the moments of enqueue, start and "
        "finish; Celery's events as JSON lines; a mesh's own audit log) and writes a scenario that replays its "
        "arrivals, with fitted service times, failures, retries and workers × slots. Says how well each fits, and how "
        "the model with this scenario compares with what was seen.",
    )
    fit.add_argument("file", nargs="?", metavar="FILE", help="the records: .csv, .parquet, .jsonl, or a run's folder")
    fit.add_argument("--mesh", action="store_true", help="read the standing mesh that runs here, instead of a file")
    fit.add_argument(
        "--last",
        metavar="AGE",
        default=LAST_DEFAULT,
        help=f"with --mesh: how far back, 10m, 2h (default: {LAST_DEFAULT})",
    )
    fit.add_argument("--format", choices=("table", "celery", "mesh"), help="what the file is (default: told from it)")
    fit.add_argument(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="what a table calls its columns, as in enqueue=created_at,start=started_at,finish=done_at; also task, "
        "role, priority, status, attempt, worker; an empty name leaves one out",
    )
    fit.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used, and count them")
    fit.add_argument("--workers", type=int, metavar="N", help="worker processes, where you know them")
    fit.add_argument("--slots", type=int, metavar="N", help="concurrent tasks in each, where you know them")
    fit.add_argument("--name", metavar="NAME", help="the scenario's name (default: the file's)")
    fit.add_argument(
        "--out", metavar="DIR|FILE.yaml", help="where scenario and data files go (default: a folder fitted-NAME)"
    )
    fit.add_argument("--figure", metavar="FILE.html", help="write the quantiles, seen against fitted, as a page")
    fit.add_argument("--no-replay", action="store_true", help="do not compare the model with what was seen")
    fit.add_argument("--quiet", action="store_true", help="show no progress")
    fit.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    fit.add_argument("--status", help=argparse.SUPPRESS)
