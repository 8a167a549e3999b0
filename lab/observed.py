"""What a real queue has recorded, tidied: a row a task and a row an attempt, whatever wrote it down.

    seen = observed.read("jobs.csv", columns={"enqueue": "created_at"})
    seen.tasks, seen.attempts, seen.notes

Three kinds of records are understood: tables (CSV, Parquet) with enqueue, start and finish, Celery's events, and a
mesh's own audit log. Each becomes the same rows (`ROW_COLUMNS`), of which `assembled` makes an `Observed`.
A row that cannot be used is refused with its line and the reason, all at once; or, if asked, counted and left out.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from lab.draws import Floats
from lab.errors import Unavailable, UsageError
from lab.limits import OBSERVED_BYTES_MAX, PROBLEMS_SHOWN_MAX, ROLES_MAX

Format = Literal["table", "celery", "mesh"]
Outcome = Literal["succeeded", "failed", "retried", "lapsed", "cancelled", "open"]
"""`failed`: the last word, as far as this row knows; `retried`: a failure that is tried again; `lapsed`: nobody's
failure, the worker was lost or left; `open`: it had not ended when the record does.
"""
FORMATS: Final[tuple[str, ...]] = get_args(Format)
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
ROW_COLUMNS: Final = ("id", "role", "priority", "enqueue_at", "start_at", "finish_at", "outcome", "attempt", "worker")
"""Of the rows that readers make: one an attempt, or one for a task that never started. Moments in seconds of any one
clock, NaN where there is none; priority 0 and worker "" are unknown. `delay_s`, the ordered backoff, may stand beside.
"""
NO_ROLE: Final = "TASK"
OTHER_ROLE: Final = "OTHER"
HEAD_BYTES: Final = 16_384
"""So much of a file tells its format: a line of a dump can have long arguments."""


class Rejected(NamedTuple):
    """A row that cannot be used: its line in the file (from 1), and why."""

    line: int
    reason: str


class Reading(NamedTuple):
    """What a reader found: the rows, those that cannot be used, and what people should know of them."""

    rows: pd.DataFrame
    rejected: list[Rejected]
    notes: list[str]
    facts: dict[str, Any]
    """What the record itself says of the mesh: `workers`, `slots`, `rules`, `machinery_included`; often nothing."""


@dataclass(frozen=True)
class Observed:
    """A queue as it was seen. Times are in seconds from the first arrival."""

    tasks: pd.DataFrame
    """id, role, priority (0: unknown), arrival_s, first_start_s, done_s, state (completed, failed, cancelled, open),
    attempts, failures; in order of arrival. The index counts from 0."""
    attempts: pd.DataFrame
    """task (index into tasks), role, attempt, start_s, finish_s (NaN: open), outcome, worker; in order of start."""
    backoffs: pd.DataFrame
    """task, failure (the how manieth of the task, from 1), delay_s, exact (ordered by the queue, not only seen)."""
    source: str
    format: Format
    started_at_s: float
    """The first arrival by the record's own clock, in seconds."""
    notes: tuple[str, ...] = ()
    skipped: tuple[Rejected, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def roles(self) -> list[str]:
        """The roles, the most frequent first."""
        return [str(role) for role in self.tasks["role"].value_counts(sort=True).index]

    @property
    def span_s(self) -> float:
        """From the first arrival to the last thing that happened."""
        moments = [self.tasks["arrival_s"].max(), self.attempts["start_s"].max(), self.attempts["finish_s"].max()]
        return float(np.nanmax(np.array(moments, dtype=np.float64)))

    def service_s(self, role: str | None = None) -> Floats:
        """Seconds from start to finish of the attempts that ended by themselves; of one role or of all."""
        ended = self.attempts[self.attempts["outcome"].isin(("succeeded", "failed", "retried"))]
        if role is not None:
            ended = ended[ended["role"] == role]
        spent: Floats = (ended["finish_s"] - ended["start_s"]).to_numpy(dtype=np.float64)
        return spent[~np.isnan(spent)]

    def wait_s(self) -> Floats:
        """Seconds from arrival to the first start of the tasks that were started."""
        waits: Floats = (self.tasks["first_start_s"] - self.tasks["arrival_s"]).to_numpy(dtype=np.float64)
        return waits[~np.isnan(waits)]

    def latency_s(self) -> Floats:
        """Seconds from arrival to the end of the tasks that were completed."""
        done = self.tasks[self.tasks["state"] == "completed"]
        took: Floats = (done["done_s"] - done["arrival_s"]).to_numpy(dtype=np.float64)
        return took[~np.isnan(took)]


def read(
    path: str | Path, format: str | None = None, columns: Mapping[str, str] | None = None, *, skip_bad: bool = False
) -> Observed:
    """The records in a file, or in the folder of a run. `format` is told from the content unless given.

    `columns` says what a table calls ours: {"enqueue": "created_at"}; an empty name leaves an optional column out.
    Raises UsageError for a file that is none of these, and with every row that cannot be used unless `skip_bad`.
    """
    path = Path(path)
    if format is not None and format not in FORMATS:
        raise UsageError(f"--format {format!r}: choose from {', '.join(FORMATS)}")
    kind = format or _detected(path)
    _refuse_too_large(path)
    found = _readers()[kind](path, columns or {})
    if found.rejected and not skip_bad:
        raise UsageError(_refusal(path, found))
    return assembled(found, str(path), kind)


def _readers() -> Mapping[str, Callable[[Path, Mapping[str, str]], Reading]]:
    """Imported when they are needed: they import this module."""
    from lab import observed_celery, observed_mesh, observed_tables

    return {
        "table": observed_tables.read,
        "celery": observed_celery.read,
        "mesh": observed_mesh.read,
    }


def _refuse_too_large(path: Path) -> None:
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read ({error.strerror})") from error
    if size > OBSERVED_BYTES_MAX:
        raise UsageError(
            f"{path}: has {size:,} bytes, and at most {OBSERVED_BYTES_MAX:,} are read at a time; give a part of it"
        )


def _detected(path: Path) -> str:
    """The format that a file's name and first bytes speak of."""
    if path.is_dir():
        return "mesh"
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    if path.suffix.lower() == ".parquet":
        from lab import observed_mesh

        return "mesh" if observed_mesh.is_audit_log(path) else "table"
    head = bytes_of(path, HEAD_BYTES).decode("utf-8-sig", errors="replace")
    if not head.strip():
        raise UsageError(f"{path}: is empty")
    if head.lstrip().startswith(("{", "[")) or re.search(r"\] task (sent|received|started)", head):
        return "celery"
    from lab.observed_tables import delimiter

    line = head.splitlines()[0]
    first = {name.strip().strip('"') for name in line.split(delimiter(line))}
    return "mesh" if {"task", "from", "to", "at_s"} <= first else "table"


def _reasons(rejected: Sequence[Rejected]) -> list[str]:
    """How many rows were left out for which reason, the most frequent first; figures in them do not count."""
    counts = Counter(re.sub(r"'.*?'|\d[\d.,]*", "…", one.reason) for one in rejected)
    return [f"left out, {count:,} of them: {reason}" for reason, count in counts.most_common(5)]


def bytes_of(path: Path, count: int | None = None) -> bytes:
    """What a file holds, unpacked if it is packed by gzip; only the first `count` bytes, or all within the bound."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            source: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
            found = source.read(OBSERVED_BYTES_MAX + 1 if count is None else count)
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(found) > OBSERVED_BYTES_MAX:
        raise UsageError(f"{path}: holds more than {OBSERVED_BYTES_MAX:,} bytes; give a part of it")
    return found


def text_of(path: Path) -> io.TextIOWrapper:
    """The same as lines of UTF-8, with or without a byte order mark. Line ends are left as they are, for CSV."""
    return io.TextIOWrapper(io.BytesIO(bytes_of(path)), encoding="utf-8-sig", newline="")


def _refusal(path: Path, found: Reading) -> str:
    """Every bad row (up to a bound), and what to do about them."""
    shown = [f"{path}:{one.line}: {one.reason}" for one in found.rejected[:PROBLEMS_SHOWN_MAX]]
    more = len(found.rejected) - len(shown)
    rest = [f"… and {more:,} more"] if more else []
    total = len(found.rejected) + len(found.rows)
    advice = f"{len(found.rejected):,} of {total:,} rows cannot be used; mend them, or leave them out with --skip-bad"
    return "\n".join([*shown, *rest, advice])


# ---- rows become tasks and attempts ----------------------------------------------------------------------------------


def assembled(found: Reading, source: str, kind: str) -> Observed:
    """Tasks, attempts and backoffs of these rows. Raises UsageError if there are none."""
    if found.rows.empty:
        left = f": all {len(found.rejected):,} rows were left out" if found.rejected else ""
        raise UsageError(f"{source}: no task is left{left}")
    notes = list(found.notes)
    rows = found.rows.copy()
    if "delay_s" not in rows:
        rows["delay_s"] = math.nan
    rows["role"] = _named(rows["role"], notes)
    rows = _ordered(rows)
    origin_s = float(rows["enqueue_at"].min())
    for column in ("enqueue_at", "start_at", "finish_at"):
        rows[column] = (rows[column] - origin_s).round(6)
    tasks = _tasks(rows)
    rows["task"] = rows["id"].map(pd.Series(tasks.index, index=tasks["id"]))
    attempts = _attempts(rows)
    if found.rejected:
        notes.append(f"{len(found.rejected):,} rows could not be used and were left out")
        notes += _reasons(found.rejected)
    return Observed(
        tasks=tasks,
        attempts=attempts,
        backoffs=_backoffs(rows),
        source=source,
        format=kind,  # type: ignore[arg-type]  # one of FORMATS, which the callers hold
        started_at_s=origin_s,
        notes=tuple(notes),
        skipped=tuple(found.rejected),
        facts=found.facts,
    )


def _ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a task beside each other in the order of its attempts, and tasks in order of arrival."""
    arrival = rows.groupby("id", sort=False)["enqueue_at"].transform("min")
    place = pd.factorize(rows["id"])[0]  # tasks of one moment keep the order of the record
    started = rows["start_at"].fillna(math.inf)
    return (
        rows.assign(_arrival=arrival, _place=place, _started=started)
        .sort_values(["_arrival", "_place", "attempt", "_started"], kind="stable")
        .drop(columns=["_arrival", "_place", "_started"])
        .reset_index(drop=True)
    )


def _tasks(rows: pd.DataFrame) -> pd.DataFrame:
    by_task = rows.groupby("id", sort=False)
    last = by_task.tail(1)
    outcome = last["outcome"].to_numpy()
    state = np.select(
        [outcome == "succeeded", outcome == "failed", outcome == "cancelled"],
        ["completed", "failed", "cancelled"],
        "open",
    )
    ended = np.isin(state, ("completed", "failed", "cancelled"))
    started = rows["start_at"].notna() & (rows["outcome"] != "cancelled")
    failing = rows["outcome"].isin(("failed", "retried"))
    tasks = pd.DataFrame(
        {
            "id": last["id"].astype(str).to_numpy(),
            "role": by_task["role"].first().to_numpy(),
            "priority": by_task["priority"].first().to_numpy(dtype=np.int8),
            "arrival_s": by_task["enqueue_at"].min().to_numpy(),
            "first_start_s": by_task["start_at"].min().to_numpy(),
            "done_s": np.where(ended, last["finish_at"].to_numpy(), math.nan),
            "state": state,
            "attempts": np.maximum(
                started.groupby(rows["id"], sort=False).sum().to_numpy(),
                np.where(last["start_at"].notna(), last["attempt"].to_numpy(), 0),
            ).astype(np.int32),
            "failures": failing.groupby(rows["id"], sort=False).sum().to_numpy(dtype=np.int32),
        }
    )
    # A row that says "attempt 3" and stands alone has had two failures that nobody wrote down.
    hidden = np.maximum(tasks["attempts"] - by_task.size().to_numpy(), 0)
    tasks["failures"] += hidden.astype(np.int32)
    return tasks


def _attempts(rows: pd.DataFrame) -> pd.DataFrame:
    started = rows[rows["start_at"].notna()]
    frame = started[["task", "role", "attempt", "start_at", "finish_at", "outcome", "worker"]].rename(
        columns={"start_at": "start_s", "finish_at": "finish_s"}
    )
    return frame.sort_values("start_s", kind="stable").reset_index(drop=True)


def _backoffs(rows: pd.DataFrame) -> pd.DataFrame:
    """How long each failure was followed by nothing: as ordered where that is known, else until the next start."""
    failing = rows["outcome"].isin(("failed", "retried"))
    count = failing.groupby(rows["task"]).cumsum()
    same = rows["task"].shift(-1) == rows["task"]
    # Where the next attempt was enqueued anew, that moment ends the backoff; else its start, which the queue delays.
    following = rows["enqueue_at"].shift(-1)
    following = following.where(following > rows["finish_at"] - 1e-9, rows["start_at"].shift(-1))
    exact = rows["delay_s"].notna()
    delay_s = rows["delay_s"].where(exact, (following - rows["finish_at"]).where(same))
    frame = pd.DataFrame({"task": rows["task"], "failure": count, "delay_s": delay_s, "exact": exact})
    return frame[failing & frame["delay_s"].notna() & (frame["delay_s"] >= 0)].reset_index(drop=True)


# ---- names -----------------------------------------------------------------------------------------------------------


def _named(roles: pd.Series[Any], notes: list[str]) -> pd.Series[Any]:
    """Names that a scenario may have: `tasks.email.send` becomes tasks_email_send; the rarest beyond the bound share
    one name.
    """
    counts = Counter(roles.astype(str))
    names: dict[str, str] = {}
    for role, _ in counts.most_common():
        names[role] = _unique(_plain(role), names) if len(names) < ROLES_MAX - 1 else OTHER_ROLE
    changed = [f"{role[:80]!r} is {name}" for role, name in names.items() if role != name and name != OTHER_ROLE]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        notes.append(f"roles whose names no scenario may have were renamed: {', '.join(changed[:5])}{more}")
    if OTHER_ROLE in names.values():
        notes.append(f"only {ROLES_MAX - 1} roles are told apart; the rarest {len(counts) - ROLES_MAX + 1} share one")
    return roles.astype(str).map(names)


def _plain(role: str) -> str:
    word = re.sub(r"[^A-Za-z0-9_-]+", "_", role).strip("_")[:60]
    if not word:
        return NO_ROLE
    return word if word[0].isalpha() else f"R_{word}"


def _unique(name: str, taken: Mapping[str, str]) -> str:
    used = set(taken.values())
    return next(one for one in (name, *(f"{name}_{number}" for number in range(2, ROLES_MAX + 2))) if one not in used)


def rows_of(columns: Mapping[str, Sequence[Any] | Floats]) -> pd.DataFrame:
    """A frame of rows with their types, for readers."""
    frame = pd.DataFrame({name: columns[name] for name in (*ROW_COLUMNS, "delay_s") if name in columns})
    numbers = [name for name in ("enqueue_at", "start_at", "finish_at", "delay_s") if name in frame]
    types = {**dict.fromkeys(numbers, np.float64), "priority": np.int8, "attempt": np.int32}
    return frame.astype(types)
