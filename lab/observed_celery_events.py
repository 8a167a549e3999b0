"""The events in a file that somebody has captured from Celery: a JSON object a line, an array of them, or what
`celery events --dump` printed. Told once each, in order of time, by one clock.

What real captures hold (Celery 5.7 with Redis; tests/data/observed/celery_*.jsonl.gz): an exception's traceback fills
twenty lines of a dump; a receiver moves the moments of a host in another time zone by the hours between them; the
events of one process are not in order.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from lab.errors import UsageError
from lab.limits import FOUND_CHARS_MAX, TASKS_MAX
from lab.observed import Rejected, text_of
from lab.units import plural

EVENTS_MAX: Final = 10 * TASKS_MAX
"""Lines that are read: more than any task of so many has events."""
DUMPED: Final = re.compile(r"^(\S+) \[(\d{4}-[^\]]+)\] (task )?(\w+):? ?(.*)$")
"""host [moment] task kind: name(uuid) args=… kwargs=… field=value, …"""
DUMPED_TASK: Final = re.compile(r"^(\S+)\(([0-9a-fA-F-]{8,64})\)")
DUMPED_FIELD: Final = re.compile(
    r"(?:^|[ ,])(eta|retries|runtime|queue|pid|expired|terminated|utcoffset|local_received)=([^,]+)"
)
DUMPED_NUMBERS: Final = ("retries", "runtime", "pid", "utcoffset", "local_received")
QUARTER_S: Final = 900.0
"""Zones of the world are whole quarters of an hour apart."""
ARRIVES_WITHIN_S: Final = 60.0
"""An event that a receiver gets later than this says nothing of the zone that it comes from."""


class Event(NamedTuple):
    """What is used of an event. A worker's own (heartbeats) have no uuid."""

    line: int
    at_s: float
    kind: str
    uuid: str
    fields: Mapping[str, Any]

    @property
    def process(self) -> tuple[str, Any]:
        """(host, pid) of who sent it."""
        return str(self.fields.get("hostname") or ""), self.fields.get("pid")


class Capture(NamedTuple):
    """All events of a file in order of time, what could not be read of it, and what was set right."""

    events: list[Event]
    rejected: list[Rejected]
    notes: list[str]


def read(path: Path) -> Capture:
    """The events of tasks and workers in a file. Raises UsageError if it is no text, or too much of it."""
    rejected: list[Rejected] = []
    nameless: list[int] = []
    notes: list[str] = []
    events = _by_one_clock(list(_events(path, rejected, nameless)), notes)
    once: dict[tuple[str, str, float], Event] = {}
    for event in events:
        once.setdefault((event.kind, event.uuid or str(event.process), event.at_s), event)
    if again := len(events) - len(once):
        notes.append(f"{plural(again, 'event')} stood there twice and counted once")
    if nameless:
        notes.append(
            f"{plural(len(nameless), 'line')} of `celery events --dump` named no task (it knows only those that it has "
            f"seen come), the first is line {nameless[0]}: left out"
        )
    return Capture(sorted(once.values(), key=lambda event: event.at_s), rejected, notes)


# ---- clocks ----------------------------------------------------------------------------------------------------------


def _by_one_clock(events: list[Event], notes: list[str]) -> list[Event]:
    """Undo what a receiver does to moments: it subtracts the hours between the sender's zone and its own, although
    they are seconds of the epoch, which has no zones.

    Its own zone is written nowhere; but an event that came at `local_received` was sent just before it.
    """
    lags: dict[tuple[str, float], list[float]] = defaultdict(list)
    for event in events:
        if (offset_h := _offset_h(event)) is not None:
            lags[(event.process[0], offset_h)].append(float(event.fields["local_received"]) - event.at_s)
    moved_s: dict[tuple[str, float], float] = {}
    for place, found in lags.items():
        middle_s = statistics.median(found)
        zones_s = round(middle_s / QUARTER_S) * QUARTER_S
        if zones_s and abs(middle_s - zones_s) <= ARRIVES_WITHIN_S:
            moved_s[place] = zones_s
    if not moved_s:
        return events
    hours = ", ".join(f"{seconds / 3600:+g} h" for seconds in sorted(set(moved_s.values())))
    notes.append(
        f"the moments of {plural(len(moved_s), 'sender')} were moved by {hours}: Celery's receiver had shifted them by "
        "the zones between sender and receiver"
    )
    right = []
    for event in events:
        offset_h = _offset_h(event)
        shift_s = 0.0 if offset_h is None else moved_s.get((event.process[0], offset_h), 0.0)
        # To the microsecond: beyond that, adding hours leaves digits that the clock never said.
        right.append(event._replace(at_s=round(event.at_s + shift_s, 6)) if shift_s else event)
    return right


