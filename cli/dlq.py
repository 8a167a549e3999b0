"""`meshlab dlq`: tasks that failed for good, to be looked at, started anew, or put aside."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.tasks import as_json, gathered, tell_table
from cli.terminal import say, say_json
from lab.errors import UsageError
from lab.limits import CLI_SILENT_S_MAX

if TYPE_CHECKING:
    from live_backend.client import Client, Task


def command(options: argparse.Namespace) -> int:
    """One of list, redrive, discard. Exit status 1: a task that was named is not among the dead letters."""
    from live_backend.client import Client

    if options.action != "list":
        _refuse_unclear(options)
    with Client(silent_for_s=CLI_SILENT_S_MAX) as mesh:
        if options.action == "list":
            _list(mesh, options)
            return 0
        return _act(mesh, options)


def _refuse_unclear(options: argparse.Namespace) -> None:
    named = [bool(options.ids), options.role is not None, options.all]
    if sum(named) != 1:
        raise UsageError(f"dlq {options.action}: say either which tasks (ID …), or --role R, or --all")


def _list(mesh: Client, options: argparse.Namespace) -> None:
    def page(after: int | None, limit: int) -> tuple[list[Task], int | None]:
        return mesh.dead_letters(role=options.role, after=after, limit=limit)

    found = gathered(page, options.limit)
    if options.json:
        say_json({"tasks": [as_json(task) for task in found]})
    elif not found:
        say("no dead letters")
    else:
        tell_table(found)
        say("`meshlab tasks ID` shows one whole; `meshlab dlq redrive ID` starts it anew, `discard` puts it aside")


def _act(mesh: Client, options: argparse.Namespace) -> int:
    act = mesh.redrive_dead_letters if options.action == "redrive" else mesh.discard_dead_letters
    done = act(options.ids or None, role=options.role, everything=options.all)
    missing = sorted(set(options.ids) - set(done))
    if options.json:
        say_json({"tasks": done, "no_dead_letters": missing})
    else:
        verb = "redriven" if options.action == "redrive" else "discarded"
        say(
            f"{verb}: {', '.join(map(str, done)) if len(done) <= 20 else f'{len(done):,} tasks'}"
            if done
            else f"nothing {verb}"
        )
        if missing:
            say(f"no dead letters: {', '.join(map(str, missing))}")
    return int(bool(missing))
