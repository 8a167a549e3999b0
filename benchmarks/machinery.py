"""What the live backend's machinery costs: the figures of lab/profiles/default.yaml.

    .venv/bin/python benchmarks/machinery.py            # totals: how long each step takes
    .venv/bin/python benchmarks/machinery.py --parts    # who works on it: processor time by process

Totals: 600 tasks at 40 a second, each failing once, on 3 workers × 10 slots; the 10th, 50th and 90th percentile of
every step. Parts: the processor time of the worker, Redis and PostgreSQL in a run with next to no tasks, with 600 tasks
one by one, and with 10,000 in batches of 50; what they differ by, over their batches and tasks, is the cost of each.
"""

from __future__ import annotations

import argparse
import threading
from collections import Counter
from typing import Any

import numpy as np
import psutil

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


ONE_BY_ONE: dict[str, Any] = {
    "workload.arrivals": {"kind": "constant", "rate_per_s": 40.0, "duration_s": 15.0},
    "workload.roles": {"A": {"service": {"dist": "constant", "mean_s": 0.05}}},
    "mesh": {"workers": 1, "slots": 50},
}
RUNS = {
    "next to none": {**ONE_BY_ONE, "workload.arrivals.rate_per_s": 0.1, "workload.arrivals.duration_s": 20.0},
    "one by one": ONE_BY_ONE,
    "batches of 50": {
        **ONE_BY_ONE,
        "workload.arrivals": {"kind": "burst", "count": 10_000},
        "workload.roles.A.service.mean_s": 0.0,
    },
}
LOOK_S = 0.1


class Processors:
    """Processor seconds of this process's children, by what they are, as last seen before they ended."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Processors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            for child in psutil.Process().children(recursive=True):
                try:
                    words, spent = " ".join(child.cmdline()), child.cpu_times()
                except psutil.Error:
                    continue  # it has just ended; what was last seen of it counts
                kinds = {"live_backend.worker": "worker", "postgres": "postgres", "redis": "redis"}
                kind = next((name for word, name in kinds.items() if word in words), "other")
                self._seen[child.pid] = (kind, spent.user + spent.system)

    def by_kind(self) -> Counter[str]:
        """Seconds by `worker`, `postgres`, `redis`, `other`."""
        total: Counter[str] = Counter()
        for kind, spent_s in self._seen.values():
            total[kind] += spent_s  # type: ignore[assignment]
        return total


def parts() -> None:
    """Run each and print who worked how long."""
    print(f"{'run':16}{'lasts s':>9}{'tasks':>8}{'claims in':>11}{'worker s':>10}{'postgres s':>12}{'redis s':>9}")
    for name, overrides in RUNS.items():
        with Processors() as processors:
            record = run_live(Scenario.parse(SCENARIO).override(overrides))
        moves = record.transitions
        claimed = moves[moves["reason"] == "claimed"]
        spent = processors.by_kind()
        print(
            f"{name:16}{moves['at_s'].max():9.2f}{len(claimed):8,}{claimed['at_s'].nunique():11,}"
            f"{spent['worker']:10.2f}{spent['postgres']:12.2f}{spent['redis']:9.2f}"
        )


def totals() -> None:
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
        "submit (arrival → PENDING committed)": moves["at_s"][submitted] - arrivals,
        "fetch and claim (PENDING → RUNNING committed)": took[fresh_claim],
        "settle (end of work → verdict committed)": took[ended] - work,
        "due (retry due → PENDING committed)": took[due] - before["delay_s"][due],
    }
    for name, seconds in steps.items():
        low, median, high = np.percentile(seconds, [10, 50, 90]) * 1000
        print(f"{name:45} {low:7.2f} {median:7.2f} {high:7.2f} ms")
    rss = record.samples.loc[record.samples["worker"] != "", "rss_bytes"] / 2**20
    print(f"{'memory.base_mib (these tasks hold no memory)':45} {rss.median():23.1f} MiB")


def main() -> None:
    """Totals, or parts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", action="store_true", help="processor time by process")
    parts() if options.parse_args().parts else totals()


if __name__ == "__main__":
    main()
