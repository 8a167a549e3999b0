"""Figures of what was seen beside what the model makes of it: fits of service times, and a shadow's curves.

Colours and dashes are those of `lab/figures.py`: the real thing vermilion and solid, the model blue and dashed.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.draws import Floats
from lab.figures import ENGINE_COLOURS, LIMIT_COLOUR
from lab.fitting_service import ServiceFit

PANELS_MAX: Final = 12
"""Roles that are drawn, the most frequent: more are a wall of stamps. The table has them all."""
COLUMNS: Final = 3
PANEL_PX: Final = 300
QUANTILES: Final = np.concatenate([np.arange(1, 100) / 100, [0.995, 0.999]])


def quantiles(services: Sequence[ServiceFit], *, dark: bool = False) -> go.Figure:
    """Seen quantiles of service times against the fitted distribution's, a panel a role: on the line they agree."""
    shown = [one for one in services if one.best is not None and len(one.values_s) > 1][:PANELS_MAX]
    if not shown:
        return _without("No role has a fitted distribution: there were too few attempts", dark)
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    titles = [f"{html.escape(one.role)}: {_verdict(one)}" for one in shown]
    figure = make_subplots(rows, columns, subplot_titles=titles, vertical_spacing=0.22 / rows)
    for number, one in enumerate(shown):
        _panel(figure, one, number // columns + 1, number % columns + 1, dark)
    figure.update_layout(height=PANEL_PX * rows + 60, showlegend=False, template=_template(dark), margin={"t": 48})
    return figure


def _panel(figure: go.Figure, one: ServiceFit, row: int, column: int, dark: bool) -> None:
    assert one.best is not None
    shares = QUANTILES[1 - 1 / len(one.values_s) >= QUANTILES]
    seen, fitted = np.quantile(one.values_s, shares), one.best.quantile_s(shares)
    ends = [float(min(seen.min(), fitted.min())), float(max(seen.max(), fitted.max()))]
    line = go.Scatter(x=ends, y=ends, mode="lines", line={"color": LIMIT_COLOUR, "width": 1}, hoverinfo="skip")
    words = [
        f"p{100 * share:g}: seen {a:.4g} s, fitted {b:.4g} s" for share, a, b in zip(shares, seen, fitted, strict=True)
    ]
    marks = go.Scatter(
        x=fitted, y=seen, mode="markers", marker={"color": ENGINE_COLOURS["live", dark], "size": 6},
        hovertext=words, hoverinfo="text",
    )  # fmt: skip
    figure.add_traces([line, marks], rows=row, cols=column)
    figure.update_xaxes(title_text="Fitted (s)", row=row, col=column)
    figure.update_yaxes(title_text="Seen (s)", row=row, col=column)


def _verdict(one: ServiceFit) -> str:
    assert one.best is not None
    name = one.best.service.dist
    return f"{name}, gap {one.best.ks:.3f}" if one.good else f"{name} does not fit, gap {one.best.ks:.3f}"


def shadow(
    t_s: Floats, seen: Mapping[str, Floats], predicted: Mapping[str, Floats], *, dark: bool = False
) -> go.Figure:
    """Curves of a window, seen and predicted, a panel a figure: name with unit → values at `t_s` (s, ≤ 0: ago)."""
    figure = make_subplots(1, len(seen), subplot_titles=list(seen), horizontal_spacing=0.08)
    for number, name in enumerate(seen, 1):
        for label, engine, dash, values in (
            ("seen", "live", "solid", seen[name]),
            ("predicted", "sim", "dash", predicted[name]),
        ):
            colour = ENGINE_COLOURS[engine, dark]
            figure.add_trace(
                go.Scatter(
                    x=t_s, y=values, mode="lines", name=label, legendgroup=label, showlegend=number == 1,
                    line={"color": colour, "dash": dash, "width": 2}, connectgaps=True,
                ),
                row=1, col=number,
            )  # fmt: skip
        figure.update_xaxes(title_text="Seconds from now", row=1, col=number)
        figure.update_yaxes(rangemode="tozero", row=1, col=number)
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.42, "yanchor": "top"}
    margin = {"l": 48, "r": 16, "t": 88, "b": 48}
    figure.update_layout(height=330, template=_template(dark), margin=margin, legend=legend)
    return figure


def _without(words: str, dark: bool) -> go.Figure:
    figure = go.Figure(layout={"template": _template(dark), "height": PANEL_PX})
    figure.add_annotation(text=words, showarrow=False, font={"size": 14})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _template(dark: bool) -> str:
    return "plotly_dark" if dark else "plotly_white"
