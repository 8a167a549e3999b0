"""One or more runs as a self-contained HTML page: it fetches nothing, so it can be mailed, kept and read offline.

What each section says is computed from the records; where a record lacks something the section says so or is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from lab import figures, figures_tasks, findings, headlines, stories, units
from lab.checks import Check
from lab.errors import LabError
from lab.headlines import Against, Column
from lab.record import Record
from lab.report_page import PAGE, Drawing, Section, badge, cards, e, page, table
from lab.report_words import in_short, machines, profiles, rulebook

__all__ = ["PAGE", "difference_words", "facts", "report", "roles_of"]

STORIES_SHOWN: Final = 5
BESIDE_MAX: Final = 4
"""The checks of so many runs stand side by side."""
YAML_CHARS: Final = 110
CARDS: Final = ("throughput_per_s", "latency_s.p50", "latency_s.p95", "latency_s.p99", "tasks.dead", "rss_bytes.peak")
OVER_TIME: Final = (figures.throughput, figures.queue_depth, figures.rss)
OF_TASKS: Final = (figures.latency_ecdf, figures.latency_histogram)


def report(
    records: Sequence[Record], *, pool: bool = False, baseline: int | None = None, title: str = "", command: str = ""
) -> str:
    """The page: the verdict and the headline figures, the curves, where runs of the same tasks differ, checks, theory,
    and everything that it takes to run it again.

    With `pool`, replications are put together. `baseline` is the column (from 0) that the others are held against;
    None: `headlines.default_baseline`. `title` replaces the scenarios' names; `command` is what asked for the page.
    Everything that comes from a record is escaped.
    """
    columns = headlines.columns(records, pool=pool)
    base = columns[headlines.default_baseline(columns) if baseline is None else baseline]
    apart = [headlines.against(base, column) for column in columns if column is not base]
    names = ", ".join(dict.fromkeys(str(column.lead.info["scenario_name"]) for column in columns))
    draw = Drawing()
    made = f" Made by {command}." if command else ""
    return page(
        title or names,
        "Agent Mesh Lab · report",
        _header(columns, base, apart),
        (
            Section("In short", [f"<p>{e(said)}</p>" for said in in_short(columns, apart)]),
            Section("Headline figures", list(_headlines(columns, base, apart))),
            Section("Over time", [draw(build(*_all(columns))) for build in OVER_TIME]),
            Section("Latency", [*(draw(build(*_all(columns))) for build in OF_TASKS), *_anatomy(columns, draw)]),
            Section("Task by task", list(_tasks(apart, draw))),
            Section("Checks", list(_checks(columns))),
            Section("Theory", list(_theory(columns))),
            Section("Scenario", list(_scenarios(columns))),
            Section("Rulebook", list(rulebook(columns))),
            Section("Runs, machine, profile", [*_runs(columns), *machines(columns), *profiles(columns)]),
            Section("How to read this", [f'<p class="note">{e(_reading(columns, apart) + made)}</p>']),
        ),
    )


# ---- at the top ------------------------------------------------------------------------------------------------------


def _header(columns: Sequence[Column], base: Column, apart: Sequence[Against]) -> Iterator[str]:
    labels = " and ".join(column.label for column in columns)
    described = str(base.lead.info["scenario"].get("description") or "")
    yield f'<p class="lead">{e(labels)}{": " if described else "."}{e(described)}</p>'
    found = findings.verdicts(columns)
    broken = [one for one in found if one.broken]
    if broken:
        names = "; ".join(f"{one.label}: {', '.join(map(findings.name_of, one.broken))}" for one in broken)
        yield badge(f"✗ Checks broken. {names}", "bad")
    elif not any(one.stopped for one in found):
        yield badge(f"✓ All {len(found[0].checks)} checks hold", "good")
    early = [one.label for one in found if one.stopped]
    if early:
        yield badge(f"Stopped before the end: {', '.join(early)}. The rest is not judged.", "warn")
    yield cards(_card(path, base, apart) for path in CARDS)


def _card(path: str, base: Column, apart: Sequence[Against]) -> tuple[str, str, str]:
    """(figure, the baseline's value, the others' with their differences)."""
    figure = headlines.BY_PATH[path]
    others = [
        f"{one.column.label} {figure.written(one.column.value(path))} ({_plain_difference(one, path)})" for one in apart
    ]
    below = " · ".join([base.label, *others[:2]])
    return figure.label, figure.written(base.value(path)), below


def _plain_difference(apart: Against, path: str) -> str:
    found = apart.differences.get(path)
    return units.NONE if found is None else units.percent(found.relative)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _headlines(columns: Sequence[Column], base: Column, apart: Sequence[Against]) -> Iterator[str]:
    head = ["Figure", *(e(column.label) for column in columns)]
    head += [f"{e(one.column.label)} against {e(base.label)}" for one in apart]
    rows = []
    for figure in headlines.FIGURES:
        cells = [figure.written(column.value(figure.path), column.ci95(figure.path)) for column in columns]
        cells += [difference_words(one, figure.path) for one in apart]
        rows.append([f'<span title="{e(figure.about)}">{e(figure.label)}</span>', *map(e, cells)])
    yield table(head, rows)
    for one in apart:
        yield f'<p class="note">{e(one.column.label)}: {e(one.method)}.</p>'


def difference_words(apart: Against, path: str) -> str:
    """+1.2 % (−0.3 to +2.7 %), as far as it is known."""
    found = apart.differences.get(path)
    if found is None:
        return units.NONE
    interval = found.relative_ci95
    return units.percent(found.relative) + (f" ({units.percents(*interval)})" if interval else "")


def _all(columns: Sequence[Column]) -> tuple[list[Record], list[str]]:
    """All records, and the label of each."""
    records = [record for column in columns for record in column.records]
    return records, [column.label for column in columns for _ in column.records]


def _anatomy(columns: Sequence[Column], draw: Drawing) -> Iterator[str]:
    means = {column.label: stories.mean_s(column.lead) for column in columns}
    if all(means.values()):
        yield draw(figures_tasks.anatomy(means))


def _tasks(apart: Sequence[Against], draw: Drawing) -> Iterator[str]:
    """For the first pair that ran the same tasks: each task's latency in both, and the tasks furthest apart."""
    pair = next((one for one in apart if one.same_tasks), None)
    if pair is None:
        return
    a, b = pair.column, pair.base
    pairs = stories.paired_tasks(a.lead, b.lead)
    if not len(pairs):
        return
    yield f"<p>{e(a.label)} and {e(b.label)} ran the very same tasks: each is a point, on the diagonal they agree.</p>"
    yield draw(figures_tasks.scatter(pairs, roles_of(a.lead), (a.label, b.label)))
    worst = pairs.head(STORIES_SHOWN)
    ids = worst["id"].tolist()
    told = stories.stories(a.lead, ids), stories.stories(b.lead, ids)
    rows = [
        [f"{row['id']}", e(row["role"]), *(e(units.seconds(row[name])) for name in ("a_s", "b_s", "difference_s")),
         e(stories.why(told[0][row["id"]], told[1][row["id"]]))]
        for row in worst.to_dict("records")
    ]  # fmt: skip
    yield "<h3>The tasks furthest apart, and what made the difference</h3>"
    yield table(["Task", "Role", e(a.label), e(b.label), "Difference", "Made of"], rows, "words")
    looks = figures.styles([a.lead, b.lead], [a.label, b.label])
    arrival_s = float(worst["arrival_s"].iloc[0])
    yield f"<h3>The story of task {ids[0]}</h3>"
    yield draw(figures_tasks.story({a.label: told[0][ids[0]], b.label: told[1][ids[0]]}, arrival_s, looks))


