"""The shadow on the page of the twin: a standing mesh beside its model, as it happens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

import streamlit as st

from lab import figures_observed
from lab.errors import LabError
from lab.observed_watch import Look
from ui import text
from ui.compare_charts import dark
from ui.shadow_watch import EVERY_S, WINDOW_S, Watcher, watcher

STARTS: Final = "meshlab up"
SUBMITS: Final = "meshlab submit DEVELOPER --count 200"
TILES: Final[tuple[tuple[str, str, Callable[[float | None], str]], ...]] = (
    ("Completed", "throughput_per_s", text.rate),
    ("Latency p50", "latency_s.p50", text.seconds),
    ("Latency p95", "latency_s.p95", text.seconds),
    ("Latency p99", "latency_s.p99", text.seconds),
    ("Wait p95", "queue_wait_s.p95", text.seconds),
    ("Waiting now", "depth", text.count),
    ("Retries", "retries", text.count),
)
VERDICTS: Final = {
    "agree": (":material/check_circle:", "green", "Agrees"),
    "apart": (":material/warning:", "red", "Apart"),
    "quiet": (":material/bedtime:", "gray", "Quiet"),
}
HELP: Final = (
    "The last two minutes of the standing mesh, replayed in the model: the same arrivals, the work as it was seen, the "
    "mesh's own workers, slots and rules. It only reads."
)


def section() -> None:
    """The whole section: a heading, a switch, and what the newest look says."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown("#### Shadow: your running mesh beside its model", anchors=False, help=HELP, width="content")
        watching = st.toggle("Watch", value=True, key="shadow-watch", help="Reads the audit log every five seconds.")
    if not watching:
        st.caption("Not watching. Switch it on to compare the running mesh with its model.")
        return
    _live()


@st.fragment(run_every=EVERY_S)
def _live() -> None:
    show(watcher())


def show(one: Watcher) -> None:
    """The newest look, or what to do when there is none."""
    try:
        look = one.newest()
    except LabError as error:
        _missing(str(error))
        return
    _verdict(look)
    _tiles(look)
    if len(look.curve_s):
        seen = {name: values[0] for name, values in look.curves.items()}
        predicted = {name: values[1] for name, values in look.curves.items()}
        figure = figures_observed.shadow(look.curve_s, seen, predicted, dark=dark())
        st.plotly_chart(figure, key="shadow-curves", config={"displayModeBar": False})


def _missing(why: str) -> None:
    with st.container(border=True):
        if "no standing mesh" in why:
            st.markdown("**No standing mesh runs here.** Start one and give it work; this section finds it by itself.")
            st.code(f"{STARTS}\n{SUBMITS}", language="bash")
            st.caption("A mesh elsewhere is found by its PostgreSQL: set DB_DSN before you start the app.")
        else:
            st.warning(text.escape(text.sentence(why)), icon=":material/cloud_off:")


def _verdict(look: Look) -> None:
    icon, colour, word = VERDICTS[look.state]
    when = datetime.fromtimestamp(look.at_s).strftime("%H:%M:%S")
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(
                f":{colour}-badge[{icon} {word}] &nbsp; {text.escape(text.sentence(look.words))}", width="stretch"
            )
            st.caption(f"{when}, the last {text.seconds(look.window_s)}", width="content")
        for cause in look.causes:
            st.markdown(f"- {text.escape(cause)}")
        for note in look.notes:
            st.caption(text.escape(text.sentence(note)))
        if look.state == "quiet":
            st.caption(f"Submit some work, say `{SUBMITS}`; the last {WINDOW_S:.0f} s are compared.")


def _tiles(look: Look) -> None:
    """Figures, seen and predicted: a table with a column each, so that they compare by eye."""
    head = "| | " + " | ".join(name for name, *_ in TILES) + " |"
    rule = "|:--|" + "--:|" * len(TILES)
    rows = [
        f"| {label} | " + " | ".join(write(values[key]) for _, key, write in TILES) + " |"
        for label, values in (("**Seen**", look.seen), ("**Predicted**", look.predicted))
    ]
    st.markdown("\n".join([head, rule, *rows]))
