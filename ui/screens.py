"""The views of the main page: a finished run, the scenario, the list of recent runs."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lab import figures, limits
from lab.errors import LabError
from lab.record import Record, now
from ui import forms, history, jobs, library, results, text

BUILDERS: dict[str, Callable[[Sequence[Record], Sequence[str]], go.Figure]] = {
    "throughput": figures.throughput,
    "depth": figures.queue_depth,
    "ecdf": figures.latency_ecdf,
    "histogram": figures.latency_histogram,
    "rss": figures.rss,
}
OVERLAID, BESIDE = "Overlaid", "Side by side"
CUMULATIVE, DISTRIBUTION = "Cumulative", "Distribution"
CHART_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
Key = tuple[tuple[str, int], ...]


# ---- a finished run --------------------------------------------------------------------------------------------------


def key_of(folders: Sequence[Path]) -> Key:
    """What a loaded result depends on: which records, and when they were written."""
    return tuple((str(folder), (folder / "run.json").stat().st_mtime_ns) for folder in folders)


@st.cache_resource(max_entries=6, show_spinner="Reading the record …")
def load(key: Key) -> results.Result:
    """The result in these folders. Read only: every page shares it."""
    # .streamlit/config.toml turns the collection after every rerun off; here is where garbage comes in bulk.
    gc.collect()
    return results.load([Path(folder) for folder, _ in key])


@st.cache_resource(max_entries=60, show_spinner=False)
def _charts(key: Key, kind: str, beside: bool) -> list[go.Figure]:
    """One figure with all runs, or one for each with the same axes."""
    result = load(key)
    figure = BUILDERS[kind](result.records, result.labels)
    return figures.apart(figure, result.labels) if beside else [figure]


def result(folders: Sequence[Path]) -> None:
    """Everything about a run: verdict, headline figures, curves, table."""
    key = key_of(folders)
    try:
        found = load(key)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))), title="This run cannot be shown", icon=":material/error:")
        return
    _verdict(found)
    _cards(found)
    _curves(key, found)
    _table(found)
    _about(found)


def _verdict(found: results.Result) -> None:
    """The checks in plain words: one green line, or what broke and where to look."""
    verdicts = list(results.findings(found))
    held = [one for one in verdicts if not one.broken and not one.stopped]
    if held:
        where = " and ".join(text.escape(one.label.lower()) for one in held)
        kept = "nothing lost, nothing completed twice, rules and order kept"
        st.success(f"**All {held[0].checked} checks hold** ({where}): {kept}.", icon=":material/check_circle:")
    for one in verdicts:
        if one.stopped:
            kept = "no rule was broken until then" if not one.broken else "the rules broken until then are below"
            said = f"**{text.escape(one.label)} was stopped before its end**: {kept}; the rest is not judged."
            st.warning(said, icon=":material/stop_circle:")
        if one.broken:
            lines = [
                f"- **{text.escape(check.name.replace('_', ' ').capitalize())}**: {text.escape(check.found)}. "
                f"{results.examples(check)} The rule: {text.escape(check.claim)}"
                for check in one.broken
            ]
            title = f"{one.label}: {len(one.broken)} of {one.checked} checks broken"
            st.error("\n".join(lines), title=text.escape(title), icon=":material/error:")
    if found.problem:
        st.warning(text.escape(text.sentence(found.problem)), icon=":material/warning:")


def _cards(found: results.Result) -> None:
    """Four figures at a glance: those of the real thing, if it ran, and how far the model is from them."""
    with st.grid(4, min_column_width=150):
        for figure, about in results.CARDS:
            values = [results.at(summary, figure.path) for summary in found.summaries]
            delta = None
            if len(values) == 2:
                apart = text.percent(results.error(found, figure))
                delta = f"{found.labels[0].lower()} {figure.written(values[0])} ({apart})"
            label = f"{figure.label}, {found.labels[-1].lower()}"
            st.metric(
                text.escape(label),
                figure.written(values[-1]),
                text.escape(delta) if delta else None,
                delta_color="off",
                delta_arrow="off",
                help=about,
                border=True,
            )


def _curves(key: Key, found: results.Result) -> None:
    two = len(found.records) == 2
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        layout = OVERLAID
        if two:
            layout = _switch("Charts", (OVERLAID, BESIDE), "layout")
        latency = _switch("Latency as", (CUMULATIVE, DISTRIBUTION), "latency")
    kinds = ("throughput", "depth", "ecdf" if latency == CUMULATIVE else "histogram", "rss")
    beside = layout == BESIDE
    # Overlaid charts go below each other where there is no room; what shall be compared stays beside each other.
    with st.grid(2, min_column_width="auto" if beside else 380):
        for kind in kinds:
            for place, figure in enumerate(_charts(key, kind, beside)):
                _chart(figure, f"chart-{kind}-{place}-{beside}")


def _switch(label: str, options: tuple[str, str], key: str) -> str:
    chosen = st.segmented_control(
        label,
        options,
        default=options[0],
        required=True,
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )
    return chosen or options[0]


def _chart(figure: go.Figure, key: str) -> None:
    title = str(figure.layout.title.text)
    runs = ", ".join(sorted({str(trace.name) for trace in figure.data if trace.showlegend}))
    st.plotly_chart(figure, key=key, config=CHART_CONFIG, alt=f"{title}: {runs}" if runs else title)


def _table(found: results.Result) -> None:
    st.markdown("##### Headline figures")
    frame = results.table(found)
    columns: dict[str, Any] = {"Figure": st.column_config.TextColumn(width="medium")}
    for name in frame.columns[1:]:
        about = "Model ÷ live − 1." if name == "Difference" else None
        columns[name] = st.column_config.TextColumn(alignment="right", help=about)
    st.dataframe(frame, hide_index=True, column_config=columns, height="content", alt="Headline figures")
    if said := results.paired(found):
        st.caption(said)


def _about(found: results.Result) -> None:
    with st.expander("About this run", icon=":material/info:"):
        for record, label in zip(found.records, found.labels, strict=True):
            info = record.info
            machine = info.get("machine", {})
            facts = {
                "run": info.get("run_id"),
                "seed": info.get("seed"),
                "started": info.get("started_at"),
                "wall time": text.seconds(info.get("wall_s")),
                "machine": f"{machine.get('cores')} cores, {machine.get('system')} {machine.get('architecture')}",
                "folder": record.folder,
            }
            st.markdown(f"**{text.escape(label)}**")
            lines = [f"{name + ':':<11}{value}" for name, value in facts.items()]
            st.code("\n".join(lines), language=None, wrap_lines=True)


def downloads(folders: Sequence[Path], name: str) -> None:
    """The record as a zip: as it is (Parquet and run.json), or its tables as CSV."""
    with st.popover("Download", icon=":material/download:"):
        for label, csv, icon in (("Record (Parquet, JSON)", False, "folder_zip"), ("Tables as CSV", True, "table")):
            st.download_button(
                label,
                functools.partial(_archive, tuple(folders), csv),
                file_name=f"{name}{'-csv' if csv else ''}.zip",
                mime="application/zip",
                icon=f":material/{icon}:",
                key=f"download-{'csv' if csv else 'record'}",
                on_click="ignore",
                width="stretch",
            )


def _archive(folders: tuple[Path, ...], csv: bool) -> bytes:
    return results.archive(load(key_of(folders)).records, csv=csv)


# ---- nothing yet -----------------------------------------------------------------------------------------------------


def empty(choice: forms.Choice) -> None:
    """No run is open: one sentence, and the obvious button; below, what else there is to ask."""
    with st.container(border=True):
        st.markdown("#### The same tasks, through a model and through the real thing")
        st.markdown(
            "A scenario says who submits work and which agents serve it. Run it: its tasks go through the SimPy model, "
            "then through real Redis, PostgreSQL and worker processes, and you see where the two differ."
        )
        if choice.scenario is not None:
            takes_s = forms.live_s(choice.scenario)
            st.button(
                f"Run {text.escape(choice.scenario.name)} in both"
                + (f", about {text.whole_seconds(takes_s)}" if takes_s else ""),
                icon=":material/play_arrow:",
                type="primary",
                key="first-run",
                on_click=forms.start,
                args=(choice.scenario, "both"),
            )
    others = library.shipped()
    if others:
        st.markdown("##### Other questions to ask")
        with st.grid("auto", min_column_width=260):
            for file in others.values():
                if file.name != choice.name:
                    _question(file)


def _question(file: library.Shipped) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{text.escape(file.name)}**")
        st.caption(text.escape(file.claim) or "No claim is stated in the first comment.")
        st.button(
            "Choose",
            key=f"choose-{file.name}",
            type="tertiary",
            icon=":material/arrow_back:",
            on_click=forms.choose,
            args=(file.name,),
        )


# ---- the scenario ----------------------------------------------------------------------------------------------------


def scenario(choice: forms.Choice) -> None:
    """The scenario as text: to read if it ships, to edit if it is the user's own."""
    if choice.name == forms.OWN:
        _editor()
    problems(choice)
    if choice.name != forms.OWN:
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.caption(f"`{choice.source}` as it ships. The knobs are written over it when a run starts.")
            st.button("Edit a copy", icon=":material/edit:", key="edit-copy", on_click=forms.edit, args=(choice.text,))
        st.code(choice.text, language="yaml", line_numbers=True)


