"""The left-hand form of the page Plan: whose tasks, what must be met, what things cost, what may be tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import streamlit as st

from cli.plan_options import numbers
from lab import standalone
from lab.errors import LabError, ScenarioError
from lab.metastability import POLICIES
from lab.planning_candidates import Offered, suggested_p99_s
from lab.scenario import Scenario
from ui import library, text

CHOSEN: Final = "plan-scenario"
UNBOUNDED: Final = "no bound"


class Bound(NamedTuple):
    """An objective: its option, its label, the step of its field, and what it means."""

    option: str
    label: str
    step: float
    about: str


FIRST: Final = (
    Bound("p99", "p99 latency (s)", 0.5, "99 % of all tasks are completed within so many seconds of their arrival."),
    Bound("dead-max", "Dead letters (%)", 0.1, "At most this share of the tasks fails for good."),
)
MORE: Final = (
    Bound("p95", "p95 latency (s)", 0.5, "95 % of all tasks are completed by then."),
    Bound("p50", "p50 latency (s)", 0.5, "Half of them."),
    Bound("queue-wait-p99", "p99 queue wait (s)", 0.5, "99 % of all tasks have been claimed by then."),
    Bound("drain-max", "Drain (s)", 1.0, "From the last arrival to the end of the last task."),
    Bound("rss-max", "Worker RSS (MiB)", 16.0, "The highest memory that any worker process reports."),
)
PRICES: Final = (
    Bound("cost-worker", "Worker/h", 0.1, "An hour of a worker, in any currency."),
    Bound("cost-slot", "Slot/h", 0.1, "An hour of a slot, where concurrency itself is paid for."),
    Bound("cost-attempt", "Attempt", 0.001, "Say of a model call. What comes in one burst counts as once an hour."),
)


class Asked(NamedTuple):
    """What the form says: the scenario and the words of `meshlab plan` after it."""

    scenario: Scenario
    words: tuple[str, ...]


def form() -> Asked | None:
    """The whole form; None, with the reason shown, while it says nothing that can be planned."""
    scenario = _scenario()
    if scenario is None:
        return None
    st.markdown("##### What must be met", anchors=False)
    values = _row(FIRST, scenario.name, {"p99": _suggested(scenario.to_yaml(), str(scenario.base))})
    with st.expander("More objectives"):
        values |= _row(MORE, scenario.name, {})
    # Nothing is done in no time: a bound of 0 is an emptied field, but for dead letters.
    values = {name: value if value or name == "dead-max" else None for name, value in values.items()}
    st.markdown("##### What it costs", anchors=False)
    prices = _row(PRICES, "cost", {"cost-worker": 1.0}, placeholder="0", columns=3)
    with st.expander("What may be tried"):
        candidates = _candidates()
    if candidates is None:
        return None
    if not any(value is not None for value in values.values()):
        st.info("Give one objective at least.", icon=":material/rule:")
        return None
    if not (prices["cost-worker"] or prices["cost-slot"]):
        st.info("Give a worker or a slot a price: what costs nothing has no cheapest size.", icon=":material/rule:")
        return None
    return Asked(
        scenario, (*_words(values), *_words({name: price or 0.0 for name, price in prices.items()}), *candidates)
    )


def _words(values: Mapping[str, float | None]) -> list[str]:
    words: list[str] = []
    for option, value in values.items():
        if value is not None:
            words += [f"--{option}", f"{value:.9g}%" if option == "dead-max" else f"{value:.9g}"]
    return words


def _scenario() -> Scenario | None:
    files = {**library.saved(), **library.shipped()}
    asked = st.query_params.get("scenario", "")
    if asked and asked not in files and (other := library.find(asked)) is not None:
        files[asked] = other
    st.session_state[CHOSEN] = asked if asked in files else library.DEFAULT
    name = st.selectbox(
        "Whose tasks",
        list(files),
        key=CHOSEN,
        on_change=_choose,
        help="Its arrivals, work and rules; the mesh is found.",
    )
    file = files[str(name)]
    st.caption(text.escape(file.claim))
    try:
        return library.load(file.text, file.path.name, library.base(file.folder))
    except ScenarioError as error:
        st.error("This scenario has problems; mend them on the page Scenarios:", icon=":material/error:")
        st.code(str(error), language=None, wrap_lines=True)
        return None


def _choose() -> None:
    """Another scenario: the answer in sight is not its own (a callback)."""
    st.query_params["scenario"] = st.session_state[CHOSEN]
    for name in ("job", "live"):
        st.query_params.pop(name, None)


@st.cache_data(max_entries=50, show_spinner=False)
def _suggested(yaml_text: str, base: str) -> float | None:
    scenario = Scenario.parse(yaml_text, base=base)
    try:
        return suggested_p99_s(scenario, Offered.of(scenario))
    except LabError:
        return None  # the plan itself says what is wrong


def _row(
    bounds: tuple[Bound, ...],
    name: str,
    defaults: Mapping[str, float | None],
    placeholder: str = UNBOUNDED,
    columns: int = 2,
) -> dict[str, float | None]:
    """A field for each, side by side."""
    places = st.columns(columns)
    found: dict[str, float | None] = {}
    for number, bound in enumerate(bounds):
        with places[number % columns]:
            found[bound.option] = st.number_input(
                bound.label, min_value=0.0, value=defaults.get(bound.option), step=bound.step, format="%g",
                key=f"plan-{bound.option}-{name}", help=bound.about, placeholder=placeholder,
            )  # fmt: skip
    return found


def _candidates() -> list[str] | None:
    """The words for what may be tried; None where they cannot be read."""
    words: list[str] = []
    for option, label, example in (("workers", "Workers", "1..32"), ("slots", "Slots of a worker", "1,2,5,10")):
        typed = str(
            st.text_input(label, key=f"plan-{option}", placeholder=f"as the load asks, or {example}") or ""
        ).strip()
        if typed:
            try:
                numbers(typed)
            except Exception as error:  # argparse's own, whose message is for people
                st.error(text.escape(text.sentence(str(error))), icon=":material/error:")
                return None
            words += [f"--{option}", typed]
    names = list(POLICIES)
    chosen = st.multiselect(
        "Retry policies", names, key="plan-policies", placeholder="as the scenario asks",
        format_func=lambda name: f"{name}: {POLICIES[name].words}",
    )  # fmt: skip
    return [*words, "--policies", ",".join(chosen)] if chosen else words


def command(asked: Asked) -> dict[str, Any]:
    """What `long_jobs.start` takes for this plan."""

    out = ["--quiet", "--out", "{folder}/plan.json", "--yaml", "{folder}/winner.yaml"]
    return {
        "title": f"Plan: {asked.scenario.name}",
        "words": ["{folder}/scenario.yaml", *asked.words, *out],
        "files": {"scenario.yaml": standalone.yaml_text(asked.scenario)},
    }
