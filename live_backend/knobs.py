"""The knobs of a run as a worker process has them: bound once, and bound anew at the moment of each `change` fault.

Nothing is asked on the way of a task. Without such faults nothing happens here at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lab.changes import health_at, retry_at, slots_at
from lab.faults import Change
from lab.rules import Rulebook
from lab.scenario import Scenario


@dataclass(frozen=True)
class Knobs:
    """What a worker goes by from a moment on."""

    slots: int
    rules: Rulebook

    @classmethod
    def at(cls, scenario: Scenario, at_s: float) -> Knobs:
        """As they stand at a moment of the run, in seconds."""
        turned = {"retry": retry_at(scenario, at_s), "health": health_at(scenario, at_s)}
        return cls(slots_at(scenario, at_s), scenario.rules.model_copy(update=turned))


class Turns:
    """Calls `bind` with the knobs of each moment at which one is turned, by the run's clock (`run_s`)."""

    def __init__(self, run_s: Callable[[], float], bind: Callable[[Knobs], None]) -> None:
        self._run_s, self._bind = run_s, bind
        self._timers: list[asyncio.TimerHandle] = []

    def follow(self, scenario: Scenario) -> None:
        """From now on the knobs are this scenario's. Call it in the event loop, once the run has started."""
        for timer in self._timers:
            timer.cancel()
        moments_s = sorted({fault.at_s for fault in scenario.faults if isinstance(fault, Change)})
        now_s, loop = self._run_s(), asyncio.get_running_loop()
        if moments_s and moments_s[0] <= now_s:
            self._bind(Knobs.at(scenario, now_s))
        self._timers = [loop.call_later(at_s - now_s, self._turn, scenario, at_s) for at_s in moments_s if at_s > now_s]

    def _turn(self, scenario: Scenario, at_s: float) -> None:
        self._bind(Knobs.at(scenario, max(at_s, self._run_s())))  # a timer may ring a moment early
