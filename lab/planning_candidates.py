"""Which meshes a plan looks at: workers × slots × retry policy, and where among the workers to begin.

A line is one number of slots and one policy; its candidates differ in workers alone. Along it more workers do not make
a mesh slower, which is what the search rests on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from lab import limits
from lab.demand import demand
from lab.errors import UsageError
from lab.faults import Change
from lab.metastability import POLICIES, Policy
from lab.planning_objectives import SECONDS_AN_HOUR, Objectives
from lab.scenario import Scenario
from lab.workload import Plan

AS_WRITTEN: Final = "as-written"
SLOTS: Final = (1, 2, 5, 10)
"""Tried unless told otherwise, beside the scenario's own: from a slot of its own for every task to as many as an event
loop serves with ease.
"""
RETRY_POLICIES: Final = (AS_WRITTEN, "scheduled", "jitter", "budget")
"""Tried unless told otherwise where anything is ever retried. in-slot and immediate are never advised unasked: the one
wastes slots, the other spares them by hammering whatever has just failed.
"""
HEADROOM: Final = 1.25
"""Above the slots with which no task would ever wait: retries may meet, and the machinery takes its share."""


class Candidate(NamedTuple):
    """One mesh."""

    workers: int
    slots: int
    policy: str

    @property
    def words(self) -> str:
        """`3 workers × 5 slots with jitter`."""
        workers = "1 worker" if self.workers == 1 else f"{self.workers:,} workers"
        slots = "1 slot" if self.slots == 1 else f"{self.slots:,} slots"
        return f"{workers} × {slots}{'' if self.policy == AS_WRITTEN else f' with {self.policy}'}"

    @property
    def line(self) -> tuple[int, str]:
        """What it shares with its neighbours."""
        return self.slots, self.policy

    def settings(self) -> Mapping[str, Any]:
        """What it sets in a scenario, by dotted path."""
        return {**POLICIES[self.policy].settings, "mesh.workers": self.workers, "mesh.slots": self.slots}


@dataclass(frozen=True)
class Candidates:
    """What may be tried; None leaves it to the offered load and the rules."""

    workers: Sequence[int] | None = None
    slots: Sequence[int] | None = None
    policies: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for name, values, most in (
            ("workers", self.workers, limits.WORKERS_MAX),
            ("slots", self.slots, limits.SLOTS_MAX),
        ):
            if values is not None and not (values and all(1 <= value <= most for value in values)):
                raise UsageError(f"{name}: give whole numbers from 1 to {most:,}, as in 1..32 or 1,2,5")
        for policy in self.policies or ():
            if policy not in POLICIES:
                raise UsageError(f"policies: there is no {policy!r}; choose from {', '.join(POLICIES)}")


@dataclass(frozen=True)
class Line:
    """The workers that may be tried with these slots and this policy, rising, and the number to begin with."""

    slots: int
    policy: str
    workers: Sequence[int]
    guess: int

    def candidate(self, workers: int) -> Candidate:
        """The mesh on this line with so many workers."""
        return Candidate(workers, self.slots, self.policy)


@dataclass(frozen=True)
class Offered:
    """What the tasks ask for: read off the plan, before any run."""

    tasks: int
    span_s: float
    """From the first arrival to the last."""
    work_s: float
    """Of all tasks, retries as expected."""
    most_at_once: int
    """Tasks that would be worked on at once if none ever waited: with so many slots more are of no use."""
    retries: bool
    """Whether anything can fail at all; see `can_retry`."""
    settled: bool
    """Whether another seed gives the same tasks: arrivals and work are a file's, and nothing fails."""

    @classmethod
    def of(cls, scenario: Scenario) -> Offered:
        """The offered load of the tasks of the scenario's own seed."""
        plan = Plan(scenario)
        known = demand(scenario)
        attempts = 1.0 if isinstance(known, str) else known.attempts_mean
        service_s = np.array(plan.column("service", 1))
        arrivals_s = plan.arrival_s
        ends_s = np.sort(arrivals_s + service_s)
        under_way = np.arange(1, plan.count + 1) - np.searchsorted(ends_s, arrivals_s, side="right")
        return cls(
            plan.count,
            float(arrivals_s[-1] - arrivals_s[0]),
            float(service_s.sum()) * attempts,
            max(1, math.ceil(int(under_way.max()) * attempts)),
            can_retry(scenario),
            not can_retry(scenario) and _alike(plan, Plan(scenario.override({"seed": scenario.seed + 1}))),
        )

    def slots_least(self, within_s: float) -> int:
        """Slots that can do the work between the first arrival and `within_s` after the last: with fewer the load is
        above 1, and the queue is left with more than that when the last task has come.
        """
        time_s = self.span_s + (within_s if math.isfinite(within_s) else self.span_s)
        return min(self.most_at_once, max(1, math.ceil(self.work_s / time_s))) if time_s > 0 else self.most_at_once

    @property
    def hours(self) -> float:
        """How long the arrivals take, in hours. What comes at one moment counts as coming once an hour."""
        return self.span_s / SECONDS_AN_HOUR if self.span_s else 1.0


