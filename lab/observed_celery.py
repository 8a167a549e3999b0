"""Celery's events as records of a queue: what an event receiver captured, an event a line as JSON, or what
`celery events --dump` printed.

Events of one task are paired by their uuid in order of time: task-sent (or task-received) is the arrival, task-started
to task-succeeded, task-failed or task-retried an attempt. Names of events and fields: docs.celeryq.dev, Monitoring.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from lab.errors import UsageError
from lab.limits import FOUND_CHARS_MAX, SERVICE_S_MAX, TASKS_MAX
from lab.observed import NO_ROLE, Reading, Rejected, rows_of
from lab.units import plural

EVENTS_MAX: Final = 10 * TASKS_MAX
"""Lines that are read: more than any task of so many has events."""
DUMPED: Final = re.compile(r"^(\S+) \[([^\]]+)\] task (\w+):? ?(.*)$")
"""host [moment] task kind: name(uuid) args=… kwargs=… field=value, …"""
DUMPED_TASK: Final = re.compile(r"^(\S+)\(([0-9a-fA-F-]{8,64})\)")
DUMPED_FIELD: Final = re.compile(r"(?:^|[ ,])(eta|retries|runtime|queue)=([^,]+)")
ENDS: Final = {"task-succeeded": "succeeded", "task-failed": "failed", "task-retried": "retried"}
GONE: Final = ("task-revoked", "task-rejected")


class Event(NamedTuple):
    """What is used of an event."""

    line: int
    at_s: float
    kind: str
    uuid: str
    fields: Mapping[str, Any]


@dataclass
class _Task:
    """What the events of one task have come to so far."""

    uuid: str
    name: str = ""
    sent_s: float = math.nan
    received_s: float = math.nan
    started_s: float = math.nan
    worker: str = ""
    due_s: float = math.nan
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arrival_s(self) -> float:
        """When it was sent; when a worker received it, if nobody saw it being sent."""
        return self.received_s if math.isnan(self.sent_s) else self.sent_s


def read(path: Path, columns: Mapping[str, str]) -> Reading:
    """The attempts that the events in a file tell of."""
    if columns:
        raise UsageError("--columns: Celery's events have the fields that they have; columns are for tables")
    rejected: list[Rejected] = []
    events = sorted(_events(path, rejected), key=lambda event: event.at_s)
    tasks: dict[str, _Task] = {}
    for event in events:
        task = tasks.setdefault(event.uuid, _Task(event.uuid))
        if reason := _take(task, event):
            rejected.append(Rejected(event.line, reason))
    counts = Counter(event.kind for event in events)
    queues = {str(event.fields["queue"]) for event in events if event.fields.get("queue")}
    return _told(tasks, counts, queues, sorted(rejected))


def _told(tasks: Mapping[str, _Task], counts: Counter[str], queues: set[str], rejected: list[Rejected]) -> Reading:
    """The rows of all tasks, and what the events do not tell."""
    known = [task for task in tasks.values() if not math.isnan(task.arrival_s)]
    rows = [row for task in known for row in _rows(task)]
    notes = [f"{plural(count, kind + ' event')}" for kind, count in sorted(counts.items())]
    if unseen := len(tasks) - len(known):
        notes.append(f"{plural(unseen, 'task')} had arrived before the capture began and are left out, with their load")
    if not counts["task-sent"]:
        notes.append(
            "there is no task-sent: arrivals are the moments at which a worker received the task, so time in the "
            "broker is not seen; set task_send_sent_event = True"
        )
    if counts["task-retried"] and not any(row["delay_s"] == row["delay_s"] for row in rows):
        notes.append("retries carry no eta: a backoff is only seen as the gap until the next start")
    if len(queues) > 1:
        notes.append(f"tasks of {len(queues)} queues ({', '.join(sorted(queues)[:5])}) share this mesh in the scenario")
    notes.append("Celery's events hold no priority: all tasks are treated alike")
    columns = {name: [row[name] for row in rows] for name in rows[0]} if rows else _no_rows()
    return Reading(rows_of(columns), rejected, notes, {})


def _no_rows() -> dict[str, list[Any]]:
    names = ("id", "role", "priority", "enqueue_at", "start_at", "finish_at", "outcome", "attempt", "worker")
    return {name: [] for name in names}


# ---- one task --------------------------------------------------------------------------------------------------------


def _take(task: _Task, event: Event) -> str:
    """Take in an event of the task. Returns why it cannot be used; empty if it can."""
    name = str(event.fields.get("name") or "")
    task.name = task.name or name
    if event.kind == "task-sent":
        task.sent_s = event.at_s if math.isnan(task.sent_s) else task.sent_s
    elif event.kind == "task-received":
        task.received_s = event.at_s if math.isnan(task.received_s) else task.received_s
        _note_due(task, event)
    elif event.kind == "task-started":
        if not math.isnan(task.started_s):
            _end(task, event.at_s, "lapsed")  # the worker was lost: the broker gave the task to another one
        task.started_s, task.worker = event.at_s, str(event.fields.get("hostname") or "")
    elif event.kind in ENDS:
        return _ended(task, event)
    elif event.kind in GONE and math.isnan(task.started_s):
        task.rows.append(_row(task, math.nan, event.at_s, "cancelled"))
    elif event.kind in GONE:
        _end(task, event.at_s, "cancelled" if event.kind == "task-revoked" else "failed")
    return ""


def _ended(task: _Task, event: Event) -> str:
    runtime = event.fields.get("runtime")
    if math.isnan(task.started_s) and isinstance(runtime, int | float) and runtime >= 0:
        task.started_s = event.at_s - float(runtime)
        task.worker = str(event.fields.get("hostname") or "")
    if math.isnan(task.started_s):
        is_known = not math.isnan(task.arrival_s)
        return f"{event.kind}: nobody saw this task start, and no runtime is given" if is_known else ""
    if event.at_s - task.started_s > SERVICE_S_MAX:
        task.started_s = math.nan
        return f"{event.kind}: the task ran for more than {SERVICE_S_MAX:,.0f} s"
    _end(task, event.at_s, ENDS[event.kind])
    return ""


def _end(task: _Task, at_s: float, outcome: str) -> None:
    task.rows.append(_row(task, task.started_s, at_s, outcome))
    task.started_s = math.nan


def _note_due(task: _Task, event: Event) -> None:
    """A retry's message says when it is due: the backoff as it was ordered."""
    due_s = _moment(event.fields.get("eta"))
    if task.rows and task.rows[-1]["outcome"] == "retried" and not math.isnan(due_s):
        task.rows[-1]["delay_s"] = max(0.0, due_s - task.rows[-1]["finish_at"])


