"""What the runs say of one mesh: its figures with their intervals, what it costs, and whether it meets the objectives.

Feasible is what meets every bound with the upper end of its 95 % interval, not with its value alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np

from lab import statistics
from lab.paired import GROUPS_MAX
from lab.planning_candidates import Candidate, Offered
from lab.planning_objectives import Figure, Objective, Objectives, Prices, of_run, of_runs
from lab.planning_trials import Trial
from lab.recovery import wilson
from lab.statistics import Estimate


class Verdict(IntEnum):
    """How sure it is that an objective is met, from 0 (it is not)."""

    NO = 0
    UNLIKELY = 1
    PROBABLY = 2
    SURE = 3

    @property
    def words(self) -> str:
        """For people."""
        return VERDICTS[self]

    @property
    def open(self) -> bool:
        """Whether more runs may change it."""
        return self in (Verdict.UNLIKELY, Verdict.PROBABLY)


VERDICTS: Final = {
    Verdict.NO: "no",
    Verdict.UNLIKELY: "probably not",
    Verdict.PROBABLY: "probably",
    Verdict.SURE: "yes",
}


def verdict(objective: Objective, found: Estimate, met: int = 0) -> Verdict:
    """Where the interval lies against the bound; without an interval (the runs differ too much for one) nothing is
    sure, but what none of the runs `met` is not met.
    """
    if not objective.met(found.value):
        if found.ci95 is None:
            hopeless = met == 0 or not math.isfinite(found.value)
        else:
            hopeless = not objective.met(found.ci95[0])
        return Verdict.NO if hopeless else Verdict.UNLIKELY
    return Verdict.SURE if found.ci95 is not None and objective.met(found.ci95[1]) else Verdict.PROBABLY


@dataclass(frozen=True)
class Met:
    """So many of so many replications met it."""

    met: int
    runs: int

    @property
    def ci95(self) -> tuple[float, float]:
        """The interval of the probability that a run meets it (Wilson)."""
        return wilson(self.met, self.runs)

    def as_json(self) -> dict[str, Any]:
        """`{met, runs, p, p_ci95}`."""
        p = round(self.met / self.runs, 9) if self.runs else None
        return {"met": self.met, "runs": self.runs, "p": p, "p_ci95": [round(one, 9) for one in self.ci95]}


@dataclass(frozen=True)
class Measured:
    """A candidate after some replications. Figures by their names."""

    candidate: Candidate
    cost: float
    """An hour of it, attempts included."""
    replications: int
    figures: Mapping[str, Estimate]
    verdicts: Mapping[str, Verdict]
    """By the figure of the objective."""
    met: Mapping[str, Met]
    met_all: Met
    runs: Mapping[str, tuple[float, ...]]
    """Each figure of each replication, in the order of the seeds."""
    run_s: float
    """How long a run takes on average, from the first arrival to the end of the last task."""
    failed_checks: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Of all objectives together: the worst. A run that breaks a check of the lab is no answer to anything."""
        return Verdict.NO if self.failed_checks else min(self.verdicts.values())

    @property
    def meets(self) -> bool:
        """Whether it meets the objectives as far as is known."""
        return self.verdict >= Verdict.PROBABLY

    def rank(self, leading: Figure) -> tuple[float, float, Candidate]:
        """The cheapest first, then the fastest."""
        return round(self.cost, 9), self.figures[leading.name].value, self.candidate

    def as_json(self) -> dict[str, Any]:
        """The candidate as plain data; figures in s, share or bytes, null where one is never reached."""
        return {
            **self.candidate._asdict(),
            "cost_per_h": round(self.cost, 9),
            "verdict": self.verdict.words,
            "replications": self.replications,
            "figures": {name: as_json(one) for name, one in self.figures.items()},
            "objectives": {
                name: {"verdict": one.words, **self.met[name].as_json()} for name, one in self.verdicts.items()
            },
            "met_all": self.met_all.as_json(),
            "failed_checks": list(self.failed_checks),
        }


def as_json(found: Estimate) -> dict[str, Any]:
    """`{value, ci95}`; null for what is infinite or unknown."""
    ci95 = None if found.ci95 is None else [number(bound) for bound in found.ci95]
    return {"value": number(found.value), "ci95": ci95}


def number(value: float) -> float | None:
    """For JSON: nine decimals, None for what is no finite number."""
    return round(value, 9) if math.isfinite(value) else None


def measured(
    candidate: Candidate,
    trials: Sequence[Trial],
    objectives: Objectives,
    prices: Prices,
    offered: Offered,
    *,
    exact: bool = False,
) -> Measured:
    """What these runs, one at least, say of a candidate; `exact` where all runs of it are the same."""
    figures = {figure.name: of_trials(figure, trials) for figure in objectives.figures}
    if not offered.retries and "dead" in figures:  # nothing can fail, so there is nothing to be unsure of
        figures["dead"] = Estimate(figures["dead"].value, (figures["dead"].value, figures["dead"].value))
    if exact:
        figures = {name: Estimate(found.value, (found.value, found.value)) for name, found in figures.items()}
    runs = {figure.name: tuple(of_trial(figure, trial) for trial in trials) for figure in objectives.figures}
    met = {one.figure.name: [one.met(value) for value in runs[one.figure.name]] for one in objectives}
    whole = np.array(list(met.values())).all(axis=0)
    attempts_per_h = float(np.mean([trial.attempts for trial in trials])) / offered.hours
    return Measured(
        candidate,
        prices.an_hour(candidate.workers, candidate.slots, attempts_per_h),
        len(trials),
        figures,
        {one.figure.name: verdict(one, figures[one.figure.name], sum(met[one.figure.name])) for one in objectives},
        {name: Met(sum(each), len(each)) for name, each in met.items()},
        Met(int(whole.sum()), len(trials)),
        runs,
        offered.span_s + float(np.mean([trial.drain_s for trial in trials])),
        tuple(sorted({name for trial in trials for name in trial.failed_checks})),
    )


def of_trial(figure: Figure, trial: Trial) -> float:
    """The figure of one run."""
    return of_run(figure, getattr(trial, figure.column))


def of_trials(figure: Figure, trials: Sequence[Trial]) -> Estimate:
    """The figure of all these runs."""
    return of_runs(figure, [getattr(trial, figure.column) for trial in trials], sum(trial.tasks for trial in trials))


def difference(figure: Figure, ours: Sequence[Trial], theirs: Sequence[Trial]) -> Estimate | None:
    """Theirs − ours, over the replications that both have: what luck does to both cancels (see lab/paired.py). None
    where one of them is infinite, or there are less than two pairs.
    """
    pairs = list(zip(ours, theirs, strict=False))
    if len(pairs) < 2:
        return None
    groups = np.array_split(np.arange(len(pairs)), min(len(pairs), GROUPS_MAX))

    def apart(left_out: int | None) -> float:
        kept = [pairs[index] for number, group in enumerate(groups) if number != left_out for index in group]
        first, second = (of_trials_value(figure, [pair[side] for pair in kept]) for side in (0, 1))
        return second - first if math.isfinite(first) and math.isfinite(second) else math.nan

    whole, contributions = statistics.pseudo_values(len(groups), apart)
    if math.isnan(whole) or np.isnan(contributions).any():
        return None
    return statistics.of_contributions(whole, contributions)


def of_trials_value(figure: Figure, trials: Sequence[Trial]) -> float:
    """The figure of all these runs, without its interval."""
    values = [getattr(trial, figure.column) for trial in trials]
    return float(np.mean(values)) if figure.share is None else of_run(figure, np.concatenate(values))
