"""What `meshlab metastability` finds, as data: the map of P(recovery), the ramp, and the course of single runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from lab.metastability import Experiment, Outcome, Policy, ramp_loads
from lab.recovery import HEALTHY, WINDOWS, Flow, Share, is_healthy, per_stretch

SHOWN: Final = ("scheduled", "budget")
"""The two policies of the ramp and of the courses, if both are in the map: one word apart, and worlds."""
COURSE_PARTS: Final = 6
"""Points of a course in each window: finer ones would show the chance of arrivals."""


@dataclass(frozen=True)
class Cell:
    """One policy at one load."""

    policy: str
    load: float
    calm: Share
    disturbed: Share
    recovery_s: tuple[float, ...]
    """Of the disturbed runs that came back, rising."""

    @property
    def metastable(self) -> bool:
        """Whether the trigger decides: the intervals of calm and disturbed runs lie apart."""
        return self.disturbed.ci95[1] < self.calm.ci95[0]

    @property
    def recovery_median_s(self) -> float | None:
        """The median time to recovery; None if no run came back."""
        return float(np.median(self.recovery_s)) if self.recovery_s else None

    def as_json(self) -> dict[str, Any]:
        """The cell as plain data."""
        median_s, most_s = self.recovery_median_s, max(self.recovery_s, default=None)
        return {
            "load": self.load,
            "disturbed": self.disturbed.as_json(),
            "calm": self.calm.as_json(),
            "metastable": self.metastable,
            "recovery_s": {
                "median": None if median_s is None else round(median_s, 6),
                "max": None if most_s is None else round(most_s, 6),
            },
        }


@dataclass(frozen=True)
class Map:
    """All cells, from as many trials as were finished."""

    experiment: Experiment
    policies: tuple[Policy, ...]
    loads: tuple[float, ...]
    outcomes: tuple[Outcome, ...]

    @cached_property
    def rows(self) -> dict[str, list[Cell]]:
        """By policy: its cells in the order of the loads."""
        return {policy.name: [self._cell(policy.name, load) for load in self.loads] for policy in self.policies}

    @cached_property
    def safe(self) -> dict[str, float]:
        """By policy: the load below which it comes back from anything."""
        return {policy.name: self.experiment.safe_load(policy) for policy in self.policies}

    @property
    def seeds(self) -> list[int]:
        """The seeds of the finished trials."""
        return sorted({outcome.trial.seed for outcome in self.outcomes})

    @cached_property
    def contrast(self) -> tuple[tuple[Policy, ...], float]:
        """Two policies to look at closely (one if there is only one), and the load that tells them apart best."""
        pair = tuple(policy for policy in self.policies if policy.name in SHOWN)
        if len(pair) < len(SHOWN):
            pair = self.policies if len(self.policies) == 1 else (self.policies[0], self.policies[-1])
        first, last = (self.rows[policy.name] for policy in (pair[0], pair[-1]))
        apart = [abs((a.disturbed.value or 0.0) - (b.disturbed.value or 0.0)) for a, b in zip(first, last, strict=True)]
        return pair, self.loads[int(np.argmax(apart))]

    def _cell(self, policy: str, load: float) -> Cell:
        here = [outcome for outcome in self.outcomes if outcome.trial.load == load]
        calm, disturbed = (
            Share(sum(verdicts[policy].healthy for verdicts in each), len(each))
            for each in ([one.calm for one in here], [one.disturbed for one in here])
        )
        took_s = [seconds for one in here if (seconds := one.disturbed[policy].recovery_s) is not None]
        return Cell(policy, load, calm, disturbed, tuple(sorted(took_s)))

    def as_json(self) -> dict[str, Any]:
        """The map as plain data."""
        experiment = self.experiment
        return {
            "scenario": experiment.scenario.name,
            "seeds": self.seeds,
            "capacity_per_s": round(experiment.capacity_per_s, 9),
            "run_s": experiment.run_s,
            "trigger_s": list(experiment.trigger_s),
            "window_s": experiment.window_s,
            "healthy_from": HEALTHY,
            "loads": list(self.loads),
            "policies": [
                {
                    "name": policy.name,
                    "settings": dict(policy.settings),
                    "safe_load": round(self.safe[policy.name], 9),
                    "cells": [cell.as_json() for cell in self.rows[policy.name]],
                }
                for policy in self.policies
            ],
        }


# ---- the ramp and the course of single runs --------------------------------------------------------------------------


@dataclass(frozen=True)
class Ramp:
    """The steps of a load that goes up and down again: how many tasks came and were completed in each, of `capacity`
    that all slots could have done.
    """

    policy: str
    loads: tuple[float, ...]
    came: tuple[int, ...]
    done: tuple[int, ...]
    capacity: float

    @classmethod
    def of(cls, policy: str, flow: Flow, experiment: Experiment) -> Ramp:
        """The ramp that a run of `Experiment.ramp` was."""
        loads, step_s = ramp_loads(), experiment.ramp_step_s
        came, done = (per_stretch(moments_s, step_s, len(loads)) for moments_s in (flow.arrived_s, flow.completed_s))
        return cls(policy, loads, came, done, step_s * experiment.capacity_per_s)

    @property
    def goodput(self) -> list[float]:
        """Tasks completed in each step, as a share of the capacity."""
        return [count / self.capacity for count in self.done]

    @property
    def top(self) -> int:
        """The number of the step at which the load turns."""
        return len(self.loads) // 2

    @property
    def falls_at(self) -> float | None:
        """The lowest load on the way up at which goodput is not healthy; None if it is at all of them."""
        return next((self.loads[step] for step in range(self.top + 1) if not self._healthy(step)), None)

    @property
    def returns_at(self) -> float | None:
        """The load on the way down from which on goodput stays healthy; None if it never does."""
        well = len(self.loads)
        while well > self.top and self._healthy(well - 1):
            well -= 1
        return self.loads[well] if well < len(self.loads) else None

    def _healthy(self, step: int) -> bool:
        return is_healthy(self.done[step], self.came[step])

    def as_json(self) -> dict[str, Any]:
        """The ramp as plain data: a column a count."""
        turns = {"falls_at": self.falls_at, "returns_at": self.returns_at}
        columns = {"loads": list(self.loads), "came": list(self.came), "done": list(self.done)}
        return {"policy": self.policy, "capacity": round(self.capacity, 9), **columns, **turns}


@dataclass(frozen=True)
class Course:
    """Rates over the time of one disturbed run, in tasks a second: means of stretches of `width_s` from `starts_s`."""

    policy: str
    load: float
    seed: int
    width_s: float
    starts_s: tuple[float, ...]
    arrived_per_s: tuple[float, ...]
    tried_per_s: tuple[float, ...]
    """Attempts that ended, in vain or not: what the slots were busy with."""
    completed_per_s: tuple[float, ...]

    @classmethod
    def of(cls, policy: str, load: float, seed: int, flow: Flow, experiment: Experiment) -> Course:
        """The course of a run of `Experiment.disturbed`."""
        width_s, parts = experiment.window_s / COURSE_PARTS, WINDOWS * COURSE_PARTS
        starts_s = tuple(width_s * part for part in range(parts))
        arrived, tried, completed = (
            tuple(count / width_s for count in per_stretch(moments_s, width_s, parts))
            for moments_s in (flow.arrived_s, flow.tried_s, flow.completed_s)
        )
        return cls(policy, load, seed, width_s, starts_s, arrived, tried, completed)

    def as_json(self) -> dict[str, Any]:
        """The course as plain data: a column a rate."""
        columns = ("starts_s", "arrived_per_s", "tried_per_s", "completed_per_s")
        points = {name: [round(value, 9) for value in getattr(self, name)] for name in columns}
        return {"policy": self.policy, "load": self.load, "seed": self.seed, "width_s": self.width_s, **points}


@dataclass(frozen=True)
class Study:
    """All that was found; without ramps and courses if it was stopped before them."""

    map: Map
    ramps: tuple[Ramp, ...] = ()
    courses: tuple[Course, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The study as plain data."""
        ramps, courses = ([one.as_json() for one in each] for each in (self.ramps, self.courses))
        return {**self.map.as_json(), "ramps": ramps, "courses": courses}
