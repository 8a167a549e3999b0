"""The screen of the library: filters, what is running, the table, and what can be done with what is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from lab.record import now
from ui import jobs, progress, runs_actions, runs_library, runs_table, shell, text
from ui.runs_library import SPANS, VERDICTS, Entry, Library, Search
from ui.runs_table import Column, Row

TABLE = "runs-table"
PAGE_ROWS = 50
LOOK_S = 1.0
RUNNING_SHOWN_MAX = 5
WORDS_CHARS_MAX = 200
COLUMNS = (
    Column("star", "", "star", "34px", "Favourites"),
    Column("scenario", "Scenario", "link", help="The scenario that ran, and the note that was left", sortable=True),
    Column("engine", "Engine", "engine", "80px", "Model: SimPy. Live: Redis and PostgreSQL.", sortable=True),
    Column("started_at", "Started", "when", "88px", sortable=True),
    Column("tasks", "Tasks", "number", "74px", "Tasks that were submitted", sortable=True),
    Column(
        "curve", "Completions", "curve", "118px", "Tasks completed over time, from the first arrival to the last end"
    ),
    Column("throughput", "Throughput", "number", "98px", "Completed ÷ (last completion − first arrival)", True),
    Column("p95", "p95", "number", "72px", "95 % of the tasks took at most so long from their arrival", True),
    Column("verdict", "Checks", "verdict", "122px", "What every run is checked for: nothing lost, …", True),
    Column("tags", "Tags", "tags", "140px"),
    Column("size", "Size", "number", "78px", sortable=True),
)
LOOKS: dict[str, tuple[runs_table.Tone, str]] = {
    "ok": ("good", "✓"),
    "broken": ("bad", "✕"),
    "interrupted": ("warn", "◐"),
    "failed": ("bad", "!"),
    "cancelled": ("quiet", "■"),
    "unjudged": ("quiet", "–"),
}


def screen() -> None:
    """The whole page."""
    library = runs_library.library(jobs.runs_dir())
    entries, active = library.look()
    runs_actions.told()
    if not entries and not active:
        _empty()
        return
    search = _filters(entries)
    if active:
        _running(library, [job.id for job in active])
    found = runs_library.ordered((one for one in entries if search.fits(one, now())), _sort())
    chosen = _chosen(entries)
    runs_actions.bar(entries, found, chosen, TABLE)
    if found:
        _table(library, found, len(chosen))
    else:
        _nothing_fits(search)


def _empty() -> None:
    with st.container(horizontal_alignment="center", gap="small"):
        st.space("large")
        st.markdown("#### No runs yet", width="content", anchors=False)
        st.caption("Every run of the model and of the real thing is kept here, to be found, compared and shared.")
        if st.button("Run your first scenario", type="primary", icon=":material/play_arrow:", key="first-run"):
            st.switch_page(shell.RUN.path)
        runs_actions.import_popover("Or import a record")


# ---- filters ---------------------------------------------------------------------------------------------------------


def _filters(entries: Sequence[Entry]) -> Search:
    """The search, each part of which stands in the page's address."""
    tags = runs_library.known_tags(entries)
    wide = st.columns([3.2, 1.7, 1.7, 1.5, 2, 0.9], vertical_alignment="center")
    with wide[0]:
        words = st.text_input(
            "Search",
            key="q",
            bind="query-params",
            placeholder="Search scenario, tag, note, run id",
            icon=":material/search:",
            label_visibility="collapsed",
            live="200ms",
        )
    with wide[1]:
        engine = st.segmented_control(
            "Engine",
            ["sim", "live"],
            format_func=lambda one: text.ENGINE_WORDS[one],
            key="by",
            bind="query-params",
            label_visibility="collapsed",
        )
    with wide[2]:
        verdict = _select("Checks", "verdict", VERDICTS, "Any verdict")
    with wide[3]:
        since = _select("Started", "since", {key: words for key, (words, _) in SPANS.items()}, "Any time")
    with wide[4]:
        # A link may name a tag that nobody uses any more: it then finds nothing, and says so.
        asked = st.session_state.get("tag") or st.query_params.get_all("tag")
        options = [*tags, *(tag for tag in asked if tag not in tags)]
        chosen = st.multiselect(
            "Tags", options, key="tag", bind="query-params", placeholder="Tags", label_visibility="collapsed"
        )
    with wide[5]:
        starred = st.toggle("★", key="starred", bind="query-params", help="Only favourites.")
    return Search((words or "")[:WORDS_CHARS_MAX], engine or "", verdict, since, tuple(chosen), starred)


def _select(label: str, key: str, options: dict[str, str], anything: str) -> str:
    found = st.selectbox(
        label,
        list(options),
        index=None,
        format_func=lambda one: options[one],
        key=key,
        bind="query-params",
        placeholder=anything,
        label_visibility="collapsed",
    )
    return found or ""


def _clear() -> None:
    for key, value in (("q", ""), ("by", None), ("verdict", None), ("since", None), ("tag", []), ("starred", False)):
        st.session_state[key] = value


def _nothing_fits(search: Search) -> None:
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown("**No run fits this search.**", width="content")
        st.button("Clear the filters", on_click=_clear, key="clear-filters", disabled=search.is_empty)


# ---- what is running -------------------------------------------------------------------------------------------------


def _running(library: Library, ids: Sequence[str]) -> None:
    """The jobs at work, looked at once a second; the page is drawn anew when one starts or ends."""

    @st.fragment(run_every=LOOK_S)
    def follow() -> None:
        _, active = library.look()
        if [job.id for job in active] != list(ids):
            st.rerun()
        for job in active[:RUNNING_SHOWN_MAX]:
            _running_line(job)
        if len(active) > RUNNING_SHOWN_MAX:
            st.caption(f"and {text.plural(len(active) - RUNNING_SHOWN_MAX, 'more run')} under way")

    follow()


