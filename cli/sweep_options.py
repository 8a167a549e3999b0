"""What `meshlab sweep` takes."""

from __future__ import annotations

import argparse

from cli.numbers import whole
from lab.limits import SWEEP_POINTS_MAX, SWEEP_RUNS_MAX

Commands = argparse._SubParsersAction  # the only name that argparse has for it
EXAMPLES = """\
examples:
  meshlab sweep scenario.yaml --grid mesh.workers=1..8 --grid mesh.slots=5,10,20
  meshlab sweep scenario.yaml --grid rules.priority.order=strict,aging --latin 200 \\
      --range rules.retry.base_s=0.1..10:log --range mesh.workers=2..16:int
"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    sweep = commands.add_parser(
        "sweep",
        help="run a scenario over a grid of values, on all cores or on a cluster",
        description="A scenario in the model at many points, each several times with seeds that all points share. The "
        "result is one tidy Parquet file, a row a run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.add_argument("scenario", metavar="SCENARIO", help="a scenario file (YAML)")
    _add_points(sweep)
    sweep.add_argument(
        "--replications",
        type=whole(1, SWEEP_RUNS_MAX),
        metavar="N",
        help="runs of each point, with seeds seed, seed+1, … (default: 5)",
    )
    sweep.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="replace a value; repeatable")
    sweep.add_argument("--seed", type=int, metavar="N", help="use this seed instead of the scenario's")
    sweep.add_argument(
        "--cluster", metavar="ADDRESS", help="run on the workers of this Dask scheduler, as in tcp://10.0.0.5:8786"
    )
    sweep.add_argument(
        "--out", metavar="FILE", help="the Parquet file (default: .sweeps/NAME-TIME.parquet in the folder of the runs)"
    )
    sweep.add_argument("--resume", action="store_true", help="go on with the same sweep where it was stopped")
    sweep.add_argument("--html", metavar="FILE", help="write a page with figures and the table, too")
    sweep.add_argument(
        "--figure",
        action="append",
        metavar="NAME",
        help="what to print of each point, as in latency_s.p95; repeatable (default: throughput, p95, p99)",
    )
    sweep.add_argument(
        "--baseline", type=int, metavar="POINT", help="differences are from this point, from 0 (default: the first)"
    )
    sweep.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else")
    sweep.add_argument("--quiet", action="store_true", help="show no progress")
    sweep.add_argument("--status", help=argparse.SUPPRESS)


def _add_points(sweep: argparse.ArgumentParser) -> None:
    sweep.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="PATH=V1,V2,…",
        help="values of a path: 1,2,4 or 1..10 or 0.1..0.9:0.1 or strict,aging; repeatable: every combination is run",
    )
    sweep.add_argument(
        "--range",
        action="append",
        default=[],
        metavar="PATH=LOW..HIGH",
        help="where a sampled path lies; LOW..HIGH:int for whole numbers, LOW..HIGH:log for a log scale; repeatable",
    )
    sampling = sweep.add_mutually_exclusive_group()
    sampling.add_argument("--latin", type=whole(1, SWEEP_POINTS_MAX), metavar="N", help="a Latin hypercube of N points")
    sampling.add_argument("--random", type=whole(1, SWEEP_POINTS_MAX), metavar="N", help="N random points")
