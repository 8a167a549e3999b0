"""What finished runs say side by side, and their files: no Streamlit here, so it can be tested and reused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from lab import headlines, limits, report, units
from lab.errors import UsageError
from lab.headlines import Against, Column
from lab.headlines import number as at
from lab.record import TABLES, Record
from ui import jobs, text

__all__ = ["Result", "archive", "at", "record_folder", "table"]


@dataclass(frozen=True, eq=False)
class Result:
    """Runs side by side. `baseline` is the place of the column that the others are held against."""

    columns: tuple[Column, ...]
    baseline: int = 0

    @classmethod
    def of(cls, records: Sequence[Record], *, pool: bool = False, baseline: str = "") -> Result:
        """The columns of these records; the baseline is the run of that id, else the one that is usual."""
        found = headlines.columns(records, pool=pool)
        named = [place for place, one in enumerate(found) if baseline in ids_of(one)]
        return cls(found, named[0] if named else headlines.default_baseline(found))

    @property
    def base(self) -> Column:
        """What the others are held against."""
        return self.columns[self.baseline]

    @property
    def records(self) -> list[Record]:
        """All runs, in the order of the columns."""
        return [record for column in self.columns for record in column.records]

    @property
    def labels(self) -> list[str]:
        """The label of each run's column: replications share one."""
        return [column.label for column in self.columns for _ in column.records]

    @cached_property
    def apart(self) -> tuple[Against, ...]:
        """Each other column against the baseline."""
        return tuple(headlines.against(self.base, column) for column in self.columns if column is not self.base)

    @property
    def pairs(self) -> list[Against]:
        """Those of them that ran the same tasks."""
        return [one for one in self.apart if one.same_tasks]


def ids_of(column: Column) -> list[str]:
    """The names of its records' folders, by which links know them."""
    return [name_of(record) for record in column.records]


def name_of(record: Record) -> str:
    """What a link calls a record: its folder's name."""
    return record.folder.name if record.folder else str(record.info["run_id"])


# ---- figures and words -----------------------------------------------------------------------------------------------


def table(result: Result, paths: Sequence[str] = tuple(headlines.BY_PATH)) -> pd.DataFrame:
    """A row a figure, a column a run with its interval, and each run's difference from the baseline."""
    rows = []
    for figure in (headlines.BY_PATH[path] for path in paths):
        row = {"Figure": figure.label}
        for column in result.columns:
            row[column.label] = figure.written(column.value(figure.path), column.ci95(figure.path))
        for one in result.apart:
            row[difference_head(result, one)] = report.difference_words(one, figure.path)
        rows.append(row)
    return pd.DataFrame(rows)


def difference_head(result: Result, apart: Against) -> str:
    """The head of a column of differences."""
    return "Difference" if len(result.columns) == 2 else f"Δ {apart.column.label}"


def by_queue(result: Result) -> pd.DataFrame:
    """A row a class and run that completed something: how many, waits and latencies."""
    rows = []
    for queue in result.base.figures["by_queue"]:
        for column in result.columns:
            here = f"by_queue.{queue}"
            if column.value(f"{here}.completed"):
                row = {"Queue": queue, "Run": column.label, "Completed": units.count(column.value(f"{here}.completed"))}
                for figure, word in (("queue_wait_s", "Wait"), ("latency_s", "Latency")):
                    for point in ("mean", "p50", "p95", "p99"):
                        row[f"{word}, {point}"] = units.seconds(column.value(f"{here}.{figure}.{point}"))
                rows.append(row)
    return pd.DataFrame(rows)


def paired(apart: Against) -> str:
    """How the same tasks fared in both runs, task by task."""
    pairs = apart.pairs
    if not pairs.get("tasks"):
        return ""
    mean_s = pairs["mean_diff_s"]
    further = f"{units.seconds(abs(mean_s))} {'shorter' if mean_s < 0 else 'longer'}"
    first, second = apart.column.label, apart.base.label
    said = (
        f"Task by task, over the {units.plural(pairs['tasks'], 'task')} that both completed: latency in {first} is "
        f"{further} than in {second} on average, within {units.seconds(pairs['p95_abs_diff_s'])} for 95 % of them"
    )
    correlation = pairs["correlation"]
    return f"{said}; correlation {correlation:.3f}." if correlation is not None else f"{said}."


def chance(result: Result) -> str:
    """What is known of chance, in one sentence for all differences."""
    if not result.apart:
        column = result.base
        if len(column.records) > 1:
            return f"Intervals (95 %): Student's t over {len(column.records)} replications."
        known = column.ci95("latency_s.mean")
        if known:
            return "Intervals (95 %) from the batches of this run, which is long enough to bear them."
        return "One run: no interval, so nothing is known of other seeds. Several runs (seeds) would give one."
    return "; ".join(dict.fromkeys(text.sentence(one.method) for one in result.apart)) + "."


# ---- downloads -------------------------------------------------------------------------------------------------------


def archive(records: Sequence[Record], *, csv: bool = False) -> bytes:
    """A zip of the records: their folders as they are, or their tables as CSV."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for record in records:
            for entry, content in _csv_files(record) if csv else _files(record):
                file.writestr(f"{name_of(record)}/{entry}", content)
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
        raise UsageError(f"there is no run {run_id!r} in {jobs.runs_dir()}; open one from the list of runs")
    return folder


def record_folders(asked: str) -> list[Path]:
    """The folders that a link asks for: ids with commas between them, each once. Raises UsageError for the first that
    is not there, and for more than can be shown.
    """
    names = list(dict.fromkeys(part.strip() for part in asked.split(",")))
    if len(names) > limits.RUNS_COMPARED_MAX:
        most = limits.RUNS_COMPARED_MAX
        raise UsageError(f"the link asks for {len(names)} runs, and at most {most} are shown; leave some out")
    return [record_folder(name) for name in names]
