"""What can be done with runs: compare, star, tag, export, import, delete."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from lab import limits, run_archive
from lab.errors import LabError
from lab.record import now
from ui import jobs, runs_library, runs_table, shell, text
from ui.runs_library import Entry

COMPARED_MAX = 12
"""More curves in one chart cannot be told apart."""
NAMED_MAX = 6


def bar(entries: Sequence[Entry], found: Sequence[Entry], chosen: Sequence[Entry], table: str) -> None:
    """One line above the table; it is as high with nothing chosen, so that nothing jumps."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if not chosen:
            st.caption("Choose runs to compare, tag, export or delete them; click a row to open it.", width="stretch")
            import_popover("Import")
            return
        outside = len({one.id for one in chosen} - {one.id for one in found})
        more = f", {outside} outside this search" if outside else ""
        st.markdown(f"**{len(chosen)} chosen**{more} · {runs_library.weight(chosen)}", width="stretch")
        _compare(chosen)
        if st.button("Tags & note", icon=":material/sell:", key="annotate", disabled=not _records(chosen)):
            annotate_dialog(_records(chosen), runs_library.known_tags(entries))
        _export(_records(chosen))
        if st.button("Delete", icon=":material/delete:", key="delete"):
            delete_dialog(list(chosen), table)
        st.button(
            "",
            icon=":material/close:",
            key="choose-none",
            help="Choose none.",
            on_click=runs_table.forget,
            args=(table,),
            type="tertiary",
        )


def _records(chosen: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in chosen if entry.line is not None]


def _compare(chosen: Sequence[Entry]) -> None:
    records = _records(chosen)
    ids = [entry.id for entry in records]
    label, about = f"Compare {len(ids)}", "Lays their figures and curves over each other; the first is the baseline."
    if len(ids) == 1:
        twin = records[0].twin
        label = "Open" if twin is None else "Compare with its twin"
        about = "Opens it." if twin is None else "The other engine ran the same tasks in the same run."
        ids = sorted([*ids, *([twin] if twin else [])], key=lambda one: "-sim-" not in one)
    fits = 0 < len(ids) <= COMPARED_MAX
    if len(ids) > COMPARED_MAX:
        about = f"At most {COMPARED_MAX} runs are compared at a time."
    if st.button(label, type="primary", icon=":material/compare_arrows:", key="compare", help=about, disabled=not fits):
        st.switch_page(shell.RUN.path, query_params={"run": ",".join(ids)})


# ---- tags, notes, stars ----------------------------------------------------------------------------------------------


def star(entry: Entry | None) -> None:
    """Give or take the star of a run. Told on the next drawing if it cannot be."""
    if entry is None or entry.line is None:
        tell("Only runs with a record can be favourites.", bad=True)
        return
    _tried(lambda: runs_library.star(entry))


@st.dialog("Tags and note", icon=":material/sell:")
def annotate_dialog(entries: list[Entry], known: list[str]) -> None:
    """Edit the tags and the note of one run, or add and take tags of several."""
    st.markdown(_named(entries))
    one = entries[0] if len(entries) == 1 else None
    kept = one.tags if one else ()
    st.multiselect(
        "Tags" if one else "Add tags",
        [*known, *(tag for tag in kept if tag not in known)],
        default=list(kept),
        accept_new_options=True,
        select_all=False,
        max_selections=limits.TAGS_MAX,
        placeholder="Type a word and press Enter",
        key="notes-tags",
        help=f"At most {limits.TAGS_MAX} of at most {limits.TAG_CHARS_MAX} letters.",
    )
    if one:
        wanted = "What did you want to know, and what did you see?"
        st.text_area(
            "Note",
            one.note,
            height=120,
            max_chars=limits.NOTE_CHARS_MAX,
            placeholder=wanted,
            key="notes-text",
        )
    else:
        gone = "Tags that shall go"
        st.multiselect("Take tags", runs_library.known_tags(entries), placeholder=gone, key="notes-drop")
    saved = st.button("Save", type="primary", key="save-notes", on_click=_save_notes, args=(entries,))
    if why := st.session_state.pop("notes-refused", None):
        st.error(text.escape(why), icon=":material/error:")
    elif saved:
        st.rerun()


