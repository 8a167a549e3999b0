"""Plotly figures of single tasks: every task of two runs as a point, and the story of one task, attempt by attempt.

At most POINTS_MAX points are drawn: those furthest from what was expected, and an even sample of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab import units
from lab.figures import ROLE_COLOURS, Style, shown
from lab.stories import ABOUT, KINDS, Kind, Span

POINTS_MAX: Final = 3_000
WORST_KEPT: Final = 500
CONTEXT_COLOUR: Final = "#808080"
KIND_COLOURS: Final[dict[Kind, str]] = {
    "admission": "#8C6BB1",
    "waiting": "#B4BBC6",
    "service": "#56657A",
    "overhead": "#D64545",
    "backoff": "#E0A800",
    "lost": "#7F1D1D",
}
"""Told apart by brightness too; service has its engine's colour where the row is one engine's."""
PATTERNS: Final[dict[Kind, str]] = {"backoff": "/", "lost": "x", "admission": "."}
ROW_PX: Final = 30
LEGEND: Final = {"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1, "title": {"text": ""}}
TOLD_SHARE: Final = 0.09
"""A bar longer than this share of the whole has room for its length in words."""
SEEN_SHARE: Final = 0.002
"""A span shorter than this share of the story is drawn so wide, or nobody would see it."""


def drawn(frame: pd.DataFrame) -> pd.DataFrame:
    """The tasks to draw of a frame whose most remarkable ones come first: all, or those and an even sample."""
    if len(frame) <= POINTS_MAX:
        return frame
    rest = np.linspace(WORST_KEPT, len(frame) - 1, POINTS_MAX - WORST_KEPT).astype(int)
    return frame.iloc[np.unique(np.concatenate([np.arange(WORST_KEPT), rest]))]


def scatter(pairs: pd.DataFrame, roles: Sequence[str], labels: tuple[str, str], chosen: int | None = None) -> go.Figure:
    """Latency in one run over latency in the other, a point a task (`stories.paired_tasks`): on the diagonal they
    agree. `roles` in the order of the scenario; the task `chosen` is ringed.
    """
    first, second = (shown(label) for label in labels)
    figure = go.Figure()
    top = float(max(pairs["a_s"].max(), pairs["b_s"].max())) if len(pairs) else 1.0
    line = {"color": CONTEXT_COLOUR, "dash": "dot", "width": 1.5}
    figure.add_trace(go.Scatter(x=[0, top], y=[0, top], mode="lines", line=line, name="equal", hoverinfo="skip"))
    _points(figure, pairs, roles, "b_s", "a_s", f"{first} %{{y:.3s}}s, {second} %{{x:.3s}}s")
    _ring(figure, pairs, chosen, "b_s", "a_s")
    figure.update_xaxes(title_text=f"Latency, {second} (s)", rangemode="tozero")
    figure.update_yaxes(title_text=f"Latency, {first} (s)", rangemode="tozero")
    return _laid_out(figure, "Each task once", 350, below=True)


def over_time(tasks: pd.DataFrame, roles: Sequence[str], chosen: int | None = None) -> go.Figure:
    """Latency over the moment of arrival, a point a task of one run (`stories.slowest_tasks`)."""
    figure = go.Figure()
    _points(figure, tasks, roles, "arrival_s", "latency_s", "latency %{y:.3s}s, arrived at %{x:.3s}s")
    _ring(figure, tasks, chosen, "arrival_s", "latency_s")
    figure.update_xaxes(title_text="Scheduled arrival (s)", rangemode="tozero")
    figure.update_yaxes(title_text="Latency (s)", rangemode="tozero")
    return _laid_out(figure, "Each task once", 350, below=True)


def _points(figure: go.Figure, frame: pd.DataFrame, roles: Sequence[str], x: str, y: str, hover: str) -> None:
    some = drawn(frame)
    for index, role in enumerate(roles):
        mine = some[some["role"].astype(str) == role]
        if len(mine):
            marker = {"color": ROLE_COLOURS[index % len(ROLE_COLOURS)], "size": 5, "opacity": 0.7}
            points = go.Scatter(
                x=mine[x], y=mine[y], mode="markers", name=shown(role), marker=marker, customdata=mine[["id"]],
                hovertemplate=f"task %{{customdata[0]}}: {hover}", selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0.7}},
            )  # fmt: skip
            figure.add_trace(points)


def _ring(figure: go.Figure, frame: pd.DataFrame, chosen: int | None, x: str, y: str) -> None:
    mine = frame[frame["id"] == chosen]
    if len(mine):
        marker = {"size": 15, "symbol": "circle-open", "color": CONTEXT_COLOUR, "line": {"width": 2.5}}
        look: dict[str, Any] = {"mode": "markers", "marker": marker, "showlegend": False, "hoverinfo": "skip"}
        figure.add_trace(go.Scatter(x=mine[x], y=mine[y], **look))


# ---- the story of one task -------------------------------------------------------------------------------------------


def story(told: Mapping[str, Sequence[Span]], arrival_s: float, styles: Sequence[Style]) -> go.Figure:
    """A waterfall a run, above each other on the same axis: a row an attempt, its spans in seconds since the task's
    scheduled arrival. `told` are the spans by the runs' labels.
    """
    counts = [max(1, len(_attempts(spans))) for spans in told.values()]
    figure = make_subplots(
        len(told), 1, shared_xaxes=True, vertical_spacing=0.08 if len(told) > 1 else 0, row_heights=counts
    )
    for row, (spans, style) in enumerate(zip(told.values(), styles, strict=True), start=1):
        _waterfall(figure, spans, arrival_s, style, row)
    for kind in KINDS:
        if any(span.kind == kind for spans in told.values() for span in spans):
            key = {"marker": _marker(kind, KIND_COLOURS["service"]), "name": kind, "orientation": "h"}
            figure.add_trace(go.Bar(x=[None], y=[None], showlegend=True, **key), row=1, col=1)
    figure.update_xaxes(title_text="Time since the scheduled arrival (s)", row=len(told), col=1)
    figure.update_xaxes(rangemode="tozero", zeroline=False)
    figure.update_layout(barmode="overlay", bargap=0.25)
    return _laid_out(figure, "", 130 + ROW_PX * sum(counts) + 10 * len(told))


def _waterfall(figure: go.Figure, spans: Sequence[Span], arrival_s: float, style: Style, row: int) -> None:
    attempts = _attempts(spans)
    whole_s = max((span.end_s for span in spans), default=arrival_s) - arrival_s
    for kind in KINDS:
        mine = [span for span in spans if span.kind == kind]
        if not mine:
            continue
        bars = go.Bar(
            x=[max(span.length_s, SEEN_SHARE * whole_s) for span in mine],
            base=[span.start_s - arrival_s for span in mine],
            y=[_row(style, max(1, span.attempt)) for span in mine],
            customdata=[[_words(span)] for span in mine],
            hovertemplate=f"{style.label}: %{{customdata[0]}}<extra></extra>",
            text=[_inside(span, whole_s) for span in mine],
            textposition="inside", insidetextanchor="middle", textangle=0, constraintext="inside",
            orientation="h", marker=_marker(kind, style.colour), showlegend=False,
        )  # fmt: skip
        figure.add_trace(bars, row=row, col=1)
    order = [_row(style, attempt) for attempt in attempts]
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1], showgrid=False, row=row, col=1)


def _row(style: Style, attempt: int) -> str:
    return f"<b>{style.label}</b>, attempt {attempt}  "


def _attempts(spans: Sequence[Span]) -> list[int]:
    return sorted({max(1, span.attempt) for span in spans})


def _marker(kind: Kind, service: str) -> dict[str, Any]:
    colour = service if kind == "service" else KIND_COLOURS[kind]
    pattern = {"shape": PATTERNS.get(kind, ""), "fillmode": "overlay", "fgcolor": "#FFFFFF", "size": 6, "solidity": 0.2}
    return {"color": colour, "pattern": pattern, "line": {"width": 0}}


def _inside(span: Span, whole_s: float) -> str:
    return units.seconds(span.length_s) if span.length_s > TOLD_SHARE * whole_s else ""


def _words(span: Span) -> str:
    where = f" on {shown(span.worker)}" if span.worker else ""
    ended = f", {span.ended}" if span.ended and span.kind in ("service", "lost") else ""
    return f"{span.kind} {units.seconds(span.length_s)}{where}{ended}<br>{ABOUT[span.kind]}"


# ---- where the time went ---------------------------------------------------------------------------------------------


def anatomy(means: Mapping[str, Mapping[Kind, float]]) -> go.Figure:
    """The parts of the mean latency (`stories.mean_s`), a bar a run by its label."""
    figure = go.Figure()
    whole_s = max((sum(parts.values()) for parts in means.values()), default=0.0)
    for kind in KINDS:
        lengths = [parts.get(kind, 0.0) for parts in means.values()]
        if any(lengths):
            shown_s = [units.seconds(length) for length in lengths]
            inside = [
                words if length > TOLD_SHARE * whole_s else "" for words, length in zip(shown_s, lengths, strict=True)
            ]
            bars = go.Bar(
                x=lengths, y=[f"<b>{shown(label)}</b>  " for label in means], name=kind, orientation="h",
                marker=_marker(kind, KIND_COLOURS["service"]), text=inside, customdata=shown_s,
                textposition="inside", insidetextanchor="middle", textangle=0,
                hovertemplate=f"{kind} %{{customdata}}: {ABOUT[kind]}<extra></extra>",
            )  # fmt: skip
            figure.add_trace(bars)
    figure.update_layout(barmode="stack", bargap=0.3, legend_traceorder="normal")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title_text="Mean latency of a completed task (s)")
    return _laid_out(figure, "Where the time went", 170 + 40 * len(means), below=True)


def _laid_out(figure: go.Figure, title: str, height: int, *, below: bool = False) -> go.Figure:
    """Size, title and legend: above the plot at the right, or below it where it may be long."""
    legend = {**LEGEND, "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0} if below else LEGEND
    figure.update_layout(height=height, margin={"l": 64, "r": 16, "t": 44, "b": 48}, legend=legend, hovermode="closest")
    if title:
        figure.update_layout(title={"text": title, "font": {"size": 16}, "x": 0, "y": 0.97, "yanchor": "top"})
    return figure
