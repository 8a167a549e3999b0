"""The page Plan: what must be met on the left, the cheapest mesh that does on the right.

/plan?scenario=NAME&job=ID&live=ID
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import streamlit as st

from lab.errors import UsageError
from lab.record import now
from ui import long_jobs, plan_form, plan_live, plan_result, text

RECENT_SHOWN = 6


def screen() -> None:
    """The whole page."""
    st.html(plan_result.CSS)
    job = _job()
    with st.sidebar:
        asked = plan_form.form()
        st.button(
            "Find the cheapest mesh", icon=":material/calculate:", type="primary", key="plan-start", width="stretch",
            disabled=asked is None or (job is not None and job.active), on_click=_start, args=(asked,),
        )  # fmt: skip
        if message := st.session_state.pop("plan-error", ""):
            st.error(text.escape(message), icon=":material/error:")
    if job is None:
        _empty()
    elif job.active:
        st.markdown(f"### {text.escape(job.title)}", anchors=False)
        long_jobs.watch(job)
        st.caption(
            "Each mesh meets the same tasks. The search halves its way along the workers, then looks again where it is "
            "close, then raises the load until the winner breaks."
        )
    else:
        _ended(job)


def _job() -> long_jobs.LongJob | None:
    """The job in the address."""
    name = st.query_params.get("job")
    if not name:
        return None
    try:
        return long_jobs.read(name)
    except UsageError as error:
        st.error(text.escape(text.sentence(str(error))), icon=":material/search_off:")
        return None


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
    bounds = ", ".join(one["words"] for one in data["objectives"])
    st.caption(f"{text.escape(job.title)} · {text.escape(bounds)} · {text.escape(text.ago(job.started_at, now()))}")
    plan_result.show(data, job.folder / "winner.yaml")
    if data["winner"] is not None:
        plan_live.section(job, data["winner"])


def _data(job: long_jobs.LongJob) -> dict[str, Any] | None:
    try:
        content = json.loads((job.folder / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _empty() -> None:
    """Nothing was planned yet: what this is, and the newest plans."""
    with st.container(border=True):
        st.markdown("#### How many workers do I need?", anchors=False)
        st.markdown(
            "Say on the left what must be met and what things cost. The model is searched for the cheapest mesh "
            "(workers × slots × retry policy) that does: how sure that is, what more money would buy, and how much "
            "more load it bears before it breaks. Then the winner can be confirmed on real servers."
        )
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
    words = data["words"][0] if data is not None else job.state
    what, open_ = st.columns([8, 1], vertical_alignment="center")
    what.markdown(f"**{text.escape(job.title)}** · {text.escape(text.ago(job.started_at, now()))}")
    what.caption(text.escape(words))
    open_.button("Open", key=f"open-{job.id}", type="tertiary", on_click=_open, args=(job.id,))


def _open(job_id: str) -> None:
    st.query_params["job"] = job_id
    st.query_params.pop(plan_live.LIVE, None)