def _save_notes(entries: list[Entry]) -> None:
    tags: list[str] = st.session_state["notes-tags"]
    dropped = entries[0].tags if len(entries) == 1 else st.session_state["notes-drop"]
    note = st.session_state.get("notes-text") if len(entries) == 1 else None
    try:
        runs_library.annotate(entries, tags, [tag for tag in dropped if tag not in tags], note)
    except LabError as error:
        st.session_state["notes-refused"] = text.sentence(str(error))


# ---- out and in ------------------------------------------------------------------------------------------------------


def _export(records: Sequence[Entry]) -> None:
    size = sum(entry.size_bytes for entry in records)
    fits = 0 < size <= limits.EXPORT_BYTES_MAX
    name = records[0].id if len(records) == 1 else f"{len(records)}-runs-{now():%Y%m%d-%H%M%S}"
    bound = f"At most {limits.EXPORT_BYTES_MAX // limits.MIB} MiB at a time."
    st.download_button(
        "Export",
        lambda: runs_library.archive(records),
        f"{name}.zip",
        "application/zip",
        icon=":material/download:",
        key="export",
        on_click="ignore",
        disabled=not fits,
        help=f"A zip that `Import` takes in, here or on another machine. {bound}",
    )


def import_popover(label: str) -> None:
    """Take in records from a zip."""
    turn = st.session_state.setdefault("import-turn", 0)
    with st.popover(label, icon=":material/upload:", help="Take in runs that were exported from a lab."):
        st.markdown("**Import runs** · a zip that a lab has exported")
        upload = st.file_uploader(
            "A zip of one or more records",
            type="zip",
            key=f"import-{turn}",
            max_upload_size=limits.IMPORT_BYTES_MAX // limits.MIB,
            label_visibility="collapsed",
        )
        st.caption("Each record is compared with its digest and judged anew. If one is damaged, none comes in.")
        if upload is None:
            return
        try:
            came = run_archive.unpack(upload, upload.name, jobs.runs_dir())
        except LabError as error:
            st.error(text.escape(text.sentence(str(error))), icon=":material/error:")
            return
    known = f"; {text.plural(len(came.known), 'run')} had been here already" if came.known else ""
    tell(f"{text.plural(len(came.new), 'run')} imported{known}.")
    st.session_state["import-turn"] = turn + 1
    st.rerun()


# ---- away ------------------------------------------------------------------------------------------------------------


@st.dialog("Delete for good?", icon=":material/delete:")
def delete_dialog(chosen: list[Entry], table: str) -> None:
    """Ask before anything is deleted, with all that goes."""
    st.markdown(f"{text.plural(len(chosen), 'run')}, {runs_library.weight(chosen)}. This cannot be undone.")
    st.markdown(_named(chosen))
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep", key="keep"):
            st.rerun()
        label = f"Delete {text.plural(len(chosen), 'run')}"
        if st.button(label, type="primary", key="delete-sure", on_click=_delete, args=(chosen, table)):
            st.rerun()


def _delete(chosen: list[Entry], table: str) -> None:
    gone, refused = runs_library.delete(chosen)
    runs_table.forget(table)
    if gone:
        tell(f"{text.plural(len(gone), 'run')} deleted.")
    for why in refused[:NAMED_MAX]:
        tell(text.sentence(why), bad=True)


def _named(entries: Sequence[Entry]) -> str:
    """Some of them by name, as Markdown."""
    lines = [
        f"- {text.escape(entry.scenario)} :gray[{text.ENGINE_WORDS.get(entry.engine, '')}, "
        f"{text.escape(text.ago(entry.started_at, now()))}]"
        for entry in entries[:NAMED_MAX]
    ]
    if len(entries) > NAMED_MAX:
        lines.append(f"- and {len(entries) - NAMED_MAX} more")
    return "\n".join(lines)


# ---- telling ---------------------------------------------------------------------------------------------------------


def tell(words: str, bad: bool = False) -> None:
    """Say something when the page is drawn next."""
    st.session_state.setdefault("runs-told", []).append((words, bad))


def told() -> None:
    """Say what is to be said."""
    for words, bad in st.session_state.pop("runs-told", []):
        if bad:
            st.error(text.escape(words), icon=":material/error:")
        else:
            st.toast(text.escape(words), icon=":material/check:")


def _tried(action: Callable[[], None]) -> None:
    try:
        action()
    except LabError as error:
        tell(text.sentence(str(error)), bad=True)
