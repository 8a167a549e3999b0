"""Random meshes struck by random faults of every kind, put through the checks. A failing one prints its number, which
replays it: `pytest tests/faults/test_random_faults.py -k "[NUMBER]"`. More of them: set MESHLAB_RANDOM_FAULTS=4000.
"""

from __future__ import annotations

import os
import random
from typing import Any, get_args

import pytest

from lab import Scenario
from lab.faults import CutWorker, Fault, PauseWorker, PostgresRestart, RedisRestart
from lab.record import Record
from lab.rules.tasks import Event
from simulation import simulate

ENOUGH = 60
"""Scenarios, for every kind of fault to be among them."""
COUNT = int(os.environ.get("MESHLAB_RANDOM_FAULTS", ENOUGH))
KINDS = {one.model_fields["kind"].annotation.__args__[0]: one for one in get_args(get_args(Fault)[0])}
"""Every kind of fault that the lab knows, with its schema: a new one is struck here without being asked for."""
WORKERS, TASKS, SPAN_S = 3, 150, 10.0
GRAIN_S = 2e-6
"""Moments are whole microseconds."""


@pytest.mark.parametrize("number", range(COUNT))
def test_no_fault_breaks_a_promise(number: int) -> None:
    """Nothing is lost, nothing is done twice, the order is kept: with leases and replacements, whatever strikes."""
    scenario = Scenario.from_data(a_scenario(random.Random(number)))
    record = simulate(scenario)
    assert record.info["checks"]["ok"], f"random faults {number}: {record.info['checks']['details']}"
    assert not record.info["stalled"], f"random faults {number}"
    assert not written_to_a_store_that_was_away(record), f"random faults {number}"
    assert not claimed_without_redis(record), f"random faults {number}"


def written_to_a_store_that_was_away(record: Record) -> list[float]:
    """Moments (s) of transitions while PostgreSQL was down. It is back in the moment in which an outage ends."""
    outages = [one for one in record.scenario.faults if isinstance(one, PostgresRestart)]
    at_s = record.transitions["at_s"].tolist()
    return [t for t in at_s if any(one.at_s + GRAIN_S < t < one.at_s + one.down_s - GRAIN_S for one in outages)]


def claimed_without_redis(record: Record) -> list[float]:
    """Moments (s) of claims while Redis was down. What had been taken before may be claimed a little later: after the
    machinery's delay, when PostgreSQL is back, or when a frozen worker wakes up.
    """
    faults = record.scenario.faults
    if any(isinstance(one, PostgresRestart | PauseWorker | CutWorker) for one in faults):
        return []
    outages, slack_s = [one for one in faults if isinstance(one, RedisRestart)], float(record.info["order_slack_s"])
    at_s = record.transitions.loc[record.transitions["reason"] == Event.CLAIMED, "at_s"].tolist()
    return [
        t
        for t in at_s
        if any(one.at_s + slack_s < t - GRAIN_S < one.at_s + one.down_s - 2 * GRAIN_S for one in outages)
    ]


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {fault["kind"] for number in range(ENOUGH) for fault in a_scenario(random.Random(number))["faults"]}
    assert drawn == set(KINDS)


def a_scenario(draw: random.Random) -> dict[str, Any]:
    """Few slots for many tasks, so that every fault meets tasks in every state."""
    return {
        "name": "random-faults",
        "seed": draw.randrange(10**6),
        "workload": {
            "arrivals": draw.choice(
                [
                    {"kind": "burst", "count": TASKS},
                    {"kind": "poisson", "rate_per_s": TASKS / SPAN_S, "count": TASKS},
                    {"kind": "constant", "rate_per_s": TASKS / SPAN_S, "count": TASKS},
                ]
            ),
            "roles": {name: a_role(draw) for name in ("A", "B")},
        },
        "mesh": {"workers": WORKERS, "slots": draw.choice([1, 2, 5])},
        "profile": draw.choice(["ideal", "default"]),
        "rules": the_rules(draw),
        "faults": [a_fault(draw) for _ in range(draw.randint(1, 5))],
    }


def a_role(draw: random.Random) -> dict[str, Any]:
    return {
        "priority": draw.choice([3, {5: 1, 2: 1, 1: 1}]),
        "service": draw.choice([{"dist": "constant", "mean_s": 0.5}, {"dist": "exponential", "mean_s": 0.5}]),
        "failure_rate": draw.choice([0.0, 0.0, 0.3]),
        "permanent_share": draw.choice([0.0, 0.5]),
        "memory_mib": draw.choice([0.0, 50.0]),
    }


def a_fault(draw: random.Random) -> dict[str, Any]:
    """One of any kind, its fields drawn by their names. No worker leaves for good, since another fault may want it."""
    knob, values = draw.choice(
        [
            ("workers", [WORKERS + 1, WORKERS + 3]),
            ("slots", [1, 6]),
            ("failure_rate", [0.0, 0.6]),
            ("retry_base_s", [0.05, 0.4]),
            ("rss_limit_mib", [64, 640]),
        ]
    )
    fields = {
        "knob": knob,
        "value": draw.choice(values),
        "at_s": round(draw.uniform(0, SPAN_S), 2),
        "for_s": draw.choice([0.5, 3.0, 8.0]),
        "worker": draw.randrange(WORKERS),
        "server": draw.choice(["redis", "postgres"]),
        "down_s": draw.choice([0.0, 0.5, 3.0]),
        "keeps": draw.choice(["nothing", "all", "all_but_last_second"]),
        "factor": draw.choice([0.5, 4.0]),
        "role": draw.choice("AB"),
        "share": draw.choice([0.5, 1.0]),
        "task": draw.randrange(TASKS),
        "tasks": draw.choice([1, 40]),
        "after_s": draw.choice([0.0, 0.3]),
        "delay_s": draw.choice([0.2, 5.0]),
    }
    kind = draw.choice(sorted(KINDS))
    return {name: fields[name] for name in KINDS[kind].model_fields if name != "kind"} | {"kind": kind}


def the_rules(draw: random.Random) -> dict[str, Any]:
    return {
        "priority": {"order": draw.choice(["strict", "aging", "weighted"]), "aging_s": draw.choice([1.0, 10.0])},
        "retry": {
            "base_s": draw.choice([0.0, 0.1]),
            "max_retries": draw.choice([1, 3]),
            "jitter": draw.choice([0.0, 0.5]),
            "wait": draw.choice(["scheduled", "in_slot"]),
            "position": draw.choice(["back", "front"]),
            "budget": draw.choice([None, None, {"ratio": 0.1, "burst": 3.0}]),
            "timeout_s": draw.choice([None, 1.0]),
        },
        "deadline": draw.choice([{}, {}, {"wait_s": 3.0}, {"wait_s": 3.0, "late": "fail"}]),
        "lease": {"length_s": draw.choice([1.0, 3.0]), "sweep_s": draw.choice([0.3, 1.0])},
        "health": {"report_s": draw.choice([0.3, 1.0]), "restart_after_s": draw.choice([0.0, 1.0])},
        "admission": {"max_pending": draw.choice([None, None, 20]), "on_closed": draw.choice(["hold", "reject"])},
        "shutdown": {"grace_s": draw.choice([0.0, 0.5, 30.0]), "on_term": draw.choice(["finish", "drop"])},
    }