def _editor() -> None:
    st.caption("Paste a scenario and press Ctrl+Enter to check it. Paths in it start at the folder `scenarios/`.")
    # YAML is read by its columns, and a text area has no option for its font. (Our own text only: never a user's.)
    st.html("<style>.st-key-own_yaml textarea {font-family: monospace; font-size: 0.85rem; white-space: pre}</style>")
    written, uploaded = st.columns([3, 1])
    with written:
        st.text_area(
            "Scenario, YAML",
            key="own_yaml",
            height=420,
            label_visibility="collapsed",
            placeholder="name: my-scenario\nworkload:\n  arrivals: {kind: burst, count: 100}\n  roles: ...",
            persist_state="session",
        )
    with uploaded:
        st.file_uploader("Upload a file", type=["yaml", "yml"], key="upload", on_change=_take_upload, max_upload_size=1)


def _take_upload() -> None:
    """The uploaded file replaces what is in the editor (a callback)."""
    file = st.session_state.get("upload")
    if file is None:
        return
    content = file.getvalue()
    if len(content) > limits.SCENARIO_BYTES_MAX:
        st.session_state["upload_error"] = f"{file.name} is larger than {limits.SCENARIO_BYTES_MAX // 1024} KiB."
        return
    try:
        forms.edit(content.decode("utf-8-sig"), file.name)
        st.session_state["upload_error"] = ""
    except UnicodeDecodeError as error:
        st.session_state["upload_error"] = f"{file.name} is not UTF-8 text (byte {error.start}); save it as UTF-8."


