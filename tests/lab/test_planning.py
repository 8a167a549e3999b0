"""The capacity planner: answers known from theory, the same by bisection as by trying all, honest intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.errors import Interrupted, UsageError
from lab.planning import Answer, Candidates, Objectives, Prices, plan
from lab.planning_candidates import Candidate, Line, Offered, lines, policies
from lab.planning_margin import crossing
from lab.planning_measured import Verdict, verdict
from lab.planning_objectives import FIGURES, Objective, of_run, of_runs
from lab.planning_search import Bisection
from lab.queueing import MMc
from lab.scenario import Scenario
from lab.statistics import Estimate
from lab.traffic import busier
from simulation import simulate

MMC = """\
name: mmc
seed: 2000
workload:
  arrivals: {kind: poisson, rate_per_s: 4, count: 1000}
  roles: {A: {service: {dist: exponential, mean_s: 1.0}}}
mesh: {workers: 1, slots: 1}
profile: ideal
rules: {health: {report_s: 600}}
"""
BURST = """\
name: burst
seed: 3
workload:
  arrivals: {kind: burst, count: 60}
  roles: {A: {service: {dist: constant, mean_s: 1.0}}}
profile: ideal
"""
FAILING = """\
name: failing
seed: 3
workload:
  arrivals: {kind: poisson, rate_per_s: 20, count: 300}
  roles: {A: {service: {dist: constant, mean_s: 0.2}, failure_rate: 0.1}}
