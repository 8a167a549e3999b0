"""`meshlab validate`: whether scenario files can be run, and everything that keeps them from it."""

from __future__ import annotations

import argparse

from cli.terminal import harmless, say, tell
from lab.errors import ScenarioError
from lab.scenario import Scenario


def command(options: argparse.Namespace) -> int:
    """A line for each good file on stdout, a line for each problem on stderr; 2 if any file is bad."""
    good = [_validated(path) for path in options.scenarios]
    return 0 if all(good) else ScenarioError.exit_status


def _validated(path: str) -> bool:
    try:
        say(f"{path}: ok ({facts(Scenario.load(path))})")
    except ScenarioError as error:
        tell(harmless(str(error)))
        return False
    return True


def facts(scenario: Scenario) -> str:
    """What the scenario comes to. Builds its plan too, so that a bad trace is found; raises ScenarioError for one."""
    from lab.workload import Plan

    plan = Plan(scenario)
    plan.column("service", 1)  # reads the files of empirical service times
    roles, slots = len(plan.role_names), scenario.mesh.workers * scenario.mesh.slots
    return ", ".join(
        _counted(number, noun) for number, noun in ((plan.count, "task"), (roles, "role"), (slots, "slot"))
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
