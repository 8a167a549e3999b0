"""Tables of a real queue: CSV or Parquet with the moments of enqueue, start and finish, a row a task or an attempt.

CSV as it comes: with commas, semicolons or tabs, a byte order mark or none, any line ends, packed by gzip or not.
Moments are ISO 8601 (without a zone: UTC), or numbers: seconds of any clock, or milli-, micro- or nanoseconds of the
epoch, which are told apart by their size.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lab.draws import Floats
from lab.errors import UsageError
from lab.limits import FOUND_CHARS_MAX, SERVICE_S_MAX, TASKS_MAX
from lab.observed import NO_ROLE, Outcome, Reading, Rejected, rows_of, text_of
from lab.rules.priority import PRIORITY_MAX, PRIORITY_MIN
from lab.units import plural

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "enqueue": (
        "enqueue", "enqueued", "enqueued_at", "enqueue_time", "queued_at", "created_at", "created", "submitted_at",
        "submitted", "arrival_s", "arrived_at", "arrival", "published_at",
    ),
    "start": ("start", "started", "started_at", "start_time", "start_s", "dequeued_at", "first_claim_s"),
    "finish": (
        "finish", "finished", "finished_at", "finish_time", "end", "ended_at", "end_time", "completed_at",
        "completed", "done_at", "done_s", "finish_s",
    ),
    "task": ("task", "task_id", "id", "uuid", "job_id", "job"),
    "role": ("role", "task_name", "queue", "queue_name", "name", "type", "kind"),
    "priority": ("priority",),
    "status": ("status", "state", "outcome"),
    "attempt": ("attempt", "attempt_number", "try"),
    "worker": ("worker", "worker_id", "hostname", "host"),
}  # fmt: skip
"""What each column may be called; the first that is there counts. `--columns` goes before."""
NEEDED: Final = ("enqueue", "start", "finish")
WORDS: Final[Mapping[Outcome, tuple[str, ...]]] = {
    "succeeded": ("succeeded", "success", "successful", "completed", "complete", "done", "finished", "ok"),
    "failed": ("failed", "failure", "error", "errored", "exception", "dead", "permanent_failure", "timeout"),
    "retried": ("retried", "retry", "retrying", "retry_wait", "retryable", "deferred_for_retry"),
    "lapsed": ("lost", "lapsed", "abandoned"),
    "cancelled": (
        "cancelled", "canceled", "revoked", "expired", "rejected", "skipped", "aborted", "discarded", "stopped",
        "deleted",
    ),
    "open": (
        "", "open", "running", "started", "active", "pending", "queued", "waiting", "scheduled", "todo", "doing",
        "deferred", "available", "executing", "delayed", "picked",
    ),
}  # fmt: skip
"""Words of Celery, Procrastinate, PgQueuer, RQ, River, Oban and BullMQ among them."""
OUTCOME_OF: Final = {word: outcome for outcome, words in WORDS.items() for word in words}
SCALES: Final = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
"""A number from the first on is a moment of the epoch in units of the second: 10¹¹ s lie in the year 5138."""
DELIMITERS: Final = (",", ";", "\t", "|")
EARLY_S: Final = 0.002
"""Clocks are read to the millisecond, on several hosts: a start that much before its enqueue is the same moment."""


class Raw(NamedTuple):
    """The columns of a file as they stand there, each value with the line that it came from."""

    columns: dict[str, npt.NDArray[Any]]
    line: npt.NDArray[np.int64]
    rejected: list[Rejected]


def read(path: Path, columns: Mapping[str, str]) -> Reading:
    """The rows of a CSV or Parquet file. Raises UsageError for a file that is no such table."""
    raw = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    names = _chosen(path, list(raw.columns), columns)
    table = {ours: raw.columns[theirs] for ours, theirs in names.items()}
    reasons = np.full(len(raw.line), "", dtype=object)
    moments = {name: _moments(table[name], name, reasons) for name in NEEDED}
    outcome = _outcomes(table.get("status"), moments, reasons)
    _refuse_disorder(moments, outcome == "cancelled", reasons)
    priority = _whole(table.get("priority"), "priority", (PRIORITY_MIN, PRIORITY_MAX), reasons)
    attempt = _whole(table.get("attempt"), "attempt", (1, 1_000), reasons)
    ids = _texts(table["task"]) if "task" in table else np.arange(len(raw.line)).astype(str).astype(object)
    _refuse_repeated(ids, attempt if "attempt" in table else None, raw.line, reasons)
    good = reasons == ""
    rows = rows_of(
        {
            "id": ids[good],
            "role": (_texts(table["role"]) if "role" in table else np.full(len(good), NO_ROLE, object))[good],
            "priority": priority[good],
            "enqueue_at": moments["enqueue"][good],
            "start_at": moments["start"][good],
            "finish_at": moments["finish"][good],
            "outcome": outcome[good],
            "attempt": attempt[good],
            "worker": (_texts(table["worker"]) if "worker" in table else np.full(len(good), "", object))[good],
        }
    )
    if "attempt" not in table:
        _number_attempts(rows)
    bad = [Rejected(int(raw.line[row]), str(reasons[row])) for row in np.flatnonzero(~good)]
    notes = _notes(names, rows)
    return Reading(rows, sorted([*raw.rejected, *bad]), notes, {})


def _notes(names: Mapping[str, str], rows: pd.DataFrame) -> list[str]:
    """What the table does not say."""
    notes = [f"columns: {', '.join(f'{ours} is {theirs!r}' for ours, theirs in names.items())}"]
    unknown = {
        "role": "there is no role: all tasks are of one kind",
        "priority": "there is no priority: all tasks are treated alike",
        "status": "there is no status: what has a finish counts as completed, and no failure can be seen",
        "worker": "there is no worker: slots are only known in sum",
    }
    notes += [words for name, words in unknown.items() if name not in names]
    open_count = int((rows["outcome"] == "open").sum())
    if open_count:
        notes.append(f"{plural(open_count, 'row')} had not ended when the record does")
    return notes


# ---- the file --------------------------------------------------------------------------------------------------------


def _csv(path: Path) -> Raw:
    rejected: list[Rejected] = []
    lines: list[int] = []
    try:
        with text_of(path) as file:
            reader = csv.reader(file, delimiter=delimiter(file.readline()))
            file.seek(0)
            header = [name.strip() for name in next(reader, [])]
            values: list[list[str]] = [[] for _ in header]
            for row in reader:
                if not any(row):
                    continue
                if len(row) != len(header):
                    rejected.append(Rejected(reader.line_num, f"has {len(row)} values, the header has {len(header)}"))
                    continue
                for column, value in zip(values, row, strict=True):
                    column.append(value)
                lines.append(reader.line_num)
                if len(lines) > TASKS_MAX:
                    raise UsageError(f"{path}: holds more than {TASKS_MAX:,} rows; give a part of it")
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: is not a CSV table: {error}") from error
    columns = {name: np.array(column, dtype=object) for name, column in zip(header, values, strict=True)}
    return Raw(columns, np.array(lines, dtype=np.int64), rejected)


def delimiter(header: str) -> str:
    """What parts the names of a header: the most frequent of the usual ones outside quotes."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _parquet(path: Path) -> Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_metadata(path).num_rows
        if rows > TASKS_MAX:
            raise UsageError(f"{path}: holds {rows:,} rows, more than {TASKS_MAX:,}; give a part of it")
        frame = pq.read_table(path).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: is not a Parquet table: {error}") from error
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    return Raw(columns, np.arange(1, len(frame) + 1, dtype=np.int64), [])


