"""The task plan: keyed draws, arrivals of every kind, exact mix, distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import draws, workload
from lab.arrivals import arrival_times
from lab.distributions import service_times
from lab.scenario import Scenario
from lab.workload import Plan

TEXT = """\
seed: 7
workload:
  arrivals: {kind: burst, count: 2000}
  roles:
    A: {share: 2, priority: {5: 1, 1: 3}, service: {dist: exponential, mean_s: 2}, failure_rate: 0.3}
    B: {share: 1, priority: 2, service: {dist: lognormal, mean_s: 1, cv: 2}, failure_rate: 0.3}
"""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return Scenario.parse(TEXT)


@pytest.fixture(scope="module")
def plan(scenario: Scenario) -> Plan:
    return Plan(scenario)


def arriving(arrivals: str, seed: int = 7) -> list[float]:
    text = TEXT.replace("{kind: burst, count: 2000}", arrivals).replace("seed: 7", f"seed: {seed}")
    return Plan(Scenario.parse(text)).arrival_s.tolist()


# ---- draws -----------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**63 - 1),
    purpose=st.text(max_size=8),
    attempt=st.integers(1, 101),
    first=st.integers(0, 10**9),
)
def test_bulk_draws_are_the_keyed_draws(seed: int, purpose: str, attempt: int, first: int) -> None:
    key = draws.stream(seed, purpose, attempt)
    assert draws.uniforms(key, 5, first).tolist() == [draws.uniform(key, first + i) for i in range(5)]


@given(key=st.integers(0, 2**64 - 1), task=st.integers(0, 2**40))
def test_draws_lie_strictly_between_0_and_1(key: int, task: int) -> None:
    assert 0.0 < draws.uniform(key, task) < 1.0


def test_seed_purpose_attempt_and_task_each_make_another_draw() -> None:
    keys = [draws.stream(*key) for key in [(1, "a", 1), (2, "a", 1), (1, "b", 1), (1, "a", 2)]]
    assert len({draws.uniform(key, task) for key in keys for task in (0, 1)}) == 8


def test_draws_are_uniform_and_streams_are_unrelated() -> None:
    one, other = (draws.uniforms(draws.stream(1, purpose), 100_000) for purpose in ("service", "fails"))
    # Mean of n uniforms: 1/2 ± 1/√(12 n) = ±0.0009; correlation ±1/√n = ±0.0032. Four standard errors.
    assert abs(one.mean() - 0.5) < 0.0037
    assert abs(one.var() - 1 / 12) < 0.001
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.0127
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.0127


def test_the_draws_never_change_between_versions() -> None:
    """Records of old versions must stay comparable: these are the numbers of the first version."""
    key = draws.stream(7, "service", 1)
    assert [round(draws.uniform(key, task), 12) for task in range(3)] == FIRST_VERSION


FIRST_VERSION = [0.090423941098, 0.735937654393, 0.240393452213]


# ---- one knob turned leaves every other draw as it was ---------------------------------------------------------------


@pytest.mark.parametrize(
    "knob",
    [
        {"mesh.workers": 9},
        {"mesh.slots": 1},
        {"rules.retry.base_s": 9.0},
        {"rules.retry.jitter": 1.0},
        {"workload.roles.A.failure_rate": 0.9},
        {"workload.roles.A.fail_first": 2},
        {"workload.roles.A.memory_mib": 9},
        {"workload.roles.A.permanent_share": 0.5},
        {"rules.deadline": {"wait_s": 1, "spread": "exponential"}},
        {"rules.retry.timeout_s": 0.1},
        {"faults": [{"kind": "redis_flush", "at_s": 1}]},
        {"faults": [{"kind": "role_outage", "at_s": 0, "for_s": 9, "role": "A", "share": 0.5}]},
    ],
    ids=lambda knob: next(iter(knob)),
)
def test_a_knob_leaves_arrivals_roles_priorities_and_service_alone(
    scenario: Scenario, plan: Plan, knob: dict[str, object]
) -> None:
    other = Plan(scenario.override(knob))
    assert other.arrival_s.tolist() == plan.arrival_s.tolist()
    assert other.role.tolist() == plan.role.tolist()
    assert other.priority.tolist() == plan.priority.tolist()
    for attempt in (1, 2, 6):
        assert other.column("service", attempt) == plan.column("service", attempt)
        assert [other.jitter_roll(task, attempt) for task in range(50)] == [
            plan.jitter_roll(task, attempt) for task in range(50)
        ]


def test_a_higher_failure_rate_only_adds_failures(scenario: Scenario, plan: Plan) -> None:
    more = Plan(scenario.override({"workload.roles.A.failure_rate": 0.5}))
    for attempt in (1, 2):
        before = {task for task in range(plan.count) if plan.fails(task, attempt)}
        after = {task for task in range(plan.count) if more.fails(task, attempt)}
        assert before < after


def test_more_tasks_leave_the_first_ones_as_they_were(scenario: Scenario, plan: Plan) -> None:
    longer = Plan(scenario.override({"workload.arrivals.count": 3000}))
    assert longer.role.tolist()[:2000] == plan.role.tolist()
    assert longer.column("service", 1)[:2000] == plan.column("service", 1)


def test_a_longer_mean_stretches_every_service_time_alike(scenario: Scenario, plan: Plan) -> None:
    slower = Plan(scenario.override({"workload.roles.A.service.mean_s": 4}))
    mine = plan.role == 0
    ratio = np.array(slower.column("service", 1))[mine] / np.array(plan.column("service", 1))[mine]
    assert ratio == pytest.approx(np.full(mine.sum(), 2.0), rel=1e-2)  # 4/2, to the microsecond
    assert np.array(slower.column("service", 1))[~mine].tolist() == np.array(plan.column("service", 1))[~mine].tolist()


def test_another_seed_is_another_plan(scenario: Scenario, plan: Plan) -> None:
    other = Plan(scenario.override({"seed": 8}))
    assert other.column("service", 1) != plan.column("service", 1)
    assert other.role.tolist() != plan.role.tolist()


def test_one_attempts_draws_are_asked_in_any_order(scenario: Scenario) -> None:
    forth, back = Plan(scenario), Plan(scenario)
    asked = [(task, attempt) for task in range(20) for attempt in (1, 2, 3)]
    one = {key: (forth.service_s(*key), forth.fails(*key)) for key in asked}
    other = {key: (back.service_s(*key), back.fails(*key)) for key in reversed(asked)}
    assert one == other


# ---- failures --------------------------------------------------------------------------------------------------------


def test_fail_first_fails_exactly_the_first_attempts(scenario: Scenario) -> None:
    plan = Plan(scenario.override({"workload.roles.A.fail_first": 2, "workload.roles.A.failure_rate": 0.0}))
    task = int(np.flatnonzero(plan.role == 0)[0])
    assert [plan.fails(task, attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]


def test_the_failure_rate_is_kept(plan: Plan) -> None:
    for attempt in (1, 2):
        share = np.mean([plan.fails(task, attempt) for task in range(plan.count)])
        assert share == pytest.approx(0.3, abs=0.041)  # √(0.3 · 0.7 / 2000) = 0.0102; four of them


@pytest.mark.parametrize(("rate", "fails"), [(0.0, False), (1.0, True)])
def test_rates_0_and_1_are_certain(scenario: Scenario, rate: float, fails: bool) -> None:
    plan = Plan(scenario.override({f"workload.roles.{role}.failure_rate": rate for role in "AB"}))
    assert {plan.fails(task, attempt) for task in range(plan.count) for attempt in (1, 2)} == {fails}


# ---- the mix ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 11, 100, 997])
def test_the_exact_mix_is_exact_to_within_one_task(scenario: Scenario, count: int) -> None:
    plan = Plan(scenario.override({"workload.mix": "exact", "workload.arrivals.count": count}))
    # A: 2/3 of all, of them 1/4 at priority 5 and 3/4 at 1; B: 1/3, all at 2.
    shares = {(0, 5): 2 / 3 / 4, (0, 1): 2 / 3 * 3 / 4, (1, 2): 1 / 3}
    dealt = list(zip(plan.role.tolist(), plan.priority.tolist(), strict=True))
    assert len(dealt) == count
    assert set(dealt) <= set(shares)
    for upto in range(1, count + 1):
        for cell, share in shares.items():
            assert abs(dealt[:upto].count(cell) - upto * share) < 1.0 + 1e-9 if upto <= 60 or upto == count else True


def test_the_random_mix_keeps_the_shares_roughly(plan: Plan) -> None:
    assert (plan.role == 0).mean() == pytest.approx(2 / 3, abs=0.0422)  # 4 · √(2/9 / 2000)
    assert (plan.priority[plan.role == 0] == 5).mean() == pytest.approx(1 / 4, abs=0.05)
    assert set(plan.priority[plan.role == 1].tolist()) == {2}


def test_the_queue_follows_the_priority(plan: Plan) -> None:
    expected = {5: "agent_high", 2: "agent_medium", 1: "agent_low"}
    assert {(level, plan.queue_name(task)) for task, level in enumerate(plan.priority.tolist())} == set(
        expected.items()
    )


def step(duration_s: float, rate_per_s: float) -> str:
    return f"{{duration_s: {duration_s}, rate_per_s: {rate_per_s}}}"


# ---- arrivals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrivals", "times"),
    [
        ("{kind: burst, count: 3}", [0, 0, 0]),
        ("{kind: burst, count: 2, at_s: 4.5}", [4.5, 4.5]),
        ("{kind: constant, rate_per_s: 2, count: 3}", [0, 0.5, 1.0]),
        ("{kind: constant, rate_per_s: 2, duration_s: 1.5}", [0, 0.5, 1.0]),  # 1.5 s is the horizon: no task at it
        ("{kind: constant, rate_per_s: 2, duration_s: 1.6}", [0, 0.5, 1.0, 1.5]),
        ("{kind: ramp, from_per_s: 1, to_per_s: 1, duration_s: 3}", [0, 1, 2]),
        # 0 to 2 over 4 s: t²/4 tasks until t, so task k comes at 2√k: 0, 2, 2.83, 3.46; the fourth would come at 4.
        ("{kind: ramp, from_per_s: 0, to_per_s: 2, duration_s: 4}", [0, 2, 2 * math.sqrt(2), 2 * math.sqrt(3)]),
        # 2 to 0 over 4 s: 2t − t²/4 tasks until t; k = 3 at t = 4 − 2 = 2.
        ("{kind: ramp, from_per_s: 2, to_per_s: 0, duration_s: 4}", [4 - 2 * math.sqrt(4 - k) for k in range(4)]),
        (
            f"{{kind: steps, steps: [{step(2, 1)}, {step(3, 0)}, {step(1, 2)}]}}",
            [0, 1, 5, 5.5],  # nothing comes from 2 to 5
        ),
        ("{kind: steps, steps: [{duration_s: 2, rate_per_s: 0}, {duration_s: 1, rate_per_s: 2}]}", [2, 2.5]),
    ],
)
def test_arrivals_come_when_the_scenario_says(arrivals: str, times: list[float]) -> None:
    assert arriving(arrivals) == pytest.approx(times, abs=1e-6)


@pytest.mark.parametrize("rate", [3, 7, 10, 0.1, 1 / 3, 750])
def test_a_constant_rate_brings_rate_times_duration(rate: float) -> None:
    times = arriving(f"{{kind: constant, rate_per_s: {rate}, duration_s: 30}}")
    assert len(times) == math.ceil(rate * 30 - 1e-9)
    assert max(times) < 30


@pytest.mark.parametrize(
    "arrivals",
    [
        "{kind: poisson, rate_per_s: 50, duration_s: 40}",
        "{kind: ramp, from_per_s: 0, to_per_s: 100, duration_s: 40, spacing: poisson}",
        "{kind: steps, spacing: poisson, steps: [{duration_s: 20, rate_per_s: 20}, {duration_s: 20, rate_per_s: 80}]}",
    ],
)
def test_random_arrivals_keep_rate_order_and_horizon(arrivals: str) -> None:
    counts = []
    for seed in range(10):
        times = arriving(arrivals, seed)
        assert times == sorted(times)
        assert min(times) >= 0
        assert max(times) < 40.0
        counts.append(len(times))
    # 2000 expected in each, ±√2000 = 45; the mean of ten ±14. Four standard errors.
    assert np.mean(counts) == pytest.approx(2_000, abs=57)
    assert len(set(counts)) > 1


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff([0.0, *arriving("{kind: poisson, rate_per_s: 10, count: 20000}")])
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)  # ±1/√20000 = 0.7 %
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.03)
    assert (gaps > 0.1).mean() == pytest.approx(math.exp(-1), abs=0.014)


def test_poisson_steps_follow_their_rates() -> None:
    times = np.array(arriving(f"{{kind: steps, spacing: poisson, steps: [{step(100, 10)}, {step(100, 40)}]}}"))
    assert (times < 100).sum() == pytest.approx(1_000, abs=127)  # four times √1000
    assert (times >= 100).sum() == pytest.approx(4_000, abs=253)


def test_times_are_whole_microseconds(plan: Plan) -> None:
    micro = np.array(plan.column("service", 1)) * 1e6
    assert np.abs(micro - np.rint(micro)).max() < 1e-3
    assert arrival_times(plan.scenario, None).tolist() == plan.arrival_s.tolist()


# ---- distributions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "mean", "cv"),
    [
        ("{dist: constant, mean_s: 2}", 2.0, 0.0),
        ("{dist: exponential, mean_s: 2}", 2.0, 1.0),
        ("{dist: lognormal, mean_s: 2, cv: 0.5}", 2.0, 0.5),
        ("{dist: lognormal, mean_s: 2, cv: 1.5}", 2.0, 1.5),
        ("{dist: gamma, mean_s: 2, cv: 0.5}", 2.0, 0.5),
        ("{dist: gamma, mean_s: 2, cv: 2}", 2.0, 2.0),
        ("{dist: pareto, mean_s: 2, cv: 0.3}", 2.0, 0.3),
    ],
)
def test_distributions_have_the_mean_and_cv_that_they_are_given(service: str, mean: float, cv: float) -> None:
    text = TEXT.replace("{dist: exponential, mean_s: 2}", service)
    times = service_times(Scenario.parse(text).workload.roles["A"].service, MIDPOINTS)
    assert times.mean() == pytest.approx(mean, rel=0.005)
    assert times.std() / times.mean() == pytest.approx(cv, rel=0.04, abs=1e-9)
    assert times.min() >= 0


MIDPOINTS = (np.arange(200_000) + 0.5) / 200_000
"""Evenly spread uniforms: the sample's moments are the distribution's own, but for the last bit of the tail."""


@pytest.mark.parametrize("dist", ["exponential", "lognormal", "gamma", "pareto"])
def test_a_mean_of_zero_is_no_work_at_all(dist: str) -> None:
    text = TEXT.replace("{dist: exponential, mean_s: 2}", f"{{dist: {dist}, mean_s: 0}}")
    assert not service_times(Scenario.parse(text).workload.roles["A"].service, MIDPOINTS[:100]).any()


@pytest.mark.parametrize("dist", ["exponential", "lognormal", "gamma", "pareto"])
def test_a_larger_uniform_is_a_longer_time(dist: str) -> None:
    text = TEXT.replace("{dist: exponential, mean_s: 2}", f"{{dist: {dist}, mean_s: 2}}")
    times = service_times(Scenario.parse(text).workload.roles["A"].service, MIDPOINTS[::100])
    assert (np.diff(times) >= 0).all()


def test_slow_service_stretches_what_starts_in_its_window(scenario: Scenario) -> None:
    windows = [
        {"kind": "slow_service", "at_s": 10, "for_s": 10, "factor": 3},
        {"kind": "slow_service", "at_s": 15, "for_s": 10, "factor": 2},
    ]
    plan = Plan(scenario.override({"faults": windows}))
    base = plan.service_s(0, 1)
    # [10, 20) ×3, [15, 25) ×2, both in [15, 20): ×6.
    factors = {9.999: 1, 10.0: 3, 15.0: 6, 19.999: 6, 20.0: 2, 25.0: 1}
    for start, factor in factors.items():
        assert plan.outcome(0, 1, start, 0).work_s == pytest.approx(base * factor)


def test_blocks_of_draws_are_the_whole_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many tasks later attempts are drawn in blocks, dropped and drawn again: the numbers stay the same."""
    count = 1_000
    scenario = Scenario.parse(
        f"{{name: x, workload: {{arrivals: {{kind: burst, count: {count}}}, roles: "
        "{A: {service: {dist: exponential, mean_s: 1}}, B: {service: {dist: constant, mean_s: 2}}}}}"
    )
    whole = Plan(scenario).column("service", 2)
    monkeypatch.setattr(workload, "BLOCK_TASKS", 64)
    monkeypatch.setattr(workload, "BLOCKS_HELD", 2)
    blocks = Plan(scenario).column("service", 2)
    assert isinstance(blocks, workload.Blocks)
    there_and_back = [*range(count), *reversed(range(count))]
    assert [blocks[task] for task in there_and_back] == [whole[task] for task in there_and_back]
    assert len(blocks) == count
    for task in (-1, count):
        with pytest.raises(IndexError, match="no task"):
            blocks[task]
