"""One scenario in the studio: the YAML on the left; what it means, its forms, or its differences on the right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from lab import limits
from lab.errors import LabError
from lab.scenario import Scenario
from ui import (
    editor,
    forms,
    jobs,
    library,
    studio_diff,
    studio_forms,
    studio_previews,
    studio_run,
    studio_saved,
    studio_state,
    studio_text,
    text,
)
from ui.studio_check import Checked
from ui.studio_state import Draft

PREVIEW, FORM, COMPARE = "Preview", "Form", "Compare"
SAVE_AS, RENAME, DELETE = "save_as", "rename", "delete"
PROBLEMS_LISTED = 5
CHART_CONFIG = {"displayModeBar": False}


def page(draft: Draft) -> None:
    """Everything about one scenario."""
    checked = draft.checked()
    _header(draft, checked)
    if said := st.session_state.get(studio_state.PROBLEM):
        st.error(text.escape(text.sentence(said)), icon=":material/error:")
    left, right = st.columns([11, 9], gap="medium")
    with left:
        document = editor.Document(draft.text, draft.revision, draft.name, studio_state.session(), draft.folder)
        editor.editor(document, studio_state.EDITOR, _typed, _save_pressed)
    with right:
        view = st.segmented_control(
            "Beside the text",
            [PREVIEW, FORM, COMPARE],
            default=PREVIEW,
            required=True,
            key="studio-view",
            label_visibility="collapsed",
            persist_state="session",
        )
        if view == FORM:
            _form(draft, checked)
        elif view == COMPARE:
            _compare(draft)
        else:
            _preview(draft, checked)
    _dialogs(draft)


def _typed() -> None:
    """The editor has sent a text (a callback); `studio_state.current` takes it over."""


def _save_pressed() -> None:
    """Ctrl+S in the editor (a callback)."""
    name = studio_state.asked_for()
    draft = studio_state.drafts().get(name)
    if draft is not None:
        studio_state.adopt(draft, editor.to_save(studio_state.EDITOR))
        _save(name)


# ---- the head: what it is, and what can be done with it --------------------------------------------------------------


def _header(draft: Draft, checked: Checked) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(horizontal=True, width="content", vertical_alignment="center", gap="small"):
            st.button(
                "All scenarios",
                icon=":material/arrow_back:",
                type="tertiary",
                key="studio-back",
                on_click=studio_state.leave,
            )
            st.markdown(f"#### {text.escape(draft.suggested or draft.name)} {_badges(draft)}", anchors=False)
        with st.container(horizontal=True, width="content", vertical_alignment="center", gap="small"):
            _run_buttons(checked.scenario)
            label = "Save" if draft.own else "Save a copy"
            st.button(
                label,
                icon=":material/save:",
                key="studio-save",
                help="Ctrl+S in the editor. Kept beside the runs, under *Yours*.",
                disabled=draft.own and not draft.edited,
                on_click=_save,
                args=(draft.name,),
            )
            _more(draft, checked.scenario)


def _badges(draft: Draft) -> str:
    origin = ":violet-badge[new]" if draft.name == studio_state.NEW else ":green-badge[yours]"
    if not draft.own and draft.name != studio_state.NEW:
        origin = ":gray-badge[ships with the lab]"
    return f"{origin} :orange-badge[edited]" if draft.edited else origin


def _run_buttons(scenario: Scenario | None) -> None:
    too_many = scenario is not None and scenario.mesh.workers > limits.LIVE_WORKERS_MAX
    for engine, label, icon, about in forms.BUTTONS:
        barred = too_many and engine != "sim"
        said = f"A live run starts at most {limits.LIVE_WORKERS_MAX} worker processes; the model takes more."
        st.button(
            label,
            icon=icon,
            key=f"studio-run-{engine}",
            type="primary" if engine == "both" else "secondary",
            help=said if barred else about,
            disabled=scenario is None or barred,
            on_click=_run,
            args=(engine,),
        )


def _run(engine: jobs.Engine) -> None:
    """Run what stands in the editor now (a callback)."""
    draft = studio_state.current(studio_state.asked_for())
    checked = draft.checked() if draft is not None else Checked()
    if checked.scenario is not None:
        studio_run.start(checked.scenario, engine)


def _more(draft: Draft, scenario: Scenario | None) -> None:
    """What is done more seldom."""
    with st.popover("", icon=":material/more_horiz:", help="Open in Run & compare, download, duplicate, …"):
        wide: dict[str, Any] = {"type": "tertiary", "width": "stretch"}
        st.button(
            "Open in Run & compare",
            icon=":material/compare_arrows:",
            key="studio-to-run",
            disabled=scenario is None,
            on_click=_to_run,
            args=(draft.name,),
            **wide,
        )
        st.download_button(
            "Download",
            draft.text.encode("utf-8", "replace"),
            file_name=f"{studio_saved.free_name(draft.suggested or draft.name, frozenset())}.yaml",
            mime="application/yaml",
            icon=":material/download:",
            key="studio-download",
            on_click="ignore",
            **wide,
        )
        st.button(
            "Duplicate",
            icon=":material/content_copy:",
            key="studio-duplicate",
            on_click=studio_state.duplicate,
            args=(draft.name,),
            **wide,
        )
        st.button(
            "Revert to what was opened",
            icon=":material/undo:",
            key="studio-revert",
            disabled=not draft.edited,
            on_click=studio_state.revert,
            args=(draft.name,),
            **wide,
        )
        if draft.own:
            for dialog, label, icon in ((RENAME, "Rename", "edit"), (DELETE, "Delete", "delete")):
                st.button(
                    label, icon=f":material/{icon}:", key=f"studio-{dialog}", on_click=_ask, args=(dialog,), **wide
                )


def _to_run(name: str) -> None:
    """Take what stands here along to the page that compares (a callback)."""
    draft = studio_state.current(name)
    if draft is None:
        return
    if not draft.edited and name in library.shipped():
        studio_run.go({"scenario": name})
        return
    st.session_state.update({"own_yaml": draft.standalone(), "own_name": draft.suggested or name})
    studio_run.go({"scenario": forms.OWN})


# ---- saving ----------------------------------------------------------------------------------------------------------


def _save(name: str) -> None:
    """Save what stands in the editor: over one's own, or under a name that is asked for (a callback)."""
    draft = studio_state.current(name)
    if draft is None:
        return
    if draft.own:
        if studio_state.keep(name, draft.text, over=True):
            st.toast(f"{text.escape(name)} is saved.", icon=":material/check:")
    else:
        _ask(SAVE_AS)


