"""Jobs: a run is a process of its own, whose folder tells everything; ending it touches nobody else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lab import standalone, units
from lab.errors import UsageError
from lab.record import Record
from lab.scenario import Scenario
from ui import history, jobs, knobs, library, load, progress, results, text

MakeJob = Callable[..., str]
SLEEP = "import time; time.sleep(60)"


@pytest.fixture
def sleeper(runs: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes started by a test, all gone after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def pretend(folder: Path, code: str = SLEEP) -> subprocess.Popen[bytes]:
    """A process whose command line names the job's folder, as a run's does, as soon as it has one."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder / "status.json")], start_new_session=True)
    while not psutil.Process(process.pid).cmdline():
        pass
    return process


# ---- starting --------------------------------------------------------------------------------------------------------


def test_start_writes_the_folder_and_launches_the_command_line(runs: Path, scenario: Scenario) -> None:
    seen: list[tuple[list[str], Path]] = []
    job_id = jobs.start(scenario, "both", lambda command, log: seen.append((command, log)) or 4_000_000)
    folder = runs / ".jobs" / job_id
    command, log = seen[0]
    assert command[:4] == [sys.executable, "-m", "cli", "run"]
    assert command[4] == str(folder / "scenario.yaml")
    assert command[5:] == [
        *("--engine", "both", "--out", str(runs), "--json", "--quiet"),
        *("--status", str(folder / "status.json")),
    ]
    assert log == folder / "log"
    assert Scenario.load(folder / "scenario.yaml").data == scenario.data
    assert jobs.read(job_id).state == "starting"


def test_replications_are_asked_of_the_command_line_and_shown_when_all_are_there(
    runs: Path, scenario: Scenario, model: Record
) -> None:
    seen: list[list[str]] = []
    job_id = jobs.start(scenario, "both", lambda command, log: seen.append(command) or 4_000_000, replications=3)
    assert seen[0][seen[0].index("--replications") + 1] == "3"
    status = runs / ".jobs" / job_id / "status.json"
    folders = [str(replace(model).save(runs / f"r{seed}")) for seed in range(4)]
    for count, finished in ((2, 0), (3, 1), (4, 1)):
        status.write_text(json.dumps({"state": "done", "engine": "sim", "records": folders[:count]}))
        job = jobs.read(job_id)
        assert (job.replications, progress.finished(job)) == (3, finished)
        assert ("starting the servers" in progress.sentence(job)) == bool(finished)


def test_relative_paths_still_lead_to_their_files(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("arrival_s\n0\n1\n", encoding="utf-8")
    (tmp_path / "times.csv").write_text("service_s\n0.1\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text("measured: here\n", encoding="utf-8")
    data = {
        "profile": "mine.yaml",
        "workload": {
            "arrivals": {"kind": "trace", "path": "trace.csv"},
            "roles": {"A": {"service": {"dist": "empirical", "path": "times.csv"}}},
        },
    }
    moved = Scenario.parse(standalone.yaml_text(Scenario.from_data(data, base=tmp_path)), base="/")
    assert moved.profile == str(tmp_path / "mine.yaml")
    assert load.offered(moved).tasks == 2


def test_every_shipped_scenario_can_become_a_job() -> None:
    for file in library.shipped().values():
        scenario = library.load(file.text, file.name)
        assert Scenario.parse(standalone.yaml_text(scenario), base="/").mesh == scenario.mesh
        assert file.claim


def test_a_real_run_of_the_model(runs: Path, scenario: Scenario) -> None:
    job_id = jobs.start(scenario, "sim")
    deadline = time.monotonic() + 60
    while (job := jobs.read(job_id)).active and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (job.state, job.message) == ("done", "")
    assert [Record.load(folder).engine for folder in job.record_folders] == ["sim"]


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_the_last_word_counts(state: str, make_job: MakeJob) -> None:
    job = jobs.read(make_job(state, message="why"))
    assert (job.state, job.message, job.active) == (state, "why", False)


def test_a_process_that_died_without_a_word_is_told_as_failed(make_job: MakeJob) -> None:
    log = 'starting\nTraceback (most recent call last):\n  File "x.py", line 1, in f\nValueError: the disk is full\n'
    job = jobs.read(make_job("running", log=log, fraction=0.4))
    assert job.state == "failed"
    assert "the disk is full" in job.message
    assert "Traceback" not in job.message and "x.py" not in job.message


def test_half_a_status_file_is_no_error(make_job: MakeJob) -> None:
    job_id = make_job(None)
    (jobs.jobs_dir() / job_id / "status.json").write_text('{"state": "ru', encoding="utf-8")
    assert jobs.read(job_id).state == "failed"


@pytest.mark.parametrize("name", ["", "nothing", "../..", "/etc", "..", ".jobs", "a/b", "a\0b", "x" * 300])
def test_a_name_that_is_no_job_is_refused(name: str, runs: Path) -> None:
    with pytest.raises(UsageError):
        jobs.read(name)
    with pytest.raises(UsageError):
        results.record_folder(name)


def test_records_are_found_after_the_runs_were_moved(
    make_job: MakeJob, model: Record, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = make_job("done", [model], engine="sim")
    runs.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("MESHLAB_RUNS", str(tmp_path / "elsewhere"))
    assert len(jobs.read(job_id).record_folders) == 1


# ---- ending ----------------------------------------------------------------------------------------------------------


def test_cancel_is_ctrl_c_to_the_own_process(make_job: MakeJob, sleeper: list[subprocess.Popen[bytes]]) -> None:
    job_id = make_job("running")
    folder = jobs.jobs_dir() / job_id
    told = folder / "told"
    code = (
        "import signal, sys, pathlib, time\n"
        f"signal.signal(signal.SIGINT, lambda *_: (pathlib.Path({str(told)!r}).write_text('stop'), sys.exit(130)))\n"
        f"pathlib.Path({str(told)!r}).write_text('ready')\n"
        "time.sleep(60)"
    )
    process = pretend(folder, code)
    sleeper.append(process)
    facts = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**facts, "pid": process.pid}))
    while not told.exists():
        time.sleep(0.02)
    job = jobs.read(job_id)
    assert job.state == "running"
    assert jobs.cancel(job)
    assert process.wait(10) == 130
    assert told.read_text() == "stop"
    assert jobs.read(job_id).cancel_asked_s is not None


