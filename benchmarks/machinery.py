"""What the live backend's machinery costs at light load: the figures of lab/profiles/default.yaml.

    .venv/bin/python benchmarks/machinery.py

600 tasks at 40 a second, each failing once, on 3 workers × 10 slots. Prints the 10th, 50th and 90th percentile
of every step.
"""

from __future__ import annotations

import numpy as np

from lab import Scenario
from lab.workload import Plan
from live_backend import run_live

SCENARIO = """
name: machinery
seed: 2
workload:
  arrivals: {kind: poisson, rate_per_s: 40, duration_s: 15}
  roles: {A: {priority: {5: 1, 2: 1, 1: 1}, service: {dist: exponential, mean_s: 0.2}, fail_first: 1}}
mesh: {workers: 3, slots: 10}
rules: {retry: {base_s: 0.2}}
"""


def main() -> None:
    """Run and print."""
    scenario = Scenario.parse(SCENARIO)
    record, plan = run_live(scenario), Plan(scenario)
    moves = record.transitions.sort_values("task", kind="stable", ignore_index=True)
    before = moves.shift()
    took = moves["at_s"] - before["at_s"]
    ended = moves["reason"].isin(["succeeded", "failed"])
    pairs = zip(moves["task"][ended], moves["attempt"][ended], strict=True)
    work = np.array([plan.service_s(task, attempt) for task, attempt in pairs])
    submitted = moves["reason"] == "submitted"
    arrivals = record.tasks["arrival_s"].to_numpy()[moves["task"][submitted]]
    fresh_claim = (moves["reason"] == "claimed") & (before["reason"] == "submitted")
    due = moves["reason"] == "due"
    steps = {
        "submit_s (arrival → PENDING committed)": moves["at_s"][submitted] - arrivals,
        "claim_s (PENDING → RUNNING committed)": took[fresh_claim],
        "settle_s (end of work → verdict committed)": took[ended] - work,
        "due_s (retry due → PENDING committed)": took[due] - before["delay_s"][due],
    }
    for name, seconds in steps.items():
        low, median, high = np.percentile(seconds, [10, 50, 90]) * 1000
        print(f"{name:45} {low:7.2f} {median:7.2f} {high:7.2f} ms")
    rss = record.samples.loc[record.samples["worker"] != "", "rss_bytes"] / 2**20
    print(f"{'rss_base_mib (these tasks hold no memory)':45} {rss.median():23.1f} MiB")


if __name__ == "__main__":
    main()
