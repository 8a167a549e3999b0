"""The prediction test with the model as its own opponent: another profile, or a run stretched, stands for live."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import twin, twin_matrix
from lab.errors import Interrupted, UsageError
from lab.limits import TWIN_TASKS_MAX
from lab.progress import Progress
from lab.record import Record
from lab.scenario import Scenario
from lab.twin_figures import BY_PATH, Judged, drain_s, is_backlogged
from lab.twin_matrix import Bench, Case, matrix
from lab.twin_page import page
from simulation import simulate
from tests.ui.conftest import as_live

TEXT = """\
name: small
seed: 3
workload:
  arrivals: {kind: poisson, rate_per_s: 30, duration_s: 3}
  roles:
    DEV: {priority: {5: 1, 2: 1, 1: 1}, service: {dist: exponential, mean_s: 0.1}, failure_rate: 0.1, memory_mib: 4}
mesh: {workers: 2, slots: 2}
rules: {retry: {base_s: 0.05}, health: {report_s: 0.25}}
"""


def case(name: str = "small", values: Mapping[str, Any] | None = None) -> Case:
    """The scenario above under another name, with these values replaced."""
    return Case(name, "A small one.", Scenario.parse(TEXT).override({"name": name, **(values or {})}))


class Slower:
    """A live engine: the model's own run, stretched by the next of these factors."""

    def __init__(self, *factors: float) -> None:
        self.factors = factors
        self.ran: list[str] = []

    def __call__(self, scenario: Scenario, **watched: Any) -> Record:
        record = simulate(scenario, **watched)
        factor = self.factors[self.ran.count(scenario.name) % len(self.factors)]
        self.ran.append(scenario.name)
        return as_live(record, factor)


@pytest.fixture(scope="module")
def slower() -> dict[str, Any]:
    """The results of a test against a machine that is a twentieth slower."""
    return twin.run(simulate, Slower(1.04, 1.05, 1.06), [case()], 3).data


# ---- the matrix ------------------------------------------------------------------------------------------------------


def test_the_matrix_holds_what_was_asked_for() -> None:
    cases = matrix()
    data = {one.name: one.scenario.data for one in cases}
    assert 14 <= len(cases) <= 18
    assert {one["workload"]["arrivals"]["kind"] for one in data.values()} == {"constant", "poisson", "trace", "burst"}
    assert data["light-constant"]["workload"]["arrivals"]["rate_per_s"] == 16  # 0.2 · 2 · 10 / 0.25
    assert data["over-constant"]["workload"]["arrivals"]["rate_per_s"] == 104  # 1.3 · 80
    assert data["failures"]["workload"]["arrivals"]["rate_per_s"] == 38.4  # 0.6 · 80 / 1.25 attempts
    assert [one.name for one in cases if one.saturates] == ["saturation"]
    assert 5 <= len(matrix(quick=True)) <= 7


def test_a_rate_is_a_share_of_the_capacity() -> None:
    assert Bench(3, 4, 0.5).rate(0.5) == 12  # 0.5 · 3 · 4 / 0.5
    assert Bench(3, 4, 0.5).rate(0.5, attempts=2) == 6


def test_each_of_the_matrix_runs_within_twenty_seconds() -> None:
    for one in matrix():
        record = simulate(one.scenario)
        assert record.info["checks"]["ok"], one.name
        assert float(record.tasks["done_s"].max()) < 21, one.name
        assert not record.info["interrupted"], one.name


def test_the_matrix_can_be_written_as_files_that_load_again(tmp_path: Path) -> None:
    cases = matrix()
    written = twin_matrix.write(cases, tmp_path / "here")
    for one, path in zip(cases, written, strict=True):
        assert path.read_text().startswith(f"# {one.about}\n")
        assert Scenario.load(path).model_dump() == one.scenario.model_dump()
    assert (tmp_path / "here" / twin_matrix.TRACE_LICENSE).exists()
    assert simulate(Scenario.load(tmp_path / "here" / "trace-bursty.yaml")).tasks["id"].count() == 1000


def test_a_part_of_the_matrix_by_name() -> None:
    assert [one.name for one in matrix(["crash", "few-long", "crash"])] == ["crash", "few-long"]
    with pytest.raises(UsageError, match=r"no scenario 'crush'.*light-constant"):
        matrix(["crush"])


def test_files_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(TEXT)
    paths = [str(tmp_path / f"{name}.yaml") for name in ("a", "b")]
    assert [one.name for one in twin_matrix.of_files(paths)] == ["a-1", "b-2"]
    assert [one.name for one in twin_matrix.of_files(paths[:1])] == ["small"]


# ---- the runs --------------------------------------------------------------------------------------------------------


