"""Plotly figures from records: the app, the notebooks and the reports draw the same ones.

The model is blue and dashed, the real thing vermilion and solid (Okabe-Ito, so that colour-blind readers and
black-and-white prints can tell them apart), both lighter on dark ground. Further runs have colours of their own, and
dashes of their engine's kind. Every axis has its unit. A trace never holds more than POINTS_MAX points,
however many tasks ran: curves keep the extremes of what was left out. Where there is nothing to draw, it says why.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab import metrics
from lab.draws import Floats
from lab.headlines import ENGINE_WORDS
from lab.limits import MIB
from lab.record import Record

POINTS_MAX = 2_000
WORKER_LINES_MAX = 32
"""More thin lines than this are a smear, and heavy: the fleet's maximum still speaks for all workers."""
WORKER_POINTS_MAX = 8_000
WORKER_RUNS_MAX = 3
"""With more runs than this, single workers are not drawn."""
REPLICATION_OPACITY = 0.5
HISTOGRAM_BINS_MIN, HISTOGRAM_BINS_MAX = 10, 80
THROUGHPUT_BINS_MIN, THROUGHPUT_BINS_MAX = 12, 300
BIN_STEPS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

MODEL_COLOUR, LIVE_COLOUR, LIMIT_COLOUR = "#0072B2", "#D55E00", "#808080"
MODEL_COLOUR_DARK, LIVE_COLOUR_DARK = "#56B4E9", "#FF8A4C"
ROLE_COLOURS = ("#009E73", "#CC79A7", "#E6B800", "#56B4E9", "#F0E442", "#999999")
"""By the order of the scenario. ui/palette.py has the same; a test holds them together."""

Records: TypeAlias = Sequence[Record]


@dataclass(frozen=True)
class Style:
    """How the lines of one record are drawn."""

    label: str
    colour: str
    dash: str
    width: float = 2.0
    again: bool = False
    """Whether it is another replication of a run that is drawn already: a faint line without a word of its own."""

    @property
    def shade(self) -> str:
        """The same colour, mostly transparent."""
        red, green, blue = (int(self.colour[at : at + 2], 16) for at in (1, 3, 5))
        return f"rgba({red},{green},{blue},0.15)"


ENGINE_COLOURS = {
    ("sim", False): MODEL_COLOUR,
    ("live", False): LIVE_COLOUR,
    ("sim", True): MODEL_COLOUR_DARK,
    ("live", True): LIVE_COLOUR_DARK,
}
DASHES = {"sim": ("dash", "dot", "dashdot"), "live": ("solid", "longdash", "longdashdot")}
FURTHER_COLOURS = ("#009E73", "#CC79A7", "#E6B800", "#999999", "#8C6BB1", "#A6761D")
"""Of a second run of the same engine, and those after it."""


@dataclass(frozen=True)
class Chart:
    """One chart: its words, and how a record becomes lines. `bin_s` is settled once for all records of a figure."""

    title: str
    x: str
    y: str
    empty: str
    lines: Callable[[Record, Style, Records], Iterator[go.Scatter]]
    y_format: str = ""


# ---- figures ---------------------------------------------------------------------------------------------------------


def throughput(records: Records, labels: Sequence[str], *, dark: bool = False) -> go.Figure:
    """Completions a second over time."""
    return _figure(THROUGHPUT, records, labels, dark)


def queue_depth(records: Records, labels: Sequence[str], *, dark: bool = False) -> go.Figure:
    """Tasks that wait in the queues over time: the exact steps of the audit log."""
    return _figure(QUEUE_DEPTH, records, labels, dark)


def latency_ecdf(records: Records, labels: Sequence[str], *, dark: bool = False) -> go.Figure:
    """Which share of the completed tasks took at most so long."""
    return _figure(LATENCY_ECDF, records, labels, dark)


def latency_histogram(records: Records, labels: Sequence[str], *, dark: bool = False) -> go.Figure:
    """How many completed tasks took how long."""
    return _figure(LATENCY_HISTOGRAM, records, labels, dark)


def rss(records: Records, labels: Sequence[str], *, dark: bool = False) -> go.Figure:
    """Resident memory: a thin line a worker process, a thick one for the largest of the fleet."""
    return _figure(RSS, records, labels, dark)


