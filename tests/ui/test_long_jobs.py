"""Long jobs: any command in a folder of its own, followed and ended as a run is, and never listed among the runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab.errors import UsageError
from tests.ui.conftest import shown
from ui import history, jobs, long_jobs
from ui.runs_library import Library

WORDS = ["{folder}/scenario.yaml", "--card", "failures:{x}", "--out={folder}/result.json"]


def put(status: dict[str, Any] | None, log: str = "", pid: int = 4_000_000) -> str:
    """A job whose process is gone, with this last word."""
    job_id = long_jobs.start("whatif", "What if [x](y)", [], {}, lambda command, log: pid)
    folder = jobs.jobs_dir() / job_id
    facts = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**facts, "started_s": time.time() - 60}))
    (folder / "log").write_text(log)
    if status is not None:
        (folder / "status.json").write_text(json.dumps(status))
    return job_id


def test_start_writes_the_folder_and_launches_the_command(launched: list[list[str]], runs: Path) -> None:
    job_id = long_jobs.start("whatif", "Five times the failures", WORDS, {"scenario.yaml": "name: x\n"})
    folder = runs / ".jobs" / job_id
    assert launched[0] == [
        *(sys.executable, "-m", "cli", "whatif", f"{folder}/scenario.yaml", "--card", "failures:{x}"),
        *(f"--out={folder}/result.json", "--status", str(folder / "status.json")),
    ]
    assert (folder / "scenario.yaml").read_text() == "name: x\n"
    job = long_jobs.read(job_id)
    assert (job.kind, job.title, job.state, job.active) == ("whatif", "Five times the failures", "starting", True)
    assert job.words[0] == f"{folder}/scenario.yaml"


def test_runs_and_long_jobs_do_not_see_each_other(launched: list[list[str]], make_job: Any, runs: Path) -> None:
    run = make_job("failed", message="no Redis")
    first = long_jobs.start("sweep", "A sweep", [])
    other = long_jobs.start("plan", "A plan", [])
    assert list(jobs.recent()) == [run]
    assert (list(long_jobs.recent("sweep")), list(long_jobs.recent("plan"))) == ([first], [other])
    assert list(long_jobs.recent("twin")) == []
    assert [entry.query for entry in history.recent()] == [{"job": run}]
    assert [entry.id for entry in Library(runs).look()[0]] == [run]
    for name, reader in ((first, jobs.read), (run, long_jobs.read)):
        with pytest.raises(UsageError):
            reader(name)


@pytest.mark.parametrize("name", ["", "nothing", "../..", "..", ".jobs", "a/b.sweep", "a\0b", "x" * 300, "../x.sweep"])
def test_a_name_that_is_no_job_is_refused(name: str, runs: Path) -> None:
    with pytest.raises(UsageError, match="there is no job"):
        long_jobs.read(name)


@pytest.mark.parametrize(
    ("kind", "file"),
    [("../x", "a.yaml"), ("", "a.yaml"), ("Sweep", "a.yaml"), ("sweep", "../a"), ("sweep", "a/b"), ("sweep", "log")],
)
def test_nothing_is_written_outside_of_the_folder(kind: str, file: str, launched: list[list[str]], runs: Path) -> None:
    with pytest.raises(UsageError):
        long_jobs.start(kind, "A title", [], {file: "x"})
    assert not launched and not runs.exists()


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({"state": "done"}, "done", ""),
        ({"state": "failed", "message": "why"}, "failed", "why"),
        ({"state": "cancelled"}, "cancelled", ""),
        ({"state": "running", "done": 3}, "failed", "Its process ended without a word.\nthe disk is full"),
        (None, "failed", "Its process ended without a word.\nthe disk is full"),
    ],
)
def test_states(status: dict[str, Any] | None, state: str, message: str, runs: Path) -> None:
    job = long_jobs.read(put(status, log="Traceback (most\n  File x\nthe disk is full\n"))
    assert (job.state, job.message) == (state, message)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "**What if \\[x\\]\\(y\\)**"),
        ({"done": 12, "total": 1_064, "eta_s": 61.0}, "12 of 1,064 · about 61 s left"),
        ({"total": 3, "note": "live <b>"}, "0 of 3 · live \\<b\\>"),
    ],
)
def test_where_it_stands_in_words(status: dict[str, Any], words: str, runs: Path, monkeypatch: Any) -> None:
    job_id = put({"state": "running", **status})
    monkeypatch.setattr(jobs, "_process", lambda pid, folder: object())
    assert long_jobs.sentence(long_jobs.read(job_id)).endswith(words)


@pytest.fixture
def waiting(runs: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A job with a real process, which lives until it is told to end."""
    processes = []

    def launch(command: list[str], log: Path) -> int:
        code = "import signal, sys; print('ready', flush=True); signal.pause()"
        process = subprocess.Popen([sys.executable, "-c", code, *command[-2:]], stdout=subprocess.PIPE)
        processes.append(process)
        return process.pid

    job_id = long_jobs.start("sweep", "A sweep", [], {}, launch)
    assert processes[0].stdout is not None and processes[0].stdout.readline() == b"ready\n"
    yield job_id, processes[0]
    processes[0].kill()
    processes[0].wait()
    processes[0].stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signal.pause is POSIX")
