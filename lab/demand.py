"""What a scenario asks of its slots, in the terms of queueing theory: rates, mean times, spreads, classes, attempts.

Read off the scenario alone, before any task is drawn; of a trace off its file, which is part of the scenario. `laws.py`
decides with it which law holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lab import profile as profiles
from lab import traces
from lab.arrivals import arrival_times
from lab.draws import Floats
from lab.feedback import Attempts
from lab.rules import retry
from lab.rules.priority import QUEUES, queue_class
from lab.rules.retry import RetryRules
from lab.scenario import (
    Burst,
    Constant,
    ConstantService,
    EmpiricalService,
    ExponentialService,
    Poisson,
    Ramp,
    Role,
    Scenario,
    Schedule,
    Service,
    Steps,
    Trace,
)
from lab.transients import Stretch
from lab.workload import Plan, priority_shares

MEAN_ROLL = 0.5
"""The mean of the draw for jitter; the backoff is linear in it."""
FILE_BYTES_MAX = 1_000_000
"""A trace or a file of service times up to this size is read for its moments: some 40,000 rows, 50 ms."""


class Unknown(Exception):
    """Why formulas can take nothing from a scenario, in words."""


@dataclass(frozen=True)
class Part:
    """The tasks of one role in one class: their share of all tasks, and what one attempt of them is like."""

    role: str
    share: float
    queue: int
    service_s: float
    cv2: float
    attempts: Attempts
    sleeps_s: tuple[float, ...] = ()
    """Mean seconds that the slot sleeps after failure 1, 2, …; `service_s` and `cv2` are then of work and sleep."""

    @property
    def work_s(self) -> float:
        """Mean work of an attempt, sleep left out."""
        again = zip(self.attempts.reached[1:], self.sleeps_s, strict=False)
        return self.service_s - sum(share * sleep_s for share, sleep_s in again) / self.attempts.mean

    @property
    def first_s(self) -> float:
        """Mean seconds that the first attempt holds its slot."""
        slept_s = self.attempts.reached[1] * self.sleeps_s[0] if self.sleeps_s and self.attempts.repeats else 0.0
        return self.work_s + slept_s

    @property
    def work(self) -> float:
        """Its share of the attempts, relative to other parts: share × mean attempts."""
        return self.share * self.attempts.mean


@dataclass(frozen=True, eq=False)
class Traced:
    """The tasks of a trace in order of arrival: when they come and how long their first attempts work, in seconds, and
    the names of their roles.
    """

    arrival_s: Floats
    service_s: Floats
    role: npt.NDArray[np.str_]

    @property
    def per_s(self) -> float:
        """Arrivals a second between the first and the last; infinite where all come at once."""
        span_s = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self.arrival_s) - 1) / span_s if span_s else math.inf

    @cached_property
    def gaps_cv2(self) -> float:
        """ca²: the squared coefficient of variation of the gaps between arrivals."""
        return _sample_moments(np.diff(self.arrival_s))[1]


@dataclass(frozen=True)
class Demand:
    """The demand of a scenario. Of a trace whose tasks all come at once the arrivals are a burst."""

    scenario: Scenario
    parts: tuple[Part, ...]
    memoryless: bool
    """All attempts have the same exponential service times."""
    alike: bool
    """All attempts have the same distribution of service times."""
    traced: Traced | None = None
    """The tasks of a trace."""

    @property
    def servers(self) -> int:
        """c: all slots of the mesh. They share their queues, so it does not matter which worker has them."""
        return self.scenario.mesh.workers * self.scenario.mesh.slots

    @cached_property
    def count(self) -> int:
        """How many tasks come; as many as are expected where that is left to chance."""
        arrivals = self.scenario.workload.arrivals
        if isinstance(arrivals, Burst):
            return arrivals.count
        if self.traced is not None:
            return len(self.traced.arrival_s)
        if isinstance(arrivals, Poisson):
            return arrivals.count or max(1, round(arrivals.rate_per_s * (arrivals.duration_s or 0.0)))
        if isinstance(arrivals, Ramp | Steps):
            return max(1, round(sum(stretch.tasks for stretch in self.stretches)))
        return len(arrival_times(self.scenario, None))

    @property
    def counted(self) -> bool:
        """Whether the number of tasks is settled, and not left to chance."""
        arrivals = self.scenario.workload.arrivals
        if isinstance(arrivals, Ramp | Steps):
            return arrivals.spacing == "even"
        return not isinstance(arrivals, Poisson) or arrivals.count is not None

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """The rate of a ramp or of steps over time."""
        arrivals = self.scenario.workload.arrivals
        if isinstance(arrivals, Ramp):
            return (Stretch(arrivals.duration_s, arrivals.from_per_s, arrivals.to_per_s),)
        steps = arrivals.steps if isinstance(arrivals, Steps) else []
        return tuple(Stretch(step.duration_s, step.rate_per_s, step.rate_per_s) for step in steps)

    @property
    def arrival_per_s(self) -> float:
        """λ: tasks a second from outside, on average where the rate changes; infinite for a burst."""
        arrivals = self.scenario.workload.arrivals
        if self.traced is not None:
            return self.traced.per_s
        if isinstance(arrivals, Ramp | Steps):
            return self.count / sum(stretch.duration_s for stretch in self.stretches)
        return arrivals.rate_per_s if isinstance(arrivals, Poisson | Constant) else math.inf

    @property
    def places(self) -> int | None:
        """K: how many tasks the mesh and its producer take before one is refused; None if the run cannot fill them.

        Admission closes while PENDING ≥ max_pending, and what runs is not PENDING: K = slots + max_pending, and with
        `on_closed: hold` the `hold_max` that the producer keeps. A burst is answered before any of it runs.
        """
        admission = self.scenario.rules.admission
        if admission.max_pending is None:
            return None
        running = 0 if isinstance(self.scenario.workload.arrivals, Burst) else self.servers
        held = admission.hold_max if admission.on_closed == "hold" else 0
        taken = running + admission.max_pending + held
        return taken if taken < self.count else None

    @property
    def attempts_mean(self) -> float:
        """Mean attempts of a task, of all roles."""
        return sum(part.work for part in self.parts)

    @property
    def attempt_per_s(self) -> float:
        """λ_eff: attempts a second, retries included."""
        return self.arrival_per_s * self.attempts_mean

    @property
    def dead_share(self) -> float:
        """The share of tasks that never succeed."""
        return sum(part.share * part.attempts.dead_share for part in self.parts)

    @property
    def repeats(self) -> bool:
        """Whether any task is tried again."""
        return any(part.attempts.repeats for part in self.parts)

    @property
    def service_s(self) -> float:
        """E[S]: the mean work of an attempt, of all roles."""
        return sum(part.work * part.service_s for part in self.parts) / self.attempts_mean

    @property
    def first_s(self) -> float:
        """Mean seconds that the first attempt of a task holds its slot."""
        return sum(part.share * part.first_s for part in self.parts)

    @property
    def work_s(self) -> float:
        """Mean work of a task over all its attempts."""
        return self.attempts_mean * self.service_s

    @property
    def cv2(self) -> float:
        """The squared coefficient of variation of an attempt's work, of all roles: E[S²] / E[S]² − 1."""
        if self.alike:
            return self.parts[0].cv2
        square = sum(part.work * part.service_s**2 * (1.0 + part.cv2) for part in self.parts) / self.attempts_mean
        return square / self.service_s**2 - 1.0

    @property
    def constant(self) -> bool:
        """All attempts work for the same time."""
        return self.alike and self.parts[0].cv2 == 0.0

    @property
    def load(self) -> float:
        """ρ, retries included."""
        return self.attempt_per_s * self.service_s / self.servers

    @cached_property
    def classes(self) -> dict[str, tuple[Part, ...]]:
        """The parts by the name of their queue, the queue that is served first first; empty queues left out."""
        by_queue = {name: tuple(p for p in self.parts if p.queue == index) for index, name in enumerate(QUEUES)}
        return {name: parts for name, parts in by_queue.items() if parts}

    def completed_latency_s(self, wait_s: float) -> float:
        """Mean latency (s) of the completed tasks where every attempt waits `wait_s` on average."""
        backoffs_s = backoff_means_s(self.scenario.rules.retry)
        total_s = sum(
            share * part.attempts.completed_latency_s(wait_s + part.work_s, backoffs_s)
            for part in self.parts
            if (share := part.share * (1.0 - part.attempts.dead_share)) > 0.0
        )
        return total_s / (1.0 - self.dead_share)

    def left_share(self, of_tries: float) -> float:
        """The share of tasks whose client leaves sometime where it leaves this share of the tries that are begun."""
        kept, left = 1.0, 0.0
        for number in range(max(len(part.attempts.reached) for part in self.parts)):
            begun = sum(p.share * p.attempts.reached[number] for p in self.parts if number < len(p.attempts.reached))
            left += begun * kept * of_tries
            kept *= 1.0 - of_tries
        return left

    @property
    def longest_s(self) -> float:
        """Mean seconds from the first start of the task with the most attempts to its end, if it never waits for a
        slot: attempt k is made by at least one of n tasks with chance 1 − (1 − P(a task makes it))^n.
        """
        work_s = sum(part.work * part.work_s for part in self.parts) / self.attempts_mean
        backoffs_s, longest_s = backoff_means_s(self.scenario.rules.retry), work_s
        for number, backoff_s in enumerate(backoffs_s, start=1):
            made = sum(p.share * p.attempts.reached[number] for p in self.parts if number < len(p.attempts.reached))
            longest_s += (1.0 - (1.0 - min(1.0, made)) ** self.count) * (backoff_s + work_s)
        return longest_s