def _offset_h(event: Event) -> float | None:
    """The sender's zone in hours, of an event that says when it was received."""
    offset_h, received_s = event.fields.get("utcoffset"), event.fields.get("local_received")
    known = all(isinstance(one, int | float) and math.isfinite(one) for one in (offset_h, received_s))
    return float(offset_h) if known and offset_h is not None else None


def moment_s(text: Any) -> float:
    """Seconds of the epoch of an ISO moment (without a zone: UTC); NaN for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return math.nan
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


# ---- the file --------------------------------------------------------------------------------------------------------


def _events(path: Path, rejected: list[Rejected], nameless: list[int]) -> Iterator[Event]:
    try:
        with text_of(path) as file:
            head = file.read(1)
            while head.isspace():
                head = file.read(1)
            file.seek(0)
            if head == "[":
                yield from _of_objects(enumerate(_array(path, file.read()), 1), rejected)
            elif head == "{":
                yield from _of_lines(_numbered(path, file), rejected)
            else:
                yield from _of_dump(_numbered(path, file), rejected, nameless)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def _numbered(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        if number > EVENTS_MAX:
            raise UsageError(f"{path}: holds more than {EVENTS_MAX:,} lines; give a part of it")
        if text := line.strip():
            yield number, text


def _array(path: Path, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def _of_lines(lines: Iterable[tuple[int, str]], rejected: list[Rejected]) -> Iterator[Event]:
    for number, text in lines:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            rejected.append(Rejected(number, f"is not JSON: {text[:FOUND_CHARS_MAX]!r}"))
            continue
        yield from _of_objects([(number, found)], rejected)


def _of_objects(found: Iterable[tuple[int, Any]], rejected: list[Rejected]) -> Iterator[Event]:
    for number, one in found:
        if not isinstance(one, dict):
            rejected.append(Rejected(number, "is no event: an event is a JSON object"))
            continue
        kind, uuid, at = one.get("type"), one.get("uuid"), one.get("timestamp")
        is_tasks = isinstance(kind, str) and kind.startswith("task-")
        if not isinstance(kind, str):
            rejected.append(Rejected(number, "is no event: it has no type"))
        elif not is_tasks and not kind.startswith("worker-"):
            continue
        elif is_tasks and (not isinstance(uuid, str) or not uuid):
            rejected.append(Rejected(number, f"{kind}: has no uuid"))
        elif isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
            rejected.append(Rejected(number, f"{kind}: timestamp must be seconds of the epoch, found {str(at)[:80]!r}"))
        else:
            yield Event(number, float(at), kind, str(uuid) if is_tasks else "", one)


def _of_dump(lines: Iterable[tuple[int, str]], rejected: list[Rejected], nameless: list[int]) -> Iterator[Event]:
    """What `celery events --dump` printed. A line that begins no event goes on with the one above it (a traceback)."""
    last: Event | None = None
    for number, text in lines:
        found = DUMPED.match(text)
        if found is None:
            if last is not None and text.startswith(", utcoffset="):  # behind a traceback stands the last field
                last = last._replace(fields={**last.fields, **_fields(text)})
            elif last is None and not text.startswith("->"):
                rejected.append(Rejected(number, f"is no event: {text[:FOUND_CHARS_MAX]!r}"))
            continue
        if last is not None:
            yield last
        last = _dumped(number, found, rejected, nameless)
    if last is not None:
        yield last


def _dumped(number: int, found: re.Match[str], rejected: list[Rejected], nameless: list[int]) -> Event | None:
    host, moment, is_tasks, kind, rest = found.groups()
    at_s, fields = moment_s(moment), {**_fields(rest), "hostname": host}
    if math.isnan(at_s):
        rejected.append(Rejected(number, f"{kind}: {moment[:FOUND_CHARS_MAX]!r} is no moment"))
        return None
    if not is_tasks:
        return Event(number, at_s, f"worker-{kind}", "", fields)
    task = DUMPED_TASK.match(rest)
    if task is None:
        nameless.append(number)
        return None
    return Event(number, at_s, f"task-{kind}", task[2], {**fields, "name": task[1]})


def _fields(text: str) -> dict[str, Any]:
    """Arguments stand before the fields and may look like them: the last one of a name is the field."""
    found: dict[str, Any] = {name: value.strip() for name, value in DUMPED_FIELD.findall(text)}
    for name in DUMPED_NUMBERS:
        if name in found:
            try:
                found[name] = float(found[name])
            except ValueError:
                del found[name]
    for name in ("expired", "terminated"):
        if name in found:
            found[name] = found[name] == "True"
    return found
