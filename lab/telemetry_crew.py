"""The workers of a run as they are watched: who is alive, what each holds, its memory and its gate."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lab import changes
from lab.record import EventRow, SampleRow
from lab.rules import health
from lab.scenario import Scenario

NAME = re.compile(r"w(\d+)\.(\d+)")
"""w2.3 is the third process at place 2."""

WORDS = {
    "worker_started": ("worker", "worker {name} started", "info"),
    "worker_left": ("worker", "worker {name} is gone", "warn"),
    "worker_recycled": ("worker", "worker {name} leaves: its memory did not come back", "warn"),
    "gate_closed": ("gate", "worker {name} closed its gate: memory", "warn"),
    "gate_opened": ("gate", "worker {name} opened its gate again", "good"),
}
"""(kind, words, level) of each kind of note that is about a worker."""


@dataclass
class Member:
    """One worker process."""

    name: str
    place: int
    life: int
    rss_bytes: float = 0.0
    gate: bool = True
    alive: bool = True
    tasks: dict[int, None] = field(default_factory=dict)


class Crew:
    """All worker processes that have been heard of; of each place the newest is shown."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._all: dict[str, Member] = {}
        self._at: dict[int, Member] = {}

    def replan(self, scenario: Scenario) -> None:
        """The scenario has grown: its knobs may stand otherwise."""
        self._scenario = scenario

    # -- what is told --

    def take_up(self, name: str, task: int) -> str:
        """A worker has claimed a task. Returns the worker's name (one text for all its tasks)."""
        member = self._all.get(name) or self._join(name)
        member.tasks[task] = None
        return member.name

    def put_down(self, name: str, task: int) -> None:
        """It holds the task no more."""
        self._all[name].tasks.pop(task, None)

    def report(self, row: SampleRow) -> None:
        """A worker's report."""
        member = self._all.get(row.worker) or self._join(row.worker)
        if member.alive:  # a report may have been under way when its process died
            member.rss_bytes, member.gate = row.rss_bytes, row.gate

    def note(self, row: EventRow) -> tuple[str, str, str] | None:
        """Take in a note about a worker; returns (kind, words, level) for people, or None if it is about no worker."""
        if row.kind not in WORDS or not row.worker:
            return None
        member = self._all.get(row.worker) or self._join(row.worker)
        if row.kind == "worker_left":
            member.alive, member.rss_bytes = False, 0.0
        elif row.kind in ("gate_closed", "gate_opened"):
            member.gate = row.kind == "gate_opened"
        kind, words, level = WORDS[row.kind]
        detail = f": {row.detail}" if row.detail and row.kind == "worker_left" else ""
        return kind, words.format(name=row.worker) + detail, level

    def _join(self, name: str) -> Member:
        found = NAME.fullmatch(name)
        place, life = (int(found[1]), int(found[2])) if found else (len(self._at), 0)
        member = self._all[name] = Member(name, place, life)
        shown = self._at.get(place)
        if shown is None or shown.life <= life:
            self._at[place] = member
        return member

    # -- what is seen --

    @property
    def rss_bytes(self) -> float:
        """What all living workers reported last, together."""
        return sum(member.rss_bytes for member in self._at.values())

    def in_hand(self, place: int) -> list[int]:
        """The tasks RUNNING at a place, by whichever process."""
        return [task for member in self._all.values() if member.place == place for task in member.tasks]

    def told(self, t_s: float) -> list[dict[str, Any]]:
        """The workers by place, as a frame has them; a place that was given up is left out."""
        workers, slots = changes.workers_at(self._scenario, t_s), changes.slots_at(self._scenario, t_s)
        rules = changes.health_at(self._scenario, t_s)
        self._forget()
        shown = [member for _, member in sorted(self._at.items()) if member.alive or member.place < workers]
        return [
            {
                "id": member.name,
                "place": member.place,
                "slots": slots,
                "tasks": list(member.tasks),
                "rss": round(member.rss_bytes),
                "limit": round(rules.rss_limit_bytes),
                "score": round(health.score(member.rss_bytes, rules), 3),
                "band": health.band(member.rss_bytes, rules),
                "gate": member.gate,
                "alive": member.alive,
            }
            for member in shown
        ]

    def _forget(self) -> None:
        """Processes that are gone, replaced, and of which no task is waited for."""
        gone = [name for name, one in self._all.items() if not (one.alive or one.tasks or self._at[one.place] is one)]
        for name in gone:
            del self._all[name]
