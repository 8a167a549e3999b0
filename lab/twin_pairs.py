"""The test task by task: how far the model is from each live task, how far live is from itself, and what differs.

The model and every repeat ran the same tasks, so each task is compared with itself. The difference of a task is model −
live, live being its mean over the repeats that completed it: what remains is the model's, not the luck of one repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np

from lab import stories, units
from lab.draws import Floats
from lab.record import Record
from lab.rules.tasks import State
from lab.stories import KINDS, Kind
from lab.twin_figures import latencies

WORST_SHOWN: Final = 10
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
Parts = dict[str, tuple[Kind, ...]]
PARTS: Final[Parts] = {
    "queueing": ("waiting",),
    "service": ("service",),
    "machinery": ("overhead", "admission"),
    "backoff": ("backoff",),
}
"""What the spans of a task come to."""
PARTS_HELD: Final[Parts] = {**PARTS, "machinery": ("overhead",), "backpressure": ("admission",)}
"""The same where admission was closed: then tasks were held on purpose."""
BUSY_SHARE: Final = 0.7
"""With fewer slots busy than this on average there is mostly a free one, and waiting is not for a slot."""
SMALL_SHARE: Final = 0.01
"""A mean latency that is off by less needs no explanation."""


def paired(model: Record, live: Sequence[Record]) -> dict[str, Any]:
    """Mean, p50 and p95 of the difference's size, its distribution, correlation; and the same of live against live."""
    mine, theirs = latencies(model), [latencies(one) for one in live]
    apart = _differences(mine, theirs)
    known = apart[~np.isnan(apart)]
    if not len(known):
        return {"tasks": 0}
    noise = np.concatenate([np.abs(a - b) for a, b in combinations(theirs, 2)] or [np.empty(0)])
    noise = noise[~np.isnan(noise)]
    together = [_correlation(mine, one) for one in theirs]
    return {
        "tasks": len(known),
        "mean_s": _short(known.mean()),
        "p50_abs_s": _short(np.quantile(np.abs(known), 0.5)),
        "p95_abs_s": _short(np.quantile(np.abs(known), 0.95)),
        "quantiles_s": {f"{share:g}": _short(np.quantile(known, share)) for share in QUANTILES},
        "correlation": None if None in together else _short(np.mean([one for one in together if one is not None])),
        "live_p50_abs_s": _short(np.quantile(noise, 0.5)) if len(noise) else None,
        "live_p95_abs_s": _short(np.quantile(noise, 0.95)) if len(noise) else None,
    }


def worst(model: Record, live: Sequence[Record]) -> list[dict[str, Any]]:
    """The ten tasks that are furthest apart, each with its spans in the model and in the repeat that is nearest to the
    live mean.
    """
    mine, theirs = latencies(model), [latencies(one) for one in live]
    apart = np.abs(_differences(mine, theirs))
    order = np.argsort(-np.nan_to_num(apart, nan=-1.0), kind="stable")[:WORST_SHOWN]
    ids = [int(task) for task in order if not np.isnan(apart[task])]
    told = stories.stories(model, ids)
    found = []
    for task in ids:
        seen = np.array([one[task] for one in theirs])
        nearest = int(np.nanargmin(np.abs(seen - np.nanmean(seen))))
        real = stories.stories(live[nearest], [task])[task]
        row = model.tasks.iloc[task]
        found.append(
            {
                "task": task,
                "role": str(row["role"]),
                "queue": str(row["queue"]),
                "arrival_s": _short(row["arrival_s"]),
                "model_s": _short(mine[task]),
                "live_s": [None if np.isnan(one) else _short(one) for one in seen],
                "difference_s": _short(mine[task] - np.nanmean(seen)),
                "why": stories.why(told[task], real),
                "model": _spans(told[task]),
                "live": _spans(real),
                "live_repeat": nearest + 1,
            }
        )
    return found


def _spans(spans: Sequence[stories.Span]) -> list[dict[str, Any]]:
    return [
        {"kind": one.kind, "attempt": one.attempt, "start_s": _short(one.start_s), "end_s": _short(one.end_s),
         "worker": one.worker, "ended": one.ended}
        for one in spans
    ]  # fmt: skip


def _differences(mine: Floats, theirs: Sequence[Floats]) -> Floats:
    """Model − mean of the repeats, of each task; NaN where the model or every repeat lacks it."""
    stacked = np.array(theirs)
    known = ~np.isnan(stacked)
    counts = known.sum(axis=0)
    sums = np.where(known, stacked, 0.0).sum(axis=0)
    return np.asarray(mine - np.divide(sums, counts, out=np.full(len(mine), np.nan), where=counts > 0))


def _correlation(a: Floats, b: Floats) -> float | None:
    both = ~np.isnan(a) & ~np.isnan(b)
    if both.sum() < 2 or a[both].std() == 0 or b[both].std() == 0:
        return None
    return float(np.corrcoef(a[both], b[both])[0, 1])


