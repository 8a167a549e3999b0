"""Run a scenario in the model and on the real thing, and see the two side by side."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from lab.errors import LabError
from lab.record import now
from ui import forms, jobs, progress, results, screens, text


def main() -> None:
    """Read the form, show the view that is asked for."""
    choice = forms.sidebar()
    st.session_state.setdefault("view", forms.RESULT)
    view = st.segmented_control("View", forms.VIEWS, required=True, key="view", label_visibility="collapsed")
    if view == forms.SCENARIO:
        screens.scenario(choice)
    elif view == forms.RECENT:
        screens.recent()
    elif "job" in st.query_params:
        show_job(st.query_params["job"])
    elif "run" in st.query_params:
        show_records(st.query_params["run"].split(","))
    else:
        screens.empty(choice)


def show_job(job_id: str) -> None:
    """A run that was started here: on its way, or over."""
    try:
        job = jobs.read(job_id)
    except LabError as error:
        not_found(str(error))
        return
    folders = job.record_folders
    scenario_file = job.folder / "scenario.yaml"
    header(job.scenario_name, text.ENGINE_WORDS[job.engine], job.started_at, folders, job.id, scenario_file)
    if job.active:
        progress.watch(job)
    elif job.state != "done":
        progress.ended_badly(job)
    if folders:
        screens.result(folders)


def show_records(run_ids: list[str]) -> None:
    """Records from the command line, one or two of them."""
    try:
        folders = [results.record_folder(run_id) for run_id in run_ids[:2]]
        info = screens.load(screens.key_of(folders)).records[0].info
    except LabError as error:
        not_found(str(error))
        return
    engines = text.ENGINE_WORDS.get(str(info.get("engine")), "") if len(folders) == 1 else "Two runs"
    header(str(info.get("scenario_name")), engines, str(info.get("started_at")), folders, folders[0].name, None)
    screens.result(folders)


def not_found(message: str) -> None:
    """A link that leads nowhere (any more)."""
    st.error(text.escape(text.sentence(message)), title="Nothing to show here", icon=":material/search_off:")
    st.button("Start anew", on_click=forms.show, args=({},), key="start-anew")


def header(
    name: str, engines: str, started_at: str, folders: list[Path], file_name: str, scenario_file: Path | None
) -> None:
    """What is shown, and what can be done with it."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(f"#### {text.escape(name)} :gray-badge[{text.escape(engines)}]", anchors=False)
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            st.caption(f"started {text.escape(text.ago(started_at, now()))}", width="content")
            if scenario_file is not None and scenario_file.is_file():
                content = scenario_file.read_text(encoding="utf-8")
                again = "Edit and run again"
                st.button(again, icon=":material/edit:", key="edit-again", on_click=forms.edit, args=(content,))
            if folders:
                screens.downloads(folders, file_name)


main()
