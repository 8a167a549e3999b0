"""Our product as a service: what it sustains, its latency under an even load over HTTP, how soon work starts on an idle
mesh, and the published burst. All moments are those of commits, by PostgreSQL's own note of them.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.contest.contestant import WARM_FIRST, WARM_TASKS, Marks, Place
from benchmarks.contest.machine import commit_ms, empty_place
from benchmarks.contest.mesh import Mesh
from benchmarks.contest.processes import Meter, Trouble
from benchmarks.contest.submit import submit_batches
from live_backend.servers import Servers

LOAD = Path(__file__).with_name("load.py")
FEEDER = Path(__file__).with_name("feeder.py")
WARM_S = 2.0
"""At the head of each load, not counted: connections, caches and prepared statements come into being."""
END_S = 30.0
PERCENTILES = (50, 95, 99)
CONNECTIONS = 64
BUSY_SLOTS = 500
WAITING_MAX = 20_000
"""Under the sustained load so many tasks wait or run at most: the workers never starve, and the backlog never grows."""


@dataclass(frozen=True)
class Rate:
    """A load: tasks a second, and over which route."""

    per_s: float
    batch_s: float = 0.0

    @property
    def route(self) -> str:
        """In words."""
        size = round(self.per_s * self.batch_s)
        return (
            f"POST /v1/tasks:batch, {size} tasks each {self.batch_s * 1000:g} ms" if self.batch_s else "POST /v1/tasks"
        )


RATES = (Rate(750.0), Rate(2000.0), Rate(5000.0, batch_s=0.005))


@contextlib.contextmanager
def fresh_mesh(servers: Servers, *, workers: int = 2, slots: int) -> Iterator[Mesh]:
    """`meshlab up` on empty stores, its workers warm."""
    with (
        tempfile.TemporaryDirectory(prefix="contest-") as folder,
        empty_place(servers, "contest") as dsn,
        Mesh(Place(servers.redis_url, dsn, Path(folder) / "marks"), workers=workers, slots=slots) as mesh,
    ):
        submit_batches(mesh.url, "NOOP", WARM_FIRST, WARM_TASKS)
        mesh.wait_completed(WARM_TASKS, END_S)
        yield mesh


def sustained(servers: Servers, way: str, duration_s: float) -> dict[str, Any]:
    """Producer, workers and servers at once on this machine, as fast as they go; seconds are counted after WARM_S."""
    with fresh_mesh(servers, slots=BUSY_SLOTS) as mesh:
        order = {
            "way": way,
            "url": mesh.url,
            "dsn": mesh.place.dsn,
            "redis_url": mesh.place.redis_url,
            "marks": str(mesh.place.marks),
            "already": WARM_TASKS,
            "duration_s": duration_s + WARM_S,
            "waiting_max": WAITING_MAX,
        }
        meter = Meter([mesh.group])
        said = _ask(FEEDER, order, duration_s, mesh)
        spent = {**meter.read(), "producer": said["processor_s"]}
        tasks = WARM_TASKS + said["submitted"]
        mesh.wait_completed(tasks, END_S)
        first = math.ceil(said["started_s"] + WARM_S)
        counts = dict(mesh.completed_by_second())
        by_second = [counts.get(first + second, 0) for second in range(int(duration_s) - 1)]
        return {
            "way": way,
            "seconds": len(by_second),
            "tasks": said["submitted"],
            "mean_per_s": sum(by_second) / len(by_second),
            "worst_second": min(by_second),
            "best_second": max(by_second),
            "by_second": by_second,
            "cores": {part: spent_s / (duration_s + WARM_S) for part, spent_s in spent.items()},
            "task_us": {part: spent_s / said["submitted"] * 1e6 for part, spent_s in spent.items()},
            "verified": mesh.verify(tasks),
        }


def paced(servers: Servers, duration_s: float) -> list[dict[str, Any]]:
    """Each rate in turn on one mesh. Times are ms."""
    found, tasks = [], WARM_TASKS
    with fresh_mesh(servers, slots=100) as mesh:
        a_commit_ms = commit_ms(servers.dsn)
        for rate in RATES:
            meter = Meter([mesh.group])
            due_us, ids, said = _load(mesh, "NOOP", rate, duration_s + WARM_S, tasks)
            tasks += len(ids)
            mesh.wait_completed(tasks, END_S)
            spent = {**meter.read(), "producer": said["processor_s"]}
            lasted_s = duration_s + WARM_S
            found.append(
                {
                    "rate_per_s": rate.per_s,
                    "commit_ms": a_commit_ms,
                    "route": rate.route,
                    "tasks": int(np.sum(due_us >= due_us[0] + WARM_S * 1e6)),
                    **_latencies(mesh, ids, due_us),
                    "answer_ms": said["answer_ms"],
                    "late_ms": said["late_ms"],
                    "cores": {part: spent_s / lasted_s for part, spent_s in spent.items()},
                }
            )
        found[-1]["verified"] = mesh.verify(tasks)
    return found


def _latencies(mesh: Mesh, ids: npt.NDArray[np.int64], due_us: npt.NDArray[np.int64]) -> dict[str, Any]:
    order = np.argsort(ids)
    moments, due = mesh.moments(ids), due_us[order]
    counted = due >= due_us[0] + WARM_S * 1e6
    return {
        "completed_ms": spread((moments.completed - due)[counted] / 1000),
        "pending_ms": spread((moments.pending - due)[counted] / 1000),
        "pending_to_running_ms": spread((moments.running - moments.pending)[counted] / 1000),
        "running_to_completed_ms": spread((moments.completed - moments.running)[counted] / 1000),
    }


def _load(
    mesh: Mesh, role: str, rate: Rate, duration_s: float, first: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[str, Any]]:
    """(moments at which tasks were due in µs, ids, what the sender said)."""
    out = mesh.place.marks.parent / "load.npy"
    order = {
        "url": mesh.url,
        "role": role,
        "rate_per_s": rate.per_s,
        "duration_s": duration_s,
        "batch_s": rate.batch_s,
        "connections": CONNECTIONS,
        "first": first,
        "out": str(out),
    }
    said = _ask(LOAD, order, duration_s, mesh)
    ids, due_us = np.load(out)
    if (ids < 0).any():
        raise Trouble(f"at {rate.per_s:g}/s {int((ids < 0).sum()):,} tasks were refused: {said}")
    return due_us, ids, said


def _ask(program: Path, order: dict[str, Any], duration_s: float, mesh: Mesh) -> dict[str, Any]:
    """Run a producer in a process of its own. Returns what it said."""
    done = subprocess.run(
        [sys.executable, str(program)],
        input=json.dumps(order) + "\n",
        capture_output=True,
        text=True,
        timeout=duration_s + 2 * END_S,
        check=False,
    )
    if done.returncode:
        raise Trouble(f"{program.name} broke off: {done.stderr.strip()[-1000:]}\nthe mesh: {mesh.group.said()}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def idle(servers: Servers, tasks: int) -> dict[str, Any]:
    """From the commit of PENDING to the start of work, one task at a time on a mesh that has nothing else to do, in ms.

    Work starts with a task's mark. Tasks come at 20 a second: each finds a mesh at rest.
    """
    with fresh_mesh(servers, slots=100) as mesh:
        a_commit_ms = commit_ms(servers.dsn)
        _, ids, _ = _load(mesh, "NOOP", Rate(20.0), tasks / 20.0, 0)
        mesh.wait_completed(WARM_TASKS + tasks, END_S)
        numbers, at_ns = Marks(mesh.place.marks).read()
        started_us = np.empty(tasks)
        counted = numbers < WARM_FIRST
        started_us[numbers[counted]] = at_ns[counted] / 1000
        order = np.argsort(ids)
        waited_us = started_us[order] - mesh.moments(ids).pending
        return {
            "tasks": tasks,
            "commit_ms": a_commit_ms,
            "start_ms": spread(waited_us / 1000),
            "verified": mesh.verify(WARM_TASKS + tasks),
        }


def burst(servers: Servers) -> dict[str, Any]:
    """The published burst, 500 tasks of 2 s on 1,500 slots in 2 processes; then a backlog that keeps all slots busy."""
    slots, work_s, backlog = 750, 2.0, 15_000
    with fresh_mesh(servers, slots=slots) as mesh:
        submit_batches(mesh.url, "LONG", 0, 500)
        mesh.wait_completed(WARM_TASKS + 500, END_S)
        burst_s = _lasted_s(mesh, 500)
        submit_batches(mesh.url, "LONG", 500, backlog)
        mesh.wait_completed(WARM_TASKS + 500 + backlog, 2 * END_S)
        per_s = np.array([count for _, count in mesh.completed_by_second()])
        return {
            "slots": 2 * slots,
            "burst_tasks": 500,
            "burst_s": burst_s,
            "backlog_tasks": backlog,
            "backlog_per_s": backlog / _lasted_s(mesh, backlog),
            "ideal_per_s": 2 * slots / work_s,
            "by_second": per_s.tolist(),
            "verified": mesh.verify(WARM_TASKS + 500 + backlog),
        }


def _lasted_s(mesh: Mesh, last: int) -> float:
    """From the first commit of PENDING among the last so many tasks to the last commit of COMPLETED."""
    moments = mesh.moments_of_last(last)
    return float(moments.completed.max() - moments.pending.min()) / 1e6


def spread(values: npt.NDArray[Any]) -> dict[str, float]:
    """p50, p95, p99 and the greatest."""
    found = {f"p{share}": float(np.percentile(values, share)) for share in PERCENTILES}
    return {**found, "max": float(np.max(values))}
