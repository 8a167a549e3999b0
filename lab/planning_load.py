"""The same tasks coming faster: what a plan asks to find out how far its mesh is from the cliff."""

from __future__ import annotations

from typing import Any

from lab.scenario import Burst, Constant, Poisson, Ramp, Scenario, Schedule, Steps, Trace


def busier(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with `factor` times its arrival rate: rates and counts × factor, the times of a trace / factor.

    Draws stay with their tasks: Poisson gaps are the same, shortened. Raises ScenarioError where that would be more
    tasks, or more a second, than a run may have.
    """
    return scenario if factor == 1.0 else scenario.override(_changes(scenario, factor))


def _changes(scenario: Scenario, factor: float) -> dict[str, Any]:
    """What differs, by dotted path."""
    arrivals = scenario.workload.arrivals
    here = "workload.arrivals"
    if isinstance(arrivals, Burst):
        return {f"{here}.count": _whole(arrivals.count, factor)}
    if isinstance(arrivals, Poisson | Constant):
        return {f"{here}.rate_per_s": arrivals.rate_per_s * factor}
    if isinstance(arrivals, Ramp):
        return {f"{here}.from_per_s": arrivals.from_per_s * factor, f"{here}.to_per_s": arrivals.to_per_s * factor}
    if isinstance(arrivals, Steps):
        steps = [{"duration_s": one.duration_s, "rate_per_s": one.rate_per_s * factor} for one in arrivals.steps]
        return {f"{here}.steps": steps}
    if isinstance(arrivals, Trace):
        return {f"{here}.time_factor": arrivals.time_factor / factor}
    return {f"{here}.entries": [_entry(one.model_dump(exclude_none=True), factor) for one in _schedule(arrivals)]}


def _schedule(arrivals: Schedule) -> list[Any]:
    return arrivals.entries


def _entry(entry: dict[str, Any], factor: float) -> dict[str, Any]:
    if "count" in entry:
        return {**entry, "count": _whole(entry["count"], factor)}
    return {**entry, "rate_per_s": entry["rate_per_s"] * factor}


def _whole(count: int, factor: float) -> int:
    return max(1, round(count * factor))
