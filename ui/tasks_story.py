"""One task as it is listed and as it is told: what it is, what happened to it, and where its time went. Pure values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from lab.rules.tasks import TERMINAL, Event, State

Phase = Literal["waiting", "running", "backoff"]
PHASES: dict[State, Phase] = {State.PENDING: "waiting", State.RUNNING: "running", State.RETRY_WAIT: "backoff"}


@dataclass(frozen=True, slots=True)
class Item:
    """A task in a list. `at` is when it came into its state, if the wall clock knows; `at_s` in seconds of its run."""

    id: int
    role: str
    priority: int
    queue: str
    state: str
    attempts: int
    worker: str
    error: str
    at: datetime | None = None
    at_s: float | None = None
    discarded: bool = False

    @property
    def dead(self) -> bool:
        """Whether it lies among the dead letters."""
        return self.state == State.PERMANENT_FAILURE and not self.discarded


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, and where the next page begins (None: there is none)."""

    items: tuple[Item, ...]
    next: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the audit log; `at_s` in seconds since the first one of its task (or of its run, in a record)."""

    at_s: float
    start: str
    end: str
    worker: str
    attempt: int
    token: int
    reason: str
    delay_s: float
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A task and its history. `now_s` is the present on the clock of its steps; None if that is over."""

    item: Item
    steps: tuple[Step, ...]
    now_s: float | None = None
    payload: Any = None
    result: Any = None

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.item.state in TERMINAL or self.now_s is None

    @property
    def submitted_s(self) -> float:
        """When its history begins."""
        return self.steps[0].at_s if self.steps else 0.0


class Segment(NamedTuple):
    """A stretch of a task's life, in seconds since its submission. `ended` is the reason of the step that ended it;
    empty: it goes on.
    """

    phase: Phase
    begin_s: float
    end_s: float
    attempt: int
    worker: str
    token: int
    ended: str
    to: str

    @property
    def length_s(self) -> float:
        """How long it lasted, so far."""
        return self.end_s - self.begin_s


def segments(story: Story) -> Iterator[Segment]:
    """Its life in order. Waiting counts to the attempt that it waits for, a backoff to the one that failed."""
    steps, origin_s = story.steps, story.submitted_s
    for here, after in zip_longest(steps, steps[1:]):
        if (phase := PHASES.get(State(here.end)) if here.end in State.__members__ else None) is None:
            continue
        end_s = after.at_s if after else max(here.at_s, story.now_s or here.at_s)
        ended, to = (after.reason, after.end) if after else ("", "")
        attempt = here.attempt + 1 if phase == "waiting" else here.attempt
        yield Segment(
            phase, here.at_s - origin_s, end_s - origin_s, attempt, here.worker, here.token, ended, to
        )  # fmt: skip


def totals(parts: Sequence[Segment]) -> dict[Phase, float]:
    """Seconds in each phase."""
    spent: dict[Phase, float] = {"waiting": 0.0, "running": 0.0, "backoff": 0.0}
    for part in parts:
        spent[part.phase] += part.length_s
    return spent


GOOD = frozenset({Event.SUCCEEDED})
BAD = frozenset({Event.FAILED, Event.LEASE_LAPSED})


def is_good(reason: str) -> bool:
    """Whether an attempt that ended so did its work."""
    return reason in GOOD


def is_bad(reason: str) -> bool:
    """Whether an attempt that ended so was lost."""
    return reason in BAD
