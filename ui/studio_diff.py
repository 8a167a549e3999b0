"""How a scenario differs from another: in what holds (every value, presets applied), and in what is written."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from lab.errors import LabError
from lab.scenario import Scenario
from lab.yaml_source import Path, dotted
from ui import library

NOTHING = "–"


class Difference(NamedTuple):
    """One value that differs, as people read it."""

    path: str
    here: str
    there: str


def values(text: str, folder: str) -> dict[Path, Any]:
    """Every value of a scenario by its path, rules and defaults included. Raises LabError where the text is wrong."""
    scenario = Scenario.parse(text, base=library.base(folder))
    return dict(_flat(scenario.model_dump(mode="json")))


def differences(here: dict[Path, Any], there: dict[Path, Any]) -> list[Difference]:
    """What differs, in the order of the schema; what stands on one side only has – on the other."""
    paths = [*here, *(path for path in there if path not in here)]
    return [
        Difference(dotted(path), _shown(here, path), _shown(there, path))
        for path in paths
        if here.get(path) != there.get(path) or (path in here) != (path in there)
    ]


def unified(here: str, there: str, here_name: str, there_name: str) -> str:
    """The texts' differences as `diff -u` shows them: from there to here."""
    lines = difflib.unified_diff(there.splitlines(), here.splitlines(), there_name, here_name, n=2, lineterm="")
    return "\n".join(lines)


def compared(here: str, folder: str, there: library.Shipped) -> list[Difference] | None:
    """The values in which a text differs from another scenario; None while one of them is not a scenario."""
    try:
        return differences(values(here, folder), values(there.text, there.folder))
    except LabError:
        return None


def _flat(value: Any, path: Path = ()) -> list[tuple[Path, Any]]:
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        entries = list(enumerate(value))
    if not entries:
        return [] if value in ({}, []) else [(path, value)]
    return [found for key, one in entries for found in _flat(one, (*path, key))]


def _shown(found: dict[Path, Any], path: Path) -> str:
    if path not in found:
        return NOTHING
    value = found[path]
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
