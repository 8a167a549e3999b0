"""The page Plan: what must be met on the left, the cheapest mesh that does on the right.

/plan?scenario=NAME&job=ID&live=ID
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import streamlit as st

from lab.record import now
from ui import copy_link, long_jobs, plan_form, plan_live, plan_result, text
from ui.screens import STATES

RECENT_SHOWN = 6


def screen() -> None:
    """The whole page."""
    st.html(plan_result.CSS)
    job = long_jobs.in_address()
    with st.sidebar:
        asked = plan_form.form()
        _button(asked, busy=job is not None and job.active, key="plan-start", width="stretch")
        if message := st.session_state.pop("plan-error", ""):
            st.error(text.escape(message), icon=":material/error:")
    if job is None:
        _empty(asked)
        return
    _head(job)
    if job.active:
        long_jobs.watch(job)
        st.caption(
            "Each mesh meets the same tasks. The search halves its way along the workers, then looks again where it is "
            "close, then raises the load until the winner breaks."
        )
    else:
        _ended(job)


def _button(asked: plan_form.Asked | None, *, busy: bool, key: str, width: Any) -> None:
    st.button(
        "Find the cheapest mesh", icon=":material/calculate:", type="primary", key=key, width=width,
        disabled=asked is None or busy, on_click=_start, args=(asked,),
    )  # fmt: skip


def _head(job: long_jobs.LongJob) -> None:
    """What was asked, and the ways on from here."""
    data = _data(job) if not job.active else None
    bounds = ", ".join(one["words"] for one in data["objectives"]) if data is not None else ""
    said = [text.escape(part) for part in (job.title, bounds) if part]
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        said.append(text.escape(text.ago(job.started_at, now())))
        st.caption(" · ".join(said), width="content")
        with st.container(horizontal=True, width="content"):
            copy_link.button()
            st.button("New plan", icon=":material/add:", key="new-plan", on_click=_leave)


def _leave() -> None:
    for name in ("job", plan_live.LIVE):
        st.query_params.pop(name, None)


def _start(asked: plan_form.Asked) -> None:
    """Start the plan and show it (a callback)."""
    try:
        st.query_params["job"] = long_jobs.start("plan", **plan_form.command(asked))
    except OSError as error:
        st.session_state["plan-error"] = f"The plan could not be started: {error}."
    st.query_params.pop(plan_live.LIVE, None)


def _ended(job: long_jobs.LongJob) -> None:
    long_jobs.ended_badly(job)
    data = _data(job)
    if data is None:
        if job.state == "done":
            st.error("The plan left no answer.", icon=":material/error:")
        return
    plan_result.answer(data)
    if data["winner"] is not None:
        plan_live.section(job, data["winner"])
    plan_result.evidence(data, job.folder / "winner.yaml")


def _data(job: long_jobs.LongJob) -> dict[str, Any] | None:
    try:
        content = json.loads((job.folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _empty(asked: plan_form.Asked | None) -> None:
    """Nothing was planned yet: what this is, and the newest plans."""
    with st.container(border=True):
        st.markdown("#### How many workers do I need?", anchors=False)
        st.markdown(
            "Say on the left what must be met and what things cost. The model is searched for the cheapest mesh "
            "(workers × slots × retry policy) that does: how sure that is, what more money would buy, and how much "
            "more load it bears before it breaks. Then the winner can be confirmed on real servers."
        )
        _button(asked, busy=False, key="plan-first", width="content")
    found = (long_jobs.read(name) for name in long_jobs.recent("plan"))
    plans = list(islice((job for job in found if "--confirm" not in job.words), RECENT_SHOWN))
    if not plans:
        return
    st.markdown("##### Or open a plan", anchors=False)
    with st.container(border=True, gap="xxsmall"):
        for job in plans:
            _entry(job)


def _entry(job: long_jobs.LongJob) -> None:
    data = _data(job) if not job.active else None
    words = data["words"][0] if data is not None else STATES.get(job.state, (job.state, ""))[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{text.escape(job.title)}** · {text.escape(text.ago(job.started_at, now()))}")
            st.caption(text.escape(words))
        st.button("Open", key=f"open-{job.id}", type="tertiary", on_click=_open, args=(job.id,))


def _open(job_id: str) -> None:
    st.query_params["job"] = job_id
    st.query_params.pop(plan_live.LIVE, None)
