"""What every page shares: the window's title, its width, the way between pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from ui.jobs import ROOT

SIDEBAR_PX = 360
STYLE = "<style>.stMainBlockContainer {padding: 4.2rem 2rem 3rem; max-width: 1680px}</style>"
"""Streamlit leaves five rem at the sides: too much for tables and curves. The Mesh page has a style of its own."""


class Screen(NamedTuple):
    """A page: its file in pages/, its place in the URL, its title and icon."""

    file: str
    url: str
    title: str
    icon: str

    @property
    def path(self) -> str:
        """What `st.switch_page` and `st.page_link` want."""
        return str(ROOT / "pages" / self.file)


MESH = Screen("mesh.py", "mesh", "Mesh", ":material/hub:")
RUN = Screen("run.py", "run", "Run & compare", ":material/compare_arrows:")
STUDIO = Screen("studio.py", "studio", "Scenarios", ":material/edit_note:")
WHATIF = Screen("whatif.py", "whatif", "What-if", ":material/alt_route:")
PLAN = Screen("plan.py", "plan", "Plan", ":material/calculate:")
SWEEP = Screen("sweep.py", "sweep", "Sweep", ":material/grid_on:")
TWIN = Screen("twin.py", "twin", "Twin", ":material/compare:")
LIBRARY = Screen("library.py", "runs", "Runs", ":material/folder_open:")
RULES = Screen("rules.py", "rules", "Rules", ":material/rule:")
TASKS = Screen("tasks.py", "tasks", "Dead letters & audit", ":material/mail_off:")
HOME, *OTHERS = SCREENS = (MESH, RUN, STUDIO, WHATIF, PLAN, SWEEP, TWIN, LIBRARY, RULES, TASKS)
"""In this order above every page; what a narrow window has no room for stands under a last entry."""


def render() -> None:
    """Set up the window and run the page that the URL names."""
    st.set_page_config("Agent Mesh Lab", ":material/hub:", layout="wide", initial_sidebar_state=SIDEBAR_PX)
    # The first page answers at "/" only, whatever its path; its own name, /mesh, must lead there too.
    home = st.Page(HOME.path, title=HOME.title, icon=HOME.icon, url_path="home", default=True)
    alias = st.Page(_leading_to(home), title=HOME.title, url_path=HOME.url, visibility="hidden")
    others = [st.Page(one.path, title=one.title, icon=one.icon, url_path=one.url) for one in OTHERS]
    page = st.navigation([home, *others, alias], position="top")
    if page is not home:
        st.html(STYLE)
    page.run()


def _leading_to(page: StreamlitPage) -> Callable[[], None]:
    def lead() -> None:
        st.switch_page(page, query_params=st.query_params.to_dict())

    return lead
