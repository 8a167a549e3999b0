"""Many runs on one core or several: the same results, in order, stopped when asked."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lab import replicate
from lab.errors import Interrupted, Unavailable, UsageError
from lab.metrics import Times
from lab.pooling import pooled
from lab.record import Record
from lab.replicate import Cores
from lab.scenario import Scenario
from simulation import simulate

SCENARIO = Scenario.parse(
    """\
name: forty
seed: 5
workload:
  arrivals: {kind: poisson, rate_per_s: 4, count: 40}
  roles: {A: {service: {dist: exponential, mean_s: 1.0}, failure_rate: 0.1}}
rules: {retry: {base_s: 0.1}}
"""
)


def test_runs_have_the_seeds_in_order_and_their_figures_together() -> None:
    found = replicate.run(simulate, SCENARIO, 3, cores=1)
    records = [simulate(SCENARIO.override({"seed": seed})) for seed in (5, 6, 7)]
    assert [run.seed for run in found.runs] == [5, 6, 7]
    assert found.summary == pooled([one.info["summary"] for one in records], [Times.of(one) for one in records])
    assert found.runs[0].failed_checks == ()


def test_the_number_of_cores_changes_nothing() -> None:
    alone, together = (replicate.run(simulate, SCENARIO, 3, cores=cores) for cores in (1, 2))
    assert together.summary == alone.summary


def test_a_table_has_a_row_a_figure() -> None:
    table = replicate.run(simulate, SCENARIO, 2, cores=1).table()
    low, value, high = (table.loc["latency_s.mean", column] for column in ("low", "value", "high"))
    assert low < value < high
    assert "_ci95" not in " ".join(table.index)


def test_stopped_it_has_what_was_done() -> None:
    seen: list[Record] = []

    def remembered(scenario: Scenario, **watch: Any) -> Record:
        seen.append(simulate(scenario, **watch))
        return seen[-1]

    found = replicate.run(remembered, SCENARIO, 50, cores=1, stop=lambda: len(seen) >= 3)
    assert len(found.runs) <= 3
    with pytest.raises(Interrupted, match="forty: stopped before the first of 2 replications"):
        replicate.run(simulate, SCENARIO, 2, cores=1, stop=lambda: True)


def test_more_tasks_than_can_be_pooled_are_refused_before_the_first_run() -> None:
    many = SCENARIO.override({"workload.arrivals.count": 1_000_000})
    assert replicate.replications_max(many) == 20
    with pytest.raises(UsageError, match="at most 20"):
        replicate.run(simulate, many, 21)


def test_results_come_in_the_order_of_the_items_and_are_told_at_once() -> None:
    done: list[int] = []
    shares: list[float] = []
    with Cores(partial(_called, operator.neg), 3, 1) as cores:
        found = cores.run([3, 1, 2], on_done=done.append, on_progress=lambda one: shares.append(one.fraction))
    assert found == done == [-3, -1, -2]
    assert shares == [0.0, 1 / 3, 2 / 3, 1.0]


def test_the_callers_script_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a page of the app: Streamlit makes the page that it runs the main module."""
    script = tmp_path / "page.py"
    script.write_text("raise SystemExit('run again')")
    main = ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert len(replicate.run(simulate, SCENARIO, 2, cores=2).runs) == 2


def test_a_function_of_a_notebook_travels_to_other_processes() -> None:
    found = replicate.run(lambda scenario, **_: simulate(scenario), SCENARIO, 2, cores=2)
    assert found.summary == replicate.run(simulate, SCENARIO, 2, cores=1).summary


def test_what_cannot_travel_is_told_and_not_waited_for() -> None:
    lock = threading.Lock()

    def held(scenario: Scenario, **_: Any) -> Record:
        with lock:
            return simulate(scenario)

    with pytest.raises(UsageError, match="use cores=1"):
        replicate.run(held, SCENARIO, 2, cores=2)


def test_a_process_that_is_killed_is_told() -> None:
    with Cores(_killed, 2, 2) as cores, pytest.raises(Unavailable, match="ended from outside"):
        cores.run([1, 2])


def _killed(item: int, stop: Callable[[], bool]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_process_outlives_the_one_that_asked() -> None:
    """The asker is killed while both of its processes work: each holds the pipe open for as long as it lives."""
    asker = subprocess.Popen([sys.executable, "-c", _ASKER], stdout=subprocess.PIPE)
    assert asker.stdout is not None
    with asker.stdout as pipe:
        assert [pipe.readline(), pipe.readline()] == [b"working\n"] * 2
        asker.kill()
        assert pipe.read() == b""
    assert asker.wait() == -signal.SIGKILL


_ASKER = """
import time
from lab.replicate import Cores

def work(item, stop):
    print("working", flush=True)
    time.sleep(3600)

with Cores(work, 2, 2) as cores:
    cores.run([1, 2])
"""


def _called(function: Callable[[int], int], item: int, stop: Callable[[], bool]) -> int:
    return function(item)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= replicate.core_count() <= (os.cpu_count() or 1)