def overlay(records: Records, labels: Sequence[str]) -> go.Figure:
    """Throughput, queue depth, latency and RSS of all records in one figure, two by two."""
    charts = (THROUGHPUT, QUEUE_DEPTH, LATENCY_ECDF, RSS)
    figure = make_subplots(2, 2, subplot_titles=[_title(chart, records) for chart in charts], vertical_spacing=0.16)
    for index, chart in enumerate(charts):
        row, column = index // 2 + 1, index % 2 + 1
        _draw(figure, chart, records, styles(records, labels), legend=index == 0, row=row, column=column)
    figure.update_layout(height=720, margin={"l": 64, "r": 24, "t": 72, "b": 56}, **_legend(y=1.06))
    return figure


def apart(figure: go.Figure, labels: Sequence[str]) -> list[go.Figure]:
    """A figure of several records as one figure each, on the same axes, so that side by side they compare by eye."""
    ranges = {}
    for axis in ("x", "y"):
        points = np.concatenate([*(_finite(trace[axis]) for trace in figure.data), np.zeros(1)])
        if points.max() > points.min():
            ranges[f"{axis}axis"] = {"range": [float(points.min()), float(points.max()) * 1.04]}
    names = [shown(label) for label in labels]
    parts = []
    for name in dict.fromkeys(names):
        # Lines that belong to nobody, such as a limit, belong to all.
        lines = [line for line in figure.data if line.legendgroup == name or line.legendgroup not in names]
        part = go.Figure(lines, figure.layout)
        parts.append(part.update_layout(ranges) if lines else part)
    return parts


def _figure(chart: Chart, records: Records, labels: Sequence[str], dark: bool) -> go.Figure:
    figure = go.Figure()
    _draw(figure, chart, records, styles(records, labels, dark=dark), legend=True)
    figure.update_layout(height=280, margin={"l": 64, "r": 16, "t": 44, "b": 48}, **_legend(y=1.03))
    figure.update_layout(
        title={"text": _title(chart, records), "font": {"size": 16}, "x": 0, "y": 0.97, "yanchor": "top"}
    )
    return figure


def _legend(y: float) -> dict[str, Any]:
    place = {"orientation": "h", "yanchor": "bottom", "y": y, "xanchor": "right", "x": 1, "title": {"text": ""}}
    return {"legend": place, "hovermode": "x unified"}


def _draw(
    figure: go.Figure,
    chart: Chart,
    records: Records,
    styles: list[Style],
    *,
    legend: bool,
    row: int = 0,
    column: int = 0,
) -> None:
    """The lines of all records, axes with units; or, where there is not a single line, the reason."""
    at = {"row": row, "col": column} if row else {}
    lines = []
    for rank, (record, style) in enumerate(zip(records, styles, strict=True)):
        for line in chart.lines(record, style, records):
            named = legend and line.showlegend is not False and not style.again
            lines.append(line.update(showlegend=bool(named), legendrank=rank))
    # Dashes over solid lines: where two runs agree to the pixel, both can still be seen.
    for line in sorted(lines, key=lambda line: line.line.dash != "solid"):
        figure.add_trace(line, **at)
    if lines:
        figure.update_xaxes(title_text=chart.x, rangemode="tozero", **at)
        figure.update_yaxes(title_text=chart.y, rangemode="tozero", tickformat=chart.y_format, **at)
    else:
        _say_why(figure, chart, row, column)


def _say_why(figure: go.Figure, chart: Chart, row: int, column: int) -> None:
    at = {"row": row, "col": column} if row else {}
    which = str((row - 1) * 2 + column) if row and (row, column) != (1, 1) else ""
    place = {"xref": f"x{which} domain", "yref": f"y{which} domain"} if row else {"xref": "paper", "yref": "paper"}
    figure.update_xaxes(visible=False, **at)
    figure.update_yaxes(visible=False, **at)
    figure.add_annotation(text=chart.empty, showarrow=False, x=0.5, y=0.5, font={"size": 14}, **place)


def styles(records: Records, labels: Sequence[str], *, dark: bool = False) -> list[Style]:
    """The look of each run. The first of an engine has the engine's colour; runs of the same label are replications,
    and look alike.
    """
    found: dict[str, Style] = {}
    of_engine: Counter[str] = Counter()
    further = 0
    given = []
    for record, label in zip(records, labels, strict=True):
        known = found.get(label)
        if known is None:
            place, dashes = of_engine[record.engine], DASHES.get(record.engine, DASHES["live"])
            of_engine[record.engine] += 1
            colour = ENGINE_COLOURS.get((record.engine, dark), LIMIT_COLOUR)
            if place:
                colour = FURTHER_COLOURS[further % len(FURTHER_COLOURS)]
                further += 1
            found[label] = Style(shown(label), colour, dashes[place % len(dashes)])
            given.append(found[label])
        else:
            given.append(replace(known, dash="solid", width=0.8, again=True))
    return given


