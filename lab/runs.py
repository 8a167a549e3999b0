"""The library of records: the folder in which runs are kept, one folder a run.

Listing and finding read only each run.json, so a library of thousands opens at once. Nothing here prints, and
nothing is removed that is not plainly a record.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab import run_notes
from lab.errors import UsageError

Format = Literal["csv", "parquet"]

INFO_FILE = "run.json"
TABLE_NAMES = ("tasks", "transitions", "samples", "events")
"""The tables of `lab.record`, named again so that a listing does not load pandas; a test holds them together."""
TABLE_FILES = tuple(f"{name}.parquet" for name in TABLE_NAMES)
RECORD_FILES = frozenset({INFO_FILE, "run.tmp", *TABLE_FILES, run_notes.FILE, run_notes.SCRATCH})
"""All that a record folder holds. The `.tmp` are what a writer that was killed leaves behind."""


@dataclass(frozen=True)
class Run:
    """One record in the library: its folder and its run.json."""

    folder: Path
    info: dict[str, Any]

    @property
    def id(self) -> str:
        """The run's id."""
        return str(self.info["run_id"])

    @property
    def started_at(self) -> str:
        """When it started, in ISO 8601 (UTC), which sorts by time."""
        return str(self.info.get("started_at", ""))

    @property
    def checks_ok(self) -> bool | None:
        """Whether all checks passed; None if the record holds no verdict."""
        checks = self.info.get("checks")
        return bool(checks.get("ok")) if isinstance(checks, dict) else None

    def figure(self, path: str) -> Any:
        """A figure of the run's summary by its dotted path (`latency_s.p50`); None if it is not there."""
        here: Any = self.info.get("summary")
        for part in path.split("."):
            here = here.get(part) if isinstance(here, dict) else None
        return here


def all_runs(root: Path) -> list[Run]:
    """The records in `root`, newest first. Folders that hold no readable record are passed over."""
    if not root.is_dir():
        return []
    found = [run for folder in root.iterdir() if (run := _read(folder)) is not None]
    return sorted(found, key=lambda run: (run.started_at, run.id), reverse=True)


def find(root: Path, name: str) -> Run:
    """The record that `name` means: a run id, the unique beginning of one, or the path of a record's folder.

    Raises UsageError if there is none or more than one.
    """
    if (exact := _read(root / name)) is not None or (exact := _read(Path(name))) is not None:
        return exact
    matches = [run for run in all_runs(root) if name and run.id.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(run.id for run in matches[:5])
        raise UsageError(f"{name}: {len(matches)} runs in {root} begin like this ({some}); give more of the id")
    raise UsageError(
        f"{name}: there is no such run in {root}, nor a record in a folder of that name; see `meshlab runs list`"
    )


def remove(run: Run) -> None:
    """Delete a record's folder. Raises UsageError, and deletes nothing, if it holds what is no part of a record."""
    if run.folder.is_symlink():
        raise UsageError(f"{run.folder}: is a link, not a record's own folder; remove it by hand")
    files = list(run.folder.iterdir())
    foreign = sorted(file.name for file in files if file.name not in RECORD_FILES or not file.is_file())
    if foreign:
        raise UsageError(
            f"{run.folder}: holds what is no part of a record ({', '.join(foreign[:5])}); remove it by hand"
        )
    for file in files:
        file.unlink()
    run.folder.rmdir()


def export(run: Run, to: Path, form: Format) -> Path:
    """Write the record's files as CSV or Parquet into `to`/<run id>, or into the archive `to` if it ends in .zip.

    Returns what was written. Raises UsageError if it is already there.
    """
    target = to if to.suffix.lower() == ".zip" else to / run.id
    if target.exists():
        raise UsageError(f"{target}: is already there; choose another place or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Made beside the target and moved there when whole: nobody ever sees half an export.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
        whole = Path(scratch) / run.id
        whole.mkdir()
        for file in _copies(run, whole, form):
            file.chmod(0o644)
        if target.suffix.lower() == ".zip":
            whole = _packed(whole)
        whole.rename(target)
    return target


def _read(folder: Path) -> Run | None:
    try:
        info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Run(folder, info) if isinstance(info, dict) and isinstance(info.get("run_id"), str) else None


def _copies(run: Run, folder: Path, form: Format) -> Iterator[Path]:
    """The record's files in `folder`, one by one, in the form asked for."""
    yield Path(shutil.copyfile(run.folder / INFO_FILE, folder / INFO_FILE))
    if (run.folder / run_notes.FILE).is_file():
        yield Path(shutil.copyfile(run.folder / run_notes.FILE, folder / run_notes.FILE))
    for name in TABLE_NAMES:
        source = run.folder / f"{name}.parquet"
        if not source.is_file():
            raise UsageError(f"{run.folder}: {source.name} is missing, so this record cannot be exported")
        yield (
            _as_csv(source, folder / f"{name}.csv")
            if form == "csv"
            else Path(shutil.copyfile(source, folder / source.name))
        )


def _as_csv(source: Path, target: Path) -> Path:
    import pandas as pd

    try:
        pd.read_parquet(source).to_csv(target, index=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{source}: cannot be read ({error}), so this record cannot be exported") from error
    return target


def _packed(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, f"{folder.name}/{file.name}")
    return archive
