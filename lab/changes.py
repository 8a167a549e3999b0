"""What the knobs of a mesh are at a moment: the scenario's own values, until a `change` fault turns them.

A session (docs/ARCHITECTURE.md) is a scenario that grows while it runs: what a person does becomes an entry of its
arrivals or a fault, at a moment a little ahead of now. These functions read that; both engines and the checks ask here.
Moments are seconds of the run; a change holds from its own moment on.
"""

from __future__ import annotations

from lab.faults import Change, Knob
from lab.rules.health import HealthRules
from lab.rules.retry import RetryRules
from lab.scenario import Scenario, Schedule


def turned(scenario: Scenario, knob: Knob) -> tuple[tuple[float, float], ...]:
    """(moment, value) of every change of a knob, the earliest first."""
    changes = (fault for fault in scenario.faults if isinstance(fault, Change) and fault.knob == knob)
    return tuple(sorted((change.at_s, change.value) for change in changes))


def value_at(turns: tuple[tuple[float, float], ...], at_s: float, before: float) -> float:
    """The value of a knob at a moment, given its turns; `before` is what it was before the first."""
    value = before
    for turned_s, to in turns:
        if turned_s > at_s:
            break
        value = to
    return value


def workers_at(scenario: Scenario, at_s: float) -> int:
    """Worker processes that the mesh should have."""
    return int(value_at(turned(scenario, "workers"), at_s, scenario.mesh.workers))


def slots_at(scenario: Scenario, at_s: float) -> int:
    """Concurrent tasks in each worker."""
    return int(value_at(turned(scenario, "slots"), at_s, scenario.mesh.slots))


def workers_most(scenario: Scenario) -> int:
    """The largest number of worker processes that the mesh ever should have."""
    return max([scenario.mesh.workers, *(int(value) for _, value in turned(scenario, "workers"))])


def failure_rate_at(scenario: Scenario, role: str, at_s: float) -> float:
    """The share of the attempts of a role starting then that fail; a change sets it for all roles."""
    return value_at(turned(scenario, "failure_rate"), at_s, scenario.workload.roles[role].failure_rate)


def retry_at(scenario: Scenario, at_s: float) -> RetryRules:
    """The rules for a failure at that moment."""
    rules = scenario.rules.retry
    base_s = value_at(turned(scenario, "retry_base_s"), at_s, rules.base_s)
    return rules if base_s == rules.base_s else rules.model_copy(update={"base_s": base_s})


def health_at(scenario: Scenario, at_s: float) -> HealthRules:
    """The rules for a report at that moment."""
    rules = scenario.rules.health
    limit_mib = value_at(turned(scenario, "rss_limit_mib"), at_s, rules.rss_limit_mib)
    return rules if limit_mib == rules.rss_limit_mib else rules.model_copy(update={"rss_limit_mib": limit_mib})


def stopped(scenario: Scenario, at_s: float) -> Scenario:
    """The scenario of a session that was ended at a moment: no task comes and no fault strikes from then on.

    Its arrivals are a schedule. Raises ScenarioError if not one task came before that moment.
    """
    arrivals = scenario.workload.arrivals
    assert isinstance(arrivals, Schedule), arrivals
    data = scenario.data
    schedule = data["workload"]["arrivals"]
    schedule["until_s"] = min(at_s, arrivals.until_s)
    schedule["entries"] = [entry for entry in schedule["entries"] if entry["at_s"] < at_s]
    data["faults"] = [fault for fault in data.get("faults") or [] if fault.get("at_s", 0.0) < at_s]
    return Scenario.from_data(data, base=scenario.base, source=f"{scenario.name}, stopped at {at_s:g} s")
