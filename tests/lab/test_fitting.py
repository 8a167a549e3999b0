"""Fits of what queues have recorded: arithmetic by hand, parameters that are found again, badness that is admitted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lab import fitting, fitting_arrivals, fitting_mesh, fitting_replay, fitting_service, observed
from lab.distributions import service_times
from lab.draws import Floats
from lab.observed import Observed
from lab.scenario import EmpiricalService, ExponentialService, Scenario, Service, SpreadService, Trace
from simulation import simulate

QUEUE = """
name: a queue
workload:
  arrivals: {kind: poisson, rate_per_s: 8, count: COUNT}
  roles:
    A: {priority: {5: 1, 1: 1}, service: {dist: lognormal, mean_s: 0.3, cv: 1.2}, failure_rate: 0.1}
    B: {priority: 3, service: {dist: gamma, mean_s: 0.5, cv: 0.4}}
mesh: {workers: 2, slots: 3}
rules: {retry: {base_s: 0.2, factor: 3}}
profile: ideal
"""


def _as_csv(tmp_path: Path, count: int, **values: object) -> Path:
    """What the model did, as a foreign queue would have written it down: without its rules or its scenario."""
    simulate(Scenario.parse(QUEUE.replace("COUNT", str(count))).override(values)).save(tmp_path / "run")
    seen = observed.read(tmp_path / "run")
    rows = seen.attempts.merge(seen.tasks[["id", "priority", "arrival_s"]], left_on="task", right_index=True)
    path = tmp_path / "queue.csv"
    rows.rename(columns={"arrival_s": "enqueue", "start_s": "start", "finish_s": "finish", "outcome": "status"})[
        ["id", "role", "priority", "enqueue", "start", "finish", "status", "attempt", "worker"]
    ].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    return observed.read(_as_csv(tmp_path_factory.mktemp("foreign"), 1_500))


# ---- service times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "mean_off", "cv_off"),
    [
        (ExponentialService(dist="exponential", mean_s=2.0), 0.05, None),
        (SpreadService(dist="lognormal", mean_s=2.0, cv=1.5), 0.1, 0.15),
        (SpreadService(dist="gamma", mean_s=0.2, cv=0.5), 0.05, 0.05),
        (SpreadService(dist="pareto", mean_s=1.0, cv=0.7), 0.05, 0.2),
    ],
)
def test_a_distribution_is_found_again(service: Service, mean_off: float, cv_off: float | None) -> None:
    seed = 11
    values = service_times(service, np.random.default_rng(seed).random(1_500))
    found = fitting_service.fit("A", values, bootstraps=49)
    assert found.good, (seed, found.words)
    assert found.dist == service.dist
    assert found.best is not None
    assert found.best.mean_s == pytest.approx(service.mean_s, rel=mean_off)
    assert found.p is not None and found.p > 0.02
    if cv_off is not None:
        assert isinstance(found.best.service, SpreadService) and isinstance(service, SpreadService)
        assert found.best.service.cv == pytest.approx(service.cv, rel=cv_off)


def test_likeliest_parameters_by_hand() -> None:
    """ln of 1, e, e²: μ = 1, σ² = 2/3; mean e^(1 + 1/3) = 3.7937, cv² = e^(2/3) − 1 = 0.9477. Pareto: smallest 1, α =
    3 / (0 + 1 + 2) = 1, whose variance is infinite.
    """
    values = np.exp([0.0, 1.0, 2.0])
    found = fitting_service.lognormal(values)
    assert (found.mean_s, found.cv) == pytest.approx((3.79367, math.sqrt(0.947734)), rel=1e-5)
    with pytest.raises(ValueError, match="has no finite variance"):
        fitting_service.pareto(values)
    # smallest 1, α = 3 / (0 + 0.3 + 0.6) = 10/3: mean α/(α − 1) = 10/7, cv² = 1/(α(α − 2)) = 1/(10/3 · 4/3) = 0.225
    pareto = fitting_service.pareto(np.exp([0.0, 0.3, 0.6]))
    assert (pareto.mean_s, pareto.cv) == pytest.approx((10 / 7, math.sqrt(0.225)), rel=1e-5)


def test_distances_by_hand() -> None:
    """F = 0.2, 0.5, 0.6: after the third step 1 − 0.6 = 0.4; 2/3 − 0.5 = 0.167; before the first 0.2. The gap is 0.4.
    A² of F = 0.5 alone: −1 − (ln 0.5 + ln 0.5) = 0.3863.
    """
    assert fitting_service.ks_gap(np.array([0.2, 0.5, 0.6])) == pytest.approx(0.4)
    assert fitting_service.anderson_darling(np.array([0.5])) == pytest.approx(2 * math.log(2) - 1)


@pytest.mark.parametrize(
    ("values", "dist", "words"),
    [
        (np.array([2.0] * 30), "constant", "constant"),
        (2.0 + np.arange(30) / 1000, "constant", "constant"),
        (np.array([0.0] * 30), "constant", "constant"),
        (np.array([1.0, 5.0, 9.0]), "empirical", "only 3 values"),
        (np.array([]), "empirical", "no attempt has ended"),
        (np.array([0.1, 5.0] * 200) + np.arange(400) / 1e4, "empirical", "no distribution fits"),
    ],
)
def test_what_has_no_shape_is_taken_as_it_is(values: Floats, dist: str, words: str) -> None:
    found = fitting_service.fit("A", values, bootstraps=49)
    assert found.dist == dist
    assert words in found.words
    json.dumps(found.as_json(), allow_nan=False)


# ---- arrivals, capacity, retries -------------------------------------------------------------------------------------


def test_arrivals_are_told_apart() -> None:
    random = np.random.default_rng(5)
    poisson = fitting_arrivals.fit(np.cumsum(random.exponential(0.1, 3_000)))
    assert "a Poisson process would look the same" in poisson.words
    assert poisson.rate_per_s == pytest.approx(10, rel=0.06)
    assert "more even than Poisson" in fitting_arrivals.fit(np.arange(300) / 4).words
    bursts = np.repeat(np.arange(100) * 5.0, 20) + np.tile(np.arange(20) / 100, 100)
    assert "far from Poisson, in bursts; replay the trace" in fitting_arrivals.fit(bursts).words
    assert "a burst" in fitting_arrivals.fit(np.full(9, 3.0)).words
    assert "too few (3)" in fitting_arrivals.fit(np.array([0.0, 1.0, 2.0])).words


def test_dispersion_by_hand() -> None:
    """50 tasks in five stretches of 10 s: 20, 0, 20, 0, 10. Mean 10, variance (100·4 + 0)/4 = 100, index 10."""
    times = np.concatenate([np.linspace(0, 9.9, 20), np.linspace(20, 29.9, 20), np.linspace(45, 50, 10)])
    found = fitting_arrivals.fit(times)
    assert found.dispersion == pytest.approx(10.0)
    assert found.gaps_cv2 == pytest.approx(float(np.diff(times).var() / np.diff(times).mean() ** 2), abs=1e-4)
    assert found.p == 0.0


@pytest.mark.parametrize(
    ("starts", "ends", "peak", "share"),
    [
        ([0, 1, 2], [10, 3, 4], 3, 0.1),  # 2 to 3 of 10 seconds, less 50 ms
        ([0, 10], [10, 20], 1, 1.0),  # one after the other
        ([0, 9.96], [10, 20], 1, 1.0),  # booked 40 ms late
        ([], [], 0, 0.0),
    ],
)
def test_how_many_ran_at_a_time(starts: list[float], ends: list[float], peak: int, share: float) -> None:
    found = fitting_mesh.concurrency(np.array(starts, dtype=float), np.array(ends, dtype=float))
    assert found == (peak, pytest.approx(share, abs=0.02))


@pytest.mark.parametrize(
    ("seen", "base_s", "factor"),
    [
        ({1: 2.0, 2: 4.0, 3: 8.0}, 1.0, 2.0),
        ({1: 0.6, 2: 1.8}, 0.2, 3.0),
        ({1: 5.0, 2: 5.0, 3: 5.0}, 5.0, 1.0),
        ({1: 7.0}, 7.0, 1.0),  # of one wait no factor can be told
        ({1: 0.0}, 0.0, 1.0),
        ({1: 4.0, 2: 1.0}, 2.0, 1.0),  # shrinking waits: √(4 · 1)
    ],
)
def test_the_law_of_backoffs(seen: dict[int, float], base_s: float, factor: float) -> None:
    assert fitting_mesh.backoff_law(seen, dict.fromkeys(seen, 10)) == pytest.approx((base_s, factor), rel=1e-4)


# ---- a whole queue ---------------------------------------------------------------------------------------------------


def test_a_foreign_queue_is_found_again(foreign: Observed, tmp_path: Path) -> None:
    """What the model did, written as a table without any of its rules: mesh, retries, failures, service times."""
    fitted = fitting.fit(foreign)
    assert (fitted.capacity.workers, fitted.capacity.slots) == (2, 3)
    assert (fitted.retries.base_s, fitted.retries.factor) == pytest.approx((0.2, 3.0), rel=0.05)
    assert fitted.failures["A"].rate == pytest.approx(0.1, abs=0.03)
    assert fitted.failures["B"].rate == 0
    assert {one.role: one.dist for one in fitted.services} == {"A": "lognormal", "B": "gamma"}
    scenario = fitted.scenario(tmp_path / "out")
    assert isinstance(scenario.workload.arrivals, Trace)
    replay = fitted.replay(simulate, tmp_path / "out" / "scenario.yaml")
    assert replay.exact_agrees, replay.table()
    assert replay.verdict
    assert fitted.table().loc["B", "fitted_mean_s"] == pytest.approx(0.5, rel=0.05)
    assert len(fitted.figure().data) == 4
    for one in (fitted, replay):
        json.dumps(one.as_json(), allow_nan=False)


def test_wrong_slots_are_admitted(tmp_path: Path) -> None:
    """On half of the slots that the queue had, the model waits and the verdict says what is at fault."""
    seen = observed.read(_as_csv(tmp_path, 400))
    fitted = fitting.fit(seen)
    path = fitted.write(tmp_path / "out")
    path.write_text(path.read_text().replace("slots: 3", "slots: 1"))
    replay = fitting_replay.replay(seen, Scenario.load(path), simulate)
    assert not replay.agrees and not replay.exact_agrees
    assert "workers × slots" in replay.verdict


def test_values_that_fit_nothing_travel_beside_the_scenario(tmp_path: Path) -> None:
    rows = pd.DataFrame({"enqueue": np.arange(100.0), "start": np.arange(100.0)})
    rows["finish"] = rows["start"] + np.where(np.arange(100) % 2, 0.1, 0.7) + np.arange(100) / 1e4
    rows.to_csv(tmp_path / "two.csv", index=False)
    scenario = fitting.fit(observed.read(tmp_path / "two.csv")).scenario(tmp_path / "fit" / "mine.yaml")
    service = scenario.workload.roles["TASK"].service
    assert isinstance(service, EmpiricalService) and service.path == "service-TASK.parquet"
    times = simulate(scenario).tasks["service_s"]
    assert set(times.round(1)) == {0.1, 0.7}


def test_a_failure_without_retries_is_permanent(tmp_path: Path) -> None:
    """10 of 40 fail and are never tried again: max_retries 0, so no share of them is permanent by itself."""
    lines = [f"{n},{n},{n},{n + 0.5 + n / 100},{'failed' if n % 4 == 0 else 'done'}" for n in range(40)]
    (tmp_path / "q.csv").write_text("task,enqueue,start,finish,status\n" + "\n".join(lines))
    fitted = fitting.fit(observed.read(tmp_path / "q.csv"))
    assert fitted.retries.max_retries == 0
    assert (fitted.failures["TASK"].rate, fitted.failures["TASK"].permanent_share) == (0.25, 0.0)
    assert simulate(fitted.scenario(tmp_path / "out")).tasks["retries"].sum() == 0


def test_a_hostile_name_cannot_leave_its_comment(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text('enqueue,start,finish,role\n1,1,2,"x\nfaults: [{kind: kill_worker}]"\n')
    fitted = fitting.fit(observed.read(tmp_path / "q.csv"), name="../../x\ny: z")
    scenario = fitted.scenario(tmp_path / "out")
    assert scenario.faults == []
    assert list((tmp_path / "out").iterdir())


def test_the_machinery_is_measured_by_lone_tasks() -> None:
    assert fitting_replay.lone_overhead_s(simulate, "ideal") == 0.0
    assert 0.0 < fitting_replay.lone_overhead_s(simulate, "default") < 0.05
