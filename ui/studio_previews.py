"""What a scenario will look like, before it runs: when tasks come, how long they take, what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lab import metrics
from lab.distributions import service_times
from lab.draws import Floats
from lab.limits import PREVIEW_RUN_S_MAX, PREVIEW_RUN_TASKS_MAX, PREVIEW_TASKS_MAX
from lab.rules.tasks import State
from lab.scenario import ConstantService, EmpiricalService, Scenario, Trace
from lab.workload import Plan
from simulation import simulate
from ui import load, palette, text

BINS = 60
QUANTILES = 400
SHOWN_SHARE = 0.995
"""Longer services than these are a tail that would flatten the rest."""
HEIGHT_PX, BAR_HEIGHT_PX = 150, 92
POINTS = 300
STATE_COLOURS = {
    State.PENDING: palette.NEUTRAL,
    State.RUNNING: palette.MODEL,
    State.RETRY_WAIT: palette.WARN,
    State.COMPLETED: palette.GOOD,
    State.PERMANENT_FAILURE: palette.BAD,
}


@dataclass(frozen=True)
class Chart:
    """A figure, and its title, which is drawn above it."""

    name: str
    title: str
    figure: go.Figure


@dataclass(frozen=True)
class Preview:
    """The charts of a scenario, and what the model says, or why it says nothing."""

    charts: list[Chart]
    said: str


def preview(scenario: Scenario) -> Preview:
    """All that can be known quickly. Raises ScenarioError if a file of the scenario cannot be read."""
    offered = load.offered(scenario)
    if offered.tasks > PREVIEW_TASKS_MAX:
        said = f"{offered.tasks:,.0f} tasks are too many to draw beforehand; up to {PREVIEW_TASKS_MAX:,} are drawn."
        return Preview([service(scenario, None)], said)
    plan = Plan(scenario)
    charts = [arrivals(plan), service(scenario, plan)]
    last_s = max([offered.run_s, *(float(getattr(fault, "at_s", 0.0)) for fault in scenario.faults)])
    if plan.count > PREVIEW_RUN_TASKS_MAX or last_s > PREVIEW_RUN_S_MAX:
        size = f"{plan.count:,} tasks, {text.seconds(last_s)}"
        return Preview(charts, f"Press Model to see what becomes of it: {size} are too much for a preview.")
    chart, said = states(scenario)
    return Preview([chart, *charts], said)


def arrivals(plan: Plan) -> Chart:
    """Tasks a second that arrive, by role; or how many come at once."""
    figure = _figure()
    last_s = float(plan.arrival_s[-1])
    if float(plan.arrival_s[0]) == last_s:
        counts = np.bincount(plan.role, minlength=len(plan.role_names))
        for index, name in enumerate(plan.role_names):
            bar: dict[str, Any] = {"x": [int(counts[index])], "y": [""], "orientation": "h"}
            figure.add_bar(name=name, marker_color=palette.role_colour(index), hovertemplate="%{x:,} tasks", **bar)
        figure.update_layout(barmode="stack", hovermode="closest", height=BAR_HEIGHT_PX)
        figure.update_xaxes(ticksuffix="")
        when = "at once" if last_s == 0 else f"at once, at {text.seconds(last_s)}"
        return Chart("arrivals", f"Arrivals: {text.plural(plan.count, 'task')} {when}", figure)
    edges = np.linspace(0.0, last_s * (1 + 1e-9), min(BINS, max(8, plan.count // 4)) + 1)
    width_s = edges[1] - edges[0]
    for index, name in enumerate(plan.role_names):
        counts, _ = np.histogram(plan.arrival_s[plan.role == index], edges)
        colour = palette.role_colour(index)
        look: dict[str, Any] = {"line": {"color": colour, "width": 1}, "fillcolor": palette.shade(colour, 0.45)}
        x, y = np.repeat(edges, 2)[1:-1], np.repeat(counts / width_s, 2)
        figure.add_scatter(x=x, y=y, name=name, stackgroup="all", hovertemplate="%{y:.1f}/s", **look)
    return Chart("arrivals", "Arrivals, tasks/s", figure)


def service(scenario: Scenario, plan: Plan | None) -> Chart:
    """How long one attempt works: the density of each role's service time, roles with the same one together."""
    figure = _figure()
    spikes: list[tuple[str, str, float]] = []
    for index, names in _alike(scenario).items():
        role, colour, label = scenario.workload.roles[names[0]], palette.role_colour(index), ", ".join(names)
        traced = isinstance(scenario.workload.arrivals, Trace) or isinstance(role.service, EmpiricalService)
        if isinstance(role.service, ConstantService) and not traced:
            spikes.append((label, colour, role.service.mean_s))
            continue
        if traced and plan is None:
            continue
        if traced and plan is not None:
            worked_s = np.asarray(plan.column("service", 1))[plan.role == index]
            if len(worked_s) and np.ptp(worked_s) == 0:
                spikes.append((label, colour, float(worked_s[0])))
                continue
            x, y = _measured(worked_s)
        else:
            x, y = _density(service_times(role.service, (np.arange(QUANTILES) + 0.5) / QUANTILES * SHOWN_SHARE))
        look: dict[str, Any] = {"line": {"color": colour, "width": 2}, "fillcolor": palette.shade(colour, 0.18)}
        figure.add_scatter(x=x, y=y, name=label, fill="tozeroy", hovertemplate="%{x:.3g} s", **look)
    tallest = max((float(np.max(line.y)) for line in figure.data if len(line.y)), default=1.0)
    for label, colour, mean_s in spikes:
        look = {"line": {"color": colour, "width": 4}, "hovertemplate": f"always {text.seconds(mean_s)}"}
        figure.add_scatter(x=[mean_s, mean_s], y=[0.0, tallest], name=label, mode="lines", **look)
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(showticklabels=False, rangemode="tozero")
    return Chart("service", "Service time of one attempt, density", figure)


