"""What every page shares: the window's title, its width, the way between pages."""

from __future__ import annotations

import streamlit as st

from ui.jobs import ROOT

SIDEBAR_PX = 360


def render() -> None:
    """Set up the window and run the page that the URL names."""
    st.set_page_config("Agent Mesh Lab", ":material/hub:", layout="wide", initial_sidebar_state=SIDEBAR_PX)
    run = st.Page(ROOT / "pages" / "run.py", title="Run and compare", icon=":material/compare_arrows:", default=True)

    def to_run() -> None:
        st.switch_page(run, query_params=st.query_params.to_dict())

    # The first page answers at "/" only; its own name must lead there too.
    alias = st.Page(to_run, title="Run and compare", url_path="run", visibility="hidden")
    st.navigation([run, alias], position="top").run()
