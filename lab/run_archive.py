"""Records as a zip archive: several go out, several come in.

What comes in may come from a stranger. Nothing is unpacked but the files of a record, each into a folder that is made
for it, read no further than its bound; then each record is read, compared with its digest and judged anew. If anything
is wrong with any of it, nothing comes in.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from lab import run_notes
from lab.errors import LabError, Unavailable, UsageError
from lab.limits import (
    EXPORT_BYTES_MAX,
    IMPORT_BYTES_MAX,
    IMPORT_DIRECTORY_BYTES_MAX,
    IMPORT_RECORDS_MAX,
    IMPORT_ROWS_MAX,
    IMPORT_UNPACKED_BYTES_MAX,
    MIB,
    NOTES_BYTES_MAX,
    RUN_INFO_BYTES_MAX,
)
from lab.runs import INFO_FILE, TABLE_FILES, TABLE_NAMES

FILES: Final = (INFO_FILE, *TABLE_FILES, run_notes.FILE)
BYTES_MAX: Final = {INFO_FILE: RUN_INFO_BYTES_MAX, run_notes.FILE: NOTES_BYTES_MAX}
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
ENGINES: Final = ("sim", "live")
CHUNK_BYTES: Final = MIB
END: Final = struct.Struct("<4s4H2LH")
"""The end of a zip's table of contents; the sixth field is how many bytes the table takes."""
END_MARK, END64_MARK, COMMENT_BYTES_MAX = b"PK\x05\x06", b"PK\x06\x07", 65_535

COLUMNS: Final[dict[str, dict[str, str]]] = {
    "tasks": {
        **dict.fromkeys(("id", "priority", "attempts", "retries"), "i"),
        **dict.fromkeys(("arrival_s", "first_claim_s", "done_s", "service_s", "backoff_s"), "f"),
        **dict.fromkeys(("role", "queue", "state", "worker"), "O"),
    },
    "transitions": {
        **dict.fromkeys(("task", "attempt", "token"), "i"),
        **dict.fromkeys(("at_s", "delay_s"), "f"),
        **dict.fromkeys(("from", "to", "worker", "reason"), "O"),
    },
    "samples": {
        **dict.fromkeys(("active", "agent_high", "agent_medium", "agent_low", "retry_wait", "held"), "i"),
        **dict.fromkeys(("t_s", "rss_bytes", "cpu"), "f"),
        **{"worker": "O", "gate": "b"},
    },
    "events": {"t_s": "f", "task": "i", **dict.fromkeys(("kind", "worker", "detail"), "O")},
}
"""The columns of a record and their kinds: whole numbers, seconds and the like, names, yes or no."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The ids of the runs that came in, and of those that were here already (they are left as they are)."""

    new: tuple[str, ...]
    known: tuple[str, ...]


# ---- out -------------------------------------------------------------------------------------------------------------


def pack(folders: Sequence[Path], to: IO[bytes]) -> None:
    """Write the records in these folders as a zip, each in a folder of its name. Raises UsageError if they are too
    large, Unavailable if one cannot be read.
    """
    files = [(folder, name) for folder in folders for name in FILES if (folder / name).is_file()]
    total = sum((folder / name).stat().st_size for folder, name in files)
    if total > EXPORT_BYTES_MAX:
        raise UsageError(
            f"these records take {total / MIB:,.0f} MiB; at most {EXPORT_BYTES_MAX // MIB} MiB are exported at a time: "
            "choose fewer, or copy their folders"
        )
    try:
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for folder, name in files:
                archive.write(folder / name, f"{folder.name}/{name}")
    except OSError as error:
        raise Unavailable(f"{error.filename}: cannot be exported ({error.strerror})") from error


# ---- in --------------------------------------------------------------------------------------------------------------


def unpack(archive: IO[bytes], name: str, root: Path) -> Imported:
    """Take the records of a zip archive, called `name` in errors, into the folder `root`.

    Raises UsageError if it is anything but whole records within their bounds; then nothing has been changed.
    """
    _bounded(archive, name)
    try:
        with zipfile.ZipFile(archive) as packed:
            chosen = _chosen(packed.infolist(), name)
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".import-") as scratch:
                folders = [_unpacked(packed, files, Path(scratch) / str(n)) for n, files in enumerate(chosen.values())]
                return _moved([(folder, _examined(folder, name)) for folder in folders], name, root)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UsageError(f"{name}: is no zip archive that can be read ({error}); nothing was imported") from error
    except OSError as error:
        raise Unavailable(f"{name}: could not be imported ({error.strerror or error}); nothing was") from error


def _bounded(archive: IO[bytes], name: str) -> None:
    """Refuse what is too large before it is opened: opening reads the whole table of contents."""
    size = archive.seek(0, 2)
    if size > IMPORT_BYTES_MAX:
        raise UsageError(f"{name}: {size / MIB:,.0f} MiB; at most {IMPORT_BYTES_MAX // MIB} MiB are imported at a time")
    archive.seek(max(0, size - END.size - COMMENT_BYTES_MAX))
    tail = archive.read()
    at = tail.rfind(END_MARK)
    if at < 0 or len(tail) - at < END.size:
        raise UsageError(f"{name}: is no zip archive; export a run to see what one looks like")
    directory_bytes = END.unpack_from(tail, at)[5]
    if END64_MARK in tail or directory_bytes > IMPORT_DIRECTORY_BYTES_MAX:
        raise UsageError(f"{name}: holds more files than {IMPORT_RECORDS_MAX} records have; nothing was imported")
    archive.seek(0)


Chosen = dict[str, dict[str, zipfile.ZipInfo]]