def demand(scenario: Scenario) -> Demand | str:
    """The demand of a scenario; or, in words, why it has none that formulas could take.

    Reads the files that the scenario names, if they are of `FILE_BYTES_MAX` or less. Raises ScenarioError for one that
    does not hold what it should.
    """
    if isinstance(scenario.workload.arrivals, Schedule):
        return "the arrivals are what somebody did at the controls"
    try:
        found = _of_trace(scenario) if isinstance(scenario.workload.arrivals, Trace) else _of_roles(scenario)
    except Unknown as why:
        return str(why)
    return found if found.service_s > 0.0 else "the work takes no time"


def _of_roles(scenario: Scenario) -> Demand:
    roles = scenario.workload.roles
    found = {name: _moments_of(scenario, name, role) for name, role in roles.items()}
    kinds = {_kind(role.service, *found[name]) for name, role in roles.items()}
    first = next(iter(found.values()))
    return Demand(scenario, tuple(_parts(scenario, found)), kinds == {("exponential", *first)}, len(kinds) == 1)


def _of_trace(scenario: Scenario) -> Demand:
    """Shares and moments are those of the tasks that the plan takes from the file."""
    arrivals = scenario.workload.arrivals
    assert isinstance(arrivals, Trace)
    for path in [arrivals.path, *_files(scenario)]:
        _readable(scenario, path)
    plan = Plan(scenario)
    role, queue = np.array(plan.role_names)[np.array(plan.role)], np.array(plan.queue)
    traced = Traced(np.array(plan.arrival_s), np.array(plan.column("service", 1)), role)
    parts = []
    for name in plan.role_names:
        attempts = _attempts(scenario.workload.roles[name], scenario.rules.attempts_max)
        for number in range(len(QUEUES)):
            service_s = traced.service_s[(role == name) & (queue == number)]
            if len(service_s):
                share = len(service_s) / plan.count
                parts.append(Part(name, share, number, *_sample_moments(service_s), attempts))
    alike = len({(part.service_s, part.cv2) for part in parts}) == 1
    if traced.per_s == math.inf:
        burst = Burst(kind="burst", count=plan.count, at_s=float(traced.arrival_s[0]))
        workload = scenario.workload.model_copy(update={"arrivals": burst})
        scenario = scenario.model_copy(update={"workload": workload})
    return Demand(scenario, tuple(parts), memoryless=False, alike=alike, traced=traced)


