"""One or more runs as a self-contained HTML page: it fetches nothing, so it can be mailed, kept and read offline."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any, Final

import plotly.graph_objects as go
import yaml

from lab import figures, figures_tasks, findings, headlines, stories, units
from lab.headlines import Against, Column
from lab.record import Record

STORIES_SHOWN: Final = 5
CURVES: Final = (
    figures.throughput,
    figures.queue_depth,
    figures.latency_ecdf,
    figures.latency_histogram,
    figures.rss,
)
PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data: blob:">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ max-width: 72rem; margin: 2rem auto; padding: 0 1.25rem; color: #1f2430; }}
body {{ font: 15px/1.55 system-ui, sans-serif; }}
h1 {{ font-size: 1.7rem; margin: 0; }} h2 {{ font-size: 1.15rem; margin: 2.6rem 0 0.6rem; }}
.lead, .note {{ color: #5b6472; }} .note {{ font-size: 0.85rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.9rem; }}
th, td {{ padding: 0.35rem 0.75rem; border-bottom: 1px solid #e6e8ec; text-align: right; vertical-align: top; }}
th {{ color: #5b6472; font-weight: 600; }} .words th:not(.n), .words td:not(.n), th:first-child, td:first-child \
{{ text-align: left; }}
.verdict {{ display: inline-block; margin: 1rem 0 0; padding: 0.4rem 0.8rem; border-radius: 6px; font-weight: 600; }}
.good {{ background: #e6f4ec; color: #17683a; }} .bad {{ background: #fbe9e9; color: #a02020; }}
pre {{ overflow-x: auto; background: #f6f7f9; padding: 1rem; border-radius: 6px; font-size: 0.8rem; }}
.figure {{ margin: 0.5rem 0; break-inside: avoid; }}
@media print {{ body {{ max-width: none; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def report(records: Sequence[Record], *, pool: bool = False, baseline: int | None = None) -> str:
    """The page: scenario, verdict, headline figures with their differences, curves, tasks, checks, theory, rulebook.

    With `pool`, replications are put together. `baseline` is the column (from 0) that the others are held against;
    None: `headlines.default_baseline`. Everything that comes from a record is escaped.
    """
    columns = headlines.columns(records, pool=pool)
    base = columns[headlines.default_baseline(columns) if baseline is None else baseline]
    apart = [headlines.against(base, column) for column in columns if column is not base]
    title = ", ".join(dict.fromkeys(str(column.lead.info["scenario_name"]) for column in columns))
    body = [
        f"<h1>{_e(title)}</h1>",
        f'<p class="lead">Agent Mesh Lab: {_e(" and ".join(column.label for column in columns))}</p>',
        *_verdict(columns),
        *_headlines(columns, base, apart),
        *_curves(columns),
        *_tasks(columns, apart),
        *_checks(columns),
        *_theory(columns),
        *_scenarios(columns),
        *_runs(columns),
    ]
    return PAGE.format(title=_e(title), body="\n".join(body))


def _e(text: object) -> str:
    return html.escape(str(text))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _verdict(columns: Sequence[Column]) -> Iterator[str]:
    found = findings.verdicts(columns)
    broken = [one for one in found if one.broken]
    early = [one.label for one in found if one.stopped]
    if broken:
        names = "; ".join(f"{one.label}: {', '.join(map(findings.name_of, one.broken))}" for one in broken)
        yield f'<p class="verdict bad">✗ Checks broken. {_e(names)}</p>'
    elif not early:
        yield f'<p class="verdict good">✓ All {len(found[0].checks)} checks hold</p>'
    if early:
        yield f'<p class="note">Stopped before the end: {_e(", ".join(early))}. The rest is not judged.</p>'


# ---- figures ---------------------------------------------------------------------------------------------------------


def _headlines(columns: Sequence[Column], base: Column, apart: Sequence[Against]) -> Iterator[str]:
    yield "<h2>Headline figures</h2>"
    head = ["Figure", *(_e(column.label) for column in columns)]
    head += [f"{_e(one.column.label)} against {_e(base.label)}" for one in apart]
    rows = []
    for figure in headlines.FIGURES:
        cells = [figure.written(column.value(figure.path), column.ci95(figure.path)) for column in columns]
        cells += [difference_words(one, figure.path) for one in apart]
        rows.append([f'<span title="{_e(figure.about)}">{_e(figure.label)}</span>', *map(_e, cells)])
    yield _table(head, rows)
    for one in apart:
        yield f'<p class="note">{_e(one.column.label)}: {_e(one.method)}.</p>'


def difference_words(apart: Against, path: str) -> str:
    """+1.2 % (−0.3 to +2.7 %), as far as it is known."""
    found = apart.differences.get(path)
    if found is None:
        return units.NONE
    interval = found.relative_ci95
    return units.percent(found.relative) + (f" ({units.percents(*interval)})" if interval else "")


def _curves(columns: Sequence[Column]) -> Iterator[str]:
    records = [record for column in columns for record in column.records]
    labels = [column.label for column in columns for _ in column.records]
    yield "<h2>Curves</h2>"
    for place, build in enumerate(CURVES):
        yield _drawn(build(records, labels), first=place == 0)
    means = {column.label: stories.mean_s(column.lead) for column in columns}
    if all(means.values()):
        yield _drawn(figures_tasks.anatomy(means))


def _drawn(figure: go.Figure, *, first: bool = False) -> str:
    """A figure; the first one brings the library for all."""
    figure.update_layout(template="plotly_white", width=None)
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=first, config={"displaylogo": False, "responsive": True}, default_width="100%"
    )
    return f'<div class="figure">{drawn}</div>'


def _tasks(columns: Sequence[Column], apart: Sequence[Against]) -> Iterator[str]:
    """Task by task, for the first pair that ran the same tasks."""
    pair = next((one for one in apart if one.same_tasks), None)
    if pair is None:
        return
    a, b = pair.column, pair.base
    pairs = stories.paired_tasks(a.lead, b.lead)
    if not len(pairs):
        return
    yield f"<h2>Task by task: {_e(a.label)} and {_e(b.label)}</h2>"
    yield _drawn(figures_tasks.scatter(pairs, roles_of(a.lead), (a.label, b.label)))
    worst = pairs.head(STORIES_SHOWN)
    ids = worst["id"].tolist()
    told = stories.stories(a.lead, ids), stories.stories(b.lead, ids)
    rows = [
        [f"{row['id']}", _e(row["role"]), *(_e(units.seconds(row[name])) for name in ("a_s", "b_s", "difference_s")),
         _e(stories.why(told[0][row["id"]], told[1][row["id"]]))]
        for row in worst.to_dict("records")
    ]  # fmt: skip
    yield "<p>The tasks furthest apart, and what made the difference:</p>"
    yield _table(["Task", "Role", _e(a.label), _e(b.label), "Difference", "Made of"], rows, "words")
    looks = figures.styles([a.lead, b.lead], [a.label, b.label])
    arrival_s = float(worst["arrival_s"].iloc[0])
    yield f"<p>The story of task {ids[0]}:</p>"
    yield _drawn(figures_tasks.story({a.label: told[0][ids[0]], b.label: told[1][ids[0]]}, arrival_s, looks))


def roles_of(record: Record) -> list[str]:
    """The roles in the order of the scenario."""
    return list(record.info["scenario"]["workload"]["roles"])


# ---- words -----------------------------------------------------------------------------------------------------------


def _checks(columns: Sequence[Column]) -> Iterator[str]:
    yield "<h2>Checks</h2>"
    rows = [
        ["✓" if check.ok else "<b>✗</b>", _e(findings.name_of(check)), _e(verdict.label), _e(check.found),
         _e(f"{check.claim} {findings.examples(check)}")]
        for verdict in findings.verdicts(columns)
        for check in verdict.checks
    ]  # fmt: skip
    yield _table(["", "Check", "Run", "Found", "The rule"], rows, "words")


def _theory(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        for law in findings.laws([column]):
            yield f"<h2>Theory, {_e(law.label)}: {_e(law.law or 'nothing to compare with')}</h2>"
            yield f"<p>{_e(findings.KIND_WORDS.get(law.kind, ''))} {_e(law.reason)}.</p>"
            rows = [
                [_e(row.label), _e(row.law), _e(row.runs[0].value), _e(row.runs[0].z_words)]
                for row in findings.theory_rows([column])
            ]
            if rows:
                yield _table(["Figure", "Law", "Run", "z"], rows)
                yield f'<p class="note">z: {_e(findings.Z_ABOUT)} {_e(law.note or "")}</p>'


def _scenarios(columns: Sequence[Column]) -> Iterator[str]:
    """Each scenario once, with the rulebook that it comes to."""
    seen: list[Any] = []
    for column in columns:
        info = column.lead.info
        if info["scenario"] not in seen:
            seen.append(info["scenario"])
            yield f"<h2>Scenario, {_e(column.label)}</h2>"
            yield f"<pre>{_e(_yaml(info['scenario']))}</pre>"
            rulebook = _e(_yaml(info["rulebook"]))
            yield f"<details><summary>Its rulebook, every value</summary><pre>{rulebook}</pre></details>"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _runs(columns: Sequence[Column]) -> Iterator[str]:
    yield "<h2>Runs</h2>"
    rows = [[_e(column.label), *map(_e, facts(record).values())] for column in columns for record in column.records]
    yield _table(["", *map(_e, facts(columns[0].lead))], rows, "words")


def facts(record: Record) -> dict[str, str]:
    """Where a run comes from."""
    info = record.info
    machine, versions = info.get("machine") or {}, info.get("versions") or {}
    return {
        "Run": str(info.get("run_id")),
        "Seed": str(info.get("seed")),
        "Started": str(info.get("started_at", "")),
        "Wall time": units.seconds(info.get("wall_s")),
        "Machine": f"{machine.get('cores')} cores, {machine.get('system')} {machine.get('architecture')}",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Digest": str(info.get("digest", ""))[:16],
    }