def test_cancel_is_ctrl_c_to_its_own_process(waiting: tuple[str, subprocess.Popen[bytes]]) -> None:
    job_id, process = waiting
    job = long_jobs.read(job_id)
    assert job.active
    assert jobs.cancel(job)
    assert process.wait(10) == -signal.SIGINT
    facts = json.loads((job.folder / "job.json").read_text())
    (job.folder / "job.json").write_text(json.dumps({**facts, "started_s": time.time() - 60}))
    job = long_jobs.read(job_id)
    assert job.cancel_asked_s is not None and job.state == "cancelled"
    assert not jobs.cancel(job)


def test_an_unknown_command_fails_with_its_words(runs: Path) -> None:
    """A real process, to its end: what argparse says stands in the log, and the job has failed."""
    job_id = long_jobs.start("no-such-command", "Nothing", [])
    deadline = time.monotonic() + 60
    while (job := long_jobs.read(job_id)).active and time.monotonic() < deadline:
        time.sleep(0.05)
    assert job.state == "failed" and "no-such-command" in job.message


def page(job_id: str) -> None:
    """What a page does with a job."""
    from ui import long_jobs

    job = long_jobs.read(job_id)
    if job.active:
        long_jobs.watch(job)
    else:
        long_jobs.ended_badly(job)


@pytest.mark.parametrize(
    ("status", "warning", "error"),
    [
        ({"state": "done"}, [], []),
        ({"state": "cancelled"}, ["was cancelled"], []),
        ({"state": "failed", "message": "redis: <gone>\nsee its log"}, [], ["Redis\\: \\<gone\\>"]),
    ],
)
def test_the_end_on_a_page(status: dict[str, Any], warning: list[str], error: list[str], runs: Path) -> None:
    drawn = shown(AppTest.from_function(page, args=(put(status),)).run(timeout=20))
    assert len(drawn.warning) == len(warning) and all(w in drawn.warning[0].value for w in warning)
    assert len(drawn.error) == len(error) and all(e in drawn.error[0].value for e in error)
    assert [block.value for block in drawn.code] == (["see its log"] if error else [])


def test_an_active_job_on_a_page(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = put({"state": "running", "fraction": 0.5, "done": 1, "total": 2})
    monkeypatch.setattr(jobs, "_process", lambda pid, folder: None if folder.name == "gone" else object())
    drawn = shown(AppTest.from_function(page, args=(job_id,)).run(timeout=20))
    assert [button.label for button in drawn.button] == ["Cancel"]
