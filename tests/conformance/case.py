"""A conformance case: a mesh small enough to follow with a pencil, and what must be seen in its record, whichever
engine made it.

Each task of a case is written out: when it comes, how long its attempts work, its role, its priority. Times are tenths
of a second, so that a live run takes one or two; where the order of two things matters they lie at least 0.2 s apart,
because a busy machine may be that late. A rule's own time is a floor and is asserted to the microsecond; ceilings are
asserted with `LATE_S` on top, to tell a rule that works from one that does not, not to measure speed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lab import Scenario
from lab.record import Record
from lab.rules.tasks import Event, State
from tests.conformance.evidence import Seen

Edge = tuple[str, Event, State]
Data = Mapping[str, Any]


class T(NamedTuple):
    """One task. Ids count from 0 in the order of arrival."""

    at_s: float = 0.0
    work_s: float = 0.02
    role: str = "GOOD"
    priority: int = 3


ROLES: Data = {
    "GOOD": {},
    "FLAKY": {"fail_first": 1},
    "HOPELESS": {"fail_first": 101},
    "FATAL": {"fail_first": 1, "permanent_share": 1.0},
    "FAT": {"memory_mib": 250.0},
    "MIDDLING": {"memory_mib": 120.0},
}
"""The roles that cases use: what becomes of their attempts, and what these hold in memory."""

ONE_SLOT: Data = {"workers": 1, "slots": 1}


@dataclass(frozen=True)
class Case:
    """`judge` raises AssertionError if the record does not show what the rule says; its docstring does the sum."""

    name: str
    judge: Callable[[Seen], None]
    tasks: Sequence[T]
    rules: Data
    mesh: Data
    faults: Sequence[Data]
    roles: Data
    edges: frozenset[Edge]
    """Moves of the state table that the case has both engines make."""
    breaks: frozenset[str]
    """Checks of the record that fail because the rules of the case allow it: a published flaw."""
    arrivals: Data | None
    """What brings the tasks where they are not written out one by one; they are all GOOD then."""

    def scenario(self, folder: Path) -> Scenario:
        """The case as a scenario; its tasks are written to a trace in `folder`."""
        arrivals = dict(self.arrivals) if self.arrivals is not None else self._trace(folder)
        used = {task.role for task in self.tasks} or {"GOOD"}
        service = {"dist": "constant", "mean_s": 0.02}  # a trace says how long, but the schema wants it said
        known = {**ROLES, **self.roles}
        return Scenario.from_data(
            {
                "name": self.name,
                "workload": {
                    "arrivals": arrivals,
                    "roles": {name: {"service": service, **known.get(name, {})} for name in sorted(used)},
                },
                "mesh": dict(self.mesh),
                "rules": dict(self.rules),
                "faults": [dict(fault) for fault in self.faults],
            }
        )

    def _trace(self, folder: Path) -> dict[str, Any]:
        """The tasks as arrivals."""
        arrivals = [task.at_s for task in self.tasks]
        assert arrivals == sorted(arrivals), f"{self.name}: tasks must stand in order of arrival"
        path = folder / f"{self.name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["arrival_s", "service_s", "role", "priority"])
            writer.writerows((task.at_s, task.work_s, task.role, task.priority) for task in self.tasks)
        return {"kind": "trace", "path": str(path)}

    def look_at(self, record: Record) -> None:
        """Judge a record of the case, of either engine."""
        assert not record.info["interrupted"]
        assert set(record.info["checks"]["failed"]) == self.breaks, record.info["checks"]["details"]
        seen = Seen(record)
        missing = self.edges - seen.edges()
        assert not missing, f"never seen: {missing}"
        self.judge(seen)

    def values(self) -> Iterator[tuple[str, Any]]:
        """(path, value) of every rule that the case sets."""
        yield from _leaves("", self.rules)


def _leaves(path: str, data: Data) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield here, value
            yield from _leaves(here, value)
        else:
            yield here, value


CASES: list[Case] = []


def case(
    *tasks: T,
    rules: Data,
    mesh: Data = ONE_SLOT,
    faults: Sequence[Data] = (),
    roles: Data | None = None,
    edges: Sequence[tuple[State | None, Event, State]] = (),
    breaks: Sequence[str] = (),
    arrivals: Data | None = None,
) -> Callable[[Callable[[Seen], None]], Callable[[Seen], None]]:
    """Make a case of a function that judges."""

    def made(judge: Callable[[Seen], None]) -> Callable[[Seen], None]:
        ways = frozenset((str(start or ""), event, end) for start, event, end in edges)
        CASES.append(
            Case(judge.__name__, judge, tasks, rules, mesh, faults, roles or {}, ways, frozenset(breaks), arrivals)
        )  # fmt: skip
        return judge

    return made
