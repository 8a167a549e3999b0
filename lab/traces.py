"""Files of things that really happened: CSV or Parquet tables with arrivals, service times, roles, priorities."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.draws import Floats
from lab.errors import Problem, ScenarioError
from lab.limits import TASKS_MAX


@dataclass(frozen=True)
class Table:
    """Columns of a file under our names. `where` is the scenario path that named the file, for messages."""

    path: Path
    where: str
    columns: Mapping[str, list[Any]]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def refuse(self, message: str, row: int | None = None) -> ScenarioError:
        """The error for a bad table; `row` counts from 0 below the header."""
        place = f" (line {row + 2})" if row is not None else ""
        return ScenarioError(str(self.path), [Problem(self.where, f"{message}{place}")])

    def numbers(self, name: str, factor: float = 1.0, at_most: float = np.inf) -> Floats:
        """A column × `factor`, as numbers from 0 to `at_most`. Raises ScenarioError with the first line that is not."""
        if name not in self.columns:
            raise self.refuse(f"has no column {name!r}; it has {', '.join(self.columns)}")
        values = np.empty(len(self.columns[name]))
        for row, text in enumerate(self.columns[name]):
            try:
                values[row] = float(text) * factor
            except (TypeError, ValueError):
                values[row] = np.nan
            if not 0 <= values[row] < np.inf:
                raise self.refuse(f"{name} must be a number of at least 0, found {text!r}", row)
            if values[row] > at_most:
                raise self.refuse(f"{name} times {factor:g} must be at most {at_most:,.0f}, found {text!r}", row)
        return values


def read(path: Path, where: str, renamed: Mapping[str, str] | None = None, limit: int | None = None) -> Table:
    """The table at `path`; `renamed` maps our column names to the file's. At most `limit` rows are read."""
    rows_max = min(limit or TASKS_MAX, TASKS_MAX)
    columns = _parquet(path, where, rows_max) if path.suffix.lower() == ".parquet" else _csv(path, where, rows_max)
    for ours, theirs in (renamed or {}).items():
        if theirs not in columns:
            raise ScenarioError(str(path), [Problem(where, f"has no column {theirs!r}; it has {', '.join(columns)}")])
        columns[ours] = columns[theirs]
    table = Table(path, where, columns)
    if not any(len(values) for values in columns.values()):
        raise table.refuse("holds no rows")
    return table


def _csv(path: Path, where: str, rows_max: int) -> dict[str, list[Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [row for row, _ in zip(reader, range(rows_max), strict=False)]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ScenarioError(str(path), [Problem(where, f"is not a CSV table: {error}")]) from error
    while rows and not rows[-1]:
        rows.pop()  # an empty line at the end is no row; one in the middle is a mistake
    for number, row in enumerate(rows):
        if len(row) != len(header):
            message = f"line {number + 2} has {len(row)} values, the header has {len(header)}"
            raise ScenarioError(str(path), [Problem(where, message)])
    return {name.strip(): [row[index] for row in rows] for index, name in enumerate(header)}


def _parquet(path: Path, where: str, rows_max: int) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return dict(pq.read_table(path).slice(0, rows_max).to_pydict())
    except (pa.ArrowException, OSError) as error:
        raise ScenarioError(str(path), [Problem(where, f"is not a Parquet table: {error}")]) from error