def _chosen(path: Path, there: list[str], asked: Mapping[str, str]) -> dict[str, str]:
    """Our name → the file's, as asked or by a usual name."""
    asked = {next((ours for ours, usual in NAMES.items() if word in usual), word): one for word, one in asked.items()}
    for ours, theirs in asked.items():
        if ours not in NAMES:
            raise UsageError(f"--columns {ours}={theirs}: there is no {ours!r}; ours are {', '.join(NAMES)}")
        if theirs and theirs not in there:
            raise UsageError(f"--columns {ours}={theirs}: {path} has no column {theirs!r}; it has {', '.join(there)}")
    lower = {name.lower(): name for name in reversed(there)}
    found = dict(asked)
    for ours, usual in NAMES.items():
        if ours not in found:
            found[ours] = next((lower[name] for name in usual if name in lower), "")
    missing = [ours for ours in NEEDED if not found[ours]]
    if missing:
        raise UsageError(
            f"{path}: which column is {' and which is '.join(missing)}? It has {', '.join(there) or 'none'}. "
            f"Say so with --columns {','.join(f'{ours}=NAME' for ours in missing)}"
        )
    return {ours: theirs for ours, theirs in found.items() if theirs}


# ---- values ----------------------------------------------------------------------------------------------------------


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    missing = pd.isna(values)
    return np.where(missing, "", np.array([str(value).strip() for value in values], dtype=object))


