"""The samples of a run as columns: some 50 bytes a row, where tuples of Python would take five times as much."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any

import numpy as np
import pandas as pd

from lab.limits import SAMPLES_MAX
from lab.record import SampleRow

COUNTS = 5
"""The last so many columns of a sample: tasks in each queue, in RETRY_WAIT, and held."""


class Samples:
    """Rows of `lab.record.SampleRow`, collected report by report.

    A run may last for years of model time: past SAMPLES_MAX rows every second report is dropped, and from then on only
    every second one is kept.
    """

    def __init__(self) -> None:
        self._t_s, self._rss, self._cpu = array("d"), array("d"), array("d")
        self._worker, self._active, self._gate = array("i"), array("i"), array("b")
        self._counts = array("i")
        self._names: dict[str, int] = {"": 0}
        self._first_rows = array("i")
        """Of each report that was kept."""
        self._reports, self._every = 0, 1

    def begin(self) -> bool:
        """One more report. Returns whether it is to be kept."""
        number = self._reports
        self._reports += 1
        if len(self._t_s) >= SAMPLES_MAX and number % self._every == 0:
            self._thin()
        if number % self._every:
            return False
        self._first_rows.append(len(self._t_s))
        return True

    def of_worker(self, t_s: float, worker: str, rss_bytes: float, cpu: float, active: int, gate: bool) -> None:
        """One worker at one moment."""
        self._add(t_s, worker, rss_bytes, cpu, active, gate)
        self._counts.extend((0,) * COUNTS)

    def of_queues(self, t_s: float, active: int, high: int, medium: int, low: int, retry_wait: int, held: int) -> None:
        """The queues at one moment."""
        self._add(t_s, "", 0.0, 0.0, active, True)
        self._counts.extend((high, medium, low, retry_wait, held))

    def _add(self, t_s: float, worker: str, rss_bytes: float, cpu: float, active: int, gate: bool) -> None:
        self._t_s.append(t_s)
        self._worker.append(self._names.setdefault(worker, len(self._names)))
        self._rss.append(rss_bytes)
        self._cpu.append(cpu)
        self._active.append(active)
        self._gate.append(gate)

    def _thin(self) -> None:
        """Drop every second report."""
        report = np.zeros(len(self._t_s), dtype=np.int32)
        report[np.asarray(self._first_rows)[1:]] = 1
        keep = np.cumsum(report) % 2 == 0
        for name in ("_t_s", "_rss", "_cpu", "_worker", "_active", "_gate"):
            setattr(self, name, _chosen(getattr(self, name), keep))
        self._counts = _chosen(self._counts, np.repeat(keep, COUNTS))
        starts = np.flatnonzero(np.diff(np.cumsum(report)[keep], prepend=-1))
        self._first_rows = array("i", starts.astype(np.int32).tobytes())
        self._every *= 2

    def told(self, from_s: float, before_s: float) -> list[SampleRow]:
        """The rows from one moment on and before another, as somebody who watches is told of them."""
        begin = bisect_left(self._t_s, from_s)
        end, names = bisect_left(self._t_s, before_s, begin), list(self._names)
        return [
            SampleRow(
                self._t_s[row], names[self._worker[row]], self._rss[row], self._cpu[row], self._active[row],
                bool(self._gate[row]), *self._counts[row * COUNTS : (row + 1) * COUNTS],
            )
            for row in range(begin, end)
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """All of them as the record's table, moments in whole microseconds."""
        counts = np.asarray(self._counts).reshape(-1, COUNTS)
        names = pd.Index(list(self._names))
        columns = (
            np.rint(np.asarray(self._t_s) * 1e6) / 1e6,
            pd.Categorical.from_codes(np.asarray(self._worker), categories=names),
            np.asarray(self._rss),
            np.asarray(self._cpu),
            np.asarray(self._active),
            np.asarray(self._gate).astype(bool),
            *counts.T,
        )
        return pd.DataFrame(dict(zip(SampleRow._fields, columns, strict=True)))


def _chosen(column: array[Any], keep: Any) -> array[Any]:
    return array(column.typecode, np.asarray(column)[keep].tobytes())
