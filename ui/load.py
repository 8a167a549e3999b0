"""The offered load: whether the agents can keep up with the work, before anything runs.

    work a task = mean service · expected attempts
    capacity    = workers · slots / work a task
    load        = arrival rate / capacity

A hint, not a model: it knows means only. The engines know the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lab.scenario import Burst, Constant, EmpiricalService, Poisson, Ramp, Role, Scenario, Schedule, Steps, Trace
from lab.workload import Plan
from ui import text


@dataclass(frozen=True)
class Load:
    """What comes, and what can be served. `span_s`: from the first arrival to the last; 0 for a burst."""

    tasks: float
    span_s: float
    slots: int
    work_s: float

    @property
    def capacity_per_s(self) -> float:
        """Tasks a second that all slots together can serve."""
        return self.slots / self.work_s if self.work_s > 0 else math.inf

    @property
    def rate_per_s(self) -> float:
        """Tasks a second that arrive, while they do."""
        return self.tasks / self.span_s if self.span_s > 0 else math.inf

    @property
    def utilisation(self) -> float:
        """Share of the capacity that is asked for; above 1 the queue grows as long as tasks arrive."""
        return self.rate_per_s / self.capacity_per_s if self.work_s > 0 else 0.0

    @property
    def run_s(self) -> float:
        """About how long a live run takes: until the last arrival, or as many rounds of all slots as the work needs."""
        return max(self.span_s + self.work_s, math.ceil(self.tasks / self.slots) * self.work_s)


def offered(scenario: Scenario) -> Load:
    """The load of a scenario. Reads its trace if it has one: raises ScenarioError if that is damaged."""
    roles = scenario.workload.roles.values()
    shares = [role.share / sum(one.share for one in roles) for role in roles]
    attempts = [_attempts(role, scenario) for role in roles]
    slots = scenario.mesh.workers * scenario.mesh.slots
    sampled = any(isinstance(role.service, EmpiricalService) for role in roles)
    if sampled or isinstance(scenario.workload.arrivals, Trace):
        plan = Plan(scenario)
        mean_s = float(np.mean(np.asarray(plan.column("service", 1))))
        work_s = mean_s * sum(share * times for share, times in zip(shares, attempts, strict=True))
        return Load(plan.count, float(plan.arrival_s[-1] - plan.arrival_s[0]), slots, work_s)
    means = [float(getattr(role.service, "mean_s", 0.0)) for role in roles]
    work_s = sum(share * mean * times for share, mean, times in zip(shares, means, attempts, strict=True))
    return Load(*_arrivals(scenario), slots, work_s)


def _attempts(role: Role, scenario: Scenario) -> float:
    """Expected attempts of a task: 1 + f + f² + …, up to max_retries + 1; the first `fail_first` fail for certain."""
    most = scenario.rules.retry.max_retries + 1
    sure = min(role.fail_first, most)
    return sure + sum(role.failure_rate**k for k in range(most - sure))


def _arrivals(scenario: Scenario) -> tuple[float, float]:
    """(tasks, seconds over which they come)."""
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Burst):
        return arrivals.count, 0.0
    if isinstance(arrivals, Constant | Poisson):
        span_s = arrivals.duration_s or (arrivals.count or 0) / arrivals.rate_per_s
        return arrivals.rate_per_s * span_s, span_s
    if isinstance(arrivals, Ramp):
        return (arrivals.from_per_s + arrivals.to_per_s) / 2 * arrivals.duration_s, arrivals.duration_s
    if isinstance(arrivals, Schedule):
        busy = [end_s for _, end_s, rate_per_s in arrivals.stretches if rate_per_s > 0]
        moments = [*busy, *(entry.at_s for entry in arrivals.entries if entry.count)]
        return arrivals.expected, max(moments) - arrivals.entries[0].at_s
    assert isinstance(arrivals, Steps)
    return sum(s.duration_s * s.rate_per_s for s in arrivals.steps), sum(s.duration_s for s in arrivals.steps)


def sentence(load: Load) -> str:
    """The hint in words (Markdown, ours throughout)."""
    served = f"{text.plural(load.slots, 'slot')}, {text.seconds(load.work_s)} of work a task"
    if load.work_s <= 0:
        return f"**{load.slots:,} slots**, no work to do: only the machinery's own costs will be seen."
    able = f"{served}: **capacity {text.rate(load.capacity_per_s)}**."
    if load.span_s == 0:
        return f"{able} {text.plural(round(load.tasks), 'task')} at once drain in about **{text.seconds(load.run_s)}**."
    asked = f"{able} Arrivals {text.rate(load.rate_per_s)}, **load {load.utilisation:.0%}**"
    if load.utilisation > 1:
        grows = text.rate(load.rate_per_s - load.capacity_per_s)
        return f"{asked}: the queue grows by {grows} as long as tasks arrive."
    if load.utilisation > 0.9:
        return f"{asked}: hardly any room; expect long queues."
    return f"{asked}: the agents keep up."
