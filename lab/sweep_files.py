"""The files that a scenario names (traces, measured service times, profiles): what they hold, and how they travel.

On another machine a path means nothing. So the files of a sweep go along as *luggage*: what each of them holds, under
a name made of its content. The values that named a file are put as these names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import profile
from lab.errors import Unavailable, UsageError
from lab.limits import MIB, SWEEP_LUGGAGE_BYTES_MAX

if TYPE_CHECKING:
    from lab.sweep_design import Design

Place = tuple[str, ...]
DEFAULT_PROFILE = "default"
"""What a scenario that names none has."""


def _names_file(place: Place) -> bool:
    """Whether the value at this place of a scenario is a path."""
    return place == ("profile",) or (place[0] == "workload" and place[-1] == "path")


def replaced(value: Any, change: Callable[[Place, str], str], place: Place = ()) -> Any:
    """The data (a scenario's, or the value at `place` of one) with every value that names a file changed."""
    if isinstance(value, Mapping):
        return {key: replaced(one, change, (*place, str(key))) for key, one in value.items()}
    if isinstance(value, str) and place and _names_file(place):
        return change(place, value)
    return value


def named(design: Design) -> set[tuple[str, str]]:
    """(what kind of file, the value that names it) of all files of all points."""
    found: set[tuple[str, str]] = {("profile", str(design.scenario.data.get("profile", DEFAULT_PROFILE)))}

    def noted(place: Place, value: str) -> str:
        found.add(("profile" if place == ("profile",) else "table", value))
        return value

    replaced(design.scenario.data, noted)
    for point in design.points:
        for path, value in point.items():
            replaced(value, noted, tuple(path.split(".")))
    return found


def contents(design: Design) -> Iterator[tuple[tuple[str, str], bytes]]:
    """What each file holds; of a profile, what it says on this machine."""
    for kind, value in sorted(named(design)):
        if kind == "profile":
            found = profile.load(value, design.scenario.base)
            yield (kind, value), yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False).encode()
        else:
            path = design.scenario.base / value
            try:
                yield (kind, value), path.read_bytes()
            except OSError as error:
                raise Unavailable(f"{path}: cannot be read ({error.strerror})") from error


def digests(design: Design) -> dict[str, str]:
    """What stands for the content of each file, by the value that names it."""
    return {f"{kind} {value}": hashlib.sha256(held).hexdigest() for (kind, value), held in contents(design)}


class Luggage:
    """What a sweep needs on another machine: the scenario as JSON, and its files by names without folders."""

    def __init__(self, design: Design) -> None:
        self.files: dict[str, bytes] = {}
        self._names: dict[tuple[str, str], str] = {}
        for what, held in contents(design):
            ending = ".yaml" if what[0] == "profile" else Path(what[1]).suffix.lower()
            self._names[what] = f"{hashlib.sha256(held).hexdigest()[:24]}{ending}"
            self.files[self._names[what]] = held
        size = sum(map(len, self.files.values()))
        if size > SWEEP_LUGGAGE_BYTES_MAX:
            raise UsageError(
                f"the files of {design.scenario.name} hold {size / MIB:,.0f} MiB, and at most "
                f"{SWEEP_LUGGAGE_BYTES_MAX // MIB} travel to a cluster; use a shorter trace, or sweep on this machine"
            )
        data = {"profile": DEFAULT_PROFILE, **design.scenario.data}
        self.scenario = json.dumps(replaced(data, self._renamed))

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """The point with the names that its files have in the luggage."""
        return {path: replaced(value, self._renamed, tuple(path.split("."))) for path, value in point.items()}

    def _renamed(self, place: Place, value: str) -> str:
        return self._names["profile" if place == ("profile",) else "table", value]
