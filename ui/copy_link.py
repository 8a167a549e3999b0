"""A button that copies the address of what is shown, with everything that the page keeps in it."""

from __future__ import annotations

from typing import Any

import streamlit as st

HTML = '<button type="button"><span class="icon">link</span><span class="words">Copy link</span></button>'
CSS = """
button {
  display: inline-flex; align-items: center; gap: .5rem; min-height: 2.5rem; padding: .25rem .75rem; cursor: pointer;
  font: inherit; font-size: .875rem; color: var(--st-text-color); background: transparent; white-space: nowrap;
  border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, .5rem);
}
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
.icon { font-family: "Material Symbols Rounded"; font-size: 1.2rem; line-height: 1; font-feature-settings: "liga"; }
"""
JS = """
export default function ({ parentElement }) {
  const button = parentElement.querySelector("button");
  const words = parentElement.querySelector(".words");
  button.title = "Copies the address of exactly this: the same runs, tab and task";
  let timer;
  button.onclick = async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(window.location.href);
    } catch {
      window.prompt("Copy this link:", window.location.href);  // no clipboard without a secure origin
      said = "Copy link";
    }
    words.textContent = said;
    clearTimeout(timer);
    timer = setTimeout(() => { words.textContent = "Copy link"; }, 1500);
  };
  return () => clearTimeout(timer);
}
"""


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component("copy_link", html=HTML, css=CSS, js=JS)


def button(key: str = "copy-link") -> None:
    """The button. It reads the address in the browser, where it is always whole."""
    _component()(key=key, width="content", height="content")
