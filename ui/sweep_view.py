"""The page Sweep: what a sweep has found, as figures and a table; and the sweeps that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from lab import sweep_answer, sweep_words
from lab.errors import LabError
from lab.headlines import FIGURES
from lab.record import now
from lab.sweep_result import Sweep
from lab.sweep_words import axis, figure_of, path_words
from ui import compare_charts, copy_link, long_jobs, sweep_form, text
from ui.screens import STATES

RECENT_SHOWN: Final = 8
LOW, HIGH = "95 % from", "to"
"""The columns of an interval."""
LINES, HEAT, MULTIPLES, PARALLEL, DOTS = "Lines", "Heat map", "Small multiples", "Parallel", "Dots"
KINDS: Final[Mapping[str, str]] = {
    LINES: "Over the first knob, with the 95 % interval as a band; a line for each combination of the others.",
    HEAT: "Over two knobs; a third is averaged. Intervals stand in the table.",
    MULTIPLES: "A heat map for each value of the third knob. Intervals stand in the table.",
    PARALLEL: "A line for each point, through its values.",
    DOTS: "Against each knob, a dot for each point.",
}
FAULTS_SHOWN: Final = 5
INTRO: Final = (
    "Pick a scenario, the knobs to vary and their values. Every combination runs in the model with the same seeds, so "
    "points differ by their knobs and not by luck. You get a map of what each knob is worth, with intervals."
)
Key = tuple[str, int]
"""A result file, and when it was written."""


def screen() -> None:
    """The whole page."""
    asked = str(st.query_params.get("job", ""))
    try:
        job = long_jobs.read(asked) if asked else None
    except LabError as error:
        sweep_form.sidebar(busy=False)
        st.error(text.escape(text.sentence(str(error))), title="Nothing to show here", icon=":material/search_off:")
        st.button("Start anew", on_click=_leave, key="start-anew")
        return
    choice = sweep_form.sidebar(busy=job is not None and job.active)
    if job is None:
        _welcome(choice)
    else:
        _job(job)


def _leave() -> None:
    st.query_params.pop("job", None)


# ---- before anything was run -----------------------------------------------------------------------------------------


def _welcome(choice: sweep_form.Choice) -> None:
    with st.container(border=True):
        st.markdown("#### Which knob moves what, and how surely?", anchors=False)
        st.markdown(INTRO)
        st.button(
            f"Start {text.plural(choice.points * choice.replications, 'run')} of {text.escape(choice.scenario.name)}"
            if choice.scenario is not None and choice.ready
            else "Start the sweep",
            icon=":material/grid_on:",
            type="primary",
            key="sweep-first",
            disabled=not choice.ready,
            on_click=sweep_form.start,
            args=(choice,),
        )
    _earlier()


def _earlier() -> None:
    """The newest sweeps of the app."""
    found = []
    for job_id in long_jobs.recent(sweep_form.KIND):
        try:
            found.append(long_jobs.read(job_id))
        except LabError:
            continue  # its folder has been removed meanwhile
        if len(found) == RECENT_SHOWN:
            break
    if not found:
        return
    st.markdown("##### Or open an earlier one", anchors=False)
    moment = now()
    with st.container(border=True, gap="xxsmall"):
        for job in found:
            what, when, open_ = st.columns([5, 2, 1], vertical_alignment="center")
            word, colour = STATES.get(job.state, (job.state, "gray"))
            what.markdown(f"**{text.escape(job.title)}** :{colour}-badge[{text.escape(word)}]")
            when.caption(text.ago(job.started_at, moment))
            open_.button("Open", key=f"open-{job.id}", type="tertiary", on_click=sweep_form.show, args=(job.id,))


# ---- one sweep -------------------------------------------------------------------------------------------------------


def _job(job: long_jobs.LongJob) -> None:
    out = _out(job)
    found = None
    if not job.active and out.is_file():
        try:
            found = _load((str(out), out.stat().st_mtime_ns))
        except (LabError, OSError) as error:
            st.error(text.escape(text.sentence(str(error))), icon=":material/error:")
    _header(job, found)
    if job.active:
        long_jobs.watch(job)
        st.caption(":material/info: You may leave this page: the sweep goes on, and is listed here.")
        return
    if job.state in ("failed", "cancelled") and (found is None or not found.complete):
        long_jobs.ended_badly(job)
        _go_on(job, found)
    if found is not None:
        _result(job, found, (str(out), out.stat().st_mtime_ns))


def _out(job: long_jobs.LongJob) -> Path:
    """Where it writes: a sweep that goes on with another one writes into that one's folder."""
    after = dict(zip(job.words, job.words[1:], strict=False)).get("--out")
    return Path(after) if after else job.folder / sweep_form.RESULT


