"""How long a queue leaves a free slot idle although a task is ready for it: what its own machinery takes between tasks.

The two engines have machinery of their own. A foreign queue's is unknown, but its records show this much of it: at
every start, the time since the task was ready and the slot was free, whichever came last. The fitted scenario has it as
a profile (`profile: machinery.yaml`, the cost `fetch`): the model then hands over as slowly as that queue did.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from lab.draws import Floats
from lab.limits import COST_S_MAX
from lab.observed import Observed
from lab.units import seconds as spoken

MACHINERY_NAME: Final = "machinery.yaml"
STARTS_MIN: Final = 20
"""Of fewer starts no distribution can be told."""
QUANTILES: Final = 21
SHARE_MAX: Final = 0.99
"""The last hundredth is left out: messages that a dead worker held, a machine that stood still."""
SERIAL_SHARE_MAX: Final = 0.5
"""A worker of the model hands over one batch after the other, and the seen gaps hold what slots waited for each
other's. If all slots of a worker together ask for more than this share of a task's time, these waits count twice: a
real Procrastinate with 0.3 is met within some 10 %; one with 1.0, on a machine with no time to spare, is missed
threefold.
"""


@dataclass(frozen=True)
class Handover:
    """The idle time of slots before each start, as quantiles evenly spaced in probability up to SHARE_MAX; none where
    the model cannot have it.
    """

    starts: int
    quantiles_s: tuple[float, ...]
    words: str

    def profile(self, source: str) -> dict[str, Any] | None:
        """As a profile for the model: nothing costs anything, but a task is taken so late. None: nothing is known."""
        if not self.quantiles_s:
            return None
        return {
            "measured": f"what {source} took between tasks, of {self.starts:,} starts; fitted by meshlab fit",
            "fetch": {"late_s": list(self.quantiles_s)},
        }

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"starts": self.starts, "quantiles_s": list(self.quantiles_s), "words": self.words}


def fit(seen: Observed, workers: int, slots: int) -> Handover:
    """From the records of a queue that has so many workers with so many slots each."""
    gaps = gaps_s(seen, workers, slots)
    if len(gaps) < STARTS_MIN:
        return Handover(len(gaps), (), f"{len(gaps)} starts are too few to tell what the queue takes between tasks")
    chosen = np.quantile(gaps, np.linspace(0, SHARE_MAX, QUANTILES)).clip(0.0, COST_S_MAX)
    tail_s, longest_s = (float(one) for one in np.quantile(gaps, [0.95, 1.0]))
    words = f"a free slot took the next ready task after {spoken(float(np.median(gaps)))}, p95 {spoken(tail_s)}"
    words += f", longest {spoken(longest_s)}"
    service_s = seen.service_s()
    if not len(service_s) or float(chosen.mean()) * slots > SERIAL_SHARE_MAX * float(service_s.mean()):
        words += "; so much that the queue or its machine was itself short of time: the model leaves it out, and waits "
        return Handover(len(gaps), (), words + "come out too short")
    words += f"; the model does the same ({MACHINERY_NAME}), live workers have their own"
    return Handover(len(gaps), tuple(round(float(one), 6) for one in chosen), words)


def gaps_s(seen: Observed, workers: int, slots: int) -> Floats:
    """For each start whose task is known to have been ready: start − max(ready, the moment its slot was freed).

    Of the free slots of its worker (of all, where workers have no names) the start is given the one freed last.
    """
    attempts = seen.attempts
    if attempts.empty:
        return np.zeros(0)
    ready_s = _ready_s(seen)
    named = bool((attempts["worker"] != "").all())
    owners = attempts["worker"].tolist() if named else [""] * len(attempts)
    ends = attempts["finish_s"].to_numpy(dtype=np.float64)
    starts = attempts["start_s"].to_numpy(dtype=np.float64)
    # Ends come before starts of the same moment.
    steps = [(at, 0, row) for row, at in enumerate(ends) if at == at] + [(at, 1, row) for row, at in enumerate(starts)]
    steps.sort()
    fresh = [-np.inf] * (slots if named else workers * slots)
    free: dict[str, list[float]] = defaultdict(fresh.copy)
    found = []
    for at, is_start, row in steps:
        if not is_start:
            free[owners[row]].append(at)
        else:
            freed_s = free[owners[row]].pop() if free[owners[row]] else at
            found.append(at - max(ready_s[row], freed_s))
    gaps: Floats = np.array(found)
    return np.maximum(gaps[~np.isnan(gaps)], 0.0)


def _ready_s(seen: Observed) -> Floats:
    """When each attempt might have begun: at the arrival, or when the backoff that was ordered was over. NaN where
    nobody knows: after a lost worker, or a backoff that was only seen as the gap until this start.
    """
    attempts = seen.attempts.sort_values(["task", "start_s"], kind="stable")
    same = attempts["task"] == attempts["task"].shift(1)
    failing = attempts["outcome"].isin(("failed", "retried"))
    failures = failing.groupby(attempts["task"]).cumsum().where(failing, 0).shift(1).fillna(0).astype(int)
    ordered = seen.backoffs[seen.backoffs["exact"]].set_index(["task", "failure"])["delay_s"]
    ordered = ordered[~ordered.index.duplicated()]
    delay_s = ordered.reindex(pd.MultiIndex.from_arrays([attempts["task"], failures])).to_numpy(dtype=np.float64)
    again = attempts["finish_s"].shift(1).to_numpy(dtype=np.float64) + delay_s
    arrival = attempts["task"].map(seen.tasks["arrival_s"]).to_numpy(dtype=np.float64)
    ready = pd.Series(np.where(same.to_numpy(), again, arrival), index=attempts.index)
    return np.asarray(ready.reindex(seen.attempts.index), dtype=np.float64)
