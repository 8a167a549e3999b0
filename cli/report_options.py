"""What `meshlab report` takes."""

from __future__ import annotations

import argparse

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    report = commands.add_parser(
        "report",
        help="write runs as one self-contained HTML file",
        description="Write one run, or several side by side, as one HTML file that needs no network: figures, checks, "
        "comparison, theory, scenario, rulebook, machine. Runs of the same tasks are paired; replications are put "
        "together.",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run's id, its beginning, or its folder")
    report.add_argument("--out", metavar="FILE", default="report.html", help="where to (default: report.html)")
    report.add_argument("--title", metavar="T", default="", help="its title (default: the scenarios' names)")
    report.add_argument(
        "--apart", action="store_true", help="show replications one by one, instead of putting them together"
    )
    report.add_argument("--runs", dest="folder", metavar="DIR", help="where records are kept (default: runs/)")
    report.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
