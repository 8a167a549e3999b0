"""What the tests of the app share: a folder for their runs, records made by the model, and jobs in every state."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import record as records
from lab import standalone
from lab.outcome import judge
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.ui.browser import FAILED, app, app_runs, app_url, chromium, page
from ui import jobs

TEXT = """\
# Forty tasks on four slots, some of them failing.
name: small
seed: 3
workload:
  arrivals: {kind: burst, count: 40}
  roles:
    DEVELOPER: {service: {dist: exponential, mean_s: 0.2}, failure_rate: 0.1, memory_mib: 4}
mesh: {workers: 2, slots: 2}
rules: {retry: {base_s: 0.1}, health: {report_s: 0.25}}
"""

MakeJob = Callable[..., str]
__all__ = ["app", "app_runs", "app_url", "chromium", "page"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fixtures may ask whether their test has failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AppTest leaves its page behind as `__main__`, which multiprocessing would run again in what it spawns."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs that belongs to this test alone."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("MESHLAB_RUNS", str(folder))
    return folder


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    return Scenario.parse(TEXT)


@pytest.fixture(scope="session")
def model(scenario: Scenario) -> Record:
    return simulate(scenario)


@pytest.fixture(scope="session")
def live(model: Record) -> Record:
    """A stand-in for the real thing: the model's run, a tenth slower."""
    return as_live(model, factor=1.1)


def as_live(model: Record, factor: float = 1.0) -> Record:
    """The same record as if it came from the live engine, all moments stretched."""
    tables = {name: getattr(model, name).copy() for name in records.TABLES}
    for table, column in (("tasks", "first_claim_s"), ("tasks", "done_s"), ("transitions", "at_s"), ("samples", "t_s")):
        tables[table][column] *= factor
    info = {**copy.deepcopy(model.info), "engine": "live", "run_id": model.info["run_id"].replace("-sim-", "-live-")}
    return judge(replace(model, info=info, **tables))


def saved(record: Record, runs: Path, **info: Any) -> Path:
    """A copy of `record` on disk, with these entries of its run.json replaced."""
    mine = replace(record, info={**copy.deepcopy(record.info), **info})
    return mine.save(runs / str(mine.info["run_id"]))


@pytest.fixture
def launched(runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been started."""
    commands: list[list[str]] = []

    def launch(command: list[str], log: Path) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(jobs, "spawn", launch)
    return commands


def shown(page: AppTest) -> AppTest:
    """The page, which has been drawn without an error."""
    assert not page.exception, page.exception[0].message
    return page


@pytest.fixture
def make_job(runs: Path, scenario: Scenario) -> MakeJob:
    """Write a job's folder as the runner and the command line would."""

    def make(
        state: str | None = "done", of: Sequence[Record] = (), *, engine: str = "both", log: str = "", **more: Any
    ) -> str:
        job_id = records.new_run_id(scenario, engine, records.now(), records.nonce())
        folder = jobs.jobs_dir() / job_id
        folder.mkdir(parents=True)
        (folder / "scenario.yaml").write_text(standalone.yaml_text(scenario), encoding="utf-8")
        (folder / "log").write_text(log, encoding="utf-8")
        facts = {"engine": engine, "scenario_name": more.pop("name", "small"), "started_at": records.now().isoformat()}
        records.write_json(folder / "job.json", {**facts, "pid": more.pop("pid", None), "started_s": time.time() - 60})
        if state is not None:
            folders = [str(saved(record, runs)) for record in of]
            records.write_json(folder / "status.json", {"state": state, "records": folders, **more})
        return job_id

    return make
