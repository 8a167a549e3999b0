"""The cheapest mesh that meets objectives: the capacity planner of `meshlab plan`, of the app and of notebooks.

    from lab.planning import Objectives, plan
    from simulation import simulate
    plan(simulate, scenario, Objectives(p99_s=5, dead_share=0.001))

It searches workers × slots × retry policy over the model. Every candidate meets the same tasks and draws (seeds seed,
seed + 1, …), so what tells two of them apart is not luck. docs/PLANNING.md says how, and how far it may be trusted.
"""

from __future__ import annotations

import time

from lab import limits
from lab.errors import Interrupted, UsageError
from lab.planning_answer import Answer as Answer
from lab.planning_answer import Fewer, Space
from lab.planning_candidates import Candidates as Candidates
from lab.planning_candidates import Line, Offered, lines
from lab.planning_margin import Margin, margin
from lab.planning_measured import Measured, difference
from lab.planning_objectives import Objectives as Objectives
from lab.planning_objectives import Prices as Prices
from lab.planning_search import REPLICATIONS, Search, expected_runs
from lab.planning_trials import Bench, Case
from lab.progress import OnProgress, Stop, ignore, never
from lab.replicate import Simulate
from lab.scenario import Scenario


def plan(
    simulate: Simulate,
    scenario: Scenario,
    objectives: Objectives,
    candidates: Candidates | None = None,
    prices: Prices | None = None,
    replications: int = REPLICATIONS,
    *,
    with_margin: bool = True,
    cores: int | None = None,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
) -> Answer:
    """The cheapest mesh for the scenario's tasks under these objectives; `replications` are the most of a candidate.

    Stopped early, it has what was found until then; Interrupted if nothing was. Raises UsageError for a scenario of
    which no one mesh can be planned, for no candidates, and for more runs than can be held.
    """
    prices, started = prices or Prices(), time.monotonic()
    offered = Offered.of(scenario)
    found = lines(scenario, candidates or Candidates(), objectives, offered)
    _demand_room(found)
    bench = Bench(
        simulate,
        scenario,
        objectives,
        expected_runs(found, replications),
        cores=cores,
        on_progress=on_progress,
        stop=stop,
    )
    with bench:
        search = Search(bench, found, objectives, prices, offered, replications)
        whole = search.run()
        if not search.known:
            raise Interrupted(f"{scenario.name}: stopped before the first candidate had been looked at")
        winner, cliff = search.winner, None
        if whole and winner is not None and with_margin:
            cliff = margin(bench, scenario, winner.candidate, objectives, winner.replications)
        return Answer(
            scenario,
            objectives,
            prices,
            offered,
            Space.of(found, search.dropped, search.first),
            tuple(search.ranked),
            winner,
            cliff,
            _fewer(search, winner),
            bench.runs,
            search.search_runs,
            exact=search.exact,
            interrupted=stop(),
            wall_s=time.monotonic() - started,
        )


def _demand_room(found: list[Line]) -> None:
    count = sum(len(line.workers) for line in found)
    if count > limits.PLAN_CANDIDATES_MAX:
        raise UsageError(
            f"{count:,} candidates are more than the {limits.PLAN_CANDIDATES_MAX:,} among which a plan may search; "
            "narrow --workers, --slots or --policies"
        )


def _fewer(search: Search, winner: Measured | None) -> Fewer | None:
    """The winner with the next smaller number of workers, if that was measured."""
    if winner is None:
        return None
    line = [one for one in search.known.values() if one.candidate.line == winner.candidate.line]
    smaller = [one for one in line if one.candidate.workers < winner.candidate.workers]
    if not smaller:
        return None
    next_to = max(smaller, key=lambda one: one.candidate.workers)
    ours, theirs = (search.bench.trials(Case(one.candidate)) for one in (winner, next_to))
    return Fewer(next_to, difference(search.objectives.leading, ours, theirs))


__all__ = ["Answer", "Candidates", "Margin", "Objectives", "Prices", "plan"]
