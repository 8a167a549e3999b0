"""The left-hand form of the page Sweep: which scenario, which paths with which values, how many runs of each point."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

import streamlit as st

from lab import limits, standalone, sweep_design
from lab.errors import LabError
from lab.rules.priority import PriorityRules
from lab.scenario import Scenario
from lab.sweep import REPLICATIONS
from lab.sweep_words import value
from ui import jobs, knobs, library, long_jobs, text

KIND: Final = "sweep"
RESULT: Final = "result.parquet"
PATHS_MAX: Final = 3
"""More paths than this cannot be drawn as a grid; the command line takes any number, and samples them."""
POINTS_MAX: Final = 2_000
"""What somebody waits for at a page; the command line takes more."""
SPREAD: Final = (0.5, 1.0, 1.5, 2.0, 3.0)
"""What a knob's own value is multiplied by to suggest values."""
START: Final = ("mesh.workers", "mesh.slots")
PATH_HELP = "A path in the scenario: one of these, or any other that you type, such as rules.retry.max_retries."
VALUES_HELP = "Values with commas between them, as in 1,2,4 or strict,aging; or a span: 1..10, 0.1..0.9:0.1."


@dataclass(frozen=True)
class Choice:
    """What the form says now. `words` are the arguments of `meshlab sweep`; empty while something is wrong."""

    scenario: Scenario | None = None
    words: tuple[str, ...] = ()
    points: int = 0
    replications: int = REPLICATIONS
    problems: list[str] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether it can be run."""
        return self.scenario is not None and bool(self.words) and not self.problems


def sidebar(*, busy: bool) -> Choice:
    """The whole form, and what it says. `busy`: a sweep is being watched, so none can be started."""
    with st.sidebar:
        name, content = _scenario()
        # Above the knobs, so that no window is too low to show it; filled below, since it says how many runs they ask.
        above = st.container()
        try:
            scenario = library.load(content.text, content.path.name, library.base(content.folder))
        except LabError as error:
            choice = Choice(problems=str(error).splitlines())
        else:
            choice = _asked(scenario, name)
        with above:
            _press(choice, busy=busy)
    return choice


def _scenario() -> tuple[str, library.Shipped]:
    files = {**library.saved(), **library.shipped()}
    asked = str(st.query_params.get("scenario", ""))
    if asked and asked not in files and (other := library.find(asked)):
        files[asked] = other
    if "sweep-scenario" not in st.session_state:
        st.session_state["sweep-scenario"] = asked if asked in files else library.DEFAULT
    name = st.selectbox(
        "Scenario",
        sorted(files, key=lambda one: one != library.DEFAULT),
        key="sweep-scenario",
        format_func=lambda one: f"{one} (yours)" if files[one].own else one,
        help="Where every point starts from. Scenarios are written and changed on the page *Scenarios*.",
    )
    st.caption(text.escape(files[name].claim))
    return name, files[name]


# ---- what is varied --------------------------------------------------------------------------------------------------


def _asked(scenario: Scenario, name: str) -> Choice:
    """The paths and their values, and what is wrong with them."""
    known = suggestions(scenario)
    stamp = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    grid: dict[str, list[object]] = {}
    words: list[str] = []
    problems: list[str] = []
    for place in range(PATHS_MAX):
        path, values = _axis(place, known, stamp)
        if not path:
            continue
        try:
            if path in grid:
                raise LabError(f"{path} is varied twice; keep one of them")
            grid[path] = sweep_design.values(values)
        except LabError as error:
            problems.append(str(error))
        words.append(f"--grid={path}={values}")  # one word, so that a path may begin with anything
    replications = int(
        st.number_input(
            "Runs of each point",
            1,
            limits.REPLICATIONS_APP_MAX,
            REPLICATIONS,
            key="sweep-replications",
            help="Seeds s, s + 1, …, the same for every point: what differs between points is then not luck. "
            "Five or so give every figure a 95 % interval.",
        )
    )
    if not grid and not problems:
        problems.append("Choose at least one path to vary.")
    return _checked(scenario, grid, words, replications, problems)


def _axis(place: int, known: dict[str, tuple[str, str]], stamp: str) -> tuple[str, str]:
    """One path and its values, as typed. Nothing chosen: an empty path."""
    key = f"sweep-path-{place}-{stamp}"
    if key not in st.session_state:
        st.session_state[key] = START[place] if place < len(START) else None
    path = st.selectbox(
        "Vary" if place == 0 else "and" if place == 1 else "and, if you like",
        list(known),
        index=None,
        key=key,
        format_func=lambda one: f"{known[one][0]} · {one}" if one in known else one,
        accept_new_options=True,
        placeholder="Nothing more",
        help=PATH_HELP if place == 0 else None,
    )
    path = str(path or "").strip()
    if not path:
        return "", ""
    own = known.get(path, ("", ""))[1]
    field_key = f"sweep-values-{place}-{hashlib.sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}-{stamp}"
    if field_key not in st.session_state:
        st.session_state[field_key] = own
    return path, st.text_input(
        "Values", key=field_key, label_visibility="collapsed", placeholder="Values: 1,2,4 or 1..10", help=VALUES_HELP
    )


def suggestions(scenario: Scenario) -> dict[str, tuple[str, str]]:
    """The paths that are worth varying, each with its words and with values around the scenario's own."""
    found = {
        knob.paths[0]: (knob.label, _around(knob))
        for knob in knobs.knobs(scenario)
        if len(knob.paths) == 1 and knob.name != "seed"
    }
    roles = scenario.workload.roles
    for name, role in list(roles.items())[:PATHS_MAX]:
        found.setdefault(f"workload.roles.{name}.failure_rate", (f"{name}: failing share", "0,0.05,0.1,0.2,0.4"))
        mean_s = getattr(role.service, "mean_s", None)
        if mean_s and (scenario.data["workload"]["roles"][name] or {}).get("service"):  # else the preset has it whole
            listed = ",".join(f"{mean_s * factor:g}" for factor in SPREAD)
            found[f"workload.roles.{name}.service.mean_s"] = (f"{name}: service time (s)", listed)
    retries = scenario.rules.retry.max_retries
    found["rules.retry.max_retries"] = ("Retries", ",".join(str(one) for one in sorted({0, 1, 3, retries})))
    found["rules.priority.order"] = (
        "Order of the queues",
        ",".join(get_args(PriorityRules.model_fields["order"].annotation)),
    )
    return found


