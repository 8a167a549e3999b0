"""`meshlab sweep`: the table, the files, refusals, a stop in the middle and the way on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simulation
from lab import replicate
from lab.record import Record
from lab.scenario import Scenario
from lab.sweep_journal import beside
from lab.sweep_result import Sweep
from simulation.engine import simulate

Meshlab = Callable[..., Any]
GRID = ("--grid", "mesh.workers=1,2", "--grid", "mesh.slots=2,4")
QUICK = ("sweep", "quick.yaml", *GRID, "--replications", "3", "--out", "a.parquet")


@pytest.fixture(autouse=True)
def one_core(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes but this one: they take longer to start than these sweeps do."""
    monkeypatch.setattr(replicate, "core_count", lambda: 1)
    quick = here / "quick.yaml"
    quick.write_text(quick.read_text() + "profile: ideal\n")


def test_people_get_a_table_with_intervals(meshlab: Meshlab) -> None:
    answer = meshlab(*QUICK)
    assert (answer.status, answer.err) == (0, "written to a.parquet\n")
    lines = answer.out.splitlines()
    assert lines[0] == "quick: Grid 2 × 2, 4 points × 3 replications"
    assert lines[1].startswith("seeds 7 to 9, the same for every point; 12 runs in ")
    head = ["point", "mesh.workers", "mesh.slots", "Throughput", "Latency, p95", "Latency, p99", "Latency, p95, Δ"]
    assert [cell.strip() for cell in lines[3].split("  ") if cell] == head
    assert [line.split()[:3] for line in lines[4:8]] == [
        ["0", "1", "2"],
        ["1", "1", "4"],
        ["2", "2", "2"],
        ["3", "2", "4"],
    ]
    assert lines[4].endswith("baseline") and " to " in lines[5]
    assert "Δ: difference from point 0, from pairs of one seed" in lines
    assert len(Sweep.load("a.parquet").frame) == 12 and not beside(Path("a.parquet")).exists()


def test_json_is_one_object_with_every_point(meshlab: Meshlab) -> None:
    answer = meshlab(*QUICK, "--json", "--quiet", "--figure", "latency_s.mean", "--baseline", "3")
    assert answer.status == 0
    found = answer.json
    assert (found["points"], found["replications"], found["runs"], found["complete"]) == (4, 3, 12, True)
    assert (found["paths"], found["checks"], found["failed"]) == (
        ["mesh.workers", "mesh.slots"],
        {"ok": True, "failed": []},
        0,
    )
    assert [row["values"] for row in found["table"]][1] == {"mesh.workers": 1, "mesh.slots": 4}
    first, last = found["table"][0]["latency_s.mean"], found["table"][3]["latency_s.mean"]
    assert first["difference_ci95"][0] < first["difference"] < first["difference_ci95"][1]
    assert (last["difference"], found["baseline"]) == (0.0, 3)
    table = Sweep.load(found["out"]).table("latency_s.mean", 3)
    assert first["mean"] == pytest.approx(table.loc[0, "mean"])


