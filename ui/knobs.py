"""The knobs of a scenario: the values that are worth turning first, where they stand, and how far they turn.

A knob starts from the scenario's own value; only what was really turned is written over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lab import limits
from lab.rules.explain import explain
from lab.scenario import Burst, Constant, Mesh, Poisson, Ramp, Role, Scenario, Trace

Value = int | float | None
SEED_MAX = 2**53 - 1


@dataclass(frozen=True)
class Knob:
    """One number of a scenario. `value` is the scenario's own; None: it has no single one."""

    name: str
    label: str
    value: Value
    low: int | float
    high: int | float
    step: int | float
    help: str
    paths: tuple[str, ...]
    kind: Literal["whole", "number", "percent"] = "number"
    placeholder: str = ""

    def written(self, value: int | float) -> int | float:
        """The value as a scenario file holds it."""
        return round(value / 100, 6) if self.kind == "percent" else value


def knobs(scenario: Scenario) -> list[Knob]:
    """The knobs of this scenario, in the order in which people think: how much work, which agents, which rules."""
    return [
        *_arrival_knobs(scenario),
        *_mesh_knobs(scenario.mesh),
        _failure_knob(scenario),
        *_rule_knobs(scenario),
        *_seed_knob(scenario),
    ]


def overrides(turned: list[Knob], values: Mapping[str, Value]) -> dict[str, int | float]:
    """The dotted paths to write, for the knobs whose value (by name) is not the scenario's own."""
    changes: dict[str, int | float] = {}
    for knob in turned:
        value = values.get(knob.name, knob.value)
        if value is not None and value != knob.value:
            changes |= dict.fromkeys(knob.paths, knob.written(value))
    return changes


def apply(scenario: Scenario, turned: list[Knob], values: Mapping[str, Value]) -> Scenario:
    """The scenario with these knobs turned. Raises ScenarioError where the values are impossible together."""
    changes = overrides(turned, values)
    return scenario.override(changes) if changes else scenario


def _mesh_knobs(mesh: Mesh) -> list[Knob]:
    return [
        _whole("workers", "Workers", "mesh.workers", mesh.workers, 1, limits.WORKERS_MAX, _about(Mesh, "workers")),
        _whole("slots", "Slots in each", "mesh.slots", mesh.slots, 1, limits.SLOTS_MAX, _about(Mesh, "slots")),
    ]


def _whole(name: str, label: str, path: str, value: int, low: int, high: int, about: str) -> Knob:
    return Knob(name, label, value, low, high, 1, about, (path,), "whole")


def _real(name: str, label: str, path: str, value: float, low: float, high: float, about: str) -> Knob:
    # The schema's lower bound is often "above 0", which no control knows: a tiny value of the file must still fit.
    return Knob(name, label, float(value), min(low, value), high, _step(value), about, (path,))


def _seed_knob(scenario: Scenario) -> list[Knob]:
    """None for a seed beyond the whole numbers that a browser can hold: it would come back as another one."""
    about = "The same seed gives the same tasks, in both engines."
    return [_whole("seed", "Seed", "seed", scenario.seed, 0, SEED_MAX, about)] if scenario.seed <= SEED_MAX else []


def _about(model: type[Any], name: str) -> str:
    return str(model.model_fields[name].description or "")


# ---- arrivals --------------------------------------------------------------------------------------------------------

AT = "workload.arrivals."
RATE_HELP = "How many tasks arrive in a second."


def _arrival_knobs(scenario: Scenario) -> list[Knob]:
    """How many tasks, or how many a second: whichever this kind of arrivals has."""
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Burst):
        return [_tasks(arrivals.count, "How many tasks arrive at once.")]
    if isinstance(arrivals, Constant | Poisson):
        pace = _pace("rate", "Rate (1/s)", "rate_per_s", arrivals.rate_per_s, RATE_HELP)
        if arrivals.count is not None:
            return [_tasks(arrivals.count, "How many tasks arrive in all."), pace]
        return [pace, _duration(arrivals.duration_s or 0.0)]
    if isinstance(arrivals, Ramp):
        end = _pace("rate", "Final rate (1/s)", "to_per_s", arrivals.to_per_s, RATE_HELP)
        return [end, _duration(arrivals.duration_s)]
    if isinstance(arrivals, Trace):
        about = "Arrival times × this: 0.1 plays the trace ten times as fast."
        return [_pace("rate", "Time factor", "time_factor", arrivals.time_factor, about)]
    return []


def _tasks(value: int, about: str) -> Knob:
    return _whole("tasks", "Tasks", f"{AT}count", value, 1, limits.TASKS_MAX, about)


def _pace(name: str, label: str, key: str, value: float, about: str) -> Knob:
    return _real(name, label, AT + key, value, 0.001, limits.RATE_PER_S_MAX, about)


def _duration(value: float) -> Knob:
    about = "How long tasks keep arriving, in seconds of the run."
    return _real("duration", "Arrivals last (s)", f"{AT}duration_s", value, 0.001, limits.RUN_S_MAX, about)


# ---- roles and rules -------------------------------------------------------------------------------------------------


def _failure_knob(scenario: Scenario) -> Knob:
    """One failure rate for all roles; empty while the roles differ and nothing is written over them."""
    roles = scenario.workload.roles
    rates = sorted({role.failure_rate for role in roles.values()})
    own = round(rates[0] * 100, 4) if len(rates) == 1 else None
    placeholder = "" if own is not None else f"{rates[0] * 100:g} to {rates[-1] * 100:g}"
    about = f"{_about(Role, 'failure_rate')} Applies to all roles; while it is empty, each role keeps its own."
    paths = tuple(f"workload.roles.{name}.failure_rate" for name in roles)
    return Knob("failures", "Failing (%)", own, 0.0, 100.0, 1.0, about, paths, "percent", placeholder)


def _rule_knobs(scenario: Scenario) -> list[Knob]:
    told = {rule.path: rule for rule in explain(scenario.rules)}

    def knob(name: str, label: str, path: str, low: float, high: float) -> Knob:
        rule = told[path]
        about = f"{rule.reason} {f'`{rule.formula}`' if rule.formula else ''}".strip()
        return _real(name, label, f"rules.{path}", rule.value, low, high, about)

    return [
        knob("retry_base", "Retry base (s)", "retry.base_s", 0.0, 86_400.0),
        knob("rss_limit", "RSS limit (MiB)", "health.rss_limit_mib", 1.0, 1_048_576.0),
    ]


def _step(value: float) -> float:
    """A tenth of the value's magnitude: 512 turns by 10, 2 by 0.1, 0.1 by 0.01."""
    step = 0.1
    for candidate in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0):
        if candidate * 10 <= max(abs(value), 0.01):
            step = candidate
    return step
