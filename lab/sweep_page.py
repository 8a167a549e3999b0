"""A sweep as a self-contained HTML page: it fetches nothing, so it can be mailed, kept and read offline."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from lab import figures_sweep
from lab.report import PAGE
from lab.sweep_result import Sweep
from lab.sweep_words import figure_of, interval, number, path_words, value

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROWS_MAX: Final = 500
"""Of more points the page has the first; the Parquet file has them all."""


def page(sweep: Sweep, figures: Sequence[str], baseline: int | None = None) -> str:
    """The page: what was swept, a figure of each of the `figures`, the table with intervals, the scenario."""
    about = sweep.about
    title = f"{about['scenario_name']}: sweep"
    body = [f"<h1>{_e(title)}</h1>", f'<p class="lead">{_e(_lead(sweep))}</p>']
    for place, figure in enumerate(figures):
        body += [f"<h2>{_e(figure_of(figure).label)}</h2>", *_drawn(sweep, figure, first=place == 0)]
    body += ["<h2>In numbers</h2>", *_table(sweep, figures, baseline)]
    body += ["<h2>Scenario</h2>", f"<pre>{_e(about['scenario'])}</pre>"]
    return PAGE.format(title=_e(title), body="\n".join(body))


def _e(text: object) -> str:
    return html.escape(str(text))


def _lead(sweep: Sweep) -> str:
    about = sweep.about
    paths = ", ".join(map(path_words, sweep.paths))
    said = f"Agent Mesh Lab: {about['method']} over {paths}; {about['points']:,} points × {about['replications']} runs "
    rest = "" if sweep.complete else f" {len(sweep.frame):,} runs were done when it was stopped."
    return f"{said}with seeds from {about['seed']} on, the same for every point.{rest}"


def _drawn(sweep: Sweep, figure: str, *, first: bool) -> Iterator[str]:
    """The figures that suit the design; the very first one brings the library for all."""
    drawn: list[go.Figure] = [figures_sweep.suited(sweep, figure)]
    if sweep.about["sampled"] or len(sweep.varying()) > 3:
        drawn.append(figures_sweep.scatter(sweep, figure))
    for place, one in enumerate(drawn):
        one.update_layout(template="plotly_white")
        brings = first and place == 0
        yield f'<div class="figure">{one.to_html(full_html=False, include_plotlyjs=brings, config=CONFIG)}</div>'


CONFIG: Final = {"displaylogo": False, "responsive": True}


def _table(sweep: Sweep, figures: Sequence[str], baseline: int | None) -> Iterator[str]:
    tables = {figure: sweep.table(figure, baseline) for figure in figures}
    head = ["Point", *map(path_words, sweep.paths)]
    for figure in figures:
        head += [figure_of(figure).label, "95 % interval", "Difference"]
    yield "<table><thead><tr>" + "".join(f"<th>{_e(cell)}</th>" for cell in head) + "</tr></thead><tbody>"
    for point in sweep.points.index[:ROWS_MAX]:
        cells = [str(point), *(value(one) for one in sweep.points.loc[point])]
        for figure, table in tables.items():
            what, row = figure_of(figure), table.loc[point]
            apart = interval(what, row["difference_low"], row["difference_high"])
            cells += [number(what, row["mean"]), interval(what, row["low"], row["high"])]
            cells.append(f"{number(what, row['difference'])}{f' ({apart})' if apart else ''}")
        yield "<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in cells) + "</tr>"
    yield "</tbody></table>"
    base = sweep.points.index[0] if baseline is None else baseline
    yield (
        f'<p class="note">Intervals: 95 %, Student\'s t over the replications. Differences are from point {base}, from '
        "pairs of one seed (common random numbers).</p>"
    )
    if len(sweep.points) > ROWS_MAX:
        more = f"The first {ROWS_MAX} of {len(sweep.points):,} points; the Parquet file has them all."
        yield f'<p class="note">{more}</p>'
