"""Virtual time: a `simpy.Environment` that turns fast.

A process per task would cost two thirds of a run (measured: docs/decisions/003), so the model hangs callbacks on
events of its own, reuses those events, and feeds the sorted arrivals past the heap, and past it what is to happen at
once. It stays a SimPy environment in every respect: ordinary processes, timeouts and resources run beside the model,
`step`, `peek` and `run(until)` mean what they mean in SimPy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import chain, count
from typing import Any

import simpy
from simpy.core import EmptySchedule, StopSimulation
from simpy.events import NORMAL, URGENT, Event, EventPriority

from lab.rules.lease import LeaseRules

NEVER = math.inf
OVER = object()
"""What a run ends with when the model has come to its end, rather than what somebody waited for."""
EVENTS_AT_A_TIME = 1_000_000


class Planned:
    """An event of the model: what SimPy's loop needs to know of an event, and nothing more.

    A subclass sets `callbacks`, a single one, before it is put on the clock, and may be put there again as soon as it
    has happened. It never fails, so the loop need not ask.
    """

    __slots__ = ("callbacks",)
    callbacks: tuple[Callable[[Any], None], ...] | None

    def __init__(self) -> None:
        self.callbacks = None


class Call(Planned):
    """Call a function with some arguments when the time comes."""

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._function, self._args = function, args
        self.callbacks = (Call._happen,)

    def _happen(self) -> None:
        self._function(*self._args)


class Tick(Call):
    """One beat of something that goes on for as long as the run lasts; alone it moves no task."""

    __slots__ = ()


class Clock(simpy.Environment):
    """SimPy's environment with arrivals fed in order, and with a cheap way to have functions called later."""

    now: float = 0.0  # SimPy's is a property, and slower to read
    _queue: list[Any]
    """SimPy's heap of (moment, priority, number, event)."""

    def __init__(self) -> None:
        super().__init__()
        self._soon: deque[Any] = deque()
        """What was put there for this very moment, in its order. It follows what the heap has for this moment: that
        was put there before.
        """
        self._steps = False
        """Whether events are asked for one by one; else a `Line` goes on by itself until something else comes."""
        self._eid: count[int] = count()
        self._next_feed_s = NEVER
        self._feed: Callable[[], float] = lambda: NEVER

    # -- what the model asks of it --

    def put(self, event: Planned, at_s: float) -> None:
        """Let an event happen at `at_s`, after all that was put there before for the same moment."""
        if at_s == self.now:
            self._soon.append(event)
        else:
            heappush(self._queue, (at_s, NORMAL, next(self._eid), event))

    def put_first(self, event: Planned, at_s: float) -> None:
        """The same, but before all else of that moment."""
        heappush(self._queue, (at_s, URGENT, next(self._eid), event))

    def call_after(self, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call `function(*args)` after `delay_s` seconds."""
        self.put(Call(function, args), self.now + delay_s)

    def later(self, delay_s: float, function: Callable[..., None], *args: Any) -> None:
        """The same, but a delay of 0 is no event at all: the call happens here and now."""
        if delay_s <= 0.0:
            function(*args)
        else:
            self.call_after(delay_s, function, *args)

    def at(self, moment_s: float, function: Callable[..., None], *args: Any) -> None:
        """Call `function(*args)` at `moment_s`, or at once if that has passed."""
        if moment_s <= self.now:
            function(*args)
        else:
            self.put(Call(function, args), moment_s)  # not now + (moment − now), which may be another moment

    def every(self, period_s: float, function: Callable[[], None], first_after_s: float = 0.0) -> None:
        """Call `function()` now, or after so long, and then every `period_s` seconds for as long as the run lasts."""

        def beat() -> None:
            function()
            self.put(Tick(beat, ()), self.now + period_s)

        self.put(Tick(beat, ()), self.now + first_after_s)

    def feed(self, first_s: float, function: Callable[[], float]) -> None:
        """Call `function()` at `first_s`; each call returns the moment of the next one, or NEVER.

        The moments must not fall. It happens before everything else of the same moment but SimPy's urgent events.
        """
        self._next_feed_s, self._feed = first_s, function

    def stop(self) -> None:
        """The model has come to its end: so does the run, after the event that is happening now, unless it is to go
        on until something else.
        """
        event = Event(self)
        event._ok, event._value = True, OVER
        event.callbacks = [StopSimulation.callback]
        self.schedule(event, URGENT)

    @property
    def idle(self) -> bool:
        """Whether nothing of the model's is to come but ticks."""
        return self._next_feed_s == NEVER and not any(
            isinstance(event, Planned) and not isinstance(event, Tick) for event in self._coming()
        )

    def next_sweep(self, not_before_s: float, rules: LeaseRules) -> float:
        """The first sweep, one every `sweep_s`, at or after a moment."""
        sweep_s = math.ceil(round(not_before_s / rules.sweep_s, 9)) * rules.sweep_s
        return max(sweep_s, not_before_s)  # 36 · 0.3 is a little less than 10.8: never before the moment itself

    # -- SimPy's own verbs --

    def schedule(self, event: Event, priority: EventPriority = NORMAL, delay: float = 0) -> None:
        """Let an event happen after a delay."""
        if delay == 0 and priority == NORMAL:
            self._soon.append(event)
        else:
            super().schedule(event, priority, delay)

    def advance(self, events: int) -> None:
        """Let so many events happen. Raises EmptySchedule if none is left, StopSimulation when it is to end.

        SimPy's `step` with the loop around it, and with the fed arrivals taken in between.
        """
        queue, soon = self._queue, self._soon
        for _ in range(events):
            feed_s = self._next_feed_s
            if soon and self.now < feed_s and not (queue and queue[0][0] <= self.now):
                event = soon.popleft()
            elif queue and (queue[0][0] < feed_s or (queue[0][0] == feed_s and queue[0][1] == URGENT)):
                self.now, _, _, event = heappop(queue)
                self._now = self.now
            elif feed_s < NEVER:
                self.now = self._now = feed_s
                self._next_feed_s = self._feed()
                continue
            else:
                raise EmptySchedule
            callbacks = event.callbacks
            if type(callbacks) is tuple:
                callbacks[0](event)  # one of the model's own
            else:
                _happen(event, callbacks)

    def step(self) -> None:
        """Let the next event happen."""
        self._steps = True
        try:
            self.advance(1)
        finally:
            self._steps = False

    def peek(self) -> float:
        """When the next event happens; infinity if there is none."""
        return self.now if self._soon else min(super().peek(), self._next_feed_s)

    def run(self, until: float | Event | None = None) -> Any:
        """Let time pass until a moment, an event, or the end of the model. Returns the event's value.

        Until a moment or an event it goes on past the model's end, as SimPy does. Raises RuntimeError if the event can
        no longer happen.
        """
        wanted = self._wanted(until)
        if wanted is not None:
            if wanted.processed:
                return wanted.value
            wanted.callbacks.append(StopSimulation.callback)
        while self.peek() < NEVER:
            try:
                self.advance(EVENTS_AT_A_TIME)
            except StopSimulation as stop:
                if stop.args[0] is not OVER:
                    return stop.args[0]
                if wanted is None or self._only_ticks():
                    break
            except EmptySchedule:
                break
        if wanted is not None and not wanted.triggered:
            raise RuntimeError(f"nothing is left to happen, and {until} did not")
        return None

    def _only_ticks(self) -> bool:
        return self._next_feed_s == NEVER and all(isinstance(event, Tick) for event in self._coming())

    def _coming(self) -> Iterator[Any]:
        """All events that are to happen."""
        return chain(self._soon, (entry[3] for entry in self._queue))

    def _wanted(self, until: float | Event | None) -> Event | None:
        if until is None or isinstance(until, Event):
            return until
        if until <= self.now:
            raise ValueError(f"it is {self.now} s already: until={until} is not later")
        event = Event(self)
        event._ok, event._value = True, None
        self.schedule(event, URGENT, until - self.now)
        return event


def _happen(event: Any, callbacks: list[Callable[[Any], None]]) -> None:
    """What SimPy's loop does with an event."""
    event.callbacks = None
    for callback in callbacks:
        callback(event)
    if not event._ok and not hasattr(event, "_defused"):
        raise _failure_of(event)


def _failure_of(event: Any) -> BaseException:
    """The exception with which a user's process failed and which nobody handled."""
    failure: BaseException = event._value
    failure.__cause__ = getattr(event._value, "__cause__", None)
    return failure
