"""How fast the live backend is: drained against peers, sustained, paced over HTTP, idle, under the published burst.

    .venv/bin/python benchmarks/backend.py --setup        # once: the peers, in an environment of their own
    .venv/bin/python benchmarks/backend.py                # everything: about a quarter of an hour
    .venv/bin/python benchmarks/backend.py drain --peers ours huey "pgqueuer 100" --rounds 3
    .venv/bin/python benchmarks/backend.py paced idle     # only these parts
    .venv/bin/python benchmarks/backend.py --json results.json

One Redis and one PostgreSQL for all, started for the benchmark and emptied between runs, fsync and synchronous_commit
on; each contestant in processes of its own, in turn, the order reversed from round to round. All contestants execute
the same task body (contest/body.py). A peer's task is done when it has been executed, ours when its COMPLETED is
committed. Ours is the product as users start it, `meshlab up`, and is verified by SQL after every run.

Peers belong to the benchmark alone: requirements/peers.in, installed into .venv-peers by --setup.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.contest import rates, report  # noqa: E402
from benchmarks.contest.contestant import KINDS, Contestant, Kind  # noqa: E402
from benchmarks.contest.drain import Drained, drain  # noqa: E402
from benchmarks.contest.machine import facts, servers_for_all  # noqa: E402
from benchmarks.contest.ours import MANY_SLOTS, Ours  # noqa: E402
from benchmarks.contest.peers import RECIPES, VENV, Peer  # noqa: E402
from benchmarks.contest.processes import Trouble  # noqa: E402
from live_backend.servers import Servers  # noqa: E402

PARTS = ("drain", "sustained", "paced", "idle", "burst")
OURS = "ours"
OURS_WIDE = "ours, 1,000 slots"
WAYS = ("intake", "http")
PACED_S = 15.0
IDLE_TASKS = 200


def main() -> None:
    """Set up, or run the parts that were asked for and print."""
    options = _options()
    # A benchmark that is told to end leaves through the same doors as one that is done: nothing stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.setup:
        _set_up()
        return
    contestants = _contestants(options.peers)
    with servers_for_all() as servers:
        results: dict[str, Any] = {"facts": facts(servers)}
        report.facts(results["facts"])
        try:
            for part in options.parts:
                if part == "drain":
                    _drain_all(servers, contestants, options, results)
                else:
                    _one_part(part, servers, options, results)
        finally:
            if options.json:
                options.json.write_text(json.dumps(results, indent=1) + "\n")


def _one_part(part: str, servers: Servers, options: argparse.Namespace, results: dict[str, Any]) -> None:
    """What only ours is asked. What fails says so, and the rest goes on."""
    runs: dict[str, Callable[[], Any]]
    if part == "sustained":
        runs = {f"{part} {way}": partial(rates.sustained, servers, way, options.seconds) for way in options.ways}
    elif part == "paced":
        runs = {part: partial(rates.paced, servers, min(options.seconds, PACED_S))}
    elif part == "idle":
        runs = {part: partial(rates.idle, servers, IDLE_TASKS)}
    else:
        runs = {part: partial(rates.burst, servers)}
    for name, run in runs.items():
        try:
            results[name] = run()
        except (Trouble, subprocess.TimeoutExpired) as trouble:
            print(f"{name}: no figure: {trouble}", file=sys.stderr)
        else:
            getattr(report, part)(results[name])


def _drain_all(
    servers: Servers, contestants: list[Contestant], options: argparse.Namespace, results: dict[str, Any]
) -> None:
    runs = _drains(servers, contestants, options)
    results["drain"] = [run.as_dict() for run in runs]
    for kind in KINDS:
        report.drains(runs, kind, OURS)


def _drains(servers: Servers, contestants: list[Contestant], options: argparse.Namespace) -> list[Drained]:
    runs = []
    for number in range(options.rounds):
        for kind in options.kinds:
            for contestant in contestants[:: -1 if number % 2 else 1]:
                if kind in contestant.kinds:
                    runs += _one(servers, contestant, kind, options)
    return runs


def _one(servers: Servers, contestant: Contestant, kind: Kind, options: argparse.Namespace) -> list[Drained]:
    """The run, or none if it failed: that is said, and the others go on."""
    try:
        run = drain(servers, contestant, kind, options.tasks, options.timeout_s)
    except (Trouble, subprocess.TimeoutExpired) as trouble:
        print(f"{contestant.name}, {kind}: no figure: {trouble}", file=sys.stderr)
        return []
    print(f"{contestant.name}, {kind}: {run.drain_per_s:,.0f}/s", file=sys.stderr)
    return [run]


def _contestants(names: list[str]) -> list[Contestant]:
    if any(name in RECIPES for name in names) and not VENV.is_dir():
        sys.exit("The peers are not installed. Run benchmarks/backend.py --setup, or ask for --peers ours.")
    ours = {OURS: Ours(OURS), OURS_WIDE: Ours(OURS_WIDE, ("sleep",), MANY_SLOTS)}
    return [ours[name] if name in ours else Peer(name, RECIPES[name]) for name in names]


def _set_up() -> None:
    """Make .venv-peers anew, from the lock file if there is one."""
    lock = ROOT / "requirements" / "peers.txt"
    source = lock if lock.is_file() else lock.with_suffix(".in")
    uv = Path(sys.executable).with_name("uv")
    program = str(uv) if uv.is_file() else "uv"
    python = ["--python", sys.executable]
    subprocess.run([program, "venv", "--quiet", "--clear", *python, str(VENV)], check=True)
    into = ["--python", str(VENV / "bin" / "python")]
    subprocess.run([program, "pip", "install", "--quiet", *into, "--requirement", str(source)], check=True)
    print(f"The peers of {source.relative_to(ROOT)} are in {VENV.relative_to(ROOT)}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [OURS, OURS_WIDE, *RECIPES]
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)} (all of them)")
    parser.add_argument("--setup", action="store_true", help="install the peers, then end")
    parser.add_argument("--peers", nargs="+", choices=known, default=known, metavar="NAME", help=f"{known}")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="workloads of the drain")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks of a drain (20,000)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each drain (2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sustained load (60); paced lasts 15 at most")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how the sustained load comes in")
    parser.add_argument("--timeout-s", type=float, default=120.0, help="bound of each run (120)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    options.parts = options.parts or list(PARTS)
    return options


if __name__ == "__main__":
    main()
