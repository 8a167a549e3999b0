"""What `meshlab shadow` takes."""

from __future__ import annotations

import argparse

from cli.numbers import seconds
from lab.limits import SHADOW_EVERY_S_MIN, SHADOW_WINDOW_S_MAX, SHADOW_WINDOW_S_MIN

Commands = argparse._SubParsersAction  # the only name that argparse has for it
WINDOW_S = 120.0
EVERY_S = 5.0


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    shadow = commands.add_parser(
        "shadow",
        help="watch a standing mesh beside its model: predicted against seen",
        description="Replays the last minutes of the standing mesh (`meshlab up`, or the PostgreSQL that DB_DSN names) "
        "in the model, with its own rules and the work as it was seen, and says when the two part. It only reads. "
        "With --once: exit status 0 in agreement (or without traffic), 3 on an alarm.",
    )
    shadow.add_argument(
        "--window",
        type=seconds(SHADOW_WINDOW_S_MIN, SHADOW_WINDOW_S_MAX),
        default=WINDOW_S,
        metavar="S",
        help=f"seconds that are replayed at each look (default: {WINDOW_S:g})",
    )
    shadow.add_argument(
        "--every",
        type=seconds(SHADOW_EVERY_S_MIN, SHADOW_WINDOW_S_MAX),
        default=EVERY_S,
        metavar="S",
        help=f"seconds between two looks (default: {EVERY_S:g})",
    )
    shadow.add_argument("--once", action="store_true", help="one look, then end: 0 in agreement, 3 on an alarm")
    shadow.add_argument(
        "--against",
        choices=("auto", "window", "scenario"),
        default="auto",
        help="what service times and failures are compared with: the first window seen, or the mesh's scenario "
        "(default: the scenario for synthetic roles, the first window for those with a handler)",
    )
    shadow.add_argument(
        "--workers", type=int, metavar="N", help="how many workers there should be (default: as published)"
    )
    shadow.add_argument("--slots", type=int, metavar="N", help="concurrent tasks in each")
    shadow.add_argument("--out", metavar="FILE", help="append every look to FILE, a JSON object a line")
    shadow.add_argument(
        "--json", action="store_true", help="print JSON and nothing else: with --once one object, else one a line"
    )
    shadow.add_argument("--status", help=argparse.SUPPRESS)