def _moments(values: npt.NDArray[Any], name: str, reasons: npt.NDArray[Any]) -> Floats:
    """Seconds; NaN where nothing stands. What cannot be read is noted in `reasons`."""
    missing = pd.isna(values)
    if not missing.all() and all(hasattr(one, "timestamp") for one in pd.Series(values[~missing])):
        texts, found = pd.Series(_texts(values)), _epoch_s(pd.to_datetime(pd.Series(values), utc=True))
        numbers = np.where(missing, np.nan, found)
    else:
        texts = pd.Series(_texts(values))
        numbers = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
        found = _scaled(numbers)
    empty = missing | (texts == "").to_numpy() | texts.str.lower().isin(("nan", "null", "none", "nat")).to_numpy()
    rest = np.isnan(numbers) & ~empty
    if rest.any():
        found[rest] = _epoch_s(pd.to_datetime(texts[rest], format="ISO8601", utc=True, errors="coerce"))
    found[empty] = np.nan
    for row in np.flatnonzero((np.isnan(found) | np.isinf(found)) & ~empty & (reasons == "")):
        text = str(texts[row])[:FOUND_CHARS_MAX]
        reasons[row] = f"{name}: {text!r} is no moment; write ISO 8601, or seconds or milliseconds of the epoch"
    if name == "enqueue":
        reasons[np.flatnonzero(empty & (reasons == ""))] = "enqueue: is missing; nobody can say when this task arrived"
    return found


def _epoch_s(stamps: pd.Series[Any]) -> Floats:
    """Seconds of the epoch; NaN for NaT. Exact to the microsecond."""
    micros = stamps.dt.as_unit("us").astype("int64").to_numpy(dtype=np.float64) / 1e6
    return np.where(stamps.isna().to_numpy(), np.nan, micros)


def _scaled(numbers: Floats) -> Floats:
    scaled = numbers.copy()
    size = np.abs(numbers)
    for smallest, unit_s in SCALES:
        chosen = size >= smallest
        scaled[chosen] = numbers[chosen] * unit_s
        size = np.where(chosen, 0.0, size)
    return scaled


def _refuse_disorder(
    moments: Mapping[str, Floats], cancelled: npt.NDArray[np.bool_], reasons: npt.NDArray[Any]
) -> None:
    """A start before the enqueue, a finish before the start or without one, unless cancelled. Less than EARLY_S counts
    as none.
    """
    enqueue, start, finish = (moments[name] for name in NEEDED)
    early = (start < enqueue) & (start >= enqueue - EARLY_S)
    start[early] = enqueue[early]
    close = (finish < start) & (finish >= start - EARLY_S)
    finish[close] = start[close]
    wrong = {
        "start: lies {:.3f} s before the enqueue": (start < enqueue, enqueue - start),
        "finish: lies {:.3f} s before the start": (finish < start, start - finish),
        f"finish: lies {{:,.0f}} s after the start; a task may take {SERVICE_S_MAX:,.0f}": (
            finish - start > SERVICE_S_MAX,
            finish - start,
        ),
        "start: is missing, although it has finished": (np.isnan(start) & ~np.isnan(finish) & ~cancelled, start),
    }
    for words, (rows, size_s) in wrong.items():
        for row in np.flatnonzero(rows & (reasons == "")):
            reasons[row] = words.format(size_s[row])


