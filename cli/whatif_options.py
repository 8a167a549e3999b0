"""What `meshlab whatif` takes."""

from __future__ import annotations

import argparse

from cli.numbers import replications, whole
from lab.limits import WHATIF_REPEATS_MAX

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    whatif = commands.add_parser(
        "whatif",
        help="what would happen if …: before and after, on the same tasks",
        description="Put what-if cards to a scenario and compare before and after in the model, on the same tasks and "
        "draws. Without --card: all cards, one by one.",
    )
    whatif.add_argument("scenario", metavar="SCENARIO", nargs="?", help="a scenario file (YAML)")
    whatif.add_argument(
        "--card",
        action="append",
        default=[],
        metavar="KEY[:VALUE]",
        help="what happens, as in --card provider-slow:3; repeatable: cards add up. --list shows them",
    )
    whatif.add_argument("--list", action="store_true", help="show the cards; with a scenario, what each would do to it")
    whatif.add_argument(
        "--replications",
        type=replications(),
        metavar="N",
        help="pairs of runs, with seeds seed, seed+1, … (default: 10)",
    )
    whatif.add_argument("--live", action="store_true", help="also run before and after live, and lay them beside")
    whatif.add_argument(
        "--repeats",
        type=whole(1, WHATIF_REPEATS_MAX),
        metavar="N",
        help="live runs of each side, for the machine's own spread (default: 1)",
    )
    whatif.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value; repeatable")
    whatif.add_argument("--seed", type=int, metavar="N", help="use this seed instead of the scenario's")
    whatif.add_argument("--out", metavar="FILE", help="write it to FILE.html (a page with curves) or FILE.json too")
    whatif.add_argument("--quiet", action="store_true", help="show no progress")
    whatif.add_argument("--status", help=argparse.SUPPRESS)
    whatif.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
