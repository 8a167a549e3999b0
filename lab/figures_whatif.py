"""The curves of a what-if answer: before and after over the time of the run, on the same axes.

A line is the mean of the replications, the band behind it their lowest and highest; of latencies, the 95th percentile
of the tasks of all replications that were completed in that stretch of time. Before is grey and dotted, after has its
engine's colour and is solid. The time in which something is amiss is shaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go

from lab.draws import Floats
from lab.figures import ENGINE_COLOURS, TIME_AXIS, shown
from lab.whatif import Answer, Trial

Curve = Literal["depth", "throughput", "latency"]
CURVES: Final[tuple[Curve, ...]] = ("depth", "throughput", "latency")
BINS_MAX: Final = 60
"""More bins show the beat of the slots instead of the course of the run."""
BINS_MIN: Final = 12
"""A run of fewer seconds is shown in parts of a second."""
DEPTH_POINTS: Final = 300
"""A chart is some 400 pixels wide."""
GAP_BINS: Final = 5
"""Where nothing is completed for longer than this, the line of latencies has a gap."""
BEFORE_COLOUR: Final[Mapping[bool, str]] = {False: "#7A828E", True: "#9AA3B0"}
BAND_OPACITY: Final = 0.16
AMISS: Final[Mapping[bool, str]] = {False: "rgba(214, 69, 69, 0.09)", True: "rgba(255, 120, 120, 0.13)"}
P95: Final = 95


class Side(NamedTuple):
    """One line: what it is called, its runs, and how it looks."""

    name: str
    runs: Sequence[Trial]
    colour: str
    dash: str
    width: float = 2.0


class Words(NamedTuple):
    """The words of a chart."""

    title: str
    y: str
    hover: str


WORDS: Final[Mapping[Curve, Words]] = {
    "depth": Words("Queue depth", "Waiting tasks", "%{y:,.0f} tasks"),
    "throughput": Words("Throughput", "Completed tasks (1/s)", "%{y:.3~g}/s"),
    "latency": Words("Latency, p95", "Latency (s)", "%{y:.3~g} s"),
}


def sides(answer: Answer, *, dark: bool = False) -> list[Side]:
    """Before and after, as the model has them."""
    before, after = answer.question.names
    return [
        Side(before, answer.before, BEFORE_COLOUR[dark], "dot"),
        Side(after, answer.after, ENGINE_COLOURS["sim", dark], "solid"),
    ]


def course(
    curve: Curve, lines: Sequence[Side], window_s: tuple[float, float | None] | None = None, *, dark: bool = False
) -> go.Figure:
    """One chart of these sides."""
    figure = go.Figure()
    end_s = max(run.end_s for side in lines for run in side.runs)
    width_s = bin_width_s(end_s)
    for side in lines:
        _draw(figure, curve, side, width_s)
    words = WORDS[curve]
    if window_s is not None:
        figure.add_vrect(
            x0=window_s[0], x1=end_s if window_s[1] is None else min(window_s[1], end_s), line_width=0,
            fillcolor=AMISS[dark], layer="below",
        )  # fmt: skip
    every = "second" if width_s == 1 else f"{width_s:g} s"
    title = words.title if curve == "depth" else f"{words.title}, by {every}"
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "x": 0, "y": 0.97, "yanchor": "top"},
        height=270, margin={"l": 60, "r": 12, "t": 56, "b": 44}, hovermode="x unified",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "right", "x": 1, "title": {"text": ""}},
    )  # fmt: skip
    figure.update_xaxes(title_text=TIME_AXIS, range=[0, end_s * 1.01])
    return figure.update_yaxes(title_text=words.y, rangemode="tozero")


def courses(answer: Answer, *, dark: bool = False) -> list[go.Figure]:
    """Queue depth, throughput and latency, before and after, in the model."""
    lines = sides(answer, dark=dark)
    return [course(curve, lines, answer.question.window_s, dark=dark) for curve in CURVES]


def bin_width_s(end_s: float, bins: int = BINS_MAX) -> float:
    """One second; finer for a run of a few seconds, coarser for a long one: 1, 2 or 5 times a power of ten."""
    least = end_s / bins
    decade = 10.0 ** math.floor(math.log10(max(least, 1e-3)))
    width = next(step * decade for step in (1, 2, 5, 10) if step * decade >= least)
    return 1.0 if width < 1 <= end_s / BINS_MIN else width


def _draw(figure: go.Figure, curve: Curve, side: Side, width_s: float) -> None:
    if curve == "latency":
        x, y = _latency(side.runs, width_s)
        low = high = None
    else:
        x, each = _each(curve, side.runs, width_s)
        y = each.mean(axis=0)
        low, high = (each.min(axis=0), each.max(axis=0)) if len(side.runs) > 1 else (None, None)
    if low is not None:
        red, green, blue = (int(side.colour[at : at + 2], 16) for at in (1, 3, 5))
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([x, x[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself", mode="none",
                fillcolor=f"rgba({red},{green},{blue},{BAND_OPACITY})", hoverinfo="skip", showlegend=False,
                legendgroup=side.name,
            )
        )  # fmt: skip
    look = {"color": side.colour, "dash": side.dash, "width": side.width}
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines", name=shown(side.name), line=look, legendgroup=side.name,
            hovertemplate=WORDS[curve].hover,
        )
    )  # fmt: skip


def _each(curve: Curve, runs: Sequence[Trial], width_s: float) -> tuple[Floats, Floats]:
    """(moments in s, a row a run): the queue's depth there, or the completions a second around it."""
    end_s = max(run.end_s for run in runs)
    if curve == "throughput":
        edges = np.arange(math.ceil(end_s / width_s) + 2, dtype=np.float64) * width_s
        counts = [np.histogram(_done_s(run), edges)[0] / width_s for run in runs]
        return np.asarray(edges[:-1] + width_s / 2), np.array(counts)
    grids = [np.linspace(0.0, run.end_s, len(run.depth)) for run in runs]
    moments: Floats = np.linspace(0.0, end_s, DEPTH_POINTS)
    depths = [np.interp(moments, grid, run.depth, right=0.0) for grid, run in zip(grids, runs, strict=True)]
    return moments, np.array(depths)


def _latency(runs: Sequence[Trial], width_s: float) -> tuple[Floats, Floats]:
    """(middle of each stretch in s, p95 of what was completed in it); NaN, a gap in the line, where nothing was."""
    done_s = np.concatenate([_done_s(run) for run in runs])
    latency_s = np.concatenate([run.run.times.values("latency_s") for run in runs])
    place = (done_s / width_s).astype(int)
    order = np.argsort(place, kind="stable")
    count = int(place.max()) + 1 if len(place) else 0
    cuts = np.searchsorted(place[order], np.arange(1, count))
    parts = np.split(latency_s[order], cuts) if count else []
    some = [n for n, part in enumerate(parts) if len(part)]
    x = np.array([(n + 0.5) * width_s for n in some], dtype=np.float64)
    y = np.array([np.percentile(parts[n], P95) for n in some], dtype=np.float64)
    gaps = np.flatnonzero(np.diff(some) > GAP_BINS) + 1
    return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)


def _done_s(run: Trial) -> Floats:
    """When tasks were completed, in order of arrival."""
    times = run.run.times
    done = times.arrival_s + times.latency_s
    return np.asarray(done[~np.isnan(done)])