@st.cache_resource(max_entries=8, show_spinner=False)
def _load(key: Key) -> Sweep:
    return Sweep.load(key[0])


def _header(job: long_jobs.LongJob, found: Sweep | None) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        with st.container(width="content", gap=None):
            st.markdown(f"#### {text.escape(job.title)} runs", anchors=False)
            varied = ""
            if found is not None:
                paths = ", ".join(text.escape(path_words(path)) for path in found.paths)
                varied = f"{text.escape(found.about['method'])} over {paths} · "
            st.caption(f"{varied}{text.escape(text.ago(job.started_at, now()))}")
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            if found is not None:
                st.download_button(
                    "Parquet",
                    _out(job).read_bytes,
                    f"{found.about['scenario_name']}-sweep.parquet",
                    icon=":material/download:",
                    key="parquet",
                    on_click="ignore",
                    help="One tidy table, a row a run: read it with pandas, DuckDB, or Sweep.load(…).",
                )
            copy_link.button()
            st.button("New sweep", icon=":material/add:", key="new-sweep", on_click=_leave)


def _go_on(job: long_jobs.LongJob, found: Sweep | None) -> None:
    """A sweep that was stopped has kept its rows."""
    made = 0 if found is None else len(found.frame)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Go on where it stopped" if made else "Start it again",
            icon=":material/resume:",
            key="go-on",
            on_click=_resume,
            args=(job,),
            help="What was run is not run again.",
        )
        st.caption(f"{text.plural(made, 'run')} of it had been made." if made else "No run of it had ended yet.")


def _resume(job: long_jobs.LongJob) -> None:
    words = [word for word in job.words if word != "--resume"]
    sweep_form.show(long_jobs.start(sweep_form.KIND, job.title, [*words, "--resume"]))


# ---- its result ------------------------------------------------------------------------------------------------------


def _result(job: long_jobs.LongJob, found: Sweep, key: Key) -> None:
    _faults(found)
    if not found.figures:
        return
    answered = st.container()
    figure, kind = _choices(found)
    with answered:
        _answer(found, figure)
    drawn = _drawn(key, figure, kind, compare_charts.dark())
    compare_charts.chart(drawn, f"sweep-{kind}-{figure}", f"{found.about['scenario_name']}-sweep", width="stretch")
    baseline = _baseline(found)
    _table(found, figure, baseline)
    with st.expander("The command behind it, and in Python"):
        st.code(_command(job, found), language="bash", wrap_lines=True)
        st.code(f'from lab.sweep_result import Sweep\n\nSweep.load("{_out(job)}").table("{figure}")', language="python")


def _answer(found: Sweep, figure: str) -> None:
    """What the sweep says of the figure, and how sure that is, before anything is drawn."""
    said = sweep_answer.answer(found, figure)
    if not said:
        return
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{text.escape(said[0])}.**")
        for line in said[1:]:
            st.markdown(text.escape(f"{line}."))
        runs = text.plural(int(found.about["replications"]), "run")
        sure = "one run of each: how much is luck is not known" if runs == "1 run" else "95 % intervals in brackets"
        part = "" if found.complete else " Not all runs have been made."
        st.caption(f"In the model, means of {runs} of each point with the same seeds; {sure}.{part}")


def _faults(found: Sweep) -> None:
    """What broke, before what is shown of the rest."""
    for rows, column, title in (
        (found.broken, "checks_failed", "broke a check"),
        (found.failed, "error", "came to no figures"),
    ):
        if rows.empty:
            continue
        lines = []
        for row in rows.head(FAULTS_SHOWN).to_dict("records"):
            at = ", ".join(f"{path}={sweep_words.value(row[path])}" for path in found.paths)
            lines.append(f"point {row['point']} ({at}): {row[column]}")
        if len(rows) > FAULTS_SHOWN:
            lines.append(f"and {len(rows) - FAULTS_SHOWN:,} more; the Parquet file has them all")
        st.error(f"**{text.plural(len(rows), 'run')} {title}**", icon=":material/error:")
        st.code("\n".join(lines), language=None, wrap_lines=True)


