"""The prediction test as one HTML page that fetches nothing: verdict, errors, every scenario, the worst tasks."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from lab import figures_twin, units
from lab.report import PAGE
from lab.twin_figures import BY_PATH, COUNT_FLOOR, DRAIN_FLOOR_S, WAIT_FLOOR_S

P_SMALL: Final = 0.001


def page(data: Mapping[str, Any]) -> str:
    """The whole page. Everything that comes from a scenario is escaped."""
    body = [
        "<h1>How far the model may be trusted</h1>",
        f'<p class="lead">{_e(lead(data))}</p>',
        *_verdict(data),
        *_summary(data),
        *_forest(data),
        *(line for one in data["scenarios"] for line in _scenario(one)),
        *_method(data),
    ]
    return PAGE.format(title="Agent Mesh Lab: the prediction test", body="\n".join(body))


def lead(data: Mapping[str, Any]) -> str:
    """What was done, in a sentence."""
    cores = units.plural(int(data["machine"]["cores"]), "core")
    return (
        f"{units.plural(len(data['scenarios']), 'scenario')}, each once in the model and "
        f"{units.plural(data['repeats'], 'time')} live, on a machine of {cores}, {data['started_at'][:10]}. "
        f"Profile “{data['profile']['name']}”: {' '.join(data['profile']['measured'].split())}"
    )


def _e(text: object) -> str:
    return html.escape(str(text))


def _table(head: Sequence[str], rows: Sequence[Sequence[object]], kind: str = "") -> str:
    top = "".join(f"<th>{_e(cell)}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _drawn(figure: go.Figure, *, first: bool = False) -> str:
    figure.update_layout(template="plotly_white", width=None)
    config = {"displaylogo": False, "responsive": True}
    drawn = figure.to_html(full_html=False, include_plotlyjs=first, config=config, default_width="100%")
    return f'<div class="figure">{drawn}</div>'


def _verdict(data: Mapping[str, Any]) -> Iterator[str]:
    if data["ok"]:
        yield '<p class="verdict good">✓ Every aim is met, and no scenario is beyond its allowance</p>'
    else:
        summary = data["summary"]
        wrong = [*summary["missed"], *(f"a check failed in {one}" for one in summary["broken"])]
        yield f'<p class="verdict bad">✗ {_e("; ".join(wrong))}</p>'
    if not data["complete"]:
        yield '<p class="note">The test was stopped before all runs were made.</p>'


def summary_rows(data: Mapping[str, Any]) -> list[dict[str, str]]:
    """The summary as people read it, a row a figure."""
    rows = []
    for path, row in data["summary"]["figures"].items():
        verdicts = ", ".join(f"{count} {word}" for word, count in row["verdicts"].items() if count)
        rows.append(
            {
                "Figure": BY_PATH[path].figure.label,
                "Median error": _size(row["median_error"]),
                "Aim": _size(row["aim"]),
                "": "✓ met" if row["met"] else "✗ missed",
                "Worst scenario": f"{row['worst']} {units.percent(row['worst_error'])}",
                "Allowed there": f"±{_size(row['worst_allowance'])}",
                "By equivalence": verdicts,
            }
        )
    return rows


def _summary(data: Mapping[str, Any]) -> Iterator[str]:
    rows = summary_rows(data)
    if rows:
        yield "<h2>The aims</h2>"
        yield _table(list(rows[0]), [list(row.values()) for row in rows], "words")


def _forest(data: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>The error of every scenario</h2>"
    yield "<p>Model against live. Dark: the aim. Light: what that scenario may be off by. Bars: 90 % intervals.</p>"
    yield _drawn(figures_twin.forest(data), first=True)


def _scenario(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2>{_e(one['name'])}</h2><p>{_e(one['about'])}</p>"
    yield f"<p><b>{_e(one['anatomy']['why'])}</b></p>"
    rows = figure_rows(one)
    yield _table(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""
    yield f'<p class="note">{_e(pairs_words(one))}</p>'
    yield _drawn(figures_twin.overlay(one))
    yield _drawn(figures_twin.scatter(one))
    if one["worst"]:
        yield "<details><summary>The ten tasks that are furthest apart</summary>"
        worst = worst_rows(one)
        yield _table(list(worst[0]), [list(row.values()) for row in worst], "words") + "</details>"


def figure_rows(one: Mapping[str, Any]) -> list[dict[str, str]]:
    """The figures of a scenario, as people read them."""
    rows = []
    for path, found in one["figures"].items():
        if found["model"] == found["live_mean"] == 0:
            continue  # no retries, no reclaims: nothing to tell
        figure, test = BY_PATH[path].figure, found.get("at_allowance")
        interval = test and test["ci90"]
        rows.append(
            {
                "Figure": figure.label,
                "Model": figure.written(found["model"]),
                "Live": figure.written(found["live_mean"]),
                "Error": units.percent(found["error"]) + (" of a floor" if found["floored"] else ""),
                "90 % interval": units.percents(*interval) if interval else units.NONE,
                "Live's own spread": units.NONE if found["spread"] is None else f"±{_size(found['spread'])}",
                "Allowed": f"±{_size(found['allowance'])}" if found["judged"] else units.NONE,
                "Verdict": verdict_words(found),
            }
        )
    return rows


def verdict_words(found: Mapping[str, Any]) -> str:
    """Equivalent (p = 0.003), not shown (p = 0.2), different; nothing where nothing is judged."""
    if not found["judged"]:
        return units.NONE
    test = found["at_allowance"]
    p = test["p"]
    if p is None or test["verdict"] == "different":
        return str(test["verdict"])
    return f"{test['verdict']} ({'p < 0.001' if p < P_SMALL else f'p = {p:.2g}'})"


def pairs_words(one: Mapping[str, Any]) -> str:
    """Task by task, and in bins of a second."""
    pairs, bins = one["paired"], one["bins"]
    if not pairs["tasks"]:
        return "no task was completed by both"
    words = (
        f"Task by task ({pairs['tasks']:,}): mean difference {units.seconds(pairs['mean_s'])}, half within "
        f"{units.seconds(pairs['p50_abs_s'])}, 95 % within {units.seconds(pairs['p95_abs_s'])}"
    )
    if pairs["live_p95_abs_s"] is not None:
        words += f" (two live runs: {units.seconds(pairs['live_p95_abs_s'])})"
    if pairs["correlation"] is not None:
        words += f", correlation {pairs['correlation']:.3f}"
    words += f". Completions in bins of 1 s: bias {units.percent(bins['bias'])}, mean error {_size(bins['error'])}"
    return f"{words} (two live runs: {_size(bins['live_error'])})." if bins["live_error"] is not None else f"{words}."


def worst_rows(one: Mapping[str, Any]) -> list[dict[str, str]]:
    """The tasks that are furthest apart, and what made the difference."""
    return [
        {
            "Task": str(task["task"]),
            "Role": task["role"],
            "Queue": task["queue"],
            "Arrival": units.seconds(task["arrival_s"]),
            "Model": units.seconds(task["model_s"]),
            "Live": " / ".join(units.seconds(value) for value in task["live_s"]),
            "Difference": units.seconds(task["difference_s"]),
            "Made of": task["why"],
        }
        for task in one["worst"]
    ]


def _method(data: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>How it is judged</h2>"
    yield f"<p>{_e(METHOD)}</p>"
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    yield f'<p class="note">{_e(versions)}</p>'


METHOD = (
    "Error = model / mean of the live repeats − 1. Every run has the same seed and tasks; live runs are shuffled. A "
    "scenario may be off by three times the aim, or by the live system's own spread (the largest deviation of a "
    "repeat from their mean), if that is larger. Verdicts by equivalence: two one-sided t tests at 5 % on the log "
    "ratios, the repeats being the sample; “equivalent” only if the 90 % interval lies within the allowance, "
    "“different” only if it lies outside, and “not shown” between. Values near 0 are told as shares of a floor: waits "
    f"of {units.seconds(WAIT_FLOOR_S)}, drains of {units.seconds(DRAIN_FLOOR_S)}, counts of {COUNT_FLOOR:g} tasks."
)


def _size(value: float | None) -> str:
    return units.percent(value).lstrip("+") if value is not None else units.NONE