def _row(task: _Task, start_s: float, finish_s: float, outcome: str) -> dict[str, Any]:
    return {
        "id": task.uuid,
        "role": task.name or NO_ROLE,
        "priority": 0,
        "enqueue_at": task.arrival_s,
        "start_at": start_s,
        "finish_at": finish_s,
        "outcome": outcome,
        "attempt": len(task.rows) + 1,
        "worker": task.worker,
        "delay_s": math.nan,
    }


def _rows(task: _Task) -> Iterator[dict[str, Any]]:
    """Its attempts; the one that had not ended yet, or that it has had none."""
    arrival_s = task.arrival_s
    open_ones = [] if task.rows and math.isnan(task.started_s) else [_row(task, task.started_s, math.nan, "open")]
    for row in [*task.rows, *open_ones]:
        start_s = row["start_at"]
        yield {**row, "role": task.name or NO_ROLE, "enqueue_at": min(arrival_s, start_s if start_s > 0 else arrival_s)}


# ---- the file --------------------------------------------------------------------------------------------------------


def _events(path: Path, rejected: list[Rejected]) -> Iterator[Event]:
    """The task events in a file; others (workers' heartbeats) are passed over."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.read(1)
            while head.isspace():
                head = file.read(1)
            file.seek(0)
            lines: Iterable[str] = file
            if head == "[":
                yield from _of_objects(enumerate(_array(path, file.read()), 1), rejected)
                return
            for number, line in enumerate(lines, 1):
                if number > EVENTS_MAX:
                    raise UsageError(f"{path}: holds more than {EVENTS_MAX:,} lines; give a part of it")
                if text := line.strip():
                    yield from _of_line(number, text, rejected)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def _array(path: Path, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def _of_line(number: int, text: str, rejected: list[Rejected]) -> Iterator[Event]:
    if not text.startswith("{"):
        yield from _of_dump(number, text, rejected)
        return
    try:
        yield from _of_objects([(number, json.loads(text))], rejected)
    except (ValueError, RecursionError):
        rejected.append(Rejected(number, f"is not JSON: {text[:FOUND_CHARS_MAX]!r}"))


def _of_objects(found: Iterable[tuple[int, Any]], rejected: list[Rejected]) -> Iterator[Event]:
    for number, one in found:
        if not isinstance(one, dict):
            rejected.append(Rejected(number, "is no event: an event is a JSON object"))
            continue
        kind, uuid, at = one.get("type"), one.get("uuid"), one.get("timestamp")
        if not isinstance(kind, str):
            rejected.append(Rejected(number, "is no event: it has no type"))
        elif not kind.startswith("task-"):
            continue
        elif not isinstance(uuid, str) or not uuid:
            rejected.append(Rejected(number, f"{kind}: has no uuid"))
        elif isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
            rejected.append(Rejected(number, f"{kind}: timestamp must be seconds of the epoch, found {str(at)[:80]!r}"))
        else:
            yield Event(number, float(at), kind, uuid, one)


def _of_dump(number: int, text: str, rejected: list[Rejected]) -> Iterator[Event]:
    """A line of `celery events --dump`; what it says of workers is passed over."""
    found = DUMPED.match(text)
    if not found:
        if not text.startswith("->") and "[" not in text:
            rejected.append(Rejected(number, f"is no event: {text[:FOUND_CHARS_MAX]!r}"))
        return
    host, moment, kind, rest = found.groups()
    task, at_s = DUMPED_TASK.match(rest), _moment(moment)
    if task is None or math.isnan(at_s):
        rejected.append(Rejected(number, f"task {kind}: names no task, or no moment"))
        return
    # Arguments stand before the fields and may look like them: the last one of a name is the field.
    fields: dict[str, Any] = {name: value.strip() for name, value in DUMPED_FIELD.findall(rest)}
    if "runtime" in fields:
        fields["runtime"] = _number(fields["runtime"])
    yield Event(number, at_s, f"task-{kind}", task[2], {**fields, "name": task[1], "hostname": host})


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: Any) -> float:
    """Seconds of the epoch of an ISO moment (without a zone: UTC); NaN for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return math.nan
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
