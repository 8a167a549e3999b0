"""The model's side of the page What-if: runs made in the page's own process, kept, and shared by all browsers.

A scenario of a few thousand tasks takes hundredths of a second, so an answer is there at once; what would take longer
than a reader waits is left to the command line, outside of this process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

import plotly.graph_objects as go
import streamlit as st

from lab import figures_whatif, limits, profile, standalone
from lab.errors import LabError
from lab.scenario import Scenario
from lab.whatif import CARDS, Answer, Asked, Question, Trial, question, trials
from lab.workload import Plan
from simulation import simulate

REPLICATIONS_MAX: Final = 5
REPLICATIONS_MIN: Final = 2
"""One pair of runs has no interval."""


class World(NamedTuple):
    """A scenario as text, in which every path is absolute, the costs of the machinery that it runs with, and how often
    it runs: what its runs depend on.
    """

    yaml: str
    costs: str
    replications: int

    @classmethod
    def of(cls, scenario: Scenario, replications: int) -> World:
        """The key of a scenario's runs."""
        costs = profile.load(scenario.profile, scenario.base).model_dump(mode="json")
        return cls(standalone.yaml_text(scenario), json.dumps(costs, sort_keys=True), replications)


class Dealt(NamedTuple):
    """A card for a scenario: the question, or why it cannot be asked."""

    key: str
    asked: Question | None
    why: str = ""


@st.cache_resource(max_entries=120, show_spinner=False)
def runs(world: World) -> tuple[Trial, ...]:
    """The runs of a world. Read only: every page shares them."""
    return trials(simulate, Scenario.parse(world.yaml, base="/"), world.replications)


@st.cache_resource(max_entries=60, show_spinner=False)
def tasks(world: World) -> int:
    """How many tasks a run of it has."""
    return Plan(Scenario.parse(world.yaml, base="/")).count


def replications(scenario: Scenario) -> int:
    """As many as are made while a reader waits; 0: not even the fewest."""
    count = tasks(World.of(scenario, 1))
    affordable = limits.WHATIF_TASKS_MAX // max(1, count)
    return min(REPLICATIONS_MAX, affordable) if affordable >= REPLICATIONS_MIN else 0


def answer(asked: Question, count: int) -> Answer:
    """The answer from `count` pairs of runs."""
    before, after = (runs(World.of(side, count)) for side in (asked.before, asked.after))
    return Answer(asked, before, after)


def deal(scenario: Scenario, chosen: Sequence[Asked]) -> list[Dealt]:
    """Every card put to a scenario on its own, with the value that it was chosen with, if it was."""
    values = {one.key: one for one in chosen}
    return [put(scenario, [values.get(key, Asked(key))], key) for key in CARDS]


def put(scenario: Scenario, asked: Sequence[Asked], key: str = "") -> Dealt:
    """These cards put to a scenario together."""
    try:
        return Dealt(key, question(scenario, asked))
    except LabError as error:
        said = str(error)
        return Dealt(key, None, said.partition(": ")[2] if said.startswith("--card") else said)


@st.cache_resource(max_entries=40, show_spinner=False)
def curves(before: World, after: World, dark: bool, _answer: Answer) -> list[go.Figure]:
    """The charts of an answer."""
    return figures_whatif.courses(_answer, dark=dark)


def charts(found: Answer, *, dark: bool) -> list[go.Figure]:
    """The same, found again if they were drawn before."""
    count = len(found.seeds)
    before, after = (World.of(side, count) for side in (found.question.before, found.question.after))
    return curves(before, after, dark, found)
