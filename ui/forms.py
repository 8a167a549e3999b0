"""The left-hand form: which scenario, which knobs, which engine. Reads widgets; decides nothing about the mesh."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from typing import Any

import streamlit as st

from lab import limits
from lab.errors import LabError, Problem, ScenarioError
from lab.scenario import Scenario
from ui import history, jobs, knobs, library, load, text
from ui.knobs import Knob

OWN = "own"
LONG_RUN_S = 120.0
LIVE_START_S = 2.0
"""For starting the servers and the workers."""
BUTTONS: tuple[tuple[jobs.Engine, str, str, str], ...] = (
    ("both", "Run both", ":material/compare_arrows:", "The model first, then the real thing with the same tasks."),
    ("sim", "Model", ":material/timeline:", "The SimPy model only: an hour costs about a second."),
    ("live", "Live", ":material/dns:", "Real Redis, PostgreSQL and worker processes only."),
)
SEEDS_HELP = (
    "How many runs, with seeds s, s + 1, …: replications. What differs from run to run gives every figure a 95 % "
    "interval. The model runs them on all cores; live runs follow one another."
)


@dataclass(frozen=True)
class Choice:
    """What the form says now. `scenario` is None while there are `problems`; knobs are applied to it."""

    name: str
    text: str
    source: str
    claim: str = ""
    scenario: Scenario | None = None
    problems: list[Problem] = field(default_factory=list)


def sidebar() -> Choice:
    """The whole form, and what it says."""
    with st.sidebar:
        choice = _chosen()
        # Above the knobs, so that no window is too low to show them; filled below, since they run what the knobs say.
        above = st.container()
        choice = _turned(choice)
        with above:
            _run_buttons(choice)
    return choice


# ---- which scenario --------------------------------------------------------------------------------------------------


def _chosen() -> Choice:
    """The scenario as its file has it."""
    files = _files()
    own = str(st.session_state.get("own_yaml") or "")
    titles = {name: f"{name} (yours)" if file.own else name for name, file in files.items()}
    if own:
        titles[OWN] = f"{st.session_state.get('own_name', OWN)} (as edited)"
    # The address decides, so that a link opens the same scenario; without one, what was chosen last.
    asked = _asked()
    st.session_state["scenario"] = asked if asked in titles else library.DEFAULT
    name = st.selectbox(
        "Scenario",
        list(titles),
        key="scenario",
        format_func=lambda option: titles.get(option, option),
        help="What is asked of the mesh: who submits which work, which workers serve it, by which rules. "
        "Scenarios are written and changed on the page *Scenarios*.",
        on_change=_choose,
    )
    if name == OWN or name not in files:
        source, content, claim, base = "edited.yaml", own, "", library.FOLDER
    else:
        file = files[name]
        source, content, claim, base = file.path.name, file.text, file.claim, library.base(file.folder)
        st.caption(text.escape(claim))
    try:
        return Choice(name or OWN, content, source, claim, library.load(content, source, base))
    except ScenarioError as error:
        return Choice(name or OWN, content, source, claim, problems=error.problems)


def _files() -> dict[str, library.Shipped]:
    """Those that ship, the user's own, and whichever else the link asks for (a drill, a published flaw)."""
    files = {**library.saved(), **library.shipped()}
    files = dict(sorted(files.items(), key=lambda item: item[0] != library.DEFAULT))
    asked = _asked()
    other = library.find(asked) if asked and asked not in files else None
    return {**files, other.name: other} if other is not None else files


def _asked() -> str:
    return str(st.query_params.get("scenario") or st.session_state.get("scenario_chosen", ""))


def _choose() -> None:
    st.session_state["scenario_chosen"] = st.query_params["scenario"] = st.session_state["scenario"]


def take(content: str, name: str) -> None:
    """Put a run's scenario into the form (a callback)."""
    st.session_state.update({"own_yaml": content, "own_name": name, "scenario_chosen": OWN})
    st.query_params["scenario"] = OWN


# ---- its knobs -------------------------------------------------------------------------------------------------------


def _turned(choice: Choice) -> Choice:
    """The choice with the knobs applied."""
    if choice.scenario is None:
        return choice
    found = knobs.knobs(choice.scenario)
    round_ = st.session_state.get("knob_round", 0)
    stamp = hashlib.sha256(f"{choice.name}\n{choice.text}\n{round_}".encode("utf-8", "surrogatepass")).hexdigest()[:12]
    values: dict[str, knobs.Value] = {}
    left, right = st.columns(2)
    for index, knob in enumerate(found):
        with left if index % 2 == 0 else right:
            values[knob.name] = _knob(knob, f"knob-{knob.name}-{stamp}")
    with left if len(found) % 2 == 0 else right:
        st.number_input("Runs (seeds)", 1, limits.REPLICATIONS_APP_MAX, 1, key="seeds", help=SEEDS_HELP)
    _reset(bool(knobs.overrides(found, values)))
    try:
        return replace(choice, scenario=knobs.apply(choice.scenario, found, values))
    except LabError as error:
        problems = error.problems if isinstance(error, ScenarioError) else [Problem("", str(error))]
        return replace(choice, scenario=None, problems=problems)


