"""How far a mesh is from the cliff: by how much its load may grow before it breaks an objective.

The load is raised and halved to the place where the worst figure passes its bound, with the same seeds all along. In
between the figures are interpolated; leaving out one replication at a time says how far the place may be off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from lab import statistics
from lab.errors import ScenarioError
from lab.paired import GROUPS_MAX
from lab.planning_candidates import Candidate
from lab.planning_measured import number, of_trials_value
from lab.planning_objectives import Objective, Objectives
from lab.planning_trials import AS_IT_COMES, Bench, Case, Trial
from lab.scenario import Scenario
from lab.statistics import Estimate
from lab.traffic import busier

GROWTH: Final = 1.5
"""The load is raised by steps of this factor until something breaks."""
FACTOR_MAX: Final = 12.0
"""A mesh that bears more than that is far from any cliff."""
WITHIN: Final = 1.03
"""The place is looked for until it lies between two loads that are this far apart."""
REPLICATIONS: Final = 20
"""Of each load, or as many as the winner has if those are fewer."""
STRAIN_MAX: Final = 10.0
"""A figure that is more than ten times its bound is simply broken: how much more says nothing of where it broke."""


@dataclass(frozen=True)
class Margin:
    """The load, as a multiple of what comes, at which the mesh breaks an objective."""

    factor: Estimate
    breaks: str | None
    """The name of the figure that breaks there; None where it held up to `factor`, the most that was tried."""
    replications: int
    tried: tuple[tuple[float, float], ...]
    """(load, worst figure as a share of its bound), rising."""
    note: str = ""

    @property
    def words(self) -> str:
        """`breaks p99 latency at +18 % load (95 % interval +15 to +21 %)`."""
        if self.breaks is None:
            return f"holds up to {_growth(self.factor.value)} load{self.note}"
        if self.factor.ci95 is None:
            after = next(place for place, (_, strain) in enumerate(self.tried) if strain > 1)
            low, high = (_growth(self.tried[max(0, place)][0]) for place in (after - 1, after))
            return f"breaks between {low.removesuffix(' %')} and {high} load"
        low, high = (_growth(bound) for bound in self.factor.ci95)
        return f"breaks at {_growth(self.factor.value)} load (95 % interval {low.removesuffix(' %')} to {high})"

    def as_json(self) -> dict[str, Any]:
        """Factors are multiples of the load as it comes."""
        ci95 = None if self.factor.ci95 is None else [number(bound) for bound in self.factor.ci95]
        return {
            "factor": number(self.factor.value),
            "ci95": ci95,
            "breaks": self.breaks,
            "words": self.words,
            "replications": self.replications,
            "tried": [{"factor": round(at, 9), "strain": number(strain)} for at, strain in self.tried],
        }


def _growth(factor: float) -> str:
    return f"{100 * (factor - 1):+.0f} %".replace("-", "−")


def margin(
    bench: Bench, scenario: Scenario, candidate: Candidate, objectives: Objectives, replications: int
) -> Margin | None:
    """The margin of a candidate that meets the objectives; None if it was stopped."""
    wanted = min(REPLICATIONS, replications)
    seen: dict[float, list[Trial]] = {}

    def breaks(factor: float) -> bool | None:
        note = f"how much more load {candidate.words} bear: {_growth(factor)}"
        if not bench.measure({Case(candidate, factor): wanted}, note):
            return None
        seen[factor] = bench.trials(Case(candidate, factor))[:wanted]
        return _strain(objectives, seen[factor]) > 1

    low, high, note = AS_IT_COMES, math.inf, ""
    at = low
    while math.isinf(high) or high / low > WITHIN:
        if broken := breaks(at):
            high = at
            if high == AS_IT_COMES:  # by the fewer replications that are made here; those of the winner say otherwise
                break
        elif broken is None:
            return None
        else:
            low = at
        if math.isfinite(high):
            at = math.sqrt(low * high)
        elif low >= FACTOR_MAX or not _can_be(scenario, low * GROWTH):
            note = "" if low >= FACTOR_MAX else "; more would be more tasks than a run can hold"
            break
        else:
            at = low * GROWTH
    return _placed(objectives, seen, wanted, note)


def _can_be(scenario: Scenario, factor: float) -> bool:
    try:
        busier(scenario, factor)
    except ScenarioError:
        return False
    return True


def _placed(objectives: Objectives, seen: dict[float, list[Trial]], wanted: int, note: str) -> Margin:
    """The place, with its interval, from all loads that were tried."""
    factors = sorted(seen)
    strains = [_strain(objectives, seen[factor]) for factor in factors]
    tried = tuple(zip(factors, strains, strict=True))
    if max(strains) <= 1:
        return Margin(Estimate(factors[-1], None), None, wanted, tried, note)
    groups = np.array_split(np.arange(wanted), min(wanted, GROUPS_MAX))
    place = partial(_without, objectives, [seen[factor] for factor in factors], factors, groups)
    whole, contributions = statistics.pseudo_values(len(groups), place)
    found = statistics.of_contributions(whole, contributions)
    after = next(index for index, strain in enumerate(strains) if strain > 1)
    if strains[after] > STRAIN_MAX:  # it breaks at one blow, so nothing can be read off in between
        found = Estimate(math.sqrt(factors[max(0, after - 1)] * factors[after]), None)
    worst = max(objectives, key=lambda one: _strained(one, seen[factors[after]]))
    return Margin(found, worst.figure.name, wanted, tried)


def _without(
    objectives: Objectives,
    trials: Sequence[Sequence[Trial]],
    factors: Sequence[float],
    groups: Sequence[Any],
    left_out: int | None,
) -> float:
    """The place if one group of replications had not been made."""
    kept = [index for place, group in enumerate(groups) if place != left_out for index in group]
    return crossing(factors, [_strain(objectives, [each[index] for index in kept]) for each in trials])


def crossing(factors: Sequence[float], strains: Sequence[float]) -> float:
    """The factor at which the strain first passes 1, by the straight line between the two points around it. Before the
    first of them that line goes on; beyond the last the last factor is all that is known.
    """
    capped = np.minimum(strains, STRAIN_MAX)
    over = np.flatnonzero(capped > 1)
    if len(over) == 0 or len(factors) == 1:
        return factors[-1]
    after = max(1, int(over[0]))
    rise = float(capped[after] - capped[after - 1])
    if rise <= 0:  # broken from the first load on, and no worse at the second
        return factors[0]
    at = factors[after] - (capped[after] - 1) * (factors[after] - factors[after - 1]) / rise
    return max(0.0, float(at))


def _strain(objectives: Objectives, trials: Sequence[Trial]) -> float:
    return max(_strained(one, trials) for one in objectives)


def _strained(objective: Objective, trials: Sequence[Trial]) -> float:
    value = of_trials_value(objective.figure, trials)
    return math.inf if math.isnan(value) else objective.strain(value)
