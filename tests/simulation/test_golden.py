"""Golden digests: runs whose every transition, sample and event is known, so that no change of the model goes unseen.

A digest that differs is no mistake in itself: if the change of behaviour is meant, write the digests anew with
`MESHLAB_GOLDEN=write pytest tests/simulation/test_golden.py`, and say in the commit why they had to change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from lab import Scenario
from lab.faults import Fault
from lab.rules import Rulebook
from simulation import simulate

SCENARIOS = Path(__file__).parents[2] / "scenarios"
GOLDEN = Path(__file__).with_name("golden.json")
HOW_TO_WRITE = "MESHLAB_GOLDEN=write pytest tests/simulation/test_golden.py"

CROWDED: dict[str, Any] = {
    "workload.arrivals": {"kind": "poisson", "rate_per_s": 16, "count": 300},
    "workload.roles.A.service": {"dist": "lognormal", "mean_s": 0.5, "cv": 1.5},
}
EVERY_FAULT: list[dict[str, Any]] = [
    {"at_s": 1.0, "kind": "kill_worker", "worker": 0},
    {"at_s": 2.0, "kind": "slow_service", "for_s": 2, "factor": 3},
    {"at_s": 3.0, "kind": "pause_worker", "worker": 1, "for_s": 6},
    {"at_s": 4.0, "kind": "redis_flush"},
    {"at_s": 5.0, "kind": "role_outage", "for_s": 2, "role": "A", "share": 0.5},
    {"at_s": 6.0, "kind": "redis_restart", "down_s": 1, "keeps": "all_but_last_second"},
    {"at_s": 7.0, "kind": "duplicate_submission", "tasks": 20},
    {"at_s": 8.0, "kind": "postgres_restart", "down_s": 1},
    {"at_s": 9.5, "kind": "delay_completion", "for_s": 2, "delay_s": 4},
    {"at_s": 10.0, "kind": "cut_worker", "worker": 0, "server": "postgres", "for_s": 5},
    {"at_s": 11.0, "kind": "slow_worker", "worker": 1, "for_s": 3, "factor": 5},
    {"at_s": 12.0, "kind": "duplicate_completion", "for_s": 3},
    {"at_s": 13.0, "kind": "stop_worker", "worker": 1},
    {"at_s": 0.0, "kind": "poison_task", "task": 250, "after_s": 0.1},
    {"at_s": 30.0, "kind": "redrive"},
]
SCHEDULE: dict[str, Any] = {
    "kind": "schedule",
    "until_s": 20,
    "spacing": "poisson",
    "entries": [{"at_s": 0, "rate_per_s": 4}, {"at_s": 3, "count": 100}, {"at_s": 9, "rate_per_s": 12}],
}
EVERY_KNOB: list[dict[str, Any]] = [
    {"at_s": 2.0, "kind": "change", "knob": "slots", "value": 8},
    {"at_s": 4.0, "kind": "change", "knob": "workers", "value": 6},
    {"at_s": 5.0, "kind": "change", "knob": "failure_rate", "value": 0.4},
    {"at_s": 6.0, "kind": "change", "knob": "retry_base_s", "value": 0.2},
    {"at_s": 7.0, "kind": "change", "knob": "rss_limit_mib", "value": 120},
    {"at_s": 9.0, "kind": "change", "knob": "rss_limit_mib", "value": 512},
    {"at_s": 11.0, "kind": "change", "knob": "workers", "value": 2},
    {"at_s": 12.0, "kind": "change", "knob": "slots", "value": 3},
]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "the first run": ("sdlc_quick", {}),
    "a burst": ("sdlc_stress_500", {"profile": "ideal"}),
    "the published mesh, a worker killed": ("agent_mesh_published", {}),
    "the published queue": ("go_queue_published", {}),
    "sleeping in the slot": ("poison_published", {}),
    "a crash, with the default profile": ("worker_crash", {}),
    "memory pressure": ("rss_pressure", {}),
    "memory that never falls, each worker for itself": (
        "faults/f39_memory_never_falls",
        {"rules.health.scope": "worker"},
    ),
    "every fault": ("faults/f25_postgres_restarts", {**CROWDED, "faults": EVERY_FAULT}),
    "every fault, in slots, work dropped at shutdown": (
        "faults/f25_postgres_restarts",
        {**CROWDED, "faults": EVERY_FAULT, "rules.retry.wait": "in_slot", "rules.shutdown.on_term": "drop"},
    ),
    "aging, jitter, cap, retries to the front": (
        "faults/f34_duplicate_submission",
        {
            "rules.priority": {"order": "aging", "aging_s": 2},
            "rules.retry": {"base_s": 0.2, "jitter": 0.5, "cap_s": 0.5, "position": "front"},
        },
    ),
    "weighted, a retry budget, a timeout, permanent failures": (
        "faults/f35_duplicate_completion",
        {
            "rules.priority.order": "weighted",
            "rules.retry": {"base_s": 0.1, "budget": {"burst": 3}, "timeout_s": 1},
            "workload.roles.A.permanent_share": 0.2,
        },
    ),
    "clients that leave": (
        "faults/f41_overload",
        {"rules.deadline": {"wait_s": 5, "spread": "exponential"}, "workload.arrivals.steps.1.duration_s": 20},
    ),
    "work for clients that have left": (
        "faults/f41_overload",
        {"rules.deadline": {"wait_s": 5, "late": "fail"}, "workload.arrivals.steps.1.duration_s": 20},
    ),
    "a bound on the queue": ("faults/f41_overload", {"rules.admission": {"max_pending": 50, "on_closed": "reject"}}),
    "links cut": ("faults/f53_swizzle", {}),
    "every knob is turned": ("sdlc_quick", {"workload.arrivals": SCHEDULE, "faults": EVERY_KNOB}),
    "roles as classes, a slow store": (
        "sdlc_quick",
        {"rules.priority.route_by": "role", "profile": "data/slow_store.yaml"},
    ),
}


def scenario_of(case: str) -> Scenario:
    name, changes = CASES[case]
    return Scenario.load(SCENARIOS / f"{name}.yaml").override(changes)


@pytest.fixture(scope="module")
def golden() -> Iterator[dict[str, str]]:
    """The digests; those that were written in this session are kept at its end."""
    known: dict[str, str] = json.loads(GOLDEN.read_text("utf-8")) if GOLDEN.exists() else {}
    yield known
    if os.environ.get("MESHLAB_GOLDEN") == "write":
        digests = {case: known[case] for case in CASES if case in known}
        GOLDEN.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_what_it_always_was(golden: dict[str, str], case: str) -> None:
    digest = simulate(scenario_of(case)).info["digest"]
    if os.environ.get("MESHLAB_GOLDEN") == "write":
        golden[case] = digest
    assert golden.get(case) == digest, (
        f"{case} ({CASES[case][0]}.yaml): the run has changed. If that is meant, write the digests anew "
        f"({HOW_TO_WRITE}) and say in the commit why they had to change; if it is not, the change has a bug"
    )


def test_no_digest_is_left_over(golden: dict[str, str]) -> None:
    assert golden.keys() == CASES.keys(), f"write the digests anew: {HOW_TO_WRITE}"


# ---- that they cover what there is -----------------------------------------------------------------------------------


def test_every_kind_of_fault_is_struck_in_some_golden_run() -> None:
    kinds = {get_args(one.model_fields["kind"].annotation)[0] for one in get_args(get_args(Fault)[0])}
    assert {fault.kind for case in CASES for fault in scenario_of(case).faults} == kinds


def test_every_switch_of_the_rulebook_is_taken_both_ways_in_some_golden_run() -> None:
    """Every choice of every rule, and every rule that is off by default switched on."""
    books = [scenario_of(case).rules for case in CASES]
    missing = []
    for group_name, group_field in Rulebook.model_fields.items():
        if group_name in ("preset", "view"):
            continue  # a name for the others; what a person sees
        assert group_field.annotation is not None
        for name, field in group_field.annotation.model_fields.items():
            taken = [getattr(getattr(book, group_name), name) for book in books]
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            missing += [f"{group_name}.{name}: {choice}" for choice in choices if choice not in taken]
            if field.default is None and all(value is None for value in taken):
                missing.append(f"{group_name}.{name}: anything")
    assert missing == []
