"""`meshlab prune`: forget finished tasks of the standing mesh, with all that is kept of them."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from typing import TYPE_CHECKING

from cli.terminal import counted, is_terminal, lasting, say, say_json, tell
from lab.errors import UsageError

if TYPE_CHECKING:
    from live_backend.pruning import Pruned

SCHEMA = "public"
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
AGE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", re.ASCII)


def command(options: argparse.Namespace) -> int:
    """Remove, or count with --dry-run."""
    from live_backend import pruning
    from live_backend.addresses import external_postgres, postgres_address
    from live_backend.revisions import refuse_other_revision

    keep_s = age_s(options.older)
    named = postgres_address(os.environ)
    if named is None:
        raise UsageError(
            "prune works on the PostgreSQL that DB_DSN names, and it names none; "
            "without --data the tasks of a private one go with the mesh anyway"
        )
    external_postgres(*named)
    refuse_other_revision(named[1], SCHEMA)
    with pruning.connect(named[1], SCHEMA) as connection:
        if options.dry_run:
            tasks = pruning.count(connection, keep_s)
            if options.json:
                say_json({"older_s": keep_s, "dry_run": True, "tasks": tasks})
            else:
                say(f"{counted(tasks)} tasks have been finished for {lasting(keep_s)} and would go")
            return 0
        pruned = pruning.prune(connection, keep_s, _tell_so_far if is_terminal(sys.stderr) else None)
        tell("vacuuming, so that their space is used again")
        pruning.refresh(connection)
    if options.json:
        say_json({"older_s": keep_s, "dry_run": False, **dataclasses.asdict(pruned)})
    else:
        say(f"removed {_listed(pruned)}")
    return 0


def age_s(text: str) -> float:
    """Seconds of `45s`, `90m`, `12h`, `30d` or `2w`. Raises UsageError for anything else."""
    match = AGE.fullmatch(text)
    if match is None:
        raise UsageError(f"--older {text!r} is no age: a number and one of s, m, h, d, w, as in 30d or 12h")
    return float(match[1]) * UNITS_S[match[2]]


def _tell_so_far(pruned: Pruned) -> None:
    print(f"\r{counted(pruned.tasks)} tasks", end="\r", file=sys.stderr, flush=True)


def _listed(pruned: Pruned) -> str:
    rows = {name.replace("_", " "): number for name, number in dataclasses.asdict(pruned).items() if number}
    return ", ".join(f"{counted(number)} {name}" for name, number in rows.items()) or "nothing: nothing is that old"
