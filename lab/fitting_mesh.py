"""What the records of a queue say of its mesh: how many tasks ran at a time, what became of failures, which waits
retries had; and what no such record can say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from lab.draws import Floats
from lab.limits import SLOTS_MAX, WORKERS_MAX
from lab.observed import Observed
from lab.rules.retry import RetryRules
from lab.units import plural
from lab.units import seconds as spoken

OVERLAP_SHARE: Final = 0.05
"""Two attempts in a slot overlap in the books when the next one begins before the last one's end is written down: so
much of an attempt's time, up to OVERLAP_S_MAX, does not count as concurrent."""
OVERLAP_S_MAX: Final = 0.05
BACKOFF_SHARE: Final = 0.1
"""A seen gap is the backoff and whatever the queue added: the shortest tenth is nearest to what was ordered."""
APART_SHARE: Final = 0.25
"""First backoffs of two roles that differ by more are two policies."""
CANNOT_KNOW: Final = (
    "memory and processor time of the tasks: no record of a queue has them (set memory_mib and cpu_share by hand)",
    "what the queue's own machinery takes within an attempt: it is part of the seen times",
)


@dataclass(frozen=True)
class Capacity:
    """How many tasks were seen to run at a time."""

    workers: int
    slots: int
    peak: int
    """The most attempts at a time, of all workers together."""
    busy_share: float
    """Share of the time in which as many ran as ever did."""
    words: str


@dataclass(frozen=True)
class Retries:
    """What became of failures."""

    max_retries: int
    base_s: float
    factor: float
    seen_s: dict[int, float]
    """By the how manieth failure of a task: the backoff that was seen."""
    fitted_s: dict[int, float]
    residual: float | None
    """The largest |seen / fitted − 1|."""
    words: str

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            **self.__dict__,
            "seen_s": {str(k): round(value, 6) for k, value in self.seen_s.items()},
            "fitted_s": {str(k): round(value, 6) for k, value in self.fitted_s.items()},
        }


@dataclass(frozen=True)
class Failures:
    """How often the attempts of a role fail, and how often for good at once."""

    attempts: int
    rate: float
    permanent_share: float


# ---- workers and slots -----------------------------------------------------------------------------------------------


def capacity(seen: Observed) -> Capacity:
    """Workers × slots: by the record's own word where it has one, else the largest concurrency that was seen."""
    attempts = seen.attempts
    starts = attempts["start_s"].to_numpy(dtype=np.float64)
    ends = _ends(attempts, seen.span_s)
    peak, busy_share = concurrency(starts, ends)
    names = attempts["worker"].to_numpy(dtype=object)
    known = seen.facts.get("workers"), seen.facts.get("slots")
    if all(isinstance(one, int) for one in known):
        workers, slots = int(known[0] or 1), int(known[1] or 1)
        words = f"{workers} × {slots} by the record's own scenario; at most {plural(peak, 'attempt')} ran at a time"
        return Capacity(workers, slots, peak, busy_share, words)
    if len(attempts) == 0:
        return Capacity(1, 1, 0, 0.0, "no attempt was seen: nothing is known of the mesh, so 1 × 1")
    if not all(names):
        slots = min(max(peak, 1), SLOTS_MAX)
        words = f"at most {plural(peak, 'attempt')} ran at a time; without workers' names: 1 × {slots}"
        return Capacity(1, slots, peak, busy_share, words + _saturation(busy_share))
    lives = attempts.assign(end=ends).groupby("worker").agg(first=("start_s", "min"), last=("end", "max"))
    together, _ = concurrency(lives["first"].to_numpy(), lives["last"].to_numpy())
    slots = max(
        concurrency(starts[names == name], ends[names == name])[0] for name in attempts["worker"].unique().tolist()
    )
    workers = min(max(together, math.ceil(peak / max(slots, 1))), WORKERS_MAX)
    words = f"{plural(workers, 'worker')} at a time, at most {plural(slots, 'attempt')} in one and {peak} in all"
    return Capacity(workers, min(slots, SLOTS_MAX), peak, busy_share, words + _saturation(busy_share))


def _ends(attempts: pd.DataFrame, span_s: float) -> Floats:
    """When each attempt ended. One that has no end may still run, or nobody wrote it down: it counts for as long as
    the longest of its role took, so that lost lines do not fill the slots for good.
    """
    spent = attempts["finish_s"] - attempts["start_s"]
    longest = spent.groupby(attempts["role"]).transform("max").fillna(math.inf)
    until = (attempts["start_s"] + longest).clip(upper=span_s)
    ends: Floats = attempts["finish_s"].fillna(until).to_numpy(dtype=np.float64)
    return ends


def _saturation(busy_share: float) -> str:
    """How far the largest concurrency is to be believed as a bound."""
    if busy_share >= 0.02:
        return f" ({100 * busy_share:.0f} % of the time that many: it looks like the limit)"
    return " (hardly ever that many: the true limit may be higher, and then waits are overstated)"


def concurrency(starts: Floats, ends: Floats) -> tuple[int, float]:
    """(the most intervals at a time, share of the time in which there were as many). Short overlaps do not count."""
    if len(starts) == 0:
        return 0, 0.0
    ends = np.maximum(starts, ends - np.minimum(OVERLAP_SHARE * (ends - starts), OVERLAP_S_MAX))
    moments = np.concatenate([ends, starts])
    steps = np.concatenate([np.full(len(ends), -1), np.full(len(starts), 1)])
    order = np.lexsort((steps, moments))  # at one moment, ends come first
    level = np.cumsum(steps[order])
    lasting = np.diff(moments[order], append=moments[order][-1])
    span = float(lasting.sum())
    peak = int(level.max())
    return max(peak, 1), float(lasting[level == peak].sum() / span) if span > 0 else 0.0


