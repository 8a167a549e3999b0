"""A model that moves with the wall clock while its scenario grows.

A scenario that has grown is simulated anew from its start: the same seed gives the same past, so this is exact, and a
minute of a busy mesh takes a fraction of a second. Until the new model has caught up, the present one goes on to where
they part.

Two folds read the model: lanes, workers and counts always show the moment of the wall clock; the curves may run ahead.
Moments are seconds of the session.
"""

from __future__ import annotations

import math
from typing import Any, Final

from lab.errors import UsageError
from lab.limits import SESSION_AHEAD_S_MAX
from lab.scenario import Scenario, Schedule
from lab.telemetry import Phase, Telemetry
from lab.workload import Plan
from simulation.tail import Tail, Watched

PACES: Final = (1, 4, 16, None)
"""Seconds of the model in a second of the wall clock; None: at once."""


class Moving:
    """The model of one session. `bring` it to a moment ten times a second, or at once while it is `behind`."""

    def __init__(self, scenario: Scenario) -> None:
        self.behind = False
        """Whether there was more to do than the time that it was given allowed."""
        self._watched = Watched(Plan(scenario))
        self._shown = self._new_tail(self._watched)
        self._ahead: Tail | None = None
        """What the curves are told by while the model runs ahead."""
        self._grown: Scenario | None = None
        """A scenario of which no model has been built yet; `_grown_s` is the moment from which on it is new."""
        self._grown_s = math.inf
        self._next: Watched | None = None
        """The model of the grown scenario, until it has caught up."""
        self._coming: Tail | None = None
        """What will tell them when it has come as far."""
        self._parts_s = math.inf
        """From this moment on the present model does not know what has been done since."""
        self._pace: int | None = 1
        self._anchor = (0.0, 0.0)
        """(moment of the session, moment of the model) when the pace was set."""

    # -- what is asked of it --

    def grow(self, scenario: Scenario, from_s: float) -> None:
        """The whole scenario as it is now; before `from_s` it is as it was. Of several that come at once only the last
        is simulated.
        """
        self._grown_s = from_s if self._grown is None else min(self._grown_s, from_s)
        self._grown = scenario
        self._parts_s = min(self._parts_s, from_s)

    def set_pace(self, pace: int | None, t_s: float) -> None:
        """How fast the model moves from now on. Raises UsageError if that is none of PACES."""
        if pace not in PACES or isinstance(pace, bool):
            raise UsageError(f"the model's pace is one of 1, 4, 16 and null (at once), not {pace!r}")
        self._anchor = (t_s, self._target_s(t_s))
        self._pace = pace
        if pace == 1:
            self._ahead = self._coming = None
        elif self._ahead is None:
            self._coming = self._new_tail(self._watched)

    @property
    def replaying(self) -> bool:
        """Whether a grown scenario has not caught up yet."""
        return self._grown is not None or self._next is not None

    def has_drained(self) -> bool:
        """Whether every task that was to come has ended, and has been shown to."""
        store = self._watched.model.store
        return not self.replaying and self._watched.drained and store.moved_at_s < self._shown.told_s

    # -- at work --

    def bring(self, t_s: float, deadline: float) -> None:
        """Bring the model to where it should be when it is `t_s`, if that can be done by the deadline
        (`time.perf_counter`).
        """
        target_s = self._target_s(t_s)
        self._catch_up(t_s, deadline)
        known_s = min(target_s, self._parts_s)
        done = self._watched.go_on(known_s, deadline)
        done &= self._shown.follow(self._watched, min(t_s, known_s), deadline)
        if self._coming is not None:
            done &= self._run_ahead(self._coming, known_s, deadline)
        elif self._ahead is not None:
            done &= self._ahead.follow(self._watched, known_s, deadline)
        self.behind = self.replaying or not done

    def _catch_up(self, t_s: float, deadline: float) -> None:
        """Simulate the grown scenario from its start; once it is where the session is, it takes over.

        What comes meanwhile waits for its turn: else a knob that is turned on and on would never be seen to act.
        """
        if self._next is None and self._grown is not None:
            self._next, self._grown = Watched(Plan(self._grown)), None
        if self._next is None or not self._next.go_on(t_s, deadline):
            return
        self._shown.part(self._watched, self._parts_s)
        self._watched, self._next = self._next, None
        self._parts_s = self._grown_s if self._grown is not None else math.inf
        self._shown.telemetry.replan(self._watched.plan)
        if self._pace != 1:
            self._coming = self._new_tail(self._watched)

    def _run_ahead(self, coming: Tail, until_s: float, deadline: float) -> bool:
        """Tell another fold of the new future; until it has come as far, the old one is shown. Returns whether all has
        been told.
        """
        done = coming.follow(self._watched, until_s, deadline)
        if done or coming.told_s >= (self._ahead or self._shown).told_s:
            self._ahead, self._coming = coming, None
        return done

    def _target_s(self, t_s: float) -> float:
        """How far the model should be."""
        if self._pace == 1:
            return t_s
        at_s, reached_s = self._anchor
        wanted_s = t_s + SESSION_AHEAD_S_MAX if self._pace is None else reached_s + (t_s - at_s) * self._pace
        arrivals = self._watched.plan.scenario.workload.arrivals
        assert isinstance(arrivals, Schedule)
        return max(t_s, min(wanted_s, arrivals.until_s))

    @staticmethod
    def _new_tail(watched: Watched) -> Tail:
        return Tail(Telemetry("model", watched.plan))

    # -- told --

    def frame(self, phase: Phase, note: str) -> dict[str, Any]:
        """Where the model stands, for whoever watches (`lab.telemetry`)."""
        shown, ahead = self._shown, self._ahead
        shown.admit(self._watched.plan)
        if ahead is None or ahead.told_s < shown.told_s:
            return shown.telemetry.frame(shown.told_s, phase, note)
        return shown.telemetry.frame(shown.told_s, phase, note, ahead=ahead.telemetry)
