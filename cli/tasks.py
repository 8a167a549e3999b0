"""`meshlab tasks`: the tasks of the standing mesh, listed, or one of them whole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.terminal import GREEN, NONE, RED, YELLOW, harmless, lasting, painted, say, say_json, seconds, table
from lab.errors import UsageError
from lab.limits import CLI_SILENT_S_MAX
from lab.rules.tasks import State

if TYPE_CHECKING:
    from live_backend.client import Client, Task, Transition

PAGE = 200
"""What the API gives at a time."""
WORDS_MAX = 60
"""How much of an error a list shows."""
COLOURS = {State.COMPLETED: GREEN, State.PERMANENT_FAILURE: RED, State.RETRY_WAIT: YELLOW}


def command(options: argparse.Namespace) -> int:
    """A list, or one task."""
    from live_backend.client import Client

    if options.history and options.id is None:
        raise UsageError("--history: say of which task, as in `meshlab tasks 17 --history`")
    with Client(silent_for_s=CLI_SILENT_S_MAX) as mesh:
        if options.id is None:
            _list(mesh, options)
        else:
            _show(mesh, options)
    return 0


def _list(mesh: Client, options: argparse.Namespace) -> None:
    def page(before: int | None, limit: int) -> tuple[list[Task], int | None]:
        return mesh.tasks(state=options.state, role=options.role, before=before, limit=limit)

    found = gathered(page, options.limit)
    if options.json:
        say_json({"tasks": [as_json(task) for task in found]})
    elif not found:
        say("no such tasks; `meshlab submit ROLE` makes one")
    else:
        tell_table(found)


def gathered(page: Callable[[int | None, int], tuple[list[Task], int | None]], limit: int) -> list[Task]:
    """Pages put together, up to `limit` tasks."""
    found: list[Task] = []
    cursor: int | None = None
    while len(found) < limit:
        tasks, cursor = page(cursor, min(PAGE, limit - len(found)))
        found += tasks
        if cursor is None:
            break
    return found


def tell_table(found: list[Task]) -> None:
    """A line a task."""
    now = datetime.now(UTC)
    rows = [_cells(task, now) for task in found]
    head = ("id", "role", "prio", "state", "attempt", "since", "worker", "error")
    for line in table(rows, head, right=(0, 2, 4)):
        say(line)


def _cells(task: Task, now: datetime) -> tuple[str, ...]:
    cells = (
        str(task.id),
        task.role,
        str(task.priority),
        str(task.state),
        str(task.attempt),
        lasting((now - task.changed_at).total_seconds()),
        task.worker or NONE,
        _shortened(task.error or ""),
    )
    return tuple(harmless(cell).replace("\n", " ") for cell in cells)


def _shortened(text: str) -> str:
    """The last line of an error says most: of a traceback it is the exception."""
    last = text.strip().splitlines()[-1] if text.strip() else ""
    return last if len(last) <= WORDS_MAX else last[: WORDS_MAX - 1] + "…"


def _show(mesh: Client, options: argparse.Namespace) -> None:
    task = mesh.task(options.id)
    history = mesh.transitions(options.id) if options.history else []
    if options.json:
        more = {"transitions": [_plain(asdict(row)) for row in history]} if options.history else {}
        say_json(as_json(task) | more)
        return
    for line in table([(name, _painted(name, harmless(text))) for name, text in _facts(task)]):
        say(line)
    if history:
        say()
        for line in table([_row(row) for row in history], ("at", "from", "to", "attempt", "worker", "reason", "delay")):
            say(line)


def _facts(task: Task) -> Iterator[tuple[str, str]]:
    yield "task", str(task.id)
    yield "state", str(task.state)
    yield "role", f"{task.role}, priority {task.priority}, queue {task.queue}"
    yield "attempt", f"{task.attempt} (token {task.token}){f', {task.worker}' if task.worker else ''}"
    yield "changed", task.changed_at.isoformat()
    for name, at in (("due", task.due_at), ("lease", task.lease_until)):
        if at is not None:
            yield name, at.isoformat()
    if task.payload is not None:
        yield "payload", _text(task.payload)
    if task.result is not None:
        yield "result", _text(task.result)
    if task.error:
        yield "error", task.error.strip()
    if task.dead_letter is not None:
        aside = f", discarded {task.dead_letter.discarded_at.isoformat()}" if task.dead_letter.discarded_at else ""
        yield "dead", f"since {task.dead_letter.at.isoformat()}{aside}; `meshlab dlq redrive {task.id}` starts it anew"


def _painted(name: str, text: str) -> str:
    """The state in its colour; only now, since what a task says may bring no colours along."""
    return painted(text, COLOURS[State(text)]) if name == "state" and text in COLOURS else text


def _row(row: Transition) -> tuple[str, ...]:
    cells = (
        row.at.isoformat(timespec="microseconds"),
        str(row.from_state or NONE),
        str(row.to_state),
        str(row.attempt),
        row.worker or NONE,
        row.reason,
        seconds(row.delay_s) if row.delay_s else NONE,
    )
    return tuple(harmless(cell) for cell in cells)


def result_of(task: Task) -> str:
    """What came of a task, behind its state."""
    if task.error:
        return f": {_shortened(task.error)}"
    return f": {_text(task.result)}" if task.result is not None else ""


def as_json(task: Task) -> dict[str, Any]:
    """A task as JSON, moments as RFC 3339."""
    found: dict[str, Any] = _plain(asdict(task))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
