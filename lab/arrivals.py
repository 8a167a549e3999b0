"""When tasks come: arrival times in seconds, ascending, for every kind of arrivals."""

from __future__ import annotations

import math

import numpy as np

from lab import draws
from lab.draws import Floats
from lab.errors import Problem, ScenarioError
from lab.limits import RUN_S_MAX, TASKS_MAX
from lab.scenario import Burst, Constant, Poisson, Ramp, Scenario, Schedule, Step, Steps
from lab.traces import Table


def arrival_times(scenario: Scenario, trace: Table | None) -> Floats:
    """The arrival times of a scenario; `trace` is its trace's table, if it has one.

    Horizon: a task that would arrive at or after the end of `duration_s` does not come.
    """
    arrivals = scenario.workload.arrivals
    if isinstance(arrivals, Burst):
        return np.full(arrivals.count, arrivals.at_s)
    if isinstance(arrivals, Constant):
        count = arrivals.count or _whole(arrivals.rate_per_s * (arrivals.duration_s or 0.0))
        return np.arange(count) / arrivals.rate_per_s
    if isinstance(arrivals, Poisson):
        return _poisson(arrivals, scenario.seed)
    if isinstance(arrivals, Ramp | Steps | Schedule):
        times = _changing(arrivals, scenario.seed)
        if len(times) == 0:
            raise ScenarioError(
                scenario.name, [Problem("workload.arrivals", "no task came; raise the rate or duration")]
            )
        return times
    assert trace is not None
    return trace.numbers("arrival_s", arrivals.time_factor, RUN_S_MAX)


def _whole(expected: float) -> int:
    """Tasks i = 0, 1, … with i < expected: 10/s for 2 s is 20 tasks, not 21, even when 0.1 · 20 is not quite 2."""
    return max(1, math.ceil(expected - 1e-9))


def _unit_gaps(seed: int, count: int, first: int = 0) -> Floats:
    """Exponential gaps of mean 1; gap i belongs to task i."""
    return -np.log1p(-draws.uniforms(draws.stream(seed, "arrival"), count, first))


def _poisson(arrivals: Poisson, seed: int) -> Floats:
    if arrivals.count is not None:
        return np.cumsum(_unit_gaps(seed, arrivals.count)) / arrivals.rate_per_s
    assert arrivals.duration_s is not None
    times = _unit_process(seed, arrivals.rate_per_s * arrivals.duration_s) / arrivals.rate_per_s
    return times if len(times) else _unit_gaps(seed, 1) * 0.0


def _unit_process(seed: int, horizon: float) -> Floats:
    """A Poisson process of rate 1 on [0, horizon)."""
    count = min(TASKS_MAX, int(horizon + 6 * math.sqrt(horizon) + 20))
    times = np.cumsum(_unit_gaps(seed, count))
    return times[times < horizon]


def _changing(arrivals: Ramp | Steps | Schedule, seed: int) -> Floats:
    """Arrivals of a rate that changes: where the cumulative rate passes 0, 1, 2, … (even) or a unit Poisson process."""
    if isinstance(arrivals, Schedule):
        return _scheduled(arrivals, seed)
    steps = arrivals.steps if isinstance(arrivals, Steps) else [_as_step(arrivals)]
    expected = sum(step.duration_s * step.rate_per_s for step in steps)
    marks = np.arange(_whole(expected), dtype=float) if arrivals.spacing == "even" else _unit_process(seed, expected)
    if isinstance(arrivals, Ramp):
        return _along_ramp(arrivals, marks)
    ends = np.concatenate([[0.0], np.cumsum([step.duration_s for step in steps])])
    passed = np.concatenate([[0.0], np.cumsum([step.duration_s * step.rate_per_s for step in steps])])
    # Where a step's rate is 0 the cumulative rate stands still: a mark there belongs to the start of the next busy
    # step.
    index = np.searchsorted(passed, marks, side="right") - 1
    index = np.minimum(index, len(steps) - 1)
    rates = np.array([step.rate_per_s or math.inf for step in steps])
    return np.asarray(ends[index] + (marks - passed[index]) / rates[index])


def _scheduled(schedule: Schedule, seed: int) -> Floats:
    """Bursts, and one cumulative rate for all stretches: where it passes 0, 1, 2, … (even) or a unit Poisson process.

    What the rate had gathered towards the next task counts on after a turn, so that turning it often brings no tasks
    of its own; and every time is computed from the stretches up to its own alone, so later ones cannot move it.
    """
    at_once = [np.full(entry.count, entry.at_s) for entry in schedule.entries if entry.count is not None]
    stretches = [(begin, end, rate) for begin, end, rate in schedule.stretches if rate > 0 and end > begin]
    if not stretches:
        return np.concatenate(at_once)
    begins, ends, rates = np.array(stretches).T
    passed = np.concatenate([[0.0], np.cumsum((ends - begins) * rates)])
    if schedule.spacing == "even":
        marks = np.arange(_whole(float(passed[-1])), dtype=float)
    else:
        marks = _unit_process(seed, float(passed[-1]))
    index = np.minimum(np.searchsorted(passed, marks, side="right") - 1, len(stretches) - 1)
    flowing = begins[index] + (marks - passed[index]) / rates[index]
    times = np.concatenate([*at_once, np.minimum(flowing, ends[index])])
    return np.asarray(times[times < schedule.until_s])


def _as_step(ramp: Ramp) -> Step:
    return Step(duration_s=ramp.duration_s, rate_per_s=(ramp.from_per_s + ramp.to_per_s) / 2)


def _along_ramp(ramp: Ramp, marks: Floats) -> Floats:
    """Solve a·t + (b − a)·t²/(2d) = mark for t: the root that starts at 0."""
    a, slope = ramp.from_per_s, (ramp.to_per_s - ramp.from_per_s) / ramp.duration_s
    if slope == 0:
        return marks / a
    root = np.sqrt(np.maximum(a * a + 2 * slope * marks, 0.0))
    return np.asarray(np.clip(2 * marks / np.maximum(a + root, 1e-300), 0.0, ramp.duration_s))
