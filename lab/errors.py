"""Every error a user can meet, as a tree. Who must act decides the branch.

LabError                    what happened, to what, what to do next: in one message, no stack trace
├── UsageError              the caller must change the request            (exit status 2)
│   └── ScenarioError       all problems of a scenario at once, each with its line and path
├── Unavailable             the world is down or missing; nothing wrong with the request (exit status 1)
└── Interrupted             a person stopped it                           (exit status 130)

Refusals of the rulebook are no errors: they are values (`lab.rules.tasks.Refused`).
"""

from __future__ import annotations

from dataclasses import dataclass


class LabError(Exception):
    """Something went wrong that a person can do something about."""

    exit_status = 1


class UsageError(LabError):
    """The request itself cannot be met as it stands."""

    exit_status = 2


class Unavailable(LabError):
    """A server, file or program that the work needs is not there."""


class Interrupted(LabError):
    """The work was stopped by a person before it was done."""

    exit_status = 130


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a scenario: where (`line`, `column` from 1; 0 = unknown; `path`), and what."""

    path: str
    message: str
    line: int = 0
    column: int = 0

    def located(self, source: str) -> str:
        """`file:line:column: path: message`, the form that editors make clickable."""
        place = f"{source}:{self.line}:{self.column}" if self.line else source
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ScenarioError(UsageError):
    """A scenario was refused whole. `problems` holds everything that is wrong with it, in file order."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = sorted(problems, key=lambda p: (p.line, p.column, p.path))
        super().__init__("\n".join(p.located(source) for p in self.problems))

    def __reduce__(self) -> tuple[type[ScenarioError], tuple[str, list[Problem]]]:
        """Travels between processes whole; exceptions else are rebuilt from their message alone."""
        return type(self), (self.source, self.problems)