def _choices(found: Sweep) -> tuple[str, str]:
    """Which figure, drawn how."""
    usual = [figure.path for figure in FIGURES if figure.path in found.figures]
    options = [*usual, *(path for path in found.figures if path not in usual)]
    kinds = _kinds(found)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = str(st.query_params.get("figure", ""))
        st.session_state["sweep-figure"] = asked if asked in options else sweep_words.DEFAULT_FIGURE
        figure = st.selectbox(
            "Figure",
            options,
            key="sweep-figure",
            format_func=lambda path: figure_of(path).label,
            on_change=_keep_figure,
            width=280,
        )
        kind = (
            compare_charts.switch("Drawn as", kinds, f"sweep-kind-{'-'.join(kinds)}", KINDS[kinds[0]])
            if len(kinds) > 1
            else kinds[0]
        )
    st.caption(text.escape(f"{figure_of(figure).about} {KINDS[kind]}".strip()))
    return figure, kind


def _keep_figure() -> None:
    st.query_params["figure"] = st.session_state["sweep-figure"]


def _kinds(found: Sweep) -> list[str]:
    """What the design can be drawn as, the most telling first."""
    paths = len(found.varying())
    if found.about["sampled"]:
        return [DOTS, PARALLEL]
    if paths == 1:
        return [LINES]
    return [HEAT, LINES] if paths == 2 else [MULTIPLES, LINES, HEAT, PARALLEL] if paths == 3 else [PARALLEL, DOTS]


@st.cache_resource(max_entries=24, show_spinner="Drawing …")
def _drawn(key: Key, figure: str, kind: str, dark: bool) -> go.Figure:
    found = _load(key)
    x, *others = found.varying()
    builders: dict[str, Callable[[], go.Figure]] = {
        LINES: lambda: found.lines(x, figure, dark=dark),
        HEAT: lambda: found.heat_map(x, others[0], figure, dark=dark),
        MULTIPLES: lambda: found.small_multiples(figure, dark=dark),
        PARALLEL: lambda: found.parallel(figure, dark=dark),
        DOTS: lambda: found.scatter(figure, dark=dark),
    }
    return builders[kind]()


# ---- its table -------------------------------------------------------------------------------------------------------


def _baseline(found: Sweep) -> int:
    """The point that the others are held against."""
    points = found.points
    words = {
        int(str(point)): ", ".join(f"{path_words(path)} {sweep_words.value(row[path])}" for path in found.paths)
        for point, row in points.iterrows()
    }
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.markdown("##### Every point", anchors=False, width="content")
        chosen = st.selectbox(
            "Differences from",
            list(words),
            format_func=lambda point: words[point],
            key="sweep-baseline",
            width=320,
            help="How far each point is from this one, by pairs of runs of one seed: their common luck cancels.",
        )
    return int(chosen)


def _table(found: Sweep, figure: str, baseline: int) -> None:
    what = figure_of(figure)
    title, unit = axis(what)
    table = found.table(figure, baseline)
    numbers = {
        title: table["mean"],
        LOW: table["low"],
        HIGH: table["high"],
        "Δ": table["difference"],
        f"Δ {LOW}": table["difference_low"],
        f"Δ {HIGH}": table["difference_high"],
    }
    paths = {path_words(path): table[path] for path in found.paths}
    shown = pd.DataFrame({**paths, **{name: column / unit for name, column in numbers.items()}})
    alone = found.about["replications"] < 2
    shown = shown.drop(columns=[name for name in (LOW, HIGH, f"Δ {LOW}", f"Δ {HIGH}") if alone])
    config: dict[str, Any] = {name: st.column_config.NumberColumn(format="localized") for name in numbers}
    st.dataframe(shown.map(_short), hide_index=True, width="stretch", column_config=config, key=f"sweep-table-{figure}")
    st.caption(_chance(found, table))


def _short(found: Any) -> Any:
    """Four significant digits: more are noise, and wide."""
    return float(f"{found:.4g}") if isinstance(found, float) and found == found else found


def _chance(found: Sweep, table: pd.DataFrame) -> str:
    if found.about["replications"] < 2:
        return "One run of each point: no intervals, so nothing is known of other seeds. More runs would give them."
    said = "*95 % from, to*: interval of the mean over the runs (Student's t). "
    said += "*Δ*: how far it is from the chosen point, by pairs of runs of one seed"
    worth = float(table["variance_reduction"].median())
    if worth == worth:
        said += f"; that is worth {worth:.3g} times as many unpaired runs (median of the points)"
    return f"{said}."


def _command(job: long_jobs.LongJob, found: Sweep) -> str:
    """What makes this sweep again, with the scenario's own file."""
    import shlex

    words = [word for word in job.words[1:] if word not in ("--quiet", "--resume")]
    out = words.index("--out") if "--out" in words else len(words)
    kept = [*words[:out], *words[out + 2 :]]
    return shlex.join(["meshlab", "sweep", f"{found.about['scenario_name']}.yaml", *kept])
