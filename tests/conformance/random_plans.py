"""Random plans of which only one outcome is right, whatever the timing: for the model and the live engine to agree on.

Left out is what may turn out either way on a busy machine: leases that lapse, workers that die, gates, clients that
lose their patience, budgets that fill, tasks that are refused. Windows of faults are open from the first moment to the
last, budgets are empty or never used up, and a redrive comes when everything has long been over. All else is drawn:
roles with their failures and priorities, retries, orders, arrivals, the mesh, wiped queues and doubled messages.
"""

from __future__ import annotations

import random
from typing import Any

Data = dict[str, Any]

TASKS = 800
FEW = 120
"""Tasks where an operator comes: they should all have ended by then."""
ALWAYS = {"at_s": 0.0, "for_s": 3_600.0}
WORK_S = 0.002
"""Mean work of an attempt."""
NAMES = ("ARCHITECT", "DEVELOPER", "QA_ENGINEER", "A", "B", "C", "D", "E", "F", "G", "H", "I")


def plan(seed: int, redrive_at_s: float = 2.0) -> Data:
    """Plain data, for `Scenario.from_data`. If an operator comes, it is at `redrive_at_s`."""
    draw = random.Random(seed)
    redriven = draw.random() < 0.3
    tasks, names = FEW if redriven else TASKS, draw.sample(NAMES, draw.randint(4, len(NAMES)))
    return {
        "name": f"differential-{seed}",
        "seed": draw.randrange(10**9),
        "workload": {
            "arrivals": _arrivals(draw, tasks),
            "roles": {name: _role(draw) for name in names},
        },
        "mesh": {"workers": draw.choice([1, 2]), "slots": draw.choice([15, 40])},
        "rules": _rules(draw, redriven),
        "faults": [*_faults(draw, names), *([{"kind": "redrive", "at_s": redrive_at_s}] if redriven else [])],
    }


def _arrivals(draw: random.Random, tasks: int) -> Data:
    return draw.choice(
        [
            {"kind": "burst", "count": tasks},
            {"kind": "poisson", "rate_per_s": 1_000.0, "count": tasks},
            {"kind": "constant", "rate_per_s": 1_000.0, "count": tasks},
        ]
    )


def _role(draw: random.Random) -> Data:
    return {
        "share": draw.choice([1.0, 3.0]),
        "priority": draw.choice([1, 2, 3, 4, 5, {5: 1, 2: 1, 1: 1}]),
        "service": {"dist": draw.choice(["constant", "exponential", "gamma"]), "mean_s": WORK_S},
        "failure_rate": draw.choice([0.0, 0.2, 0.2, 0.6, 1.0]),
        "fail_first": draw.choice([0, 0, 1, 2, 3]),
        "permanent_share": draw.choice([0.0, 0.0, 0.3, 1.0]),
    }


def _rules(draw: random.Random, redriven: bool) -> Data:
    """Sweeps are frequent, as wiped queues wait for one; leases so long that none lapses. In aging order the live
    engine takes tasks one by one, so it is for the few."""
    retry = {
        "max_retries": draw.choice([0, 1, 2, 4]),
        "base_s": draw.choice([0.0, 0.001, 0.004]),
        "factor": draw.choice([1.0, 2.0]),
        "cap_s": draw.choice([None, 0.005]),
        "jitter": draw.choice([0.0, 0.5]),
        "wait": draw.choice(["scheduled", "in_slot"]),
        "position": draw.choice(["back", "front"]),
        "budget": draw.choice([None, None, None, {"ratio": 0.0, "burst": 0.0}, {"ratio": 1.0, "burst": 1e6}]),
        "timeout_s": draw.choice([None, 1.5 * WORK_S]),
    }
    return {
        "priority": {
            "order": draw.choice(["strict", "weighted", "aging"] if redriven else ["strict", "weighted"]),
            "route_by": draw.choice(["priority", "role"]),
            "aging_s": 0.05,
        },
        "retry": retry,
        "lease": {"length_s": 120.0, "sweep_s": 0.25},
        "admission": {"max_pending": draw.choice([None, None, 400]), "on_closed": "hold"},
        "health": {"backpressure": False},
    }


def _faults(draw: random.Random, names: list[str]) -> list[Data]:
    """Those that leave every task with the same moves, whenever they strike."""
    wipe = {"kind": "redis_flush", "at_s": 0.15}
    slow = {"kind": "slow_service", **ALWAYS, "factor": 2.0}
    twice = {"kind": "duplicate_completion", **ALWAYS}
    again = {"kind": "duplicate_submission", "at_s": 0.2, "tasks": 50}
    outage = {"kind": "role_outage", **ALWAYS, "role": names[0], "share": 0.3}
    return [fault for fault in (wipe, slow, twice, again, outage) if draw.random() < 0.25]
