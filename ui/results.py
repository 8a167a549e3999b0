"""What a finished run says, as tables and sentences: no Streamlit here, so it can be tested and reused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lab import checks, metrics
from lab.compare import Comparison, compare
from lab.errors import LabError, UsageError
from lab.record import TABLES, Record
from ui import jobs, text

Number = float | int | None


class Figure(NamedTuple):
    """One headline figure: where it stands in a summary, what people call it, how it is written."""

    path: str
    label: str
    written: Callable[[Number], str]


HEADLINES = (
    Figure("throughput_per_s", "Throughput", text.rate),
    Figure("makespan_s", "Makespan, first arrival to last end", text.seconds),
    Figure("latency_s.mean", "Latency, mean", text.seconds),
    Figure("latency_s.p50", "Latency, p50", text.seconds),
    Figure("latency_s.p95", "Latency, p95", text.seconds),
    Figure("latency_s.p99", "Latency, p99", text.seconds),
    Figure("latency_s.max", "Latency, longest", text.seconds),
    Figure("queue_wait_s.p50", "Queue wait, p50", text.seconds),
    Figure("queue_wait_s.p95", "Queue wait, p95", text.seconds),
    Figure("rss_bytes.peak", "RSS, largest worker", text.size),
    Figure("backpressure.closed_s", "Admission closed", text.seconds),
)
COUNTS = (
    Figure("tasks.completed", "Tasks completed", text.count),
    Figure("tasks.dead", "Tasks dead-lettered", text.count),
    Figure("tasks.attempts", "Attempts", text.count),
    Figure("tasks.retries", "Retries", text.count),
    Figure("tasks.reclaimed", "Leases reclaimed", text.count),
    Figure("tasks.stale_writes", "Stale writes refused", text.count),
)
CARDS = (
    (HEADLINES[0], "Completed tasks ÷ (last completion − first arrival)."),
    (HEADLINES[3], "Half of the completed tasks took at most this long, from scheduled arrival to completion."),
    (HEADLINES[4], "95 % of the completed tasks took at most this long, from scheduled arrival to completion."),
    (HEADLINES[9], "The highest resident memory that any worker process reported."),
)


@dataclass(frozen=True)
class Result:
    """The records of one run, and what can be said about them."""

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    comparison: Comparison | None
    problem: str = ""

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """The headline figures of each record."""
        return [record.info.get("summary") or metrics.summary(record) for record in self.records]


class Finding(NamedTuple):
    """The verdict on one record: the checks that do not hold. `stopped`: it was ended early, so not all is judged."""

    label: str
    checked: int
    broken: list[checks.Check]
    stopped: bool


def load(folders: Sequence[Path]) -> Result:
    """The records in these folders, the model first; two are compared. Raises UsageError if one cannot be read."""
    records = sorted((Record.load(folder) for folder in folders), key=lambda record: record.engine != "sim")
    labels = [text.ENGINE_WORDS.get(record.engine, record.engine) for record in records]
    if len(set(labels)) < len(labels):
        labels = [f"{label} {number}" for number, label in enumerate(labels, start=1)]
    comparison, problem = None, ""
    if len(records) == 2:
        try:
            comparison = compare(records[0], records[1])
        except LabError as error:
            problem = str(error)
    return Result(tuple(records), tuple(labels), comparison, problem)


def at(tree: dict[str, Any], path: str) -> Number:
    """The value at a dotted path; None where there is none."""
    here: Any = tree
    for part in path.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here if isinstance(here, int | float) else None


def error(result: Result, figure: Figure) -> float | None:
    """How far the first record is from the second: first / second − 1."""
    if len(result.records) != 2 or result.comparison is None:
        return None
    first, second = (at(summary, figure.path) for summary in result.summaries)
    if first is None or second is None:
        return None
    return first / second - 1 if second else (0.0 if first == 0 else None)


def table(result: Result) -> pd.DataFrame:
    """A row a figure, a column a run, and the difference if there are two."""
    rows = []
    for figure in (*HEADLINES, *COUNTS):
        values = [figure.written(at(summary, figure.path)) for summary in result.summaries]
        row = {"Figure": figure.label, **dict(zip(result.labels, values, strict=True))}
        if result.comparison:
            row["Difference"] = text.percent(error(result, figure))
        rows.append(row)
    return pd.DataFrame(rows)


def paired(result: Result) -> str:
    """How the same tasks fared in both runs, task by task."""
    pairs = result.comparison.data["paired"] if result.comparison else {"tasks": 0}
    if not pairs["tasks"]:
        return ""
    mean_s = pairs["mean_diff_s"]
    apart = f"{text.seconds(abs(mean_s))} {'shorter' if mean_s < 0 else 'longer'}"
    first, second = (label.lower() for label in result.labels)
    within = text.seconds(pairs["p95_abs_diff_s"])
    said = (
        f"Task by task, over the {text.plural(pairs['tasks'], 'task')} that both completed: latency in the {first} run "
        f"is {apart} than in the {second} one on average, within {within} for 95 % of them"
    )
    correlation = pairs["correlation"]
    return f"{said}; correlation {correlation:.3f}." if correlation is not None else f"{said}."


# ---- the verdict of the checks ---------------------------------------------------------------------------------------


def findings(result: Result) -> Iterator[Finding]:
    """The verdict on each record, read from run.json, or checked now if an older record has none."""
    for record, label in zip(result.records, result.labels, strict=True):
        verdict = record.info.get("checks") or checks.verdict(record)
        broken = [checks.Check(**one) for one in verdict["details"] if not one["ok"]]
        yield Finding(label, len(verdict["details"]), broken, bool(record.info.get("interrupted")))


def examples(check: checks.Check) -> str:
    """Some tasks that broke it."""
    return f"For example task {', '.join(map(str, check.tasks))}." if check.tasks else ""


# ---- downloads -------------------------------------------------------------------------------------------------------


def archive(records: Sequence[Record], *, csv: bool = False) -> bytes:
    """A zip of the records: their folders as they are, or their tables as CSV."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for record in records:
            name = record.folder.name if record.folder else str(record.info["run_id"])
            for entry, content in _csv_files(record) if csv else _files(record):
                file.writestr(f"{name}/{entry}", content)
    return buffer.getvalue()


def _files(record: Record) -> Iterator[tuple[str, bytes]]:
    if record.folder is None:
        raise UsageError("this run was never saved, so it has no files")
    for path in sorted(record.folder.iterdir()):
        if path.is_file():
            yield path.name, path.read_bytes()


def _csv_files(record: Record) -> Iterator[tuple[str, bytes]]:
    for name in TABLES:
        yield f"{name}.csv", getattr(record, name).to_csv(index=False).encode()
    if record.folder is not None:
        yield "run.json", (record.folder / "run.json").read_bytes()


# ---- which run -------------------------------------------------------------------------------------------------------


def record_folder(run_id: str) -> Path:
    """The folder of the record called `run_id`. Raises UsageError if there is none. A URL is a stranger's."""
    folder = jobs.runs_dir() / run_id
    if not jobs.ID.fullmatch(run_id) or not (folder / "run.json").is_file():
        raise UsageError(f"there is no run {run_id!r} in {jobs.runs_dir()}; open one from the list of recent runs")
    return folder
