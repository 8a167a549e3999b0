"""All records of a folder at a glance, remembered between looks: a look costs two `stat` a run, not a parse.

What is kept of a run is one line; the tables stay on disk. `curve` reads two columns of one table.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import run_notes
from lab.rules.tasks import State
from lab.run_notes import Notes
from lab.runs import INFO_FILE, RECORD_FILES

CURVE_POINTS = 32


@dataclass(frozen=True, slots=True)
class Line:
    """One run of the library. `id` is the name of its folder; `written_ns` when run.json was, `size_bytes` its files'.

    Figures are None where the record has none. `failed` names the checks that are broken.
    """

    id: str
    folder: Path
    written_ns: int
    engine: str
    scenario: str
    seed: int | None
    started_at: str
    tasks: float | None
    dead: float | None
    throughput_per_s: float | None
    p95_s: float | None
    checks_ok: bool | None
    failed: tuple[str, ...]
    interrupted: bool
    size_bytes: int
    notes: Notes

    @property
    def verdict(self) -> str:
        """One of ok, broken, interrupted, unjudged. Broken checks outweigh that it was stopped."""
        if self.checks_ok is False:
            return "broken"
        if self.interrupted:
            return "interrupted"
        return "ok" if self.checks_ok else "unjudged"


class Index:
    """The runs of a folder. Safe to share between threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int], Line]] = {}

    def lines(self) -> list[Line]:
        """All records, newest first. Read again is only what was written since the last look."""
        with self._lock:
            self._known = dict(self._look())
            lines = [line for _, line in self._known.values()]
        return sorted(lines, key=lambda line: (line.started_at, line.id), reverse=True)

    def _look(self) -> Iterator[tuple[str, tuple[tuple[int, int], Line]]]:
        try:
            names = [entry.name for entry in os.scandir(self._root) if not entry.name.startswith(".")]
        except OSError:
            return
        for name in names:
            folder = self._root / name
            if (written := _written_ns(folder / INFO_FILE)) is None:
                continue
            stamp = (written, _written_ns(folder / run_notes.FILE) or 0)
            known = self._known.get(name)
            if known is not None and known[0] == stamp:
                yield name, known
            elif (line := _line(folder, written)) is not None:
                yield name, (stamp, line)


def _line(folder: Path, written_ns: int) -> Line | None:
    try:
        info: Any = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(info, dict) or not isinstance(info.get("run_id"), str):
        return None
    checks = info.get("checks")
    judged = checks if isinstance(checks, dict) else {}
    failed = judged.get("failed")
    return Line(
        id=folder.name,
        folder=folder,
        written_ns=written_ns,
        engine=str(info.get("engine", "")),
        scenario=str(info.get("scenario_name") or folder.name),
        seed=info["seed"] if isinstance(info.get("seed"), int) else None,
        started_at=str(info.get("started_at", "")),
        tasks=_figure(info, "tasks", "submitted"),
        dead=_figure(info, "tasks", "dead"),
        throughput_per_s=_figure(info, "throughput_per_s"),
        p95_s=_figure(info, "latency_s", "p95"),
        checks_ok=bool(judged["ok"]) if "ok" in judged else None,
        failed=tuple(str(name) for name in failed) if isinstance(failed, list) else (),
        interrupted=bool(info.get("interrupted")),
        size_bytes=size_bytes(folder),
        notes=run_notes.read(folder),
    )


def _figure(info: dict[str, Any], *path: str) -> float | None:
    here: Any = info.get("summary")
    for part in path:
        here = here.get(part) if isinstance(here, dict) else None
    return here if isinstance(here, int | float) else None


def size_bytes(folder: Path) -> int:
    """What the files of a record take."""
    total = 0
    for name in RECORD_FILES:
        try:
            total += (folder / name).stat().st_size
        except OSError:
            continue  # not every record has notes
    return total


def curve(folder: Path, points: int = CURVE_POINTS) -> tuple[int, ...]:
    """Tasks completed in each of `points` equal stretches from the first arrival to the last end; empty: none was."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(folder / "tasks.parquet", columns=["arrival_s", "done_s", "state"])
        completed = compute.equal(table.column("state").cast(pa.string()), str(State.COMPLETED)).to_numpy()
    except (OSError, pa.ArrowException):
        return ()  # a damaged record is told where it is opened
    arrival_s, done_s = table.column("arrival_s").to_numpy(), table.column("done_s").to_numpy()[completed]
    if not len(done_s):
        return ()
    first_s, last_s = float(arrival_s.min()), float(done_s.max())
    counts, _ = np.histogram(done_s, points, (first_s, max(last_s, np.nextafter(first_s, np.inf))))
    return tuple(counts.tolist())


def _written_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
