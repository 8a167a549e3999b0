"""`meshlab submit`: tasks for the standing mesh, from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.tasks import as_json, result_of
from cli.terminal import harmless, say, say_json
from lab.errors import UsageError
from lab.limits import CLI_SILENT_S_MAX
from lab.rules.tasks import State

if TYPE_CHECKING:
    from live_backend.client import Client, Receipt, Task, TaskRequest


def command(options: argparse.Namespace) -> int:
    """Submit, and wait if asked to. Exit status 1: a task that was waited for did not complete."""
    from live_backend.client import Client

    payload = _payload(options.payload)
    with Client(silent_for_s=CLI_SILENT_S_MAX) as mesh:
        receipts = (
            mesh.submit_batch(list(_requests(options, payload)))
            if options.count > 1
            else [_one(mesh, options, payload)]
        )
        refused = [receipt for receipt in receipts if receipt.status == "conflict"]
        tasks = [mesh.wait(receipt.id) for receipt in receipts if receipt not in refused] if options.wait else []
    _report(options, receipts, tasks)
    return int(bool(refused) or any(task.state is not State.COMPLETED for task in tasks))


def _one(mesh: Client, options: argparse.Namespace, payload: Any) -> Receipt:
    return mesh.submit(options.role, payload, priority=options.priority, key=options.key)


def _requests(options: argparse.Namespace, payload: Any) -> Iterator[TaskRequest]:
    from live_backend.client import TaskRequest

    for number in range(1, options.count + 1):
        key = f"{options.key}-{number}" if options.key else None
        yield TaskRequest(options.role, payload, options.priority, key)


def _payload(given: str | None) -> Any:
    """The JSON that the option names."""
    if given is None:
        return None
    if given == "-":
        source, text = "stdin", sys.stdin.read()
    elif given.startswith("@"):
        source, text = given[1:], _read(given[1:])
    else:
        source, text = "--payload", given
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = """; a text is written '"text"'""" if source == "--payload" else ""
        raise UsageError(f"{source}: this is no JSON: {error}{hint}") from error


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise UsageError(f"--payload @{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--payload @{path}: is not UTF-8 text (byte {error.start})") from error


def _report(options: argparse.Namespace, receipts: list[Receipt], tasks: list[Task]) -> None:
    if options.json:
        ended = {task.id: as_json(task) for task in tasks}
        rows = [{"id": one.id, "status": one.status, "idempotency_key": one.key} for one in receipts]
        say_json({"tasks": [row | ({"task": ended[row["id"]]} if row["id"] in ended else {}) for row in rows]})
    elif len(receipts) == 1:
        (one,) = receipts
        known = " (it was submitted before)" if one.status == "existing" else ""
        said = [f"task {task.id} {task.state}{result_of(task)}" for task in tasks]
        for line in said or [f"task {one.id} submitted{known}; `meshlab tasks {one.id}` shows it"]:
            say(harmless(line))
    else:
        _summarise(receipts, tasks)


def _summarise(receipts: list[Receipt], tasks: list[Task]) -> None:
    statuses, states = Counter(one.status for one in receipts), Counter(str(task.state) for task in tasks)
    words = {"created": "submitted", "existing": "submitted before", "conflict": "refused: the key is another task's"}
    ids = [one.id for one in receipts]
    say(f"{', '.join(f'{n:,} {words[status]}' for status, n in statuses.items())}; ids {min(ids)} to {max(ids)}")
    if states:
        say(", ".join(f"{n:,} {state}" for state, n in sorted(states.items())))
