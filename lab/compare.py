"""Two runs of the same tasks laid side by side: headline figures with their error, and the tasks paired one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab import metrics
from lab.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from lab.record import Record

SPREAD = ("mean", "p50", "p95", "p99", "max")
FIGURES = (
    "throughput_per_s",
    "makespan_s",
    *(f"latency_s.{name}" for name in SPREAD),
    *(f"queue_wait_s.{name}" for name in SPREAD),
    "rss_bytes.peak",
)


@dataclass(frozen=True)
class Comparison:
    """Two records and what their comparison says. `labels` name them: sim and live, or a and b."""

    first: Record
    second: Record
    labels: tuple[str, str]
    data: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """A row a figure: both values and the first's error against the second."""
        import pandas as pd

        rows = [{"figure": path, **_at(self.data, path)} for path in FIGURES]
        return pd.DataFrame(rows).set_index("figure")

    def figure(self) -> go.Figure:
        """Both runs overlaid: throughput, queue depth, latency and RSS."""
        from lab import figures

        return figures.overlay([self.first, self.second], list(self.labels))

    def _repr_html_(self) -> str:
        return str(self.table().to_html(float_format=lambda value: f"{value:,.4g}"))


def compare(first: Record, second: Record) -> Comparison:
    """Compare two records of the same tasks; `error` is first / second − 1.

    Raises UsageError where the tasks are not the same ones (other arrivals, roles or priorities), since then nothing
    can be paired.
    """
    if not same_tasks(first.tasks, second.tasks):
        raise UsageError(
            f"{first.info['run_id']} and {second.info['run_id']} ran different tasks; "
            "compare runs of one scenario and seed"
        )
    labels = (first.engine, second.engine) if first.engine != second.engine else ("a", "b")
    data = side_by_side(metrics.summary(first), metrics.summary(second), labels)
    data["paired"] = task_by_task(first, second)
    return Comparison(first, second, labels, data)


def same_tasks(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """As many tasks, arriving at the same moments, with the same roles and priorities."""
    if len(first) != len(second):
        return False
    alike = all(np.array_equal(first[name], second[name]) for name in ("id", "priority", "arrival_s"))
    return alike and np.array_equal(first["role"].astype(str), second["role"].astype(str))


def side_by_side(first: dict[str, Any], second: dict[str, Any], labels: tuple[str, str]) -> dict[str, Any]:
    """The headline figures of two summaries, or of the pooled ones of several runs, each with the first's error against
    the second.
    """
    data: dict[str, Any] = {}
    for path in FIGURES:
        values = [_at(summary, path) for summary in (first, second)]
        _put(data, path, {labels[0]: values[0], labels[1]: values[1], "error": _error(*values)})
    return data


def task_by_task(first: Record, second: Record) -> dict[str, Any]:
    """Latency differences (first − second, s) over the tasks that both completed, and how they go together."""
    both = (first.tasks["state"] == "COMPLETED") & (second.tasks["state"] == "COMPLETED")
    a, b = (metrics.latency_s(record.tasks[both]) for record in (first, second))
    if len(a) == 0:
        return {"tasks": 0, "mean_diff_s": None, "p95_abs_diff_s": None, "correlation": None}
    varied = len(a) > 1 and a.std() > 0 and b.std() > 0
    return {
        "tasks": len(a),
        "mean_diff_s": float(np.mean(a - b)),
        "p95_abs_diff_s": float(np.percentile(np.abs(a - b), 95)),
        "correlation": float(np.corrcoef(a, b)[0, 1]) if varied else None,
    }


def lines(data: dict[str, Any]) -> Iterator[tuple[str, float | None, float | None, float | None]]:
    """(figure, first, second, error) for people."""
    for path in FIGURES:
        first, second, error = _at(data, path).values()
        yield path, first, second, error


def _error(first: float | None, second: float | None) -> float | None:
    """first / second − 1; two zeros agree exactly, and against a zero no ratio can be told."""
    if first is None or second is None:
        return None
    if second == 0:
        return 0.0 if first == 0 else None
    return first / second - 1


def _at(tree: dict[str, Any], path: str) -> Any:
    for part in path.split("."):
        tree = tree[part]
    return tree


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    for part in way:
        tree = tree.setdefault(part, {})
    tree[last] = value
