"""The screen of dead letters and audit: choose a place, look at its tasks, read one task's history, operate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from lab.errors import LabError
from lab.limits import DESK_PAGES_MAX, PAGE_TASKS_MAX
from lab.record import now
from ui import palette, runs_table, shell, tasks_actions, tasks_detail, tasks_session, tasks_sources, text
from ui.runs_table import Column, Row
from ui.tasks_desks import ALL, DEAD, VIEWS, Desk, Query
from ui.tasks_sources import Source
from ui.tasks_story import Item, Page

TABLE = "tasks-table"
LOOK_S = 2.0
ID_DIGITS_MAX = 18
"""Ids are bigints; so many digits always fit."""
VIEW_WORDS = {DEAD: "Dead letters", ALL: "All tasks", "PENDING": "Waiting", "RUNNING": "Running"} | {
    "RETRY_WAIT": "Backing off",
    "COMPLETED": "Completed",
    "CANCELLED": "Cancelled",
}
STATE_LOOKS: dict[str, tuple[runs_table.Tone, str, str]] = {
    "PENDING": ("quiet", "…", "waiting"),
    "RUNNING": ("warn", "▶", "running"),
    "RETRY_WAIT": ("warn", "↻", "backing off"),
    "COMPLETED": ("good", "✓", "completed"),
    "PERMANENT_FAILURE": ("bad", "✕", "dead"),
    "CANCELLED": ("quiet", "■", "cancelled"),
    "REJECTED": ("quiet", "⊘", "rejected"),
    "NOT_SUBMITTED": ("quiet", "–", "never came"),
}


def screen() -> None:
    """The whole page."""
    tasks_actions.told()
    asked = st.query_params.get("source", "")
    sources = tasks_sources.available(
        tasks_session.place(), tasks_session.redrive_all, tasks_sources.standing_api(), asked
    )
    source = tasks_sources.chosen(sources, asked)
    if source is None:
        _nothing()
        return
    if asked and source.name != asked:
        _gone(asked)
    desk = tasks_sources.opened(source)
    query = _head(sources, source, [] if isinstance(desk, LabError) else _roles(desk))
    if not any(one.live for one in sources.values()):
        _nothing_live()
    if isinstance(desk, LabError):
        _away(desk)
        return
    _body(desk, source, query, _task_id() if asked in ("", source.name) else None)


def _body(desk: Desk, source: Source, query: Query, task_id: int | None) -> None:
    try:
        page = desk.page(query)
    except LabError as error:
        _away(error)
        return
    if task_id is None:
        _list(desk, source, query, page, None)
        return
    left, right = st.columns([4, 6], gap="medium")
    with left:
        _list(desk, source, query, page, task_id)
    with right:
        tasks_detail.panel(desk, source, task_id)


def _task_id() -> int | None:
    asked = st.query_params.get("task", "").lstrip("#")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= ID_DIGITS_MAX else None


# ---- nothing there ---------------------------------------------------------------------------------------------------


def _nothing() -> None:
    with st.container(horizontal_alignment="center", gap="small"):
        st.space("large")
        st.markdown("#### Nothing to look into yet", width="content", anchors=False)
        st.caption(
            "Dead letters and histories of tasks come from a live session, a standing mesh (`meshlab up`) or a run."
        )
        if st.button("Start a session", type="primary", icon=":material/hub:", key="start-session"):
            st.switch_page(shell.MESH.path)


def _nothing_live() -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            "Nothing is live now, so this is a saved run, to be read only. To redrive or discard, start a session "
            "on the Mesh page, or a standing mesh with `meshlab up`.",
            width="stretch",
        )
        if st.button("Start a session", icon=":material/hub:", key="start-session", type="tertiary"):
            st.switch_page(shell.MESH.path)


def _gone(asked: str) -> None:
    words = {"session": "The session is over", "mesh": "No standing mesh is running"}.get(
        asked, "That run is not here any more"
    )
    st.caption(f":material/info: {words}; shown instead is what there is now.")


def _away(error: LabError) -> None:
    with st.container(border=True):
        st.markdown(f":material/cloud_off: **{text.escape(text.sentence(str(error)))}**")
        st.caption("Saved runs can be read meanwhile: choose one above.")
        st.button("Look again", icon=":material/refresh:", key="again")


# ---- head ------------------------------------------------------------------------------------------------------------


def _head(sources: dict[str, Source], source: Source, roles: Sequence[str]) -> Query:
    """The line of filters; all but the words stand in the page's address."""
    place, view, role, words, task = st.columns([3.4, 1.6, 1.6, 2, 1.6], vertical_alignment="bottom")
    names = list(sources)
    place.selectbox(
        "Source",
        names,
        index=names.index(source.name),
        format_func=lambda name: sources[name].label,
        key=f"tasks-source-{source.name}",
        help="Where the tasks come from: the session of the Mesh page, the mesh of `meshlab up`, or a saved run.",
        on_change=lambda: _go(source=st.session_state[f"tasks-source-{source.name}"], task=None, role=None),
    )
    asked = st.query_params.get("view", DEAD)
    shown = asked if asked in VIEWS else DEAD
    view.selectbox(
        "Show",
        VIEWS,
        index=VIEWS.index(shown),
        format_func=lambda one: VIEW_WORDS[one],
        key=f"tasks-view-{shown}",
        on_change=lambda: _go(view=st.session_state[f"tasks-view-{shown}"]),
        help="Dead letters are tasks that failed for good and were not put aside.",
    )
    chosen = st.query_params.get("role", "")
    options = ["", *roles, *([chosen] if chosen and chosen not in roles else [])]
    role.selectbox(
        "Role",
        options,
        index=options.index(chosen),
        format_func=lambda one: one or "Any role",
        key=f"tasks-role-{chosen}",
        on_change=lambda: _go(role=st.session_state[f"tasks-role-{chosen}"]),
        help="The kind of agent that was to do it.",
    )
    typed = words.text_input(
        "Error says" if source.live else "Reason says",
        key="tasks-words",
        placeholder="timeout, 429, …" if source.live else "lease lapsed, …",
        live="300ms",
        help="Only tasks whose newest error contains these words.",
    )
    task.text_input(
        "Task id",
        key="tasks-find",
        placeholder="Find a task",
        icon=":material/search:",
        on_change=_find,
        help="Opens the history of the task with this id.",
    )
    cursor = st.session_state.get("tasks-cursor")
    here = (source.name, shown, chosen, typed)
    if cursor is None or cursor[0] != here:
        cursor = (here, [None])
        st.session_state["tasks-cursor"] = cursor
    return Query(shown, chosen, typed or "", cursor[1][-1])


