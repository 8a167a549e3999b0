"""Which desks there are now: the running session, the standing mesh, and the newest records."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError, UsageError
from lab.record import now
from live_backend.whereabouts import Api
from ui import jobs, runs_library, tasks_records, text
from ui.runs_library import Entry
from ui.tasks_desks import Desk, of_api, of_place, standing_api

RECORDS_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A desk that can be chosen: its name in a link, what people call it, and how it is opened."""

    name: str
    label: str
    live: bool
    open: Callable[[], Desk]


def available(
    place: Mapping[str, Any] | None, redrive_all: Callable[[], None] | None, api: Api | None, asked: str
) -> dict[str, Source]:
    """The sources by name, what lives first, then records: those with dead letters, then the others, newest first.

    `asked` is what a link names: a record that is not among the newest is there all the same.
    """
    found: dict[str, Source] = {}
    if place is not None:
        at = dict(place)
        found["session"] = Source("session", "Session on the Mesh page", True, lambda: of_place(at, redrive_all))
    if api is not None:
        found["mesh"] = Source("mesh", f"Standing mesh at {api.url}", True, lambda: of_api(api))
    entries, _ = runs_library.library(jobs.runs_dir()).look()
    records = [entry for entry in entries if entry.line is not None]
    asked_for = [entry for entry in records if f"run:{entry.id}" == asked]
    for entry in (*_dead_first(records)[:RECORDS_SHOWN_MAX], *asked_for):
        name = f"run:{entry.id}"
        found.setdefault(name, Source(name, _label(entry), False, functools.partial(_open, entry)))
    return found


def chosen(sources: Mapping[str, Source], asked: str) -> Source | None:
    """What a link asks for, else the first; None if there is none at all."""
    return sources.get(asked) or next(iter(sources.values()), None)


def opened(source: Source) -> Desk | LabError:
    """The desk, or why it cannot be opened."""
    try:
        return source.open()
    except LabError as error:
        return error


def _open(entry: Entry) -> Desk:
    if entry.line is None:
        raise UsageError(f"{entry.id}: ended without a record")
    return tasks_records.load(entry.line.folder)


def _dead_first(records: list[Entry]) -> list[Entry]:
    return sorted(records, key=lambda entry: not (entry.line and entry.line.dead))


def _label(entry: Entry) -> str:
    engine = text.ENGINE_WORDS.get(entry.engine, entry.engine).lower()
    dead = int(entry.line.dead or 0) if entry.line else 0
    ago = text.ago(entry.started_at, now())
    return f"Record: {entry.scenario}, {engine}, {ago} ({dead:,} dead)"


__all__ = ["Source", "available", "chosen", "opened", "standing_api"]
