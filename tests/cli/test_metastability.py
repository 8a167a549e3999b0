"""`meshlab metastability`: the table, the files, the page, refusals, a stop in the middle."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simulation.observing
from lab import replicate
from lab.progress import Stop
from lab.recovery import Flow
from lab.scenario import Scenario

Meshlab = Callable[..., Any]
SMALL = """\
# Four slots of 0.1 s; a spike of two seconds.
name: small
seed: 3
workload:
  arrivals:
    kind: steps
    spacing: poisson
    steps: [{duration_s: 4, rate_per_s: 20}, {duration_s: 2, rate_per_s: 100}, {duration_s: 24, rate_per_s: 20}]
  roles: {A: {service: {dist: exponential, mean_s: 0.1}}}
mesh: {workers: 2, slots: 2}
rules: {deadline: {wait_s: 1, late: fail}, admission: {max_pending: 200, on_closed: reject}}
profile: ideal
"""
QUICK = ("metastability", "small.yaml", "--policies", "scheduled,budget", "--loads", ".1,.8", "--replications", "4")


@pytest.fixture(autouse=True)
def small(here: Path) -> None:
    (here / "small.yaml").write_text(SMALL)


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes but this one: they take longer to start than these studies do."""
    monkeypatch.setattr(replicate, "core_count", lambda: 1)


@pytest.mark.usefixtures("one_core")
def test_people_get_a_table_and_what_it_means(meshlab: Meshlab) -> None:
    answer = meshlab(*QUICK)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[0] == "small: P(recovery) by retry policy and load"
    assert lines[1] == "trigger from 4 to 6 s; judged in the last 3 s of 30 s; load 1 is 40 tasks a second"
    assert lines[2] == "seeds 3 to 6, each the same tasks for every policy"
    assert [line.split() for line in lines[4:7]] == [
        ["policy", "safe", "below", "0.1", "0.8"],
        ["scheduled", "0.17", "1.00", "0.00*"],
        ["budget", "1", "1.00", "1.00"],
    ]
    assert "* metastable: healthy when calm, and not back after the trigger" in answer.out
    assert "without the trigger every run stays healthy" in answer.out
    assert (
        "scheduled: backoff with the slot free meanwhile; not sure to come back from load 0.8 on (0 of 4 runs)" in lines
    )
    assert any(line.startswith("budget: ") and "comes back at every load, at 0.8 in " in line for line in lines)
    assert any(line.startswith("slow ramp, scheduled: healthy on the way up until load ") for line in lines)
    assert answer.err == ""


def test_many_cores_give_the_same_json_as_one(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*QUICK[:-1], "1", "--json", "--quiet")
    many = meshlab(*words)
    monkeypatch.setattr(replicate, "core_count", lambda: 1)
    one = meshlab(*words)
    assert (many.status, one.status, many.err) == (0, 0, "")
    assert many.json == one.json


@pytest.mark.usefixtures("one_core")
def test_json_holds_map_ramps_and_courses(meshlab: Meshlab) -> None:
    got = meshlab(*QUICK, "--json").json
    assert (got["scenario"], got["seeds"], got["loads"], got["capacity_per_s"]) == (
        "small",
        [3, 4, 5, 6],
        [0.1, 0.8],
        40,
    )
    scheduled, budget = got["policies"]
    assert (scheduled["name"], scheduled["safe_load"]) == ("scheduled", pytest.approx(1 / 6))
    assert scheduled["cells"][1]["disturbed"] == {
        "healthy": 0, "runs": 4, "p": 0.0, "p_ci95": [0.0, pytest.approx(0.4899, abs=1e-4)],
    }  # fmt: skip
    assert scheduled["cells"][1]["metastable"] is True
    assert scheduled["cells"][1]["recovery_s"] == {"median": None, "max": None}
    assert budget["cells"][1]["calm"]["p"] == 1.0
    assert [ramp["policy"] for ramp in got["ramps"]] == ["scheduled", "budget"]
    assert len(got["ramps"][0]["loads"]) == len(got["ramps"][0]["done"]) == 43
    assert {(one["load"], one["seed"]) for one in got["courses"]} == {(0.8, 3)}


@pytest.mark.usefixtures("one_core")
def test_set_and_seed_change_the_study(meshlab: Meshlab) -> None:
    words = (*QUICK[:4], "--loads", ".8", "--replications", "1", "--seed", "9", "--set", "rules.retry.max_retries=0")
    got = meshlab(*words, "--json").json
    assert got["seeds"] == [9]
    assert [one["safe_load"] for one in got["policies"]] == [1.0, 1.0]
    assert [one["cells"][0]["disturbed"]["p"] for one in got["policies"]] == [1.0, 1.0]


