"""`meshlab run`: figures, records, options, both engines, replications, failures."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import live_backend
import simulation
from lab import replicate
from lab.metrics import Times
from lab.outcome import judge
from lab.record import Record
from lab.scenario import Scenario

Meshlab = Callable[..., Any]
KEYS = {
    "run_id", "engine", "scenario", "seed", "tasks", "throughput_per_s", "makespan_s", "latency_s", "queue_wait_s",
    "by_queue", "rss_bytes", "backpressure", "checks", "wall_s", "record", "precision",
}  # fmt: skip


@pytest.fixture
def fake_live(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """A live engine that is the model under another name; the list holds what it was asked to run."""
    asked: list[Scenario] = []

    def run_live(scenario: Scenario, **watch: Any) -> Record:
        asked.append(scenario)
        record = simulation.simulate(scenario, **watch)
        record.info["engine"] = "live"
        record.info["run_id"] = record.info["run_id"].replace("-sim-", "-live-")
        return record

    monkeypatch.setattr(live_backend, "run_live", run_live, raising=False)
    return asked


def test_json_is_the_designs_object_and_nothing_else(meshlab: Meshlab) -> None:
    answer = meshlab("run", "quick.yaml", "--json")
    assert answer.status == 0
    assert answer.json.keys() >= KEYS
    assert (answer.json["engine"], answer.json["scenario"], answer.json["seed"]) == ("sim", "quick", 7)
    assert answer.json["tasks"]["completed"] == 60
    assert set(answer.json["latency_s"]) == {"mean", "p50", "p95", "p99", "max"}
    assert answer.json["checks"] == {"ok": True, "failed": []}


def test_the_record_is_where_json_says(meshlab: Meshlab, here: Path) -> None:
    got = meshlab("run", "quick.yaml", "--json", "--out", "kept").json
    assert Path(got["record"]).parent == Path("kept")
    record = Record.load(here / got["record"])
    assert record.info["run_id"] == got["run_id"]
    assert record.info["summary"]["latency_s"] == got["latency_s"]


def test_the_environment_names_the_folder_of_the_records(
    meshlab: Meshlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHLAB_RUNS", str(here / "elsewhere"))
    assert Path(meshlab("run", "quick.yaml", "--json").json["record"]).parent == here / "elsewhere"


def test_people_get_figures_and_a_verdict(meshlab: Meshlab) -> None:
    answer = meshlab("run", "quick.yaml")
    assert answer.status == 0
    for words in ("quick, seed 7", "throughput", "latency", "p99", "peak RSS", "all checks passed", "record in runs/"):
        assert words in answer.out
    assert "\x1b" not in answer.out


def test_set_and_seed_change_the_run_and_the_last_word_wins(meshlab: Meshlab) -> None:
    words = ("--set", "mesh.workers=1", "--set", "mesh.workers=2", "--set", "workload.arrivals={kind: burst, count: 9}")
    got = meshlab("run", "quick.yaml", "--json", *words, "--seed", "11").json
    info = json.loads((Path(got["record"]) / "run.json").read_text())
    assert (got["seed"], got["tasks"]["submitted"], info["scenario"]["mesh"]["workers"]) == (11, 9, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "mesh.workers=0"], "--set mesh.workers=0: must be greater than or equal to 1 (found 0)"),
        (["--set", "mesh.workers"], "--set mesh.workers: write PATH=VALUE"),
        (["--set", "mesh.workers="], "the value is missing"),
        (["--set", "mesh.workers=[1"], "--set mesh.workers=[1: YAML syntax"),
        (["--set", "mesh.workers=&a 1"], "anchor &a is not allowed"),
        (["--set", "mesh.wrokers=3"], "--set mesh.wrokers=3: unknown key 'wrokers'; did you mean 'workers'?"),
        (["--set", "meshh.workers=3"], "--set meshh.workers=3: meshh: unknown key 'meshh'; did you mean 'mesh'?"),
        (["--set", "workload.roles.DEV.service={dist: constant}"], "workload.roles.DEV.service.mean_s: "),
        (["--set", "faults.3.at_s=1"], "--set faults.3.at_s"),
        (["--seed", "-1"], "--seed -1: must be greater than or equal to 0"),
        (["--seed", "one"], "invalid int value: 'one'"),
        (["--replications", "0"], "must be 1 to 10,000"),
        (["--until", "p99"], "'p99' is no [FIGURE.]POINT:X%, as in p99:5%, mean:2% or queue_wait.p99:5%"),
        (["--until", "p99:5%", "--engine", "live"], "--until: is for the model alone"),
        (["--start-up", "guess"], "invalid choice: 'guess'"),
        (["--engine", "dream"], "invalid choice: 'dream'"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_options_are_told_and_end_with_2(meshlab: Meshlab, words: list[str], message: str) -> None:
    answer = meshlab("run", "quick.yaml", *words)
    assert answer.status == 2
    assert message in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_two_bad_options_are_told_at_once(meshlab: Meshlab) -> None:
    answer = meshlab("run", "quick.yaml", "--set", "mesh.workers=0", "--set", "rules.retry.base_s=-1")
    assert "--set mesh.workers=0: " in answer.err
    assert "--set rules.retry.base_s=-1: " in answer.err


def test_a_folder_that_cannot_be_made_is_told_before_the_run(meshlab: Meshlab, here: Path) -> None:
    (here / "file").write_text("")
    answer = meshlab("run", "quick.yaml", "--out", "file/runs")
    assert answer.status == 2
    assert "records cannot be kept here" in answer.err


def test_a_failed_check_ends_with_3_and_is_told_in_words(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = simulation.simulate

    def loses_one(scenario: Scenario, **watch: Any) -> Record:
        record = real(scenario, **watch)
        record.tasks.loc[0, "state"] = "PENDING"
        return judge(record)

    monkeypatch.setattr(simulation, "simulate", loses_one)
    answer = meshlab("run", "quick.yaml", "--json")
    assert answer.status == 3
    assert answer.json["checks"] == {"ok": False, "failed": ["nothing_lost"]}
    assert "nothing_lost: 1 tasks lost" in answer.err
    human = meshlab("run", "quick.yaml")
    assert human.status == 3
    assert "checks FAILED" in human.out
    assert "Every task that came in ends completed" in human.out


def test_a_bug_of_ours_is_one_line_and_its_trace_a_file(
    meshlab: Meshlab, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scenario: Scenario, **watch: Any) -> Record:
        raise ZeroDivisionError("in the\nengine")

    monkeypatch.setattr(simulation, "simulate", broken)
    answer = meshlab("run", "quick.yaml", "--status", "status.json")
    assert answer.status == 1
    (line,) = answer.err.strip().splitlines()
    assert line.startswith("this is our bug: ZeroDivisionError: in the engine; the details are in ")
    (details,) = (here / "runs").glob("meshlab-bug-*.txt")
    assert str(details.relative_to(here)) in line
    assert "Traceback" in details.read_text()
    status = json.loads((here / "status.json").read_text())
    assert (status["state"], status["exit_status"], status["message"]) == ("failed", 1, line)


# ---- both engines ----------------------------------------------------------------------------------------------------


def test_both_engines_run_the_same_scenario_and_are_compared(meshlab: Meshlab, fake_live: list[Scenario]) -> None:
    answer = meshlab("run", "quick.yaml", "--engine", "both", "--json", "--seed", "3")
    assert answer.status == 0
    assert set(answer.json) == {"sim", "live", "compare"}
    assert [scenario.seed for scenario in fake_live] == [3]
    assert answer.json["live"]["engine"] == "live"
    assert answer.json["compare"]["latency_s"]["p95"]["error"] == 0.0  # the fake is the model itself
    assert answer.json["compare"]["paired"]["tasks"] == 60


def test_people_get_three_columns_for_both(meshlab: Meshlab, fake_live: list[Scenario]) -> None:
    answer = meshlab("run", "quick.yaml", "--engine", "both")
    assert answer.status == 0
    for words in ("model", "live", "error", "latency p95", "+0.0 %", "task by task: 60 completed by both"):
        assert words in answer.out


def test_live_alone_runs_live_alone(meshlab: Meshlab, fake_live: list[Scenario]) -> None:
    assert meshlab("run", "quick.yaml", "--engine", "live", "--json").json["engine"] == "live"
    assert len(fake_live) == 1


# ---- replications ----------------------------------------------------------------------------------------------------


def test_replications_give_the_figures_of_all_with_intervals(meshlab: Meshlab) -> None:
    singles = [meshlab("run", "quick.yaml", "--json", "--seed", str(seed)).json for seed in (7, 8, 9)]
    answer = meshlab("run", "quick.yaml", "--json", "--replications", "3")
    assert answer.status == 0
    got = answer.json
    assert (got["seed"], got["seeds"], got["replications"], len(got["records"])) == (7, [7, 8, 9], 3, 3)
    mean = sum(one["latency_s"]["mean"] for one in singles) / 3
    assert got["latency_s"]["mean"] == pytest.approx(mean)
    low, high = got["latency_s"]["mean_ci95"]
    assert low < mean < high
    everyone = np.concatenate([Times.of(Record.load(folder)).values("latency_s") for folder in got["records"]])
    assert got["latency_s"]["p95"] == pytest.approx(np.quantile(everyone, 0.95))  # no mean of the runs' own
    assert got["throughput_per_s_ci95"][0] < got["throughput_per_s"]
    assert got["checks"] == {"ok": True, "failed": []}
    assert got["record"] == got["records"][0]
    assert not [
        key for key in got if key.endswith("_ci95") and key.removesuffix("_ci95") in ("seed", "run_id", "wall_s")
    ]


def test_replications_of_both_compare_all_runs(meshlab: Meshlab, fake_live: list[Scenario]) -> None:
    got = meshlab("run", "quick.yaml", "--json", "--engine", "both", "--replications", "2").json
    assert [scenario.seed for scenario in fake_live] == [7, 8]
    compared = got["compare"]["latency_s"]["p50"]
    assert (compared["sim"], compared["live"]) == (got["sim"]["latency_s"]["p50"], got["live"]["latency_s"]["p50"])
    assert compared["error"] == pytest.approx(0.0)
    assert got["compare"]["paired"]["tasks"] == 60  # of the first replication
    assert "p50_ci95" in got["live"]["latency_s"]


def test_people_are_told_the_seeds_of_replications(meshlab: Meshlab, fake_live: list[Scenario]) -> None:
    answer = meshlab("run", "quick.yaml", "--engine", "live", "--replications", "2")
    assert "2 replications with seeds 7 to 8" in answer.out
    assert "±" in answer.out


# ---- precision -------------------------------------------------------------------------------------------------------

STEADY = ("--set", "workload.arrivals={kind: poisson, rate_per_s: 16, count: 400}")


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replications in this process: on a machine of one core there is no other."""
    monkeypatch.setattr(replicate, "core_count", lambda: 1)


