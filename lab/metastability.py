"""Does a mesh come back after a temporary overload? The experiment of `meshlab metastability`, engines left out.

A scenario says what is normal and what disturbs it: its lowest arrival rate is the base, steps above it and faults are
the trigger. Here the base is set to several loads, the trigger added to each stays the same, and every retry policy is
put through the same tasks twice: calm (without the trigger) and disturbed. A cell in which calm runs stay healthy and
disturbed ones do not come back is metastable: its load is the same, only its past differs (Bronson, Aghayev, Charapko
and Zhu, "Metastable failures in distributed systems", HotOS 2021). What comes back sometimes is a probability, never a
mean: half of the runs at full goodput and half at none is not a mesh at 50 %.

Engines come as arguments, because `lab` imports none: `observe(scenario, until_s, stop)` returns the `Flow` of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from lab import limits, traces
from lab.demand import backoff_means_s, moments
from lab.errors import ScenarioError, UsageError
from lab.progress import Stop
from lab.recovery import WINDOWS, Flow, Verdict, judge
from lab.rules.rulebook import Rulebook
from lab.scenario import Constant, EmpiricalService, Poisson, Scenario, Step, Steps

TRIGGER_END_MAX: Final = 0.5
"""The trigger must be over by this share of the run, or "it has not come back" would only mean "not yet"."""
LOADS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LOAD_MAX: Final = 2.0
"""More than twice the capacity is no base load any more: nothing could be healthy there."""
REPLICATIONS: Final = 12
"""Seeds a cell: enough to tell 12 of 12 from 7 of 12, and the whole default map is ready in less than a minute."""
RAMP_LOADS: Final = tuple(round(0.05 * step, 2) for step in range(1, 23))
"""The slow ramp goes up through these loads and down again; 1.1 is more than any policy can bear."""
RAMP_RUNS: Final = 10
"""The ramp takes this many times as long as the scenario, so that each of its steps may forget the one before."""

Observe = Callable[[Scenario, float, Stop], Flow]
"""What a run of a scenario shows until a moment in seconds; less if `stop` says so."""


# ---- retry policies --------------------------------------------------------------------------------------------------


class Policy(NamedTuple):
    """A row of the map: what is laid over the scenario's own rules."""

    name: str
    words: str
    settings: Mapping[str, Any]


PLAIN: Final[Mapping[str, Any]] = {
    "rules.retry.wait": "scheduled",
    "rules.retry.jitter": 0.0,
    "rules.retry.budget": None,
    "rules.deadline.late": "fail",
}
"""What the policies differ in, at its plainest, so that each row means the same whatever the scenario has of its own.
The backoff itself (`base_s`, `factor`, `cap_s`) and `max_retries` are the scenario's, where the row does not say so.
"""


def _policy(name: str, words: str, **settings: Any) -> Policy:
    changed = {f"rules.{path.replace('__', '.')}": value for path, value in settings.items()}
    return Policy(name, words, {**PLAIN, **changed})


POLICIES: Final[Mapping[str, Policy]] = {
    policy.name: policy
    for policy in (
        _policy("in-slot", "the slot sleeps through the backoff", retry__wait="in_slot"),
        _policy("scheduled", "backoff with the slot free meanwhile"),
        _policy("jitter", "scheduled, each wait up to twice as long", retry__jitter=1.0),
        _policy("few", "scheduled, but one retry only", retry__max_retries=1),
        _policy("budget", "scheduled, one retry for ten successes", retry__budget={}),
        _policy("cancel", "nobody works for a client that has left", deadline__late="cancel"),
        _policy("immediate", "retries at once, without any backoff", retry__base_s=0.0),
        Policy("as-written", "the scenario's own rules", {}),
    )
}
DEFAULT_POLICIES: Final = ("in-slot", "scheduled", "jitter", "few", "budget", "cancel")


def safe_load(rules: Rulebook, service_s: float) -> float:
    """The load (share of the capacity) below which a mesh under these rules comes back from anything, given time.

    Served in time, a task costs one attempt of `service_s` on average. If no client is served in time it costs
    max_retries + 1 of them, and with wait: in_slot the sleep of every backoff too. That ratio A is the most by which
    work in vain multiplies the load ρ. Where A·ρ < 1 a mesh that does nothing else still works faster than work comes,
    so its queue shrinks until clients are served in time again; where A·ρ > 1 it may stay as it is for ever. (The
    amplification of Bronson et al., HotOS 2021.) Nothing sustains work in vain, so A is 1, where no client ever leaves,
    where tasks leave with their clients, and where a budget refuses retries while nothing succeeds.
    """
    if not rules.deadline.wastes or rules.retry.budget is not None:
        return 1.0
    slept_s = sum(backoff_means_s(rules.retry)) if rules.retry.wait == "in_slot" else 0.0
    return service_s / (rules.attempts_max * service_s + slept_s)


