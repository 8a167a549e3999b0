"""A model that is watched while it runs: driven up to a moment, and told to a `Telemetry` as far as somebody wants.

The same log may be told to several folds, each up to a moment of its own.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from contextlib import suppress

from simpy.core import StopSimulation

from lab.limits import TOLD_ROWS_AT_A_TIME
from lab.record import EventRow
from lab.telemetry import Telemetry
from lab.workload import Plan
from simulation.engine import Model

TURNS = frozenset({"fault", "worker_started", "worker_left"})
EVENTS_PER_LOOK = 200
"""How many events pass between two looks at the wall clock: a millisecond or two."""


class Watched:
    """A model of a session. It goes on past the end of its tasks: more may come by growth, and workers stand idle."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.model = Model(plan)
        self.reached_s = 0.0
        """All that happens before this moment (seconds of the session) has happened."""

    @property
    def drained(self) -> bool:
        """Whether every task that was to come has ended."""
        store = self.model.store
        return store.stop_when is not None and store.ended == store.stop_when

    def go_on(self, until_s: float, deadline: float) -> bool:
        """Let happen what happens before `until_s`, up to the deadline (`time.perf_counter`). Returns whether all has.

        A little more may happen, of which nobody is told before its time.
        """
        clock = self.model.clock
        while clock.peek() < until_s:
            with suppress(StopSimulation):  # all tasks have ended; the mesh stands on
                clock.advance(EVENTS_PER_LOOK)
            if time.perf_counter() >= deadline:
                self.reached_s = max(self.reached_s, min(until_s, clock.now))
                return clock.peek() >= until_s
        self.reached_s = max(self.reached_s, until_s)
        return True


class Tail:
    """What one fold has been told of a model."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.telemetry = telemetry
        self.told_s = 0.0
        """All from before this moment has been told."""
        self._rows = self._rejected = 0
        self._open = True
        self._known = set[EventRow]()
        """Notes that will come again: see `part`."""

    def follow(self, watched: Watched, until_s: float, deadline: float) -> bool:
        """Tell what happened before `until_s`, up to the deadline. Returns whether all has been told."""
        there_s = min(until_s, watched.reached_s)
        while self.told_s < there_s:
            store = watched.model.store
            next_s = min(there_s, store.moment_after(self._rows + TOLD_ROWS_AT_A_TIME))
            self._tell(watched.model, self._turn(store.notes, next_s))
            if time.perf_counter() >= deadline:
                break
        self.telemetry.reached(self.told_s)
        return self.told_s >= until_s

    def _turn(self, notes: list[EventRow], until_s: float) -> float:
        """The first moment before `until_s` at which workers come, go or are struck, else `until_s`.

        What such a note means depends on what was running and reported until then, so that must have been told.
        """
        for at in range(bisect_right(notes, self.told_s, key=lambda note: note.t_s), len(notes)):
            if notes[at].t_s >= until_s:
                break
            if notes[at].kind in TURNS:
                return notes[at].t_s
        return until_s

    def _tell(self, model: Model, until_s: float) -> None:
        notes, store, telemetry = model.store.notes, model.store, self.telemetry
        begin = bisect_left(notes, self.told_s, key=lambda note: note.t_s)
        end = bisect_left(notes, until_s, begin, key=lambda note: note.t_s)
        new = [note for note in notes[begin:end] if note not in self._known]
        telemetry.notes(new)
        for note in new:
            self._rejected += note.kind == "rejected"
            if note.kind in ("admission_opened", "admission_closed"):
                self._open = note.kind == "admission_opened"
        end = store.written(until_s, self._rows)
        telemetry.moves(store.told(self._rows, end))
        telemetry.samples(model.health.samples.told(self.told_s, until_s))
        self._rows, self.told_s = end, until_s

    def part(self, watched: Watched, from_s: float) -> None:
        """From a moment on another model is followed. If that moment has been passed, because somebody's word came late
        on a busy machine, it is told again from there: what is no news changes nothing in the fold.
        """
        if self.told_s <= from_s:
            return
        notes = watched.model.store.notes
        begin, end = (bisect_left(notes, moment, key=lambda note: note.t_s) for moment in (from_s, self.told_s))
        self._known = set(notes[begin:end])
        self._rows, self.told_s = watched.model.store.written(from_s), from_s

    def admit(self, plan: Plan) -> None:
        """Say what the producer had seen when all was told: while its gate is open it holds nothing."""
        arrived = len(plan.last_arrivals(self.told_s, plan.count))
        held = 0 if self._open else arrived - self._rejected - self.telemetry.counts()["submitted"]
        self.telemetry.admission(arrived, held, self._rejected, self._open)
