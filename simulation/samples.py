"""The samples of a run as columns: some 50 bytes a row, where tuples of Python would take five times as much."""

from __future__ import annotations

from array import array

import numpy as np
import pandas as pd

from lab.record import SampleRow


class Samples:
    """Rows of `lab.record.SampleRow`, collected while the model runs."""

    def __init__(self) -> None:
        self._t_s, self._rss, self._cpu = array("d"), array("d"), array("d")
        self._worker, self._active, self._gate = array("i"), array("i"), array("b")
        self._counts = array("i")
        self._names: dict[str, int] = {"": 0}

    def of_worker(self, t_s: float, worker: str, rss_bytes: float, cpu: float, active: int, gate: bool) -> None:
        """One worker at one moment."""
        self._add(t_s, worker, rss_bytes, cpu, active, gate)
        self._counts.extend((0, 0, 0, 0, 0))

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

    def frame(self) -> pd.DataFrame:
        """All of them as the record's table, moments in whole microseconds."""
        counts = np.asarray(self._counts).reshape(-1, 5)
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
