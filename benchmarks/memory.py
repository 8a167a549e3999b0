"""Memory of one large run of the model: peak RSS after the run, its record, its checks and its files.

    .venv/bin/python benchmarks/memory.py [--tasks N]

A fresh process runs N tasks (a million by default) of three priorities on 8 slots at 80 % load, where 5 % of the
attempts fail and are retried. The table gives the peak RSS so far after each step, and that peak in bytes a task: all
of it, and what lies above the process with everything imported and nothing run. It demands that all tasks have ended
and that every check passes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.progress import Progress

ROOT = Path(__file__).parents[1]
MB = 1_000_000
SCENARIO = """
name: memory
seed: 1
workload:
  arrivals: {{kind: poisson, rate_per_s: 640, count: {tasks}}}
  roles:
    A:
      priority: {{5: 1, 2: 1, 1: 1}}
      service: {{dist: exponential, mean_s: 0.0095}}   # 640 · 0.0095 / 0.95 / 8 slots: 80 %, retries included
      failure_rate: 0.05
mesh: {{workers: 8, slots: 1}}
profile: ideal
"""
STEPS = {"recording": "run", "checking": "+ record", "saving": "+ figures and checks"}
"""What the peak was spent on when the engine says that it begins with this."""


class Marks:
    """Peak RSS (bytes) and wall-clock time (s) at the end of each step, in order."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, float]] = []
        self._started = time.perf_counter()
        self._heard = ""

    def take(self, step: str) -> None:
        """This step is over."""
        self.rows.append((step, _peak_bytes(), time.perf_counter() - self._started))

    def hear(self, progress: Progress) -> None:
        """The engine's progress; its note says when another step begins."""
        word = progress.note.partition(" ")[0]
        if word != self._heard and word in STEPS:
            self._heard = word
            self.take(STEPS[word])


def _peak_bytes() -> int:
    """The largest RSS of this process up to now."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(tasks: int) -> None:
    """In the fresh process: run, and print the marks as JSON."""
    import pyarrow.parquet  # noqa: F401 - loaded when a record is saved

    from lab import Scenario
    from simulation import simulate

    marks = Marks()
    marks.take("imports")
    record = simulate(Scenario.parse(SCENARIO.format(tasks=tasks)), on_progress=marks.hear)
    marks.take(STEPS["saving"])
    with tempfile.TemporaryDirectory() as folder:
        record.save(Path(folder))
        marks.take("+ files saved")
    ended = record.tasks["state"].isin(["COMPLETED", "PERMANENT_FAILURE"])
    if not ended.all() or not record.info["checks"]["ok"]:
        raise SystemExit(f"{(~ended).sum()} tasks did not end, checks failed: {record.info['checks']['failed']}")
    print(json.dumps(marks.rows))


def main() -> None:
    """Measure in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description="Memory of one large run of the model.")
    parser.add_argument("--tasks", type=int, default=1_000_000, help="how many tasks (default 1,000,000)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.tasks)
        return
    # This process stays small: a child's ru_maxrss begins at its parent's.
    command = [sys.executable, __file__, "--measure", "--tasks", str(options.tasks)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    if answer.returncode:
        raise SystemExit(f"the measured process ended with status {answer.returncode}; what it said stands above")
    rows = json.loads(answer.stdout)
    imports_bytes = rows[0][1]
    print(f"{options.tasks:,} tasks; peak RSS up to the end of each step")
    print(f"{'':22} {'peak':>10} {'bytes a task':>14} {'above imports':>14} {'wall clock':>12}")
    for step, peak, wall_s in rows:
        whole, above = peak / options.tasks, (peak - imports_bytes) / options.tasks
        print(f"{step:22} {peak / MB:7.1f} MB {whole:14.1f} {above:14.1f} {wall_s:10.1f} s")


if __name__ == "__main__":
    main()