def _files(scenario: Scenario) -> list[str]:
    services = [role.service for role in scenario.workload.roles.values()]
    return [service.path for service in services if isinstance(service, EmpiricalService)]


def _readable(scenario: Scenario, path: str) -> None:
    """Refuse a file that would take too long, or that has gone since the scenario was checked."""
    file = scenario.base / path
    if not file.is_file():
        raise Unknown(f"{file} is gone")
    if file.stat().st_size > FILE_BYTES_MAX:
        raise Unknown(f"{file.name} has more than {FILE_BYTES_MAX:,} bytes, too many to be read for a law")


def _sample_moments(seconds: Floats) -> tuple[float, float]:
    """(mean, squared coefficient of variation) of these values; of values that are all alike exactly 0."""
    mean_s = float(seconds.mean())
    if mean_s == 0.0 or seconds.min() == seconds.max():
        return float(seconds[0]), 0.0
    return mean_s, float(seconds.var()) / mean_s**2


def values_s(scenario: Scenario, name: str) -> Floats | None:
    """The seconds, sorted, from which the service times of a role are drawn; None where they have a formula."""
    service = scenario.workload.roles[name].service
    if not isinstance(service, EmpiricalService):
        return None
    _readable(scenario, service.path)
    table = traces.read(scenario.base / service.path, f"workload.roles.{name}.service.path")
    return np.sort(table.numbers(service.column, service.factor))


