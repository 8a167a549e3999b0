"""What each step of a task's way took beyond the work itself, read off a run's audit log: the machinery's own time.

submit   from the scheduled arrival to the PENDING row
intake   from PENDING to RUNNING, of tasks for which a slot was free
again    from a verdict to the next claim of the same worker, while tasks were waiting
settle   from the end of the planned work to the verdict
due      from the moment that a retry is due to its PENDING row
"""

from __future__ import annotations

from typing import Final

import numpy as np

from lab.draws import Floats
from lab.record import Record
from lab.workload import Plan

ENDED: Final = ("succeeded", "failed")


def steps_of(record: Record, plan: Plan) -> dict[str, Floats]:
    """Seconds of every step, in the order of the log."""
    moves = record.transitions.sort_values(["task", "at_s"], kind="stable", ignore_index=True)
    before = moves.shift()
    took = (moves["at_s"] - before["at_s"]).to_numpy()
    same = (moves["task"] == before["task"]).to_numpy()
    reasons = moves["reason"].astype(str)
    submitted, due = (reasons == "submitted").to_numpy(), (reasons == "due").to_numpy() & same
    ended = reasons.isin(ENDED).to_numpy() & same
    arrivals = record.tasks["arrival_s"].to_numpy()
    pairs = zip(moves["task"][ended], moves["attempt"][ended], strict=True)
    work = np.array([plan.service_s(int(task), int(attempt)) for task, attempt in pairs])
    return {
        "submit": moves["at_s"].to_numpy()[submitted] - arrivals[moves["task"].to_numpy()[submitted]],
        "intake": took[
            (reasons == "claimed").to_numpy() & same & before["reason"].isin(["submitted", "due"]).to_numpy()
        ],
        "again": turnarounds(record),
        "settle": took[ended] - work,
        "due": took[due] - before["delay_s"].to_numpy()[due],
    }


def turnarounds(record: Record) -> Floats:
    """From a verdict to the claim that the freed slot made of it, while its worker's slots were all in use.

    The log knows workers and not slots: of a worker with s slots the k-th verdict makes room for the (s + k)-th claim.
    """
    slots = int(record.info["scenario"].get("mesh", {}).get("slots", 1))
    moves = record.transitions.sort_values("at_s", kind="stable")
    reasons = moves["reason"].astype(str)
    found = []
    for _, mine in moves.groupby(moves["worker"].astype(str)):
        told = reasons.loc[mine.index]
        claims = mine["at_s"][told == "claimed"].to_numpy()[slots:]
        verdicts = mine["at_s"][told.isin(ENDED)].to_numpy()[: len(claims)]
        found.append(claims[: len(verdicts)] - verdicts)
    return np.concatenate(found) if found else np.empty(0)


def quantiles_s(step: Floats, points: int) -> Floats:
    """So many quantiles, evenly spaced in probability, each in the middle of its part: one straggler among hundreds
    does not count as a whole part.
    """
    return np.quantile(step, (np.arange(points) + 0.5) / points)