# ---- the experiment --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """A scenario as base and trigger. Build it with `Experiment.of`.

    `steps` are the scenario's arrivals; the trigger lasts from `trigger_s[0]` to `trigger_s[1]` seconds of a run.
    """

    scenario: Scenario
    steps: tuple[Step, ...]
    service_s: float
    trigger_s: tuple[float, float]

    @classmethod
    def of(cls, scenario: Scenario) -> Experiment:
        """The experiment that a scenario describes. Raises UsageError if it has no base, or no trigger, or too little
        time to come back.
        """
        steps = _steps(scenario)
        service_s = _service_s(scenario)
        begins_s, ends_s = _trigger(scenario, steps)
        run_s = sum(step.duration_s for step in steps)
        if ends_s > TRIGGER_END_MAX * run_s:
            raise UsageError(
                f"{scenario.name}: the trigger ends at {ends_s:g} s of {run_s:g} s, which leaves too little time to "
                f"come back; let the base rate go on until {ends_s / TRIGGER_END_MAX:g} s at least, better ten times "
                "as long as a queue takes to drain"
            )
        return cls(scenario, steps, service_s, (begins_s, ends_s))

    @property
    def base_per_s(self) -> float:
        """The scenario's own base rate: the lowest of its steps."""
        return min(step.rate_per_s for step in self.steps)

    @property
    def capacity_per_s(self) -> float:
        """First attempts a second that all slots together can do: load 1."""
        return self.scenario.mesh.workers * self.scenario.mesh.slots / self.service_s

    @property
    def run_s(self) -> float:
        """How long a run is watched: until the last arrivals. What is left over then is left over."""
        return sum(step.duration_s for step in self.steps)

    @property
    def window_s(self) -> float:
        """The length of the window that is judged."""
        return self.run_s / WINDOWS

    def disturbed(self, policy: Policy, load: float, seed: int) -> Scenario:
        """The base at a load, and the trigger: as much above it as the scenario's steps are above their lowest."""
        base_per_s = load * self.capacity_per_s
        return self._with(policy, seed, [(one.duration_s, base_per_s + self._extra(one)) for one in self.steps])

    def calm(self, policy: Policy, load: float, seed: int) -> Scenario:
        """The same without the trigger."""
        steps = [(self.run_s, load * self.capacity_per_s)]
        return self._with(policy, seed, steps, faults=[])

    def ramp(self, policy: Policy, seed: int) -> Scenario:
        """No trigger, but a load that slowly goes up through RAMP_LOADS and down again."""
        steps = [(self.ramp_step_s, load * self.capacity_per_s) for load in ramp_loads()]
        return self._with(policy, seed, steps, faults=[])

    @property
    def ramp_s(self) -> float:
        """How long the ramp takes."""
        return RAMP_RUNS * self.run_s

    @property
    def ramp_step_s(self) -> float:
        """How long the ramp stays at each load."""
        return self.ramp_s / len(ramp_loads())

    def demand_room(self, load: float) -> None:
        """Raise UsageError if the ramp, or a run at this load, would have more tasks than a run can hold."""
        as_written, seed = POLICIES["as-written"], self.scenario.seed
        try:
            self.disturbed(as_written, load, seed)
            self.ramp(as_written, seed)
        except ScenarioError as error:
            raise UsageError(
                f"{self.scenario.name}: a run at load {load:g}, or the slow ramp of {self.ramp_s:,.0f} s up to load "
                f"{RAMP_LOADS[-1]:g}, is too large: {error.problems[0].message}; give the mesh fewer slots or longer "
                "work, or let the steps be shorter"
            ) from error

    def safe_load(self, policy: Policy) -> float:
        """See `safe_load`."""
        return safe_load(self.scenario.override(policy.settings).rules, self.service_s)

    def _extra(self, step: Step) -> float:
        return step.rate_per_s - self.base_per_s

    def _with(self, policy: Policy, seed: int, steps: Sequence[tuple[float, float]], **settings: Any) -> Scenario:
        arrivals = {
            "kind": "steps",
            "spacing": _spacing(self.scenario),
            "steps": [{"duration_s": duration_s, "rate_per_s": rate_per_s} for duration_s, rate_per_s in steps],
        }
        return self.scenario.override({**policy.settings, **settings, "workload.arrivals": arrivals, "seed": seed})