def _ask(dialog: str) -> None:
    """Open a dialog with the next drawing of the page (a callback)."""
    st.session_state[studio_state.DIALOG] = dialog


def _closed() -> None:
    """A dialog was dismissed (a callback)."""
    st.session_state[studio_state.DIALOG] = ""


def _dialogs(draft: Draft) -> None:
    """The dialog that was asked for; it stays open until it is answered or dismissed."""
    dialog = st.session_state.get(studio_state.DIALOG, "")
    if dialog == SAVE_AS:
        _name_dialog(draft, "Save a copy", _save_as)
    elif dialog == RENAME:
        _name_dialog(draft, "Rename", _rename)
    elif dialog == DELETE:
        _delete_dialog(draft)


def _name_dialog(draft: Draft, title: str, act: Callable[[Draft, str], str]) -> None:
    """Ask for a name until `act` takes it: it returns why not."""
    proposed = draft.name
    if not draft.own:
        proposed = studio_saved.free_name(draft.suggested or f"{draft.name}-copy", frozenset(library.every()))

    @st.dialog(title, on_dismiss=_closed)
    def ask() -> None:
        about = "Letters, digits, - and _; it is the file's name."
        name = st.text_input("Name", proposed, key="studio-name", help=about, max_chars=studio_saved.NAME_CHARS_MAX)
        if not st.button(title, type="primary", key="studio-name-ok"):
            return
        if said := act(draft, name.strip()):
            st.caption(f":red[{text.escape(text.sentence(said))}]")
        else:
            _closed()
            st.rerun()

    ask()


def _save_as(draft: Draft, name: str) -> str:
    """What was opened stays as it is; the copy is opened. Returns what went wrong."""
    if studio_state.keep(name, draft.standalone()):
        studio_state.drafts().pop(draft.name, None)
        return ""
    said: str = st.session_state[studio_state.PROBLEM]
    st.session_state[studio_state.PROBLEM] = ""
    return said


