"""The first look at runs side by side: verdict, headline figures with their differences, the curves."""

from __future__ import annotations

import html
from collections.abc import Iterator

import streamlit as st

from lab import figures, findings, headlines, report, units
from lab.headlines import Column
from ui import compare_charts, palette, text
from ui.compare_charts import BESIDE, OVERLAID, Key
from ui.results import Result, chance, difference_head, ids_of, paired, table

CARDS = ("throughput_per_s", "latency_s.p50", "latency_s.p95", "latency_s.p99", "rss_bytes.peak")
CARD_RUNS_MAX = 4
"""Runs that a card tells of; the table below tells of all."""
CSS = """
<style>
.verdict {display: flex; flex-wrap: wrap; gap: .3rem .6rem; align-items: center; margin: 0 0 .6rem; font-size: .85rem}
.verdict .words {opacity: .7}
.cards {display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: .6rem; margin: 0}
.card {border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 8px; padding: .45rem .7rem}
.card {overflow: hidden}
.card h6 {font-size: .78rem; font-weight: 500; opacity: .7; margin: 0 0 .15rem; padding: 0; letter-spacing: 0}
.card .run {display: flex; align-items: baseline; gap: .4rem; line-height: 1.4; white-space: nowrap}
.card .dot {width: .55rem; height: .55rem; border-radius: 50%; flex: none}
.card .value {font-size: .95rem; font-variant-numeric: tabular-nums}
.card .base .value {font-size: 1.25rem; font-weight: 600}
.card .who {font-size: .72rem; opacity: .7; overflow: hidden; text-overflow: ellipsis; min-width: 0}
.card .apart {font-size: .69rem; opacity: .85; line-height: 1.3; letter-spacing: -.01em}
.card .apart {font-variant-numeric: tabular-nums; white-space: nowrap; overflow: hidden; text-overflow: ellipsis}
</style>
"""


def show(key: Key, found: Result) -> None:
    """The tab."""
    verdict(found)
    beside = layout(found, st.session_state.get("layout"))
    kinds = ("throughput", "queue-depth")
    with st.grid(2, min_column_width="auto" if beside else 380):
        for kind in kinds:
            _curves(key, kind, beside)
    _figures(found)
    with st.grid(2, min_column_width="auto" if beside else 380):
        _curves(key, "memory", beside)
        anatomy = compare_charts.anatomy(key)
        if anatomy is not None:
            compare_charts.chart(anatomy, "anatomy", "where-the-time-went")


def layout(found: Result, chosen: str | None) -> bool:
    """Whether the curves are drawn beside each other rather than overlaid."""
    return can_lie_beside(found) and chosen == BESIDE


def can_lie_beside(found: Result) -> bool:
    """Whether there are several runs, and few enough to have a chart each."""
    return 1 < len(found.columns) <= compare_charts.BESIDE_MAX


def layout_switch() -> None:
    """The choice between one chart for all and one for each; it stands beside the tabs."""
    about = "All runs in one chart, or each in one of its own with the same axes."
    compare_charts.switch("Charts", (OVERLAID, BESIDE), "layout", about)


def _curves(key: Key, kind: str, beside: bool) -> None:
    for place, figure in enumerate(compare_charts.curves(key, kind, beside, compare_charts.dark())):
        compare_charts.chart(figure, f"chart-{kind}-{place}-{beside}", kind)


# ---- verdict ---------------------------------------------------------------------------------------------------------


def verdict(found: Result) -> None:
    """The checks in plain words, one green line, or what broke and where to look; and the figures at a glance."""
    said = findings.verdicts(found.columns)
    held = [one for one in said if not one.broken and not one.stopped]
    if len(held) == len(said):
        words = "nothing lost, nothing completed twice, rules and order kept"
        mark = f'<span style="color:{palette.GOOD}">✔</span>'
        line = f'{mark}<b>All {len(held[0].checks)} checks hold</b><span class="words">{words}</span>'
        st.html(f'<div class="verdict">{line}</div>{_cards(found)}')
        return
    for one in said:
        if one.stopped:
            kept = "no rule was broken until then" if not one.broken else "the rules broken until then are below"
            words = f"**{text.escape(one.label)} was stopped before its end**: {kept}; the rest is not judged."
            st.warning(words, icon=":material/stop_circle:")
        if one.broken:
            lines = [
                f"- **{text.escape(findings.name_of(check))}**: {text.escape(check.found)}. "
                f"{findings.examples(check)} The rule: {text.escape(check.claim)}"
                for check in one.broken
            ]
            title = f"{one.label}: {len(one.broken)} of {len(one.checks)} checks broken"
            st.error("\n".join(lines), title=text.escape(title), icon=":material/error:")
    st.html(_cards(found))


