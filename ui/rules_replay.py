"""The two-column replay: a published flaw and its cure, played on the same tasks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from lab.flaws import FLAWS, Flaw
from lab.record import Record
from lab.rules.explain import shown
from lab.scenario import Scenario
from simulation import simulate
from ui import palette, rules_play
from ui.rules_play import Play

HERE = Path(__file__).resolve().parent
LEGEND = (
    ("done", "completed"),
    ("failed", "failed, to be retried"),
    ("dead", "failed for good"),
    ("asleep", "slot asleep in a backoff"),
    ("reclaimed", "lost its worker, taken back"),
    ("handed back", "handed back at shutdown"),
    ("lost", "lost for ever"),
    ("gone", "no process"),
    ("closed", "gate closed: takes no task"),
)
COLOURS = {
    "done": palette.MODEL,
    "going": palette.MODEL_DARK,
    "failed": palette.BAD,
    "dead": "#8E1B1B",
    "asleep": palette.NEUTRAL,
    "gone": palette.NEUTRAL,
    "reclaimed": "#B07A00",
    "handed back": "#B07A00",
    "lost": palette.BAD,
    "closed": palette.shade(palette.BAD, 0.2),
}
HATCHED = ("asleep", "lost", "gone")
"""Drawn striped: nobody works there."""
MARKUP = """\
<div class="holder"><div class="replay" data-state="paused">
  <div class="bar">
    <button type="button"><svg viewBox="0 0 14 14" aria-hidden="true"><path d=""></path></svg><span></span></button>
    <input type="range" min="0" value="0" aria-label="Moment of the run"><output></output>
  </div>
  <div class="sides"></div>
  <div class="legend"></div>
</div></div>
"""


class Run(NamedTuple):
    """One of the two runs."""

    scenario: Scenario
    record: Record
    play: Play


class Pair(NamedTuple):
    """The same tasks under the published and under our values of the switches."""

    flawed: Run
    cured: Run


def find(key: str | None) -> Flaw:
    """The flaw with this key; the first one if there is none."""
    return next((flaw for flaw in FLAWS if flaw.key == key), FLAWS[0])


@cache
def run(key: str) -> Pair:
    """Both runs of a flaw, in the model: a few hundredths of a second, once in the app's life.

    Raises ScenarioError if its scenario cannot be read.
    """
    return Pair(*(_run(scenario) for scenario in find(key).pair()))


def _run(scenario: Scenario) -> Run:
    record = simulate(scenario)
    return Run(scenario, record, rules_play.play(scenario, record))


def data(flaw: Flaw, pair: Pair) -> dict[str, Any]:
    """What the browser needs to play it."""
    return {
        "id": flaw.key,
        "wheres": list(rules_play.WHERES),
        "always": ["waiting", "completed", "lost"],
        "alarming": ["dead", "lost"],
        "words": {"bad": "the flaw", "good": "the cure"},
        "legend": [list(entry) for entry in LEGEND],
        "colours": COLOURS,
        "hatched": list(HATCHED),
        "sides": [
            rules_play.as_data(pair.flawed.play, "Published", _switched(flaw.values(flaw.preset)), "bad"),
            rules_play.as_data(pair.cured.play, "Lab", _switched(flaw.values("lab")), "good"),
        ],
    }


def _switched(values: dict[str, Any]) -> str:
    return ", ".join(f"{switch}: {shown(value)}" for switch, value in values.items())


@cache
def _component() -> Any:
    style = (
        f".replay {{ --replay-accent: {palette.MODEL}; --replay-bad: {palette.BAD}; --replay-good: {palette.GOOD} }}\n"
    )
    css = style + (HERE / "rules_replay.css").read_text(encoding="utf-8")
    js = (HERE / "rules_replay.js").read_text(encoding="utf-8")
    return st.components.v2.component("meshlab_replay", html=MARKUP, css=css, js=js)


def show(flaw: Flaw, pair: Pair) -> None:
    """Play the pair."""
    _component()(data=data(flaw, pair), key="replay")
