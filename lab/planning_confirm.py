"""The winner of a plan on the real thing: whether this machine can bear it, and what a live run says of the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab import limits, profile, units
from lab.errors import Interrupted
from lab.limits import MIB
from lab.planning_answer import Answer
from lab.planning_measured import Measured, number, of_trial
from lab.planning_objectives import Figure
from lab.planning_trials import Case, Question, column_names, of_record
from lab.progress import OnProgress, Stop, ignore, never
from lab.replicate import Simulate, core_count
from lab.scenario import Scenario
from lab.statistics import student_t
from lab.workload import Plan

if TYPE_CHECKING:
    from lab.record import Record


@dataclass(frozen=True)
class Line:
    """A figure of the live run beside its bound and what the model expects."""

    figure: Figure
    live: float
    most: float | None
    """The bound; None if it has none."""
    model: float
    """The model's run of the very same tasks."""
    expected: tuple[float, float] | None
    """Where 95 of 100 runs with chance of their own would be, by the model's replications; None if chance has no part,
    or if a run of the model never came so far.
    """

    @property
    def met(self) -> bool:
        """Whether the live run meets the bound."""
        return self.most is None or self.live <= self.most

    @property
    def as_expected(self) -> bool:
        """Whether the live figure is where the model expects it."""
        return self.expected is None or self.expected[0] <= self.live <= self.expected[1]

    @property
    def words(self) -> str:
        """`p99 latency 4.9 s live (bound 5 s: met); the model had 4.7 s on the same tasks and expects 4.2 to 5.3 s`."""
        shown, figure = self.figure.shown, self.figure
        bound = "" if self.most is None else f" (bound {shown(self.most)}: {'met' if self.met else 'BROKEN'})"
        said = f"{figure.words} {shown(self.live)} live{bound}; the model had {shown(self.model)} on the same tasks"
        if self.expected is None:
            return said
        but = "" if self.as_expected else ", where it is not"
        return f"{said} and expects {units.interval(*map(shown, self.expected))}{but}"

    def as_json(self) -> dict[str, Any]:
        """The line as plain data."""
        return {
            "figure": self.figure.name,
            "live": number(self.live),
            "most": self.most,
            "met": self.met,
            "model": number(self.model),
            "expected": None if self.expected is None else [number(bound) for bound in self.expected],
            "as_expected": self.as_expected,
            "words": self.words,
        }


@dataclass(frozen=True)
class Confirmation:
    """What a live run said; or, without one, why there is none."""

    lines: tuple[Line, ...] = ()
    failed_checks: tuple[str, ...] = ()
    why_not: str | None = None
    record: str | None = None
    """Where the record of the live run is kept."""
    stopped: bool = False

    @property
    def broken(self) -> bool:
        """Whether the live run broke an objective or a check."""
        return bool(self.failed_checks) or not all(line.met for line in self.lines)

    @property
    def words(self) -> list[str]:
        """The verdict, and a line a figure."""
        return list(self._words())

    def _words(self) -> Iterator[str]:
        if self.why_not is not None:
            yield f"Not confirmed live: {self.why_not}."
            return
        yield (
            "NOT confirmed: the live run breaks it." if self.broken else "Confirmed: a live run meets every objective."
        )
        yield from (f"{line.words}." for line in self.lines)
        if self.failed_checks:
            yield f"The live run broke the checks {', '.join(self.failed_checks)}."

    def as_json(self) -> dict[str, Any]:
        """The confirmation as plain data."""
        return {
            "done": self.why_not is None,
            "why_not": self.why_not,
            "ok": None if self.why_not is not None else not self.broken,
            "lines": [line.as_json() for line in self.lines],
            "failed_checks": list(self.failed_checks),
            "record": self.record,
            "words": self.words,
        }