def test_asked_again_it_ends_harder(make_job: MakeJob, sleeper: list[subprocess.Popen[bytes]]) -> None:
    job_id = make_job("running")
    folder = jobs.jobs_dir() / job_id
    process = pretend(folder, "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)")
    sleeper.append(process)
    facts = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**facts, "pid": process.pid}))
    (folder / "cancel.json").write_text(json.dumps({"at_s": time.time() - jobs.CANCEL_PATIENCE_S - 1}))
    assert jobs.cancel(jobs.read(job_id))
    process.wait(10)
    assert jobs.read(job_id).state == "cancelled"


def test_a_reused_pid_is_left_alone(make_job: MakeJob, runs: Path, sleeper: list[subprocess.Popen[bytes]]) -> None:
    stranger = pretend(runs / "something-else")
    sleeper.append(stranger)
    job_id = make_job("running", pid=stranger.pid)
    job = jobs.read(job_id)
    assert job.state == "failed"
    assert not jobs.cancel(job)
    assert stranger.poll() is None


def test_spawned_processes_leave_no_zombie(tmp_path: Path) -> None:
    pid = jobs.spawn([sys.executable, "-c", "print('hello')"], tmp_path / "log")
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
    assert (tmp_path / "log").read_text().strip() == "hello"


@pytest.mark.skipif(os.name == "nt", reason="sessions are a POSIX thing")
def test_a_spawned_process_is_a_session_of_its_own(tmp_path: Path) -> None:
    jobs.spawn([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"], tmp_path / "log")
    deadline = time.monotonic() + 10
    while not (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "log").read_text().strip() == "True"


# ---- recent runs, results, knobs, words ------------------------------------------------------------------------------


def test_recent_runs_are_jobs_and_records_of_the_command_line(make_job: MakeJob, model: Record, live: Record) -> None:
    job_id = make_job("done", [model], engine="sim")
    replace(live).save(jobs.runs_dir() / "20200101-000000-cli-live-abc")
    found = history.recent()
    assert {tuple(entry.query.items()) for entry in found} == {
        (("job", job_id),),
        (("run", "20200101-000000-cli-live-abc"),),
    }
    assert all(entry.ok for entry in found)
    assert set(history.records()) == {str(model.info["run_id"]), "20200101-000000-cli-live-abc"}


def test_damaged_records_do_not_break_the_list(runs: Path) -> None:
    for name, content in (("a", "{"), ("b", "[]"), ("c", '{"summary": 3, "checks": [], "engine": null}')):
        (runs / name).mkdir(parents=True)
        (runs / name / "run.json").write_text(content)
    assert len(history.recent()) == 3


def test_table_and_downloads(make_job: MakeJob, model: Record, live: Record) -> None:
    folders = jobs.read(make_job("done", [live, model])).record_folders
    found = results.Result.of([Record.load(folder) for folder in folders])
    assert found.labels == ["Model", "Live"]
    table = results.table(found).set_index("Figure")
    assert table.loc["Latency, p50", "Difference"] == "−9.1 %"
    assert table.loc["Tasks completed", "Difference"] == "0 %"
    assert "shorter" in results.paired(found.apart[0])
    names = zipfile.ZipFile(io.BytesIO(results.archive(found.records))).namelist()
    assert (
        sum(name.endswith(".parquet") for name in names) == 8 and sum(name.endswith("run.json") for name in names) == 2
    )
    names = zipfile.ZipFile(io.BytesIO(results.archive(found.records, csv=True))).namelist()
    assert sum(name.endswith(".csv") for name in names) == 8


def test_only_turned_knobs_are_written(scenario: Scenario) -> None:
    found = knobs.knobs(scenario)
    assert knobs.overrides(found, {knob.name: knob.value for knob in found}) == {}
    changed = knobs.apply(scenario, found, {"failures": 25.0, "workers": 4, "tasks": 7})
    assert (changed.workload.roles["DEVELOPER"].failure_rate, changed.mesh.workers) == (0.25, 4)
    assert changed.workload.arrivals.count == 7  # type: ignore[union-attr]
    assert changed.data["rules"] == scenario.data["rules"]


def test_knobs_of_every_kind_of_arrivals() -> None:
    role = {"A": {"service": {"dist": "constant", "mean_s": 1}}}
    kinds = {
        "burst": ({"count": 5}, {"tasks"}),
        "constant": ({"rate_per_s": 2, "duration_s": 3}, {"rate", "duration"}),
        "poisson": ({"rate_per_s": 0.0001, "count": 3}, {"rate", "tasks"}),
        "ramp": ({"from_per_s": 0, "to_per_s": 9, "duration_s": 3}, {"rate", "duration"}),
        "steps": ({"steps": [{"duration_s": 1, "rate_per_s": 4}]}, set()),
    }
    always = {"workers", "slots", "failures", "retry_base", "rss_limit", "seed"}
    for kind, (values, names) in kinds.items():
        scenario = Scenario.from_data({"workload": {"arrivals": {"kind": kind, **values}, "roles": role}})
        found = knobs.knobs(scenario)
        assert {knob.name for knob in found} == names | always
        assert all(knob.low <= knob.value <= knob.high for knob in found if knob.value is not None)
        assert load.offered(scenario).tasks >= 1


def test_roles_that_differ_have_no_single_failure_rate() -> None:
    service = {"dist": "constant", "mean_s": 1}
    roles = {"A": {"service": service, "failure_rate": 0.1}, "B": {"service": service}}
    scenario = Scenario.from_data({"workload": {"arrivals": {"kind": "burst", "count": 1}, "roles": roles}})
    knob = next(knob for knob in knobs.knobs(scenario) if knob.name == "failures")
    assert (knob.value, knob.placeholder) == (None, "0 to 10")
    assert knobs.apply(scenario, [knob], {"failures": 0.0}).workload.roles["A"].failure_rate == 0.0


def test_offered_load() -> None:
    role = {"A": {"service": {"dist": "constant", "mean_s": 2.0}, "failure_rate": 0.5}}
    arrivals = {"kind": "poisson", "rate_per_s": 5, "duration_s": 100}
    data = {"workload": {"arrivals": arrivals, "roles": role}, "mesh": {"workers": 3, "slots": 5}}
    offered = load.offered(Scenario.from_data(data))
    assert offered.work_s == pytest.approx(2 * (1 - 0.5**6) / 0.5)
    assert offered.utilisation == pytest.approx(5 * offered.work_s / 15)
    assert "grows" in load.sentence(offered)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0, "0 s"),
        (0.0032, "3.20 ms"),
        (1.25, "1.25 s"),
        (68, "68.0 s"),
        (250, "4 min 10 s"),
        (-250, "−4 min 10 s"),
        (-0.25, "−0.250 s"),
        (7_500, "2 h 5 min"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert text.seconds(value) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        ("37.4/s", "40.5/s", "37.4 to 40.5/s"),
        ("−0.3 %", "+2.7 %", "−0.3 to +2.7 %"),
        ("90 ms", "1.20 s", "90 ms to 1.20 s"),
        ("2 min 3 s", "4 min", "2 min 3 s to 4 min"),
        ("0 %", "+1.0 %", "0 to +1.0 %"),
    ],
)
def test_an_interval_names_its_unit_once(low: str, high: str, shown: str) -> None:
    assert units.interval(low, high) == shown


def test_escape_leaves_nothing_to_markdown() -> None:
    hostile = "<script>alert(1)</script> ![x](http://e.vil) :material/bolt: $a$ `c` # h\n- item"
    escaped = text.escape(hostile)
    assert all(f"\\{mark}" in escaped for mark in "<>![]():$`#-")
    assert "\n" not in escaped