def test_many_points_are_told_by_their_extremes_and_drawn_on_a_page(meshlab: Meshlab) -> None:
    ranges = ("--range", "mesh.workers=1..8:int", "--range", "workload.roles.DEV.service.mean_s=0.1..1:log")
    answer = meshlab("sweep", "quick.yaml", *ranges, "--latin", "25", "--replications", "1", "--html", "a.html")
    assert answer.status == 0
    assert "quick: Latin hypercube of 25, 25 points × 1 replication" in answer.out
    assert "Throughput, best" in answer.out and "Latency, p99, worst" in answer.out
    page = Path("a.html").read_text()
    assert "parcoords" in page and "Agent Mesh Lab: Latin hypercube of 25 over workers, service mean (s)" in page
    assert "https://" not in page.split("<body>")[1].split("<script")[0]
    (kept,) = Path("runs/.sweeps").iterdir()
    assert kept.name.startswith("quick-") and kept.suffix == ".parquet"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "what is to be varied is missing: give --grid"),
        (("--grid", "mesh.workers"), "--grid mesh.workers: write PATH=V1,V2,…"),
        (("--grid", "mesh.workers="), "--grid mesh.workers=: the values are missing"),
        (("--grid", "mesh.workers=3..1"), "--grid mesh.workers=3..1: 3..1: a span goes up"),
        (("--grid", "mesh.workers=0,2"), "point 0 (mesh.workers=0): mesh.workers: must be greater than or equal to 1"),
        (("--grid", "mesh.wokers=1"), "mesh.wokers: unknown key 'wokers'; did you mean 'workers'?"),
        (("--grid", "mesh.workers=1", "--grid", "mesh.workers=2"), "mesh.workers has been given before"),
        (("--grid", "seed=1,2"), "seed: is that of the replications"),
        (("--range", "mesh.workers=1..4:int"), "needs --latin N or --random N"),
        (("--range", "mesh.workers=1-4", "--latin", "3"), "--range mesh.workers=1-4: '1-4' is no range"),
        (("--grid", "mesh.workers=1", "--latin", "3"), "3 samples are asked for, but there is no range"),
        (("--grid", "mesh.workers=1", "--baseline", "1"), "--baseline 1: the points are numbered 0 to 0"),
        (("--grid", "mesh.workers=1", "--out", "a.csv"), "--out a.csv: the name must end in .parquet"),
        (("--grid", "mesh.workers=1", "--out", "no/a.parquet"), "there is no folder no; make it first"),
        (("--grid", "mesh.workers=1", "--html", "no/a.html"), "--html no/a.html: there is no folder no"),
        (("--grid", "mesh.workers=1", "--resume"), "has no sweep of these points, replications and scenario"),
        (("--grid", "mesh.workers=1", "--set", "mesh.slots=0"), "--set mesh.slots=0: must be greater"),
        (("--grid", "mesh.workers=1", "--replications", "0"), "must be 1 to 200,000"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(words: tuple[str, ...], why: str, meshlab: Meshlab) -> None:
    answer = meshlab("sweep", "quick.yaml", *words)
    assert (answer.status, answer.out) == (2, "")
    assert why in answer.err and "Traceback" not in answer.err
    assert not list(Path().rglob("*.parquet*"))


def test_a_figure_that_is_not_there_is_refused_and_the_file_kept(meshlab: Meshlab) -> None:
    answer = meshlab(*QUICK, "--figure", "latency")
    assert answer.status == 2 and "--figure latency: there is no figure 'latency'; there are" in answer.err
    assert meshlab(*QUICK, "--resume").status == 0


def test_failed_runs_and_broken_checks_are_told_with_their_points(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_fail(scenario: Scenario, **watch: Any) -> Record:
        if scenario.mesh.workers == 2:
            raise MemoryError("too large")
        return simulate(scenario, **watch)

    monkeypatch.setattr(simulation, "simulate", two_fail)
    answer = meshlab(*QUICK)
    assert answer.status == 1
    assert "6 runs came to no figures:" in answer.err
    assert "point 2 (mesh.workers=2, mesh.slots=2), seed 7: MemoryError: too large" in answer.err
    assert "and 1 more; the file has them all" in answer.err

    def one_breaks(scenario: Scenario, **watch: Any) -> Record:
        record = simulate(scenario, **watch)
        if scenario.mesh.slots == 4:
            record.info["checks"] |= {"ok": False, "failed": ["nothing_lost"]}
        return record

    monkeypatch.setattr(simulation, "simulate", one_breaks)
    answer = meshlab("sweep", "quick.yaml", "--grid", "mesh.slots=2,4", "--replications", "1", "--json")
    assert answer.status == 3 and answer.json["checks"] == {"ok": False, "failed": ["nothing_lost"]}
    assert "point 1 (mesh.slots=4), seed 7: nothing_lost" in answer.err


def test_ctrl_c_keeps_what_was_run_and_resume_goes_on(
    here: Path, environment: dict[str, str], meshlab: Meshlab
) -> None:
    grid = ("--grid", "mesh.workers=1..30", "--replications", "3", "--quiet", "--json")
    command = [sys.executable, "-m", "cli", "sweep", "quick.yaml", *grid, "--status", "status.json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = _awaited(here / "runs" / ".sweeps", process)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told = json.loads(out)
    assert 3 <= told["runs"] < 90 and not told["complete"]
    assert f"interrupted; {told['runs']:,} of 90 runs are in" in err and "Traceback" not in err
    assert json.loads((here / "status.json").read_text())["state"] == "cancelled"
    kept = journal.read_bytes()
    refused = meshlab("sweep", "quick.yaml", *grid, "--out", told["out"])
    assert refused.status == 2 and "of a sweep that was not finished; go on with it by --resume" in refused.err
    other = meshlab("sweep", "quick.yaml", *grid, "--seed", "8", "--resume", "--out", told["out"])
    assert other.status == 2 and "is of another sweep" in other.err
    assert journal.read_bytes() == kept
    whole = meshlab("sweep", "quick.yaml", *grid, "--resume")
    assert whole.status == 0 and whole.json["runs"] == 90 and whole.json["out"] == told["out"]
    again = meshlab("sweep", "quick.yaml", *grid, "--resume", "--out", told["out"])
    assert again.status == 0 and "this sweep is finished" in again.err
    assert [row["latency_s.p95"] for row in again.json["table"]] == [
        row["latency_s.p95"] for row in whole.json["table"]
    ]


def _awaited(folder: Path, process: subprocess.Popen[str]) -> Path:
    """The journal, once it has three rows."""
    from tests.live.helpers import eventually

    def there() -> bool:
        assert process.poll() is None, process.communicate()
        return any(len(path.read_bytes().splitlines()) > 3 for path in folder.glob("*.journal"))

    eventually(there)
    return next(folder.glob("*.journal"))


def test_the_status_file_tells_the_app_how_far_it_is(meshlab: Meshlab) -> None:
    assert meshlab(*QUICK, "--status", "status.json").status == 0
    status = json.loads(Path("status.json").read_text())
    assert (status["state"], status["exit_status"], status["result"]) == ("done", 0, {"out": "a.parquet"})
    assert (status["done"], status["total"], status["note"]) == (12, 12, "runs of 4 points")
    assert meshlab("sweep", "quick.yaml", "--grid", "mesh.workers=0", "--status", "status.json").status == 2
    status = json.loads(Path("status.json").read_text())
    assert status["state"] == "failed" and "mesh.workers: must be" in status["message"]


def test_a_cluster_that_is_not_there_is_an_error_in_words(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("lab.sweep_cluster.SWEEP_CONNECT_S_MAX", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:1"):
        answer = meshlab(*QUICK, "--cluster", address)
        assert answer.status == 1, answer.err
        assert f"--cluster {address}: no Dask scheduler answers there" in answer.err and "Traceback" not in answer.err
    assert not beside(Path("a.parquet")).exists()