# ---- why -------------------------------------------------------------------------------------------------------------


def anatomy(model: Record, live: Sequence[Record]) -> dict[str, Any]:
    """Where the time of a completed task goes on both sides (s, mean over tasks and repeats), what each part adds to
    the difference (s, and as a share of the sum of all parts' sizes), the slots that are busy and those that the
    machinery holds; and a sentence.
    """
    sides = {"model": _mean_parts([model]), "live": _mean_parts(live)}
    if not sides["model"] or not sides["live"]:
        return {"parts": sides, "why": "no task was completed by both"}
    closed = {"model": closed_s([model]), "live": closed_s(live)}
    apart = {
        name: sum(sides["model"].get(kind, 0.0) - sides["live"].get(kind, 0.0) for kind in kinds)
        for name, kinds in (PARTS_HELD if any(closed.values()) else PARTS).items()
    }
    size = sum(abs(one) for one in apart.values())
    slots = {
        side: {key: _short(np.mean([slot_use(one)[key] for one in records])) for key in ("busy", "machinery")}
        for side, records in (("model", [model]), ("live", live))
    }
    return {
        "parts": {side: {kind: _short(value) for kind, value in parts.items()} for side, parts in sides.items()},
        "difference_s": {name: _short(one) for name, one in apart.items()},
        "share": {name: _short(one / size) if size else 0.0 for name, one in apart.items()},
        "slots": slots,
        "closed_s": closed,
        "why": _sentence(apart, sides["live"], slots, _slot_count(model), closed),
    }


def _mean_parts(records: Sequence[Record]) -> dict[Kind, float]:
    found = [parts for parts in map(stories.mean_s, records) if parts]
    return {kind: float(np.mean([one.get(kind, 0.0) for one in found])) for kind in KINDS} if found else {}


def slot_use(record: Record) -> dict[str, float]:
    """Slots that were busy on average (first arrival to last end), and those of them that the machinery held: the time
    from claim to verdict beyond the planned work.
    """
    tasks = record.tasks
    span_s = float(tasks["done_s"].max() - tasks["arrival_s"].min())
    if not span_s > 0:
        return {"busy": 0.0, "machinery": 0.0}
    moves = record.transitions.sort_values(["task", "at_s"], kind="stable")
    task, at_s = moves["task"].to_numpy(), moves["at_s"].to_numpy()
    running = (moves["to"].to_numpy()[:-1] == State.RUNNING) & (task[1:] == task[:-1])
    held_s = float((at_s[1:] - at_s[:-1])[running].sum())
    return {"busy": held_s / span_s, "machinery": max(0.0, held_s - float(tasks["service_s"].sum())) / span_s}


def _slot_count(record: Record) -> int:
    mesh = record.scenario.mesh
    return mesh.workers * mesh.slots


def closed_s(records: Sequence[Record]) -> float:
    """Seconds for which admission and the workers' gates were closed, added up, on average over the runs."""
    summaries = [record.info["summary"] for record in records]
    return _short(np.mean([one["backpressure"]["closed_s"] + one["gates"]["closed_s"] for one in summaries]))


def _sentence(
    apart: dict[str, float],
    live: dict[Kind, float],
    slots: dict[str, dict[str, float]],
    count: int,
    closed: dict[str, float],
) -> str:
    """In plain words: by how much, and of what it is made."""
    total, whole = sum(apart.values()), sum(live.values())
    off = total / whole if whole else 0.0
    if abs(off) < SMALL_SHARE:
        return f"the mean latency is right within {units.percent(abs(off)).lstrip('+')} ({units.seconds(total)})"
    side = "slow" if off > 0 else "fast"
    same_way = {name: one for name, one in apart.items() if one * total > 0}
    main = max(same_way, key=lambda name: abs(same_way[name]))
    share = min(1.0, abs(same_way[main] / total))
    words = f"the model is too {side} by {units.percent(abs(off)).lstrip('+')} ({units.seconds(abs(total))} a task): "
    words += f"{share:.0%} of it is {main}"
    if main == "queueing":
        busy = slots["live"]["busy"] / count if count else 0.0
        lost = slots["live"]["machinery"] - slots["model"]["machinery"]
        if any(closed.values()):
            words += f"; gates were closed for {units.seconds(closed['model'])} in the model"
            words += f", {units.seconds(closed['live'])} live"
        elif busy < BUSY_SHARE:
            words += f", though only {busy:.0%} of the slots are busy: so wake-up, fetch and claim, not a want of slots"
        else:
            more = "more" if lost > 0 else "fewer"
            words += f"; live, the machinery holds {abs(lost):.2f} {more} of {count} slots than in the model"
    return words


def _short(value: Any) -> float:
    """Microseconds: no moment is known better."""
    return round(float(value), 6)
