"""Figures of a sweep: lines with their bands, heat maps, small multiples, parallel coordinates.

Every axis has words and a unit; every mark says on hover which point it is and how sure its figure. Colour goes from
dark to bright with the value (Viridis), which colour-blind readers and grey prints keep in order.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.figures import FURTHER_COLOURS, MODEL_COLOUR, MODEL_COLOUR_DARK
from lab.headlines import Figure
from lab.sweep_result import Sweep
from lab.sweep_words import DEFAULT_FIGURE, axis, figure_of, interval, number, path_words, value

SCALE: Final = "Viridis"
LINES_MAX: Final = 8
"""More lines than this cannot be told apart: a heat map shows them."""
CELLS_WRITTEN_MAX: Final = 150
"""More cells than this have no room for their number; it is told on hover."""
TICKS_MAX: Final = 25
"""Of an axis with more values than this, Plotly chooses which are named."""
LOG_FROM: Final = 10.0
"""Where the largest value is so many times the least, colours go by its logarithm: else one cell has them all."""
PANELS_MAX: Final = 12
PANELS_ACROSS: Final = 3
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARGIN: Final = {"l": 72, "r": 16, "t": 48, "b": 56}
HEIGHT: Final = 420
PANEL_HEIGHT: Final = 300


def suited(sweep: Sweep, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """The figure that suits the design: for a grid lines over one path, a heat map over two, small multiples over
    three; parallel coordinates for everything else.
    """
    paths = sweep.varying()
    if sweep.about["sampled"] or len(paths) > 3:
        return parallel(sweep, figure, dark=dark)
    if len(paths) == 1:
        return lines(sweep, paths[0], figure, dark=dark)
    if len(paths) == 2:
        return heat_map(sweep, paths[0], paths[1], figure, dark=dark)
    return small_multiples(sweep, figure, dark=dark)


# ---- lines -----------------------------------------------------------------------------------------------------------


def lines(sweep: Sweep, x: str, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """The figure over a path, with its 95 % band; a line for each combination of the other paths, the first few."""
    table, what = sweep.table(figure), figure_of(figure)
    title, unit = axis(what)
    others = [path for path in sweep.varying() if path != x]
    colours = (MODEL_COLOUR_DARK if dark else MODEL_COLOUR, *FURTHER_COLOURS)
    drawn = go.Figure()
    groups = list(table.groupby(others, sort=False)) if others else [((), table)]
    for place, (values, rows) in enumerate(groups[:LINES_MAX]):
        rows = rows.sort_values(x)
        look = {"color": colours[place % len(colours)], "dash": DASHES[place % len(DASHES)], "width": 2.5}
        name = ", ".join(f"{path_words(path)} {value(one)}" for path, one in zip(others, _tuple(values), strict=True))
        for trace in _line(rows, x, what, unit, html.escape(name), look):
            drawn.add_trace(trace.update(showlegend=bool(others) and trace.fill is None))
    more = len(groups) - LINES_MAX
    if more > 0:
        drawn.add_annotation(text=f"and {more} more lines", xref="paper", yref="paper", x=1, y=1.06, showarrow=False)
    drawn.update_xaxes(title_text=html.escape(path_words(x)), **_ticks(table[x]))
    drawn.update_yaxes(title_text=html.escape(title), rangemode="tozero")
    return _laid_out(drawn, f"{what.label} over {path_words(x)}", HEIGHT)


def _line(
    rows: pd.DataFrame, x: str, what: Figure, unit: float, name: str, look: dict[str, Any]
) -> Iterator[go.Scatter]:
    """The band of the intervals, where there are any, and the line of the means above it."""
    known = rows[rows["low"].notna()]
    if len(known):
        bounds = pd.concat([known["high"], known["low"][::-1]]) / unit
        around = pd.concat([known[x], known[x][::-1]])
        shade = {"fill": "toself", "fillcolor": _shade(look["color"]), "line": {"width": 0}, "hoverinfo": "skip"}
        yield go.Scatter(x=around, y=bounds, mode="lines", legendgroup=name, **shade)
    told = [_told(what, row) for _, row in rows.iterrows()]
    yield go.Scatter(
        x=rows[x], y=rows["mean"] / unit, mode="lines+markers", name=name, legendgroup=name, line=look,
        marker={"size": 7}, customdata=told, hovertemplate=f"{'<b>' + name + '</b><br>' if name else ''}"
        f"{html.escape(path_words(x))}: %{{x}}<br>%{{customdata}}<extra></extra>",
    )  # fmt: skip


def _shade(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


# ---- heat maps -------------------------------------------------------------------------------------------------------


def heat_map(sweep: Sweep, x: str, y: str, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """The figure over two paths, over the others its mean."""
    table, what = sweep.table(figure), figure_of(figure)
    others = [path for path in sweep.varying() if path not in (x, y)]
    if others:
        table = _averaged(table, [x, y])
    drawn = go.Figure(_heat(table, x, y, what, by_log=_by_log(table), written=True))
    drawn.update_coloraxes(**_colours(table, what))
    _name_axes(drawn, table, x, y)
    title = f"{what.label} over {path_words(x)} and {path_words(y)}"
    over = f", the mean over {', '.join(map(path_words, others))}" if others else ""
    return _laid_out(drawn, title + over, _height(table[y].nunique()))


def small_multiples(sweep: Sweep, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """Heat maps over the first two varying paths, a panel for each value of the third, all with the same colours."""
    x, y, *others = [*sweep.varying(), *(path for path in sweep.paths if path not in sweep.varying())]
    if not others:
        return heat_map(sweep, x, y, figure, dark=dark)
    table, what, facet = sweep.table(figure), figure_of(figure), others[0]
    if len(others) > 1:
        table = _averaged(table, [x, y, facet])
    facets = _ordered(table[facet])[:PANELS_MAX]
    across = min(PANELS_ACROSS, len(facets))
    down = -(-len(facets) // across)
    titles = [html.escape(f"{path_words(facet)} {value(one)}") for one in facets]
    spacing = {"horizontal_spacing": 0.06, "vertical_spacing": 0.14 / max(1, down - 1)}
    drawn = make_subplots(down, across, subplot_titles=titles, shared_xaxes="all", shared_yaxes="all", **spacing)
    cells = table[x].nunique() * table[y].nunique() * across
    for place, one in enumerate(facets):
        rows = table[table[facet] == one]
        panel = _heat(rows, x, y, what, by_log=_by_log(table), written=cells <= CELLS_WRITTEN_MAX)
        drawn.add_trace(panel, row=place // across + 1, col=place % across + 1)
    drawn.update_coloraxes(**_colours(table, what))
    drawn.update_xaxes(type="category", categoryarray=_names(table[x]), showgrid=False)
    drawn.update_yaxes(type="category", categoryarray=_names(table[y]), showgrid=False)
    drawn.update_xaxes(title_text=html.escape(path_words(x)), row=down)
    drawn.update_yaxes(title_text=html.escape(path_words(y)), col=1)
    title = f"{what.label} over {path_words(x)} and {path_words(y)}, by {path_words(facet)}"
    return _laid_out(drawn, title, PANEL_HEIGHT * down + 110).update_layout(margin={**MARGIN, "t": 84})


def _averaged(table: pd.DataFrame, paths: list[str]) -> pd.DataFrame:
    """The mean over all other paths, which has no interval."""
    found = table.groupby(paths, sort=False, as_index=False)[["mean"]].mean()
    return found.assign(low=float("nan"), high=float("nan"), runs=0)


def _by_log(table: pd.DataFrame) -> bool:
    """Whether the values spread so far that their logarithms are coloured."""
    least, most = float(table["mean"].min()), float(table["mean"].max())
    return least > 0 and most >= LOG_FROM * least


def _heat(rows: pd.DataFrame, x: str, y: str, what: Figure, *, by_log: bool, written: bool) -> go.Heatmap:
    _, unit = axis(what)
    across, up = _ordered(rows[x]), _ordered(rows[y])
    found = {(row[x], row[y]): row for _, row in rows.iterrows()}
    cells = [[found.get((one, other)) for one in across] for other in up]
    few = written and len(across) * len(up) <= CELLS_WRITTEN_MAX
    return go.Heatmap(
        x=_names(rows[x]), y=_names(rows[y]), coloraxis="coloraxis", xgap=2, ygap=2, hoverongaps=False,
        z=[[None if cell is None else _colour_of(cell["mean"] / unit, by_log) for cell in line] for line in cells],
        text=[["" if cell is None else number(what, cell["mean"]) for cell in line] for line in cells],
        texttemplate="%{text}" if few else None,
        customdata=[["" if cell is None else _told(what, cell) for cell in line] for line in cells],
        hovertemplate=f"{html.escape(path_words(x))}: %{{x}}<br>{html.escape(path_words(y))}: %{{y}}<br>"
        "%{customdata}<extra></extra>",
    )  # fmt: skip


def _colour_of(found: float, by_log: bool) -> float | None:
    """Where a value stands on the scale of colours; NaN nowhere."""
    return None if found != found else math.log10(found) if by_log else float(found)


def _colours(table: pd.DataFrame, what: Figure) -> dict[str, Any]:
    title, unit = axis(what)
    bar: dict[str, Any] = {"title": {"text": html.escape(title), "side": "right"}, "thickness": 14}
    if _by_log(table):
        low, high = table["mean"].min() / unit, table["mean"].max() / unit
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= tick <= high]
        bar |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:,g}" for tick in ticks]}
    return {"colorscale": SCALE, "colorbar": bar}


def _name_axes(drawn: go.Figure, table: pd.DataFrame, x: str, y: str) -> None:
    for update, path in ((drawn.update_xaxes, x), (drawn.update_yaxes, y)):
        update(title_text=html.escape(path_words(path)), type="category", categoryarray=_names(table[path]))
        update(showgrid=False)


def _height(rows: int) -> int:
    return min(760, max(340, 150 + 40 * rows))


# ---- many paths ------------------------------------------------------------------------------------------------------


def parallel(sweep: Sweep, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """A line a point through its values and its figure, coloured by the figure."""
    table, what = sweep.table(figure), figure_of(figure)
    title, unit = axis(what)
    table = table[table["mean"].notna()]
    shown = table["mean"] / unit
    dimensions = [_dimension(path_words(path), table[path]) for path in sweep.varying()]
    dimensions.append({"label": html.escape(title), "values": shown})
    line = {"color": shown, "colorscale": SCALE, "showscale": False}
    font = {"color": "#d0d4dc" if dark else "#3a4150", "size": 13}
    drawn = go.Figure(
        go.Parcoords(dimensions=dimensions, line=line, labelfont=font, tickfont=font, rangefont={"size": 1})
    )
    drawn = _laid_out(drawn, f"{what.label}, a line a point; drag along an axis to select", HEIGHT)
    return drawn.update_layout(margin={"l": 90, "r": 60, "t": 100, "b": 32})


def _dimension(label: str, values: pd.Series[Any]) -> dict[str, Any]:
    """An axis of parallel coordinates; what is no number gets places, in order."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return {"label": html.escape(label), "values": values}
    names = _ordered(values)
    places = values.map({name: place for place, name in enumerate(names)})
    texts = [html.escape(value(name)) for name in names]
    return {"label": html.escape(label), "values": places, "tickvals": list(range(len(names))), "ticktext": texts}


