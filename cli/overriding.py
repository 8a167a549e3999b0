"""`--set PATH=VALUE` and `--seed N`: values replaced from the command line, with errors that name the option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab import yaml_source
from lab.errors import Problem, ScenarioError, UsageError
from lab.scenario import Scenario


def loaded(path: str, settings: Sequence[str], seed: int | None) -> Scenario:
    """The scenario at `path` with the settings laid over it, the last one winning. Raises UsageError for problems."""
    scenario = Scenario.load(path)
    values, options = _parsed(settings)
    if seed is not None:
        values["seed"], options["seed"] = seed, f"--seed {seed}"
    if not values:
        return scenario
    try:
        return scenario.override(values)
    except ScenarioError as error:
        raise UsageError("\n".join(_told(problem, path, options) for problem in error.problems)) from error


def _parsed(settings: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values by path, and by path how the option was written."""
    values: dict[str, Any] = {}
    options: dict[str, str] = {}
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise UsageError(f"--set {setting}: write PATH=VALUE, as in --set mesh.workers=8")
        values[path], options[path] = _value(setting, text), f"--set {setting}"
    return values, options


def _value(setting: str, text: str) -> Any:
    """VALUE is YAML, as it would stand in the file: 8, true, [1, 2], {dist: constant, mean_s: 2}."""
    if not text.strip():
        raise UsageError(f"--set {setting}: the value is missing; write null for none")
    found = yaml_source.read(text)
    if found.problems:
        raise UsageError("\n".join(f"--set {setting}: {problem.message}" for problem in found.problems))
    return found.data


def _told(problem: Problem, source: str, options: dict[str, str]) -> str:
    """The problem under the option that brought it about, or where it stands in the file."""
    found = _plain(problem.path)
    for path, option in options.items():
        if found == _plain(path):
            return f"{option}: {problem.message}"
        # Below the path, or above it (a key on the way is unknown): the file alone was in order, so the option did it.
        if found and (_is_below(found, _plain(path)) or _is_below(_plain(path), found)):
            return f"{option}: {problem.path}: {problem.message}"
    return problem.located(source)


def _is_below(path: str, ancestor: str) -> bool:
    return path.startswith(f"{ancestor}.")


def _plain(path: str) -> str:
    """`faults[0].at_s` and `faults.0.at_s` are one path."""
    return path.replace("[", ".").replace("]", "")
