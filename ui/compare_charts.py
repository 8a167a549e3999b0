"""Charts of runs side by side: built once a result and theme, drawn with a name and a size that suit a file."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import plotly.graph_objects as go
import streamlit as st

from lab import figures, figures_tasks, limits, stories
from lab.record import Record
from ui.results import Result

BUILDERS: dict[str, Callable[..., go.Figure]] = {
    "throughput": figures.throughput,
    "queue-depth": figures.queue_depth,
    "latency-ecdf": figures.latency_ecdf,
    "latency": figures.latency_histogram,
    "memory": figures.rss,
}
OVERLAID, BESIDE = "Overlaid", "Side by side"
ROW_PX = 35
"""Streamlit's row of a table."""
BESIDE_MAX = 6
"""More columns than this are overlaid only: beside each other none would be wide enough to read."""


class Key(NamedTuple):
    """What a result depends on: its records and when they were written, and how they are put together."""

    records: tuple[tuple[str, int], ...]
    pool: bool
    baseline: str


def key_of(folders: Sequence[Path], *, pool: bool = False, baseline: str = "") -> Key:
    """The key of these folders' records."""
    written = tuple((str(folder), (folder / "run.json").stat().st_mtime_ns) for folder in folders)
    return Key(written, pool, baseline)


@st.cache_resource(max_entries=limits.RECORDS_HELD_MAX, show_spinner="Reading the record …")
def record(folder: str, written_ns: int) -> Record:
    """The record in a folder as it was written at that moment. Read only: every page shares it."""
    # .streamlit/config.toml turns the collection after every rerun off; here is where garbage comes in bulk.
    gc.collect()
    return Record.load(folder)


@st.cache_resource(max_entries=8, show_spinner="Comparing the runs …")
def load(key: Key) -> Result:
    """The result of a key. Read only. Raises UsageError if a record cannot be read."""
    return Result.of([record(*one) for one in key.records], pool=key.pool, baseline=key.baseline)


@st.cache_resource(max_entries=60, show_spinner=False)
def curves(key: Key, kind: str, beside: bool, dark: bool) -> list[go.Figure]:
    """One figure with all runs, or one for each column with the same axes."""
    result = load(key)
    figure = BUILDERS[kind](result.records, result.labels, dark=dark)
    return figures.apart(figure, result.labels) if beside else [figure]


@st.cache_resource(max_entries=8, show_spinner=False)
def anatomy(key: Key) -> go.Figure | None:
    """Where the time of the tasks went; None where nothing was completed."""
    means = {column.label: stories.mean_s(column.lead) for column in load(key).columns}
    return figures_tasks.anatomy(means) if any(means.values()) else None


def dark() -> bool:
    """Whether the reader's theme is a dark one."""
    return st.context.theme.type == "dark"


def chart(figure: go.Figure, key: str, file: str, **more: Any) -> Any:
    """Draw a figure. Its camera button saves a PNG of that name, large enough for a page of print."""
    title = str(figure.layout.title.text or "")
    runs = ", ".join(sorted({str(trace.name) for trace in figure.data if trace.showlegend is not False and trace.name}))
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
        "toImageButtonOptions": {"format": "png", "filename": file, "scale": 3},
    }
    return st.plotly_chart(figure, key=key, config=config, alt=f"{title}: {runs}" if runs else title, **more)


def table_px(rows: int) -> int:
    """The height of a table of so many rows, head and frame included: told in advance, nothing jumps when it comes."""
    return ROW_PX * (rows + 1) + 3


def switch(label: str, options: Sequence[str], key: str, about: str) -> str:
    """A choice between a few ways to draw the same thing, kept over pages."""
    chosen = st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        key=key,
        help=about,
        label_visibility="collapsed",
        persist_state="session",
    )
    return str(chosen or options[0])