def roles_of(record: Record) -> list[str]:
    """The roles in the order of the scenario."""
    return list(record.info["scenario"]["workload"]["roles"])


# ---- words -----------------------------------------------------------------------------------------------------------


def _checks(columns: Sequence[Column]) -> Iterator[str]:
    """A row a check, a column a run; of many runs a row for each of them."""
    verdicts = findings.verdicts(columns)
    if len(verdicts) <= BESIDE_MAX:
        rows = [
            [e(findings.name_of(checks[0])), *(_found(check) for check in checks), e(checks[0].claim)]
            for checks in zip(*(verdict.checks for verdict in verdicts), strict=True)
        ]
        yield table(["Check", *(e(verdict.label) for verdict in verdicts), "The rule"], rows, "words")
        return
    rows = [
        [e(findings.name_of(check)), e(verdict.label), _found(check), e(check.claim)]
        for verdict in verdicts
        for check in verdict.checks
    ]
    yield table(["Check", "Run", "Found", "The rule"], rows, "words")


def _found(check: Check) -> str:
    """What one check has seen. HTML."""
    if check.ok:
        return f"✓ {e(check.found)}"
    return f"<b>✗ {e(check.found)}</b> {e(findings.examples(check))}"


def _theory(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        for law in findings.laws([column]):
            yield f"<h3>{e(law.label)}: {e(law.law or 'nothing to compare with')}</h3>"
            yield f"<p>{e(findings.KIND_WORDS.get(law.kind, ''))} {e(law.reason[:1].upper() + law.reason[1:])}.</p>"
            rows = [
                [e(row.label), e(row.law), e(row.runs[0].value), e(row.runs[0].z_words)]
                for row in findings.theory_rows([column])
            ]
            if rows:
                yield table(["Figure", "Law", "Run", "z"], rows)
                note = f"{law.note[:1].upper()}{law.note[1:]}." if law.note else ""
                yield f'<p class="note">z: {e(findings.Z_ABOUT)} {e(note)}</p>'


def _scenarios(columns: Sequence[Column]) -> Iterator[str]:
    """Each scenario once; of those that differ, first where they do."""
    seen: list[Any] = []
    labels = []
    for column in columns:
        scenario = _written(column.lead)
        if scenario not in seen:
            seen.append(scenario)
            labels.append(column.label)
    if len(seen) > 1:
        trees = [dict(headlines.leaves(one)) for one in seen]
        paths = [path for path in dict.fromkeys(path for tree in trees for path in tree)]
        rows = [[f"<code>{e(path)}</code>", *(e(tree.get(path, units.NONE)) for tree in trees)] for path in paths]
        yield "<p>Where they differ:</p>"
        yield table(["Path", *map(e, labels)], [row for row in rows if len(set(row[1:])) > 1], "words")
    for label, scenario in zip(labels, seen, strict=True):
        if len(seen) > 1:
            yield f"<h3>{e(label)}</h3>"
        yield f"<pre>{e(_yaml(scenario))}</pre>"


def _yaml(scenario: Any) -> str:
    """A scenario as people write it: what has no parts of its own stands in one line."""
    return yaml.safe_dump(scenario, sort_keys=False, allow_unicode=True, default_flow_style=None, width=YAML_CHARS)


def _written(record: Record) -> Any:
    """The scenario with numbers as keys, which JSON has not; as it stands there if another version wrote it."""
    try:
        return record.scenario.data
    except LabError:
        return record.info["scenario"]


def _runs(columns: Sequence[Column]) -> Iterator[str]:
    rows = [[e(column.label), *map(e, facts(record).values())] for column in columns for record in column.records]
    yield table(["", *map(e, facts(columns[0].lead))], rows, "words")


def facts(record: Record) -> dict[str, str]:
    """Which run it is."""
    info = record.info
    return {
        "Run": str(info.get("run_id")),
        "Seed": str(info.get("seed")),
        "Started": str(info.get("started_at", ""))[:19].replace("T", " "),
        "Wall time": units.seconds(info.get("wall_s")),
        "Digest of the tasks' fates": str(info.get("digest", ""))[:16],
    }


def _reading(columns: Sequence[Column], apart: Sequence[Against]) -> str:
    """What is known of chance, and where everything can be looked up."""
    runs = sum(len(column.records) for column in columns)
    known = "Intervals are 95 %." if apart or runs > len(columns) else "One run: it says nothing of other seeds."
    return (
        f"{known} Latency is counted from a task's scheduled arrival to its completion, throughput is completions over "
        "the time from the first arrival to the last completion. The page needs no network; on paper, or where scripts "
        "do not run, its figures are still pictures."
    )
