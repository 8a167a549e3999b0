"""Scenarios: all of them as cards, or one of them to read, change and run."""

from __future__ import annotations

import streamlit as st

from ui import studio_cards, studio_page, studio_run, studio_state, text


def main() -> None:
    """Show the scenario that the link names, or all."""
    studio_run.gone()
    name = studio_state.asked_for()
    if not name:
        studio_cards.gallery()
        return
    draft = studio_state.current(name)
    if draft is not None:
        studio_page.page(draft)
        return
    st.error(
        text.escape(f"There is no scenario {name[:80]!r}; it may have been deleted or renamed."),
        title="Nothing to show here",
        icon=":material/search_off:",
    )
    st.button("All scenarios", icon=":material/arrow_back:", key="studio-lost", on_click=studio_state.leave)


main()