def _knob(knob: Knob, key: str) -> knobs.Value:
    # Streamlit wants all numbers of one control to be of one type; it gives back the same type.
    number: Any = int if knob.kind == "whole" else float
    value = st.number_input(
        knob.label,
        min_value=number(knob.low),
        max_value=number(knob.high),
        value=None if knob.value is None else number(knob.value),
        step=number(knob.step),
        format="%d" if knob.kind == "whole" else "%g",
        key=key,
        help=knob.help,
        placeholder=knob.placeholder or None,
    )
    # An emptied field means: as the scenario has it.
    return knob.value if value is None else number(value)


def _reset(enabled: bool) -> None:
    st.button(
        "Reset to the scenario's values",
        icon=":material/restart_alt:",
        key="reset",
        type="tertiary",
        disabled=not enabled,
        on_click=_next_round,
    )


def _next_round() -> None:
    """Fresh widgets, which start from the scenario's values again."""
    st.session_state["knob_round"] = st.session_state.get("knob_round", 0) + 1


# ---- its load --------------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=50, show_spinner=False)
def _offered(yaml_text: str, base: str) -> load.Load:
    return load.offered(Scenario.parse(yaml_text, base=base))


def live_s(scenario: Scenario) -> float | None:
    """About how long a live run takes, in whole five seconds; None if its files cannot be read."""
    try:
        run_s = _offered(scenario.to_yaml(), str(scenario.base)).run_s
    except LabError:
        return None
    return math.ceil((run_s + LIVE_START_S) / 5) * 5


def _load_hint(scenario: Scenario, seeds: int) -> None:
    try:
        offered = _offered(scenario.to_yaml(), str(scenario.base))
    except LabError as error:
        st.warning(text.escape(str(error)), icon=":material/warning:")
        return
    st.caption(load.sentence(offered), help="From mean service times and expected retries; the engines know the rest.")
    if offered.run_s * seeds > LONG_RUN_S:
        takes = text.whole_seconds(offered.run_s * seeds)
        st.caption(f":material/schedule: Live, this takes about {takes}; the model does not wait.")


# ---- which engine ----------------------------------------------------------------------------------------------------


def _run_buttons(choice: Choice) -> None:
    """Run both is what the lab is for; the others stand beside it."""
    scenario, running = choice.scenario, history.running()
    busy = [job for job in running if job.id == st.query_params.get("job")]
    too_many = scenario is not None and scenario.mesh.workers > limits.LIVE_WORKERS_MAX
    seeds = int(st.session_state.get("seeds") or 1)
    with st.container(horizontal=True, gap="small"):
        for engine, label, icon, about in BUTTONS:
            st.button(
                label,
                icon=icon,
                key=f"run-{engine}",
                type="primary" if engine == "both" else "secondary",
                help="A run is on its way; it can be cancelled there." if busy else about,
                disabled=scenario is None or bool(busy) or (too_many and engine != "sim"),
                on_click=start,
                args=(scenario, engine, seeds),
            )
    if running and not busy:
        st.caption(":material/info: Another run is on its way: two live runs disturb each other's times.")
    if scenario is not None:
        _load_hint(scenario, seeds)
    elif choice.problems:
        _problems(choice)
    if too_many:
        st.caption(f"Live runs start at most {limits.LIVE_WORKERS_MAX} worker processes; the model takes more.")
    if message := st.session_state.get("start_error"):
        st.error(text.escape(message), icon=":material/error:")


def _problems(choice: Choice) -> None:
    """Why it cannot run, verbatim, since it quotes what was written; what a file has wrong is mended in the studio."""
    count = text.plural(len(choice.problems), "problem")
    st.error(f"{count} to mend before it runs:", icon=":material/error:")
    located = [problem.located(choice.source) for problem in choice.problems]
    st.code("\n".join(located), language=None, wrap_lines=True)


def start(scenario: Scenario, engine: jobs.Engine, seeds: int = 1) -> None:
    """Start a run and show it (a callback)."""
    st.session_state["start_error"] = ""
    try:
        job_id = jobs.start(scenario, engine, replications=seeds)
    except OSError as error:
        st.session_state["start_error"] = (
            f"The run could not be started: {error}. Make {jobs.runs_dir()} writable, or set MESHLAB_RUNS."
        )
        return
    show({"job": job_id})


def show(query: dict[str, str]) -> None:
    """Show the run with this permalink (a callback)."""
    for name in ("job", "run", "task", "baseline", "pool"):
        st.query_params.pop(name, None)
    st.query_params.update(query)
