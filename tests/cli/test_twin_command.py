"""`meshlab twin` as a user calls it, with the model in the place of the live engine; and once for real."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import live_backend
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.cli.conftest import Answer, Meshlab
from tests.ui.conftest import as_live

TINY = """\
# A tiny one.
name: tiny
seed: 4
workload:
  arrivals: {kind: burst, count: 24}
  roles:
    DEV: {priority: {5: 1, 2: 1, 1: 1}, service: {dist: exponential, mean_s: 0.1}, memory_mib: 2}
mesh: {workers: 2, slots: 3}
rules: {health: {report_s: 0.1}}
"""


@pytest.fixture
def tiny(here: Path) -> str:
    (here / "tiny.yaml").write_text(TINY)
    return "tiny.yaml"


@pytest.fixture
def stretched(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[str]]:
    """stretched(factor): the live engine is the model's run with all moments stretched. Returns what it ran."""

    def put(factor: float) -> list[str]:
        ran: list[str] = []

        def live(scenario: Scenario, **watched: Any) -> Record:
            ran.append(scenario.name)
            return as_live(simulate(scenario, **watched), factor)

        monkeypatch.setattr(live_backend, "run_live", live)
        return ran

    return put


def test_a_model_that_is_right(meshlab: Meshlab, tiny: str, stretched: Any) -> None:
    ran = stretched(1.0)
    answer = meshlab("twin", tiny, "--repeats", "2", "--out", "found")
    assert answer.status == 0, answer.err
    assert ran == ["tiny", "tiny"]
    assert "every aim is met" in answer.out
    assert "1 equivalent" in answer.out
    assert sorted(path.name for path in Path("found").iterdir()) == [
        "report.html",
        "results.json",
        "table.csv",
        "table.parquet",
    ]
    assert json.loads(Path("found/results.json").read_text())["ok"]
    assert len(pd.read_parquet("found/table.parquet")) == len(pd.read_csv("found/table.csv")) > 10


def test_a_missed_aim_is_exit_status_3_and_named(meshlab: Meshlab, tiny: str, stretched: Any) -> None:
    stretched(1.3)
    answer = meshlab("twin", tiny, "--repeats", "2")
    assert answer.status == 3
    assert "MISSED Throughput" in answer.out
    assert "MISSED Latency p50: beyond its allowance in tiny" in answer.out
    assert "tiny: the model is too fast by" in answer.out


def test_json_is_one_object_without_the_curves(meshlab: Meshlab, tiny: str, stretched: Any) -> None:
    stretched(1.0)
    answer = meshlab("twin", tiny, "--repeats", "1", "--json")
    assert answer.status == 0
    one = answer.json["scenarios"][0]
    assert one["figures"]["latency_s.p99"]["error"] == 0
    assert one["figures"]["latency_s.p99"]["at_aim"] == {
        "verdict": "not shown",
        "p": None,
        "ci90": None,
        "margin": 0.12,
    }
    assert "curves" not in one
    assert "worst" not in one


def test_another_profile_may_be_tested(meshlab: Meshlab, tiny: str, stretched: Any, here: Path) -> None:
    stretched(1.0)
    (here / "mine.yaml").write_text("measured: by me\n")
    answer = meshlab("twin", tiny, "--repeats", "1", "--profile", "mine.yaml", "--json")
    assert answer.json["profile"]["measured"] == "by me"
    assert meshlab("twin", tiny, "--profile", "none.yaml").status == 2


def test_records_are_kept_where_runs_are(meshlab: Meshlab, tiny: str, stretched: Any) -> None:
    stretched(1.0)
    assert meshlab("twin", tiny, "--repeats", "1", "--keep").status == 0
    assert sorted(path.name.split("-")[3] for path in Path("runs").iterdir()) == ["live", "sim"]


def test_the_matrix_is_listed_and_written(meshlab: Meshlab) -> None:
    listed = meshlab("twin", "--list")
    assert "edge-poisson" in listed.out
    assert len(meshlab("twin", "--list", "--quick").out.splitlines()) < len(listed.out.splitlines()) / 2
    written = meshlab("twin", "--write", "here", "--only", "crash")
    assert written.status == 0
    assert meshlab("validate", "here/crash.yaml").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "crush"), "no scenario 'crush'"),
        (("tiny.yaml", "--quick"), "leave them out"),
        (("--repeats", "0"), "must be 1 to 100"),
        (("none.yaml",), "none.yaml"),
        (("--out", "tiny.yaml/x", "--only", "crash"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused(meshlab: Meshlab, tiny: str, words: tuple[str, ...], said: str) -> None:
    answer: Answer = meshlab("twin", *words)
    assert answer.status == 2
    assert said in answer.err


def test_the_app_can_follow_it(meshlab: Meshlab, tiny: str, stretched: Any, here: Path) -> None:
    stretched(1.3)
    meshlab("twin", tiny, "--repeats", "1", "--status", "status.json")
    status = json.loads((here / "status.json").read_text())
    assert (status["state"], status["exit_status"], status["fraction"]) == ("done", 3, 1.0)
    assert status["result"]["missed"]


@pytest.mark.live
def test_for_real(meshlab: Meshlab, tiny: str) -> None:
    answer = meshlab("twin", tiny, "--repeats", "2", "--out", "found", "--quiet")
    assert answer.status in (0, 3), answer.err
    found = json.loads(Path("found/results.json").read_text())
    (one,) = found["scenarios"]
    assert found["complete"]
    assert one["repeats"] == 2
    assert one["checks"] == {"model": [], "live": []}
    assert one["paired"]["tasks"] == 24
    assert one["paired"]["correlation"] > 0.5
    assert set(found["summary"]["figures"]) >= {"throughput_per_s", "latency_s.p50", "drain_s"}
    assert one["figures"]["latency_s.p50"]["at_aim"]["ci90"]