def _alike(scenario: Scenario) -> dict[int, list[str]]:
    """The roles, by the place of the first of those that work equally long; by traces each works as it did."""
    found: dict[Any, tuple[int, list[str]]] = {}
    for index, (name, role) in enumerate(scenario.workload.roles.items()):
        key = name if isinstance(scenario.workload.arrivals, Trace) else role.service.model_dump_json()
        found.setdefault(key, (index, []))[1].append(name)
    return dict(found.values())


def states(scenario: Scenario) -> tuple[Chart, str]:
    """The model's run: how many tasks are in which state over time, and how it ends in words."""
    record = simulate(scenario)
    figure = _figure()
    end_s = metrics.end_s(record)
    grid = np.linspace(0.0, end_s, POINTS)
    for state, colour in STATE_COLOURS.items():
        depths = _at(grid, *metrics.depth_curve(record, state))
        if depths.any():
            look: dict[str, Any] = {"line": {"width": 0}, "fillcolor": palette.shade(colour, 0.75)}
            words = state.value.replace("_", " ").lower()
            figure.add_scatter(x=grid, y=depths, name=words, stackgroup="all", hovertemplate="%{y:.0f}", **look)
    return Chart("states", "What the model expects, tasks by state", figure), _ending(metrics.summary(record), end_s)


def _ending(summary: dict[str, Any], end_s: float) -> str:
    counts, p95_s = summary["tasks"], summary["latency_s"]["p95"]
    said = [f"{counts['completed']:,} of {counts['submitted']:,} completed in {text.seconds(end_s)}"]
    said += [f"p95 latency {text.seconds(p95_s)}"] if p95_s is not None else []
    said += [f"{name} {counts[name]:,}" for name in ("retries", "dead", "cancelled", "rejected") if counts.get(name)]
    return "The model: " + ", ".join(said) + "."


def _at(grid: Floats, moments_s: Floats, depths: Floats) -> Floats:
    """A step curve at these moments."""
    index = np.searchsorted(moments_s, grid, side="right") - 1
    return np.where(index >= 0, np.asarray(depths)[np.maximum(index, 0)], 0.0) if len(moments_s) else grid * 0.0


def _density(times: Floats) -> tuple[Floats, Floats]:
    """Where equal shares of probability lie close together, the density is high."""
    gaps = np.maximum(np.diff(times), 1e-9)
    return (times[1:] + times[:-1]) / 2, SHOWN_SHARE / QUANTILES / gaps


def _measured(times: Floats) -> tuple[Floats, Floats]:
    if not len(times):
        return np.zeros(0), np.zeros(0)
    kept = times[times <= np.quantile(times, SHOWN_SHARE)]
    counts, edges = np.histogram(kept, BINS, density=True)
    return np.repeat(edges, 2)[1:-1], np.repeat(counts, 2)


def _figure() -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=HEIGHT_PX,
        margin={"l": 40, "r": 8, "t": 22, "b": 24},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left", "font": {"size": 11}},
        legend_traceorder="normal",
        hovermode="x unified",
        showlegend=True,
    )
    figure.update_xaxes(tickfont_size=11, ticksuffix=" s")
    figure.update_yaxes(tickfont_size=11, nticks=5)
    return figure