def ramp_loads() -> tuple[float, ...]:
    """The loads of the ramp in order: up, then down."""
    return RAMP_LOADS + RAMP_LOADS[-2::-1]


def _steps(scenario: Scenario) -> tuple[Step, ...]:
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Steps):
        return tuple(arrivals.steps)
    if isinstance(arrivals, Poisson | Constant):
        duration_s = arrivals.duration_s or (arrivals.count or 0) / arrivals.rate_per_s
        return (Step(duration_s=duration_s, rate_per_s=arrivals.rate_per_s),)
    raise UsageError(
        f"{scenario.name}: workload.arrivals of kind {arrivals.kind} has no base load to come back to; "
        "use steps (the lowest rate is the base), or poisson or constant with faults"
    )


def _spacing(scenario: Scenario) -> str:
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Steps):
        return arrivals.spacing
    return "even" if isinstance(arrivals, Constant) else "poisson"


def _trigger(scenario: Scenario, steps: Sequence[Step]) -> tuple[float, float]:
    """From the first to the last moment (s) of what disturbs: steps above the lowest rate, and faults."""
    ends_s = np.cumsum([step.duration_s for step in steps])
    base_per_s = min(step.rate_per_s for step in steps)
    raised = [
        (float(end_s) - step.duration_s, float(end_s))
        for step, end_s in zip(steps, ends_s, strict=True)
        if step.rate_per_s > base_per_s
    ]
    lengths = ("for_s", "down_s")
    strikes = [
        (fault.at_s, fault.at_s + sum(getattr(fault, name, 0.0) for name in lengths)) for fault in scenario.faults
    ]
    windows = raised + strikes
    if not windows:
        raise UsageError(
            f"{scenario.name}: nothing disturbs the mesh; give workload.arrivals a step with a higher rate, or faults"
        )
    return min(begin_s for begin_s, _ in windows), max(end_s for _, end_s in windows)


def _service_s(scenario: Scenario) -> float:
    """The mean work of an attempt, of all roles by their shares; a first attempt's is that of any."""
    roles = scenario.workload.roles
    means = []
    for name, role in roles.items():
        service = role.service
        if isinstance(service, EmpiricalService):
            table = traces.read(scenario.base / service.path, f"workload.roles.{name}.service.path")
            means.append(float(table.numbers(service.column, service.factor, limits.SERVICE_S_MAX).mean()))
        else:
            means.append(moments(service)[0])
    service_s = float(np.average(means, weights=[role.share for role in roles.values()]))
    if service_s <= 0:
        raise UsageError(f"{scenario.name}: the work takes no time, so there is no load; raise service.mean_s")
    return service_s


# ---- trials ----------------------------------------------------------------------------------------------------------


class Trial(NamedTuple):
    """One column and one seed: all policies, calm and disturbed, with the same draws."""

    load: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, by the names of the policies."""

    trial: Trial
    calm: Mapping[str, Verdict]
    disturbed: Mapping[str, Verdict]


def trials(experiment: Experiment, loads: Sequence[float], replications: int) -> list[Trial]:
    """Seed by seed rather than load by load: stopped early, all columns have about as many."""
    first = experiment.scenario.seed
    return [Trial(load, first + number) for number in range(replications) for load in loads]


def attempt(
    observe: Observe, experiment: Experiment, policies: Sequence[Policy], trial: Trial, stop: Stop
) -> Outcome | None:
    """Make a trial; None if it was stopped before its end.

    The policies differ in what follows a failure or a client that leaves. A calm run in which neither happens is the
    same under all of them, to the last draw, and is made only once.
    """

    def seen(scenario: Scenario) -> tuple[Verdict, bool]:
        flow = observe(scenario, experiment.run_s, stop)
        return judge(flow, experiment.run_s, experiment.trigger_s[1]), flow.smooth

    calm: dict[str, Verdict] = {}
    disturbed: dict[str, Verdict] = {}
    verdict, smooth = None, False
    for policy in policies:
        if verdict is None or not smooth:
            verdict, smooth = seen(experiment.calm(policy, trial.load, trial.seed))
        calm[policy.name] = verdict
        disturbed[policy.name], _ = seen(experiment.disturbed(policy, trial.load, trial.seed))
        if stop():
            return None
    return Outcome(trial, calm, disturbed)