def scatter(sweep: Sweep, figure: str = DEFAULT_FIGURE, *, dark: bool = False) -> go.Figure:
    """The figure against each path: which of them matters, and how."""
    table, what = sweep.table(figure), figure_of(figure)
    title, unit = axis(what)
    paths = sweep.varying()[:PANELS_MAX]
    across = min(PANELS_ACROSS, len(paths))
    down = -(-len(paths) // across)
    drawn = make_subplots(down, across, shared_yaxes=True, horizontal_spacing=0.05)
    for place, path in enumerate(paths):
        at = {"row": place // across + 1, "col": place % across + 1}
        told = [_told(what, row) for _, row in table.iterrows()]
        dots = go.Scatter(
            x=table[path], y=table["mean"] / unit, mode="markers", customdata=told, showlegend=False,
            marker={"color": MODEL_COLOUR_DARK if dark else MODEL_COLOUR, "size": 6, "opacity": 0.6},
            hovertemplate=f"{html.escape(path_words(path))}: %{{x}}<br>%{{customdata}}<extra></extra>",
        )  # fmt: skip
        drawn.add_trace(dots, **at)
        drawn.update_xaxes(title_text=html.escape(path_words(path)), **at)
    drawn.update_yaxes(title_text=html.escape(title), rangemode="tozero", col=1)
    return _laid_out(drawn, f"{what.label} against each path, a dot a point", PANEL_HEIGHT * down + 60)


# ---- words and looks -------------------------------------------------------------------------------------------------


def _told(what: Figure, row: pd.Series[Any]) -> str:
    """What is known of a point: its figure and interval."""
    sure = interval(what, row["low"], row["high"])
    said = f"<b>{html.escape(what.label)}: {number(what, row['mean'])}</b>"
    return f"{said}<br>95 % interval: {sure} ({int(row['runs'])} runs)" if sure else said


def _ordered(values: pd.Series[Any]) -> list[Any]:
    """Each value once: numbers rising, words in the order in which they came."""
    once = values.drop_duplicates()
    return list(once.sort_values() if pd.api.types.is_numeric_dtype(values) else once)


def _names(values: pd.Series[Any]) -> list[str]:
    return [html.escape(value(one)) for one in _ordered(values)]


def _ticks(values: pd.Series[Any]) -> dict[str, Any]:
    """A tick at each value, if there are few: these were run, nothing between them was."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return {"type": "category", "categoryarray": _names(values)}
    once = _ordered(values)
    return {"tickvals": once} if len(once) <= TICKS_MAX else {}


def _tuple(found: Any) -> Sequence[Any]:
    return found if isinstance(found, tuple) else (found,)


def _laid_out(drawn: go.Figure, title: str, height: int) -> go.Figure:
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.01, "xanchor": "right", "x": 1, "title": {"text": ""}}
    heading = {"text": html.escape(title), "font": {"size": 16}, "x": 0, "y": 0.98, "yanchor": "top"}
    return drawn.update_layout(height=height, margin=MARGIN, legend=legend, title=heading)
