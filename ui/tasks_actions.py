"""Operating on dead letters: redrive and discard, some or all that fit, asked for before it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from lab.errors import LabError
from lab.limits import LETTERS_AT_ONCE_MAX
from ui import runs_table, text
from ui.tasks_desks import Desk, Query
from ui.tasks_story import Page

NAMED_MAX = 8


def bar(desk: Desk, query: Query, page: Page, table: str, status: Callable[[], None]) -> None:
    """One line above the dead letters, with the `status` of the place in it. It stays as high as it is with nothing
    chosen, so that nothing jumps.
    """
    here = {str(item.id) for item in page.items}
    chosen = [int(one) for one in runs_table.choice(table).ids if one in here]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(width="stretch"):
            status()
        _redrive_button(desk, query, page, chosen, table)
        about = "Puts them aside for good: their tasks stay dead, and are listed no more."
        label = _counted("Discard", chosen)
        if st.button(label, icon=":material/delete_sweep:", key="discard", disabled=not page.items, help=about):
            confirm(desk, "discard", chosen or None, query, table)


def _redrive_button(desk: Desk, query: Query, page: Page, chosen: list[int], table: str) -> None:
    whole = desk.redrives == "all"
    about = "They go back to the end of their queues, and their retry count begins anew."
    if whole:
        about += " In a session all dead letters go together, so that the model gets the same."
    some = [] if whole else chosen
    if st.button(
        "Redrive all" if whole else _counted("Redrive", some),
        icon=":material/replay:",
        type="primary",
        key="redrive",
        disabled=not page.items,
        help=about,
    ):
        confirm(desk, "redrive", some or None, Query() if whole else query, table)


def _counted(word: str, chosen: Sequence[int]) -> str:
    return f"{word} {len(chosen)}" if chosen else f"{word} all"


def confirm(desk: Desk, action: str, ids: list[int] | None, query: Query, table: str) -> None:
    """Say how many it concerns, and do it when told so. `ids` None: all that fit the query."""
    title = f"{action.capitalize()} dead letters?"
    st.dialog(title, icon=":material/mail_off:")(_confirm)(desk, action, ids, query, table)


def _confirm(desk: Desk, action: str, ids: list[int] | None, query: Query, table: str) -> None:
    try:
        found = ids if ids is not None else _all_ids(desk, query)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))))
        return
    more = "the first " if len(found) == LETTERS_AT_ONCE_MAX else ""
    what = "go back to their queues" if action == "redrive" else "are put aside for good; their tasks stay dead"
    st.markdown(f"**{more}{text.plural(len(found), 'dead letter')}** {what}.")
    st.caption("Tasks " + ", ".join(map(str, found[:NAMED_MAX])) + (" …" if len(found) > NAMED_MAX else ""))
    fits = _fits(query) if ids is None else ""
    if fits:
        st.caption(f"All that fit: {text.escape(fits)}.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Leave them", key="leave"):
            st.rerun()
        chosen = None if desk.redrives == "all" and action == "redrive" else found
        sure = st.button(
            f"{action.capitalize()} {len(found):,}",
            type="primary",
            key="sure",
            disabled=not found,
            on_click=_do,
            args=(desk, action, chosen, len(found), table),
        )
    if why := st.session_state.pop("tasks-refused", None):
        st.error(text.escape(why), icon=":material/error:")
    elif sure:
        st.rerun()


def _do(desk: Desk, action: str, ids: list[int] | None, asked: int, table: str) -> None:
    try:
        count = desk.redrive(ids) if action == "redrive" else desk.discard(ids or [])
    except LabError as error:
        st.session_state["tasks-refused"] = text.sentence(str(error))
        return
    runs_table.forget(table)
    st.session_state["tasks-acted"] = True
    if count is None:
        tell(f"{text.plural(asked, 'dead letter')} go back to their queues, in the model too.")
    else:
        tell(f"{text.plural(count, 'dead letter')} {'redriven' if action == 'redrive' else 'discarded'}.")


def _fits(query: Query) -> str:
    parts = [f"role {query.role}"] if query.role else []
    return ", ".join(parts + ([f"error says “{query.words}”"] if query.words else []))


def _all_ids(desk: Desk, query: Query) -> list[int]:
    """The ids of all dead letters that fit, at most LETTERS_AT_ONCE_MAX."""
    ids: list[int] = []
    cursor: int | None = None
    while len(ids) < LETTERS_AT_ONCE_MAX:
        page = desk.page(Query(query.view, query.role, query.words, cursor))
        ids += [item.id for item in page.items]
        cursor = page.next
        if cursor is None:
            break
    return ids[:LETTERS_AT_ONCE_MAX]


def tell(words: str) -> None:
    """Say something when the page is drawn next."""
    st.session_state.setdefault("tasks-told", []).append(words)


def told() -> None:
    """Say what is to be said."""
    for words in st.session_state.pop("tasks-told", []):
        st.toast(text.escape(words), icon=":material/check:")
