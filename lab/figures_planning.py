"""The frontier of a plan: what an hour of each mesh costs against how late it is, and the page that holds it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from lab.figures import LIMIT_COLOUR, LIVE_COLOUR, LIVE_COLOUR_DARK, MODEL_COLOUR, MODEL_COLOUR_DARK
from lab.figures_metastability import FONT, PAGE
from lab.limits import MIB
from lab.planning_candidates import Candidate
from lab.planning_measured import Verdict
from lab.planning_objectives import FIGURES, Figure

LOG_FROM: Final = 20.0
"""Values that lie further apart than this factor are drawn on a logarithmic axis."""
INK: Final = {False: "#1f2328", True: "#e6e6e6"}
GROUND: Final = {False: "rgba(255,255,255,0.85)", True: "rgba(20,20,20,0.85)"}
GRID: Final = {False: "#e8e8e8", True: "#3a3f47"}
HEIGHT_PX: Final = 460
DEAR: Final = 2.5
"""Times the winner's cost, beyond which a mesh is out of the picture at first."""


class Group(NamedTuple):
    """Candidates that look alike."""

    words: str
    verdicts: tuple[Verdict, ...]
    symbol: str


GROUPS: Final = (
    Group("does not meet the objectives", (Verdict.NO, Verdict.UNLIKELY), "x-thin"),
    Group("probably meets them", (Verdict.PROBABLY,), "circle-open"),
    Group("meets them", (Verdict.SURE,), "circle"),
)


def frontier(data: Mapping[str, Any], *, dark: bool = False) -> go.Figure:
    """The plan (`Answer.as_json()`) as cost against its leading figure, with 95 % intervals; the winner is named."""
    leading = FIGURES[data["leading"]]
    shown = [one for one in data["candidates"] if one["figures"][leading.name]["value"] is not None]
    figure = go.Figure()
    model = MODEL_COLOUR_DARK if dark else MODEL_COLOUR
    if line := [one for one in shown if one["frontier"]]:
        figure.add_trace(_steps(line, leading, model))
    for group in GROUPS:
        words = {verdict.words for verdict in group.verdicts}
        those = [one for one in shown if one["verdict"] in words]
        if those:
            figure.add_trace(_points(group, those, leading, LIMIT_COLOUR if group is GROUPS[0] else model))
    winner = data["winner"]
    if winner is not None and winner["figures"][leading.name]["value"] is not None:
        figure.add_trace(_winner(winner, leading, LIVE_COLOUR_DARK if dark else LIVE_COLOUR))
    _bounds(figure, data, leading, INK[dark])
    log = _is_log([_value(one, leading) for one in shown])
    if winner is not None and winner["figures"][leading.name]["value"] is not None:
        _name(figure, winner, leading, LIVE_COLOUR_DARK if dark else LIVE_COLOUR, dark, log)
        figure.update_xaxes(range=[0, _dearest(winner, shown)])
    return _laid_out(figure, leading, dark, log)


def _scale(figure: Figure) -> float:
    """What a value is divided by for the axis: s stay s, bytes become MiB."""
    return float(MIB) if figure.unit == "bytes" else 1.0


def _value(one: Mapping[str, Any], leading: Figure) -> float:
    return float(one["figures"][leading.name]["value"]) / _scale(leading)


def _steps(line: Sequence[Mapping[str, Any]], leading: Figure, colour: str) -> go.Scatter:
    """More money buys nothing before the next mesh is reached: steps, not a slope."""
    return go.Scatter(
        x=[one["cost_per_h"] for one in line], y=[_value(one, leading) for one in line], mode="lines",
        line={"color": colour, "width": 1.5, "shape": "hv", "dash": "dot"}, name="the frontier", hoverinfo="skip",
    )  # fmt: skip