def test_every_round_has_every_scenario_once_in_an_order_of_its_own() -> None:
    found = list(twin.order(6, 4, seed=1))
    rounds = [[number for number, repeat in found if repeat == one] for one in (1, 2, 3, 4)]
    assert all(sorted(one) == list(range(6)) for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1
    assert found == list(twin.order(6, 4, seed=1))
    assert found != list(twin.order(6, 4, seed=2))


def test_progress_counts_expected_seconds_and_ends_full() -> None:
    seen: list[Progress] = []
    twin.run(simulate, Slower(1.0), [case("a"), case("b")], 2, on_progress=seen.append)
    assert seen[-1].fraction == 1.0
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert any(one.note == "run 4 of 4: a, repeat 2" or one.note == "run 4 of 4: b, repeat 2" for one in seen)


def test_stopped_it_keeps_what_is_done() -> None:
    cases, live = [case("a"), case("b")], Slower(1.0)
    study = twin.run(simulate, live, cases, 3, stop=lambda: len(live.ran) >= 3)
    assert not study.complete
    assert sum(len(one.live) for one in study.tried) == 2  # the third was cut
    assert {one["name"] for one in study.data["scenarios"]} == {"a", "b"}
    assert not study.data["complete"]


def test_stopped_before_anything_was_done_it_says_so() -> None:
    with pytest.raises(Interrupted, match="before the first live run"):
        twin.run(simulate, Slower(1.0), [case()], 1, stop=lambda: True)


def test_too_many_tasks_are_refused() -> None:
    large = case(values={"workload.arrivals": {"kind": "burst", "count": TWIN_TASKS_MAX + 1}})
    with pytest.raises(UsageError, match="300,001 tasks"):
        twin.run(simulate, Slower(1.0), [large], 1)


def test_results_are_told_after_every_run() -> None:
    told: list[int] = []
    twin.run(
        simulate,
        Slower(1.0),
        [case("a"), case("b")],
        2,
        on_done=lambda study, record: told.append(sum(one["repeats"] for one in study.data["scenarios"])),
    )
    assert told == [1, 2, 3, 4]


# ---- the figures -----------------------------------------------------------------------------------------------------


def test_a_model_that_is_right_is_shown_to_be() -> None:
    data = twin.run(simulate, Slower(1.0), [case()], 2).data
    assert data["ok"]
    assert data["summary"]["missed"] == []
    rows = data["summary"]["figures"]
    latencies = {f"latency_s.{part}" for part in ("p50", "p95", "p99")}
    assert set(rows) == {"throughput_per_s", *latencies, "drain_s", "rss_bytes.peak"}
    assert all(row["median_error"] == 0 and row["verdicts"]["equivalent"] == 1 for row in rows.values())
    one = data["scenarios"][0]
    assert one["paired"]["p95_abs_s"] == 0
    assert one["paired"]["correlation"] == 1
    assert one["bins"] == {"bias": 0, "error": 0, "live_error": 0}
    assert one["anatomy"]["why"].startswith("the mean latency is right within 0 %")


def test_a_machine_that_is_slower_is_seen_figure_by_figure(slower: dict[str, Any]) -> None:
    figures = slower["scenarios"][0]["figures"]
    # The makespan is stretched by 1.04, 1.05, 1.06; so model / mean(live) − 1 of the rate is 1 / mean(1 / factor) − 1.
    rate = 3 / (1 / 1.04 + 1 / 1.05 + 1 / 1.06)
    first = slower["scenarios"][0]["figures"]["throughput_per_s"]
    assert first["error"] == pytest.approx(rate - 1, abs=2e-3)
    assert not first["within_aim"]
    assert first["within_allowance"]  # 3 · 2 %
    assert first["at_aim"]["verdict"] == "different"
    # All three repeats are beyond 2 %: 90 % of the log ratio lie in ln 1.05 ± 2.92 · 0.0055.
    assert first["at_aim"]["ci90"][0] == pytest.approx(math.exp(math.log(1.05) - 2.92 * 0.0055) - 1, abs=2e-3)
    assert figures["latency_s.p50"]["error"] < -0.05
    assert figures["tasks.retries"]["error"] == 0


def test_the_verdict_says_which_aims_were_missed(slower: dict[str, Any]) -> None:
    assert not slower["ok"]
    missed = slower["summary"]["missed"]
    assert missed[0] == "Throughput: median error 5.0 %, the aim is 2.0 %"
    assert any(words == "Latency p50: beyond its allowance in small" for words in missed)
    assert slower["summary"]["figures"]["rss_bytes.peak"]["met"]


def test_the_live_spread_widens_what_is_allowed() -> None:
    p50 = BY_PATH["latency_s.p50"]
    steady = Judged(p50, 1.2, (1.0, 1.0, 1.0), counts=True)
    noisy = Judged(p50, 1.2, (0.7, 1.0, 1.3), counts=True)
    assert steady.allowance == pytest.approx(0.15)  # 3 · 5 %
    assert noisy.spread == pytest.approx(0.3)
    assert noisy.allowance == pytest.approx(0.3)
    assert not steady.as_json()["within_allowance"]
    assert noisy.as_json()["within_allowance"]
    assert noisy.as_json()["at_allowance"]["verdict"] == "not shown"  # too noisy to say so


@pytest.mark.parametrize(
    ("path", "model", "live", "error"),
    [
        ("latency_s.p50", 0.004, (0.002, 0.002), 1.0),  # no floor: 4 / 2 − 1
        ("queue_wait_s.agent_high.mean", 0.004, (0.002, 0.002), 0.04),  # 2 ms of 50 ms
        ("queue_wait_s.agent_high.mean", 0.12, (0.1, 0.1), 0.2),  # above the floor: 0.12 / 0.1 − 1
        ("tasks.reclaimed", 5, (4, 4), 0.05),  # 1 of 20
        ("tasks.dead", 0, (0, 0), 0.0),
        ("drain_s", 0.3, (0.2, 0.2), 0.2),  # 0.1 of 0.5 s
    ],
)
def test_near_zero_errors_are_shares_of_a_floor(path: str, model: float, live: tuple[float, ...], error: float) -> None:
    assert Judged(BY_PATH[path], model, live, counts=True).error == pytest.approx(error)


def test_a_drain_is_judged_where_there_was_a_backlog() -> None:
    burst = simulate(case(values={"workload.arrivals": {"kind": "burst", "count": 40, "at_s": 1}}).scenario)
    calm = simulate(case(values={"workload.arrivals": {"kind": "constant", "count": 10, "rate_per_s": 5}}).scenario)
    assert is_backlogged(burst)
    assert not is_backlogged(calm)
    assert drain_s(burst) == float(burst.tasks["done_s"].max()) - 1


def test_where_there_is_no_work_only_the_machines_rate_and_memory_are_judged() -> None:
    idle = case(
        "idle",
        {"workload.arrivals": {"kind": "burst", "count": 400}, "workload.roles.DEV.service.mean_s": 0, "seed": 4},
    )
    assert idle.saturates
    figures = twin.run(simulate, Slower(1.0), [idle], 2).data["scenarios"][0]["figures"]
    judged = [path for path, found in figures.items() if found["judged"]]
    assert judged[0] == "saturation_per_s"
    assert set(judged) <= {"saturation_per_s", "rss_bytes.peak"}
    assert "saturation_per_s" not in twin.run(simulate, Slower(1.0), [case()], 1).data["scenarios"][0]["figures"]


# ---- why -------------------------------------------------------------------------------------------------------------


def test_it_says_why_the_model_is_off() -> None:
    """An ideal machine against ours: the difference is machinery and, through it, queueing."""

    def ours(scenario: Scenario, **watched: Any) -> Record:
        return as_live(simulate(scenario.override({"profile": "shipped"}), **watched))

    values = {"workload.arrivals.rate_per_s": 42, "workload.roles.DEV.failure_rate": 0, "profile": "ideal"}
    busy = case("busy", values)
    one = twin.run(simulate, ours, [busy], 2).data["scenarios"][0]
    apart = one["anatomy"]["difference_s"]
    assert apart["queueing"] < 0
    assert apart["machinery"] < 0
    assert apart["service"] == pytest.approx(0, abs=1e-4)
    assert sum(map(abs, one["anatomy"]["share"].values())) == pytest.approx(1)
    whole = one["figures"]["latency_s.mean"]
    assert sum(apart.values()) == pytest.approx(whole["model"] - whole["live_mean"], abs=1e-4)
    assert "too fast" in one["anatomy"]["why"]
    assert one["anatomy"]["slots"]["live"]["machinery"] > one["anatomy"]["slots"]["model"]["machinery"]


def test_the_worst_tasks_come_with_their_stories(slower: dict[str, Any]) -> None:
    worst = slower["scenarios"][0]["worst"]
    assert len(worst) == 10
    sizes = [abs(task["difference_s"]) for task in worst]
    assert sizes == sorted(sizes, reverse=True)
    for task in worst:
        assert sum(span["end_s"] - span["start_s"] for span in task["model"]) == pytest.approx(
            task["model_s"], abs=1e-4
        )
        assert task["live_repeat"] in (1, 2, 3)


# ---- what is made of it ----------------------------------------------------------------------------------------------


def test_the_results_are_plain_data(slower: dict[str, Any]) -> None:
    assert json.loads(json.dumps(slower, allow_nan=False)) == slower


def test_the_page_needs_nothing_from_elsewhere_and_trusts_no_name() -> None:
    hostile = Case("<b>x</b>", "<script>alert(1)</script>", case().scenario)
    data = twin.run(simulate, Slower(1.02, 1.03), [hostile], 2).data
    content = page(data)
    assert "<script>alert(1)" not in content
    assert "<b>x</b>" not in content.replace("\\u003cb\\u003ex", "")
    assert "default-src 'none'" in content
    assert "How it is judged" in content


def test_a_row_for_every_scenario_and_figure(slower: dict[str, Any]) -> None:
    study = twin.run(simulate, Slower(1.0), [case("a"), case("b")], 2)
    frame = study.table()
    assert len(frame) == sum(len(one["figures"]) for one in study.data["scenarios"])
    assert set(frame["scenario"]) == {"a", "b"}
    assert frame.loc[frame["figure"] == "latency_s.p95", "verdict"].tolist() == ["equivalent"] * 2
