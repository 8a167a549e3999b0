"""Run & compare: which runs are shown, what can be done with them, and the tabs that show them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from lab import headlines, limits, report
from lab.errors import LabError
from lab.headlines import Column
from lab.record import now
from ui import (
    compare_charts,
    compare_latency,
    compare_overview,
    compare_tasks,
    compare_words,
    copy_link,
    forms,
    history,
    jobs,
    progress,
    results,
    text,
)
from ui.compare_charts import Key
from ui.results import Result, name_of

TABS: dict[str, tuple[str, Callable[[Key, Result], None]]] = {
    "overview": ("Overview", compare_overview.show),
    "latency": ("Latency", compare_latency.show),
    "tasks": ("Tasks", compare_tasks.show),
    "checks": ("Checks & theory", compare_words.show),
    "scenario": ("Scenario", compare_words.scenario),
}

NAMES_SHOWN = 3


def show_job(job_id: str) -> None:
    """A run that was started in the app: on its way, or over."""
    try:
        job = jobs.read(job_id)
    except LabError as error:
        _not_found(str(error))
        return
    folders = job.record_folders
    if job.active:
        # Replications are shown when all of an engine's are there, and not one by one.
        folders = folders[: progress.finished(job) * job.replications]
    engines = text.ENGINE_WORDS[job.engine] + (f", {job.replications} seeds each" if job.replications > 1 else "")
    content = _yaml_of(job)
    again = functools.partial(_again, content, job.scenario_name) if content else None
    head = functools.partial(_job_header, job, engines, again)
    if folders:
        _result(folders, head, pool=job.replications > 1)
    else:
        head()


def _job_header(job: jobs.Job, engines: str, again: Callable[[], None] | None, *shown: Any) -> None:
    """The first line of a job, and how it stands."""
    _header(job.scenario_name, engines, job.started_at, again, *shown)
    if job.active:
        progress.watch(job)
    elif job.state != "done":
        progress.ended_badly(job)


def show_records(asked: str) -> None:
    """Any records, by their ids with commas between them."""
    try:
        folders = results.record_folders(asked)
    except LabError as error:
        _not_found(str(error))
        return
    _result(folders, _records_header, pool=False)


def _records_header(folders: Sequence[Path], found: Result, key: Key) -> None:
    """The first line of records: the scenarios that they ran, and which runs they are."""
    names = list(dict.fromkeys(str(record.info["scenario_name"]) for record in found.records))
    title = " · ".join(names[:NAMES_SHOWN]) + (" …" if len(names) > NAMES_SHOWN else "")
    few = len(found.columns) <= 2
    runs = ", ".join(map(_counted, found.columns)) if few else text.plural(len(found.records), "run")
    _header(title, runs, str(found.base.lead.info.get("started_at")), None, folders, found, key)


def _yaml_of(job: jobs.Job) -> str:
    try:
        return (job.folder / "scenario.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""  # nothing to edit then; the record still has its scenario


def _not_found(message: str) -> None:
    """A link that leads nowhere (any more)."""
    st.error(text.escape(text.sentence(message)), title="Nothing to show here", icon=":material/search_off:")
    st.button("Start anew", on_click=forms.show, args=({},), key="start-anew")


# ---- the result ------------------------------------------------------------------------------------------------------


def _counted(column: Column) -> str:
    """A column's label, and how many runs it stands for."""
    return column.label if len(column.records) == 1 else f"{column.label}, {len(column.records)} runs"


def _result(folders: Sequence[Path], head: Callable[..., None], *, pool: bool) -> None:
    """Everything about these records. `head` writes the first line; `pool`: whether they are replications."""
    pool = st.query_params.get("pool", "1" if pool else "0") == "1" and len(folders) > 1
    key = compare_charts.key_of(folders, pool=pool, baseline=st.query_params.get("baseline", ""))
    try:
        found = compare_charts.load(key)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))), title="This run cannot be shown", icon=":material/error:")
        return
    head(folders, found, key)
    tab = _tabs(found)
    TABS[tab][1](key, found)


