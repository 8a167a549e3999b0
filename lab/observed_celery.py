"""Celery's events as records of a queue. How they are read from a file: `lab.observed_celery_events`.

Events of one task are paired by their uuid, which its retries share, and by the worker that sends them: task-sent (or
task-received) is the arrival, task-started to task-succeeded, task-failed or task-retried an attempt. Names of events
and fields: docs.celeryq.dev, Monitoring; what they look like when workers die: captures in tests/data/observed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from lab import observed_celery_events as celery_events
from lab.errors import UsageError
from lab.limits import SERVICE_S_MAX
from lab.observed import NO_ROLE, ROW_COLUMNS, Reading, Rejected, rows_of
from lab.observed_celery_events import Event
from lab.units import plural

ENDS: Final = {"task-succeeded": "succeeded", "task-failed": "failed", "task-retried": "retried"}
GONE: Final = ("task-revoked", "task-rejected")
SILENT_S: Final = 30.0
"""A worker beats every two seconds: one that was not heard of for so long before the capture's end is lost."""


class Loss(NamedTuple):
    """A worker process that ended without a word, or with one."""

    worker: str
    at_s: float
    """When it was last heard of."""
    back_s: float
    """When its successor of the same name was first heard of; infinite if there was none."""


@dataclass
class _Task:
    """What the events of one task have come to so far."""

    uuid: str
    name: str = ""
    sent_s: float = math.nan
    received_s: float = math.nan
    started_s: dict[str, float] = field(default_factory=dict)
    """By worker: more than one if the broker has given the task away twice."""
    due_s: dict[int, float] = field(default_factory=dict)
    """When its k-th retry was due, as its message says; 0: its first start, of a task with an eta or a countdown."""
    expired: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def known_s(self) -> float:
        """When it was sent or, if that was not seen, received; of both the sooner, as they come from two clocks."""
        return min((one for one in (self.sent_s, self.received_s) if not math.isnan(one)), default=math.nan)

    @property
    def arrival_s(self) -> float:
        """When it wanted to be worked on: a task with an eta arrives when it is due."""
        return max(self.known_s, self.due_s.get(0, self.known_s))


def read(path: Path, columns: Mapping[str, str]) -> Reading:
    """The attempts that the events in a file tell of."""
    if columns:
        raise UsageError("--columns: Celery's events have the fields that they have; columns are for tables")
    capture = celery_events.read(path)
    rejected = list(capture.rejected)
    tasks: dict[str, _Task] = {}
    for event in capture.events:
        if event.uuid:
            task = tasks.setdefault(event.uuid, _Task(event.uuid))
            if reason := _take(task, event):
                rejected.append(Rejected(event.line, reason))
    lost = losses(capture.events)
    lapsed = sum(_lapse(task, lost) for task in tasks.values())
    known = [task for task in tasks.values() if not math.isnan(task.known_s)]
    rows = [row for task in known for row in _rows(task)]
    columns_of_rows = {name: [row[name] for row in rows] for name in (*ROW_COLUMNS, "delay_s")}
    notes = [
        *capture.notes,
        *_notes_of_events(capture.events, len(tasks) - len(known)),
        *_notes_of_tasks(known),
        *_notes_of_losses(lost, lapsed, min((task.arrival_s for task in known), default=0.0)),
        "Celery's events hold no priority: all tasks are treated alike",
    ]
    return Reading(rows_of(columns_of_rows), sorted(rejected), notes, {})


# ---- one task --------------------------------------------------------------------------------------------------------


def _take(task: _Task, event: Event) -> str:
    """Take in an event of the task. Returns why it cannot be used; empty if it can."""
    task.name = task.name or str(event.fields.get("name") or "")
    worker = event.process[0]
    if event.kind == "task-sent":
        task.sent_s = event.at_s if math.isnan(task.sent_s) else task.sent_s
        _note_due(task, event)
    elif event.kind == "task-received":
        task.received_s = event.at_s if math.isnan(task.received_s) else task.received_s
        _note_due(task, event)
    elif event.kind == "task-started":
        if worker in task.started_s:
            _end(task, worker, event.at_s, "lapsed")  # its child was killed: the worker itself has taken it again
        task.started_s[worker] = event.at_s
    elif event.kind in ENDS:
        return _ended(task, worker, event)
    elif event.kind in GONE:
        task.expired = task.expired or bool(event.fields.get("expired"))
        outcome = "cancelled" if event.kind == "task-revoked" or worker not in task.started_s else "failed"
        if not (task.rows and task.rows[-1]["outcome"] == "cancelled"):
            _end(task, worker, event.at_s, outcome)
    return ""


def _ended(task: _Task, worker: str, event: Event) -> str:
    runtime_s = event.fields.get("runtime")
    if worker not in task.started_s and isinstance(runtime_s, int | float) and runtime_s >= 0:
        task.started_s[worker] = event.at_s - float(runtime_s)
    if worker not in task.started_s:
        is_known = not math.isnan(task.known_s)
        return f"{event.kind}: nobody saw this task start, and no runtime is given" if is_known else ""
    if event.at_s - task.started_s[worker] > SERVICE_S_MAX:
        del task.started_s[worker]
        return f"{event.kind}: the task ran for more than {SERVICE_S_MAX:,.0f} s"
    _end(task, worker, event.at_s, ENDS[event.kind])
    return ""


def _end(task: _Task, worker: str, at_s: float, outcome: str) -> None:
    start_s = task.started_s.pop(worker, math.nan)
    row = {"start_at": start_s, "finish_at": max(at_s, start_s) if start_s > 0 else at_s}
    task.rows.append({**row, "outcome": outcome, "worker": worker})


