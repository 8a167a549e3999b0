"""What is to be said about a scenario's text: what is wrong with it, or what load it offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError, Problem, ScenarioError
from lab.limits import PROBLEMS_SHOWN_MAX
from lab.scenario import EmpiricalService, Scenario, Trace
from ui import load

SOURCE = "scenario"


@dataclass(frozen=True)
class Checked:
    """A text's `scenario`, or the `problems` that stand in its way; `load` is a sentence in plain text."""

    scenario: Scenario | None = None
    problems: tuple[Problem, ...] = ()
    load: str = ""


def check(text: str, base: Path) -> Checked:
    """Read `text`, whose relative paths start at `base`."""
    try:
        scenario = Scenario.parse(text, base=base, source=SOURCE)
    except ScenarioError as error:
        return Checked(problems=tuple(error.problems[:PROBLEMS_SHOWN_MAX]))
    except RecursionError:
        return Checked(problems=(Problem("", "nested too deeply to be read"),))
    return Checked(scenario, load=_load(scenario))


def _load(scenario: Scenario) -> str:
    """Not where a file of traces would have to be read for it: this is asked at every pause in the typing."""
    services = (role.service for role in scenario.workload.roles.values())
    if isinstance(scenario.workload.arrivals, Trace) or any(isinstance(one, EmpiricalService) for one in services):
        return ""
    try:
        return re.sub(r"\*\*", "", load.sentence(load.offered(scenario)))
    except LabError:
        return ""
