"""`meshlab compare`: two runs that were made, or two scenario files on the same tasks and draws."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simulation
from lab import replicate
from lab.compare import FIGURES as HEADLINES
from lab.outcome import judge
from lab.paired import FIGURES
from lab.record import Record
from lab.scenario import Scenario

Meshlab = Callable[..., Any]
ENTRY = {"a", "b", "difference", "ci95", "variance_reduction"}


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs in this process: on a machine of one core there is no other."""
    monkeypatch.setattr(replicate, "core_count", lambda: 1)


@pytest.fixture
def other(here: Path) -> str:
    """The quick scenario with more workers and another seed."""
    text = (here / "quick.yaml").read_text().replace("workers: 3", "workers: 4").replace("seed: 7", "seed: 9")
    (here / "other.yaml").write_text(text)
    return "other.yaml"


# ---- scenarios -------------------------------------------------------------------------------------------------------


def test_two_scenarios_are_compared_pair_by_pair(meshlab: Meshlab, other: str) -> None:
    answer = meshlab("compare", "quick.yaml", other, "--replications", "4", "--json")
    assert answer.status == 0
    got = answer.json
    assert (got["a"], got["b"], got["replications"], got["seeds"]) == ("quick.yaml", other, 4, [7, 8, 9, 10])
    assert list(got["figures"]) == list(FIGURES)
    assert all(set(entry) == ENTRY for entry in got["figures"].values())
    latency = got["figures"]["latency_s.mean"]
    assert latency["difference"] == pytest.approx(latency["b"] - latency["a"])
    assert latency["ci95"][0] < latency["difference"] < latency["ci95"][1] < 0  # more workers are faster
    assert latency["variance_reduction"] > 1
    assert got["checks"] == {"ok": True, "failed": []}
    assert "both run with quick.yaml's seeds, from 7; other.yaml's own, 9, is not used" in answer.err


def test_people_get_a_table_and_what_it_rests_on(meshlab: Meshlab, other: str) -> None:
    answer = meshlab("compare", "quick.yaml", other)
    assert answer.status == 0
    for words in (
        "a: quick.yaml",
        "10 pairs of runs, seeds 7 to 16: the same tasks and the same draws",
        "b − a",
        "95 % interval",
        "variance reduction",
        "latency p99",
        "attempts",
        "common random numbers",
    ):
        assert words in answer.out


def test_no_record_is_kept_of_a_comparison(meshlab: Meshlab, here: Path, other: str) -> None:
    meshlab("compare", "quick.yaml", other, "--replications", "2")
    assert not (here / "runs").exists()


def test_scenarios_with_other_tasks_are_refused(meshlab: Meshlab, here: Path) -> None:
    (here / "more.yaml").write_text((here / "quick.yaml").read_text().replace("count: 60", "count: 61"))
    answer = meshlab("compare", "quick.yaml", "more.yaml")
    assert answer.status == 2
    assert "do not run the same tasks: A has 60 tasks, B 61" in answer.err
    assert answer.out == ""


def test_a_failed_check_ends_with_3(meshlab: Meshlab, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = simulation.simulate

    def loses_one(scenario: Scenario, **watch: Any) -> Record:
        record = real(scenario, **watch)
        record.tasks.loc[0, "state"] = "PENDING"
        return judge(record)

    monkeypatch.setattr(simulation, "simulate", loses_one)
    answer = meshlab("compare", "quick.yaml", other, "--replications", "2", "--json")
    assert answer.status == 3
    assert answer.json["checks"] == {"ok": False, "failed": ["nothing_lost"]}
    assert "checks FAILED: nothing_lost" in answer.err


def test_ctrl_c_keeps_the_pairs_that_are_done(meshlab: Meshlab, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, runs = simulation.simulate, list[int]()

    def stopped_at_the_fifth(scenario: Scenario, **watch: Any) -> Record:
        runs.append(scenario.seed)
        if len(runs) == 5:
            signal.raise_signal(signal.SIGINT)
        record = real(scenario, **watch)
        record.info["interrupted"] = len(runs) == 5
        return record

    monkeypatch.setattr(simulation, "simulate", stopped_at_the_fifth)
    answer = meshlab("compare", "quick.yaml", other, "--json")
    assert answer.status == 130
    assert answer.json["seeds"] == [7, 8]
    assert "what 2 of 10 pairs of runs say" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["quick.yaml", "20260101-x"], "one is a scenario file and the other a run; give two of a kind"),
        (["one", "two", "--replications", "3"], "--replications: is for two scenario files"),
        (["quick.yaml", "quick.yaml", "--replications", "1"], "one pair of runs has no interval"),
        (["quick.yaml", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_told(meshlab: Meshlab, words: list[str], message: str) -> None:
    answer = meshlab("compare", *words)
    assert answer.status == 2
    assert message in answer.err


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_two_runs_have_the_fields_they_had_and_the_paired_figures(meshlab: Meshlab, other: str) -> None:
    ids = [meshlab("run", name, "--seed", "7", "--json").json["run_id"] for name in ("quick.yaml", other)]
    answer = meshlab("compare", *ids, "--json")
    assert answer.status == 0
    got = answer.json
    assert [got["a"], got["b"]] == ids
    for path in HEADLINES:
        here = got
        for part in path.split("."):
            here = here[part]
        assert set(here) == {"a", "b", "error"}
    assert set(got["paired"]) == {"tasks", "mean_diff_s", "p95_abs_diff_s", "correlation"}
    # Tasks that one of them did not complete would count on neither side; here both complete all 60.
    assert got["figures"]["latency_s.mean"]["a"] == pytest.approx(got["latency_s"]["mean"]["a"])
    assert got["figures"]["latency_s.mean"]["difference"] == pytest.approx(-got["paired"]["mean_diff_s"])
    assert (got["replications"], got["seeds"]) == (1, [7])
    people = meshlab("compare", *ids).out
    assert "task by task: 60 completed by both" in people
    assert "20 batches of the tasks of one pair of runs" in people
