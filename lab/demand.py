"""What a scenario asks of its slots, in the terms of queueing theory: rates, mean times, spreads, classes, attempts.

Read off the scenario alone, before any task is drawn. `laws.py` decides with it which law holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from lab.arrivals import arrival_times
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
    Role,
    Scenario,
    Service,
)

MEAN_ROLL = 0.5
"""The mean of the draw for jitter; the backoff is linear in it."""


@dataclass(frozen=True)
class Part:
    """The tasks of one role in one class: their share of all tasks, and what one attempt of them is like."""

    share: float
    queue: int
    service_s: float
    cv2: float
    attempts: Attempts

    @property
    def work(self) -> float:
        """Its share of the attempts, relative to other parts: share × mean attempts."""
        return self.share * self.attempts.mean


@dataclass(frozen=True)
class Demand:
    """The demand of a scenario whose arrivals are a burst, even or Poisson, and whose service times have formulas."""

    scenario: Scenario
    parts: tuple[Part, ...]
    memoryless: bool
    """All attempts have the same exponential service times."""
    alike: bool
    """All attempts have the same distribution of service times."""

    @property
    def servers(self) -> int:
        """c: all slots of the mesh. They share their queues, so it does not matter which worker has them."""
        return self.scenario.mesh.workers * self.scenario.mesh.slots

    @cached_property
    def count(self) -> int:
        """How many tasks come; as many as are expected where that is left to chance."""
        arrivals = self.scenario.workload.arrivals
        if isinstance(arrivals, Poisson):
            return arrivals.count or max(1, round(arrivals.rate_per_s * (arrivals.duration_s or 0.0)))
        return len(arrival_times(self.scenario, None))

    @property
    def counted(self) -> bool:
        """Whether the number of tasks is settled, and not left to chance."""
        arrivals = self.scenario.workload.arrivals
        return not isinstance(arrivals, Poisson) or arrivals.count is not None

    @property
    def arrival_per_s(self) -> float:
        """λ: tasks a second from outside; infinite for a burst."""
        arrivals = self.scenario.workload.arrivals
        return arrivals.rate_per_s if isinstance(arrivals, Poisson | Constant) else math.inf

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
            share * part.attempts.completed_latency_s(wait_s + part.service_s, backoffs_s)
            for part in self.parts
            if (share := part.share * (1.0 - part.attempts.dead_share)) > 0.0
        )
        return total_s / (1.0 - self.dead_share)


def demand(scenario: Scenario) -> Demand | str:
    """The demand of a scenario; or, in words, why it has none that formulas could take."""
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, Burst | Constant | Poisson):
        return "the arrivals are a trace" if arrivals.kind == "trace" else "the arrival rate changes"
    services = [role.service for role in scenario.workload.roles.values()]
    if any(isinstance(service, EmpiricalService) for service in services):
        return "service times are drawn from a file"
    if any(moments(service)[0] == 0.0 for service in services):
        return "some of the work takes no time"
    kinds = {_kind(service) for service in services}
    return Demand(scenario, tuple(_parts(scenario)), kinds == {("exponential", *moments(services[0]))}, len(kinds) == 1)


def moments(service: Service) -> tuple[float, float]:
    """(mean in s, squared coefficient of variation) of service times that have a formula."""
    assert not isinstance(service, EmpiricalService), "a file's values have no formula"
    if isinstance(service, ConstantService):
        return service.mean_s, 0.0
    return service.mean_s, 1.0 if isinstance(service, ExponentialService) else service.cv**2


def _kind(service: Service) -> tuple[str, float, float]:
    """What tells two distributions apart. A gamma distribution with cv 1 is an exponential one."""
    mean_s, cv2 = moments(service)
    return "exponential" if service.dist == "gamma" and cv2 == 1.0 else service.dist, mean_s, cv2


def _parts(scenario: Scenario) -> list[Part]:
    total = sum(role.share for role in scenario.workload.roles.values())
    parts = []
    for name, role in scenario.workload.roles.items():
        by_class: dict[int, float] = {}
        weights = {role.priority: 1.0} if isinstance(role.priority, int) else role.priority
        for level, weight in weights.items():
            if weight > 0:
                queue = queue_class(level, name, scenario.rules.priority)
                by_class[queue] = by_class.get(queue, 0.0) + weight / sum(weights.values())
        mean_s, cv2 = moments(role.service)
        attempts = _attempts(role, scenario.rules.attempts_max)
        parts += [Part(role.share / total * share, queue, mean_s, cv2, attempts) for queue, share in by_class.items()]
    return parts


def _attempts(role: Role, attempts_max: int) -> Attempts:
    fails = tuple(1.0 if k <= role.fail_first else role.failure_rate for k in range(1, attempts_max + 1))
    return Attempts(fails, role.permanent_share)


def backoff_means_s(rules: RetryRules) -> tuple[float, ...]:
    """Mean seconds of the backoff after failure 1, 2, … max_retries: base_s · factor^k, capped, with mean jitter."""
    return tuple(retry.delay_s(failures, rules, MEAN_ROLL) for failures in range(1, rules.max_retries + 1))
