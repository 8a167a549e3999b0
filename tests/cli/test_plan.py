"""`meshlab plan`: what it answers, writes and refuses, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lab import planning_confirm, replicate
from lab.errors import UsageError
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.cli.conftest import Meshlab

BURST = """\
# Thirty tasks of a second: five slots need six seconds, ten slots three.
name: thirty
seed: 3
workload:
  arrivals: {kind: burst, count: 30}
  roles: {A: {service: {dist: constant, mean_s: 1.0}}}
mesh: {workers: 1, slots: 5}
profile: ideal
"""
PLAN = ("plan", "thirty.yaml", "--slots", "5", "--replications", "2", "--no-margin", "--drain-max")


@pytest.fixture(autouse=True)
def thirty(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scenario; and no processes for runs that take a millisecond."""
    (here / "thirty.yaml").write_text(BURST)
    monkeypatch.setattr(replicate, "core_count", lambda: 1)
    return here


def test_the_cheapest_mesh_is_told_in_words_and_as_a_table(meshlab: Meshlab) -> None:
    told = meshlab(*PLAN, "4")
    assert told.status == 0
    assert told.out.startswith("2 workers × 5 slots: drain after the last arrival 3.00 s for 2.00/h; the next cheaper")
    assert "*  2 workers × 5 slots" in told.out and "+  1 worker × 5 slots" in told.out


def test_json_is_one_object_and_nothing_else(meshlab: Meshlab, here: Path) -> None:
    told = meshlab(*PLAN, "4", "--json", "--status", str(here / "status.json"))
    found = told.json
    assert (told.status, found["found"], found["confirmation"]) == (0, True, None)
    assert (found["winner"]["workers"], found["winner"]["cost_per_h"]) == (2, 2.0)
    assert json.loads((here / "status.json").read_text())["state"] == "done"


def test_files_are_written_and_the_scenario_runs(meshlab: Meshlab, here: Path) -> None:
    for name in ("plan.html", "plan.json", "plan.csv", "plan.parquet"):
        assert meshlab(*PLAN, "4", "--out", name, "--yaml", "winner.yaml").status == 0
    assert "meshlab plan thirty.yaml" in (here / "plan.html").read_text()
    assert json.loads((here / "plan.json").read_text())["winner"]["workers"] == 2
    tables = [pd.read_csv(here / "plan.csv"), pd.read_parquet(here / "plan.parquet")]
    assert all(table["winner"].sum() == 1 for table in tables)
    assert Scenario.load(here / "winner.yaml").mesh.workers == 2
    assert meshlab("run", "winner.yaml", "--json").json["makespan_s"] == 3.0


def test_objectives_that_cannot_be_met_end_with_3(meshlab: Meshlab, here: Path) -> None:
    told = meshlab(*PLAN, "0.5", "--yaml", "winner.yaml")
    assert told.status == 3 and "stands in the way" in told.out and "no task waits" in told.out
    assert not (here / "winner.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs an objective"),
        (("--p99", "0"), "nothing is done in 0 s"),
        (("--p99", "soon"), "number of at least 0"),
        (("--p99", "5", "--dead-max", "120%"), "share from 0 to 1"),
        (("--p99", "5", "--workers", "4..1"), "1..32"),
        (("--p99", "5", "--slots", "none"), "1..32"),
        (("--p99", "5", "--policies", "hope"), "there is no 'hope'"),
        (("--p99", "5", "--cost-worker", "0"), "costs nothing"),
        (("--p99", "5", "--out", "plan.txt"), "must end in"),
        (("--p99", "5", "--out", "nowhere/plan.csv"), "there is no folder"),
        (("--p99", "5", "--replications", "1"), "must be 2 to"),
    ],
)
def test_bad_usage_ends_with_2_and_says_why(meshlab: Meshlab, words: tuple[str, ...], said: str) -> None:
    told = meshlab("plan", "thirty.yaml", *words)
    assert told.status == 2 and said in told.err and "Traceback" not in told.err


# ---- confirmed live --------------------------------------------------------------------------------------------------


def as_live(factor: float, **info: Any) -> Any:
    """A stand-in for the real thing: the model, all moments stretched."""

    def run_live(scenario: Scenario, **_: Any) -> Record:
        record = simulate(scenario)
        for column in ("first_claim_s", "done_s"):
            record.tasks[column] *= factor
        record.info |= {"run_id": "live", **info}
        return record

    return run_live


@pytest.mark.parametrize(("factor", "status", "said"), [(1.1, 0, "Confirmed"), (1.5, 3, "BROKEN")])
def test_the_winner_is_run_live_against_its_objectives(
    meshlab: Meshlab, here: Path, monkeypatch: pytest.MonkeyPatch, factor: float, status: int, said: str
) -> None:
    monkeypatch.setattr("live_backend.run_live", as_live(factor))
    told = meshlab(*PLAN, "4", "--confirm", "--out", "plan.json")
    assert told.status == status and said in told.out and "the model had 3.00 s on the same tasks" in told.out
    found = json.loads((here / "plan.json").read_text())["confirmation"]
    (line,) = found["lines"]
    assert (line["live"], line["most"], line["model"]) == (pytest.approx(3 * factor), 4.0, 3.0)
    assert found["ok"] is (status == 0) and Path(found["record"]).is_dir()


def test_a_broken_check_or_a_stopped_run_is_no_confirmation(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"ok": False, "failed": ["nothing_lost"], "details": []}
    monkeypatch.setattr("live_backend.run_live", as_live(1.0, checks=broken))
    told = meshlab(*PLAN, "4", "--confirm")
    assert told.status == 3 and "broke the checks nothing_lost" in told.out
    monkeypatch.setattr("live_backend.run_live", as_live(1.0, interrupted=True))
    assert meshlab(*PLAN, "4", "--confirm").status == 130


@pytest.mark.parametrize(
    ("setting", "mesh", "said"),
    [
        ("workload.roles.A.service.mean_s=300", "2", "takes 15 min"),
        ("workload.roles.A.service.mean_s=0.1", "49", "more than the 48 processes"),
        ("workload.roles.A.memory_mib=100", "2", "are free here"),
        ("workload.roles.A.cpu_share=1", "2", "cores of 1"),
        ("workload.arrivals.count=30", "2", "somebody's redis"),
    ],
)
def test_it_says_why_the_winner_does_not_fit_here(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, setting: str, mesh: str, said: str
) -> None:
    def refuse(scenario: Scenario, **_: Any) -> Record:
        raise UsageError("somebody's redis")

    monkeypatch.setattr("live_backend.run_live", refuse)
    monkeypatch.setattr(planning_confirm, "core_count", lambda: 1)
    free_bytes = 2**20 if "memory" in setting else 2**34
    monkeypatch.setattr(planning_confirm, "_free_bytes", lambda: free_bytes)
    told = meshlab(*PLAN, "1000", "--confirm", "--set", setting, "--workers", mesh)
    assert told.status == 0 and "Not confirmed live" in told.out and said in told.out, told.out
