"""More traffic: what a plan asks to find how far its mesh is from the cliff, and a what-if card to see it come."""

from __future__ import annotations

from typing import Any, Final

from lab.scenario import Burst, Constant, Poisson, Ramp, Scenario, Schedule, Steps, Trace

ARRIVALS: Final = "workload.arrivals"


def busier(scenario: Scenario, factor: float) -> Scenario:
    """The scenario with `factor` times its tasks in the same time; see `changes`. Raises ScenarioError where that would
    be more tasks, or more a second, than a run may have.
    """
    return scenario if factor == 1.0 else scenario.override(changes(scenario, factor))


def changes(scenario: Scenario, factor: float) -> dict[str, Any]:
    """What differs, by dotted path: rates and counts × factor. A trace has the tasks that it has, so its times are
    divided by the factor.

    Draws stay with their tasks: Poisson gaps are the same, shortened.
    """
    arrivals = scenario.workload.arrivals
    match arrivals:
        case Burst() | Constant() | Poisson():
            found = _entry(arrivals, factor)
        case Ramp():
            found = {"from_per_s": times(arrivals.from_per_s, factor), "to_per_s": times(arrivals.to_per_s, factor)}
        case Steps():
            found = {f"steps.{n}.rate_per_s": times(step.rate_per_s, factor) for n, step in enumerate(arrivals.steps)}
        case Schedule():
            entries = [(n, _entry(entry, factor)) for n, entry in enumerate(arrivals.entries)]
            found = {f"entries.{n}.{key}": value for n, entry in entries for key, value in entry.items()}
        case Trace():
            found = {"time_factor": times(arrivals.time_factor, 1 / factor)}
    return {f"{ARRIVALS}.{path}": value for path, value in found.items()}


def _entry(arrivals: Any, factor: float) -> dict[str, Any]:
    """Of arrivals that have a count, a rate, or both: twice the rate alone would end in half the time."""
    count, rate_per_s = getattr(arrivals, "count", None), getattr(arrivals, "rate_per_s", None)
    found: dict[str, Any] = {} if count is None else {"count": max(1, round(count * factor))}
    return found if rate_per_s is None else {**found, "rate_per_s": times(rate_per_s, factor)}


def times(value: float, factor: float) -> float:
    """The product, without digits that only the binary system has: 0.35 × 1.5 is 0.525."""
    return float(f"{value * factor:.12g}")
