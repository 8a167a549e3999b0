"""The YAML editor: CodeMirror in a component of ours, checked by the server at every pause in the typing.

ui/assets/editor/ holds its source, ui/assets/editor/build.sh makes ui/assets/editor.js of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lab.limits import STUDIO_BODY_BYTES_MAX

HTML = '<div class="studio-editor">Loading the editor …</div>'

# The page reruns often; the loader is small, and the browser has the module from its first use on.
LOADER = """\
const modules = new WeakMap();
export default function (component) {
  const host = component.parentElement;
  const place = host.querySelector(".studio-editor");
  let ended = false;
  let end = () => {};
  modules.set(host, component);
  import(new URL("/lab/assets/editor.js", location.origin)).then(
    ({ mount }) => { if (!ended && modules.get(host) === component) end = mount(component); },
    () => { place.textContent = "The editor could not be loaded. Reload the page; the forms beside it work."; },
  );
  return () => { ended = true; end(); };
}
"""

CSS = """\
.studio-editor {
  --key: var(--st-blue-text-color); --value: var(--st-green-text-color); --bad: var(--st-red-color);
  --good: var(--st-green-text-color); --quiet: color-mix(in srgb, var(--st-text-color) 55%, transparent);
  --line: color-mix(in srgb, var(--st-text-color) 5%, transparent);
  --selected: color-mix(in srgb, var(--st-primary-color) 24%, transparent);
  display: flex; flex-direction: column; height: calc(100vh - 9.75rem); min-height: 24rem;
  border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); overflow: hidden;
  font-family: var(--st-font); font-size: 0.85rem; color: var(--st-text-color);
}
.studio-editor:focus-within { border-color: var(--st-primary-color); }
.text { flex: 1; min-height: 0; }
.notice { padding: 0.3rem 0.8rem; background: var(--st-blue-background-color); color: var(--st-blue-text-color); }
.notice[hidden] { display: none; }
.status {
  padding: 0.4rem 0.8rem; border-top: 1px solid var(--st-border-color); color: var(--quiet); min-height: 1.2rem;
  line-height: 1.35;
}
.status::before { display: inline-block; width: 1.2em; font-weight: 700; }
.status[data-state="good"]::before { content: "✓"; color: var(--good); }
.status[data-state="bad"] { color: var(--st-red-text-color); font-weight: 600; }
.status[data-state="bad"]::before { content: "✕"; }
.status[data-state="away"]::before { content: "…"; }
.problems { list-style: none; margin: 0; padding: 0 0.4rem 0.3rem; max-height: 8.5rem; overflow: auto; }
.problems:empty { display: none; }
.problems button {
  display: block; width: 100%; padding: 0.2rem 0.4rem; border: 0; border-radius: 4px; background: none; color: inherit;
  font: inherit; text-align: left; cursor: pointer; overflow-wrap: anywhere;
}
.problems button:hover, .problems button:focus-visible { background: var(--line); outline: none; }
.problems b { color: var(--st-red-text-color); margin-right: 0.6em; font-variant-numeric: tabular-nums; }
.problems code { font-family: var(--st-code-font); font-size: 0.92em; color: var(--quiet); margin-right: 0.6em; }
.help { padding: 0.5rem 0.7rem; max-width: 24rem; font: 0.82rem/1.4 var(--st-font); white-space: pre-line; }
.help b { font-family: var(--st-code-font); color: var(--key); }
.help p { margin: 0.2rem 0; }
.help code { display: block; font-family: var(--st-code-font); font-size: 0.92em; margin: 0.2rem 0; }
.help small { display: block; color: var(--quiet); }
"""

_editor = st.components.v2.component("meshlab_editor", html=HTML, css=CSS, js=LOADER)


@dataclass(frozen=True)
class Edit:
    """What was typed: on top of which revision of which scenario, and when (ms; later edits have larger ones)."""

    text: str
    revision: int
    origin: str
    serial: int


@dataclass(frozen=True)
class Document:
    """What the editor shows. A text of a new `revision` replaces what stands there; one of the same does not.

    `origin` names the scenario, `session` the page's session: what was typed before a refresh comes back if the first
    is the same and the second is not. `folder`: where its paths start (`ui.library.FOLDERS`).
    """

    text: str
    revision: int
    origin: str
    session: str
    folder: str = ""


def editor(document: Document, key: str, changed: Callable[[], None], saved: Callable[[], None]) -> None:
    """Show the editor. `changed` and `saved` (Ctrl+S) are called as callbacks; `typed` and `to_save` tell them what."""
    data: dict[str, Any] = {
        "text": document.text,
        "revision": document.revision,
        "origin": document.origin,
        "session": document.session,
        "folder": document.folder,
    }
    _editor(key=key, data=data, on_edit_change=changed, on_save_change=saved)


def typed(key: str) -> Edit | None:
    """The last text that the editor with this key has sent."""
    return _edit(key, "edit")


def to_save(key: str) -> Edit | None:
    """The text with which Ctrl+S was pressed; only in its callback."""
    return _edit(key, "save")


def _edit(key: str, name: str) -> Edit | None:
    """Whatever comes from a browser is looked at before it is believed."""
    state = st.session_state.get(key)
    value = state.get(name) if state is not None else None
    if not isinstance(value, dict):
        return None
    text, revision, origin, serial = (value.get(part) for part in ("text", "revision", "origin", "serial"))
    if not isinstance(text, str) or not isinstance(origin, str) or len(text) > STUDIO_BODY_BYTES_MAX:
        return None
    if not isinstance(revision, int | float) or not isinstance(serial, int | float):
        return None
    return Edit(text, int(revision), origin, int(serial))
