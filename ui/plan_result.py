"""A plan on the page Plan: the mesh in large letters, how sure it is, the frontier, and every candidate."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import streamlit as st

from lab import units
from lab.figures_planning import candidate, frontier
from lab.planning_objectives import FIGURES
from ui import compare_charts, text

CSS: Final = """
<style>
.plan {display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: .7rem; margin: .1rem 0 .2rem}
.plan div {border: 1px solid color-mix(in srgb, currentColor 16%, transparent); border-radius: 10px;
  padding: .6rem .9rem}
.plan h6 {font-size: .78rem; font-weight: 500; opacity: .7; margin: 0; padding: 0; letter-spacing: 0}
.plan b {font-size: 1.5rem; font-weight: 650; letter-spacing: -.01em; font-variant-numeric: tabular-nums;
  line-height: 1.35; display: block}
.plan small {font-size: .78rem; opacity: .75; font-variant-numeric: tabular-nums}
</style>
"""
BADGES: Final = {"yes": ("green", "meets the objectives"), "probably": ("orange", "probably meets them")}
SHOWN_ROWS: Final = 10


def answer(data: Mapping[str, Any]) -> None:
    """The mesh, its figures, and how sure they are."""
    winner = data["winner"]
    if winner is None:
        _none(data)
    else:
        colour, word = BADGES[winner["verdict"]]
        name = text.escape(candidate(winner).words)
        st.markdown(f"### {name} :{colour}-badge[{word}]", anchors=False)
        st.html(f'<div class="plan">{"".join(_card(*one) for one in _cards(data, winner))}</div>')
    _words(data)


def evidence(data: Mapping[str, Any], winner_file: Path) -> None:
    """The frontier and every candidate. `winner_file` is the scenario on the winner, if there is one."""
    st.markdown("##### What more money would buy", anchors=False)
    st.caption(
        "Each sign is a mesh under the same tasks, with its 95 % interval; point at one for its figures. Nothing on "
        "the frontier is beaten by anything cheaper. The dashed line is the objective."
    )
    drawn = frontier(data, dark=compare_charts.dark()).update_layout(font_family=None)  # the page's own
    for one in data["objectives"]:  # on the left, where nothing that costs something is named
        drawn.update_annotations(x=0, xanchor="left", selector={"text": one["words"]})
    compare_charts.chart(drawn, "plan-frontier", "plan-frontier")
    st.markdown(f"##### All {len(data['candidates'])} meshes that were looked at", anchors=False)
    _table(data)
    if data["winner"] is not None and winner_file.is_file():
        st.download_button(
            "Scenario on this mesh", winner_file.read_text(encoding="utf-8"), file_name="winner.yaml",
            icon=":material/download:", key="plan-yaml", help="Runs with `meshlab run winner.yaml`.",
        )  # fmt: skip


def _none(data: Mapping[str, Any]) -> None:
    st.markdown("### No mesh meets the objectives :red-badge[not met]", anchors=False)
    st.markdown(text.escape(" ".join(data["words"][:3])))


def _words(data: Mapping[str, Any]) -> None:
    """What the cards do not say."""
    if not data["found"]:
        if data["words"][3:]:
            st.caption(text.escape(" ".join(data["words"][3:])))
        return
    *said, search = [text.escape(line) for line in data["words"][1:] if not line.startswith("Margin:")]
    st.markdown("\n".join(f"- {line}" for line in said))
    st.caption(f"{search} All of it is the model's word: confirm it live before you rely on it.")


def _card(name: str, value: str, about: str) -> str:
    """One figure as HTML."""
    cells = (html.escape(part) for part in (name, value, about))
    return "<div><h6>{}</h6><b>{}</b><small>{}</small></div>".format(*cells)


def _cards(data: Mapping[str, Any], winner: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, what stands below it) of each figure."""
    cards = [("Cost of an hour", f"{winner['cost_per_h']:,.2f}", _parts(data["prices"]))]
    bounds = {one["figure"]: one["most"] for one in data["objectives"]}
    for name, most in bounds.items():
        figure, found = FIGURES[name], winner["figures"][name]
        cards.append(
            (
                _title(figure.words),
                _shown(name, found["value"]),
                f"{_interval(name, found['ci95'])}≤ {figure.shown(most)}",
            )
        )
    met = winner["met_all"]
    if data["exact"]:
        cards.append(("Confidence", "exact", "nothing is left to chance"))
    else:
        low, high = met["p_ci95"]
        cards.append(
            (
                "Runs that meet it",
                f"{met['met']} of {met['runs']}",
                f"{100 * low:.0f} to {100 * high:.0f} % of all (95 %)",
            )
        )
    if data["margin"] is not None:
        cards.append(_margin(data["margin"]))
    return cards


def _title(words: str) -> str:
    """With a capital, but for the names of percentiles."""
    return words if words[1:2].isdigit() else text.sentence(words)


def _margin(margin: Mapping[str, Any]) -> tuple[str, str, str]:
    """How much more load it bears."""
    growth = f"{100 * (margin['factor'] - 1):+.0f} %".replace("-", "−")
    if margin["breaks"] is None:
        return "Margin to the cliff", f"over {growth}", "load, and nothing breaks"
    of_what = f"{FIGURES[margin['breaks']].words} breaks"
    if margin["ci95"] is None:
        return "Margin to the cliff", growth, of_what
    low, high = (f"{100 * (bound - 1):+.0f}".replace("-", "−") for bound in margin["ci95"])
    return "Margin to the cliff", f"{growth} load", f"{low} to {high} % (95 %) · {of_what}"


def _parts(prices: Mapping[str, float]) -> str:
    """`1 per worker, 0.2 per slot`."""
    return ", ".join(f"{price:g} per {name}" for name, price in prices.items() if price)


def _shown(name: str, value: float | None) -> str:
    return "never" if value is None else FIGURES[name].shown(value)


def _interval(name: str, ci95: list[float | None] | None) -> str:
    """`4.6 to 5.0 s · `, where there is one that can be seen."""
    if ci95 is None:
        return ""
    low, high = (_shown(name, bound) for bound in ci95)
    return "" if low == high else f"{units.interval(low, high)} · "


def _table(data: Mapping[str, Any]) -> None:
    """Every candidate, the cheapest first."""
    import pandas as pd

    rows = []
    for one in data["candidates"]:
        row: dict[str, Any] = {
            "": _mark(one, data["winner"]),
            "Mesh": candidate(one).words,
            "Cost/h": one["cost_per_h"],
        }
        for name, found in one["figures"].items():
            row[FIGURES[name].words] = f"{_shown(name, found['value'])}"
            row[f"95 % of {FIGURES[name].words}"] = _interval(name, found["ci95"]).removesuffix(" · ") or units.NONE
        met = one["met_all"]
        rows.append(row | {"Meets them": one["verdict"], "Runs that do": f"{met['met']} of {met['runs']}"})
    height = compare_charts.table_px(min(len(rows), SHOWN_ROWS))
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=height, key="plan-table")


def _mark(one: Mapping[str, Any], winner: Mapping[str, Any] | None) -> str:
    if winner is not None and candidate(one) == candidate(winner):
        return "★ winner"
    return "frontier" if one["frontier"] else ""
