"""The figures of several runs of one scenario, put together, each with its 95 % interval.

What every task has (latency, queue wait, overhead) is that of all tasks of all runs: mean, percentiles and maximum of
the pooled tasks. What a run has once (throughput, makespan, counts, peak RSS) is the mean of the runs. The interval
stands beside its figure as `…_ci95`, None where the runs cannot bound it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lab import statistics
from lab.draws import Floats
from lab.metrics import PERCENTILES, SPREADS, Times
from lab.rules.priority import QUEUES


def pooled(summaries: Sequence[Mapping[str, Any]], times: Sequence[Times]) -> dict[str, Any]:
    """The runs' summaries as one; `times` are those of the same runs. One run stays as it is."""
    return dict(summaries[0]) if len(summaries) == 1 else _pooled(summaries, times, None)


def _pooled(summaries: Sequence[Mapping[str, Any]], times: Sequence[Times], queue: str | None) -> dict[str, Any]:
    """The same below a key of the summary: of all queues, or of one."""
    merged: dict[str, Any] = {}
    for key, first in summaries[0].items():
        found = [one[key] for one in summaries]
        if key in SPREADS:
            merged[key] = spread([one.values(key, queue) for one in times])
        elif isinstance(first, Mapping):
            merged[key] = _pooled(found, times, key if key in QUEUES else queue)
        elif any(value is None for value in found):
            merged[key] = merged[f"{key}_ci95"] = None
        else:
            merged |= statistics.as_figures(key, statistics.of_runs(found))
    return merged


def spread(groups: Sequence[Floats]) -> dict[str, Any]:
    """Mean, percentiles and maximum of the values of all runs, a group a run, each with its interval.

    None without any value. A maximum has no interval: a longer look finds a larger one.
    """
    groups = [group for group in groups if len(group)]
    names = ("mean", *PERCENTILES, "max")
    found: dict[str, Any] = dict.fromkeys(key for name in names for key in (name, f"{name}_ci95"))
    if groups:
        found |= statistics.as_figures("mean", statistics.mean(groups))
        for name, share in PERCENTILES.items():
            found |= statistics.as_figures(name, statistics.quantile(groups, share))
        found["max"] = round(float(np.max([group.max() for group in groups])), 9)
    return found