def _find() -> None:
    found = "".join(st.session_state["tasks-find"].split()).lstrip("#")
    if found:
        _go(task=found)


def _go(**values: Any) -> None:
    """Change the page's address."""
    for name, value in values.items():
        if value:
            st.query_params[name] = str(value)
        else:
            st.query_params.pop(name, None)
    runs_table.forget(TABLE)


def _roles(desk: Desk) -> list[str]:
    """The roles of this place: as the scenario orders them, else those that were seen, by name."""
    seen: dict[str, set[str]] = st.session_state.setdefault("tasks-roles", {})
    return list(desk.roles) or sorted(seen.get(desk.source, ()))


def _saw(desk: Desk, page: Page) -> list[str]:
    """Remember the roles of a page, and return all."""
    seen: dict[str, set[str]] = st.session_state.setdefault("tasks-roles", {})
    seen.setdefault(desk.source, set()).update(item.role for item in page.items)
    return _roles(desk)


# ---- the list --------------------------------------------------------------------------------------------------------


def _list(desk: Desk, source: Source, query: Query, page: Page, current: int | None) -> None:
    roles = _saw(desk, page)
    if query.view == DEAD and desk.discards:
        tasks_actions.bar(desk, query, page, TABLE, lambda: _news(desk, query, page))
    elif source.live:
        _news(desk, query, page)
    if not page.items:
        _none(desk, query, page)
        return
    dead = query.view == DEAD
    columns = _columns(dead, narrow=current is not None, record=not source.live)
    foot = text.plural(len(page.items), "dead letter" if dead else "task")
    paged = page.next is not None or query.cursor is not None
    look = runs_table.Look(
        label=VIEW_WORDS[query.view],
        foot=f"{foot} on this page" if paged else foot,
        height=f"max(240px, calc(100vh - {376 if paged else 320}px))",
        page=f"{query}",
        choosable=dead and desk.discards,
        current="" if current is None else str(current),
        width="0" if current is not None else "700px",
        link="Copy link",
    )
    rows = [_row(item, roles) for item in page.items]
    runs_table.show(TABLE, columns, rows, look, runs_table.Actions(opened=lambda one: _go_task(desk.source, one)))
    _pages(page)


