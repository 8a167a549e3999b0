"""The winner of a plan on the real thing: a job of its own, and what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import streamlit as st

from ui import long_jobs, shell, text

LIVE: Final = "live"
"""The parameter of the address that names the live run's job."""
NOT_AGAIN: Final = frozenset({"--workers", "--slots", "--policies", "--out", "--yaml"})
"""Options of the plan that the live run has values of its own for."""
REPLICATIONS: Final = "10"
"""Of the model, for what it expects of the live run."""


def section(plan: long_jobs.LongJob, winner: Mapping[str, Any]) -> None:
    """The button, the job while it runs, and what it found."""
    job = long_jobs.in_address(LIVE)
    if job is not None and job.active:
        long_jobs.watch(job)
        return
    with st.container(border=True):
        st.markdown("##### Does it hold live?", anchors=False)
        if job is not None:
            long_jobs.ended_badly(job)
            if job.state == "done":
                _result(job)
        _button(plan, winner, again=job is not None)


def _button(plan: long_jobs.LongJob, winner: Mapping[str, Any], *, again: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            "Confirm live again" if again else "Confirm live", icon=":material/verified:", key="plan-live",
            type="secondary" if again else "primary", on_click=_start, args=(plan, winner),
        )  # fmt: skip
        st.caption(
            "The same tasks on this mesh: real Redis, PostgreSQL and worker processes, if they fit on this machine.",
            width="stretch",
        )


def _start(plan: long_jobs.LongJob, winner: Mapping[str, Any]) -> None:
    """Plan again with this one candidate, and run it live (a callback)."""
    kept = [word for pair in _pairs(plan.words[1:]) if pair[0] not in NOT_AGAIN for word in pair]
    mesh = ["--workers", str(winner["workers"]), "--slots", str(winner["slots"]), "--policies", winner["policy"]]
    words = ["{folder}/scenario.yaml", *kept, *mesh, "--replications", REPLICATIONS, "--no-margin", "--confirm"]
    words += ["--out", "{folder}/plan.json"]
    scenario = (plan.folder / "scenario.yaml").read_text(encoding="utf-8")
    st.query_params[LIVE] = long_jobs.start("plan", f"{plan.title}, live", words, {"scenario.yaml": scenario})


def _pairs(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each option with its value, if it has one."""
    pairs: list[tuple[str, ...]] = []
    for word in words:
        if word.startswith("--"):
            pairs.append((word,))
        elif pairs:
            pairs[-1] = (*pairs[-1], word)
    return pairs


def _result(job: long_jobs.LongJob) -> None:
    found: Any = None
    try:
        found = json.loads((job.folder / "plan.json").read_text(encoding="utf-8")).get("confirmation")
    except (OSError, ValueError):
        st.error("The live run left no answer.", icon=":material/error:")
        return
    if found is None:
        st.warning("Under these seeds the mesh did not meet its objectives in the model.", icon=":material/rule:")
        return
    first, *others = [text.escape(line) for line in found["words"]]
    if not found["done"]:
        st.info(first, icon=":material/block:")
        return
    (st.success if found["ok"] else st.error)(first, icon=":material/verified:" if found["ok"] else ":material/error:")
    st.markdown("\n".join(f"- {line}" for line in others))
    if found["record"]:
        run = str(found["record"]).replace("\\", "/").rpartition("/")[2]
        st.page_link(shell.RUN.path, label="The live run", icon=":material/compare_arrows:", query_params={"run": run})