def shown(label: str) -> str:
    """A label as Plotly shows it letter by letter: it reads some HTML, and a label may come from a stranger's file."""
    return html.escape(ENGINE_WORDS.get(label, label))


def _line(x: Any, y: Any, style: Style, name: str = "", **more: Any) -> go.Scatter:
    line = {"color": style.colour, "dash": style.dash, "width": style.width, **more.pop("line", {})}
    if style.again:
        more = {**more, "opacity": REPLICATION_OPACITY, "hoverinfo": "skip", "hovertemplate": None, "fill": None}
    return go.Scatter(x=x, y=y, mode="lines", name=name or style.label, legendgroup=style.label, line=line, **more)


# ---- throughput ------------------------------------------------------------------------------------------------------


def bin_width_s(records: Records) -> float:
    """One second, as throughput is defined; finer for a run of a few seconds, coarser for a long one."""
    end_s = max((metrics.end_s(record) for record in records), default=0.0)
    width = 1.0
    if end_s < THROUGHPUT_BINS_MIN:
        width = max((step for step in BIN_STEPS_S if end_s / step >= THROUGHPUT_BINS_MIN), default=BIN_STEPS_S[0])
    decade = 1.0
    while end_s / width > THROUGHPUT_BINS_MAX:
        decade, width = next((d, d * s) for d in (decade, decade * 10) for s in (1, 2, 5) if d * s > width)
    return width


def _throughput_lines(record: Record, style: Style, records: Records) -> Iterator[go.Scatter]:
    if len(metrics.completed(record)) == 0:
        return
    width = bin_width_s(records)
    start, rate = metrics.throughput_curve(record, width)
    last = np.flatnonzero(rate)[-1] + 1
    x, y = np.append(start[:last], start[last - 1] + width), np.append(rate[:last], 0.0)
    yield _line(x, y, style, line={"shape": "hv"}, hovertemplate="%{y:.4~g}/s")


def _title(chart: Chart, records: Records) -> str:
    width = bin_width_s(records) if chart is THROUGHPUT else 1.0
    return chart.title if width == 1.0 else f"{chart.title}, mean of {width:g} s"


# ---- queue depth -----------------------------------------------------------------------------------------------------


def _depth_lines(record: Record, style: Style, _: Records) -> Iterator[go.Scatter]:
    if len(record.transitions) == 0:
        return
    x, y = metrics.depth_curve(record)
    x, y = thin(np.insert(x, 0, 0.0), np.insert(y, 0, 0.0))
    yield _line(x, y, style, line={"shape": "hv"}, hovertemplate="%{y:,.0f} tasks")