def _chosen(entries: Sequence[zipfile.ZipInfo], name: str) -> Chosen:
    """The entries of each record by folder and file name. Everything else is a reason to refuse."""
    chosen: Chosen = {}
    for entry in entries:
        place = entry.filename
        if entry.is_dir() or place.startswith("__MACOSX/") or place.endswith("/.DS_Store"):
            continue
        folder, _, file = place.rpartition("/")
        mode = entry.external_attr >> 16
        apart = folder and not ID.fullmatch(folder)
        if file not in FILES or apart or place.startswith("/") or stat.S_ISLNK(mode):
            raise UsageError(f"{name}: {_shown(place)} is no file of a record; nothing was imported")
        if file in chosen.setdefault(folder, {}):
            raise UsageError(f"{name}: holds {_shown(place)} twice; nothing was imported")
        chosen[folder][file] = entry
    missing = [f"{folder}/{file}" for folder, files in chosen.items() for file in FILES[:-1] if file not in files]
    if missing or not chosen:
        lacks = f"{_shown(missing[0])} is missing" if missing else "there is no run.json in it"
        raise UsageError(f"{name}: is no record ({lacks}); export a run to see what one looks like")
    if len(chosen) > IMPORT_RECORDS_MAX:
        raise UsageError(f"{name}: {len(chosen)} records; at most {IMPORT_RECORDS_MAX} are imported at a time")
    told = sum(entry.file_size for files in chosen.values() for entry in files.values())
    if told > IMPORT_UNPACKED_BYTES_MAX:
        raise UsageError(f"{name}: {told / MIB:,.0f} MiB unpacked; at most {IMPORT_UNPACKED_BYTES_MAX // MIB} MiB")
    return chosen


def _unpacked(packed: zipfile.ZipFile, files: dict[str, zipfile.ZipInfo], folder: Path) -> Path:
    """One record's files in `folder`. No more is written than an entry has told, whatever comes out of it."""
    folder.mkdir()
    for file, entry in files.items():
        left = min(entry.file_size, BYTES_MAX.get(file, IMPORT_UNPACKED_BYTES_MAX))
        with packed.open(entry) as source, (folder / file).open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    raise UsageError(f"{_shown(entry.filename)} is larger than it may be; nothing was imported")
                target.write(chunk)
    return folder


def _examined(folder: Path, name: str) -> str:
    """The id of the run in `folder`, whose record is whole; its figures and its verdict are written anew."""
    from lab import record as records

    try:
        info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
        run_id = _run_id(info)
        if (folder / run_notes.FILE).is_file():
            run_notes.write(folder, run_notes.parse((folder / run_notes.FILE).read_bytes()))
        for wrong in _wrong_tables(folder):
            raise UsageError(wrong)
        records.write_json(folder / INFO_FILE, _judged(folder))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, LabError) as error:
        words = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
        reason = " ".join(words.replace(str(folder), "the record").split())[:300]
        raise UsageError(f"{name}: holds no valid record ({reason}); nothing was imported") from error
    return run_id


def _run_id(info: Any) -> str:
    run_id = info.get("run_id") if isinstance(info, dict) else None
    if not isinstance(run_id, str) or not ID.fullmatch(run_id):
        raise UsageError("run.json has no run_id of letters, digits, dots and dashes")
    named = isinstance(info.get("scenario_name"), str) and isinstance(info.get("started_at"), str)
    if info.get("engine") not in ENGINES or not isinstance(info.get("scenario"), dict) or not named:
        raise UsageError("run.json does not say which scenario ran when in which engine")
    return run_id


def _wrong_tables(folder: Path) -> Iterator[str]:
    """What is wrong with the tables by their own table of contents, before a row is read."""
    import pyarrow as pa
    from pyarrow import parquet

    for table in TABLE_NAMES:
        try:
            with parquet.ParquetFile(folder / f"{table}.parquet") as file:
                rows, found = file.metadata.num_rows, set(file.schema_arrow.names)
        except (OSError, pa.ArrowException) as error:
            yield f"{table}.parquet cannot be read: {error}"
            continue
        if rows > IMPORT_ROWS_MAX:
            yield f"{table}.parquet promises {rows:,} rows; at most {IMPORT_ROWS_MAX:,}"
        if missing := sorted(set(COLUMNS[table]) - found):
            yield f"{table}.parquet has no column {missing[0]}"


def _judged(folder: Path) -> dict[str, Any]:
    """run.json with figures and verdict as they come out here. A stranger's own are not believed."""
    from lab import outcome, tables
    from lab.record import Record

    record = Record.load(folder)
    for table, columns in COLUMNS.items():
        for column, kind in columns.items():
            if (found := getattr(record, table)[column].dtype.kind) != kind:
                raise UsageError(f"{table}.{column} holds values of another kind ({found} for {kind})")
    if tables.digest({table: getattr(record, table) for table in TABLE_NAMES}) != record.info.get("digest"):
        raise UsageError("its tables are not those that run.json was written with: the digests differ")
    return outcome.judge(record).info


def _moved(examined: Sequence[tuple[Path, str]], name: str, root: Path) -> Imported:
    """The records in their places, those that are not there yet."""
    ids = [run_id for _, run_id in examined]
    if len(set(ids)) < len(ids):
        raise UsageError(f"{name}: holds the same run twice; nothing was imported")
    new = [(folder, run_id) for folder, run_id in examined if not (root / run_id).exists()]
    moved: list[Path] = []
    try:
        for folder, run_id in new:
            moved.append(folder.rename(root / run_id))
    except OSError:
        for folder in moved:
            shutil.rmtree(folder)
        raise
    fresh = tuple(run_id for _, run_id in new)
    return Imported(fresh, tuple(run_id for run_id in ids if run_id not in fresh))


def _shown(place: str) -> str:
    """The name of an entry as a message repeats it."""
    return repr(place[:120])
