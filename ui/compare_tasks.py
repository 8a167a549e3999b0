"""Task by task: every task a point, those furthest apart in a list, and the story of the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lab import figures, figures_tasks, stories, units
from lab.headlines import Against, Column
from lab.record import Record
from lab.report import roles_of
from lab.stories import Span
from ui import compare_charts, text
from ui.compare_charts import Key
from ui.results import Result, name_of
from ui.shell import TASKS

WORST_SHOWN = 20
SCATTER, WORST = "scatter", "worst"


def show(key: Key, found: Result) -> None:
    """The tab: of two runs of the same tasks, or of one run alone."""
    if found.pairs:
        _pair(key, _chosen_pair(found))
        return
    if len(found.columns) > 1:
        st.caption("These runs had different tasks, so no task of one can be found in another. Here is one of them.")
        labels = [column.label for column in found.columns]
        place = st.selectbox("Run", range(len(labels)), format_func=labels.__getitem__, key="task-run")
        _alone(key, found.columns[place])
    else:
        _alone(key, found.base)


def _chosen_pair(found: Result) -> Against:
    """The first pair, or the one chosen where there are several."""
    if len(found.pairs) == 1:
        return found.pairs[0]
    words = [f"{one.column.label} and {one.base.label}" for one in found.pairs]
    about = "Runs of the same tasks can be compared task by task."
    place = st.selectbox("Runs", range(len(words)), format_func=words.__getitem__, key="task-pair", help=about)
    return found.pairs[place]


# ---- two runs --------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=8, show_spinner="Pairing the tasks …")
def _pairs(a: tuple[str, int], b: tuple[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(all pairs, the list of the worst with what made their difference). Read only."""
    first, second = compare_charts.record(*a), compare_charts.record(*b)
    pairs = stories.paired_tasks(first, second)
    ids = pairs["id"].head(WORST_SHOWN).tolist()
    told = stories.stories(first, ids), stories.stories(second, ids)
    worst = pairs.head(WORST_SHOWN).assign(made_of=[stories.why(told[0][one], told[1][one]) for one in ids])
    return pairs, worst


def _pair(key: Key, apart: Against) -> None:
    a, b = apart.column, apart.base
    pairs, worst = _pairs(_place(key, a.lead), _place(key, b.lead))
    if not len(pairs):
        st.info("No task was completed in both runs.", icon=":material/info:")
        return
    chosen = _asked(pairs, int(pairs["id"].iloc[0]))
    roles = roles_of(a.lead)

    def points() -> None:
        figure = figures_tasks.scatter(pairs, roles, (a.label, b.label), chosen)
        _scatter(figure, len(pairs))

    def listed() -> None:
        st.markdown("##### Furthest apart", anchors=False)
        rows = pd.DataFrame(
            {
                "Task": worst["id"],
                "Role": worst["role"].astype(str),
                "Difference": [_signed(value) for value in worst["difference_s"]],
                "Made of": worst["made_of"],
                a.label: worst["a_s"].map(units.seconds),
                b.label: worst["b_s"].map(units.seconds),
            }
        )
        _list(rows, worst["id"].tolist(), f"Latency in {a.label} − latency in {b.label}, the largest first.")

    _beside(points, listed)
    row = pairs[pairs["id"] == chosen].iloc[0]
    spans = {column.label: _told(_place(key, column.lead), chosen) for column in (a, b)}
    difference = f"{_signed(row['difference_s'])} in {a.label}"
    made = stories.why(spans[a.label], spans[b.label])
    _story(chosen, row, f"{difference}: {made}", spans, [a, b])


