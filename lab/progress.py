"""How far a run has come: what engines report and people watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` tasks have ended at `now_s` of the run, `wall_s` after its start by the wall clock."""

    engine: str
    done: int
    total: int
    now_s: float
    wall_s: float
    note: str = ""

    @property
    def fraction(self) -> float:
        """Share of the tasks that have ended."""
        return self.done / self.total if self.total else 1.0

    @property
    def eta_s(self) -> float | None:
        """Wall-clock seconds that are left if it goes on like this; None while nothing can be said."""
        if self.done == 0 or self.wall_s <= 0:
            return None
        return self.wall_s * (self.total - self.done) / self.done


OnProgress = Callable[[Progress], None]
Stop = Callable[[], bool]
"""Asked often by a running engine; True ends the run early with a record of what happened until then."""
OnStep = Callable[[str], None]
"""Told, in words such as "checking 1,000,000 tasks", what begins to be done with a run that is over."""


def never() -> bool:
    """A run that nobody stops."""
    return False


def ignore(_: Progress) -> None:
    """Nobody watches."""


def unnoticed(_: str) -> None:
    """Nobody watches the steps."""


def noting(on_progress: OnProgress, last: Progress) -> OnStep:
    """Steps after the end of a run, told to those who watched it: its last progress with the step as its note."""

    def told(step: str) -> None:
        on_progress(replace(last, note=step))

    return told
