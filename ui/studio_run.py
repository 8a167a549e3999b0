"""From the studio to a run: start a job, or take the scenario along to the page that compares."""

from __future__ import annotations

import streamlit as st

from lab.scenario import Scenario
from ui import jobs, shell, studio_state

GO = "studio_go"


def start(scenario: Scenario, engine: jobs.Engine) -> None:
    """Start a run and go to it (a callback)."""
    st.session_state[studio_state.PROBLEM] = ""
    try:
        job_id = jobs.start(scenario, engine)
    except OSError as error:
        said = f"the run could not be started: {error.strerror}. Make {jobs.runs_dir()} writable, or set MESHLAB_RUNS."
        st.session_state[studio_state.PROBLEM] = said
        return
    go({"job": job_id})


def go(query: dict[str, str]) -> None:
    """Go to the page that compares, as soon as the pages are known (a callback: they are not yet)."""
    st.session_state[GO] = query


def gone() -> None:
    """Leave for where a callback has sent us, if one has."""
    if query := st.session_state.pop(GO, None):
        st.switch_page(shell.RUN.path, query_params=query)