# ---- one run ---------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=8, show_spinner=False)
def _slowest(place: tuple[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(all completed tasks, the list of the slowest with where their time went). Read only."""
    record = compare_charts.record(*place)
    slowest = stories.slowest_tasks(record)
    ids = slowest["id"].head(WORST_SHOWN).tolist()
    told = stories.stories(record, ids)
    return slowest, slowest.head(WORST_SHOWN).assign(made_of=[stories.where(told[one]) for one in ids])


def _alone(key: Key, column: Column) -> None:
    place = _place(key, column.lead)
    tasks, worst = _slowest(place)
    if not len(tasks):
        st.info("No task was completed, so there is no latency to explain.", icon=":material/info:")
        return
    chosen = _asked(tasks, int(tasks["id"].iloc[0]))

    def points() -> None:
        _scatter(figures_tasks.over_time(tasks, roles_of(column.lead), chosen), len(tasks))

    def listed() -> None:
        st.markdown("##### Slowest", anchors=False)
        rows = pd.DataFrame(
            {
                "Task": worst["id"],
                "Role": worst["role"].astype(str),
                "Latency": worst["latency_s"].map(units.seconds),
                "Made of": worst["made_of"],
                "Attempts": worst["attempts"],
            }
        )
        _list(rows, worst["id"].tolist(), "The completed tasks that took longest.")

    _beside(points, listed)
    row = tasks[tasks["id"] == chosen].iloc[0]
    spans = _told(place, chosen)
    words = f"{units.seconds(row['latency_s'])}: {stories.where(spans)}"
    _story(chosen, row, words, {column.label: spans}, [column])


# ---- what both share -------------------------------------------------------------------------------------------------


def _place(key: Key, record: Record) -> tuple[str, int]:
    """The folder and time of a record among those of the key."""
    return next(one for one in key.records if one[0] == str(record.folder))


@st.cache_resource(max_entries=200, show_spinner=False)
def _told(place: tuple[str, int], task: int) -> list[Span]:
    return stories.stories(compare_charts.record(*place), [task])[task]


def _asked(tasks: pd.DataFrame, usual: int) -> int:
    """The task that the link asks for, if it is one of these."""
    asked = st.query_params.get("task", "")
    wanted = int(asked) if asked.isdecimal() and len(asked) < 10 else -1
    return wanted if (tasks["id"] == wanted).any() else usual


def _beside(points: Callable[[], None], listed: Callable[[], None]) -> None:
    left, right = st.columns([4, 6], gap="medium")
    with left:
        points()
    with right:
        listed()


def _scatter(figure: Any, tasks: int) -> None:
    compare_charts.chart(figure, SCATTER, "tasks", on_select=_take_point, selection_mode="points", width="stretch")
    drawn = min(tasks, figures_tasks.POINTS_MAX)
    thinned = ""
    if drawn < tasks:
        kept = f"the {figures_tasks.WORST_KEPT} most remarkable and an even sample of the others"
        thinned = f" {drawn:,} of {tasks:,} tasks are drawn: {kept}."
    st.caption(f"Click a point or a row for its story.{thinned}")


def _list(rows: pd.DataFrame, ids: Sequence[int], about: str) -> None:
    st.dataframe(
        rows,
        hide_index=True,
        height=286,
        key=WORST,
        on_select=lambda: _take_row(ids),
        selection_mode="single-row",
        column_config={
            "Task": st.column_config.NumberColumn(format="%d", width=56),
            "Role": st.column_config.TextColumn(width=110),
            "Made of": st.column_config.TextColumn(width=250),
        },
        alt=about,
    )
    st.caption(text.escape(about))


def _take_point() -> None:
    """The point that was clicked becomes the chosen task (a callback)."""
    points = st.session_state[SCATTER].selection.points
    data = next((point["customdata"] for point in points if point.get("customdata")), None)
    if data is not None:
        value = data[0] if isinstance(data, list | tuple) else next(iter(data.values()))
        st.query_params["task"] = str(int(value))


def _take_row(ids: Sequence[int]) -> None:
    rows = st.session_state[WORST].selection.rows
    if rows:
        st.query_params["task"] = str(ids[rows[0]])


def _story(task: int, row: Any, words: str, spans: dict[str, list[Span]], columns: Sequence[Column]) -> None:
    """The waterfall of the chosen task, and its spans in numbers."""
    with st.container(border=True):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            facts = f"{row['role']}, priority {row['priority']}, arrived at {units.seconds(row['arrival_s'])}"
            st.markdown(f"##### Task {task} :gray-badge[{text.escape(facts)}]", anchors=False, width="content")
            link = {"source": f"run:{name_of(columns[0].lead)}", "task": str(task)}
            st.page_link(TASKS.path, label="Whole history", icon=":material/history:", query_params=link)
        st.markdown(text.escape(text.sentence(words)))
        looks = figures.styles(
            [one.lead for one in columns], [one.label for one in columns], dark=compare_charts.dark()
        )
        figure = figures_tasks.story(spans, float(row["arrival_s"]), looks)
        compare_charts.chart(figure, "story", f"task-{task}")


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{units.seconds(value)}"