# ---- figures at a glance ---------------------------------------------------------------------------------------------


def _cards(found: Result) -> str:
    """A card a figure: the baseline's value, and beneath it each other run's with its difference. HTML."""
    looks = {style.label: style for style in figures.styles(found.records, found.labels, dark=compare_charts.dark())}
    inside = "".join(_card(found, headlines.BY_PATH[path], looks) for path in CARDS)
    return f'<div class="cards">{inside}</div>'


def _card(found: Result, figure: headlines.Figure, looks: dict[str, figures.Style]) -> str:
    others = [column for column in found.columns if column is not found.base]
    rows = "".join(_rows(found, figure, [found.base, *others[: CARD_RUNS_MAX - 1]], looks))
    return f'<div class="card" title="{html.escape(figure.about)}"><h6>{html.escape(figure.label)}</h6>{rows}</div>'


def _rows(
    found: Result, figure: headlines.Figure, shown: list[Column], looks: dict[str, figures.Style]
) -> Iterator[str]:
    for column in shown:
        base = column is found.base
        colour = looks[figures.shown(column.label)].colour
        value = html.escape(figure.written(column.value(figure.path)))
        who = html.escape(column.label)
        cells = f'<span class="dot" style="background:{colour}"></span><span class="value">{value}</span>'
        cells += f'<span class="who" title="{who}">{who}</span>'
        yield f'<div class="run{" base" if base else ""}">{cells}</div>'
        words = _apart(found, column, figure)
        if words:
            yield f'<div class="apart">{html.escape(words)}</div>'


def _apart(found: Result, column: Column, figure: headlines.Figure) -> str:
    """The baseline's interval, or another run's difference from it with its interval; as far as they are known."""
    if column is found.base:
        interval = column.ci95(figure.path)
        write = units.WRITTEN[figure.unit]
        return units.interval(write(interval[0]), write(interval[1])) if interval else ""
    apart = next(one for one in found.apart if one.column is column)
    return report.difference_words(apart, figure.path) if figure.path in apart.differences else ""


# ---- all figures -----------------------------------------------------------------------------------------------------


def _figures(found: Result) -> None:
    """The table of all headline figures, what is known of chance, and the choice of the baseline."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.markdown("##### Headline figures", anchors=False)
        if len(found.columns) > 1:
            _baseline(found)
    frame(found, tuple(headlines.BY_PATH), "figures")
    st.caption(text.escape(chance(found)))
    for one in found.pairs[:CARD_RUNS_MAX]:
        if said := paired(one):
            st.caption(text.escape(said))


def _baseline(found: Result) -> None:
    """Which run the others are held against; it is part of the link."""
    names = [ids_of(column)[0] for column in found.columns]
    labels = {name: column.label for name, column in zip(names, found.columns, strict=True)}
    st.selectbox(
        "Baseline",
        names,
        index=found.baseline,
        format_func=lambda name: f"Against {labels[name]}",
        key=f"baseline-{'-'.join(names)}",
        on_change=_pin,
        args=(f"baseline-{'-'.join(names)}",),
        help="The run that the others are held against.",
        label_visibility="collapsed",
        width=260,
    )


def _pin(key: str) -> None:
    st.query_params["baseline"] = st.session_state[key]


def frame(found: Result, paths: tuple[str, ...], key: str) -> None:
    """Some headline figures as a table."""
    shown = table(found, paths)
    columns = {"Figure": st.column_config.TextColumn(width="medium", pinned=True)}
    heads = {difference_head(found, one): one for one in found.apart}
    for name in shown.columns[1:]:
        about = "The figure of the run, with its 95 % interval where it has one."
        if one := heads.get(name):
            about = f"{one.column.label} ÷ {one.base.label} − 1, with the 95 % interval of the difference."
        columns[name] = st.column_config.TextColumn(alignment="right", help=text.escape(about))
    height = compare_charts.table_px(len(shown))
    st.dataframe(shown, hide_index=True, column_config=columns, height=height, key=key, alt="Headline figures")