@pytest.mark.usefixtures("one_core")
def test_csv_has_a_row_a_cell_and_json_is_the_object(meshlab: Meshlab, here: Path) -> None:
    words = (*QUICK[:-1], "1")
    assert meshlab(*words, "--out", "map.csv").err == "written to map.csv\n"
    rows = list(csv.DictReader((here / "map.csv").open()))
    assert [(row["policy"], row["load"], row["disturbed_healthy"]) for row in rows] == [
        ("scheduled", "0.1", "1"),
        ("scheduled", "0.8", "0"),
        ("budget", "0.1", "1"),
        ("budget", "0.8", "1"),
    ]
    answer = meshlab(*words, "--out", "map.json", "--json")
    assert json.loads((here / "map.json").read_text()) == answer.json


@pytest.mark.usefixtures("one_core")
def test_the_page_needs_nothing_from_elsewhere(meshlab: Meshlab, here: Path) -> None:
    words = (*QUICK[:-1], "1", "--set", "name=A & B")
    assert meshlab(*words, "--out", "map.HTML").status == 2  # no letter of a name gets past the schema
    assert meshlab(*QUICK[:-1], "1", "--out", "map.HTML").status == 0
    page = (here / "map.HTML").read_text()
    assert "<title>small: does the mesh come back?</title>" in page
    assert "<script src=" not in page
    assert page.count("Plotly.newPlot(") >= 3
    assert "meshlab metastability small.yaml --loads .1,.8 --policies scheduled,budget --replications 1" in page
    assert "\x1b" not in page


@pytest.mark.usefixtures("one_core")
def test_one_policy_alone_is_looked_at_alone(meshlab: Meshlab, here: Path) -> None:
    words = ("metastability", "small.yaml", "--policies", "as-written", "--loads", "0.1", "--replications", "1")
    assert meshlab(*words, "--out", "one.html").status == 0
    assert len(meshlab(*words, "--json").json["ramps"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policies", "hope"], "--policies: there is no 'hope'; choose from in-slot, scheduled"),
        (["--loads", "0.5,high"], "--loads: 'high' is no load; write shares of the capacity"),
        (["--loads", "0"], "--loads: '0' is no load"),
        (["--loads", "2.5"], "--loads: '2.5' is no load"),
        (["--loads", "nan"], "--loads: 'nan' is no load"),
        (["--replications", "0"], "must be 1 to"),
        (["--out", "map.png"], "--out map.png: the name must end in .html, .json, .csv"),
        (["--out", "no/map.csv"], "--out no/map.csv: there is no folder no; make it first"),
        (["--set", "workload.arrivals.steps=[{duration_s: 5, rate_per_s: 9}]"], "small: nothing disturbs the mesh"),
        (["--set", "mesh.slots=10000"], "tasks would come; at most 5,000,000 are allowed"),
    ],
)
def test_what_cannot_be_mapped_is_told_before_the_work(meshlab: Meshlab, words: list[str], message: str) -> None:
    answer = meshlab("metastability", "small.yaml", *words)
    assert (answer.status, answer.out) == (2, "")
    assert message in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.usefixtures("one_core")
def test_a_scenario_without_a_deadline_is_mapped_with_a_word_of_warning(meshlab: Meshlab) -> None:
    answer = meshlab(*QUICK[:-1], "1", "--set", "rules.deadline.wait_s=null")
    assert answer.status == 0
    assert "no client ever leaves" in answer.err


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(("runs", "out"), [(2, ""), (7, "small: P(recovery) by retry policy and load")])
def test_ctrl_c_keeps_the_finished_trials(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, runs: int, out: str
) -> None:
    """A trial of two policies is three runs: stopped in the second run there is none yet, in the seventh there are two,
    one at each load.
    """
    observed, made = simulation.observing.observe, []

    def observe(scenario: Scenario, until_s: float, stop: Stop) -> Flow:
        made.append(scenario)
        if len(made) == runs:
            signal.raise_signal(signal.SIGINT)
        return observed(scenario, until_s, stop)

    monkeypatch.setattr(simulation.observing, "observe", observe)
    answer = meshlab(*QUICK)
    assert answer.status == 130
    assert len(made) <= runs + 1  # one more may begin, and ends at its first look
    assert answer.out.partition("\n")[0] == out
    told = "this is what 2 finished trials say" if out else "small: stopped before the first trial was done"
    assert told in answer.err
