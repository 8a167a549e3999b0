"""Threads that compute inside modelled worker processes: they share their process's interpreter, and all the cores.

Python lets one thread of a process run at a time and hands the turn on every few milliseconds, so k threads that
compute get a k-th of it each (processor sharing), and the process's event loop waits its turn behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

from simulation.clock import Clock

NOTHING_S: Final = 1e-9
"""Less work than this is none: what rounding leaves."""


class Computing:
    """All processes of the mesh in which something computes. `cores` is None where there is no limit."""

    def __init__(self, clock: Clock, cores: int | None) -> None:
        self._clock, self._cores = clock, cores
        self._busy: list[Crowd] = []

    def crowd(self) -> Crowd:
        """The threads of one more process."""
        return Crowd(self._clock, self)

    @property
    def share(self) -> float:
        """The share of a core that each process which computes gets."""
        return 1.0 if self._cores is None or len(self._busy) <= self._cores else self._cores / len(self._busy)

    def turned(self, crowd: Crowd, busy: bool) -> None:
        """A process begins to compute, or has ended: where cores are short, all others get more or less."""
        before = self.share
        if busy:
            self._busy.append(crowd)
        else:
            self._busy.remove(crowd)
        if self.share != before:
            for other in self._busy:
                other.review()


class Crowd:
    """The threads that compute in one process.

    Every thread gets the same, so one figure says how far all are: `_given_s`, what a thread that was there from the
    beginning has been given. A thread is done when that has risen by its own work.
    """

    def __init__(self, clock: Clock, computing: Computing) -> None:
        self._clock, self._computing = clock, computing
        self.threads: list[tuple[float, int, Callable[[], None]]] = []
        """A heap of (what it must have been given to be done, number, what to call then)."""
        self._numbers = count()
        self._given_s = self._seen_at_s = self._rate = 0.0
        self._plans = 0
        self._frozen = False

    @property
    def busy(self) -> int:
        """How many threads compute now."""
        return len(self.threads)

    def add(self, work_s: float, done: Callable[[], None]) -> None:
        """One more thread, which needs so much of the processor. `done` is called when it has got it."""
        self._advance()
        heappush(self.threads, (self._given_s + work_s, next(self._numbers), done))
        if len(self.threads) == 1 and not self._frozen:
            self._computing.turned(self, busy=True)
        self.review()

    def freeze(self, frozen: bool) -> None:
        """The process is stopped (SIGSTOP), and none of its threads gets anything; or it goes on."""
        if frozen is not self._frozen:
            self._advance()
            self._frozen = frozen
            if self.threads:
                self._computing.turned(self, busy=not frozen)
            self.review()

    def end(self) -> None:
        """The process is gone, and its threads with it: none of them is ever done."""
        self._advance()
        if self.threads:
            self.threads.clear()
            if not self._frozen:
                self._computing.turned(self, busy=False)
        self.review()

    def keeps_waiting_s(self, patience_s: float) -> float:
        """How long the event loop waits for its turn if each thread holds on to the interpreter for so long; at most
        until none of them computes any more.
        """
        self._advance()
        left_s = sum(ends_s - self._given_s for ends_s, _, _ in self.threads)
        return min(patience_s * len(self.threads), max(0.0, left_s) / self._computing.share)

    def review(self) -> None:
        """The rate has changed: plan anew when the next thread is done."""
        self._advance()
        computes = bool(self.threads) and not self._frozen
        self._rate = self._computing.share / len(self.threads) if computes else 0.0
        self._plans += 1
        if computes:
            left_s = max(0.0, self.threads[0][0] - self._given_s)
            self._clock.call_after(left_s / self._rate, self._look, self._plans)

    def _advance(self) -> None:
        now_s = self._clock.now
        self._given_s += (now_s - self._seen_at_s) * self._rate
        self._seen_at_s = now_s

    def _look(self, plan: int) -> None:
        """What was planned: a thread is done, unless another plan has been made since."""
        if plan != self._plans:
            return
        self._advance()
        done = []
        while self.threads and self.threads[0][0] <= self._given_s + NOTHING_S:
            done.append(heappop(self.threads)[2])
        if not self.threads:
            self._rate = 0.0
            self._computing.turned(self, busy=False)
        self.review()
        for told in done:
            told()
