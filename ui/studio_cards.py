"""All scenarios as cards: what each claims to show, how large it is, and the ways to open or run it."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from lab import limits
from lab.errors import LabError
from ui import jobs, library, load, studio_run, studio_state, text

ALL = "All ideas"
COLUMN_PX = 258


class Facts(NamedTuple):
    """The size of a scenario in a few words each; empty where its text is wrong."""

    tasks: str = ""
    slots: str = ""
    load: str = ""


@st.cache_data(max_entries=500, show_spinner=False)
def facts(content: str, folder: str) -> Facts:
    """Tasks, slots and load of a scenario."""
    try:
        offered = load.offered(library.load(content, "scenario", library.base(folder)))
    except LabError:
        return Facts()
    busy = f"load {offered.utilisation:.0%}" if offered.span_s else f"drains in {text.seconds(offered.run_s)}"
    return Facts(text.plural(round(offered.tasks), "task"), text.plural(offered.slots, "slot"), busy)


def gallery() -> None:
    """Every scenario in its group, and the ways to bring one along."""
    found = library.every()
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        with st.container(gap=None, width="content"):
            st.markdown("#### Scenarios", anchors=False)
            st.caption(
                "One question each: who submits work, who serves it, by which rules. Open one, change it, run it."
            )
        search = _bring_along()
    _told()
    group = _groups(found)
    shown = [one for one in found.values() if _fits(one, search, group)]
    for name in library.ORDER:
        cards = [one for one in shown if one.group == name]
        if cards:
            st.markdown(f"##### {name}", anchors=False)
            with st.grid("auto", min_column_width=COLUMN_PX):
                for one in sorted(cards, key=_place):
                    _card(one)
    if not shown:
        st.caption(f"No scenario says {text.escape(search)}. Clear the search, or begin a new one.")


def _place(one: library.Shipped) -> tuple[int, str]:
    names = library.GROUPS.get(one.group, ())
    return (names.index(one.name) if one.name in names else len(names), one.name)


def _bring_along() -> str:
    """The search, and what leads to a scenario that is not there yet; returns what is searched for."""
    with st.container(horizontal=True, width="content", vertical_alignment="bottom", gap="small"):
        search = st.text_input(
            "Search",
            key="studio-search",
            placeholder="Search",
            label_visibility="collapsed",
            icon=":material/search:",
            help="In names and claims, the fault drills too.",
            width=200,
        )
        st.button("New scenario", icon=":material/add:", type="primary", key="studio-new", on_click=studio_state.begin)
        with st.popover("Upload", icon=":material/upload_file:"):
            st.file_uploader(
                f"A scenario file, up to {limits.SCENARIO_BYTES_MAX // 1024} KiB",
                type=["yaml", "yml"],
                key="studio-upload",
                on_change=_take_upload,
                max_upload_size=1,
            )
    return search.strip()


def _take_upload() -> None:
    """The uploaded file is opened; nothing is saved yet (a callback)."""
    file = st.session_state.get("studio-upload")
    if file is None:
        return
    content = file.getvalue()
    if len(content) > limits.SCENARIO_BYTES_MAX:
        said = f"{file.name} is larger than {limits.SCENARIO_BYTES_MAX // 1024} KiB; a scenario is a short file."
        st.session_state[studio_state.PROBLEM] = said
        return
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"{file.name} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        st.session_state[studio_state.PROBLEM] = said
        return
    studio_state.begin("\n".join(decoded.splitlines()) + "\n", file.name.rsplit(".", 1)[0])


def _told() -> None:
    if said := st.session_state.pop(studio_state.PROBLEM, ""):
        st.error(text.escape(text.sentence(said)), icon=":material/error:")


def _groups(found: dict[str, library.Shipped]) -> str:
    groups = [group for group in library.ORDER if any(one.group == group for one in found.values())]
    group = st.pills(
        "Groups", [ALL, *groups], default=ALL, required=True, key="studio-group", label_visibility="collapsed"
    )
    return group or ALL


def _fits(one: library.Shipped, search: str, group: str) -> bool:
    """The drills are many and much alike: they come when they are asked for."""
    if search:
        return search.lower() in f"{one.name} {one.claim}".lower()
    return one.group == group or (group == ALL and one.group != library.DRILLS)


def _card(one: library.Shipped) -> None:
    size = facts(one.text, one.folder)
    draft = studio_state.drafts().get(one.name)
    with st.container(border=True, height="stretch", gap="small", key=f"studio-card-{one.name}"):
        edited = " :orange-badge[edited]" if draft is not None and draft.edited else ""
        with st.container(gap="xxsmall"):
            st.markdown(f"**{text.escape(one.name)}**{edited}")
            st.caption(text.escape(_short(one.claim)) or "No claim is stated in the first comment.")
        st.caption(" · ".join(map(text.escape, size)) if size.tasks else ":red[needs mending]")
        with st.container(horizontal=True, gap="small"):
            st.button(
                "Open",
                icon=":material/edit:",
                key=f"studio-open-{one.name}",
                help="Read it, change it, compare it.",
                on_click=studio_state.show,
                args=(one.name,),
            )
            st.button(
                "Run",
                icon=":material/play_arrow:",
                key=f"studio-run-{one.name}",
                type="tertiary",
                disabled=not size.tasks,
                help="Through the model and on the real thing; you will see the two side by side.",
                on_click=_run,
                args=(one,),
            )


def _run(one: library.Shipped) -> None:
    """Run a card's scenario in both engines, or in the model alone if it is too large for this machine (a callback)."""
    scenario = library.load(one.text, one.path.name, library.base(one.folder))
    engine: jobs.Engine = "sim" if scenario.mesh.workers > limits.LIVE_WORKERS_MAX else "both"
    studio_run.start(scenario, engine)


CLAIM_CHARS = 190


def _short(claim: str) -> str:
    """A claim that fits on a card."""
    claim = claim.replace("`", "")
    if len(claim) <= CLAIM_CHARS:
        return claim
    first = claim[:CLAIM_CHARS].rsplit(". ", 1)
    return f"{first[0]}." if len(first) == 2 else claim[: CLAIM_CHARS - 2].rsplit(" ", 1)[0] + " …"
