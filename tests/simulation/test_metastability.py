"""Metastability in the model: two states at one load, and which retry policies leave the bad one.

The shipped scenario: 8 slots of 0.1 s (80 tasks a second), clients that wait 1 s, a spike of 160 tasks a second more
for 1.5 s. Its runs last 120 s of model time and are judged in the last 12.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab import Scenario
from lab.metastability import POLICIES, Experiment
from lab.progress import never
from lab.recovery import Flow, Verdict, judge
from lab.recovery_map import Ramp
from simulation.observing import observe

SHIPPED = Path(__file__).parents[2] / "scenarios" / "metastable.yaml"
SEEDS = (11, 12, 13)
WAIT_S, SPIKE, SPIKE_S = 1.0, 2.0, 1.5
"""The spike in shares of the capacity."""


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return Experiment.of(Scenario.load(SHIPPED))


def verdict(experiment: Experiment, flow: Flow) -> Verdict:
    return judge(flow, experiment.run_s, experiment.trigger_s[1])


def back(experiment: Experiment, policy: str, load: float) -> int:
    """In how many of three runs a policy has come back after the spike."""
    runs = (experiment.disturbed(POLICIES[policy], load, seed) for seed in SEEDS)
    return sum(verdict(experiment, observe(run, experiment.run_s, never)).healthy for run in runs)


def test_the_scenario_is_what_these_tests_say_it_is(experiment: Experiment) -> None:
    rules = experiment.scenario.rules
    assert experiment.capacity_per_s == pytest.approx(80)
    assert (rules.deadline.wait_s, rules.attempts_max) == (WAIT_S, 6)
    assert experiment.trigger_s == (10.0, 10.0 + SPIKE_S)
    spike = max(step.rate_per_s for step in experiment.steps)
    assert spike - experiment.base_per_s == pytest.approx(SPIKE * experiment.capacity_per_s)


@pytest.mark.parametrize(("policy", "load"), [("immediate", 0.1), ("scheduled", 0.15), ("few", 0.4)])
def test_below_the_safe_load_every_run_comes_back(experiment: Experiment, policy: str, load: float) -> None:
    """Six attempts at load 0.15 are 0.9 of what the mesh can do, two at 0.4 are 0.8: work in vain dies out."""
    assert load < experiment.safe_load(POLICIES[policy])
    assert back(experiment, policy, load) == len(SEEDS)


@pytest.mark.parametrize("policy", ["in-slot", "immediate", "scheduled", "jitter", "few"])
def test_above_it_retries_keep_the_mesh_down(experiment: Experiment, policy: str) -> None:
    assert experiment.safe_load(POLICIES[policy]) < 0.8
    assert back(experiment, policy, 0.8) == 0


@pytest.mark.parametrize("policy", ["budget", "cancel"])
def test_a_budget_and_an_honoured_deadline_bring_it_back_at_the_same_load(experiment: Experiment, policy: str) -> None:
    assert back(experiment, policy, 0.8) == len(SEEDS)


def test_in_slot_backoff_loses_where_the_schedule_does_not(experiment: Experiment) -> None:
    assert back(experiment, "in-slot", 0.2) == 0
    assert back(experiment, "scheduled", 0.2) == len(SEEDS)


def test_without_the_spike_the_mesh_stays_healthy_at_the_very_load_at_which_it_does_not_come_back(
    experiment: Experiment,
) -> None:
    calm = observe(experiment.calm(POLICIES["scheduled"], 0.8, SEEDS[0]), experiment.run_s, never)
    assert verdict(experiment, calm) == Verdict(True, 0.0)


def test_a_lost_mesh_is_busy_to_the_last_slot_and_completes_nothing(experiment: Experiment) -> None:
    run = experiment.disturbed(POLICIES["scheduled"], 0.8, SEEDS[0])
    flow = observe(run, experiment.run_s, never)
    late_s = experiment.run_s - experiment.window_s
    tried = np.count_nonzero(flow.tried_s >= late_s)
    # 960 attempts in 12 s if no slot is ever free; ± 4 · √960, as the work is exponential
    assert tried == pytest.approx(experiment.capacity_per_s * experiment.window_s, abs=4 * np.sqrt(960))
    assert np.count_nonzero(flow.completed_s >= late_s) == 0


def test_a_slow_ramp_goes_up_one_way_and_down_another(experiment: Experiment) -> None:
    """Up, the mesh is healthy until its slots are all busy; down, six attempts a task keep it lost until there is less
    to do than it can, at 1/6, or a little before, where its bounded queue lets less in than comes.
    """
    run = experiment.ramp(POLICIES["scheduled"], SEEDS[0])
    ramp = Ramp.of("scheduled", observe(run, experiment.ramp_s, never), experiment)
    assert ramp.falls_at is not None
    assert 0.95 <= ramp.falls_at <= 1.1
    assert ramp.returns_at is not None
    assert 0.05 <= ramp.returns_at <= 0.3


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_mesh_with_a_budget_is_back_when_its_queue_has_drained_to_its_clients_patience(
    experiment: Experiment, load: float
) -> None:
    """The spike leaves (load + 2 − 1) · 1.5 s of work, of which 1 − load is worked off in a second; clients are served
    in time again when 1 s is left. At 0.5: (2.25 − 1) / 0.5 = 2.5 s; at 0.8: (2.7 − 1) / 0.2 = 8.5 s. Chance in the
    300 to 340 tasks of the spike alone moves that by 0.2 s / (1 − load); four of these, and a step of the windows.
    """
    drained_s = ((load + SPIKE - 1) * SPIKE_S - WAIT_S) / (1 - load)
    runs = (experiment.disturbed(POLICIES["budget"], load, seed) for seed in SEEDS)
    took_s = [verdict(experiment, observe(run, experiment.run_s, never)).recovery_s or 0.0 for run in runs]
    step_s = experiment.window_s / 10
    assert np.mean(took_s) == pytest.approx(drained_s, abs=4 * 0.2 / (1 - load) / np.sqrt(len(SEEDS)) + step_s)


def test_a_smooth_calm_run_is_the_same_under_every_policy(experiment: Experiment) -> None:
    """What `attempt` relies on when it makes such a run only once."""
    first: Flow | None = None
    for policy in POLICIES.values():
        flow = observe(experiment.calm(policy, 0.6, SEEDS[0]), experiment.run_s, never)
        first = first or flow
        assert flow.smooth
        assert np.array_equal(flow.completed_s, first.completed_s)


def test_a_run_that_is_stopped_ends_early(experiment: Experiment) -> None:
    looks = iter([False] * 9 + [True] * 1_000)
    run = experiment.calm(POLICIES["budget"], 0.6, SEEDS[0])
    flow = observe(run, experiment.run_s, lambda: next(looks))
    assert 0 < flow.completed_s.max() <= experiment.run_s * 0.1
