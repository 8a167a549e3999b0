"""`meshlab whatif`: cards put to a scenario, in words, as JSON and as a page; live where that is possible."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import live_backend
import simulation
from lab.errors import UsageError
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.cli.conftest import Meshlab

ONE = ("whatif", "quick.yaml", "--card", "failures:2", "--replications", "2")


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes of their own: what a test replaces would not be replaced in them."""
    monkeypatch.setattr("lab.replicate.core_count", lambda: 1)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """A stand-in for the real thing: the model under another name. Returns what was run live."""
    seen: list[Scenario] = []

    def run_live(scenario: Scenario, **more: Any) -> Record:
        seen.append(scenario)
        record = simulate(scenario, **more)
        record.info.update(engine="live", run_id=record.info["run_id"].replace("-sim-", "-live-"))
        return record

    monkeypatch.setattr(live_backend, "run_live", run_live)
    return seen


def test_one_card_in_words(meshlab: Meshlab) -> None:
    answer = meshlab(*ONE)
    assert answer.status == 0
    for said in (
        "quick: what if?",
        "2 pairs of runs, seeds 7 to 8, in the model: the same tasks and the same draws",
        "Failures × 2: 2 times as many attempts fail: 20 % → 40 %.",
        "workload.roles.DEV.failure_rate: 0.2 → 0.4",
        "Latency p99",
        "Tasks dead-lettered",
        "change (95 %)",
    ):
        assert said in answer.out
    assert "Traceback" not in answer.err


def test_all_cards_a_line_each(meshlab: Meshlab) -> None:
    answer = meshlab("whatif", "quick.yaml", "--replications", "2", "--set", "mesh.workers=1")
    assert answer.status == 0
    for said in ("Provider 2× slower", "Failures × 5", "Traffic × 2", "Redis away for 30 s", "as-written or jitter"):
        assert said in answer.out
    assert "lose-workers: does not apply: 1 worker of 1 would die" in answer.out


def test_json_alone_on_stdout_and_the_files(meshlab: Meshlab, here: Path) -> None:
    answer = meshlab(*ONE, "--card", "redis-away:2", "--json", "--out", "answer.json", "--quiet")
    found = answer.json
    assert json.loads((here / "answer.json").read_text()) == found
    assert (found["scenario"], found["seed"], found["live"], found["refused"]) == ("quick", 7, None, [])
    assert found["answers"][0]["cards"] == ["failures:2", "redis-away:2"]
    assert found["checks"]["ok"]
    assert meshlab(*ONE, "--out", "answer.html").status == 0
    page = (here / "answer.html").read_text()
    assert "quick: Failures × 2" in page and "meshlab whatif quick.yaml --card failures:2 --replications 2" in page