def _note_due(task: _Task, event: Event) -> None:
    """A message says which retry it is and when that is due. Its events may come before that of the failure."""
    due_s, number = celery_events.moment_s(event.fields.get("eta")), event.fields.get("retries")
    if not math.isnan(due_s):
        task.due_s.setdefault(int(number) if isinstance(number, int | float) else 0, due_s)


def _lapse(task: _Task, lost: Sequence[Loss]) -> int:
    """End the attempts whose worker was lost when it was last heard of. Returns how many these were."""
    count = 0
    for worker, start_s in list(task.started_s.items()):
        ends = [one.at_s for one in lost if one.worker == worker and start_s < one.back_s]
        if ends:
            _end(task, worker, ends[0], "lapsed")
            count += 1
    return count


def _rows(task: _Task) -> Iterator[dict[str, Any]]:
    """Its attempts in order; those that had not ended yet, or that it has had none."""
    running = [
        {"start_at": start_s, "finish_at": math.nan, "outcome": "open", "worker": worker}
        for worker, start_s in task.started_s.items()
    ]
    rows = sorted([*task.rows, *running], key=lambda row: row["start_at"] if row["start_at"] > 0 else row["finish_at"])
    if not rows:
        rows = [{"start_at": math.nan, "finish_at": math.nan, "outcome": "open", "worker": ""}]
    retried = 0
    for number, row in enumerate(rows, 1):
        retried += row["outcome"] == "retried"
        due_s = task.due_s.get(retried, math.nan) if row["outcome"] == "retried" else math.nan
        yield {
            **row,
            "id": task.uuid,
            "role": task.name or NO_ROLE,
            "priority": 0,
            "enqueue_at": min(task.arrival_s, rows[0]["start_at"] if rows[0]["start_at"] > 0 else math.inf),
            "attempt": number,
            "delay_s": max(0.0, due_s - row["finish_at"]) if not math.isnan(due_s) else math.nan,
        }


# ---- workers ---------------------------------------------------------------------------------------------------------


def losses(events: Sequence[Event]) -> list[Loss]:
    """The worker processes that were followed by another of their name, or fell silent, in order of time."""
    spans: dict[str, dict[Any, tuple[float, float]]] = {}
    beats = False
    for event in events:
        beats = beats or event.kind == "worker-heartbeat"
        name, pid = event.process
        if pid is not None and event.kind != "task-sent":  # which comes from whoever sends
            first_s, _ = spans.setdefault(name, {}).get(pid, (event.at_s, 0.0))
            spans[name][pid] = first_s, event.at_s
    found = []
    for name, by_pid in spans.items():
        lives = sorted(by_pid.values())
        found += [Loss(name, one[1], next_[0]) for one, next_ in pairwise(lives)]
        if beats and events[-1].at_s - lives[-1][1] > SILENT_S:
            found.append(Loss(name, lives[-1][1], math.inf))
    return sorted(found, key=lambda one: one.at_s)


# ---- words -----------------------------------------------------------------------------------------------------------


def _notes_of_events(events: Sequence[Event], strangers: int) -> Iterator[str]:
    counts = Counter(event.kind for event in events if event.uuid)
    yield "events: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    if strangers:
        yield f"{plural(strangers, 'task')} had arrived before the capture began and are left out, with their load"
    if not counts["task-sent"]:
        yield (
            "there is no task-sent: arrivals are the moments at which a worker received the task, so time in the "
            "broker is not seen; set task_send_sent_event = True"
        )
    if any(event.kind in ENDS for event in events) and not counts["task-started"]:
        yield "there is no task-started: starts are the ends less the runtimes, which failures do not tell"
    queues = sorted({str(event.fields["queue"]) for event in events if event.fields.get("queue")})
    if len(queues) > 1:
        yield (
            f"tasks of {len(queues)} queues ({', '.join(queues[:5])}) share this mesh in the scenario: any worker "
            "takes them; where queues have workers of their own, fit each from a capture of its workers alone"
        )


def _notes_of_tasks(tasks: Sequence[_Task]) -> Iterator[str]:
    unsent = sum(math.isnan(task.sent_s) for task in tasks)
    if 0 < unsent < len(tasks):
        yield f"{plural(unsent, 'task')} were not seen being sent: they arrive when a worker received them"
    if later := sum(0 in task.due_s for task in tasks):
        yield f"{plural(later, 'task')} had an eta or a countdown: they arrive when they are due"
    retried = any(row["outcome"] == "retried" for task in tasks for row in task.rows)
    if retried and not any(number > 0 for task in tasks for number in task.due_s):
        yield "retries carry no eta: a backoff is only seen as the gap until the next start"
    gone = [task for task in tasks if task.rows and task.rows[-1]["outcome"] == "cancelled"]
    if gone:
        expired, ran = sum(task.expired for task in gone), sum(task.rows[-1]["start_at"] > 0 for task in gone)
        yield f"{plural(len(gone), 'task')} were revoked, {expired:,} of them as expired, {ran:,} while they ran"
    twice = sum(sum(row["outcome"] == "succeeded" for row in task.rows) > 1 for task in tasks)
    if twice:
        yield f"{plural(twice, 'task')} were done twice: the broker gave them away again (visibility_timeout)"


def _notes_of_losses(lost: Sequence[Loss], lapsed: int, origin_s: float) -> Iterator[str]:
    for one in lost[:5]:
        back = f", a new one of its name came {one.back_s - one.at_s:,.1f} s later" if one.back_s < math.inf else ""
        yield (
            f"worker {one.worker!r} was last heard of at {one.at_s - origin_s:,.1f} s{back}: the scenario has no such "
            "fault unless you add it (faults: kill_worker)"
        )
    if lapsed:
        yield f"{plural(lapsed, 'attempt')} ended with their worker: a slot was taken until then, and no failure counts"
