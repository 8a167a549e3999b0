"""Run & compare before anything was run: one sentence, one button, and the runs that are there already."""

from __future__ import annotations

import streamlit as st

from lab.record import now
from ui import forms, history, text
from ui.shell import LIBRARY

RECENT_SHOWN = 6
STATES = {
    "done": ("Done", "green"),
    "failed": ("Failed", "red"),
    "cancelled": ("Cancelled", "gray"),
    "interrupted": ("Interrupted", "gray"),
    "running": ("Running", "blue"),
    "starting": ("Starting", "blue"),
}


def empty(choice: forms.Choice) -> None:
    """No run is open: the obvious button; below it the newest runs."""
    with st.container(border=True):
        st.markdown("#### The same tasks, through a model and through the real thing", anchors=False)
        st.markdown("See where the SimPy model and real Redis, PostgreSQL and worker processes agree, and where not.")
        if choice.scenario is not None:
            takes_s = forms.live_s(choice.scenario)
            st.button(
                f"Run {text.escape(choice.scenario.name)} in both"
                + (f", about {text.whole_seconds(takes_s)}" if takes_s else ""),
                icon=":material/play_arrow:",
                type="primary",
                key="first-run",
                on_click=forms.start,
                args=(choice.scenario, "both", int(st.session_state.get("seeds") or 1)),
            )
    entries = history.recent(RECENT_SHOWN)
    if entries:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown("##### Or open a run", anchors=False, width="content")
            st.page_link(LIBRARY.path, label="All runs", icon=":material/folder_open:")
        moment = now()
        with st.container(border=True, gap="xxsmall"):
            for entry in entries:
                _entry(entry, text.ago(entry.started_at, moment))


def _entry(entry: history.Entry, when: str) -> None:
    word, colour = STATES.get(entry.state, (entry.state, "gray"))
    if entry.ok is False:
        word, colour = "Check broken", "red"
    what, figures_, open_ = st.columns([4, 4, 1], vertical_alignment="center")
    badge = f":{colour}-badge[{text.escape(word)}]"
    what.markdown(f"**{text.escape(entry.name)}** · {text.escape(entry.engines)} {badge}")
    figures_.caption(f"{text.escape(when)}{' · ' + text.escape(entry.figures) if entry.figures else ''}")
    name = next(iter(entry.query.values()))
    open_.button("Open", key=f"open-{name}", type="tertiary", on_click=forms.show, args=(entry.query,))
