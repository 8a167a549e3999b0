"""Figures of the prediction test, drawn from its results alone (`lab/twin_results.py`): the page and the report share
them. The model is blue and dashed, live vermilion and solid; verdicts are told by shape and word, not by colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab import units
from lab.figures import ENGINE_COLOURS, LIMIT_COLOUR, shown
from lab.figures_tasks import CONTEXT_COLOUR
from lab.twin_figures import BY_PATH

LOOKS: Final = {
    "within its allowance": ("circle", "#009E73"),
    "beyond its allowance": ("x", "#C0392B"),
    "not judged here": ("circle-open", LIMIT_COLOUR),
}
"""Symbol and colour of a scenario's error."""
BAND: Final = "rgba(128,128,128,0.22)"
AIM_BAND: Final = "rgba(128,128,128,0.30)"
ROW_PX: Final = 24
ROWS_MIN: Final = 4
"""Plotly puts no legend lower than two heights of its axes: fewer rows have that of four."""
AROUND_PX: Final = 110
LEGEND_PX: Final = 52
"""From the axes down to the legend."""
HEAD_ROOM: Final = 1.25
"""So much longer is an axis than what it shows: a sign at its end is whole, and not in the next panel."""
NARROWEST: Final = 0.02
"""An axis of errors never spans less than ±2 %, or noise would fill the picture."""
CLIP_FACTOR: Final = 3.0
"""One scenario that is far off must not flatten the others: it is drawn at the edge, and its number told on hover."""
TICK_SHARE: Final = 0.8
"""How far out on an axis its last number may stand."""
CURVES: Final = (
    ("throughput", "Throughput", "Time since the start (s)", "Completed tasks (1/s)", "hv"),
    ("depth", "Queue depth", "Time since the start (s)", "Waiting tasks", "hv"),
    ("latency", "Latency, cumulative", "Latency (s)", "Share of completed tasks", "linear"),
    ("rss", "Memory, largest worker", "Time since the start (s)", "RSS (MiB)", "linear"),
)


def forest(data: Mapping[str, Any], paths: Sequence[str] | None = None) -> go.Figure:
    """The error of each scenario, a panel a figure: its 90 % interval, the aim (dark) and its allowance (light)."""
    paths = [path for path in paths or data["summary"]["figures"] if path in data["summary"]["figures"]]
    scenarios = list(data["scenarios"])[::-1]  # plotly counts rows from below
    titles = [BY_PATH[path].figure.label for path in paths]
    figure = make_subplots(1, max(1, len(paths)), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.012)
    named: set[str] = set()
    for column, path in enumerate(paths, start=1):
        reach = _reach(scenarios, path)
        _bands(figure, scenarios, path, column, reach)
        for look in LOOKS:
            _dots(figure, scenarios, path, column, reach, look, named)
        figure.update_xaxes(range=[-reach, reach], **_ticks(reach), tickangle=0, showgrid=False, row=1, col=column)
    names = [shown(one["name"]) for one in scenarios]
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names, showgrid=True)
    figure.update_annotations(font_size=12)
    rows_px = ROW_PX * max(ROWS_MIN, len(scenarios))
    legend = {"orientation": "h", "yanchor": "top", "y": -LEGEND_PX / rows_px, "xanchor": "left", "x": 0}
    return figure.update_layout(
        height=AROUND_PX + rows_px, margin={"l": 8, "r": 8, "t": 34, "b": 76}, legend=legend, barmode="overlay"
    )


def _reach(scenarios: Sequence[Mapping[str, Any]], path: str) -> float:
    """How far the axis goes: all allowances, and errors as long as they are not far beyond them."""
    seen = [found for one in scenarios if (found := one["figures"].get(path)) and found["judged"]]
    allowed = max((one["allowance"] for one in seen), default=NARROWEST)
    errors = max((abs(one["error"]) for one in seen), default=0.0)
    return HEAD_ROOM * max(allowed, NARROWEST, min(errors, CLIP_FACTOR * allowed))


def _ticks(reach: float) -> dict[str, Any]:
    """0, and a round number towards each end: more would run into the next panel's."""
    decades = (step * 10.0**power for power in range(-3, 3) for step in (1, 2, 3, 4, 5, 6, 8))
    end = max((one for one in decades if one <= TICK_SHARE * reach), default=reach)
    return {"tickvals": [-end, 0.0, end], "ticktext": [f"−{100 * end:g} %", "0", f"+{100 * end:g} %"]}


def _bands(figure: go.Figure, scenarios: Sequence[Mapping[str, Any]], path: str, column: int, reach: float) -> None:
    for key, colour, width in (("allowance", BAND, 0.86), ("aim", AIM_BAND, 0.86)):
        rows = [one for one in scenarios if one["figures"].get(path, {}).get("judged")]
        half = [min(one["figures"][path][key], reach) for one in rows]
        figure.add_trace(
            go.Bar(
                y=[shown(one["name"]) for one in rows], x=[2 * one for one in half], base=[-one for one in half],
                orientation="h", width=width, marker={"color": colour, "line": {"width": 0}}, hoverinfo="skip",
                name="the aim" if key == "aim" else "what this scenario may be off by", legendgroup=key,
                showlegend=column == 1,
            ),
            row=1, col=column,
        )  # fmt: skip