def _go_task(source: str, task_id: str) -> None:
    """Open a task; what is chosen stays."""
    st.query_params.update(source=source, task=task_id)


def _columns(dead: bool, *, narrow: bool, record: bool) -> list[Column]:
    """Beside an open task the list keeps what tells its rows apart."""
    columns = [Column("id", "Task", "link", "76px" if narrow else "110px")]
    columns.append(Column("role", "Role", "dot", "38%" if narrow else "170px"))
    if not dead:
        columns.append(Column("state", "State", "verdict", "108px"))
    why = "Why its last attempt ended; a record keeps no error texts" if record else "As its handler told it"
    columns.append(Column("error", "Last reason" if record else "Newest error", "text", "", why))
    if narrow:
        return columns
    columns.append(Column("worker", "Last worker", "text", "92px", "Who claimed it last"))
    columns.append(Column("priority", "Priority", "number", "76px", "1 to 5; 3 and above go to the high queue"))
    columns.append(Column("attempts", "Attempts", "number", "80px", "How often it was claimed"))
    since = "Seconds of the run when it ended" if record else "When it came into its state"
    return [*columns, Column("at", "Ended at" if record else "When", "when", "96px", since)]


def _row(item: Item, roles: Sequence[str]) -> Row:
    tone, icon, word = STATE_LOOKS.get(item.state, ("quiet", "", item.state.lower()))
    colour = palette.role_colour(roles.index(item.role)) if item.role in roles else palette.NEUTRAL
    return Row(
        str(item.id),
        f"task {item.id}",
        {
            "id": {"text": str(item.id), "href": ""},
            "role": {"text": item.role, "colour": colour},
            "state": runs_table.verdict(tone, icon, word, item.state),
            "priority": str(item.priority),
            "error": " ".join(item.error.split()),
            "worker": item.worker,
            "attempts": text.count(item.attempts),
            "at": _when(item),
        },
    )


def _when(item: Item) -> dict[str, str]:
    if item.at is not None:
        moment = item.at.isoformat(timespec="milliseconds")
        return {"text": text.ago(moment, now()), "title": moment.replace("+00:00", " UTC").replace("T", " ")}
    return {"text": text.seconds(item.at_s), "title": "Seconds since the run began"}


def _none(desk: Desk, query: Query, page: Page) -> None:
    with st.container(border=True, horizontal_alignment="center"):
        if query.words and page.next is not None:
            said = f"None of the {DESK_PAGES_MAX * PAGE_TASKS_MAX:,} tasks looked at says so in its error."
        elif query.words or query.role:
            said = "No task fits these filters."
        elif query.view == DEAD:
            said = "No dead letters. Every task that failed was tried again in time, or is still being tried."
            said = said if desk.discards else "No dead letters in this run. Choose another view, or type a task's id."
        else:
            said = f"No task here: {VIEW_WORDS[query.view].lower()}."
        st.markdown(f":material/mark_email_read: {said}", width="content")
    _pages(page)


def _pages(page: Page) -> None:
    """Back and on through the pages of 200."""
    _, cursors = st.session_state["tasks-cursor"]
    if len(cursors) == 1 and page.next is None:
        return
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button(
            "Back",
            icon=":material/chevron_left:",
            key="tasks-back",
            disabled=len(cursors) == 1,
            on_click=lambda: cursors.pop(),
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            key="tasks-next",
            disabled=page.next is None,
            on_click=lambda: cursors.append(page.next),
        )


def _news(desk: Desk, query: Query, page: Page) -> None:
    """Say when there is something new, without moving what is being read."""

    @st.fragment(run_every=LOOK_S)
    def follow() -> None:
        try:
            fresh = desk.page(query)
        except LabError:
            st.caption(":material/cloud_off: does not answer at the moment")
            return
        seen, there = {item.id for item in page.items}, {item.id for item in fresh.items}
        if seen == there:
            st.caption(":green[●] live")
            return
        if st.session_state.pop("tasks-acted", False):
            st.rerun()  # this is what was just asked for
        words = [f"{len(there - seen)} new"] if there - seen else []
        words += [f"{len(seen - there)} gone"] if seen - there else []
        if st.button(f"{', '.join(words)}: show", icon=":material/refresh:", key="tasks-news", type="tertiary"):
            st.rerun()

    follow()
