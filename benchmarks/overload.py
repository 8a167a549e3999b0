"""Tasks a second of both engines on scenarios/overload.yaml, in one run, and how far they lie apart.

    .venv/bin/python benchmarks/overload.py

The model's rate is tasks simulated per second of wall-clock time (plan, run, record and checks included); the live rate
is tasks completed per second of the run, which the slots bound (60 slots of 0.1 s: 600 a second without machinery).
"""

from __future__ import annotations

import time
from pathlib import Path

from lab import Scenario, compare
from live_backend import run_live
from simulation import simulate

SCENARIOS = Path(__file__).parents[1] / "scenarios"


def main() -> None:
    """Run both engines and print."""
    scenario = Scenario.load(SCENARIOS / "overload.yaml")
    simulate(scenario)  # once to warm up: imports are not what is measured
    started = time.perf_counter()
    model = simulate(scenario)
    wall_s = time.perf_counter() - started
    live = run_live(scenario)
    tasks = len(model.tasks)
    print(f"model   {tasks / wall_s:10,.0f} tasks simulated a second ({tasks:,} in {wall_s:.2f} s)")
    live_rate = live.info["summary"]["throughput_per_s"]
    print(f"live    {live_rate:10,.1f} tasks completed a second, checks ok: {live.info['checks']['ok']}")
    print(f"ratio   {tasks / wall_s / live_rate:10,.0f} ×")
    print(compare(model, live).table().to_string(float_format=lambda value: f"{value:,.4g}"))


if __name__ == "__main__":
    main()
