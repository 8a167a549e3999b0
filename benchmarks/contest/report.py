"""What the benchmark prints."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.contest.contestant import Kind
from benchmarks.contest.drain import Drained

TITLES: dict[Kind, str] = {
    "noop": "Drain of {tasks:,} no-op tasks, 2 worker processes",
    "sleep": "Drain of {tasks:,} tasks of 10 ms, 2 worker processes, 200 slots in all where a peer has slots",
}


def facts(found: dict[str, Any]) -> None:
    """Machine, servers, settings, cost of a commit."""
    print(f"{found['processor']}, {found['cores']} cores, {found['memory_gib']} GiB; {found['system']}")
    versions = ", ".join(f"{kind} {version}" for kind, version in found["servers"].items())
    print(f"Python {found['python']}, {versions}; load before: {found['load_before']}")
    print("PostgreSQL: " + ", ".join(f"{name} {value}" for name, value in found["settings"].items()))
    print(f"a commit of one row: p50 {found['commit_ms']:.3f} ms; fdatasync of a page: {found['fdatasync_ms']:.3f} ms")


def drains(runs: Sequence[Drained], kind: Kind, ours: str) -> None:
    """One row a contestant, the fastest first: medians of its runs, and how many times the best of ours is as fast."""
    of_kind = [run for run in runs if run.kind == kind]
    if not of_kind:
        return
    print(f"\n{TITLES[kind].format(tasks=of_kind[0].tasks)}\n")
    print(f"{'':18}{'drain/s':>9}{'runs':>17}{'enqueue/s':>11}{'both/s':>9}{'µs a task: own':>16}{'redis':>7}{'pg':>7}")
    names = {run.contestant for run in of_kind}
    median = {name: _median(of_kind, name, "drain_per_s") for name in names}
    best = max((median[name] for name in names if name.startswith(ours)), default=None)
    for name in sorted(names, key=lambda name: -median[name]):
        rates = [run.drain_per_s for run in of_kind if run.contestant == name]
        cells = [_median(of_kind, name, f"{part}_us") for part in ("contestant", "redis", "postgres")]
        print(
            f"{name:18}{median[name]:9,.0f}{f'{min(rates):,.0f}-{max(rates):,.0f}':>17}"
            f"{_median(of_kind, name, 'enqueue_per_s'):11,.0f}{_median(of_kind, name, 'both_per_s'):9,.0f}"
            f"{cells[0]:16.1f}{cells[1]:7.1f}{cells[2]:7.1f}"
            + (f"   ours is {best / median[name]:.1f} times as fast" if best and not name.startswith(ours) else "")
        )
    print()
    for name in sorted(names, key=lambda name: -median[name]):
        one = next(run for run in of_kind if run.contestant == name)
        print(f"  {name}: {one.setting}; {one.verified}")


def _median(runs: Sequence[Drained], name: str, field: str) -> float:
    values: list[float] = [getattr(run, field) for run in runs if run.contestant == name]
    return statistics.median(values)


def sustained(found: dict[str, Any]) -> None:
    """A minute at full rate."""
    way = {"http": "over HTTP, POST /v1/tasks:batch", "intake": "through the intake, in the producer's process"}
    print(f"\nSustained {way[found['way']]}: producer, workers and servers at once, {found['seconds']} s counted")
    print(
        f"  {found['mean_per_s']:,.0f} tasks/s; worst second {found['worst_second']:,}, best {found['best_second']:,}; "
        f"cores: {_cores(found)}"
    )
    print("  µs of processor a task: " + ", ".join(f"{part} {spent:.1f}" for part, spent in found["task_us"].items()))
    print(f"  {found['verified']}")


def paced(rows: Sequence[dict[str, Any]]) -> None:
    """One row a rate, in ms, and in commits."""
    commit_ms = rows[0]["commit_ms"]
    print("\nPaced over HTTP: from the moment a task was due to its committed COMPLETED, ms")
    print(f"  a commit of one row just before: p50 {commit_ms:.3f} ms; moments are PostgreSQL's commit timestamps\n")
    print(f"{'per s':>7}{'tasks':>8}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}{'commits: p50':>14}{'p99':>7}  of which")
    for row in rows:
        done = row["completed_ms"]
        print(
            f"{row['rate_per_s']:7,.0f}{row['tasks']:8,}{done['p50']:8.2f}{done['p95']:8.2f}{done['p99']:8.2f}"
            f"{done['max']:8.1f}{done['p50'] / commit_ms:14.1f}{done['p99'] / commit_ms:7.1f}  "
            + ", ".join(f"{name} {_pair(row[key])}" for name, key in STAGES)
        )
    for row in rows:
        print(
            f"  {row['rate_per_s']:,.0f}/s: {row['route']}; answers {_pair(row['answer_ms'])} ms; "
            f"the sender itself late by {_pair(row['late_ms'])} ms; cores: {_cores(row)}"
        )
    print(f"  {rows[-1]['verified']}")


STAGES = (
    ("due → PENDING", "pending_ms"),
    ("→ RUNNING", "pending_to_running_ms"),
    ("→ COMPLETED", "running_to_completed_ms"),
)


def idle(found: dict[str, Any]) -> None:
    """How soon work starts."""
    commit_ms = found["commit_ms"]
    start = found["start_ms"]
    print(f"\nIdle mesh, {found['tasks']} tasks one at a time: from the commit of PENDING to the start of work")
    print(
        f"  p50 {start['p50']:.2f} ms ({start['p50'] / commit_ms:.1f} commits of {commit_ms:.3f} ms), "
        f"p95 {start['p95']:.2f}, p99 {start['p99']:.2f}, max {start['max']:.2f}; the commit of RUNNING lies in it"
    )
    print(f"  {found['verified']}")


def burst(found: dict[str, Any]) -> None:
    """The published burst."""
    print(f"\nPublished burst: tasks of 2 s on {found['slots']:,} slots in 2 processes")
    share = found["backlog_per_s"] / found["ideal_per_s"]
    print(f"  {found['burst_tasks']} at once: done in {found['burst_s']:.3f} s")
    print(
        f"  {found['backlog_tasks']:,} in a backlog: {found['backlog_per_s']:,.1f}/s, {share:.1%} of the "
        f"{found['ideal_per_s']:,.0f}/s that so many slots can do"
    )
    print(f"  {found['verified']}")


def _pair(values: dict[str, float]) -> str:
    return f"{values['p50']:.2f}/{values['p99']:.2f}"


def _cores(found: dict[str, Any]) -> str:
    return ", ".join(f"{part} {spent:.2f}" for part, spent in found["cores"].items())
