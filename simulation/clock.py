"""Virtual time: a `simpy.Environment` driven by callbacks.

One process per task would cost two thirds of the run (measured: reference, section 3), so the model hangs plain
functions on timeouts instead. It stays a SimPy environment: ordinary processes, timeouts and resources may run beside
the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import simpy
from simpy.events import Event, Timeout

from lab.rules.lease import LeaseRules


class Clock(simpy.Environment):
    """SimPy's environment with one more verb: call a function later."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = 0
        """Calls that are still to come, the ticking of `every` not counted: at 0 only a tick can change anything."""

    def call_after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call `call(*args)` after `delay_s` seconds, after all that was scheduled for that moment before."""

        def fire(_: Event) -> None:
            self.expected -= 1
            call(*args)

        self.expected += 1
        _callbacks(Timeout(self, delay_s)).append(fire)

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """The same, but a delay of 0 is no event at all: the call happens here and now."""
        if delay_s <= 0.0:
            call(*args)
        else:
            self.call_after(delay_s, call, *args)

    def every(self, period_s: float, call: Callable[[], None]) -> None:
        """Call `call()` now and then every `period_s` seconds for as long as the run lasts."""

        def tick(_: Event) -> None:
            call()
            _callbacks(Timeout(self, period_s)).append(tick)

        _callbacks(Timeout(self, 0.0)).append(tick)

    def at(self, moment_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call `call(*args)` at `moment_s`, or at once if that has passed."""
        self.later(moment_s - self.now, call, *args)

    def next_sweep(self, not_before_s: float, rules: LeaseRules) -> float:
        """The first sweep, one every `sweep_s`, at or after a moment."""
        sweep_s = math.ceil(round(not_before_s / rules.sweep_s, 9)) * rules.sweep_s
        return max(sweep_s, not_before_s)  # 36 · 0.3 is a little less than 10.8: never before the moment itself


def _callbacks(event: Event) -> list[Callable[[Event], None]]:
    """The callbacks of an event that has not happened yet (SimPy sets them to None afterwards)."""
    assert event.callbacks is not None
    return event.callbacks
