"""Random scenarios of all rules and faults, put through the checks. A failing one prints its number, which replays it:
`pytest tests/simulation/test_random_scenarios.py -k "[NUMBER]"`. More of them: set MESHLAB_RANDOM_SCENARIOS=4000."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from lab import Scenario
from simulation import simulate

COUNT = int(os.environ.get("MESHLAB_RANDOM_SCENARIOS", "150"))
SERVICES = (
    {"dist": "constant", "mean_s": 0.0},
    {"dist": "constant", "mean_s": 1.0},
    {"dist": "exponential", "mean_s": 0.5},
    {"dist": "lognormal", "mean_s": 0.5, "cv": 2.0},
    {"dist": "pareto", "mean_s": 0.5, "cv": 1.0},
)
ARRIVALS = (
    {"kind": "burst", "count": 120},
    {"kind": "poisson", "rate_per_s": 20, "duration_s": 8},
    {"kind": "ramp", "from_per_s": 1, "to_per_s": 20, "duration_s": 8, "spacing": "poisson"},
    {"kind": "steps", "steps": [{"duration_s": 3, "rate_per_s": 5}, {"duration_s": 3, "rate_per_s": 15}]},
)


@pytest.mark.parametrize("number", range(COUNT))
def test_no_check_is_broken_that_the_rules_do_not_break_on_purpose(number: int) -> None:
    scenario = Scenario.from_data(_scenario(random.Random(number)))
    record = simulate(scenario)
    may_lose = not scenario.rules.lease.reclaims or scenario.rules.health.restart_after_s is None
    broken = set(record.info["checks"]["failed"]) - ({"nothing_lost"} if may_lose else set())
    assert not broken, f"random scenario {number}: {record.info['checks']['details']}"


def _scenario(draw: random.Random) -> dict[str, Any]:
    workers = draw.randint(1, 4)
    names = draw.sample(["ARCHITECT", "DEVELOPER", "QA_ENGINEER", "OTHER"], draw.randint(1, 3))
    return {
        "name": "random",
        "seed": draw.randrange(10**6),
        "workload": {"arrivals": draw.choice(ARRIVALS), "roles": {name: _role(draw) for name in names}},
        "mesh": {"workers": workers, "slots": draw.choice([1, 3, 10])},
        "profile": draw.choice(["ideal", "default"]),
        "faults": [_fault(draw, workers) for _ in range(draw.choice([0, 1, 2, 4]))],
        "rules": _rules(draw),
    }


def _role(draw: random.Random) -> dict[str, Any]:
    return {
        "share": draw.choice([1, 2, 0.5]),
        "priority": draw.choice([1, 3, {5: 1, 2: 1, 1: 1}]),
        "service": draw.choice(SERVICES),
        "failure_rate": draw.choice([0.0, 0.1, 0.5, 1.0]),
        "fail_first": draw.choice([0, 0, 1]),
        "memory_mib": draw.choice([0.0, 10.0, 100.0]),
    }


def _fault(draw: random.Random, workers: int) -> dict[str, Any]:
    at_s, worker = round(draw.uniform(0, 12), 2), draw.randrange(workers)
    return draw.choice(
        [
            {"kind": "kill_worker", "at_s": at_s, "worker": worker},
            {"kind": "stop_worker", "at_s": at_s, "worker": worker},
            {"kind": "pause_worker", "at_s": at_s, "worker": worker, "for_s": draw.choice([0.5, 3.0, 15.0])},
            {"kind": "redis_flush", "at_s": at_s},
            {"kind": "redis_restart", "at_s": at_s, "down_s": draw.choice([0.0, 0.5, 3.0])},
            {"kind": "postgres_restart", "at_s": at_s, "down_s": draw.choice([0.0, 0.5, 3.0])},
            {"kind": "slow_service", "at_s": at_s, "for_s": 3.0, "factor": draw.choice([0.5, 4.0])},
        ]
    )


def _rules(draw: random.Random) -> dict[str, Any]:
    return {
        "priority": {"order": draw.choice(["strict", "aging", "weighted"]), "aging_s": draw.choice([1.0, 10.0])},
        "retry": {
            "base_s": draw.choice([0.0, 0.1, 0.5]),
            "max_retries": draw.choice([0, 2, 5]),
            "jitter": draw.choice([0.0, 0.5]),
            "wait": draw.choice(["scheduled", "in_slot"]),
            "position": draw.choice(["back", "front"]),
        },
        "lease": {
            "length_s": draw.choice([1.0, 5.0]),
            "sweep_s": draw.choice([0.3, 1.0]),
            "claim": draw.choice(["leased", "leased", "leased", "pop_then_update"]),
        },
        "health": {
            "report_s": draw.choice([0.3, 1.0]),
            "recycle_after_s": draw.choice([2.0, 30.0]),
            "scope": draw.choice(["fleet", "worker"]),
            "restart_after_s": draw.choice([0.0, 1.0, 1.0, None]),
        },
        "admission": {"max_pending": draw.choice([None, None, 10]), "on_closed": draw.choice(["hold", "reject"])},
        "shutdown": {"grace_s": draw.choice([0.0, 0.5, 30.0]), "on_term": draw.choice(["finish", "drop"])},
    }
