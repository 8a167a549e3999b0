"""The metastability experiment without an engine: bounds, base and trigger, verdicts, shares, ramps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.errors import UsageError
from lab.metastability import (
    DEFAULT_POLICIES,
    POLICIES,
    RAMP_LOADS,
    Experiment,
    Outcome,
    Trial,
    attempt,
    ramp_loads,
    safe_load,
    trials,
)
from lab.moves import Moves, TransitionRow
from lab.progress import Stop, never
from lab.recovery import Flow, Share, Verdict, counts, judge, wilson
from lab.recovery_map import Course, Map, Ramp
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import Event, State
from lab.scenario import Scenario, Steps
from lab.workload import Plan

SPIKE = {
    "kind": "steps",
    "spacing": "poisson",
    "steps": [
        {"duration_s": 10, "rate_per_s": 20},
        {"duration_s": 5, "rate_per_s": 90},
        {"duration_s": 85, "rate_per_s": 20},
    ],
}


def scenario(**values: Any) -> Scenario:
    """Ten slots of 0.25 s, so 40 tasks a second; a spike of 70 tasks a second from 10 to 15 s of 100 s."""
    data = {
        "name": "test",
        "seed": 5,
        "workload": {"arrivals": SPIKE, "roles": {"A": {"service": {"dist": "exponential", "mean_s": 0.25}}}},
        "mesh": {"workers": 2, "slots": 5},
        "rules": {"deadline": {"wait_s": 1.0, "late": "fail"}},
        "profile": "ideal",
    }
    return Scenario.from_data(data).override({path.replace("__", "."): value for path, value in values.items()})


# ---- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "safe"),
    [
        ({}, 1 / 6),  # five retries: six attempts
        ({"retry": {"max_retries": 1}}, 1 / 2),
        ({"retry": {"max_retries": 0}}, 1),
        ({"retry": {"base_s": 0, "jitter": 3}}, 1 / 6),  # when they come is not how many
        ({"retry": {"wait": "in_slot"}}, 0.1 / (6 * 0.1 + 62)),  # and 2 + 4 + 8 + 16 + 32 s asleep
        ({"retry": {"wait": "in_slot", "jitter": 1}}, 0.1 / (6 * 0.1 + 1.5 * 62)),
        ({"retry": {"wait": "in_slot", "base_s": 0}}, 1 / 6),
        ({"retry": {"budget": {}}}, 1),
        ({"deadline": {"wait_s": 1, "late": "cancel"}}, 1),
        ({"deadline": {"wait_s": None}}, 1),
    ],
)
def test_safe_load_is_one_over_the_amplification(rules: dict[str, Any], safe: float) -> None:
    data = {"deadline": {"wait_s": 1, "late": "fail"}, **rules}
    assert safe_load(Rulebook.model_validate(data), 0.1) == pytest.approx(safe)


def test_each_policy_is_the_same_whatever_the_scenario_has_of_its_own() -> None:
    own = {"rules.retry.wait": "in_slot", "rules.retry.budget": {"ratio": 1}, "rules.deadline.late": "cancel"}
    mixed, plain = Experiment.of(scenario(**own)), Experiment.of(scenario())
    for name, policy in POLICIES.items():
        if name != "as-written":
            assert mixed.calm(policy, 0.5, 1).rules == plain.calm(policy, 0.5, 1).rules
    assert mixed.calm(POLICIES["as-written"], 0.5, 1).rules == mixed.scenario.rules


def test_policies_differ_from_each_other() -> None:
    experiment = Experiment.of(scenario())
    rules = [experiment.calm(POLICIES[name], 0.5, 1).rules for name in (*DEFAULT_POLICIES, "immediate")]
    assert all(one != other for number, one in enumerate(rules) for other in rules[:number])


# ---- base and trigger ------------------------------------------------------------------------------------------------


def steps_of(made: Scenario) -> list[tuple[float, float]]:
    """(duration in s, tasks a second) of each step."""
    arrivals = made.workload.arrivals
    assert isinstance(arrivals, Steps)
    return [(step.duration_s, step.rate_per_s) for step in arrivals.steps]


def test_the_base_is_scaled_and_the_extra_tasks_of_the_trigger_are_not() -> None:
    experiment = Experiment.of(scenario())
    assert (experiment.capacity_per_s, experiment.base_per_s) == (40, 20)
    assert experiment.trigger_s == (10.0, 15.0)
    assert (experiment.run_s, experiment.window_s) == (100, 10)
    made = experiment.disturbed(POLICIES["jitter"], 0.8, 9)
    assert steps_of(made) == [(10, 32), (5, 102), (85, 32)]  # 0.8 · 40, and 90 − 20 more
    assert (made.seed, made.rules.retry.jitter) == (9, 1.0)
    assert steps_of(experiment.calm(POLICIES["jitter"], 0.8, 9)) == [(100, 32)]


def test_calm_and_disturbed_runs_have_the_same_draws() -> None:
    experiment = Experiment.of(scenario())
    calm, disturbed = (Plan(make(POLICIES["budget"], 0.5, 3)) for make in (experiment.calm, experiment.disturbed))
    before = int(np.searchsorted(calm.arrival_s, 10.0))
    assert before > 100
    assert np.allclose(calm.arrival_s[:before], disturbed.arrival_s[:before], atol=2e-6)
    tasks = range(before)
    assert [calm.service_s(task, 1) for task in tasks] == [disturbed.service_s(task, 1) for task in tasks]


def test_the_ramp_goes_up_and_down_without_a_trigger() -> None:
    experiment = Experiment.of(scenario())
    ramp = steps_of(experiment.ramp(POLICIES["few"], 5))
    assert [rate / 40 for _, rate in ramp] == pytest.approx([*RAMP_LOADS, *reversed(RAMP_LOADS[:-1])])
    assert sum(duration for duration, _ in ramp) == pytest.approx(experiment.ramp_s) == 1_000


def test_faults_are_a_trigger_too_and_calm_runs_have_none() -> None:
    outage = {"kind": "role_outage", "role": "A", "at_s": 20, "for_s": 4}
    restart = {"kind": "redis_restart", "at_s": 25, "down_s": 1}
    poisson = {"kind": "poisson", "rate_per_s": 20, "count": 2_000}
    experiment = Experiment.of(scenario(workload__arrivals=poisson, faults=[outage, restart]))
    assert experiment.trigger_s == (20.0, 26.0)
    assert steps_of(experiment.disturbed(POLICIES["few"], 0.25, 1)) == [(100, 10)]
    assert len(experiment.disturbed(POLICIES["few"], 0.25, 1).faults) == 2
    assert experiment.calm(POLICIES["few"], 0.25, 1).faults == []


def test_the_capacity_counts_roles_by_their_shares(tmp_path: Path) -> None:
    (tmp_path / "work.csv").write_text("service_s\n1\n3\n")
    roles = {
        "A": {"share": 3, "service": {"dist": "constant", "mean_s": 0.4}},
        "B": {"share": 1, "service": {"dist": "empirical", "path": "work.csv", "factor": 0.5}},
    }
    data = scenario().data
    data["workload"]["roles"] = roles
    assert Experiment.of(Scenario.from_data(data, base=tmp_path)).service_s == pytest.approx((3 * 0.4 + 1 * 1.0) / 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workload.arrivals": {"kind": "burst", "count": 5}}, "of kind burst has no base load"),
        ({"workload.arrivals": {"kind": "constant", "rate_per_s": 5, "duration_s": 9}}, "nothing disturbs the mesh"),
        ({"workload.arrivals.steps.1.rate_per_s": 20}, "nothing disturbs the mesh"),
        ({"workload.arrivals.steps.1.duration_s": 90}, "the trigger ends at 100 s of 185 s"),
        ({"workload.roles.A.service.mean_s": 0}, "the work takes no time"),
    ],
)
def test_what_is_no_experiment_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Experiment.of(scenario(**values))


def test_too_many_tasks_are_refused_before_the_work() -> None:
    experiment = Experiment.of(scenario(mesh__slots=10_000))  # 80,000 a second: 44 million tasks on the ramp
    with pytest.raises(
        UsageError, match=r"slow ramp of 1,000 s up to load 1.1, is too large: .* at most 5,000,000 are"
    ):
        experiment.demand_room(0.1)


# ---- verdicts --------------------------------------------------------------------------------------------------------


def flow(done_s: np.ndarray[Any, Any], arrived_s: np.ndarray[Any, Any] | None = None) -> Flow:
    """Ten tasks a second for 100 s, of which those at `done_s` are completed."""
    came = np.arange(1_000) / 10 if arrived_s is None else arrived_s
    return Flow(came, np.sort(done_s), np.sort(done_s), smooth=True)


EVERY = np.arange(1_000) / 10


@pytest.mark.parametrize(
    ("done_s", "verdict"),
    [
        (EVERY, Verdict(True, 0.0)),
        (EVERY[EVERY < 20], Verdict(False, None)),
        # In the last window come 100: 0.95 · 100 − √100 = 85 of them are enough.
        (EVERY[EVERY < 98.5], Verdict(True, 0.0)),
        (EVERY[EVERY < 98.4], Verdict(False, None)),
        # Windows of 10 s start every second after the trigger, and nothing is done from 20 to 40 s. That from 38 s has
        # 80 of its 100, that from 39 s has 90: healthy 29 s after the trigger. If it is 40.6 s, that from 39 s has 84.
        (EVERY[(EVERY < 20) | (EVERY >= 40)], Verdict(True, 29.0)),
        (EVERY[(EVERY < 20) | (EVERY >= 40.6)], Verdict(True, 30.0)),
    ],
)
def test_a_run_is_judged_by_its_last_window(done_s: np.ndarray[Any, Any], verdict: Verdict) -> None:
    assert judge(flow(done_s), 100.0, 10.0) == verdict


def test_a_window_in_which_nothing_comes_is_healthy() -> None:
    assert judge(flow(np.zeros(0), EVERY[:100]), 100.0, 10.0) == Verdict(True, 0.0)


def test_counts_leave_the_end_of_a_window_to_the_next() -> None:
    moments = np.array([0.0, 1.0, 1.0, 2.0])
    assert counts(moments, np.array([0.0, 1.0, 2.0]), 1.0).tolist() == [1, 2, 1]


def test_a_flow_tells_attempts_in_vain_from_completed_tasks() -> None:
    def row(task: int, event: Event, to: State, at_s: float) -> TransitionRow:
        return TransitionRow(task, "PENDING", to, at_s, "w0", 1, 1, event, 0.0)

    came = [row(task, Event.SUBMITTED, State.PENDING, task) for task in range(2)]
    done = [row(0, Event.CLAIMED, State.RUNNING, 1.0), row(0, Event.SUCCEEDED, State.COMPLETED, 3.0)]
    vain = [row(1, Event.CLAIMED, State.RUNNING, 1.5), row(1, Event.FAILED, State.RETRY_WAIT, 2.0)]
    plan = Plan(scenario())
    smooth = Flow.of(plan, Moves.of(came + done))
    assert (smooth.tried_s.tolist(), smooth.completed_s.tolist(), smooth.smooth) == ([3.0], [3.0], True)
    rough = Flow.of(plan, Moves.of(came + done + vain))
    assert (rough.tried_s.tolist(), rough.completed_s.tolist(), rough.smooth) == ([2.0, 3.0], [3.0], False)


@pytest.mark.parametrize(
    ("successes", "runs", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, the score method.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z² = 3.8415: 12 / (12 + z²), and its mirror
        (12, 12, 0.7575, 1.0),
        (0, 12, 0.0, 0.2425),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(successes: int, runs: int, low: float, high: float) -> None:
    assert wilson(successes, runs) == pytest.approx((low, high), abs=5e-5)


# ---- trials and the map ----------------------------------------------------------------------------------------------

PAIR = (POLICIES["scheduled"], POLICIES["cancel"])


def test_trials_go_seed_by_seed_so_that_a_part_of_them_covers_all_loads() -> None:
    made = trials(Experiment.of(scenario()), [0.2, 0.4], 2)
    assert made == [Trial(0.2, 5), Trial(0.4, 5), Trial(0.2, 6), Trial(0.4, 6)]


class Watched:
    """An engine that completes everything, and remembers what it was asked."""

    def __init__(self, *, smooth: bool) -> None:
        self.smooth = smooth
        self.asked: list[Scenario] = []

    def __call__(self, asked: Scenario, until_s: float, stop: Stop) -> Flow:
        self.asked.append(asked)
        return flow(EVERY)._replace(smooth=self.smooth)


@pytest.mark.parametrize(("smooth", "runs"), [(True, 3), (False, 4)])
def test_a_calm_run_without_failures_is_made_once_for_all_policies(smooth: bool, runs: int) -> None:
    engine = Watched(smooth=smooth)
    outcome = attempt(engine, Experiment.of(scenario()), PAIR, Trial(0.5, 7), never)
    assert outcome is not None
    assert len(engine.asked) == runs
    assert {one.seed for one in engine.asked} == {7}
    assert outcome.calm == outcome.disturbed == {policy.name: Verdict(True, 0.0) for policy in PAIR}


def test_a_trial_that_is_stopped_counts_for_nothing() -> None:
    assert attempt(Watched(smooth=True), Experiment.of(scenario()), PAIR, Trial(0.5, 7), lambda: True) is None


def found(disturbed: dict[float, list[bool]], runs: int = 12) -> Map:
    """A map in which calm runs are healthy, `cancel` comes back in 3 s, and `scheduled` as given by load and seed."""
    outcomes = []
    for load, each in disturbed.items():
        for seed, back in enumerate(each):
            calm = {policy.name: Verdict(True, 0.0) for policy in PAIR}
            after = {"scheduled": Verdict(back, 40.0 + seed if back else None), "cancel": Verdict(True, 3.0)}
            outcomes.append(Outcome(Trial(load, seed), calm, after))
    return Map(Experiment.of(scenario()), PAIR, tuple(disturbed), tuple(outcomes))


def test_a_cell_is_metastable_where_the_intervals_lie_apart() -> None:
    cells = found({0.4: [True] * 8 + [False] * 4, 0.6: [True] * 6 + [False] * 6, 0.8: [False] * 12}).rows["scheduled"]
    # 12 of 12 is more than 0.7575; 8 of 12 may be 0.86, 6 of 12 is less than 0.7462 (Wilson)
    assert [cell.metastable for cell in cells] == [False, True, True]
    assert [cell.disturbed for cell in cells] == [Share(8, 12), Share(6, 12), Share(0, 12)]
    assert [cell.recovery_median_s for cell in cells] == [43.5, 42.5, None]


def test_a_map_of_few_runs_calls_nothing_metastable() -> None:
    assert [cell.metastable for cell in found({0.8: [False] * 3}).rows["scheduled"]] == [False]


def test_the_map_finds_the_lowest_load_that_tells_its_policies_apart_best() -> None:
    pair, load = found({0.2: [True] * 4, 0.4: [True, False] * 2, 0.6: [False] * 4, 0.8: [False] * 4}).contrast
    assert ([policy.name for policy in pair], load) == (["scheduled", "cancel"], 0.6)


def test_a_load_that_was_not_reached_has_no_share() -> None:
    half = found({0.4: [True], 0.6: []})
    assert [cell.disturbed.value for cell in half.rows["cancel"]] == [1.0, None]
    assert half.as_json()["policies"][0]["cells"][1]["disturbed"] == {
        "healthy": 0,
        "runs": 0,
        "p": None,
        "p_ci95": [0.0, 1.0],
    }


# ---- ramps and courses -----------------------------------------------------------------------------------------------


def ramp(lost: set[int]) -> Ramp:
    """A ramp on which all that comes is completed, but nothing in the steps with these numbers."""
    loads = ramp_loads()
    came = tuple(round(100 * load) for load in loads)
    return Ramp("test", loads, came, tuple(0 if step in lost else count for step, count in enumerate(came)), 100.0)


@pytest.mark.parametrize(
    ("lost", "falls_at", "returns_at"),
    [
        (set(), None, 1.1),
        ({21}, 1.1, 1.05),  # only at the top: no hysteresis
        ({20, 21, 22, 23}, 1.05, 0.95),
        (set(range(20, 41)), 1.05, 0.1),
        (set(range(20, 43)), 1.05, None),
        ({5, 21, 22}, 0.3, 1.0),
    ],
)
def test_where_a_ramp_falls_and_where_it_returns(
    lost: set[int], falls_at: float | None, returns_at: float | None
) -> None:
    assert len(ramp_loads()) == 43
    assert (ramp(lost).falls_at, ramp(lost).returns_at) == (falls_at, returns_at)


def test_a_ramp_is_measured_in_shares_of_the_capacity() -> None:
    experiment = Experiment.of(scenario())
    made = experiment.ramp(POLICIES["few"], 5)
    plan = Plan(made)
    measured = Ramp.of("few", Flow(plan.arrival_s, plan.arrival_s, plan.arrival_s, smooth=True), experiment)
    assert sum(measured.came) == sum(measured.done) == plan.count
    assert measured.capacity == pytest.approx(40 * 1_000 / 43)
    # The step at load 1.1 has 1,023 tasks ± 3 · √1,023
    assert measured.goodput[21] == pytest.approx(1.1, abs=1.1 * 3 / np.sqrt(1_023))


def test_a_course_counts_in_sixths_of_a_window() -> None:
    experiment = replace(Experiment.of(scenario()), trigger_s=(10.0, 12.0))
    course = Course.of("few", 0.5, 1, flow(EVERY), experiment)
    assert course.width_s == pytest.approx(10 / 6)
    assert len(course.starts_s) == 60
    # All stretches together hold each task once, those on an edge too.
    assert sum(course.completed_per_s) * course.width_s == pytest.approx(1_000)
