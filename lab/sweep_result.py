"""What a sweep has found: one tidy table, a row a run, in one Parquet file; and what can be read off it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.errors import Unavailable, UsageError
from lab.statistics import student_t
from lab.sweep_design import Design
from lab.sweep_units import Row
from lab.sweep_words import DEFAULT_FIGURE, figure_of

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import pyarrow as pa

METADATA: Final = b"agent-mesh-lab.sweep"
VERSION: Final = 1
JSON: Final = "json"
"""The kind of a path whose values are lists, mappings, or of several kinds."""
BEFORE: Final = ("point", "replication", "seed")
AFTER: Final = ("checks_ok", "checks_failed", "wall_s", "error", "digest")
"""The columns around the figures, whose names have the form of a run's summary (`latency_s.p95`)."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of a sweep. `frame` is tidy: a row a run, a column each path and figure (s, 1/s, bytes, as their names
    say). `about` says what was swept: the scenario, the versions, the design.
    """

    frame: pd.DataFrame
    about: dict[str, Any]

    # -- what it is about --

    @property
    def paths(self) -> list[str]:
        """The paths that were varied."""
        return [str(path) for path in self.about["paths"]]

    @property
    def figures(self) -> list[str]:
        """The figures that its runs have."""
        taken = {*BEFORE, *AFTER, *self.paths}
        return [str(name) for name in self.frame.columns if name not in taken]

    @property
    def complete(self) -> bool:
        """Whether every run of the design is here."""
        return len(self.frame) == int(self.about["points"]) * int(self.about["replications"])

    @cached_property
    def points(self) -> pd.DataFrame:
        """The values of each point that has been run, by its number."""
        return self.frame.drop_duplicates("point").set_index("point")[self.paths].sort_index()

    @property
    def failed(self) -> pd.DataFrame:
        """The runs that came to no figures, with their errors."""
        return self.frame[self.frame["error"].notna()]

    @property
    def broken(self) -> pd.DataFrame:
        """The runs that broke a check."""
        return self.frame[self.frame["checks_failed"].notna()]

    def varying(self) -> list[str]:
        """The paths that have more than one value."""
        return [path for path in self.paths if self.points[path].nunique(dropna=False) > 1] or self.paths

    # -- what it says --

    def table(self, figure: str = DEFAULT_FIGURE, baseline: int | None = None) -> pd.DataFrame:
        """A row a point: its values, the figure's mean over the replications with its 95 % interval (Student's t), and
        how far it is from that of the baseline (a point's number; None: the first) with the interval of that.

        The differences are of pairs of one seed. `variance_reduction` is (Var A + Var B) / Var(B − A): how many times
        as many runs with chance of their own would say the same. NaN where a figure or an interval is not known.
        """
        import pandas as pd

        self.demand(figure)
        values = self.frame.pivot(index="point", columns="replication", values=figure).astype("float64").sort_index()
        base = values.index[0] if baseline is None else baseline
        if base not in values.index:
            raise UsageError(f"there is no point {base}; the sweep has 0 to {values.index[-1]}")
        apart = values.sub(values.loc[base], axis="columns")
        alone = values.where(apart.notna()).var(axis=1) + (values - apart).var(axis=1)
        together = apart.var(axis=1)
        low, high = _interval(values)
        difference_low, difference_high = _interval(apart)
        found = pd.DataFrame(
            {
                "mean": values.mean(axis=1),
                "low": low,
                "high": high,
                "difference": apart.mean(axis=1),
                "difference_low": difference_low,
                "difference_high": difference_high,
                "variance_reduction": alone / together.where(together > 0),
                "runs": values.notna().sum(axis=1),
            }
        )
        return self.points.join(found)

    def demand(self, figure: str) -> None:
        """Raise UsageError unless its runs have the figure."""
        if figure not in self.figures:
            raise UsageError(f"there is no figure {figure!r}; there are {', '.join(self.figures)}")

    # -- how it looks --

    def figure(self, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """The figure that suits the design: lines, a heat map, small multiples, or parallel coordinates."""
        from lab import figures_sweep

        return figures_sweep.suited(self, figure, dark=dark)

    def lines(self, x: str, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """The figure over the values of a path with its 95 % band; a line for each combination of the other paths."""
        from lab import figures_sweep

        return figures_sweep.lines(self, x, figure, dark=dark)

    def heat_map(self, x: str, y: str, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """The figure over two paths; over the others it is the mean."""
        from lab import figures_sweep

        return figures_sweep.heat_map(self, x, y, figure, dark=dark)

    def small_multiples(self, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """Heat maps over the first two paths, one for each value of the third."""
        from lab import figures_sweep

        return figures_sweep.small_multiples(self, figure, dark=dark)

    def parallel(self, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """Parallel coordinates: a line a point, coloured by the figure."""
        from lab import figures_sweep

        return figures_sweep.parallel(self, figure, dark=dark)

    def scatter(self, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
        """The figure against each path, a panel a path and a dot a point."""
        from lab import figures_sweep

        return figures_sweep.scatter(self, figure, dark=dark)

    def _repr_html_(self) -> str:
        words = f"{figure_of(DEFAULT_FIGURE).label}: {self.about['method']}, {self.about['replications']} replications"
        found = self.table().to_html(float_format=lambda one: f"{one:,.4g}", max_rows=20)
        return f"<p>{words}</p>{found}"

    # -- its file --

    @classmethod
    def of(cls, design: Design, rows: Sequence[Row], about: Mapping[str, Any]) -> Sweep:
        """The sweep of these rows, in whichever order they came."""
        import pyarrow as pa

        ordered = sorted(rows, key=lambda row: (row["point"], row["replication"]))
        columns, kinds = _columns(design, ordered)
        facts = {
            "version": VERSION,
            "scenario_name": design.scenario.name,
            "scenario": design.scenario.to_yaml(),
            "seed": design.scenario.seed,
            "paths": list(design.paths),
            "kinds": kinds,
            "points": len(design.points),
            "replications": design.replications,
            "method": design.method,
            "sampled": design.sampled,
            "design": design.digest,
            **about,
        }
        return cls(pa.table(columns, _schema(list(columns), kinds)).to_pandas(), facts)

    def save(self, path: str | Path) -> Path:
        """Write the Parquet file at `path`, whole or not at all; `about` is in its schema's metadata as JSON."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        schema = _schema([str(name) for name in self.frame.columns], self.about["kinds"])
        schema = schema.with_metadata({METADATA: json.dumps(self.about).encode()})
        scratch = path.with_name(f"{path.name}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pandas(self.frame, schema, preserve_index=False), scratch)
            scratch.replace(path)
        except (OSError, pa.ArrowException) as error:
            scratch.unlink(missing_ok=True)
            raise Unavailable(f"{path}: cannot be written ({error}); give another file with --out") from error
        return path

    @classmethod
    def load(cls, path: str | Path) -> Sweep:
        """The sweep in the file at `path`. Raises UsageError if there is none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
            about = json.loads((table.schema.metadata or {})[METADATA])
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise UsageError(
                f"{path}: is no result of a sweep ({error!r}); `meshlab sweep --out` writes them"
            ) from error
        return cls(table.to_pandas(), about)


def _interval(values: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """The bounds of each row's mean: mean ± t · s / √n, as `statistics.of_runs` has them; NaN below two values."""
    count = values.notna().sum(axis=1)
    factor = count.map(lambda runs: student_t(runs - 1) if runs > 1 else float("nan"))
    half = factor * values.std(axis=1) / count**0.5
    mean = values.mean(axis=1)
    return mean - half, mean + half


def _columns(design: Design, rows: Sequence[Row]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The columns by name, and what kind of values each path has."""
    around = {*BEFORE, *AFTER}
    names = list(dict.fromkeys(name for row in rows for name in row if name not in around))
    columns = {name: [row.get(name) for row in rows] for name in BEFORE}
    kinds = {}
    for path in design.paths:
        column = [design.points[row["point"]][path] for row in rows]
        kinds[path] = _kind(column)
        columns[path] = [json.dumps(value) for value in column] if kinds[path] == JSON else column
    return columns | {name: [row.get(name) for row in rows] for name in (*names, *AFTER)}, kinds


def _kind(column: Sequence[Any]) -> str:
    """How the values of a path are kept: as they are if they are all of one plain kind, else as JSON."""
    types = {type(value) for value in column}
    if types == {int, float}:
        return "double"
    kinds: dict[type, str] = {int: "int64", float: "double", bool: "bool", str: "string"}
    return kinds.get(types.pop(), JSON) if len(types) == 1 else JSON


def _schema(names: Sequence[str], kinds: Mapping[str, str]) -> pa.Schema:
    """The type of every column: figures are numbers, whether or not any run has them."""
    import pyarrow as pa

    known = {"point": pa.int32(), "replication": pa.int32(), "seed": pa.int64(), "checks_ok": pa.bool_()}
    known |= dict.fromkeys(("checks_failed", "error", "digest"), pa.string())
    named = {"double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(), "string": pa.string(), JSON: pa.string()}
    known |= {path: named[kind] for path, kind in kinds.items()}
    return pa.schema([(name, known.get(name, pa.float64())) for name in names])