def test_the_list_and_what_each_would_do_here(meshlab: Meshlab) -> None:
    alone = meshlab("whatif", "--list")
    assert alone.status == 0 and "provider-slow" in alone.out and "here:" not in alone.out
    here = meshlab("whatif", "quick.yaml", "--list", "--set", "mesh.workers=1")
    assert here.status == 0
    assert "here: 2 times as many tasks come at once: 60 → 120." in here.out
    assert "here: does not apply: 1 worker of 1 would die" in here.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a scenario file; --list shows the cards"),
        (["quick.yaml", "--card", "hope"], "--card hope: there is no such card; choose from provider-slow"),
        (["quick.yaml", "--card", "failures:x"], "--card failures:x: 'x' is not how many times as many"),
        (["quick.yaml", "--live"], "--live: name what is to be run with --card"),
        (["quick.yaml", "--card", "traffic", "--out", "x.png"], "--out x.png: the name must end in .html or .json"),
        (["quick.yaml", "--card", "traffic", "--out", "no/x.html"], "there is no folder no; make it first"),
        (["quick.yaml", "--replications", "0"], "must be 1 to"),
        (["nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_told_before_the_work(meshlab: Meshlab, words: list[str], message: str) -> None:
    answer = meshlab("whatif", *words)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err and "Traceback" not in answer.err


# ---- live ------------------------------------------------------------------------------------------------------------


def test_live_lies_beside_the_model(meshlab: Meshlab, here: Path, live: list[Scenario]) -> None:
    answer = meshlab(*ONE, "--live", "--out", "a.html", "--status", "status.json")
    assert answer.status == 0
    assert [one.workload.roles["DEV"].failure_rate for one in live] == [0.4, 0.2]
    assert "Live, latency p99 goes from" in answer.out and "live before" in answer.out
    assert len(list((here / "runs").iterdir())) == 4  # model and live, before and after
    assert "Model and live" in (here / "a.html").read_text()
    assert json.loads((here / "status.json").read_text())["state"] == "done"
    found = meshlab(*ONE, "--live", "--json").json["live"]
    assert found["possible"] and found["figures"]["latency_s.p99"]["live"] == found["figures"]["latency_s.p99"]["model"]


def test_live_repeats_show_the_spread(meshlab: Meshlab, live: list[Scenario]) -> None:
    answer = meshlab(*ONE, "--live", "--repeats", "3", "--out", "a.json")
    assert answer.status == 0 and "live, 3 runs each" in answer.out
    assert [one.workload.roles["DEV"].failure_rate for one in live] == [0.4, 0.2, 0.2, 0.4, 0.4, 0.2], "first in turn"
    found = json.loads(Path("a.json").read_text())["live"]
    assert len(found["repeats"]) == 3 and found["repeats"][0] == found["records"]["live"]
    p99 = found["figures"]["latency_s.p99"]
    assert p99["live"]["ratio_ci95"] and not p99["model"]["ratio_ci95"]


def test_repeats_are_of_live_runs(meshlab: Meshlab) -> None:
    answer = meshlab(*ONE, "--repeats", "3")
    assert (answer.status, answer.out) == (2, "") and "--repeats: is the number of live runs" in answer.err


def test_where_it_cannot_be_run_live_the_model_still_answers(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scenario: Scenario, **_: Any) -> Record:
        raise UsageError("faults[0]: redis_restart needs the embedded servers")

    monkeypatch.setattr(live_backend, "run_live", refuse)
    answer = meshlab(*ONE, "--live", "--json")
    assert answer.status == 0
    assert answer.json["live"] == {"possible": False, "why": "faults[0]: redis_restart needs the embedded servers"}
    assert "not run live: faults[0]" in answer.err


# ---- ends ------------------------------------------------------------------------------------------------------------


def test_a_broken_check_is_an_exit_of_its_own(meshlab: Meshlab) -> None:
    words = ("--set", "rules.preset=agent-mesh-published", "--card", "lose-workers", "--replications", "1")
    answer = meshlab("whatif", "quick.yaml", *words, "--json", "--status", "status.json")
    assert answer.status == 3
    assert answer.json["checks"] == {"ok": False, "failed": ["nothing_lost"]}
    assert "checks FAILED: nothing_lost" in answer.err


@pytest.mark.parametrize(("runs", "pairs"), [(1, None), (3, 1)])
def test_ctrl_c_keeps_the_pairs_that_are_done(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, here: Path, runs: int, pairs: int | None
) -> None:
    """The signal comes in the first run, and then that pair is not done; or in the third, the first of pair two."""
    made = []

    def interrupting(scenario: Scenario, **more: Any) -> Record:
        made.append(scenario)
        if len(made) == runs:
            signal.raise_signal(signal.SIGINT)
        record = simulate(scenario, **more)
        return record if len(made) < runs else cut(record)

    def cut(record: Record) -> Record:
        record.info["interrupted"] = True
        return record

    monkeypatch.setattr(simulation, "simulate", interrupting)
    answer = meshlab(*ONE, "--status", "status.json")
    assert answer.status == 130
    assert json.loads((here / "status.json").read_text())["state"] == "cancelled"
    if pairs is None:
        assert "stopped before the first of 2 replications was done" in answer.err and not answer.out
    else:
        assert "this is what 1 finished replications say" in answer.err and "one pair of runs, seed 7" in answer.out