def _outcomes(
    status: npt.NDArray[Any] | None, moments: Mapping[str, Floats], reasons: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    finished = ~np.isnan(moments["finish"])
    if status is None:
        return np.where(finished, "succeeded", "open").astype(object)
    words = [text.lower().replace(" ", "_") for text in _texts(status)]
    found = np.array([OUTCOME_OF.get(word, "") for word in words], dtype=object)
    for row in np.flatnonzero((found == "") & (reasons == "")):
        known = ", ".join(WORDS["succeeded"][:3] + WORDS["failed"][:3] + WORDS["retried"][:2] + WORDS["cancelled"][:1])
        reasons[row] = f"status: {words[row][:FOUND_CHARS_MAX]!r} is unknown; known are {known}, …"
    ended = np.isin(found, ("succeeded", "failed", "retried"))
    for row in np.flatnonzero(ended & ~finished & (reasons == "")):
        reasons[row] = f"finish: is missing, although the status is {words[row]!r}"
    found[(found == "open") & finished] = "succeeded"
    return found


def _whole(
    values: npt.NDArray[Any] | None, name: str, bounds: tuple[int, int], reasons: npt.NDArray[Any]
) -> npt.NDArray[np.int32]:
    """Whole numbers within bounds; 0 for a priority and 1 for an attempt that is not said."""
    unknown = 1 if name == "attempt" else 0
    if values is None:
        return np.full(len(reasons), unknown, dtype=np.int32)
    texts = _texts(values)
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").to_numpy(dtype=np.float64)
    empty = texts == ""
    low, high = bounds
    wrong = ~empty & ~((numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers)))
    for row in np.flatnonzero(wrong & (reasons == "")):
        found = str(texts[row])[:FOUND_CHARS_MAX]
        hint = f"; leave the column out with --columns {name}=" if name == "priority" else ""
        reasons[row] = f"{name}: must be a whole number from {low} to {high:,}, found {found!r}{hint}"
    return np.where(empty | wrong, unknown, np.nan_to_num(numbers, posinf=0.0, neginf=0.0)).astype(np.int32)


def _refuse_repeated(
    ids: npt.NDArray[Any],
    attempt: npt.NDArray[np.int32] | None,
    line: npt.NDArray[np.int64],
    reasons: npt.NDArray[Any],
) -> None:
    """Rows without an id, and the same attempt of a task twice."""
    for row in np.flatnonzero((ids == "") & (reasons == "")):
        reasons[row] = "task: is missing"
    if attempt is None:
        return
    frame = pd.DataFrame({"id": ids, "attempt": attempt})[reasons == ""]
    again = frame.duplicated()
    first = frame.reset_index().groupby(["id", "attempt"])["index"].min() if again.any() else None
    for row in frame.index[again]:
        where = line[first[ids[row], attempt[row]]] if first is not None else 0
        reasons[row] = f"attempt {attempt[row]} of task {str(ids[row])[:FOUND_CHARS_MAX]!r} stands in line {where} too"


def _number_attempts(rows: pd.DataFrame) -> None:
    """Rows of one task are its attempts in order of their starts; all but the last one that failed were retried."""
    if not rows["id"].duplicated().any():
        return
    order = rows.sort_values(["id", "start_at", "enqueue_at"], kind="stable")
    rows["attempt"] = order.groupby("id", sort=False).cumcount().reindex(rows.index) + 1
