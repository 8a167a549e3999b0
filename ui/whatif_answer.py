"""An answer on the page What-if: the verdict, four figures, the curves, and behind them all figures and the changes."""

from __future__ import annotations

import html
from typing import Final

import streamlit as st

from lab.whatif import Answer
from lab.whatif_page import diff_lines
from lab.whatif_words import grade, headline_cards, rows, verdict
from ui import compare_charts, text, whatif_model
from ui.whatif_deck import COLOURS

CSS: Final = """
<style>
.whatif {display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: .7rem; margin: .1rem 0 .2rem}
.whatif div {border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 10px;
  padding: .6rem .9rem}
.whatif h6 {font-size: .78rem; font-weight: 500; opacity: .7; margin: 0; padding: 0; letter-spacing: 0}
.whatif b {font-size: 1.5rem; font-weight: 650; letter-spacing: -.01em; font-variant-numeric: tabular-nums;
  line-height: 1.35; display: block}
.whatif small {font-size: .78rem; opacity: .75; font-variant-numeric: tabular-nums}
</style>
"""
CHART_KEYS: Final = ("depth", "throughput", "latency")


def show(found: Answer) -> None:
    """All of it but the real thing."""
    said = verdict(found)
    word = grade(found)
    first = f"#### {text.escape(said[0])} :{COLOURS[word.mood]}-badge[{text.escape(word.word)}]"
    st.markdown(first, anchors=False)
    if said[1:]:
        st.markdown(text.escape(" ".join(said[1:])))
    st.caption(f"In the model, means of {text.plural(len(found.seeds), 'pair')} of runs; in brackets 95 % intervals.")
    if found.failed_checks:
        st.error(
            f"{text.escape(', '.join(found.failed_checks))}: broken in some of these runs.",
            title="Checks broken",
            icon=":material/error:",
        )
    st.html(f'<div class="whatif">{"".join(_card(*one) for one in headline_cards(found))}</div>')
    with st.grid(3, min_column_width=340):
        charts = whatif_model.charts(found, dark=compare_charts.dark())
        for name, figure in zip(CHART_KEYS, charts, strict=True):
            compare_charts.chart(figure, f"whatif-{name}", f"whatif-{name}")
    shaded = "Shaded: while something is amiss. " if found.question.window_s is not None else ""
    st.caption(f"{shaded}Lines are means of the runs, bands their lowest and highest.")
    behind(found)


def _card(name: str, value: str, about: str) -> str:
    """One figure as HTML."""
    cells = (html.escape(part) for part in (name, value, about))
    return "<div><h6>{}</h6><b>{}</b><small>{}</small></div>".format(*cells)


def behind(found: Answer) -> None:
    """Every figure with its interval, and what was changed in the scenario."""
    figures, changes = st.columns(2, gap="large")
    with figures, st.expander("All figures", icon=":material/table_rows:"):
        names = [text.escape(name) for name in found.question.names]
        lines = ["| |" + "|".join([*names, "Change (95 %)"]) + "|", "|:--|--:|--:|--:|"]
        lines += ["|" + "|".join(text.escape(cell) for cell in row) + "|" for row in rows(found)]
        st.markdown("\n".join(lines))
        st.caption(_method(found))
    with changes, st.expander("What was changed", icon=":material/difference:"):
        for effect in found.question.effects:
            st.markdown(text.escape(effect.words))
        st.code("\n".join(diff_lines(found.question.before, found.question.after)), language="diff")


def _method(found: Answer) -> str:
    seeds = found.seeds
    return (
        f"{text.plural(len(seeds), 'pair')} of runs of the model, seeds {seeds[0]} to {seeds[-1]}: both of a pair meet "
        "the same tasks and the same draws, and the intervals are those of the differences between the pairs."
    )