def confirm(
    run_live: Simulate, answer: Answer, *, on_progress: OnProgress = ignore, stop: Stop = never
) -> tuple[Confirmation, Record]:
    """Run the winner live, on the tasks of its first replication. Raises Interrupted if it was stopped, and what
    `run_live` raises; ask `why_not` first.
    """
    winner = answer.winner
    assert winner is not None, "there is nothing to confirm"
    record = run_live(answer.chosen, on_progress=on_progress, stop=stop)
    if record.info.get("interrupted"):
        raise Interrupted(f"{answer.scenario.name}: the live run was stopped; the plan stands, unconfirmed")
    figures = answer.objectives.figures
    trial = of_record(record, column_names(figures), Question(Case(winner.candidate), 0))
    bounds = {one.figure.name: one.most for one in answer.objectives}
    lines = tuple(
        Line(one, of_trial(one, trial), bounds.get(one.name), winner.runs[one.name][0], expected(winner.runs[one.name]))
        for one in figures
    )
    return Confirmation(lines, trial.failed_checks), record


def expected(runs: tuple[float, ...]) -> tuple[float, float] | None:
    """Where a further run is with 95 %: mean ± t·s·√(1 + 1/n), never below 0 (Hahn and Meeker, Statistical Intervals,
    1991, chapter 4). A single run says nothing of it.
    """
    count, values = len(runs), np.array(runs)
    if count < 2 or not np.isfinite(values).all():
        return None
    half = student_t(count - 1) * float(values.std(ddof=1)) * math.sqrt(1 + 1 / count)
    middle = float(values.mean())
    return max(0.0, middle - half), middle + half


# ---- whether it fits -------------------------------------------------------------------------------------------------


def why_not(answer: Answer, free_bytes: int | None = None, cores: int | None = None) -> str | None:
    """Why this machine cannot run the winner live, in words; None if nothing speaks against it.

    `free_bytes` and `cores` are this machine's unless told.
    """
    winner = answer.winner
    if winner is None:
        return "no mesh meets the objectives"
    scenario, workers = answer.chosen, winner.candidate.workers
    if workers > limits.LIVE_WORKERS_MAX:
        return f"{workers:,} workers are more than the {limits.LIVE_WORKERS_MAX} processes that a live run starts"
    if answer.offered.tasks > limits.PLAN_CONFIRM_TASKS_MAX:
        return f"{answer.offered.tasks:,} tasks are more than the {limits.PLAN_CONFIRM_TASKS_MAX:,} of a confirmation"
    if winner.run_s > limits.PLAN_CONFIRM_S_MAX:
        return (
            f"a run takes {units.seconds(winner.run_s)}, longer than {units.seconds(limits.PLAN_CONFIRM_S_MAX)}; "
            "plan with a shorter stretch of the load, or start it with meshlab run --engine live"
        )
    return _memory(scenario, winner, _free_bytes() if free_bytes is None else free_bytes) or _processor(
        scenario, winner, cores or core_count()
    )


def _memory(scenario: Scenario, winner: Measured, free_bytes: int) -> str | None:
    """Every worker has its base, and in the worst case a task of the largest role in every slot."""
    largest_mib = max(role.memory_mib for role in scenario.workload.roles.values())
    costs = profile.load(scenario.profile, scenario.base).memory
    base = costs.fresh_bytes or profile.load("default").memory.fresh_bytes
    held = min(largest_mib * winner.candidate.slots, scenario.rules.health.rss_limit_mib) * MIB
    needed = winner.candidate.workers * (base + held)
    if needed <= limits.PLAN_CONFIRM_MEMORY_SHARE_MAX * free_bytes:
        return None
    return (
        f"{units.plural(winner.candidate.workers, 'worker')} may need {units.size(needed)}, and "
        f"{units.size(free_bytes)} are free here"
    )


def _processor(scenario: Scenario, winner: Measured, cores: int) -> str | None:
    """What the tasks burn, and what the machinery needs for each of them at the very least."""
    plan, costs = Plan(scenario), profile.load("default")
    roles = list(scenario.workload.roles.values())
    shares = np.array([role.cpu_share for role in roles])[np.asarray(plan.role)]
    burnt_s = float((np.array(plan.column("service", 1)) * shares).sum())
    steps = (costs.submit, costs.fetch, costs.claim, costs.settle)
    each_s = sum(step.loop_task_s + step.database_task_s for step in steps)
    busy = (burnt_s + plan.count * each_s) / (winner.run_s * cores) if winner.run_s > 0 else math.inf
    if busy <= limits.PLAN_CONFIRM_BUSY_MAX:
        return None
    return (
        f"the tasks need {busy * cores:.2g} cores of {cores}; one would measure this machine, not the mesh "
        "(a machine with more cores can confirm it)"
    )


def _free_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