rules: {retry: {base_s: 0.1, max_retries: 3}}
profile: ideal
"""


def planned(text: str, objectives: Objectives, **more: Any) -> Answer:
    """A plan in this process."""
    return plan(simulate, Scenario.parse(text), objectives, **{"cores": 1, "with_margin": False, **more})


# ---- answers that are known ------------------------------------------------------------------------------------------


def test_the_fewest_servers_of_an_mmc_are_found_and_its_margin_is_that_of_theory() -> None:
    # λ = 4/s, E[S] = 1 s. The exact p99 of the queue wait: 5 servers 4.01 s, 6 servers 1.67 s, 7 servers 0.87 s.
    exact = {servers: MMc(4, 1, servers).wait_quantile_s(0.99) for servers in (5, 6, 7)}
    bound_s = 2.2
    assert exact[6] < bound_s < exact[5]
    answer = planned(
        MMC,
        Objectives(queue_wait_p99_s=bound_s),
        candidates=Candidates(range(4, 9), [1]),
        replications=16,
        with_margin=True,
    )
    assert answer.winner is not None and answer.winner.candidate == Candidate(6, 1, "as-written")
    low, high = answer.winner.figures["queue_wait_p99"].ci95 or (math.inf, -math.inf)
    assert low * 0.95 <= exact[6] <= high * 1.05  # 16 runs of 1,000 tasks
    assert answer.fewer is not None and answer.fewer.measured.verdict is Verdict.NO
    later = answer.fewer.later
    assert later is not None and later.ci95 is not None and later.ci95[0] > 0

    theory = factor_of(lambda f: MMc(4 * f, 1, 6).wait_quantile_s(0.99) - bound_s)
    margin = answer.margin
    assert margin is not None and margin.factor.ci95 is not None and margin.breaks == "queue_wait_p99"
    low, high = margin.factor.ci95
    assert low - 0.03 <= theory <= high + 0.03, (theory, margin)  # one interval in twenty just misses
    assert "breaks at +" in margin.words and "95 % interval" in margin.words


def factor_of(excess: Callable[[float], float]) -> float:
    """Where it passes 0 between 1 and 1.49 (just below ρ = 1 of 6 servers)."""
    low, high = 1.0, 1.49
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return low


def test_a_burst_needs_as_many_slots_as_its_drain_allows() -> None:
    # 60 tasks of 1 s: in 4 s 15 slots do them, in 3.99 s they would take 20 (three rounds).
    for drain_s, slots in ((4.0, 15), (3.99, 20), (1.0, 60)):
        answer = planned(BURST, Objectives(drain_s=drain_s), candidates=Candidates(slots=[5]), replications=2)
        assert answer.winner is not None and answer.winner.candidate.workers * 5 == slots
        figures = answer.winner.figures
    assert answer.exact and figures["drain"] == Estimate(1.0, (1.0, 1.0))
    assert "left to chance" in " ".join(answer.words)


def test_costs_decide_between_workers_and_slots() -> None:
    objectives, candidates = Objectives(drain_s=4.0), Candidates(slots=[1, 3, 5])
    for prices, mesh in ((Prices(worker=1), (3, 5)), (Prices(worker=1, slot=2), (3, 5)), (Prices(0, 1), (3, 5))):
        winner = planned(BURST, objectives, candidates=candidates, prices=prices, replications=2).winner
        assert winner is not None and (winner.candidate.workers, winner.candidate.slots) == mesh
        assert winner.cost == prices.of_mesh(*mesh)


def test_attempts_cost_money_too() -> None:
    # 60 tasks in one burst count as 60 an hour: 3 workers and 60 attempts at 0.5.
    winner = planned(
        BURST, Objectives(drain_s=4.0), candidates=Candidates(slots=[5]), prices=Prices(attempt=0.5), replications=2
    ).winner
    assert winner is not None and winner.cost == 3 + 60 * 0.5


def test_bisection_finds_what_trying_all_finds() -> None:
    objectives, policies = Objectives(p99_s=1.6, dead_share=0.04), ["as-written"]
    answer = planned(FAILING, objectives, candidates=Candidates(range(1, 9), [1, 2], policies), replications=6)
    every = [
        planned(FAILING, objectives, candidates=Candidates([workers], [slots], policies), replications=6)
        for workers in range(2, 9)
        for slots in (1, 2)
    ]
    best = min((one.winner for one in every if one.winner is not None), key=lambda one: one.cost)
    assert answer.winner is not None and answer.winner.cost == best.cost
    assert answer.winner.candidate.slots == best.candidate.slots
    assert answer.search_runs < answer.space.exhaustive_runs
    assert answer.space.candidates == 8 * 2


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_a_line_is_halved_to_the_right_place_from_any_guess(count: int) -> None:
    workers = list(range(3, 3 + count))
    for guess in workers:
        for least in [*workers, None]:
            one, asked = Bisection(Line(2, "as-written", workers, guess)), 0
            while not one.done:
                one.hear(least is not None and one.asks.workers >= least)
                asked += 1
            assert one.found == (None if least is None else Candidate(least, 2, "as-written"))
            assert asked <= 2 * math.ceil(math.log2(count + 1)) + 1


# ---- how sure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ci95", "met", "expected"),
    [
        (4.0, (3.0, 5.0), 9, Verdict.SURE),
        (4.0, (3.0, 5.1), 9, Verdict.PROBABLY),
        (4.0, None, 9, Verdict.PROBABLY),
        (6.0, (4.9, 7.0), 3, Verdict.UNLIKELY),
        (6.0, (5.1, 7.0), 3, Verdict.NO),
        (6.0, None, 3, Verdict.UNLIKELY),
        (6.0, None, 0, Verdict.NO),
        (math.inf, None, 3, Verdict.NO),
        (math.inf, (4.0, math.inf), 3, Verdict.UNLIKELY),
        (math.nan, None, 0, Verdict.NO),
    ],
)
def test_the_verdict_is_where_the_interval_lies(
    value: float, ci95: tuple[float, float] | None, met: int, expected: Verdict
) -> None:
    assert verdict(Objective(FIGURES["p99"], 5.0), Estimate(value, ci95), met) is expected


def test_what_is_said_of_a_mesh_holds_for_seeds_that_the_plan_has_not_seen() -> None:
    text, objectives = MMC.replace("count: 1000", "count: 150"), Objectives(queue_wait_p99_s=2.0)
    answer = planned(text, objectives, candidates=Candidates([6], [1]), replications=20)
    fresh = planned(
        text.replace("seed: 2000", "seed: 5000"), objectives, candidates=Candidates([6], [1]), replications=60
    )
    (mine,), (truth,) = answer.measured, fresh.measured
    low, high = mine.met_all.ci95
    assert low <= truth.met_all.met / truth.met_all.runs <= high
    ours, theirs = (one.figures["queue_wait_p99"].ci95 for one in (mine, truth))
    assert ours is not None and theirs is not None and ours[0] <= theirs[1] and theirs[0] <= ours[1]


def test_a_percentile_counts_what_was_never_completed_as_late() -> None:
    figure = FIGURES["p99"]
    done = np.arange(1.0, 1001.0)
    few, many = done.copy(), done.copy()
    few[:5], many[:11] = np.inf, np.inf  # 0.5 % and 1.1 % of the tasks
    assert of_run(figure, few) == pytest.approx(np.quantile(done, 0.99) + 5, abs=0.1)
    assert of_run(figure, many) == math.inf
    assert of_runs(figure, [many, many], 2000).value == math.inf
    assert of_runs(figure, [np.full(10, np.inf)] * 3, 30).value == math.inf


def test_dead_letters_that_were_never_seen_are_not_ruled_out() -> None:
    found = of_runs(FIGURES["dead"], [0.0] * 10, 1000)
    assert found.value == 0 and found.ci95 is not None
    assert found.ci95 == pytest.approx((0.0, 0.00383), abs=1e-4)  # Wilson: 3.84 / (1,000 + 3.84)


# ---- objectives that cannot be met -----------------------------------------------------------------------------------


def test_the_objective_in_the_way_is_named_and_how_near_the_best_came() -> None:
    answer = planned(BURST, Objectives(p99_s=0.5, dead_share=0.1), candidates=Candidates(slots=[5]), replications=2)
    assert answer.winner is None and answer.fewer is None and answer.margin is None
    said = " ".join(answer.words)
    assert "p99 latency ≤ 0.500 s stands in the way" in said and "has p99 latency 1.00 s" in said
    assert "no task waits for a slot" in said
    assert answer.as_json()["found"] is False
    with pytest.raises(ValueError, match="no mesh"):
        _ = answer.chosen


def test_tasks_that_always_die_are_never_in_time() -> None:
    text = BURST.replace("mean_s: 1.0}", "mean_s: 1.0}, failure_rate: 1.0").replace("}}}", "}}}")
    answer = planned(text, Objectives(p99_s=500), candidates=Candidates([12], [5], ["few"]), replications=2)
    assert answer.winner is None and "never completed" in " ".join(answer.words)
    assert answer.as_json()["candidates"][0]["figures"]["p99"]["value"] is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objectives(), "needs an objective"),
        (lambda: Objectives(p99_s=-1), "no bound"),
        (lambda: Objectives(dead_share=2), "more than all"),
        (lambda: Prices(0, 0, 1), "costs nothing"),
        (lambda: Prices(-1), "at least 0"),
        (lambda: Candidates(workers=[0]), "whole numbers"),
        (lambda: Candidates(policies=["hope"]), "there is no 'hope'"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_scenario_that_turns_its_own_workers_has_no_one_mesh() -> None:
    text = BURST + "faults: [{kind: change, at_s: 1, knob: workers, value: 2}]\n"
    with pytest.raises(UsageError, match=r"mesh\.workers"):
        planned(text, Objectives(p99_s=5))


def test_a_stopped_plan_has_what_it_found() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 6

    answer = planned(BURST, Objectives(drain_s=4.0), replications=2, stop=stop)
    assert answer.interrupted and "Stopped before the end" in " ".join(answer.words)
    without = replace(answer, winner=None)
    assert without.words[0].startswith("No candidate that was looked at meets"), "nobody knows of the others"
    assert without.words[-1] == "Stopped before the end: one that does may have been missed."
    with pytest.raises(Interrupted):
        planned(BURST, Objectives(drain_s=4.0), replications=2, stop=lambda: True)


# ---- candidates ------------------------------------------------------------------------------------------------------


def test_a_policy_that_is_another_by_its_rules_is_tried_once() -> None:
    scenario = Scenario.parse(FAILING)
    assert [one.name for one in policies(scenario, Candidates())] == ["as-written", "jitter", "budget"]
    assert [one.name for one in policies(Scenario.parse(BURST), Candidates())] == ["as-written"]
    slow = scenario.override({"rules.retry.wait": "in_slot"})
    assert [one.name for one in policies(slow, Candidates())] == ["as-written", "scheduled", "jitter", "budget"]
    leaving = scenario.override({"rules.deadline.wait_s": 3.0})
    assert [one.name for one in policies(leaving, Candidates())] == ["as-written", "scheduled", "jitter", "budget"]
    stays = leaving.override({"rules.deadline.late": "fail"})
    assert [one.name for one in policies(stays, Candidates())] == ["as-written", "jitter", "budget", "cancel"]


def test_the_load_says_where_to_begin() -> None:
    # 60 tasks of 1 s at once: all at the same time need 60 slots; within 4 s, 15 do.
    offered = Offered.of(Scenario.parse(BURST))
    assert (offered.tasks, offered.span_s, offered.most_at_once) == (60, 0.0, 60)
    assert offered.slots_least(4.0) == 15 and offered.slots_least(math.inf) == 60
    (line,) = lines(Scenario.parse(BURST), Candidates(slots=[5]), Objectives(p99_s=4.0), offered)
    assert line.guess == 3 and (line.workers[0], line.workers[-1]) == (1, 15)  # 60 · 1.25 / 5


def test_faults_that_name_a_worker_keep_it() -> None:
    text = BURST + "faults: [{kind: kill_worker, at_s: 1, worker: 2}]\n"
    scenario = Scenario.parse(text)
    found = lines(scenario, Candidates(slots=[5]), Objectives(p99_s=4.0), Offered.of(scenario))
    assert all(line.workers[0] == 3 for line in found)


# ---- more load -------------------------------------------------------------------------------------------------------


def arrivals() -> Iterator[Any]:
    yield {"kind": "burst", "count": 100}
    yield {"kind": "constant", "rate_per_s": 10, "duration_s": 20}
    yield {"kind": "poisson", "rate_per_s": 10, "duration_s": 20}
    yield {"kind": "constant", "rate_per_s": 10, "count": 200}
    yield {"kind": "poisson", "rate_per_s": 10, "count": 200}
    yield {"kind": "ramp", "from_per_s": 0, "to_per_s": 20, "duration_s": 20}
    yield {"kind": "steps", "steps": [{"duration_s": 10, "rate_per_s": 5}, {"duration_s": 10, "rate_per_s": 15}]}
    yield {"kind": "schedule", "until_s": 20, "entries": [{"at_s": 0, "rate_per_s": 9}, {"at_s": 5, "count": 20}]}


@pytest.mark.parametrize("kind", list(arrivals()), ids=lambda one: one["kind"])
def test_busier_arrivals_are_so_many_more_in_the_same_time(kind: dict[str, Any]) -> None:
    scenario = Scenario.parse(BURST).override({"workload.arrivals": kind})
    before, after = (Offered.of(one) for one in (scenario, busier(scenario, 1.5)))
    assert after.tasks == pytest.approx(1.5 * before.tasks, rel=0.1)
    assert after.span_s == pytest.approx(before.span_s, rel=0.1)
    assert busier(scenario, 1.0) is scenario


def test_a_busier_trace_is_played_faster(tmp_path: Any) -> None:
    (tmp_path / "t.csv").write_text("arrival_s\n0\n3\n9\n")
    text = BURST.replace("{kind: burst, count: 60}", "{kind: trace, path: t.csv}")
    found = Offered.of(busier(Scenario.parse(text, base=tmp_path), 1.5))
    assert (found.tasks, found.span_s) == (3, 6.0)


@pytest.mark.parametrize(
    ("strains", "at"),
    [
        ([0.5, 0.8, 1.2], 2.5),  # halfway between 2 and 3
        ([0.5, 0.8, 0.9], 3.0),
        ([1.25, 1.5, 2.0], 0.0),  # the line of the first two, backwards: 1 at 0
        ([1.5, 1.5, 2.0], 1.0),
    ],
)
def test_the_crossing_lies_on_the_line_between_two_loads(strains: list[float], at: float) -> None:
    assert crossing([1.0, 2.0, 3.0], strains) == pytest.approx(at)


# ---- as data ---------------------------------------------------------------------------------------------------------


def test_an_answer_is_a_table_a_figure_and_a_scenario_that_runs() -> None:
    answer = planned(
        FAILING,
        Objectives(p99_s=1.6, rss_mib=500),
        candidates=Candidates(slots=[3], policies=["as-written", "budget"]),
        replications=2,
        with_margin=True,
    )
    table = answer.table()
    assert table["winner"].sum() == 1 and table["cost_per_h"].is_monotonic_increasing
    assert len(answer.figure().data) >= 2 and "<table" in answer._repr_html_()
    data = answer.as_json()
    assert data["winner"]["workers"] == answer.chosen.mesh.workers
    frontier = [one for one in data["candidates"] if one["frontier"]]
    values = [one["figures"]["p99"]["value"] for one in frontier]
    assert values == sorted(values, reverse=True)
    summary = simulate(answer.chosen).info["summary"]
    first = answer.winner.runs["p99"][0] if answer.winner is not None else None
    if not summary["tasks"]["dead"]:
        assert summary["latency_s"]["p99"] == pytest.approx(first)
