"""The library of runs, without Streamlit: what lies there, what fits a search, and what may be deleted."""

from __future__ import annotations

import functools
import io
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lab import run_archive, run_index, run_notes, runs
from lab.errors import LabError, UsageError
from lab.run_index import Index, Line
from lab.run_notes import Notes
from ui import jobs, text

VERDICTS = {
    "ok": "Checks hold",
    "broken": "Checks broken",
    "interrupted": "Stopped early",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "unjudged": "Not judged",
}
SPANS = {"day": ("Today", 1), "week": ("Last 7 days", 7), "month": ("Last 30 days", 30)}
JOB_FILES = frozenset({"scenario.yaml", "job.json", "status.json", "cancel.json", "log", *("status.tmp", "job.tmp")})
CURVES_MAX = 4_000
"""Curves kept in memory, some 300 bytes each."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the library: a record, or a run that ended without one. `query` is its permalink on /run."""

    id: str
    query: dict[str, str]
    scenario: str
    engine: str
    started_at: str
    verdict: str
    tags: tuple[str, ...] = ()
    note: str = ""
    favourite: bool = False
    tasks: float | None = None
    throughput_per_s: float | None = None
    p95_s: float | None = None
    size_bytes: int = 0
    failed: tuple[str, ...] = ()
    line: Line | None = None
    twin: str | None = None
    """The record of the other engine from the same run."""

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.line.folder if self.line else jobs.jobs_dir() / self.id


