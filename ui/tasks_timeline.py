"""One task's life as a chart: a row an attempt, with what it waited, worked and backed off, and how it ended."""

from __future__ import annotations

from typing import Any, Literal

import plotly.graph_objects as go

from ui import palette, text
from ui.tasks_story import Phase, Segment, Story, is_bad, is_good, segments

ROWS_MAX = 40
"""Attempts drawn; the table below has them all."""
ROW_PX, FRAME_PX = 28, 88
FONT = '"Source Sans", sans-serif'
WORDS: dict[Phase, str] = {"waiting": "Waiting in its queue", "running": "Running", "backoff": "Backing off"}
WAITING_COLOUR, WAITING_DARK = "#9AA3AD", "#6E7781"


def figure(story: Story, engine: Literal["sim", "live"], dark: bool) -> go.Figure:
    """The timeline of a story. Moments are seconds since the task was submitted."""
    parts = list(segments(story))
    attempts = sorted({part.attempt for part in parts})[:ROWS_MAX]
    shown = [part for part in parts if part.attempt in attempts]
    colours: dict[Phase, str] = {
        "waiting": WAITING_DARK if dark else WAITING_COLOUR,
        "running": palette.engine_colour(engine, dark),
        "backoff": palette.WARN,
    }
    chart = go.Figure()
    for phase, words in WORDS.items():
        chart.add_trace(_bars([part for part in shown if part.phase == phase], words, colours[phase], phase))
    chart.add_trace(_endings([part for part in shown if part.phase == "running"], dark))
    ink = "#E6E6E6" if dark else "#31333F"
    chart.update_layout(
        barmode="overlay",
        bargap=0.35,
        height=FRAME_PX + ROW_PX * max(2, len(attempts)),
        margin={"l": 78, "r": 16, "t": 34, "b": 40},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": ink, "size": 12, "family": FONT},
        hoverlabel={"align": "left"},
    )
    grid = palette.shade(palette.NEUTRAL, 0.25)
    chart.update_xaxes(
        title={"text": "seconds since it was submitted", "standoff": 6, "font": {"size": 12}},
        rangemode="tozero",
        gridcolor=grid,
    )
    rows = [f"Attempt {attempt}" for attempt in attempts]
    chart.update_yaxes(categoryorder="array", categoryarray=rows, autorange="reversed", showgrid=False)
    return chart


def _bars(parts: list[Segment], words: str, colour: str, phase: Phase) -> go.Bar:
    pattern = {"shape": "/", "size": 5, "solidity": 0.35} if phase == "backoff" else {}
    rows: list[str | None] = [f"Attempt {part.attempt}" for part in parts]
    lengths_s: list[float | None] = [part.length_s for part in parts]
    return go.Bar(
        name=words,
        orientation="h",
        y=rows or [None],  # nothing to draw, and still a line of the legend
        x=lengths_s or [None],
        base=[part.begin_s for part in parts] or [0],
        marker={"color": colour, "pattern": pattern, "line": {"width": 0}},
        customdata=[_told(part, words) for part in parts] or [""],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _told(part: Segment, words: str) -> str:
    """What a bar says when it is pointed at. A worker's name comes from a file: shown as text."""
    lines = [f"<b>{words}</b>, {text.seconds(part.length_s)}"]
    if part.phase == "running":
        lines.append(f"worker {_plain(part.worker)}, token {part.token}")
    lines.append(f"ended by: {_plain(part.ended)}" if part.ended else "still going on")
    return "<br>".join(lines)


def _endings(parts: list[Segment], dark: bool) -> go.Scatter:
    """A mark where each attempt ended, with the verdict's word."""
    looks: list[tuple[str, str]] = [_look(part) for part in parts]
    marks: dict[str, Any] = {
        "symbol": [symbol for symbol, _ in looks],
        "color": [colour for _, colour in looks],
        "size": 11,
        "line": {"width": 1.5, "color": "#0E1117" if dark else "#FFFFFF"},
    }
    return go.Scatter(
        name="Verdict",
        mode="markers",
        y=[f"Attempt {part.attempt}" for part in parts],
        x=[part.end_s for part in parts],
        marker=marks,
        customdata=[
            f"<b>{_plain(part.ended) or 'running'}</b><br>→ {_plain(part.to)}, token {part.token}" for part in parts
        ],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )


def _look(part: Segment) -> tuple[str, str]:
    if is_good(part.ended):
        return "circle", palette.GOOD
    if is_bad(part.ended):
        return "x", palette.BAD
    return ("diamond", palette.NEUTRAL) if part.ended else ("triangle-right", palette.WARN)


def _plain(words: str) -> str:
    """Without what Plotly would take for markup."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
