"""The express lane and the long way take every task through the same steps: the same record, byte for byte, on a table
of scenarios, on random ones, and when somebody interferes in mid-run. A failing random one prints its number, which
replays it: `pytest tests/simulation/test_express.py -k "random and [NUMBER]"`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simpy import Event

from lab import Scenario, profile
from lab.faults import CutWorker, Fault, KillWorker, PauseWorker, PostgresRestart, RedisFlush, RedisRestart, StopWorker
from lab.record import Record
from lab.workload import Plan
from simulation import express, simulate
from simulation.automaton import CANCELLED
from simulation.engine import Model
from simulation.store import NOBODY
from tests.simulation.conftest import Build

Extend = Callable[[Model], object]
RANDOM = 40
CROWD: dict[str, Any] = {
    "workload.arrivals": {"kind": "poisson", "rate_per_s": 8, "count": 300},
    "workload.roles.A": {
        "priority": {5: 1, 2: 1, 1: 1},
        "service": {"dist": "exponential", "mean_s": 0.5},
        "failure_rate": 0.3,
    },
    "rules.retry": {"base_s": 0.1, "max_retries": 2},
    "mesh": {"workers": 2, "slots": 2},
}
"""Four slots that are a little too few, three classes, retries and dead letters."""


def is_clear(scenario: Scenario) -> bool:
    return express.is_clear(Plan(scenario), profile.load(scenario.profile, scenario.base))


def both_ways(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, extend: Extend | None = None
) -> tuple[Record, Record]:
    """The record by the express lane, and the one by the long way."""
    assert is_clear(scenario)
    fast = simulate(scenario, extend=extend)
    with monkeypatch.context() as patch:
        patch.setattr(express, "is_clear", lambda plan, profile: False)
        return fast, simulate(scenario, extend=extend)


def assert_same(fast: Record, slow: Record, what: str = "") -> None:
    """Every transition in its order, every sample, every event."""
    ours, theirs = fast.moves, slow.moves
    for column in ("task", "at_s", "step", "worker", "delayed", "delay_s"):
        assert np.array_equal(getattr(ours, column), getattr(theirs, column)), f"{what} {column}"
    assert (ours.steps, ours.workers) == (theirs.steps, theirs.workers), what
    assert fast.info["digest"] == slow.info["digest"], what


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workload.arrivals": {"kind": "burst", "count": 300}},
        {"workload.arrivals": {"kind": "burst", "count": 1}},
        {"workload.arrivals": {"kind": "constant", "rate_per_s": 8, "count": 300}},
        {"workload.arrivals": {"kind": "constant", "rate_per_s": 1, "count": 50}},  # slots are always free
        {
            "workload.arrivals": {"kind": "constant", "rate_per_s": 2, "count": 200},
            "workload.roles.A.service": {"dist": "constant", "mean_s": 1},  # arrivals and ends at the same moments
        },
        {"workload.roles.A.service": {"dist": "constant", "mean_s": 0}},
        {"workload.roles.A.fail_first": 2},
        {"workload.roles.A.failure_rate": 1.0},
        {"rules.retry": {"base_s": 0.0}},
        {"rules.retry": {"base_s": 0.1, "jitter": 1.0, "cap_s": 0.15}},
        {"rules.retry": {"max_retries": 0}},
        {"rules.priority.route_by": "role"},
        {"rules.health.backpressure": False},
        {"mesh": {"workers": 1, "slots": 1}},
        {"rules.preset": "agent-mesh-published", "rules.retry.wait": "scheduled"},
    ],
)
def test_both_ways_leave_the_same_record(
    build: Build, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    assert_same(*both_ways(build().override({**CROWD, **changes}), monkeypatch))


@pytest.mark.parametrize("number", range(RANDOM))
def test_both_ways_leave_the_same_record_of_random_scenarios(
    build: Build, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    draw = random.Random(number)
    roles = {
        name: {
            "share": draw.choice([1, 3]),
            "priority": draw.choice([1, 3, {5: 1, 2: 1, 1: 1}]),
            "service": draw.choice(
                [
                    {"dist": "constant", "mean_s": draw.choice([0.0, 0.25, 1.0])},
                    {"dist": "exponential", "mean_s": 0.5},
                    {"dist": "lognormal", "mean_s": 0.5, "cv": 2.0},
                ]
            ),
            "failure_rate": draw.choice([0.0, 0.2, 0.7]),
            "fail_first": draw.choice([0, 1]),
        }
        for name in draw.sample(["ARCHITECT", "DEVELOPER", "OTHER"], draw.randint(1, 3))
    }
    arrivals = draw.choice(
        [
            {"kind": "burst", "count": 80},
            {"kind": "poisson", "rate_per_s": draw.choice([4, 20]), "count": 80},
            {"kind": "constant", "rate_per_s": draw.choice([4, 20]), "count": 80},
            {"kind": "steps", "steps": [{"duration_s": 3, "rate_per_s": 20}, {"duration_s": 5, "rate_per_s": 4}]},
        ]
    )
    retry = {
        "base_s": draw.choice([0.0, 0.1, 0.25]),
        "max_retries": draw.choice([0, 2, 5]),
        "jitter": draw.choice([0.0, 0.5]),
        "cap_s": draw.choice([None, 0.5]),
    }
    scenario = build().override(
        {
            "seed": number,
            "workload.arrivals": arrivals,
            "workload.roles": roles,
            "rules.retry": retry,
            "rules.priority.route_by": draw.choice(["priority", "role"]),
            "mesh": {"workers": draw.randint(1, 3), "slots": draw.choice([1, 2, 5])},
        }
    )
    assert_same(*both_ways(scenario, monkeypatch), what=f"random scenario {number}")


# ---- when it is not to be taken --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"faults": [{"kind": "redis_flush", "at_s": 1e6}]},
        {"rules.retry.timeout_s": 1e6},
        {"workload.roles.A.permanent_share": 0.5},
        {"profile": "default"},
        {"profile": "garbage.yaml"},
        {"profile": "large.yaml"},  # an idle process is over its limit
        {"workload.roles.A.memory_mib": 1},
        {"workload.roles.A.cpu_share": 0.5},
        {"rules.admission.max_pending": 1_000_000},
        {"rules.deadline.wait_s": 1e6},
        {"rules.retry.budget": {}},
        {"rules.retry.wait": "in_slot"},
        {"rules.retry.position": "front"},
        {"rules.priority.order": "aging"},
        {"rules.priority.order": "weighted"},
        {"rules.preset": "agent-mesh-published"},
        {"rules.preset": "go-distributed-queue-published"},
    ],
    ids=str,
)
def test_whatever_could_interfere_closes_the_lane(build: Build, tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "garbage.yaml").write_text("measured: made up\nmemory: {garbage_per_task_mib: 1}\n")
    (tmp_path / "large.yaml").write_text("measured: made up\nmemory: {base_mib: 600}\n")
    clear = Scenario.from_data(build().override(CROWD).data, base=tmp_path)
    assert is_clear(clear)
    assert not is_clear(clear.override(changes))


# ---- when somebody interferes after all ------------------------------------------------------------------------------

AT_S, LATER_S = 7.3, 9.1


def at(moment_s: float, do: Extend) -> Extend:
    """A process of a user's own that waits and then does something to the model."""

    def process(model: Model) -> Generator[Event, Any, None]:
        yield model.clock.timeout(moment_s)
        do(model)

    return lambda model: model.clock.process(process(model))


