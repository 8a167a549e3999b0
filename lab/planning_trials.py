"""Runs of the model for a plan, on all cores: every candidate meets the same tasks and draws, seed by seed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import numpy as np

from lab import limits, metrics
from lab.draws import Floats
from lab.errors import UsageError
from lab.planning_candidates import Candidate
from lab.planning_objectives import Figure, Objectives
from lab.progress import OnProgress, Progress, Stop
from lab.replicate import Cores, Simulate, affordable
from lab.scenario import Scenario
from lab.traffic import busier
from lab.workload import Plan

if TYPE_CHECKING:
    from lab.record import Record

AS_IT_COMES: Final = 1.0
"""The load factor of a scenario as it was written."""


class Case(NamedTuple):
    """What is measured: a mesh under so many times the load."""

    candidate: Candidate
    factor: float = AS_IT_COMES


class Question(NamedTuple):
    """One run: replication `number` (from 0) of a case."""

    case: Case
    number: int


@dataclass(frozen=True, eq=False)
class Trial:
    """What one run showed. Columns hold a value a task, infinite where the task never came so far."""

    question: Question
    tasks: int
    latency_s: Floats | None
    """None where no objective asks for it."""
    queue_wait_s: Floats | None
    drain_s: float
    dead_share: float
    rss_bytes: float
    """NaN where no worker ever reported."""
    attempts: int
    failed_checks: tuple[str, ...]


def scenario_of(scenario: Scenario, case: Case, number: int = 0) -> Scenario:
    """The scenario of a case, as replication `number`."""
    return busier(scenario, case.factor).override({**case.candidate.settings(), "seed": scenario.seed + number})


def run(
    simulate: Simulate, scenario: Scenario, columns: frozenset[str], question: Question, stop: Stop
) -> Trial | None:
    """One run; None if it was stopped before its end."""
    record = simulate(scenario_of(scenario, *question), stop=stop)
    return None if record.info.get("interrupted") else of_record(record, columns, question)


def of_record(record: Record, columns: frozenset[str], question: Question) -> Trial:
    """What a record of either engine shows."""
    tasks, summary = record.tasks, record.info["summary"]
    after_s = float(tasks["done_s"].max() - tasks["arrival_s"].max())
    peak = summary["rss_bytes"]["peak"]
    return Trial(
        question,
        len(tasks),
        _column(record, "latency_s", columns),
        _column(record, "queue_wait_s", columns),
        math.inf if record.info.get("stalled") or math.isnan(after_s) else max(0.0, after_s),
        summary["tasks"]["dead"] / len(tasks),
        math.nan if peak is None else float(peak),
        int(summary["tasks"]["attempts"]),
        tuple(record.info["checks"]["failed"]),
    )


def _column(record: Record, name: str, columns: frozenset[str]) -> Floats | None:
    if name not in columns:
        return None
    found = metrics.seconds(record.tasks, name)
    return np.where(np.isnan(found), np.inf, found)


def column_names(figures: tuple[Figure, ...]) -> frozenset[str]:
    """The columns that percentiles among these figures are read off."""
    return frozenset(figure.column for figure in figures if figure.share is not None)


class Bench:
    """Makes the runs and keeps what they showed. A context, since its processes last as long as it does."""

    def __init__(
        self,
        simulate: Simulate,
        scenario: Scenario,
        objectives: Objectives,
        expected_runs: int,
        *,
        cores: int | None,
        on_progress: OnProgress,
        stop: Stop,
    ) -> None:
        """`expected_runs` is a guess at all the runs to come, for the progress.

        Raises UsageError if the first looks alone would have more tasks than can be held.
        """
        columns = column_names(objectives.figures)
        tasks = Plan(scenario).count
        if expected_runs * tasks * max(1, len(columns)) > limits.PLAN_VALUES_MAX:
            raise UsageError(
                f"{scenario.name}: some {expected_runs:,} runs of {tasks:,} tasks are more than the "
                f"{limits.PLAN_VALUES_MAX:,} times of tasks that a plan can hold; give it a shorter stretch of the "
                "load (arrivals.count, duration_s or limit), or fewer --slots, --policies or --replications"
            )
        affordable(scenario, 1)
        self.stop = stop
        self.runs = 0
        self._expected = expected_runs
        self._on_progress = on_progress
        self._started = time.monotonic()
        self._kept: dict[Case, dict[int, Trial]] = {}
        self._cores = Cores[Question, Trial | None](partial(run, simulate, scenario, columns), expected_runs, cores)

    def __enter__(self) -> Self:
        self._cores.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cores.__exit__(kind, error, trace)

    def measure(self, wanted: Mapping[Case, int], note: str) -> bool:
        """Make what is missing of so many replications of each case. False if it was stopped."""
        asked = [
            Question(case, number)
            for case, upto in wanted.items()
            for number in range(upto)
            if number not in self._kept.setdefault(case, {})
        ]
        before = self.runs
        self._expected = max(self._expected, before + len(asked))

        def told(one: Progress) -> None:
            wall_s = time.monotonic() - self._started
            self._on_progress(Progress("sim", before + one.done, self._expected, 0.0, wall_s, note))

        for trial in self._cores.run(asked, on_progress=told, stop=self.stop):
            if trial is not None:
                self._kept[trial.question.case][trial.question.number] = trial
                self.runs += 1
        return not self.stop()

    def trials(self, case: Case) -> list[Trial]:
        """What is known of a case, in the order of the seeds; without gaps, so that pairs stay pairs."""
        kept = self._kept.get(case, {})
        whole = next(number for number in range(len(kept) + 1) if number not in kept)
        return [kept[number] for number in range(whole)]