def _around(knob: knobs.Knob) -> str:
    """A few values around the knob's own."""
    if not knob.value:
        return ""
    spread = [knob.written(knob.value * factor) for factor in SPREAD]
    if knob.kind == "whole":
        spread = [max(int(knob.low), round(one)) for one in spread]
    within = [one for one in spread if knob.low <= one <= knob.high]
    return ",".join(value(one).replace(",", "") for one in dict.fromkeys(within))


def _checked(
    scenario: Scenario, grid: dict[str, list[object]], words: Sequence[str], replications: int, problems: list[str]
) -> Choice:
    """Every point, tried before anything is started."""
    points = 0
    if not problems:
        points, problems = _tried(scenario.to_yaml(), str(scenario.base), grid, replications)
    return Choice(scenario, tuple(words), points, replications, problems)


@st.cache_data(max_entries=50, show_spinner="Checking the points …")
def _tried(content: str, base: str, grid: dict[str, list[object]], replications: int) -> tuple[int, list[str]]:
    """How many points there are, and what is wrong with them."""
    try:
        design = sweep_design.design(Scenario.parse(content, base=base), grid, replications=replications)
        if len(design.points) > POINTS_MAX:
            said = f"{len(design.points):,} points are more than the {POINTS_MAX:,} that the app runs"
            return 0, [f"{said}; `meshlab sweep` takes {limits.SWEEP_POINTS_MAX:,}"]
        design.check()
    except LabError as error:
        return 0, str(error).splitlines()
    return len(design.points), []


# ---- the button ------------------------------------------------------------------------------------------------------


def _press(choice: Choice, *, busy: bool) -> None:
    runs = choice.points * choice.replications
    st.button(
        f"Start {text.plural(runs, 'run')}" if choice.ready else "Start the sweep",
        icon=":material/grid_on:",
        key="sweep-run",
        type="primary",
        width="stretch",
        disabled=not choice.ready or busy,
        help="A sweep is on its way; it can be cancelled there." if busy else "In the model, on all cores.",
        on_click=start,
        args=(choice,),
    )
    if choice.ready:
        each = "one run each" if choice.replications == 1 else f"{choice.replications} runs each"
        st.caption(f"{text.plural(choice.points, 'point')}, {each}, in the model on all cores.")
    if choice.problems:
        st.error(f"{text.plural(len(choice.problems), 'problem')} to mend before it runs:", icon=":material/error:")
        st.code("\n".join(choice.problems), language=None, wrap_lines=True)
    if message := st.session_state.get("sweep-error"):
        st.error(text.escape(message), icon=":material/error:")


def start(choice: Choice) -> None:
    """Start the sweep and show it (a callback)."""
    assert choice.scenario is not None
    st.session_state["sweep-error"] = ""
    scenario = "{folder}/scenario.yaml"
    words = [scenario, *choice.words, "--replications", str(choice.replications)]
    words += ["--out", f"{long_jobs.FOLDER}/{RESULT}", "--quiet"]
    title = f"{choice.scenario.name}: {text.plural(choice.points, 'point')} × {choice.replications}"
    try:
        job_id = long_jobs.start(KIND, title, words, {"scenario.yaml": standalone.yaml_text(choice.scenario)})
    except OSError as error:
        st.session_state["sweep-error"] = (
            f"The sweep could not be started: {error}. Make {jobs.runs_dir()} writable, or set MESHLAB_RUNS."
        )
        return
    show(job_id)


def show(job_id: str) -> None:
    """Open a sweep (a callback)."""
    for name in ("point", "figure"):
        st.query_params.pop(name, None)
    st.query_params["job"] = job_id
