"""What every page shares: the window's title, its width, the way between pages."""

from __future__ import annotations

import streamlit as st

from ui.jobs import ROOT

SIDEBAR_PX = 360


def render() -> None:
    """Set up the window and run the page that the URL names."""
    st.set_page_config("Agent Mesh Lab", ":material/hub:", layout="wide", initial_sidebar_state=SIDEBAR_PX)
    # The first page answers at "/" only, whatever its path; its own name, /run, must lead there too.
    title, icon = "Run and compare", ":material/compare_arrows:"
    run = st.Page(ROOT / "pages" / "run.py", title=title, icon=icon, url_path="home", default=True)

    def to_run() -> None:
        st.switch_page(run, query_params=st.query_params.to_dict())

    alias = st.Page(to_run, title=title, url_path="run", visibility="hidden")
    st.navigation([run, alias], position="top").run()