def thin(x: Floats, y: Floats, points_max: int = POINTS_MAX) -> tuple[Floats, Floats]:
    """At most `points_max` points: of each stretch the first, the lowest and the highest, so that no peak is lost."""
    if len(x) <= points_max:
        return x, y
    edges = np.linspace(0, len(x), points_max // 3).astype(int)
    keep = {len(x) - 1}
    for start, end in pairwise(edges.tolist()):
        part = y[start:end]
        keep.update((int(start), int(start + part.argmin()), int(start + part.argmax())))
    chosen = np.array(sorted(keep))
    return x[chosen], y[chosen]


# ---- latency ---------------------------------------------------------------------------------------------------------


def _ecdf_lines(record: Record, style: Style, _: Records) -> Iterator[go.Scatter]:
    latency = np.sort(metrics.latency_s(metrics.completed(record)))
    if len(latency) == 0:
        return
    rank = np.unique(np.linspace(0, len(latency) - 1, min(len(latency), POINTS_MAX - 1)).round().astype(int))
    x, y = np.insert(latency[rank], 0, latency[0]), np.insert((rank + 1) / len(latency), 0, 0.0)
    yield _line(x, y, style, line={"shape": "hv"}, hovertemplate="%{y:.1%} of tasks")


def _histogram_lines(record: Record, style: Style, records: Records) -> Iterator[go.Scatter]:
    latency = metrics.latency_s(metrics.completed(record))
    if len(latency) == 0:
        return
    everyone = np.concatenate([metrics.latency_s(metrics.completed(one)) for one in records])
    # Rice's rule, over all runs together so that they share their bins.
    bins = round(2 * (len(everyone) / len(records)) ** (1 / 3))
    bins = min(HISTOGRAM_BINS_MAX, max(HISTOGRAM_BINS_MIN, bins))
    counts, edges = np.histogram(latency, bins, range=(0.0, float(everyone.max()) or 1.0))
    x, y = edges, np.append(counts, 0)
    yield _line(x, y, style, line={"shape": "hv"}, fill="tozeroy", fillcolor=style.shade, hovertemplate="%{y:,} tasks")


# ---- memory ----------------------------------------------------------------------------------------------------------


def _rss_lines(record: Record, style: Style, records: Records) -> Iterator[go.Scatter]:
    """Thin lines for workers, a thick one for the fleet's largest, and the limit where it is near enough to matter."""
    curves = metrics.rss_curves(record)
    if not curves:
        return
    points = max(50, WORKER_POINTS_MAX // len(curves))
    faint = replace(style, width=0.8)
    alone = len(records) <= WORKER_RUNS_MAX and not style.again
    for name, (t_s, size) in list(curves.items())[: WORKER_LINES_MAX if alone else 0]:
        x, y = thin(t_s, size / MIB, min(points, POINTS_MAX))
        yield _line(x, y, faint, html.escape(name), opacity=0.45, hoverinfo="skip", showlegend=False)
    x, y = thin(*fleet_max(record))
    yield _line(x, y / MIB, style, hovertemplate="%{y:,.1f} MiB")
    if record is records[-1]:
        yield from _limit_line(records)


def fleet_max(record: Record) -> tuple[Floats, Floats]:
    """(moment in s, RSS in bytes of the largest worker): a worker's latest report counts until its next is overdue."""
    rows = record.samples[record.samples["worker"] != ""].sort_values("t_s", kind="stable")
    gap_s = rows.groupby("worker")["t_s"].diff().median()
    window = pd.to_timedelta(1.5 * gap_s if gap_s > 0 else 1.5, unit="s")
    moments = pd.to_timedelta(rows["t_s"].to_numpy(), unit="s")
    largest = pd.Series(rows["rss_bytes"].to_numpy(dtype=float), index=moments).rolling(window).max()
    by_moment = largest.groupby(rows["t_s"].to_numpy()).max()
    return by_moment.index.to_numpy(dtype=float), by_moment.to_numpy(dtype=float)


def _limit_line(records: Records) -> Iterator[go.Scatter]:
    """The RSS limit, unless it is so far above everything that it would flatten the curves."""
    limit = float(records[-1].info.get("rulebook", {}).get("health", {}).get("rss_limit_mib", 0.0))
    sampled = pd.concat([record.samples for record in records])
    peak = float(sampled.loc[sampled["worker"] != "", "rss_bytes"].max()) / MIB
    if 0 < limit <= 2 * peak:
        style = Style("RSS limit", LIMIT_COLOUR, "dot", 1.5)
        yield _line([0.0, float(sampled["t_s"].max())], [limit] * 2, style, hovertemplate="%{y:,.0f} MiB")


# ---- the charts and their words --------------------------------------------------------------------------------------

TIME_AXIS = "Time since the start (s)"
THROUGHPUT = Chart(
    "Throughput",
    TIME_AXIS,
    "Completed tasks (1/s)",
    "No task was completed, so there is no throughput.",
    _throughput_lines,
)
QUEUE_DEPTH = Chart(
    "Queue depth", TIME_AXIS, "Waiting tasks", "No task came in, so the queues stayed empty.", _depth_lines, ",~r"
)
LATENCY_ECDF = Chart(
    "Latency, cumulative",
    "Latency (s)",
    "Share of completed tasks",
    "No task was completed, so there is no latency.",
    _ecdf_lines,
    ".0%",
)
LATENCY_HISTOGRAM = Chart(
    "Latency, distribution",
    "Latency (s)",
    "Completed tasks",
    "No task was completed, so there is no latency.",
    _histogram_lines,
    ",~r",
)
RSS = Chart(
    "Memory, largest worker",
    TIME_AXIS,
    "RSS (MiB)",
    "The run was over before a worker reported its memory.",
    _rss_lines,
)


def _finite(values: Any) -> Floats:
    points = np.asarray(values if values is not None else [], dtype=float)
    return np.asarray(points[np.isfinite(points)])