def _rename(draft: Draft, name: str) -> str:
    """The file and its draft have another name. Returns what went wrong."""
    try:
        studio_saved.rename(draft.name, name, frozenset(one.name for one in library.every().values() if not one.own))
    except (LabError, OSError) as error:
        return str(error)
    del studio_state.drafts()[draft.name]
    studio_state.drafts()[name] = Draft(name, draft.text, draft.kept, own=True, revision=draft.revision + 1)
    studio_state.show(name)
    return ""


@st.dialog("Delete this scenario?", on_dismiss=_closed)
def _delete_dialog(draft: Draft) -> None:
    st.markdown(f"**{text.escape(draft.name)}** will be gone for good. Its runs stay.")
    if st.button("Delete", type="primary", icon=":material/delete:", key="studio-delete-ok"):
        studio_saved.delete(draft.name)
        studio_state.drafts().pop(draft.name, None)
        studio_state.leave()
        _closed()
        st.rerun()


# ---- beside the text -------------------------------------------------------------------------------------------------


def _problems(checked: Checked) -> None:
    """What is wrong, in words: the editor marks where."""
    count = text.plural(len(checked.problems), "problem")
    st.markdown(f":red-badge[:material/error: {count} to mend]")
    _listed(checked)


def _listed(checked: Checked) -> None:
    for one in checked.problems[:PROBLEMS_LISTED]:
        place = f"line {one.line}: " if one.line else ""
        path = f"{one.path}: " if one.path else ""
        st.caption(text.escape(f"{place}{path}{one.message}"))
    if len(checked.problems) > PROBLEMS_LISTED:
        st.caption(f"and {len(checked.problems) - PROBLEMS_LISTED} more")


@st.cache_data(max_entries=40, show_spinner=False)
def _previewed(content: str, folder: str) -> studio_previews.Preview:
    return studio_previews.preview(library.load(content, "scenario", library.base(folder)))


def _preview(draft: Draft, checked: Checked) -> None:
    """What the scenario will look like; while something is wrong, what it last looked like."""
    if not draft.good:
        _problems(checked)
        return
    try:
        shown = _previewed(draft.good, draft.folder)
    except LabError as error:
        st.caption(f":red[{text.escape(text.sentence(str(error)))}]")
        return
    # In the place of the model's sentence, so that nothing moves while somebody types.
    count = text.plural(len(checked.problems), "problem")
    broken = f":red-badge[:material/error: {count} to mend] Until then, this is how it was."
    st.markdown(text.escape(shown.said) if checked.scenario is not None else broken)
    for chart in shown.charts:
        with st.container(gap=None):
            st.caption(f"**{chart.title}**")
            st.plotly_chart(chart.figure, key=f"studio-chart-{chart.name}", config=CHART_CONFIG, alt=chart.title)
    _listed(checked)


def _form(draft: Draft, checked: Checked) -> None:
    try:
        data = studio_text.read(draft.text)
    except LabError:
        _problems(checked)
        st.caption("The forms come back when the text can be read.")
        return
    if checked.scenario is None:
        _problems(checked)
    studio_forms.forms(draft, data, checked.scenario)


def _compare(draft: Draft) -> None:
    """Against any other scenario, or against what was opened: values first, then the text."""
    found = library.every()
    opened = library.Shipped(f"{draft.name} as opened", library.FOLDER, draft.kept, draft.folder)
    others = [name for name in found if name != draft.name]
    names = [opened.name, *others] if draft.kept else others
    chosen = st.selectbox("Compare with", names, key=f"studio-{draft.name}-compare", help="Shipped or your own.")
    there = opened if chosen == opened.name else found[chosen]
    different = studio_diff.compared(draft.text, draft.folder, there)
    if different is None:
        st.caption("One of the two has problems, so only their texts can be compared.")
    elif not different:
        st.markdown(":green-badge[:material/check: the same in every value]")
    else:
        st.markdown(f"**{text.plural(len(different), 'value')}** differ; presets and defaults are counted in.")
        rows = [{"Value": one.path, "Here": one.here, "There": one.there} for one in different]
        st.dataframe(rows, hide_index=True, height=min(380, 38 + 35 * len(rows)), alt="Values that differ")
    if lines := studio_diff.unified(draft.text, there.text, "here", chosen):
        with st.expander("The texts", icon=":material/difference:", expanded=not different):
            st.code(lines, language="diff")
