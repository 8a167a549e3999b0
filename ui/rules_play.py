"""A record as a play: who worked on what in which slot, and how many tasks stood where, at every moment.

All of it is read off the audit log and the events of a record; nothing is decided here. Times are seconds of the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

import pandas as pd

from lab import metrics
from lab.faults import Fault, Window
from lab.limits import MIB
from lab.record import Record
from lab.rules.tasks import TERMINAL, Event, State
from lab.scenario import Scenario

Fate = Literal["done", "failed", "dead", "asleep", "reclaimed", "handed back", "lost"]
Where = Literal["waiting", "working", "retry wait", "completed", "dead", "lost"]
WHERES: Final[tuple[Where, ...]] = ("waiting", "working", "retry wait", "completed", "dead", "lost")

_WHERE: Final[dict[str, Where]] = {
    State.PENDING: "waiting",
    State.RUNNING: "working",
    State.RETRY_WAIT: "retry wait",
    State.COMPLETED: "completed",
    State.PERMANENT_FAILURE: "dead",
}
_FATES: Final[dict[str, Fate]] = {
    Event.SUCCEEDED: "done",
    Event.FAILED: "failed",
    Event.LEASE_LAPSED: "reclaimed",
    Event.HANDED_BACK: "handed back",
}
_GRAIN_S: Final = 1e-6
"""Engines keep time in whole microseconds: a slot that is let go is taken again in the same one."""


class Bar(NamedTuple):
    """A slot that had a task in hand, from `begin_s` to `end_s`, and how that ended. Lanes count from the top."""

    lane: int
    begin_s: float
    end_s: float
    fate: Fate
    task: int
    role: str


class Span(NamedTuple):
    """A place without a process (`gone`), or whose gate is closed."""

    place: int
    begin_s: float
    end_s: float
    kind: Literal["gone", "closed"]


class Strike(NamedTuple):
    """A fault: at a moment, or from it until `until_s`."""

    at_s: float
    until_s: float
    what: str


class Step(NamedTuple):
    """From this moment on, so many tasks are at each of WHERES."""

    at_s: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Play:
    """All that the replay of one run needs. `rss_mib` holds (moment, MiB) of each process, by its name."""

    places: int
    slots: int
    end_s: float
    bars: list[Bar]
    spans: list[Span]
    steps: list[Step]
    strikes: list[Strike]
    rss_mib: dict[str, list[tuple[float, float]]]
    limit_mib: float

    @property
    def last(self) -> dict[Where, int]:
        """How many tasks are where at the end."""
        return dict(zip(WHERES, self.steps[-1].counts, strict=True))

    def in_hand(self, fate: Fate) -> int:
        """How many attempts ended so."""
        return sum(bar.fate == fate for bar in self.bars)

    def slot_s(self, fate: Fate) -> float:
        """Seconds of slots that were spent so."""
        return sum(bar.end_s - bar.begin_s for bar in self.bars if bar.fate == fate)


@dataclass
class _Claim:
    """One claim of a task, until `end_s`; asleep in its slot from then until `awake_s`."""

    task: int
    worker: str
    begin_s: float
    end_s: float = 0.0
    fate: Fate = "lost"
    awake_s: float = field(default=0.0)


def play(scenario: Scenario, record: Record) -> Play:
    """The play of a run. The record must be that scenario's."""
    events = _events(record.events)
    lives = _lives(events)
    end_s = float(max(record.transitions["at_s"].max(), record.tasks["arrival_s"].max(), *(one.t_s for one in events)))
    claims = list(_claims(record.transitions, lives, end_s, asleep=scenario.rules.retry.wait == "in_slot"))
    uses_memory = any(role.memory_mib for role in scenario.workload.roles.values())
    return Play(
        places=scenario.mesh.workers,
        slots=scenario.mesh.slots,
        end_s=end_s,
        bars=list(_bars(claims, scenario.mesh.slots, list(record.tasks["role"].astype(str)))),
        spans=[*_gone(lives, end_s), *_closed(events, lives, end_s)],
        steps=list(_steps(record, claims)),
        strikes=[_strike(fault) for fault in scenario.faults],
        rss_mib=_rss(record) if uses_memory else {},
        limit_mib=scenario.rules.health.rss_limit_mib,
    )


# ---- processes -------------------------------------------------------------------------------------------------------


class _Event(NamedTuple):
    """What happened to a process."""

    t_s: float
    kind: str
    worker: str


def _events(table: pd.DataFrame) -> list[_Event]:
    return [_Event(*row) for row in zip(*(table[name].tolist() for name in _Event._fields), strict=True)]


def place_of(worker: str) -> int:
    """The place of a process in its fleet: w3.2 is the second one at place 3."""
    return int(worker[1:].partition(".")[0])


def _lives(events: list[_Event]) -> dict[str, tuple[float, float]]:
    """(from, until) of each process; until is infinite for those that are there at the end."""
    begun = {one.worker: one.t_s for one in events if one.kind == "worker_started"}
    left = {one.worker: one.t_s for one in events if one.kind == "worker_left"}
    return {worker: (begin_s, left.get(worker, float("inf"))) for worker, begin_s in begun.items()}


def _gone(lives: dict[str, tuple[float, float]], end_s: float) -> Iterator[Span]:
    by_place = sorted((place_of(worker), life) for worker, life in lives.items())
    for place, members in groupby(by_place, key=lambda item: item[0]):
        each = [life for _, life in members]
        for index, (_, left_s) in enumerate(each):
            if left_s < end_s:
                yield Span(place, left_s, each[index + 1][0] if index + 1 < len(each) else end_s, "gone")