def _moments_of(scenario: Scenario, name: str, role: Role) -> tuple[float, float]:
    values = values_s(scenario, name)
    return moments(role.service) if values is None else _sample_moments(values)


def moments(service: Service) -> tuple[float, float]:
    """(mean in s, squared coefficient of variation) of service times that have a formula."""
    assert not isinstance(service, EmpiricalService), "a file's values have no formula"
    if isinstance(service, ConstantService):
        return service.mean_s, 0.0
    return service.mean_s, 1.0 if isinstance(service, ExponentialService) else service.cv**2


def _kind(service: Service, mean_s: float, cv2: float) -> tuple[str, float, float]:
    """What tells two distributions apart. A gamma distribution with cv 1 is an exponential one."""
    return "exponential" if service.dist == "gamma" and cv2 == 1.0 else service.dist, mean_s, cv2


def _parts(scenario: Scenario, found: Mapping[str, tuple[float, float]]) -> list[Part]:
    total = sum(role.share for role in scenario.workload.roles.values())
    parts = []
    for name, role in scenario.workload.roles.items():
        by_class: dict[int, float] = {}
        for level, share in priority_shares(role):
            queue = queue_class(level, name, scenario.rules.priority)
            by_class[queue] = by_class.get(queue, 0.0) + share
        attempts = _attempts(role, scenario.rules.attempts_max)
        parts += [
            Part(name, role.share / total * share, queue, *found[name], attempts) for queue, share in by_class.items()
        ]
    return parts


def _attempts(role: Role, attempts_max: int) -> Attempts:
    fails = tuple(1.0 if k <= role.fail_first else role.failure_rate for k in range(1, attempts_max + 1))
    return Attempts(fails, role.permanent_share)


def backoff_means_s(rules: RetryRules) -> tuple[float, ...]:
    """Mean seconds of the backoff after failure 1, 2, … max_retries: base_s · factor^k, capped, with mean jitter."""
    return tuple(retry.delay_s(failures, rules, MEAN_ROLL) for failures in range(1, rules.max_retries + 1))


def machinery(scenario: Scenario) -> str | None:
    """What the machinery of the model costs, in words; None if nothing."""
    if scenario.profile not in profiles.BUILT_IN:
        return f"what the machinery costs (profile {scenario.profile})"
    cost_s = _built_in_cost_s(scenario.profile)
    if cost_s is None:
        return None
    return f"what the machinery costs (profile {scenario.profile}: {1_000 * cost_s:.3g} ms a task on an idle mesh)"


def _built_in_cost_s(name: str) -> float | None:
    """Seconds that a task costs an idle mesh under a built-in profile; None for one in which all is free."""
    found = profiles.load(name)
    operations = (found.submit, found.push, found.fetch, found.claim, found.begin, found.settle)
    return None if found.is_free else sum(one.alone_s for one in operations)