def _tabs(found: Result) -> str:
    """The tabs, and beside them the switch for replications, where there are any."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        # The address decides: a copied link opens the same tab, and a link to another tab is obeyed.
        asked = st.query_params.get("tab", "")
        st.session_state["tab"] = tab = asked if asked in TABS else next(iter(TABS))
        st.segmented_control(
            "View",
            list(TABS),
            required=True,
            format_func=lambda name: TABS[name][0],
            key="tab",
            label_visibility="collapsed",
            on_change=_open_tab,
        )
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            if headlines.replicated(found.records):
                about = "Runs that differ in their seed and nothing else: together they are a sample, with intervals."
                st.session_state["pool"] = len(found.columns) < len(found.records)
                st.toggle("Pool replications", key="pool", help=about, on_change=_put_together)
            if tab == "overview" and compare_overview.can_lie_beside(found):
                compare_overview.layout_switch()
    return tab


def _open_tab() -> None:
    st.query_params["tab"] = st.session_state["tab"]


def _put_together() -> None:
    st.query_params["pool"] = "1" if st.session_state["pool"] else "0"


# ---- the first line --------------------------------------------------------------------------------------------------


def _header(
    name: str,
    engines: str,
    started_at: str,
    again: Callable[[], None] | None,
    folders: Sequence[Path] = (),
    found: Result | None = None,
    key: Key | None = None,
) -> None:
    """What is shown, and what can be done with it."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        when = text.escape(text.ago(started_at, now()))
        st.markdown(
            f"#### {text.escape(name)} :gray-badge[{text.escape(engines)}] :small[:gray[{when}]]",
            anchors=False,
            width="content",
        )
        with st.container(horizontal=True, width="content", vertical_alignment="center", gap="small"):
            if again is not None:
                about = "Puts this run's scenario into the form at the left, where its knobs can be turned."
                st.button("Edit", icon=":material/tune:", key="edit-again", on_click=again, help=about)
            if found is not None and key is not None:
                _picker(found)
                _downloads(folders, found, key)
            copy_link.button()


def _again(content: str, name: str) -> None:
    forms.take(content, name)


def _picker(found: Result) -> None:
    """Which runs are shown together: any of the newest, and those that are."""
    shown = [name_of(record) for record in found.records]
    with st.popover("Runs", icon=":material/stacked_line_chart:", help="Overlay other runs, or leave some out."):
        known = history.records()
        moment = now()

        def words(name: str) -> str:
            entry = known.get(name)
            if entry is None:
                return name
            return " · ".join(
                filter(None, (entry.name, entry.engines, text.ago(entry.started_at, moment), entry.figures))
            )

        chosen = st.multiselect(
            "Runs to show together",
            [*shown, *(name for name in known if name not in shown)],
            default=shown,
            format_func=words,
            key=f"runs-{'-'.join(shown)}",
            max_selections=limits.RUNS_COMPARED_MAX,
            help="Runs of one scenario and seed are also compared task by task; others overlay their curves.",
            width=460,
        )
        st.button(
            "Show these",
            type="primary",
            key="show-runs",
            disabled=not chosen or chosen == shown,
            on_click=forms.show,
            args=({"run": ",".join(chosen)},),
        )


def _downloads(folders: Sequence[Path], found: Result, key: Key) -> None:
    """The records as they are, their tables as CSV, and the report; a chart's own camera button saves it as PNG."""
    name = folders[0].name if len(folders) == 1 else f"{folders[0].name}-and-{len(folders) - 1}-more"
    with st.popover("Download", icon=":material/download:"):
        for label, make, ending, mime, icon in (
            ("Report (one HTML file)", _report, ".html", "text/html", "description"),
            ("Records (Parquet, JSON)", _archive, ".zip", "application/zip", "folder_zip"),
            ("Tables as CSV", functools.partial(_archive, csv=True), "-csv.zip", "application/zip", "table"),
        ):
            st.download_button(
                label,
                functools.partial(make, key),
                file_name=f"{name}{ending}",
                mime=mime,
                icon=f":material/{icon}:",
                key=f"download-{icon}",
                on_click="ignore",
                width="stretch",
            )
        st.caption("PNG: the camera at the top right of each chart.")


def _archive(key: Key, csv: bool = False) -> bytes:
    return results.archive(compare_charts.load(key).records, csv=csv)


def _report(key: Key) -> bytes:
    found = compare_charts.load(key)
    return report.report(found.records, pool=key.pool, baseline=found.baseline).encode()
