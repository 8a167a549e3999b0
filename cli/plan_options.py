"""What `meshlab plan` takes."""

from __future__ import annotations

import argparse
import math

from cli.numbers import real, replications

Commands = argparse._SubParsersAction  # the only name that argparse has for it


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    plan = commands.add_parser(
        "plan",
        help="find the cheapest mesh that meets objectives",
        description="Finds the cheapest mesh (workers × slots × retry policy) for the tasks of a scenario, by search "
        "over the model: the answer with its confidence, the frontier, the margin to the cliff. Give one objective at "
        "least; a percentile counts every task, and one that is never completed as late.",
        epilog="Exit status: 3 if no candidate meets the objectives, or if the live run of --confirm breaks one.",
    )
    plan.add_argument("scenario", metavar="SCENARIO", help="a scenario file: whose tasks, by which rules")
    _objectives(plan.add_argument_group("objectives"))
    _prices(plan.add_argument_group("costs, in any currency"))
    _candidates(plan.add_argument_group("candidates"))
    plan.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value; repeatable")
    plan.add_argument("--seed", type=int, metavar="N", help="use this seed instead of the scenario's")
    plan.add_argument(
        "--replications",
        type=replications(least=2),
        metavar="N",
        help="most runs of a candidate (default: 40; 10 at first)",
    )
    plan.add_argument("--no-margin", action="store_true", help="do not look how much more load the winner bears")
    plan.add_argument(
        "--confirm", action="store_true", help="run the winner live too, if it fits on this machine; says why if not"
    )
    plan.add_argument("--out", metavar="FILE", help="write it to FILE.html (a page), .json, .csv or .parquet too")
    plan.add_argument("--yaml", metavar="FILE", help="write the scenario on the winner here, for meshlab run")
    plan.add_argument("--quiet", action="store_true", help="show no progress")
    plan.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    plan.add_argument("--status", help=argparse.SUPPRESS)


def _objectives(group: argparse._ArgumentGroup) -> None:
    for name, words in (
        ("p99", "99%% of all tasks are completed within so many seconds of their arrival"),
        ("p95", "95%% of them"),
        ("p50", "half of them"),
        ("queue-wait-p99", "99%% of all tasks have been claimed by then"),
    ):
        group.add_argument(f"--{name}", type=_seconds, metavar="SECONDS", help=words)
    group.add_argument(
        "--drain-max", type=_seconds, metavar="SECONDS", help="from the last arrival to the end of the last task"
    )
    group.add_argument(
        "--dead-max", type=_share, metavar="SHARE", help="share of the tasks that are dead-lettered: 0.001 or 0.1%%"
    )
    group.add_argument("--rss-max", type=_amount, metavar="MIB", help="peak RSS of a worker process")


def _prices(group: argparse._ArgumentGroup) -> None:
    for name, default, words in (
        ("worker", 1.0, "a worker, by the hour (default: 1)"),
        ("slot", 0.0, "a slot, by the hour (default: 0)"),
        ("attempt", 0.0, "an attempt, say of a model call (default: 0)"),
    ):
        group.add_argument(f"--cost-{name}", type=_amount, default=default, metavar="X", help=words)


def _candidates(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workers", type=numbers, metavar="A..B|N,…", help="as in 1..32 or 1,2,4 (default: as the load asks)"
    )
    group.add_argument(
        "--slots", type=numbers, metavar="N,…", help="concurrent tasks of a worker (default: 1,2,5,10, and its own)"
    )
    group.add_argument(
        "--policies",
        metavar="NAME,…",
        help="as-written, scheduled, jitter, budget, few, cancel, in-slot, immediate (default: as-written; where "
        "anything is retried also scheduled, jitter, budget, and cancel where clients leave)",
    )


def numbers(text: str) -> list[int] | range:
    """`1..32`, `4` or `1,2,5`."""
    low, dots, high = text.partition("..")
    try:
        found: list[int] | range = (
            range(int(low), int(high) + 1) if dots else sorted({int(word) for word in text.split(",")})
        )
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError(f"write whole numbers from 1 as 1..32 or 1,2,5; found {text!r}")
    return found


def _seconds(text: str) -> float:
    found = _amount(text.removesuffix("s").strip())
    if found == 0:
        raise argparse.ArgumentTypeError("nothing is done in 0 s; give more")
    return found


def _share(text: str) -> float:
    percent = text.rstrip().endswith("%")
    found = _amount(text.rstrip().removesuffix("%")) / (100 if percent else 1)
    if found > 1:
        raise argparse.ArgumentTypeError(f"must be a share from 0 to 1, or a percentage such as 0.1%; found {text!r}")
    return found


def _amount(text: str) -> float:
    found = real(text)
    if not (math.isfinite(found) and found >= 0):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, found {text!r}")
    return found