def _dots(
    figure: go.Figure,
    scenarios: Sequence[Mapping[str, Any]],
    path: str,
    column: int,
    reach: float,
    look: str,
    named: set[str],
) -> None:
    # Where the machine itself is measured, all other figures follow from its rate: they would only clutter the picture.
    told = [
        one for one in scenarios if path in one["figures"] and (one["figures"][path]["judged"] or not one["saturates"])
    ]
    rows = [(one["name"], one["figures"][path]) for one in told]
    rows = [(name, found) for name, found in rows if _look(found) == look]
    if not rows:
        return
    symbol, colour = LOOKS[look]
    at = [max(-reach, min(reach, found["error"])) for _, found in rows]
    ends = [_ends(found, reach) for _, found in rows]
    bars = {
        "type": "data", "symmetric": False, "thickness": 1.4, "width": 0, "color": colour,
        "array": [max(0.0, high - x) for (_, high), x in zip(ends, at, strict=True)],
        "arrayminus": [max(0.0, x - low) for (low, _), x in zip(ends, at, strict=True)],
    }  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=at, y=[shown(name) for name, _ in rows], mode="markers", error_x=bars, name=look, legendgroup=look,
            showlegend=look not in named, marker={"symbol": symbol, "color": colour, "size": 9, "line": {"width": 1.6}},
            customdata=[_told(path, found) for _, found in rows],
            hovertemplate="<b>%{y}</b><br>%{customdata}<extra></extra>",
        ),
        row=1, col=column,
    )  # fmt: skip
    named.add(look)


def _look(found: Mapping[str, Any]) -> str:
    if not found["judged"]:
        return "not judged here"
    return "within its allowance" if found["within_allowance"] else "beyond its allowance"


def _ends(found: Mapping[str, Any], reach: float) -> tuple[float, float]:
    """The 90 % interval, inside of the axis; the point itself where there is none."""
    low, high = (found.get("at_aim") or {}).get("ci90") or (found["error"],) * 2
    return max(-reach, min(reach, low)), max(-reach, min(reach, high))


def _told(path: str, found: Mapping[str, Any]) -> str:
    figure = BY_PATH[path].figure
    words = [
        f"{figure.label}: {units.percent(found['error'])}",
        f"model {figure.written(found['model'])}, live {figure.written(found['live_mean'])}",
    ]
    if found["spread"] is not None:
        words.append(f"live's own spread {units.percent(found['spread']).lstrip('+')}")
    if found["judged"]:
        test = found["at_allowance"]
        words.append(f"allowed ±{units.percent(found['allowance']).lstrip('+')}: {test['verdict']}")
    if found["floored"]:
        words.append("told as a share of a floor: the value is near 0")
    return "<br>".join(words)


# ---- one scenario ----------------------------------------------------------------------------------------------------


def overlay(one: Mapping[str, Any], *, dark: bool = False) -> go.Figure:
    """Throughput, queue depth, latency and memory of the model over all live repeats of a scenario."""
    figure = make_subplots(2, 2, subplot_titles=[title for _, title, *_ in CURVES], vertical_spacing=0.26)
    for place, (name, _, x_title, y_title, shape) in enumerate(CURVES):
        at = {"row": place // 2 + 1, "col": place % 2 + 1}
        runs = [("live", curves) for curves in one["curves"]["live"]] + [("sim", one["curves"]["model"])]
        for number, (engine, curves) in enumerate(runs):
            x, y = curves[name]
            look = {"color": ENGINE_COLOURS[engine, dark], "shape": shape, "width": 1.4 if engine == "live" else 2.2}
            look["dash"] = "solid" if engine == "live" else "dash"
            line = go.Scatter(
                x=x, y=y, mode="lines", line=look, name=shown(engine), legendgroup=engine, hoverinfo="skip",
                opacity=0.75 if engine == "live" else 1.0, showlegend=place == 0 and number in (0, len(runs) - 1),
            )  # fmt: skip
            figure.add_trace(line, **at)
        figure.update_xaxes(title_text=x_title, rangemode="tozero", **at)
        figure.update_yaxes(title_text=y_title, rangemode="tozero", **at)
    figure.update_yaxes(tickformat=".0%", row=2, col=1)
    figure.update_annotations(font_size=13)
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.06, "xanchor": "right", "x": 1}
    return figure.update_layout(height=600, margin={"l": 60, "r": 12, "t": 56, "b": 48}, legend=legend)


def scatter(one: Mapping[str, Any], *, dark: bool = False) -> go.Figure:
    """Each task's latency in the model over its mean live latency: on the diagonal they agree."""
    pairs = one["curves"]["pairs"]
    top = max([*pairs["model_s"], *pairs["live_s"], 1e-3])
    figure = go.Figure(
        go.Scatter(
            x=[0, top], y=[0, top], mode="lines", name="equal", hoverinfo="skip",
            line={"color": CONTEXT_COLOUR, "dash": "dot", "width": 1.5},
        )
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=pairs["live_s"], y=pairs["model_s"], mode="markers", name="a task", customdata=pairs["task"],
            marker={"color": ENGINE_COLOURS["sim", dark], "size": 5, "opacity": 0.55},
            hovertemplate="task %{customdata}<br>live %{x:.3f} s, model %{y:.3f} s<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="Latency, live (s)", rangemode="tozero")
    figure.update_yaxes(title_text="Latency, model (s)", rangemode="tozero")
    return figure.update_layout(height=320, margin={"l": 60, "r": 12, "t": 16, "b": 48}, showlegend=False)