def test_it_runs_until_the_figure_is_known(meshlab: Meshlab, one_core: None) -> None:
    got = meshlab("run", "quick.yaml", "--until", "mean:10%", "--json").json
    until = got["until"]
    assert (until["figure"], until["asked"], until["reached"]) == ("latency_s.mean", 0.1, True)
    assert until["replications"] == got["replications"] == len(got["records"]) >= 10
    assert until["half_width"] <= 0.1
    low, high = got["latency_s"]["mean_ci95"]
    assert until["half_width"] == pytest.approx((high - low) / 2 / got["latency_s"]["mean"], abs=1e-6)
    assert got["seeds"] == list(range(7, 7 + got["replications"]))
    assert not got["interrupted"]


def test_the_most_replications_may_not_be_enough(meshlab: Meshlab, one_core: None) -> None:
    answer = meshlab("run", "quick.yaml", "--until", "queue_wait.p99:0.1%", "--replications", "11", "--json")
    assert answer.status == 0
    assert (answer.json["until"]["reached"], answer.json["until"]["replications"]) == (False, 11)
    human = meshlab("run", "quick.yaml", "--until", "queue_wait.p99:0.1%", "--replications", "11")
    assert "after 11 replications: 0.1 % was asked and not reached" in human.out


def test_ctrl_c_keeps_the_replications_that_are_done(
    meshlab: Meshlab, one_core: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seeds = simulation.simulate, list[int]()

    def stopped_at_the_third(scenario: Scenario, **watch: Any) -> Record:
        seeds.append(scenario.seed)
        record = real(scenario, **watch)
        if len(seeds) == 3:
            signal.raise_signal(signal.SIGINT)
            record.info["interrupted"] = True
        return record

    monkeypatch.setattr(simulation, "simulate", stopped_at_the_third)
    answer = meshlab("run", "quick.yaml", "--until", "mean:0.1%", "--json")
    assert answer.status == 130
    assert (answer.json["seeds"], answer.json["interrupted"]) == ([7, 8], True)
    assert (answer.json["until"]["reached"], answer.json["until"]["replications"]) == (False, 2)
    assert seeds == [7, 8, 9]


def test_a_steady_run_says_how_well_it_knows_its_figures(meshlab: Meshlab) -> None:
    got = meshlab("run", "quick.yaml", *STEADY, "--json").json["precision"]
    assert (got["question"], got["batches"]) == ("steady state", 20)
    low, high = got["queue_wait_s"]["mean_ci95"]
    assert low < got["queue_wait_s"]["mean"] < high
    out = meshlab("run", "quick.yaml", *STEADY).out
    for words in (
        "mean queue wait",
        "(95 %: ",
        "from 20 batches of the run",
        "relaxation times long",
        "start: nothing",
    ):
        assert words in out


def test_a_burst_says_that_replications_are_its_sample(meshlab: Meshlab) -> None:
    assert "replications are its sample" in meshlab("run", "quick.yaml").out


def test_the_start_may_be_left_out(meshlab: Meshlab, here: Path, one_core: None) -> None:
    got = meshlab("run", "quick.yaml", *STEADY, "--start-up", "delete", "--json").json
    deleted = got["precision"]["start_up"]["deleted_tasks"]
    times = Times.of(Record.load(got["record"]))
    assert 0 < deleted < 400
    assert got["precision"]["queue_wait_s"]["mean"] == pytest.approx(times.queue_wait_s[deleted:].mean())
    assert got["queue_wait_s"]["mean"] == pytest.approx(times.queue_wait_s.mean())  # the figures are of all tasks
    twice = meshlab("run", "quick.yaml", *STEADY, "--start-up", "delete", "--replications", "2", "--json").json
    records = [Record.load(folder) for folder in twice["records"]]
    firsts = [one.info["precision"]["start_up"]["deleted_tasks"] for one in records]
    kept = [Times.of(one).queue_wait_s[first:] for one, first in zip(records, firsts, strict=True)]
    assert firsts[0] == deleted
    assert twice["precision"]["replications"] == 2
    assert twice["precision"]["queue_wait_s"]["mean"] == pytest.approx(np.concatenate(kept).mean(), abs=1e-8)


# ---- replications that go wrong --------------------------------------------------------------------------------------


def test_one_bad_replication_spoils_the_verdict(
    meshlab: Meshlab, fake_live: list[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = live_backend.run_live

    def second_is_bad(scenario: Scenario, **watch: Any) -> Record:
        record = good(scenario, **watch)
        if scenario.seed == 8:
            record.tasks.loc[0, "state"] = "PENDING"
        return judge(record)

    monkeypatch.setattr(live_backend, "run_live", second_is_bad)
    answer = meshlab("run", "quick.yaml", "--engine", "live", "--replications", "2", "--json")
    assert answer.status == 3
    assert answer.json["checks"] == {"ok": False, "failed": ["nothing_lost"]}
    assert "seed 8: nothing_lost" in answer.err
