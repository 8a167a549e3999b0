"""What is open in the studio: drafts, which live as long as the browser's session, and where each of them came from.

A draft's text has two authors, the editor and the forms. Whatever a form writes makes a new revision, which replaces
the editor's text; whatever is typed counts only on top of the revision that stands there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from lab import profile
from lab.errors import LabError
from lab.yaml_source import Path
from ui import editor, library, studio_check, studio_saved, studio_text

NEW = "new"
DRAFTS, OPEN, PROBLEM, DIALOG = "studio_drafts", "studio_open", "studio_problem", "studio_dialog"
EDITOR = "studio_editor"
START = """\
# What does this scenario show? The first comment is its claim.
name: my-scenario
seed: 1
workload:
  arrivals: {kind: poisson, rate_per_s: 10, duration_s: 20}
  roles:
    DEVELOPER: {service: {dist: lognormal, mean_s: 0.5, cv: 0.5}, failure_rate: 0.05}
mesh: {workers: 2, slots: 4}
"""


@dataclass
class Draft:
    """A scenario that is being edited. `kept`: its text as it was opened or last saved; `good`: the last text in which
    nothing was wrong; `serial`: of the newest edit that counted.
    """

    name: str
    text: str
    kept: str
    folder: str = ""
    own: bool = False
    revision: int = 1
    serial: int = 0
    good: str = ""
    suggested: str = ""

    @property
    def edited(self) -> bool:
        """Whether something would be lost."""
        return self.text != self.kept

    def write(self, text: str) -> None:
        """Another text that does not come from the editor."""
        if text != self.text:
            self.text, self.revision = text, self.revision + 1

    def checked(self) -> studio_check.Checked:
        """What is wrong with it, or its scenario."""
        checked = studio_check.check(self.text, library.base(self.folder))
        if checked.scenario is not None:
            self.good = self.text
        return checked

    def standalone(self) -> str:
        """The text with paths that start at the shipped scenarios' folder, as the user's own do."""
        return rebased(self.text, self.folder)


def drafts() -> dict[str, Draft]:
    """All that has been opened in this session, by name."""
    found: dict[str, Draft] = st.session_state.setdefault(DRAFTS, {})
    return found


def session() -> str:
    """What this browser session is called, so that the editor notices a new one."""
    name: str = st.session_state.setdefault("studio_session", secrets.token_hex(8))
    return name


def asked_for() -> str:
    """The name in the link; on the way back from another page, what was open."""
    if "scenario" in st.query_params:
        name: str = st.query_params["scenario"]
        st.session_state[OPEN] = name
    elif name := st.session_state.get(OPEN, ""):
        st.query_params["scenario"] = name
    return name


def current(name: str) -> Draft | None:
    """The draft of that name, opened if need be; with everything that the editor has sent. None: there is no such."""
    if name not in drafts():
        if name == NEW:
            drafts()[NEW] = Draft(NEW, START, START, suggested="my-scenario")
        elif (found := library.find(name)) is not None:
            drafts()[name] = Draft(name, found.text, found.text, found.folder, found.own)
    draft = drafts().get(name)
    if draft is not None:
        adopt(draft, editor.typed(EDITOR))
    return draft


def adopt(draft: Draft, edit: editor.Edit | None) -> None:
    """Take over what was typed, unless it was typed on top of something else."""
    if edit and (edit.origin, edit.revision) == (draft.name, draft.revision) and edit.serial > draft.serial:
        draft.text, draft.serial = edit.text, edit.serial


def changing(name: str, change: Callable[[str], str]) -> None:
    """A form's change of the draft's text (in a callback): first what was typed meanwhile, then the change."""
    st.session_state[PROBLEM] = ""
    if (draft := current(name)) is None:
        return
    try:
        draft.write(change(draft.text))
    except LabError as error:
        st.session_state[PROBLEM] = str(error)


# ---- going to and fro (callbacks) ------------------------------------------------------------------------------------


def show(name: str) -> None:
    """Open a scenario."""
    st.session_state[OPEN] = name
    st.query_params["scenario"] = name


def leave() -> None:
    """Back to all scenarios; drafts stay."""
    st.session_state[OPEN] = ""
    st.query_params.pop("scenario", None)


def begin(text: str = START, suggested: str = "my-scenario") -> None:
    """A new scenario, from scratch or from a file."""
    revision = drafts()[NEW].revision + 1 if NEW in drafts() else 1
    drafts()[NEW] = Draft(NEW, text, text if text == START else "", revision=revision, suggested=suggested)
    show(NEW)


def revert(name: str) -> None:
    """Back to the text that was opened or saved."""
    changing(name, lambda _: drafts()[name].kept)


def duplicate(name: str) -> None:
    """A saved copy under the next free name, opened."""
    found = library.every()
    draft = drafts().get(name)
    if draft is None and name in found:
        one = found[name]
        draft = Draft(name, one.text, one.text, one.folder)
    if draft is not None:
        keep(studio_saved.free_name(f"{draft.suggested or name}-copy", frozenset(found)), draft.standalone())


def keep(name: str, text: str, *, over: bool = False) -> bool:
    """Save `text` as the user's own scenario `name` and open it; False, and words, if that cannot be."""
    st.session_state[PROBLEM] = ""
    taken = frozenset(one.name for one in library.every().values() if not one.own)
    try:
        studio_saved.save(name, text, taken, over=over)
    except LabError as error:
        st.session_state[PROBLEM] = str(error)
        return False
    except OSError as error:
        st.session_state[PROBLEM] = f"{name} could not be saved: {error.strerror}. Make the folder of runs writable."
        return False
    before = drafts().get(name)
    drafts()[name] = Draft(name, text, text, own=True, revision=before.revision if before else 1)
    if before is not None:
        drafts()[name].serial = before.serial
    show(name)
    return True


def rebased(text: str, folder: str) -> str:
    """`text` from a folder below the shipped scenarios', its relative paths turned to start there."""
    if not folder:
        return text
    try:
        data = studio_text.read(text)
    except LabError:
        return text  # mended later, and its paths with it
    for path, value in _files(data):
        text = studio_text.put(text, path, _moved(value, folder))
    return text


def _files(data: dict[str, object]) -> list[tuple[Path, str]]:
    """The relative paths of files in a scenario's data, and where they stand."""
    workload = _mapping(data.get("workload"))
    places: list[tuple[Path, object]] = [
        (("workload", "arrivals", "path"), _mapping(workload.get("arrivals")).get("path")),
        (("profile",), None if data.get("profile") in profile.BUILT_IN else data.get("profile")),
    ]
    for role, values in _mapping(workload.get("roles")).items():
        service = _mapping(_mapping(values).get("service"))
        places.append((("workload", "roles", role, "service", "path"), service.get("path")))
    return [(path, value) for path, value in places if isinstance(value, str) and not value.startswith(("/", "\\"))]


def _moved(value: str, folder: str) -> str:
    parts = [folder, *value.split("/")]
    while ".." in parts[1:]:
        at = parts.index("..", 1)
        del parts[at - 1 : at + 1]
    return "/".join(parts)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