def _points(group: Group, those: Sequence[Mapping[str, Any]], leading: Figure, colour: str) -> go.Scatter:
    values = [_value(one, leading) for one in those]
    intervals = [one["figures"][leading.name]["ci95"] or (None, None) for one in those]
    up = [
        0 if high is None else max(0.0, high / _scale(leading) - value)
        for (_, high), value in zip(intervals, values, strict=True)
    ]
    down = [
        0 if low is None else max(0.0, value - low / _scale(leading))
        for (low, _), value in zip(intervals, values, strict=True)
    ]
    error = {"type": "data", "array": up, "arrayminus": down, "thickness": 1.2, "width": 3, "color": colour}
    return go.Scatter(
        x=[one["cost_per_h"] for one in those], y=values, mode="markers", name=group.words, error_y=error,
        marker={"symbol": group.symbol, "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
        customdata=[_hover(one) for one in those], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _winner(one: Mapping[str, Any], leading: Figure, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[one["cost_per_h"]], y=[_value(one, leading)], mode="markers", name="the cheapest that does",
        marker={"symbol": "star", "size": 17, "color": colour, "line": {"width": 1, "color": "white"}},
        customdata=[_hover(one)], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _name(figure: go.Figure, one: Mapping[str, Any], leading: Figure, colour: str, dark: bool, log: bool) -> None:
    """The winner's name, on ground of its own, so that no line runs through it."""
    value = _value(one, leading)
    figure.add_annotation(
        x=one["cost_per_h"], y=math.log10(value) if log else value, text=f"<b>{html.escape(candidate(one).words)}</b>",
        showarrow=False, xanchor="left", yanchor="bottom", xshift=12, yshift=8, bgcolor=GROUND[dark],
        font={"color": colour, "size": 14},
    )  # fmt: skip


def candidate(one: Mapping[str, Any]) -> Candidate:
    """The mesh of a row of `candidates`."""
    return Candidate(one["workers"], one["slots"], one["policy"])


def _hover(one: Mapping[str, Any]) -> str:
    """Everything that is known of a candidate."""
    lines = [f"<b>{html.escape(candidate(one).words)}</b>, {one['cost_per_h']:,.2f}/h"]
    for name, found in one["figures"].items():
        figure, ci95 = FIGURES[name], found["ci95"]
        value = "never" if found["value"] is None else figure.shown(found["value"])
        bounds = "" if ci95 is None or None in ci95 else f" ({figure.shown(ci95[0])} to {figure.shown(ci95[1])})"
        lines.append(f"{figure.words} {value}{bounds}")
    met = one["met_all"]
    lines.append(f"meets the objectives: {one['verdict']}; {met['met']} of {met['runs']} runs did")
    return "<br>".join(lines)


def _bounds(figure: go.Figure, data: Mapping[str, Any], leading: Figure, ink: str) -> None:
    """The objective as a line, if the axis shows one."""
    for one in data["objectives"]:
        if one["figure"] == leading.name:
            figure.add_hline(
                y=one["most"] / _scale(leading), line={"color": ink, "width": 1.5, "dash": "dash"},
                annotation={"text": one["words"], "font": {"color": ink}}, annotation_position="top right",
            )  # fmt: skip


def _is_log(values: Sequence[float]) -> bool:
    """Whether the values lie too far apart for a linear axis."""
    return bool(values) and min(values) > 0 and max(values) > LOG_FROM * min(values)


def _dearest(winner: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> float:
    """The cost at which the chart ends: the frontier is in it, and what is not much dearer than the winner."""
    frontier = [one["cost_per_h"] for one in shown if one["frontier"]]
    costs = [one["cost_per_h"] for one in shown if one["cost_per_h"] <= DEAR * winner["cost_per_h"]]
    return 1.08 * float(max([*frontier, *costs]))


def _laid_out(figure: go.Figure, leading: Figure, dark: bool, log: bool) -> go.Figure:
    unit = {"s": "s", "bytes": "MiB", "share": "share"}[leading.unit]
    axis = {"gridcolor": GRID[dark], "zeroline": False, "linecolor": GRID[dark]}
    figure.update_yaxes(
        title_text=f"{leading.words} ({unit})", type="log" if log else "linear", rangemode="tozero", **axis
    )
    if log:
        figure.update_yaxes(dtick="D2", tickformat="~g")
    figure.update_xaxes(title_text="Cost of an hour", **axis)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0}
    return figure.update_layout(
        height=HEIGHT_PX, margin={"l": 64, "r": 24, "t": 48, "b": 56}, legend=legend,
        template="plotly_dark" if dark else "plotly_white", font={"family": FONT, "color": INK[dark]},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip


def page(data: Mapping[str, Any], report: Sequence[str], yaml_text: str | None, command: str) -> str:
    """The plan as a self-contained HTML page; `report` are its lines of text, `yaml_text` is the winner's scenario."""
    sections = [f"<p>{html.escape(line)}</p>" for line in data["words"]]
    sections.append("<h2>What money buys</h2>")
    sections.append("<p>Each point is a mesh under the same tasks; bars are 95 % intervals. The dotted line is the ")
    sections.append("frontier: nothing on it is beaten by anything cheaper. Point at one for its figures.</p>")
    sections.append(frontier(data).to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False}))
    sections.append(f"<h2>In numbers</h2><pre>{html.escape(chr(10).join(report))}</pre>")
    if yaml_text is not None:
        sections.append(f"<h2>The scenario on this mesh</h2><pre>{html.escape(yaml_text)}</pre>")
    sections.append(f"<p>Made by <code>{html.escape(command)}</code>.</p>")
    title = html.escape(f"{data['scenario']}: the cheapest mesh that does")
    return PAGE.format(title=title, font=FONT, body="\n".join(sections))
