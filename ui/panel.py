"""The command center's panel: one browser component, served from ui/assets, that draws what moves."""

from __future__ import annotations

from typing import Any, Final

import streamlit as st

from ui import palette

NAME: Final = "agent_mesh_lab_panel"
LOADER: Final = """
const panel = import(new URL("/lab/assets/panel.js", location.origin));
export default function (component) {
  let undo = () => {};
  let over = false;
  panel.then(
    (found) => { if (!over) undo = found.default(component); },
    () => {
      component.parentElement.textContent =
        "The panel could not be loaded from /lab/assets/. Start the app with `streamlit run app.py`, then reload.";
    },
  );
  return () => { over = true; undo(); };
}
"""
"""Sent with every rerun, so it is short: the panel itself is fetched once and cached."""

FRAME_CSS: Final = """<style>
[data-testid="stMainBlockContainer"] { padding: 4.25rem 1.25rem 1rem; }
[data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] { gap: 0; }
</style>"""
"""The command center needs the whole window; other pages keep Streamlit's margins."""


def colours() -> dict[str, Any]:
    """The palette as the panel wants it: one place decides (ui/palette.py)."""
    return {
        "model": palette.MODEL,
        "live": palette.LIVE,
        "model-dark": palette.MODEL_DARK,
        "live-dark": palette.LIVE_DARK,
        "good": palette.GOOD,
        "warn": palette.WARN,
        "bad": palette.BAD,
        "roles": list(palette.ROLES),
    }


def show() -> None:
    """Mount the panel; it finds its stream on the app's own origin."""
    st.html(FRAME_CSS)
    component = st.components.v2.component(NAME, js=LOADER)
    component(key="mesh-panel", data={"colours": colours()})