# ---- failures and retries --------------------------------------------------------------------------------------------


def failures(seen: Observed, role: str, max_retries: int) -> Failures:
    """How often this role's attempts fail; of a task that died earlier than others are given up, the failure was
    permanent.
    """
    mine = seen.attempts[seen.attempts["role"] == role]
    ended = mine[mine["outcome"].isin(("succeeded", "failed", "retried"))]
    failed = int((ended["outcome"] != "succeeded").sum())
    tasks = seen.tasks[(seen.tasks["role"] == role) & (seen.tasks["state"] == "failed")]
    early = int((tasks["failures"] <= max_retries).sum())
    return Failures(
        len(ended),
        round(failed / len(ended), 6) if len(ended) else 0.0,
        round(min(1.0, early / failed), 6) if failed else 0.0,
    )


def retries(seen: Observed) -> Retries:
    """The bound on retries, and base · factor^k by least squares of the logarithms of the backoffs seen after the k-th
    failure, each weighted by how often it was seen.
    """
    tasks = seen.tasks
    dead = tasks[tasks["state"] == "failed"]
    tried = int(np.maximum(tasks["failures"] - (tasks["state"] == "failed"), 0).max()) if len(tasks) else 0
    bound = max(tried, int(dead["failures"].max()) - 1 if len(dead) else 0)
    rules = RetryRules()
    # A task that died of fewer failures than others lived through met no bound. Where none did, nobody knows it: one
    # that is too low would kill tasks that lived.
    given_up = bool((dead["failures"] > tried).any())
    max_retries = min(bound if given_up else max(bound, rules.max_retries), 100)
    if not len(seen.backoffs):
        if not bool((tasks["failures"] > 0).any()):
            rest = rules.max_retries, rules.base_s, rules.factor
            return Retries(*rest, {}, {}, None, "no failure was seen: the rulebook's own retries stand")
        words = f"failures are retried at most {max_retries} times, after waits that were not seen"
        return Retries(max_retries, rules.base_s, rules.factor, {}, {}, None, words)
    groups = [(k, seen.backoffs[seen.backoffs["failure"] == k]) for k in sorted(set(seen.backoffs["failure"].tolist()))]
    seen_s = {k: _shortest(group) for k, group in groups}
    base_s, factor = backoff_law(seen_s, {k: len(group) for k, group in groups})
    fitted = {k: base_s * factor**k for k in seen_s}
    residual = max(abs(seen_s[k] / fitted[k] - 1) if fitted[k] > 0 else float(seen_s[k] > 0) for k in seen_s)
    number = "1 retry" if max_retries == 1 else f"{max_retries} retries"
    bound_words = (
        number if given_up else f"up to {bound} were seen and nobody was given up for their number, so {number}"
    )
    words = f"{bound_words}; backoff {base_s:.3g} s × {factor:.3g}^k"
    words += f", off by at most {100 * residual:.0f} %: " + ", ".join(
        f"after failure {k} {spoken(seen_s[k])} seen, {spoken(fitted[k])} fitted" for k in list(seen_s)[:6]
    )
    return Retries(max_retries, base_s, factor, seen_s, fitted, round(residual, 6), words + _own_ways(seen))


def _own_ways(seen: Observed) -> str:
    """What a scenario's single rule loses where roles wait in ways of their own after their first failure."""
    first = seen.backoffs[seen.backoffs["failure"] == 1]
    by_role = {str(role): _shortest(group) for role, group in first.groupby(first["task"].map(seen.tasks["role"]))}
    if len(by_role) < 2 or max(by_role.values()) <= (1 + APART_SHARE) * min(by_role.values()):
        return ""
    told = ", ".join(f"{role} {spoken(value)}" for role, value in sorted(by_role.items(), key=lambda one: one[1])[:6])
    return f". Roles wait in their own ways after a first failure ({told}), and a scenario has one rule for all"


def backoff_law(seen_s: dict[int, float], weights: dict[int, int]) -> tuple[float, float]:
    """(base_s, factor) of base · factor^k nearest to the backoffs seen after the k-th failure. Of a single k the
    factor cannot be told, nor of waits of nothing: then it is 1.
    """
    ks = np.array([k for k, value in seen_s.items() if value > 0.0], dtype=np.float64)
    if len(ks) == 0:
        return 0.0, 1.0
    logs = np.log([seen_s[int(k)] for k in ks])
    weight = np.array([weights[int(k)] for k in ks], dtype=np.float64)
    if len(ks) == 1:
        return float(f"{math.exp(logs[0]):.6g}"), 1.0
    slope, level = np.polyfit(ks, logs, 1, w=np.sqrt(weight))
    if slope < 0:  # waits that shrink are no backoff of ours: the nearest one is constant
        return float(f"{math.exp(float(np.average(logs, weights=weight))):.6g}"), 1.0
    factor = min(math.exp(slope), 100.0)
    return float(f"{math.exp(level):.6g}"), float(f"{factor:.6g}")


def _shortest(group: pd.DataFrame) -> float:
    """The backoff after one failure: as ordered where that is known, else near the shortest that was seen."""
    ordered = group.loc[group["exact"], "delay_s"]
    if len(ordered):
        return float(ordered.median())
    return float(group["delay_s"].quantile(BACKOFF_SHARE))