def _alike(first: Plan, second: Plan) -> bool:
    """Whether two plans have the same tasks."""
    columns = ((plan.arrival_s, plan.role, plan.priority, plan.column("service", 1)) for plan in (first, second))
    return all(np.array_equal(np.array(ours), np.array(theirs)) for ours, theirs in zip(*columns, strict=True))


def lines(scenario: Scenario, asked: Candidates, objectives: Objectives, offered: Offered) -> list[Line]:
    """The lines to search. Raises UsageError if the scenario turns its workers itself, or leaves none to try."""
    if any(isinstance(fault, Change) and fault.knob in ("workers", "slots") for fault in scenario.faults):
        raise UsageError(
            f"{scenario.name}: its faults change mesh.workers or mesh.slots in mid-run, so there is no one mesh to "
            "plan; take those changes out"
        )
    least = offered.slots_least(objectives.tightest_s)
    fewest = 1 + max((getattr(fault, "worker", -1) for fault in scenario.faults), default=-1)
    found = []
    for slots in sorted(set(asked.slots or (*SLOTS, scenario.mesh.slots))):
        workers = _workers(asked.workers, fewest, slots, offered)
        if workers:
            guess = next((number for number in workers if number * slots >= least), workers[-1])
            found += [Line(slots, policy.name, workers, guess) for policy in policies(scenario, asked)]
    if not found:
        raise UsageError(
            f"{scenario.name}: no candidate is left: its faults name worker {fewest - 1}, so {fewest} workers are the "
            f"fewest, and workers × slots may be {limits.SLOTS_TOTAL_MAX:,} at most; allow more workers or fewer slots"
        )
    return found


def _workers(asked: Sequence[int] | None, fewest: int, slots: int, offered: Offered) -> Sequence[int]:
    """The numbers of workers to choose from, rising."""
    most = min(limits.WORKERS_MAX, limits.SLOTS_TOTAL_MAX // slots)
    if asked is not None:
        return sorted({number for number in asked if fewest <= number <= most})
    enough = math.ceil(offered.most_at_once * HEADROOM / slots)
    return range(max(1, fewest), min(most, max(enough, fewest, 1)) + 1)


def policies(scenario: Scenario, asked: Candidates) -> list[Policy]:
    """The policies to try, each set of rules once (`as-written` may be `scheduled` by another name)."""
    names = asked.policies or (_policies(scenario) if can_retry(scenario) else (AS_WRITTEN,))
    found: list[Policy] = []
    known: list[Any] = []
    for name in names:
        its_rules = scenario.override(POLICIES[name].settings).rules
        # Where no client ever leaves, it makes no difference what would become of the late.
        rules = its_rules.model_dump(exclude=None if its_rules.deadline.wait_s else {"deadline"})
        if rules not in known:
            known.append(rules)
            found.append(POLICIES[name])
    return found


def _policies(scenario: Scenario) -> tuple[str, ...]:
    leaves = scenario.rules.deadline.wait_s is not None
    return (*RETRY_POLICIES, "cancel") if leaves else RETRY_POLICIES


def can_retry(scenario: Scenario) -> bool:
    """Whether anything can fail, be cut or be left by its client, so that a retry policy makes a difference."""
    fails = any(role.failure_rate > 0 or role.fail_first > 0 for role in scenario.workload.roles.values())
    rules = scenario.rules
    return fails or bool(scenario.faults) or rules.deadline.wait_s is not None or rules.retry.timeout_s is not None


def suggested_p99_s(scenario: Scenario, offered: Offered) -> float:
    """A bound to begin with, where nobody has said one, to one digit: five times the mean work of a task, within which
    a calm mesh keeps its tail; of a burst the time that the scenario's own mesh takes for it.
    """
    slots = scenario.mesh.workers * scenario.mesh.slots
    about_s = offered.work_s / slots if not offered.span_s else 5 * offered.work_s / offered.tasks
    return float(f"{max(about_s, 0.01):.0e}")