def problems(choice: forms.Choice) -> None:
    """Everything that is wrong, each with its place; verbatim, since it quotes what was written."""
    if message := st.session_state.get("upload_error"):
        st.error(text.escape(message), icon=":material/error:")
    if choice.name == forms.OWN and not choice.text.strip():
        return
    if choice.problems:
        count = text.plural(len(choice.problems), "problem")
        st.error(f"{count}, each as file:line:column: path: what is wrong", icon=":material/error:")
        located = [problem.located(choice.source) for problem in choice.problems]
        st.code("\n".join(located), language=None, wrap_lines=True)
    elif choice.name == forms.OWN:
        st.success("No problems: ready to run.", icon=":material/check_circle:")


# ---- recent runs -----------------------------------------------------------------------------------------------------

STATES = {
    "done": ("Done", "green"),
    "failed": ("Failed", "red"),
    "cancelled": ("Cancelled", "gray"),
    "interrupted": ("Interrupted", "gray"),
    "running": ("Running", "blue"),
    "starting": ("Starting", "blue"),
}


def recent() -> None:
    """The runs on disk, the newest first; each can be opened again."""
    entries = history.recent()
    if not entries:
        st.caption(f"No runs yet. They will be kept in `{jobs.runs_dir()}`.")
        return
    st.caption(f"Kept in `{jobs.runs_dir()}`; `meshlab runs` lists them too.")
    moment = now()
    for entry in entries:
        _entry(entry, text.ago(entry.started_at, moment))


def _entry(entry: history.Entry, when: str) -> None:
    word, colour = STATES.get(entry.state, (entry.state, "gray"))
    if entry.ok is False:
        word, colour = "Check broken", "red"
    with st.container(border=True):
        what, figures_, open_ = st.columns([4, 4, 1], vertical_alignment="center")
        badge = f":{colour}-badge[{text.escape(word)}]"
        what.markdown(f"**{text.escape(entry.name)}** · {text.escape(entry.engines)} {badge}")
        figures_.caption(f"{text.escape(when)}{' · ' + text.escape(entry.figures) if entry.figures else ''}")
        name = next(iter(entry.query.values()))
        open_.button("Open", key=f"open-{name}", on_click=forms.show, args=(entry.query,), width="stretch")
