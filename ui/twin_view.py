"""The page Twin: how well the model of this machine is known, the test that says how far it may be trusted, and its
results.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from lab import calibration_age, figures_twin, profile, twin_page
from lab.errors import LabError
from lab.record import now
from ui import compare_charts, long_jobs, text, twin_results, twin_scenario

KIND, CALIBRATE = "twin", "calibrate"
TESTS_SHOWN = 12
VIEWS = {"test": "Prediction test", "shadow": "Shadow of a running mesh"}
QUICK_S, FULL_S = 90.0, 14 * 60.0
"""About how long the two tests take, for the buttons."""
CALIBRATION = "about 2 min"


def screen() -> None:
    """The whole page."""
    st.html(twin_results.CSS)
    if _view() == "shadow":
        importlib.import_module("ui.shadow_view").section()
        return
    job = _job()
    data = _data(job)
    if data is not None and (one := _chosen(data)) is not None:
        twin_scenario.show(data, one)
        return
    profile_panel(testing=job is not None and job.active)
    if job is not None and job.active:
        long_jobs.watch(job)
    elif job is not None and job.state != "done":
        long_jobs.ended_badly(job)
    if data is None:
        _invitation(job)
    else:
        _results(data, job)


def _view() -> str:
    """Test or Shadow; the switch is there once there is a shadow."""
    if importlib.util.find_spec("ui.shadow_view") is None:
        return "test"
    asked = st.query_params.get("view", "test")
    st.session_state["twin-view"] = asked if asked in VIEWS else "test"
    st.segmented_control(
        "View", list(VIEWS), required=True, format_func=VIEWS.__getitem__, key="twin-view",
        label_visibility="collapsed", on_change=_open_view,
    )  # fmt: skip
    return str(st.session_state["twin-view"])


def _open_view() -> None:
    st.query_params["view"] = st.session_state["twin-view"]


# ---- the profile -----------------------------------------------------------------------------------------------------


def profile_panel(*, testing: bool) -> None:
    """What the model knows of this machine: since when, whether it is still true, and the way to measure it anew."""
    job = _newest(CALIBRATE)
    own = profile.is_calibrated(profile.DEFAULT)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="large"):
            with st.container(width="stretch", gap="xsmall"):
                _profile_words(own=own)
            st.button(
                "Calibrate again" if own else f"Calibrate this machine, {CALIBRATION}", icon=":material/speed:",
                key="calibrate", type="secondary" if own else "primary", on_click=_calibrate,
                disabled=testing or _calibrating(),
                help="The test must end first: each would disturb the other." if testing else
                f"Measures what each step of a task costs here, and the memory of a worker: {CALIBRATION}. "
                "Best while nothing else computes.",
            )  # fmt: skip
        if job is not None and job.active:
            long_jobs.watch(job)
        elif job is not None and job.state == "failed":
            long_jobs.ended_badly(job)


def _calibrating() -> bool:
    job = _newest(CALIBRATE)
    return job is not None and job.active


def _profile_words(*, own: bool) -> None:
    try:
        known = profile.load(profile.DEFAULT)
    except LabError as error:
        st.markdown("##### The profile of this machine cannot be read", anchors=False)
        st.caption(text.escape(str(error)))
        return
    heading = "##### What the model knows of this machine"
    measured = text.escape(known.measured + twin_results.fit_words(known.fit))
    if not own:
        st.markdown(f"{heading} :orange-badge[not measured on this machine]", anchors=False)
        st.caption(f"Until it is calibrated the model uses the figures of another one: {measured}")
        return
    when = "" if known.measured_at is None else text.ago(known.measured_at.isoformat(), now())
    st.markdown(f"{heading} :green-badge[calibrated here] :small[:gray[{when}]]", anchors=False)
    st.caption(f"Measured {measured}")
    if doubts := calibration_age.doubts(known):
        st.caption(f":material/warning: It may be out of date: {text.escape('; '.join(doubts))}. Calibrate again.")


def _calibrate() -> None:
    long_jobs.start(CALIBRATE, "Calibrate this machine", [])


# ---- the test --------------------------------------------------------------------------------------------------------


def _job() -> long_jobs.LongJob | None:
    """The test that the address names, else the newest."""
    return long_jobs.in_address() if st.query_params.get("job") else _newest(KIND)


def _newest(kind: str) -> long_jobs.LongJob | None:
    name = next(long_jobs.recent(kind), None)
    return long_jobs.read(name) if name else None


def _start(words: Sequence[str], title: str) -> None:
    """The address names the job, so a link and the way back lead to it."""
    job = long_jobs.start(KIND, title, [*words, "--out", "{folder}"])
    st.query_params.from_dict({"job": job})


def _buttons(*, primary: bool, disabled: bool) -> None:
    kind: Any = "primary" if primary else "secondary"
    disabled = disabled or _calibrating()
    st.button(
        f"Quick test, about {text.whole_seconds(QUICK_S)}", icon=":material/bolt:", type=kind, key="quick",
        disabled=disabled, on_click=_start, args=(["--quick"], "Quick test of the model"),
        help="A third of the scenarios, each once live: finds what is badly wrong, shows nothing to be right.",
    )  # fmt: skip
    st.button(
        f"Full test, about {text.whole_seconds(FULL_S)}", icon=":material/fact_check:", key="full", disabled=disabled,
        on_click=_start, args=([], "Full test of the model"),
        help="Every scenario three times live: the live system's own spread, and verdicts by equivalence.",
    )  # fmt: skip


def _invitation(job: long_jobs.LongJob | None) -> None:
    """Nothing has been tested yet."""
    if job is not None and job.active:
        st.caption("The first results come with the end of the first live run.")
        return
    with st.container(border=True):
        st.markdown("#### How far may the model be trusted?", anchors=False)
        st.markdown(
            "The same tasks, in the model and on this machine: loads from 20 to 130 % of the capacity, bursts, a real "
            "trace, failures, retry storms, priorities, memory pressure, a crash. For each: how far off the model was, "
            "beside how far the live system is from itself."
        )
        with st.container(horizontal=True):
            _buttons(primary=profile.is_calibrated(profile.DEFAULT), disabled=False)


def _data(job: long_jobs.LongJob | None) -> dict[str, Any] | None:
    """The results of a job, as far as they are written; of the newest test that has some, while one is starting."""
    found = _read(job)
    if found is not None or "job" in st.query_params:
        return found
    for name, _ in zip(long_jobs.recent(KIND), range(TESTS_SHOWN), strict=False):
        if (found := _read(long_jobs.read(name))) is not None:
            return found
    return None


def _read(job: long_jobs.LongJob | None) -> dict[str, Any] | None:
    path = job.folder / "results.json" if job is not None else None
    if path is None or not path.exists():
        return None
    try:
        return _results_of(str(path), path.stat().st_mtime_ns)
    except LabError as error:
        st.error(text.escape(text.sentence(str(error))), icon=":material/error:")
        return None


@st.cache_resource(max_entries=4, show_spinner="Reading the results …")
def _results_of(path: str, written_ns: int) -> dict[str, Any]:
    """The results in a file as it was written at that moment. Read only."""
    return twin_results.read(Path(path))


def _chosen(data: dict[str, Any]) -> dict[str, Any] | None:
    """The scenario that the address names."""
    asked = st.query_params.get("scenario")
    return next((one for one in data["scenarios"] if one["name"] == asked), None)


# ---- the results -----------------------------------------------------------------------------------------------------


def _results(data: dict[str, Any], job: long_jobs.LongJob | None) -> None:
    """The verdict, the aims, the errors, the scenarios."""
    _head(data, job)
    _verdict(data)
    st.html(twin_results.aims(data))
    st.markdown("##### Scenario by scenario", anchors=False)
    st.caption(
        "How far the model is from live. ✔ within what that scenario may be off by, ✘ beyond; – not judged there."
    )
    st.html(twin_results.table(data))
    st.markdown("##### The same errors with their intervals", anchors=False)
    st.caption(
        "Error of the model in %, 0 being what live did. Dark: the aim. Light: what that scenario may be off by. "
        "Bars: 90 % intervals, which take two live repeats. What is further off than the axis goes stands at its edge."
    )
    with st.container(key="twin-forest-frame"):
        compare_charts.chart(figures_twin.forest(data), "twin-forest", "prediction-test")
    st.markdown("##### Look into a scenario", anchors=False)
    dark = compare_charts.dark()
    st.html(twin_results.keys(dark=dark))
    with st.grid(4, min_column_width=250):
        for one in twin_results.by_trouble(data):
            _card(one, dark=dark)
    _files(job)


def _head(data: dict[str, Any], job: long_jobs.LongJob | None) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        when = text.escape(text.ago(str(data["started_at"]), now()))
        repeats = text.plural(int(data["repeats"]), "live repeat")
        scenarios = text.plural(len(data["scenarios"]), "scenario")
        st.markdown(
            f"#### How far the model may be trusted :gray-badge[{scenarios}] :gray-badge[{repeats}] "
            f":small[:gray[{when}]]",
            anchors=False, width="content",
        )  # fmt: skip
        with st.container(horizontal=True, width="content"):
            _buttons(primary=False, disabled=job is not None and job.active)


def _verdict(data: dict[str, Any]) -> None:
    good, words, wrong = twin_results.verdict(data)
    notes = []
    if not data["complete"]:
        notes.append("Not all runs have been made: this is a part of the verdict.")
    if data["repeats"] < 2:
        notes.append("One live run of each: the machine's own spread is unknown, so nothing is shown to be right.")
    said = f"**{text.escape(words)}.** {' '.join(notes)}"
    if good:
        st.success(said, icon=":material/check_circle:")
    else:
        st.warning(said, icon=":material/rule:")
        with st.expander("What was missed, figure by figure"):
            st.markdown("\n".join(f"- {text.escape(one)}" for one in wrong))


def _card(one: Mapping[str, Any], *, dark: bool) -> None:
    with st.container(border=True, gap="xsmall"):
        st.html(twin_results.card(one, dark=dark))
        st.button("Details", key=f"open-{one['name']}", type="tertiary", on_click=_open, args=(one["name"],))


def _open(name: str) -> None:
    st.query_params["scenario"] = name


def _files(job: long_jobs.LongJob | None) -> None:
    """How it was judged, and the results to take away."""
    with st.expander("How it is judged"):
        st.markdown(text.escape(twin_page.METHOD))
    if job is None or not (job.folder / "report.html").exists():
        return
    with st.container(horizontal=True):
        for name, label in (
            ("report.html", "Report"),
            ("table.csv", "Table (CSV)"),
            ("results.json", "Results (JSON)"),
        ):
            if (job.folder / name).exists():
                st.download_button(
                    label, data=(job.folder / name).read_bytes, file_name=f"prediction-test-{name}",
                    icon=":material/download:", key=f"file-{name}",
                )  # fmt: skip
