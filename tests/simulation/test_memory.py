"""RSS of a modelled worker: what tasks hold, garbage until a collection, heap that stays, release under pressure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab import Scenario, metrics
from lab.limits import MIB
from lab.profile import MemoryCosts
from simulation import simulate
from simulation.memory import Memory

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def test_a_tasks_memory_in_mebibytes_step_by_step() -> None:
    """Base 70. A task of 40 leaves half of it and 1 more as garbage: 21; at 42 (two tasks) it is collected, a quarter
    of it (10.5) stays; a release gives 80 % of that back: 2.1 is left.
    """
    costs = MemoryCosts(
        base_mib=70, garbage_share=0.5, garbage_per_task_mib=1, collect_at_mib=42, kept_share=0.25, returned_share=0.8
    )
    memory, seen = Memory(costs), []

    def look() -> None:
        seen.append(round(memory.rss_bytes / MIB, 9))

    look()
    for _ in range(2):
        memory.hold(40 * MIB)
        look()
        memory.let_go(40 * MIB)
        look()
    memory.release()
    look()
    #               first task: 70+40, 70+21; second: 91+40, then 42 collected: 70 + 10.5; released: 70 + 10.5 · 0.2
    assert seen == [70, 110, 91, 131, 80.5, 72.1]


def test_memory_that_comes_back_whole_leaves_nothing() -> None:
    memory = Memory(MemoryCosts(base_mib=70))
    for _ in range(3):
        memory.hold(40 * MIB)
        memory.let_go(40 * MIB)
    assert memory.rss_bytes == 70 * MIB


def test_the_sawtooth_can_be_seen_in_the_samples() -> None:
    """Each worker of the shipped scenario climbs and falls by far more than a task's memory (24 MiB), again and again;
    and at every closing of a gate its RSS had passed the limit.
    """
    record = simulate(Scenario.load(SCENARIOS / "rss_sawtooth.yaml"))
    for worker, (_, rss_bytes) in metrics.rss_curves(record).items():
        falls = (np.diff(rss_bytes) < -100 * MIB).sum()
        assert falls >= 20, f"{worker} fell {falls} times"
    closed = record.samples[~record.samples["gate"].astype(bool)]
    closings = record.events[record.events["kind"] == "gate_closed"]
    assert len(closings) > 0
    at_closing = closed[closed["t_s"].isin(closings["t_s"])]
    assert at_closing["rss_bytes"].max() >= 512 * MIB
    assert record.info["checks"]["ok"]


@pytest.mark.parametrize(("returned", "recycled"), [(1.0, False), (0.0, True)])
def test_a_heap_that_does_not_come_back_costs_the_process(build, tmp_path, returned: float, recycled: bool) -> None:
    """Six tasks of 100 MiB one after another leave 480 MiB of garbage: over the limit of 512 with the base of 70. A
    release brings it all back or nothing; then the gate stays closed, and after 5 s the process is replaced.
    """
    profile = tmp_path / "heap.yaml"
    heap = f"garbage_share: 0.8, collect_at_mib: 5000, kept_share: 1.0, returned_share: {returned}"
    profile.write_text(f"measured: made up\nmemory: {{base_mib: 70, {heap}}}\n")
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 9},
            workload__roles__A__memory_mib=100.0,
            workload__roles__A__service={"dist": "constant", "mean_s": 1.0},
            rules__health__recycle_after_s=5.0,
            profile=str(profile),
        )
    )
    assert (record.events["kind"] == "worker_recycled").any() == recycled
    assert (record.events["kind"] == "gate_opened").any() == (not recycled)
    assert record.info["summary"]["tasks"]["completed"] == 9
