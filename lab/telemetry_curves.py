"""The curves of a live view: what happened in each half second of a run, folded as it is told.

What comes late (the live side commits in another order than that of time) is put where it belongs, and the bins that it
touches are told again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.limits import TELEMETRY_BINS_MAX

BIN_S = 0.5
"""Short enough to follow a burst, long enough that a handful of tasks make a rate."""
LATENCY_BINS = 4
"""Percentiles are those of the tasks completed in the last two seconds: of one bin alone they would only jump."""
LATE_BINS = 8
"""Latencies of so many closed bins are kept for what comes late; what comes later still counts in the throughput."""
DIGITS = 4
"""Of seconds and rates: a tenth of a millisecond."""


class Curves:
    """Throughput, latency, depth, RSS and retries of a run, in bins of BIN_S seconds. Bin i is [i·BIN_S, (i+1)·BIN_S).

    Times are seconds of the run. A run longer than TELEMETRY_BINS_MAX bins keeps adding to its last one.
    """

    def __init__(self) -> None:
        self.reached_s = 0.0
        """The latest moment that is known of."""
        self._done: list[int] = []
        self._retried: list[int] = []
        self._change: list[int] = []
        """By how much the number of PENDING tasks rose in a bin."""
        self._reported: list[tuple[int | None, float | None]] = []
        """(held, RSS in bytes) as reported last in a bin; None where nothing was."""
        self._level: list[tuple[int, int, float]] = []
        """(PENDING, held, RSS) at the end of each bin, derived from the above; right before `_first`."""
        self._p50: list[float | None] = []
        self._p95: list[float | None] = []
        self._latencies: dict[int, list[float]] = {}
        self._first = 0
        """The first bin that has changed since it was last told."""
        self._forgotten = 0
        """The percentiles of bins before this one are final."""

    # -- what happens --

    def bin_of(self, t_s: float) -> int:
        """The bin in which a moment lies, which is there from now on and will be told."""
        number = min(int(t_s / BIN_S), TELEMETRY_BINS_MAX - 1)
        if number >= len(self._done):
            self._extend(number + 1)
        if number < self._first:
            self._first = number
        if t_s > self.reached_s:
            self.reached_s = t_s
        return number

    def pending(self, number: int, change: int) -> None:
        """In that bin so many more tasks (or fewer) became PENDING than left it."""
        self._change[number] += change

    def completed(self, number: int, latency_s: float) -> None:
        """A task was completed in that bin, so long after its scheduled arrival."""
        self._done[number] += 1
        if number in self._latencies:
            self._latencies[number].append(latency_s)
        elif number >= self._forgotten:
            self._latencies[number] = [latency_s]

    def retried(self, number: int) -> None:
        """A task began to wait for a retry in that bin."""
        self._retried[number] += 1

    def hold(self, held: int, t_s: float | None = None) -> None:
        """The producer holds so many tasks, at a moment or now."""
        number = self.bin_of(self.reached_s if t_s is None else t_s)
        self._reported[number] = (held, self._reported[number][1])

    def weigh(self, rss_bytes: float, t_s: float) -> None:
        """All workers together have so many bytes."""
        number = self.bin_of(t_s)
        self._reported[number] = (self._reported[number][0], rss_bytes)

    # -- what is told --

    def told(self, until_s: float, *, all_bins: bool = False, closed: bool = False) -> dict[str, Any]:
        """The bins that have changed since the last time, up to the one in which `until_s` lies.

        That one is still open unless `closed`: its rates would be too low, so it has only what holds now (depth, RSS).
        """
        last = self.bin_of(until_s)
        if self._first <= last:
            self._refresh(self._first, last)
        first = 0 if all_bins else min(self._first, last)
        whole = slice(first, last + 1 if closed else last)
        open_bin: list[None] = [] if closed else [None]
        self._first, self._forgotten = last, self._forget(last)
        return {
            "width_s": BIN_S,
            "first": first,
            "throughput": [round(done / BIN_S, DIGITS) for done in self._done[whole]] + open_bin,
            "p50": self._p50[whole] + open_bin,
            "p95": self._p95[whole] + open_bin,
            "depth": [pending + held for pending, held, _ in self._level[first : last + 1]],
            "rss": [round(rss) or None for _, _, rss in self._level[first : last + 1]],
            "retries": [round(retried / BIN_S, DIGITS) for retried in self._retried[whole]] + open_bin,
        }

    def _refresh(self, first: int, last: int) -> None:
        """Derive levels and percentiles of these bins anew."""
        pending, held, rss = self._level[first - 1] if first else (0, 0, 0.0)
        for number in range(first, last + 1):
            pending += self._change[number]
            new_held, new_rss = self._reported[number]
            held, rss = held if new_held is None else new_held, rss if new_rss is None else new_rss
            self._level[number] = (pending, held, rss)
        for number in range(max(first, self._forgotten), last + 1):
            recent = [self._latencies.get(bin_, ()) for bin_ in range(number - LATENCY_BINS + 1, number + 1)]
            values = np.concatenate([np.asarray(part, dtype=float) for part in recent])
            both = np.percentile(values, (50, 95)).round(DIGITS).tolist() if len(values) else (None, None)
            self._p50[number], self._p95[number] = both

    def _forget(self, last: int) -> int:
        """Drop latencies that no bin will be derived from any more; returns the first bin that may still change."""
        keep = max(self._forgotten, last - LATE_BINS)
        for number in [n for n in self._latencies if n < keep - LATENCY_BINS + 1]:
            del self._latencies[number]
        return keep

    def _extend(self, count: int) -> None:
        more = count - len(self._done)
        for counts in (self._done, self._retried, self._change):
            counts.extend([0] * more)
        self._reported.extend([(None, None)] * more)
        self._level.extend([(0, 0, 0.0)] * more)
        self._p50.extend([None] * more)
        self._p95.extend([None] * more)