def _closed(events: list[_Event], lives: dict[str, tuple[float, float]], end_s: float) -> Iterator[Span]:
    since: dict[str, float] = {}
    for one in events:
        if one.kind == "gate_closed":
            since[one.worker] = one.t_s
        elif one.kind == "gate_opened" and one.worker in since:
            yield Span(place_of(one.worker), since.pop(one.worker), one.t_s, "closed")
    for worker, begin_s in since.items():
        yield Span(place_of(worker), begin_s, min(end_s, lives[worker][1]), "closed")


def _strike(fault: Fault) -> Strike:
    until_s = fault.at_s + (fault.for_s if isinstance(fault, Window) else 0.0)
    kind = fault.kind.replace("_", " ")
    struck = (str(value) for name in ("worker", "role") if (value := getattr(fault, name, None)) is not None)
    return Strike(fault.at_s, until_s, " ".join([kind, *struck]))


def _rss(record: Record) -> dict[str, list[tuple[float, float]]]:
    return {
        worker: [(float(t_s), float(rss) / MIB) for t_s, rss in zip(*curve, strict=True)]
        for worker, curve in metrics.rss_curves(record).items()
    }


# ---- tasks -----------------------------------------------------------------------------------------------------------


def _claims(
    moves: pd.DataFrame, lives: dict[str, tuple[float, float]], end_s: float, *, asleep: bool
) -> Iterator[_Claim]:
    """Every claim with its end: the verdict's moment, or the process's if that came first. With `asleep` the slot
    sleeps through the backoff.
    """
    open_: dict[int, _Claim] = {}
    sleeping: dict[int, _Claim] = {}
    columns = (moves[name].tolist() for name in ("task", "at_s", "reason", "to", "worker"))
    for task, at_s, reason, to, worker in zip(*columns, strict=True):
        if reason == Event.CLAIMED:
            open_[task] = _Claim(task, worker, at_s)
        elif reason == Event.DUE and task in sleeping:
            claim = sleeping.pop(task)
            claim.awake_s = at_s
            yield claim
        elif task in open_ and reason in _FATES:
            claim = open_.pop(task)
            claim.end_s = min(at_s, lives[claim.worker][1])
            claim.fate = "dead" if to == State.PERMANENT_FAILURE else _FATES[reason]
            if asleep and to == State.RETRY_WAIT:
                sleeping[task] = claim
            else:
                yield claim
    for claim in (*open_.values(), *sleeping.values()):
        claim.end_s = min(end_s, lives[claim.worker][1])
        yield claim


def _bars(claims: list[_Claim], slots: int, roles: list[str]) -> Iterator[Bar]:
    """Each claim in the first slot of its worker that is free: the log knows the process, not the slot."""
    free_at_s: dict[int, list[float]] = defaultdict(lambda: [0.0] * slots)
    for claim in sorted(claims, key=lambda one: (one.begin_s, one.task)):
        place = place_of(claim.worker)
        lanes = free_at_s[place]
        slot = next((slot for slot, at_s in enumerate(lanes) if at_s <= claim.begin_s + _GRAIN_S), slots - 1)
        lanes[slot] = max(claim.end_s, claim.awake_s)
        lane, role = place * slots + slot, roles[claim.task]
        yield Bar(lane, claim.begin_s, claim.end_s, claim.fate, claim.task, role)
        if claim.awake_s > claim.end_s:
            yield Bar(lane, claim.end_s, claim.awake_s, "asleep", claim.task, role)


def _steps(record: Record, claims: list[_Claim]) -> Iterator[Step]:
    """How many tasks are where, at each moment at which that changes. Tasks that nobody will ever mend are lost from
    the moment at which their process was.
    """
    changes: list[tuple[float, Where | None, Where]] = []
    changes += [(float(at_s), None, "waiting") for at_s in record.tasks["arrival_s"]]
    moves = record.transitions[record.transitions["reason"] != Event.SUBMITTED]
    for at_s, source, target in zip(moves["at_s"], moves["from"], moves["to"], strict=True):
        changes.append((float(at_s), _WHERE[source], _WHERE[target]))
    ended = set(record.tasks.loc[record.tasks["state"].isin([str(one) for one in TERMINAL]), "id"])
    changes += [(one.end_s, "working", "lost") for one in claims if one.fate == "lost" and one.task not in ended]
    counts: Counter[Where] = Counter()
    for moment_s, at_once in groupby(sorted(changes, key=lambda change: change[0]), key=lambda change: change[0]):
        for _, left, joined in at_once:
            counts[joined] += 1
            if left is not None:
                counts[left] -= 1
        yield Step(moment_s, tuple(counts[where] for where in WHERES))


# ---- for the browser -------------------------------------------------------------------------------------------------


def as_data(one: Play, title: str, note: str, tone: Literal["bad", "good"]) -> dict[str, Any]:
    """The play as plain data. Times are whole milliseconds, so that it stays small."""

    def ms(moment_s: float) -> int:
        return round(moment_s * 1_000)

    return {
        "title": title,
        "note": note,
        "tone": tone,
        "places": one.places,
        "slots": one.slots,
        "end": ms(one.end_s),
        "bars": [[bar.lane, ms(bar.begin_s), ms(bar.end_s), bar.fate, bar.task, bar.role] for bar in one.bars],
        "spans": [[span.place, ms(span.begin_s), ms(span.end_s), span.kind] for span in one.spans],
        "steps": [[ms(step.at_s), *step.counts] for step in one.steps],
        "strikes": [[ms(strike.at_s), ms(strike.until_s), strike.what] for strike in one.strikes],
        "rss": {worker: [[ms(at_s), round(mib, 1)] for at_s, mib in curve] for worker, curve in one.rss_mib.items()},
        "limit": one.limit_mib,
    }
