"""The look of the notebooks' pictures: a title that states the finding, axes with units, lines named in a few words.

    figure = teaching.chart("Waits explode near 100 %", "Utilisation", "Mean wait (s)")
    teaching.line(figure, x, y, "theory", teaching.THEORY_COLOUR)

The colours are those of `lab/figures.py`: the model blue, the real thing vermilion.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from lab.figures import FURTHER_COLOURS, LIVE_COLOUR, MODEL_COLOUR

__all__ = ["COLOURS", "LIVE_COLOUR", "MODEL_COLOUR", "THEORY_COLOUR", "chart", "line", "points", "stated"]

THEORY_COLOUR: Final = "#444444"
COLOURS: Final = FURTHER_COLOURS
"""For what is no engine: policies, classes, roles."""
TITLE_CHARS: Final = 100
"""Of one line of a title: what fits a notebook's column at this size of letters."""
TITLE_PX, LINE_PX, LEGEND_PX, EDGE_PX = 16, 22, 36, 8
HEIGHT_PX: Final = 420


def chart(finding: str, x: str, y: str, **axes: Any) -> go.Figure:
    """An empty figure under that title, with axes of these names. `axes` goes to its layout, say `yaxis_type="log"`."""
    figure = go.Figure(layout={"height": HEIGHT_PX, "hovermode": "closest"})
    figure.update_layout(xaxis_title_text=x, yaxis_title_text=y).update_layout(**axes)
    return stated(figure, finding)


def stated(figure: go.Figure, finding: str) -> go.Figure:
    """The same figure with what it shows as its title, and its legend between title and lines."""
    words = textwrap.wrap(finding, TITLE_CHARS)
    # The title begins at the figure's edge, not at its axis: long names on the axis would push it out on the right.
    title = {"text": "<br>".join(words), "font_size": TITLE_PX, "x": 0, "xref": "container", "y": 1}
    title |= {"pad_l": EDGE_PX, "yanchor": "top"}
    title["pad_t"] = TITLE_PX + LINE_PX // 2 * (len(words) - 1)  # it hangs by its middle
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom", "title_text": ""}
    margin = {"l": 64, "r": 24, "t": TITLE_PX + LINE_PX * len(words) + LEGEND_PX, "b": 56}
    return figure.update_layout(template="plotly_white", title=title, legend=legend, margin=margin)


def line(
    figure: go.Figure, x: Iterable[float], y: Iterable[float], name: str, colour: str, dash: str = "solid", **more: Any
) -> None:
    """A line of the figure, named in its legend."""
    figure.add_scatter(x=list(x), y=list(y), name=name, mode="lines", line={"color": colour, "dash": dash}, **more)


def points(
    figure: go.Figure,
    x: Iterable[float],
    y: Sequence[float],
    name: str,
    colour: str,
    symbol: str = "circle",
    ci95: Sequence[tuple[float, float]] | None = None,
    **more: Any,
) -> None:
    """Points of the figure, named in its legend; with their 95 % intervals as bars, where they are given."""
    bars: dict[str, Any] = {}
    if ci95 is not None:
        above = [high - value for value, (_, high) in zip(y, ci95, strict=True)]
        below = [value - low for value, (low, _) in zip(y, ci95, strict=True)]
        bars = {"error_y": {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "width": 5}}
    marker = {"color": colour, "symbol": symbol, "size": 9}
    figure.add_scatter(x=list(x), y=list(y), name=name, mode="markers", marker=marker, **bars, **more)