def _running_line(job: jobs.Job) -> None:
    with st.container(border=True):
        told, open_it, cancel = st.columns([8, 1.2, 1.2], vertical_alignment="center")
        fraction = job.status.get("fraction")
        done = min(1.0, max(0.0, float(fraction))) if isinstance(fraction, int | float) else 0.0
        told.progress(done, text=f"**{text.escape(job.scenario_name)}** · {progress.sentence(job)}")
        if open_it.button("Open", key=f"open-{job.id}", icon=":material/open_in_new:", width="stretch"):
            st.switch_page(shell.RUN.path, query_params={"job": job.id})
        cancel.button(
            "Cancel" if job.cancel_asked_s is None else "Stopping …",
            key=f"cancel-{job.id}",
            icon=":material/stop_circle:",
            width="stretch",
            on_click=_cancel,
            args=(job,),
            disabled=job.cancel_asked_s is not None and job.cancel_asked_s <= jobs.CANCEL_PATIENCE_S,
            help="Ends the run as Ctrl-C would. What was recorded until then is kept.",
        )


def _cancel(job: jobs.Job) -> None:
    jobs.cancel(job)


# ---- the table -------------------------------------------------------------------------------------------------------


def _chosen(entries: Sequence[Entry]) -> list[Entry]:
    """What is chosen and still there, in the order in which it was chosen."""
    by_id = {entry.id: entry for entry in entries}
    return [by_id[one] for one in runs_table.choice(TABLE).ids if one in by_id]


def _sort() -> str:
    asked = st.query_params.get("sort", runs_library.NEWEST)
    return asked if asked.removeprefix("-") in runs_library.SORTS else runs_library.NEWEST


def _sorted(key: str) -> None:
    """A second click on the same column turns it round; numbers and moments begin with the largest."""
    before = _sort()
    names = key in ("scenario", "engine")
    first = key if names else f"-{key}"
    new = first if before.removeprefix("-") != key else (key if before.startswith("-") else f"-{key}")
    if new == runs_library.NEWEST:
        st.query_params.pop("sort", None)
    else:
        st.query_params["sort"] = new


def _table(library: Library, found: Sequence[Entry], chosen: int) -> None:
    pages = max(1, math.ceil(len(found) / PAGE_ROWS))
    page = min(pages, int(st.session_state.get("runs-page", 1))) if pages > 1 else 1
    shown = found[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    by_id = {entry.id: entry for entry in found}
    sort = _sort()
    rows = [_row(entry, library.curve(entry)) for entry in shown]
    first = (page - 1) * PAGE_ROWS + 1
    span = f"{first}–{first + len(shown) - 1} of " if pages > 1 else ""
    look = runs_table.Look(
        label="Runs",
        foot=f"{span}{text.plural(len(found), 'run')} · {runs_library.weight(found)}",
        height=f"max(240px, calc(100vh - {310 if pages > 1 else 262}px))",
        page=f"{page} {sort}",
        sort=(sort.removeprefix("-"), sort.startswith("-")),
        link="Copy link to this search",
        link_chosen=f"Copy link to {'this run' if chosen == 1 else 'this comparison'}",
        href_chosen="run?run=",
    )

    def opened(entry_id: str) -> None:
        if entry_id in by_id:
            st.session_state["runs-open"] = by_id[entry_id].query

    actions = runs_table.Actions(
        opened=opened,
        starred=lambda one: runs_actions.star(by_id.get(one)),
        tagged=lambda tag: st.session_state.update(tag=[*dict.fromkeys([*st.session_state.get("tag", []), tag])]),
        sorted=_sorted,
    )
    runs_table.show(TABLE, COLUMNS, rows, look, actions)
    if pages > 1:
        with st.container(horizontal=True, horizontal_alignment="center"):
            st.pagination(pages, key="runs-page")
    if query := st.session_state.pop("runs-open", None):
        st.switch_page(shell.RUN.path, query_params=query)


def _row(entry: Entry, curve: Sequence[int]) -> Row:
    tone, icon = LOOKS[entry.verdict]
    words = VERDICTS[entry.verdict]
    broken = ", ".join(name.replace("_", " ") for name in entry.failed)
    href = "run?" + "&".join(f"{name}={value}" for name, value in entry.query.items())
    return Row(
        entry.id,
        f"{entry.scenario}, {text.ENGINE_WORDS.get(entry.engine, entry.engine)}",
        {
            "star": entry.favourite,
            "scenario": {"text": entry.scenario, "sub": " ".join(entry.note.split()), "href": href},
            "engine": runs_table.engines(entry.engine),
            "started_at": {"text": text.ago(entry.started_at, now()), "title": _moment(entry.started_at)},
            "tasks": text.count(entry.tasks),
            "curve": {"points": list(curve), "engine": entry.engine},
            "throughput": text.rate(entry.throughput_per_s),
            "p95": text.seconds(entry.p95_s),
            "verdict": runs_table.verdict(tone, icon, words, f"Broken: {broken}" if broken else entry.id),
            "tags": list(entry.tags),
            "size": runs_library.size(entry.size_bytes) if entry.line else text.NONE,
        },
    )


def _moment(started_at: str) -> str:
    """An ISO moment without its fraction, as a person reads it."""
    return f"{started_at[:19].replace('T', ' ')} UTC" if len(started_at) >= 19 else started_at
