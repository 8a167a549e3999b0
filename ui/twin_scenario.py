"""One scenario of the prediction test: why the model is off, its curves over the live ones, and the worst tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lab import figures, figures_tasks, figures_twin, twin_page
from lab.stories import Span
from lab.twin_figures import BY_PATH
from ui import compare_charts, text, twin_results

TOLD = ("Figure", "Model", "Live", "Error", "Live's own spread")
EQUIVALENCE = "By equivalence (TOST)"
ANATOMY_PX = 320
"""As high as the scatter beside it."""


def show(data: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    """The scenario in full."""
    _head(data, one)
    far = twin_results.beyond(one)
    words = text.escape(text.sentence(one["anatomy"]["why"]))
    if far:
        labels = ", ".join(BY_PATH[path].figure.label for path in far)
        st.warning(f"**Beyond what may be off: {text.escape(labels)}.** {words}.", icon=":material/rule:")
    else:
        st.success(f"**Within what may be off.** {words}.", icon=":material/check_circle:")
    dark = compare_charts.dark()
    compare_charts.chart(figures_twin.overlay(one, dark=dark), "twin-overlay", f"{one['name']}-curves")
    _figures(one)
    left, right = st.columns(2)
    with left:
        st.markdown("##### Where the time of a task goes", anchors=False)
        _anatomy(one)
    with right:
        st.markdown("##### Task by task", anchors=False)
        compare_charts.chart(figures_twin.scatter(one, dark=dark), "twin-scatter", f"{one['name']}-tasks")
    st.caption(text.escape(twin_page.pairs_words(one)))
    _worst(one, dark=dark)


def _head(data: Mapping[str, Any], one: Mapping[str, Any]) -> None:
    names = [each["name"] for each in data["scenarios"]]
    place = names.index(one["name"])
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            st.button("All scenarios", icon=":material/arrow_back:", key="twin-back", on_click=_open, args=(None,))
            count = text.plural(int(one["tasks"]), "task")
            st.markdown(f"#### {text.escape(one['name'])} :gray-badge[{count}]", anchors=False, width="content")
        with st.container(horizontal=True, width="content"):
            for step, icon, key in (
                (-1, ":material/chevron_left:", "earlier"),
                (1, ":material/chevron_right:", "later"),
            ):
                other = names[(place + step) % len(names)]
                st.button("", icon=icon, key=f"twin-{key}", help=other, on_click=_open, args=(other,))
    st.markdown(text.escape(one["about"]))


def _open(name: str | None) -> None:
    if name is None:
        st.query_params.pop("scenario", None)
    else:
        st.query_params["scenario"] = name


def _figures(one: Mapping[str, Any]) -> None:
    """Those that are judged; the others, which are only told, below."""
    judged = {BY_PATH[path].figure.label: found for path, found in one["figures"].items() if found["judged"]}
    rows = twin_page.figure_rows(one)
    st.markdown("##### The figures", anchors=False)
    _table([_row(row, judged[row["Figure"]]) for row in rows if row["Figure"] in judged])
    others = [row for row in rows if row["Figure"] not in judged]
    if others:
        with st.expander(f"{text.plural(len(others), 'figure')} more, which are not judged"):
            _table([{name: row[name] for name in TOLD} for row in others])


def _row(row: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, str]:
    """The plain verdict beside the statistical one: one live run can be beyond, and never shown to be equivalent."""
    verdict = "✔ within" if found["within_allowance"] else "✘ beyond"
    return {"Figure": row["Figure"], "": verdict, **row, EQUIVALENCE: row["Verdict"]}


def _table(rows: Sequence[Mapping[str, str]]) -> None:
    shown = pd.DataFrame(rows).drop(columns="Verdict", errors="ignore")
    st.dataframe(shown, hide_index=True, width="stretch", height=compare_charts.table_px(len(rows)))


def _anatomy(one: Mapping[str, Any]) -> None:
    parts = one["anatomy"]["parts"]
    if parts["model"] and parts["live"]:
        means = {"Model": parts["model"], "Live": parts["live"]}
        drawn = figures_tasks.anatomy(means).update_layout(height=ANATOMY_PX, legend_y=-0.3, title=None, margin_t=16)
        compare_charts.chart(drawn, "twin-anatomy", f"{one['name']}-anatomy")
    else:
        st.caption("No task was completed.")


def _worst(one: Mapping[str, Any], *, dark: bool) -> None:
    """The ten tasks that are furthest apart; the story of the one that is chosen."""
    if not one["worst"]:
        return
    st.markdown("##### The tasks that are furthest apart", anchors=False)
    rows = twin_page.worst_rows(one)
    chosen = st.dataframe(
        pd.DataFrame(rows), hide_index=True, width="stretch", key=f"worst-{one['name']}", on_select="rerun",
        selection_mode="single-row", height=compare_charts.table_px(len(rows)),
    )  # fmt: skip
    picked = chosen["selection"]["rows"]
    task = one["worst"][picked[0] if picked and picked[0] < len(one["worst"]) else 0]
    st.markdown(f"Task {task['task']}, in the model and in live repeat {task['live_repeat']}:")
    told = {"Model": _spans(task["model"]), "Live": _spans(task["live"])}
    engines = (("Model", "sim"), ("Live", "live"))
    looks = [figures.Style(name, figures.ENGINE_COLOURS[engine, dark], "solid") for name, engine in engines]
    compare_charts.chart(figures_tasks.story(told, task["arrival_s"], looks), "twin-story", f"task-{task['task']}")


def _spans(spans: list[dict[str, Any]]) -> list[Span]:
    return [Span(**span) for span in spans]