@dataclass(frozen=True, slots=True)
class Search:
    """What a person looks for. Every part narrows it; empty parts do not."""

    words: str = ""
    engine: str = ""
    verdict: str = ""
    since: str = ""
    tags: tuple[str, ...] = ()
    starred: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether everything fits."""
        return self == Search()

    def fits(self, entry: Entry, now: datetime) -> bool:
        """Whether an entry is what is looked for. Each word must occur in its name, id, tags or note."""
        said = "\n".join((entry.scenario, entry.id, entry.note, *entry.tags)).casefold()
        tags = {tag.casefold() for tag in entry.tags}
        return (
            all(word in said for word in self.words.casefold().split())
            and self.engine in ("", entry.engine)
            and self.verdict in ("", entry.verdict)
            and (not self.starred or entry.favourite)
            and all(tag.casefold() in tags for tag in self.tags)
            and (self.since not in SPANS or _young(entry.started_at, now, SPANS[self.since][1]))
        )


SORTS: dict[str, Callable[[Entry], float | str]] = {
    "started_at": lambda entry: entry.started_at,
    "scenario": lambda entry: entry.scenario.casefold(),
    "engine": lambda entry: entry.engine,
    "tasks": lambda entry: _number(entry.tasks),
    "throughput": lambda entry: _number(entry.throughput_per_s),
    "p95": lambda entry: _number(entry.p95_s),
    "size": lambda entry: entry.size_bytes,
    "verdict": lambda entry: list(VERDICTS).index(entry.verdict),
}
NEWEST = "-started_at"


def ordered(entries: Iterable[Entry], by: str) -> list[Entry]:
    """Sorted by a key of SORTS; with a minus, downwards. Equal ones stay newest first."""
    key = SORTS.get(by.removeprefix("-"), SORTS["started_at"])
    return sorted(entries, key=key, reverse=by.startswith("-"))


def _number(value: float | None) -> float:
    return -1.0 if value is None else value


def _young(started_at: str, now: datetime, days: int) -> bool:
    try:
        return now - datetime.fromisoformat(started_at) <= timedelta(days=days)
    except (ValueError, TypeError):
        return False


# ---- what lies there -------------------------------------------------------------------------------------------------


class Library:
    """Records and jobs of one folder, remembered between looks. Shared by all pages and browsers."""

    def __init__(self, root: Path) -> None:
        self._index, self._over = Index(root), dict[str, jobs.Job]()
        self._curves: dict[tuple[str, int], tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def look(self) -> tuple[list[Entry], list[jobs.Job]]:
        """All entries, newest first, and the jobs at work. What active jobs have saved so far is not listed yet."""
        lines = self._index.lines()
        active, over = self._jobs()
        busy = {folder.name for job in active for folder in job.record_folders}
        twins: dict[str, str] = {}
        for job in over:
            if len(names := [folder.name for folder in job.record_folders]) == 2:
                twins |= {names[0]: names[1], names[1]: names[0]}
        entries = [_of_line(line, twins.get(line.id)) for line in lines if line.id not in busy]
        entries += [_of_job(job) for job in over if job.state in ("failed", "cancelled") and not job.record_folders]
        return ordered(entries, NEWEST), active

    def _jobs(self) -> tuple[list[jobs.Job], list[jobs.Job]]:
        """Those at work and those that are over. An end is final, so it is read once."""
        active, over = [], {}
        for job_id in jobs.recent():
            try:
                job = self._over.get(job_id) or jobs.read(job_id)
            except UsageError:
                continue  # deleted meanwhile
            if job.active:
                active.append(job)
            else:
                over[job_id] = job
        self._over = over
        return active, list(over.values())

    def curve(self, entry: Entry) -> tuple[int, ...]:
        """Tasks completed over time, in so many stretches; empty without a record."""
        if entry.line is None:
            return ()
        key = (entry.line.id, entry.line.written_ns)
        with self._lock:
            if key not in self._curves:
                if len(self._curves) >= CURVES_MAX:
                    self._curves.clear()
                self._curves[key] = run_index.curve(entry.line.folder)
            return self._curves[key]


@functools.lru_cache(maxsize=4)
def library(root: Path) -> Library:
    """The library of that folder."""
    return Library(root)


def _of_line(line: Line, twin: str | None) -> Entry:
    return Entry(
        id=line.id,
        query={"run": line.id},
        scenario=line.scenario,
        engine=line.engine,
        started_at=line.started_at,
        verdict=line.verdict,
        tags=line.notes.tags,
        note=line.notes.note,
        favourite=line.notes.favourite,
        tasks=line.tasks,
        throughput_per_s=line.throughput_per_s,
        p95_s=line.p95_s,
        size_bytes=line.size_bytes,
        failed=line.failed,
        line=line,
        twin=twin,
    )


def _of_job(job: jobs.Job) -> Entry:
    return Entry(
        id=job.id,
        query={"job": job.id},
        scenario=job.scenario_name,
        engine=job.engine,
        started_at=job.started_at,
        verdict=job.state,
        note=job.message.splitlines()[0] if job.message else "",
    )


def known_tags(entries: Iterable[Entry]) -> list[str]:
    """All tags in use, the most used first."""
    counts: dict[str, int] = {}
    for entry in entries:
        for tag in entry.tags:
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts, key=lambda tag: (-counts[tag], tag.casefold()))


# ---- what people do --------------------------------------------------------------------------------------------------


def star(entry: Entry) -> None:
    """Make it a favourite, or take the star from it."""
    run_notes.write(entry.folder, Notes(entry.tags, entry.note, not entry.favourite))


def annotate(entries: Iterable[Entry], add: Sequence[str], drop: Sequence[str], note: str | None) -> None:
    """Add tags to runs and take tags from them; a note of None leaves theirs. Raises UsageError beyond the bounds,
    before anything is written.
    """
    gone = {tag.casefold() for tag in drop}
    planned = []
    for entry in entries:
        tags = [*(tag for tag in entry.tags if tag.casefold() not in gone), *add]
        new = run_notes.checked(tags, entry.note if note is None else note, entry.favourite)
        planned.append((entry.folder, new))
    for folder, new in planned:
        run_notes.write(folder, new)


def archive(entries: Iterable[Entry]) -> bytes:
    """These records as a zip. Raises UsageError if they are too large."""
    buffer = io.BytesIO()
    run_archive.pack([entry.folder for entry in entries if entry.line], buffer)
    return buffer.getvalue()


def delete(entries: Iterable[Entry]) -> tuple[list[str], list[str]]:
    """Delete these runs for good. Returns the ids of those that are gone, and in words why others are not.

    Only folders that are records in the library's own folder, and jobs that are over; what an active job has saved
    stays.
    """
    gone, refused = [], []
    root = jobs.runs_dir()
    busy = {path.name for job in _now(jobs.recent()) if job.active for path in job.record_folders}
    for entry in entries:
        try:
            if entry.id in busy:
                raise UsageError(f"{entry.id}: belongs to a run that is still going on; cancel it first")
            if entry.line is None:
                _delete_job(entry.id)
            else:
                _delete_record(entry.line.folder, root)
            gone.append(entry.id)
        except (LabError, OSError) as error:
            refused.append(str(error))
    _forget_empty_jobs(gone)
    return gone, refused


def _delete_record(folder: Path, root: Path) -> None:
    if folder.is_symlink() or folder.resolve().parent != root:
        raise UsageError(f"{folder.name}: is no folder of {root}; remove it by hand")
    if (folder / runs.INFO_FILE).is_file():  # else another tab was quicker
        runs.remove(runs.find(root, folder.name))


def _delete_job(job_id: str) -> None:
    job = jobs.read(job_id)
    if job.active:
        raise UsageError(f"{job_id}: is still running; cancel it first")
    foreign = sorted(path.name for path in job.folder.iterdir() if path.name not in JOB_FILES)
    if foreign or job.folder.is_symlink():
        raise UsageError(f"{job_id}: its folder holds what is no part of a run ({foreign[:3]}); remove it by hand")
    shutil.rmtree(job.folder)


def _forget_empty_jobs(gone: Sequence[str]) -> None:
    """Jobs all of whose records have just been deleted have nothing to show any more."""
    for job in _now(list(jobs.recent())):
        named = {Path(str(path)).name for path in job.status.get("records") or []}
        if named & set(gone) and not job.record_folders and not job.active:
            _delete_job(job.id)


def _now(ids: Iterable[str]) -> list[jobs.Job]:
    found = []
    for job_id in ids:
        try:
            found.append(jobs.read(job_id))
        except UsageError:
            continue
    return found


def weight(entries: Iterable[Entry]) -> str:
    """What these runs take on disk."""
    return size(sum(entry.size_bytes for entry in entries))


def size(size_bytes: int) -> str:
    """Bytes on disk: 42 KiB, 10.1 MiB."""
    return f"{size_bytes / 1024:,.0f} KiB" if size_bytes < text.MIB else text.size(size_bytes)
