"""A run on its way: how far, how long still, and a way to stop it. The parts serve jobs of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from lab.errors import UsageError
from ui import jobs, text

LOOK_S = 0.5
SomeJob = TypeVar("SomeJob", bound=jobs.Work)
KEPT = "Ends the run as Ctrl-C would. What was recorded until then is kept."


def watch(job: jobs.Job) -> None:
    """Follow an active job twice a second. The page is drawn anew when the job ends or another record is there."""
    seen = finished(job)
    follow(job, jobs.read, _panel, lambda now: finished(now) != seen)


def follow(
    job: SomeJob, read: Callable[[str], SomeJob], show: Callable[[SomeJob], None], news: Callable[[SomeJob], bool]
) -> None:
    """Show `job` twice a second as `read` finds it; draw the page anew once it has ended, is gone or has news."""

    @st.fragment(run_every=LOOK_S)
    def look() -> None:
        try:
            now = read(job.id)
        except UsageError:
            st.rerun()
        if not now.active or news(now):
            st.rerun()
        show(now)

    look()


def _panel(job: jobs.Job) -> None:
    panel(job, 0.0 if _between(job) else fraction(job), sentence(job), KEPT, key="cancel")


def panel(job: jobs.Work, share: float, words: str, kept: str, *, key: str) -> None:
    """A bar with words above it, and the button that ends the job; `kept` says what becomes of the work so far."""
    with st.container(border=True):
        told, stop = st.columns([5, 1], vertical_alignment="center")
        with told:
            st.progress(share, text=words)
        asked = job.cancel_asked_s
        patient = asked is not None and asked <= jobs.CANCEL_PATIENCE_S
        label = "Cancel" if asked is None else "Stopping …" if patient else "Stop now"
        with stop:
            st.button(
                label,
                icon=":material/stop_circle:",
                key=key,
                width="stretch",
                disabled=patient,
                on_click=_cancel,
                args=(job,),
                help=kept,
            )


def finished(job: jobs.Job) -> int:
    """How many engines have run all their replications."""
    return len(job.record_folders) // job.replications


def fraction(job: jobs.Work) -> float:
    """The share of its work that is done, as it says itself."""
    return min(1.0, max(0.0, float(job.status.get("fraction") or 0.0)))


def _between(job: jobs.Job) -> bool:
    """Whether the model is over and the real thing has not reported yet: its servers and workers take a moment."""
    return job.engine == "both" and job.status.get("engine") == "sim" and finished(job) >= 1


def _cancel(job: jobs.Work) -> None:
    jobs.cancel(job)


def sentence(job: jobs.Job) -> str:
    """Where a run stands, in one line of Markdown."""
    status = job.status
    engine = str(status.get("engine") or "")
    if job.state == "starting" or not engine:
        return ":material/hourglass_top: Starting …"
    if _between(job):
        return ":material/hourglass_top: **Live** (2 of 2) · starting the servers and the workers …"
    step = ""
    if job.engine == "both":
        step = " (1 of 2)" if engine == "sim" else " (2 of 2)"
    words = [f"**{text.escape(text.ENGINE_WORDS.get(engine, engine))}**{step}"]
    total = int(status.get("total") or 0)
    if total:
        words.append(f"{int(status.get('done') or 0):,} of {text.plural(total, 'task')}")
    return " · ".join([*words, *still(job)])


def still(job: jobs.Work) -> list[str]:
    """How long it will still take, where that can be told, and what it does at the moment."""
    words = []
    eta_s = job.status.get("eta_s")
    if isinstance(eta_s, int | float) and eta_s > 0:
        words.append(f"about {text.whole_seconds(eta_s)} left")
    if job.status.get("note"):
        words.append(text.escape(str(job.status["note"])))
    return words


def ended_badly(job: jobs.Job) -> None:
    """What happened to a run that failed or was cancelled, and where to look. Never a stack trace."""
    if job.state == "cancelled":
        # Where a record was left behind, its verdict says how far it came.
        if finished(job) < (2 if job.engine == "both" else 1):
            kept = "What was done until then is below." if job.record_folders else "Nothing had been recorded yet."
            st.warning(f"This run was cancelled. {kept}", icon=":material/stop_circle:")
        return
    failed(job, "The run failed", "`meshlab doctor` tells what a live run needs and misses.")


def failed(job: jobs.Work, title: str, hint: str) -> None:
    """Why a job failed, in its own words, and where all that it printed lies."""
    lines = [line for line in job.message.splitlines() if line.strip()] or jobs.log_tail(job.log_file)
    why = text.escape(text.sentence(lines[0])) if lines else "It ended without saying why."
    st.error(why, title=title, icon=":material/error:")
    if lines[1:]:
        st.code("\n".join(lines[1:]), language=None, wrap_lines=True)
    st.caption(f"All that it printed: `{job.log_file}`. {hint}")
