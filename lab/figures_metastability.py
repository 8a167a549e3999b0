"""The figures of `meshlab metastability`, and the page that holds them: one file that needs nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lab.recovery_map import Cell, Map, Ramp, Study

HEALTH = ((0.0, "#D55E00"), (0.5, "#F3E5AB"), (1.0, "#0072B2"))
"""From lost to healthy; told apart by the colour-blind too."""
COLOURS = ("#D55E00", "#0072B2")
OFFERED = "#808080"
FONT = "system-ui, sans-serif"
SMALL = "<span style='font-size:11px'>{}</span>"
MARGIN = {"l": 64, "r": 24, "t": 40, "b": 56}
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 68rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 {font}; color: #222; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin: 2.5rem 0 0.2rem; }}
pre {{ overflow-x: auto; background: #f5f5f5; padding: 1rem; font-size: 0.8rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(study: Study, report: Sequence[str], command: str) -> str:
    """The study as a self-contained HTML page; `report` are its lines of text, `command` is what made it."""
    found = study.map
    sections = [f"<p>{html.escape(_lead(found))}</p>", *_section(*_map_words(found), recovery_map(found), first=True)]
    if study.courses:
        sections += _section(*_course_words(study), courses(study))
    if study.ramps:
        sections += _section(*_ramp_words(study.ramps), ramps(study.ramps))
    sections.append(f"<h2>In numbers</h2><pre>{html.escape(chr(10).join(report))}</pre>")
    sections.append(f"<p>Made by <code>{html.escape(command)}</code>.</p>")
    title = html.escape(f"{found.experiment.scenario.name}: does the mesh come back?")
    return PAGE.format(title=title, font=FONT, body="\n".join(sections))


def _section(title: str, words: str, figure: go.Figure, *, first: bool = False) -> Iterator[str]:
    """A heading, a paragraph and a figure; the first one brings the library for all."""
    yield f"<h2>{html.escape(title)}</h2><p>{html.escape(words)}</p>"
    yield figure.to_html(full_html=False, include_plotlyjs=first, config={"displaylogo": False})


# ---- the map ---------------------------------------------------------------------------------------------------------


def recovery_map(found: Map) -> go.Figure:
    """P(healthy in the end) over load and policy: calm beside disturbed, metastable cells framed."""
    figure = make_subplots(1, 2, subplot_titles=("Calm: without the trigger", "After the trigger"), shared_yaxes=True)
    policies = found.policies[::-1]  # plotly counts rows from below
    rows = [(policy.name, found.rows[policy.name]) for policy in policies]
    x = [f"{load:g}" for load in found.loads]
    y = [
        f"<b>{policy.name}</b>, safe below {found.safe[policy.name]:.2g}<br>{SMALL.format(policy.words)}"
        for policy in policies
    ]
    for column, side in ((1, "calm"), (2, "disturbed")):
        shares = [[getattr(cell, side) for cell in cells] for _, cells in rows]
        values = [[share.value for share in each] for each in shares]
        texts = [["–" if value is None else f"{value:.2f}" for value in each] for each in values]
        hover = [[_hover(name, cell, side) for cell in cells] for name, cells in rows]
        heat = go.Heatmap(
            x=x, y=y, z=values, text=texts, texttemplate="%{text}", customdata=hover, xgap=3, ygap=3, zmin=0, zmax=1,
            hovertemplate="%{customdata}<extra></extra>", colorscale=HEALTH, showscale=False,
        )  # fmt: skip
        figure.add_trace(heat, row=1, col=column)
        figure.update_xaxes(title_text="Base load (share of the capacity)", type="category", row=1, col=column)
    figure.update_yaxes(type="category")
    for row, (_, cells) in enumerate(rows):
        for column, cell in enumerate(cells):
            if cell.metastable:
                _frame(figure, column, row)
    return figure.update_layout(
        height=140 + 52 * len(rows), margin={**MARGIN, "l": 230}, template="plotly_white", font={"family": FONT}
    )


def _frame(figure: go.Figure, column: int, row: int) -> None:
    edges = {"x0": column - 0.46, "x1": column + 0.46, "y0": row - 0.44, "y1": row + 0.44}
    figure.add_shape(type="rect", line={"color": "black", "width": 2.5}, row=1, col=2, **edges)


def _hover(name: str, cell: Cell, side: str) -> str:
    share = cell.calm if side == "calm" else cell.disturbed
    low, high = share.ci95
    lines = [f"<b>{name}, load {cell.load:g}</b>", f"healthy in {share.healthy} of {share.runs} runs"]
    lines.append(f"P is {low:.2f} to {high:.2f} (95 %)")
    if side != "calm" and cell.recovery_median_s is not None:
        lines.append(f"back after {cell.recovery_median_s:,.3g} s (median)")
    return "<br>".join(lines)


def _lead(found: Map) -> str:
    begins_s, ends_s = found.experiment.trigger_s
    return (
        f"Something disturbs the mesh from {begins_s:g} to {ends_s:g} s; then all is as before. A run is healthy if "
        f"goodput, the tasks completed against those that come, is back in its last {found.experiment.window_s:g} of "
        f"{found.experiment.run_s:g} s. Load 1 is what all slots together can do: "
        f"{found.experiment.capacity_per_s:,.4g} tasks a second."
    )


def _map_words(found: Map) -> tuple[str, str]:
    runs = len(found.seeds)
    return (
        "The same load, and another past",
        f"Each number is the share of {runs} runs that were healthy in the end. Left, nothing happened to them; right, "
        "they met the trigger. Framed cells are metastable: healthy if undisturbed, and not back after the trigger, "
        "though nothing else differs. “Safe below” is the load below which a mesh comes back from anything, given "
        "time: one over the attempts (and slept backoffs) that a task costs when all work is in vain.",
    )


# ---- courses ---------------------------------------------------------------------------------------------------------


def courses(study: Study) -> go.Figure:
    """What came, what the slots did and what was completed over time: a run a panel, on the same axes."""
    figure = make_subplots(
        1, len(study.courses), subplot_titles=[one.policy for one in study.courses], shared_yaxes=True
    )
    for column, (course, colour) in enumerate(zip(study.courses, COLOURS, strict=False), start=1):
        for name, rates, look in (
            ("tasks that come", course.arrived_per_s, {"color": OFFERED, "width": 1.5}),
            ("attempts, in vain or not", course.tried_per_s, {"color": colour, "width": 1.5, "dash": "dot"}),
            ("tasks completed", course.completed_per_s, {"color": colour, "width": 3}),
        ):
            legend = {"legendgroup": name, "showlegend": column == 1}
            look = {"shape": "hv", **look}
            line = go.Scatter(x=course.starts_s, y=rates, name=name, mode="lines", line=look, **legend)
            figure.add_trace(line, row=1, col=column)
        begins_s, ends_s = study.map.experiment.trigger_s
        figure.add_vrect(x0=begins_s, x1=ends_s, fillcolor="black", opacity=0.12, line_width=0, row=1, col=column)
        figure.update_xaxes(title_text="Time since the start (s)", row=1, col=column)
    figure.update_yaxes(title_text="Tasks or attempts a second", rangemode="tozero", row=1, col=1)
    return _laid_out(figure)


def _course_words(study: Study) -> tuple[str, str]:
    first = study.courses[0]
    return (
        "Busy to the last slot, and nothing done",
        f"One run of each policy at load {first.load:g} with the same tasks (seed {first.seed}); the trigger is shaded."
        " Dotted: attempts that ended, which is what the slots worked at. Where attempts go on and completed tasks do "
        "not, every slot works for clients that have left.",
    )


# ---- ramps -----------------------------------------------------------------------------------------------------------


def ramps(found: Sequence[Ramp]) -> go.Figure:
    """Goodput against load, slowly up and down again: where the branches part, there are two states at one load."""
    figure = make_subplots(1, len(found), subplot_titles=[ramp.policy for ramp in found], shared_yaxes=True)
    for column, (ramp, colour) in enumerate(zip(found, COLOURS, strict=False), start=1):
        for name, steps, dash, symbol in (
            ("load goes up", slice(0, ramp.top + 1), "solid", "triangle-right"),
            ("load comes down", slice(ramp.top, None), "dot", "triangle-left"),
        ):
            line = go.Scatter(
                x=ramp.loads[steps], y=ramp.goodput[steps], name=name, mode="lines+markers", legendgroup=name,
                showlegend=column == 1, line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 9},
            )  # fmt: skip
            figure.add_trace(line, row=1, col=column)
        ideal = go.Scatter(
            x=[0, 1], y=[0, 1], name="all that comes", mode="lines", line={"color": OFFERED, "width": 1},
            legendgroup="all", showlegend=column == 1,
        )  # fmt: skip
        figure.add_trace(ideal, row=1, col=column)
        figure.update_xaxes(title_text="Load (share of the capacity)", rangemode="tozero", row=1, col=column)
    figure.update_yaxes(title_text="Goodput (share of the capacity)", rangemode="tozero", row=1, col=1)
    return _laid_out(figure)


def _ramp_words(found: Sequence[Ramp]) -> tuple[str, str]:
    return (
        "Up one way, down another",
        f"The load rises slowly to {max(found[0].loads):g} of the capacity and falls again, without any trigger. Where "
        "the two branches part, the mesh has two states at one load, and stays in the one that it is in. Above the grey"
        " line it catches up on retries that were still waiting.",
    )


def _laid_out(figure: go.Figure) -> go.Figure:
    legend = {"orientation": "h", "yanchor": "top", "y": -0.2, "xanchor": "left", "x": 0}
    return figure.update_layout(
        height=420, margin={**MARGIN, "b": 96}, template="plotly_white", legend=legend, font={"family": FONT}
    )