def strike(*faults: Fault) -> Extend:
    def all_of_them(model: Model) -> None:
        for fault in faults:
            model.faults.strike(fault)

    return all_of_them


def cancel_what_waits(model: Model) -> None:
    """The rulebook refuses it for the others."""
    for task in range(model.plan.count):
        model.store.move(task, CANCELLED, NOBODY)


@pytest.mark.parametrize(
    "interfere",
    [
        strike(KillWorker(kind="kill_worker", at_s=0, worker=0)),
        strike(StopWorker(kind="stop_worker", at_s=0, worker=1)),
        strike(PauseWorker(kind="pause_worker", at_s=0, worker=0, for_s=15)),
        strike(CutWorker(kind="cut_worker", at_s=0, worker=0, server="redis", for_s=5)),
        strike(CutWorker(kind="cut_worker", at_s=0, worker=0, server="postgres", for_s=15)),
        strike(RedisFlush(kind="redis_flush", at_s=0)),
        strike(RedisRestart(kind="redis_restart", at_s=0, down_s=3)),
        strike(PostgresRestart(kind="postgres_restart", at_s=0, down_s=3)),
        strike(*(PauseWorker(kind="pause_worker", at_s=0, worker=w, for_s=8) for w in (0, 1))),  # closes admission
        cancel_what_waits,
    ],
)
@pytest.mark.parametrize(
    "arrivals", [{"kind": "poisson", "rate_per_s": 8, "count": 300}, {"kind": "poisson", "rate_per_s": 5, "count": 100}]
)
def test_both_ways_leave_the_same_record_when_a_user_interferes(
    build: Build, monkeypatch: pytest.MonkeyPatch, interfere: Extend, arrivals: dict[str, Any]
) -> None:
    """Once in mid-run and once more later; with long queues, and with short ones."""
    scenario = build().override({**CROWD, "workload.arrivals": arrivals})

    def extend(model: Model) -> None:
        for moment_s in (AT_S, LATER_S):
            at(moment_s, interfere)(model)

    fast, slow = both_ways(scenario, monkeypatch, extend)
    assert_same(fast, slow)
    assert fast.info["checks"]["ok"], fast.info["checks"]["details"]
    assert fast.info["digest"] != simulate(scenario).info["digest"]
