"""The real thing on the page What-if: before and after live, as a job outside of the page, and what came of it."""

from __future__ import annotations

import json
from typing import Any, Final

import streamlit as st

from lab import standalone
from lab.figures import ENGINE_COLOURS
from lab.figures_whatif import BEFORE_COLOUR, CURVES, Side, course
from lab.scenario import Scenario
from lab.whatif import FIGURES, Answer, Asked, Moved, Trial
from lab.whatif_words import live_rows
from ui import compare_charts, jobs, long_jobs, shell, text

KIND: Final = "whatif"
START_S: Final = 2.0
"""For starting the servers and the workers, each time."""
RESULT: Final = "answer.json"


def section(scenario: Scenario, found: Answer | None, asked: list[Asked], hindrance: str) -> None:
    """The button, the job while it runs, and what it found."""
    st.markdown("##### And live?", anchors=False)
    job = long_jobs.in_address()
    if job is not None and job.active:
        long_jobs.watch(job)
        return
    if job is not None:
        long_jobs.ended_badly(job)
        if job.state == "done":
            _result(job)
    if hindrance:
        st.info(f"This cannot be asked of the real thing: {text.escape(hindrance)}.", icon=":material/block:")
        return
    _button(scenario, found, asked, again=job is not None)


def _button(scenario: Scenario, found: Answer | None, asked: list[Asked], *, again: bool) -> None:
    takes_s = _takes_s(found) if found is not None else None
    about = f" · about {text.whole_seconds(takes_s)}" if takes_s else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            ("Run it live again" if again else "Run it live") + about,
            icon=":material/play_arrow:",
            type="secondary" if again else "primary",
            key="whatif-live",
            on_click=_start,
            args=(scenario, asked),
        )
        st.caption(
            "Before and after on real Redis, PostgreSQL and worker processes, with the same tasks.", width="content"
        )


def _takes_s(found: Answer) -> float:
    """About how long both sides take, as the model has them."""
    return sum(runs[0].end_s + START_S for runs in (found.before, found.after))


def _start(scenario: Scenario, asked: list[Asked]) -> None:
    """Start the job and show it (a callback). What the model says is on the page already: one run of it is enough."""
    words = ["{folder}/scenario.yaml", "--live", "--replications", "1", "--quiet", "--out", f"{{folder}}/{RESULT}"]
    for one in asked:
        words += ["--card", str(one)]
    title = f"{scenario.name}: what if, live"
    st.query_params["job"] = long_jobs.start(KIND, title, words, {"scenario.yaml": standalone.yaml_text(scenario)})


# ---- what came of it -------------------------------------------------------------------------------------------------


def _result(job: long_jobs.LongJob) -> None:
    try:
        live = json.loads((job.folder / RESULT).read_text(encoding="utf-8"))["live"]
    except (OSError, ValueError, KeyError):
        st.error("The job ended without an answer.", icon=":material/error:")
        return
    if not live["possible"]:
        st.info(f"Not run live: {text.escape(str(live['why']))}", icon=":material/block:")
        return
    st.markdown(f"**{text.escape(str(live['verdict']))}**")
    st.caption("One live run before and one after, so no interval; the model beside it ran the same tasks.")
    if live["checks"]["failed"]:
        st.error(f"{text.escape(', '.join(live['checks']['failed']))}: broken live.", icon=":material/error:")
    _charts(live["records"])
    with st.expander("Model and live, figure by figure", icon=":material/table_rows:"):
        figures = {
            path: {engine: Moved(**one) for engine, one in both.items()}
            for path, both in live["figures"].items()
            if path in FIGURES
        }
        st.markdown("\n".join(["| |Model before|after| |Live before|after| |", "|:--|--:|--:|--:|--:|--:|--:|", *(
            "|" + "|".join(text.escape(cell) for cell in row) + "|" for row in live_rows(figures)
        )]))  # fmt: skip
    with st.container(horizontal=True):
        for side in ("before", "after"):
            ids = f"{live['records']['model'][side]},{live['records']['live'][side]}"
            st.page_link(
                shell.RUN.path, label=f"Model and live, {side}, task by task", icon=":material/compare_arrows:",
                query_params={"run": ids},
            )  # fmt: skip


def _charts(records: dict[str, Any]) -> None:
    """Live before and after, over time, with the model's after beside it."""
    dark = compare_charts.dark()
    looks = (
        ("Live, before", "live", "before", BEFORE_COLOUR[dark], "dot"),
        ("Live, after", "live", "after", ENGINE_COLOURS["live", dark], "solid"),
        ("Model, after", "model", "after", ENGINE_COLOURS["sim", dark], "dash"),
    )
    lines = []
    for name, engine, side, colour, dash in looks:
        folder = jobs.runs_dir() / str(records[engine][side])
        if not (folder / "run.json").is_file():
            st.caption("The records of these runs have been deleted, so there are no curves.")
            return
        record = compare_charts.record(str(folder), (folder / "run.json").stat().st_mtime_ns)
        lines.append(Side(name, [Trial.of(record)], colour, dash))
    with st.grid(3, min_column_width=340):
        for curve in CURVES:
            compare_charts.chart(course(curve, lines, dark=dark), f"whatif-live-{curve}", f"whatif-live-{curve}")
