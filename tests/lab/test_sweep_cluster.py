"""A sweep on a real Dask scheduler with real worker processes: equal to the local one, also if a worker is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from lab.errors import Unavailable
from lab.progress import Progress
from lab.scenario import Scenario
from lab.sweep import run
from lab.sweep_cluster import _apart
from lab.sweep_design import design
from simulation import simulate

ROOT = Path(__file__).parents[2]
START_S_MAX = 30.0
SCENARIO = """\
name: traced
seed: 5
workload:
  arrivals: {kind: trace, path: arrivals.csv}
  roles: {A: {service: {dist: exponential, mean_s: 0.5}, failure_rate: 0.1}}
mesh: {workers: 2, slots: 1}
rules: {retry: {base_s: 0.1}}
"""
GRID = {"mesh.workers": [1, 2, 3, 4], "profile": ["default", "ideal", "slow.yaml"]}
SLOW = "measured: slow\nclaim: {loop_s: 0.05}\n"


@contextmanager
def dask(*words: str, cwd: Path, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """`dask WORDS` as a process of its own, ended afterwards."""
    command = [sys.executable, "-m", "dask", *words]
    environment = {**os.environ, "PYTHONPATH": path}
    with (cwd / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """The address of a scheduler that cannot import this package."""
    folder = tmp_path_factory.mktemp("scheduler")
    without = packageless(folder)
    told = folder / "scheduler.json"
    words = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told))
    with dask(*words, cwd=folder, path=without) as process:
        yield str(_awaited(lambda: json.loads(told.read_text())["address"], process, folder))


def packageless(folder: Path) -> str:
    """A Python path on which `lab` cannot be imported, although it is installed."""
    (folder / "without" / "lab").mkdir(parents=True)
    (folder / "without" / "lab" / "__init__.py").write_text("raise ImportError('no lab here')\n")
    return str(folder / "without")


def _awaited(read: Callable[[], object], process: subprocess.Popen[bytes], folder: Path) -> object:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until and process.poll() is None:
        try:
            return read()
        except (OSError, ValueError):
            time.sleep(0.02)  # a file of another process: nothing else tells
    raise AssertionError((folder / "log").read_text())


@contextmanager
def worker(scheduler: str, folder: Path, name: str, path: str = str(ROOT)) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one thread, without a nanny that would start it again."""
    home = folder / name
    home.mkdir()
    words = ("worker", scheduler, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
    with dask(*words, "--local-directory", str(home), cwd=home, path=path) as process:
        yield process


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """Its files are where no worker looks for them."""
    (tmp_path / "arrivals.csv").write_text("arrival_s\n" + "".join(f"{n / 5}\n" for n in range(80)))
    (tmp_path / "slow.yaml").write_text(SLOW)
    return Scenario.parse(SCENARIO, base=tmp_path)


def figures(frame: pd.DataFrame) -> pd.DataFrame:
    """All that a sweep says, but for how long it took."""
    return frame.drop(columns="wall_s")


def test_a_worker_killed_in_the_middle_costs_no_point_and_doubles_none(
    scheduler: str, scenario: Scenario, tmp_path: Path
) -> None:
    asked = design(scenario, GRID, replications=2)
    local = run(simulate, asked, cores=1)
    seen: list[int] = []
    with worker(scheduler, tmp_path, "first") as first, worker(scheduler, tmp_path, "second"):

        def kill(progress: Progress) -> None:
            seen.append(progress.done)
            if progress.done == 8:
                first.send_signal(signal.SIGKILL)

        there = run(simulate, asked, tmp_path / "there.parquet", cluster=scheduler, on_progress=kill)
        assert first.wait(timeout=START_S_MAX) == -signal.SIGKILL
    assert there.complete and len(there.frame) == asked.runs == 24
    assert not there.frame.duplicated(["point", "replication"]).any()
    assert there.frame["error"].isna().all() and there.frame["checks_ok"].all()
    pd.testing.assert_frame_equal(figures(there.frame), figures(local.frame), check_exact=True)
    assert [one for one in seen if one] == list(range(1, 25))


def test_no_scheduler_and_no_workers_are_told_in_words(
    scheduler: str, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.sweep_cluster.SWEEP_CONNECT_S_MAX", 0.3)
    asked = design(scenario, {"mesh.workers": [1, 2]})
    with pytest.raises(Unavailable, match="has no workers; start some by `dask worker tcp://"):
        run(simulate, asked, cluster=scheduler)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"--cluster {nobody}: no Dask scheduler answers"):
            run(simulate, asked, cluster=nobody)


def test_a_worker_without_the_package_is_named_and_so_is_what_differs(
    scheduler: str, scenario: Scenario, tmp_path: Path
) -> None:
    said = r"workers need the very package .*\ntcp://127.0.0.1:\d+: cannot import it \(no lab here\)"
    with worker(scheduler, tmp_path, "bare", packageless(tmp_path)), pytest.raises(Unavailable, match=said):
        run(simulate, design(scenario, {"mesh.workers": [1, 2]}), cluster=scheduler)
    ours = {"lab": "0123", "python": "3.11", "numpy": "2.4.0"}
    assert _apart(ours, {**ours, "numpy": "2.3.1"}) == "numpy is 2.3.1 there and 2.4.0 here"
    assert _apart(ours, dict(ours)) == ""
