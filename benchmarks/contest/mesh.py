"""Our product as users start it: `meshlab up` on the benchmark's servers, and the truth about its tasks, by SQL."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import psutil
import psycopg

from benchmarks.contest.contestant import Marks, Place
from benchmarks.contest.peers import ROOT
from benchmarks.contest.processes import Group, Trouble
from live_backend.standing import free_port

ROLES = ("NOOP", "SLEEP", "LONG")
SCENARIO = """
name: contest
workload:
  arrivals: {kind: burst, count: 1}
  roles:
    NOOP:  {service: {dist: constant, mean_s: 0.001}, handler: {python: "benchmarks.contest.handlers:noop"}}
    SLEEP: {service: {dist: constant, mean_s: 0.01}, handler: {python: "benchmarks.contest.handlers:sleep"}}
    LONG:  {service: {dist: constant, mean_s: 2.0}, handler: {python: "benchmarks.contest.handlers:long"}}
"""
READY_S = 60.0
LOOK_S = 0.02
TASKS = """
select count(*), count(*) filter (where state = 'COMPLETED' and attempt = 1)
from task"""
MOVES = "select count(*) from transition"
MOMENTS = """
select task, to_state, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint
from transition where task between %(first)s and %(last)s"""
LAST_TASKS = "select id from task order by id desc limit %(count)s"
BY_SECOND = """
select extract(epoch from date_trunc('second', pg_xact_commit_timestamp(xmin)))::bigint as second, count(*)
from transition where to_state = 'COMPLETED' group by 1 order by 1"""
LAST_COMMIT = """
select extract(epoch from max(pg_xact_commit_timestamp(xmin))) from transition where to_state = 'COMPLETED'"""
AUDIT_ROWS = 3
"""Submitted, claimed, succeeded."""


class Moments(NamedTuple):
    """When each task's transitions were committed, µs since 1970; in the order of `tasks`."""

    tasks: npt.NDArray[np.int64]
    pending: npt.NDArray[np.int64]
    running: npt.NDArray[np.int64]
    completed: npt.NDArray[np.int64]


class Mesh:
    """A standing mesh. A context manager: inside it the API answers and the workers wait for tasks."""

    def __init__(self, place: Place, *, workers: int, slots: int) -> None:
        self.place, self.workers, self.slots = place, workers, slots
        port = free_port("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{port}"
        folder = place.marks.parent
        scenario = folder / "contest.yaml"
        scenario.write_text(SCENARIO)
        words = ["up", str(scenario), "--workers", str(workers), "--slots", str(slots), "--port", str(port)]
        self.group = Group([sys.executable, "-m", "cli.main", *words], _environment(place, folder), ROOT)

    def __enter__(self) -> Self:
        try:
            self._await_ready()
        except BaseException:
            self.group.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.group.end()

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not (self._healthy() and len(self.worker_processes()) == self.workers):
            if not self.group.alive or time.monotonic() > deadline:
                raise Trouble(f"meshlab up did not get ready:\n{self.group.said()}")
            time.sleep(LOOK_S)

    def _healthy(self) -> bool:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=READY_S)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def worker_processes(self) -> list[psutil.Process]:
        """The processes that execute tasks."""
        found = []
        for process in self.group.members():
            with suppress(psutil.Error):
                if "live_backend.worker" in process.cmdline():
                    found.append(process)
        return found

    def signal_workers(self, number: signal.Signals) -> None:
        """A signal to all of them."""
        for process in self.worker_processes():
            process.send_signal(number)

    # -- the truth --

    def wait_completed(self, count: int, timeout_s: float) -> None:
        """Until so many tasks are COMPLETED. The store is not asked before all are executed: asking costs it."""
        Marks(self.place.marks).wait(count, timeout_s, [self.group])
        deadline = time.monotonic() + timeout_s
        while self._row(TASKS)[1] < count:
            if time.monotonic() > deadline:
                raise Trouble(f"{self._row(TASKS)[1]:,} of {count:,} tasks COMPLETED after {timeout_s:g} s")
            time.sleep(LOOK_S)

    def last_commit_s(self) -> float:
        """When the last COMPLETED was committed, s since 1970."""
        return float(self._row(LAST_COMMIT)[0])

    def verify(self, count: int) -> str:
        """That there are `count` tasks, all COMPLETED at their first attempt, with three audit rows each."""
        tasks, done = self._row(TASKS)
        moves = self._row(MOVES)[0]
        if (tasks, done, moves) != (count, count, AUDIT_ROWS * count):
            raise Trouble(
                f"of {count:,} tasks {tasks:,} are there, {done:,} COMPLETED at once, with {moves:,} audit rows"
            )
        commits = self._row("show synchronous_commit")[0]
        return f"{count:,} rows COMPLETED at attempt 1, {moves:,} audit rows, synchronous_commit {commits}"

    def moments(self, tasks: npt.NDArray[np.int64]) -> Moments:
        """When the transitions of these tasks were committed."""
        tasks = np.sort(tasks)
        columns = {state: np.zeros(len(tasks), np.int64) for state in ("PENDING", "RUNNING", "COMPLETED")}
        with self._connect() as connection:
            rows = connection.execute(MOMENTS, {"first": int(tasks[0]), "last": int(tasks[-1])}).fetchall()
        ids = np.array([row[0] for row in rows], np.int64)
        index = np.searchsorted(tasks, ids)
        known = tasks[np.minimum(index, len(tasks) - 1)] == ids
        for (_, state, at_us), place, wanted in zip(rows, index, known, strict=True):
            if wanted:
                columns[state][place] = at_us
        return Moments(tasks, columns["PENDING"], columns["RUNNING"], columns["COMPLETED"])

    def moments_of_last(self, count: int) -> Moments:
        """The same of the newest so many tasks: ids rise with time."""
        with self._connect() as connection:
            ids = connection.execute(LAST_TASKS, {"count": count}).fetchall()
        return self.moments(np.array([number for (number,) in ids], np.int64))

    def completed_by_second(self) -> list[tuple[int, int]]:
        """(second since 1970, tasks whose COMPLETED was committed in it)."""
        with self._connect() as connection:
            return [(int(second), int(count)) for second, count in connection.execute(BY_SECOND).fetchall()]

    def _row(self, query: str) -> tuple[Any, ...]:
        with self._connect() as connection:
            row: tuple[Any, ...] | None = connection.execute(query).fetchone()
        assert row is not None
        return row

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.place.dsn, autocommit=True)


def _environment(place: Place, folder: Path) -> dict[str, str]:
    """Where the servers are; and a state of its own, so that no other `meshlab up` of this user is disturbed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHLAB_")}
    addresses = {"REDIS_URL": place.redis_url, "DB_DSN": place.dsn, "XDG_STATE_HOME": str(folder)}
    return {**kept, **place.environ(), **addresses, "PYTHONPATH": str(ROOT)}
