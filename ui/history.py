"""The runs that lie on disk: those started here, with their jobs, and those of the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from ui import jobs, text
from ui.results import at

SHOWN_MAX = 30


@dataclass(frozen=True)
class Entry:
    """One line of the list of recent runs. `query` is its permalink: {"job": …} or {"run": …}."""

    query: dict[str, str]
    name: str
    engines: str
    started_at: str
    state: str
    figures: str
    ok: bool | None


def recent(limit: int = SHOWN_MAX) -> list[Entry]:
    """The newest runs first."""
    entries: list[Entry] = []
    of_jobs: set[str] = set()
    for job_id in list(jobs.recent())[:limit]:
        try:
            job = jobs.read(job_id)
        except UsageError:
            continue
        of_jobs |= {folder.name for folder in job.record_folders}
        entries.append(_of_job(job))
    entries += [_of_record(folder) for folder in _records(limit) if folder.name not in of_jobs]
    return sorted(entries, key=lambda entry: entry.started_at, reverse=True)[:limit]


def records(limit: int = SHOWN_MAX) -> dict[str, Entry]:
    """The newest records by the names of their folders, whoever made them."""
    found = [(folder.name, _of_record(folder)) for folder in _records(limit)]
    return dict(sorted(found, key=lambda one: one[1].started_at, reverse=True)[:limit])


def running() -> list[jobs.Job]:
    """The jobs that are at work now; only the newest few can be."""
    found = []
    for job_id in list(jobs.recent())[:SHOWN_MAX]:
        try:
            job = jobs.read(job_id)
        except UsageError:
            continue
        if job.active:
            found.append(job)
    return found


def _records(limit: int) -> Iterator[Path]:
    base = jobs.runs_dir()
    folders = [path for path in base.iterdir() if (path / "run.json").is_file()] if base.is_dir() else []
    # A run id begins with its time; whatever else lies here sorts somewhere, and is shown all the same.
    yield from sorted(folders, key=lambda path: path.name, reverse=True)[: 2 * limit]


def _of_job(job: jobs.Job) -> Entry:
    infos = [_info(folder) for folder in job.record_folders]
    engines = text.ENGINE_WORDS[job.engine]
    return Entry({"job": job.id}, job.scenario_name, engines, job.started_at, job.state, _figures(infos), _ok(infos))


def _of_record(folder: Path) -> Entry:
    info = _info(folder)
    engine = str(info.get("engine", "?"))
    state = "interrupted" if info.get("interrupted") else "done"
    name, started = str(info.get("scenario_name", folder.name)), str(info.get("started_at", ""))
    words = text.ENGINE_WORDS.get(engine, engine)
    return Entry({"run": folder.name}, name, words, started, state, _figures([info]), _ok([info]))


def _info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def _figures(infos: list[dict[str, Any]]) -> str:
    """What came of it, in a few figures of the last record (the real thing, if there was one)."""
    summary = infos[-1].get("summary") if infos else None
    if not isinstance(summary, dict):
        return ""
    if not at(summary, "tasks.completed"):
        return "no task done"
    done, rate = text.count(at(summary, "tasks.completed")), text.rate(at(summary, "throughput_per_s"))
    return f"{done} done · {rate} · p95 {text.seconds(at(summary, 'latency_s.p95'))}"


def _ok(infos: list[dict[str, Any]]) -> bool | None:
    verdicts = [at(info, "checks.ok") for info in infos]
    return None if not verdicts or None in verdicts else all(verdicts)
