"""A worker's heartbeat: renews leases, reports memory, moves the gate. In a thread of its own, with a connection of
its own.

A heartbeat on the event loop lies: a handler that blocks the loop would let the leases of healthy work lapse, and it
would run twice.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg

from lab.limits import CONNECT_S_MAX, STATEMENT_S_MAX
from lab.rules import Rulebook, health, lease
from lab.rules.tasks import State
from live_backend.cuts import Reachable, always
from live_backend.database import SYNC_GONE, backoff_s, options

REPORT = """
with reported as (
    insert into report (worker, rss_bytes, cpu, active, gate)
    values (%(worker)s, %(rss_bytes)s, %(cpu)s, %(active)s, %(gate)s))
update worker set seen_at = now(), rss_bytes = %(rss_bytes)s, cpu = %(cpu)s, active = %(active)s, gate = %(gate)s
where id = %(worker)s"""

RENEW = """
update task set lease_until = now() + %(lease_s)s * interval '1 second'
where id = any(%(ids)s) and worker = %(worker)s and state = %(running)s"""

NOTE = "insert into note (kind, worker, task, detail) values (%(kind)s, %(worker)s, %(task)s, %(detail)s)"


class Heartbeat(threading.Thread):
    """Beats until `stop()`. `gate_open` and `must_leave` are what it decided; `on_change` is called after each
    decision.
    """

    def __init__(
        self,
        dsn: str,
        schema: str,
        worker: str,
        rules: Rulebook,
        running: Callable[[], list[int]],
        on_change: Callable[[], None],
        reachable: Reachable = always,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.gate_open = True
        self.must_leave = False
        self.rules = rules
        """Of the next report: whoever owns this thread may put others in their place."""
        self._dsn, self._schema, self._worker = dsn, schema, worker
        self._running, self._on_change, self._reachable = running, on_change, reachable
        self.reported = threading.Event()
        """Set once the first report is written: until then nobody knows whether the gate is open."""
        self._stopping = threading.Event()
        self._process = psutil.Process()
        self._closed_since: float | None = None
        self._unsaid: list[dict[str, Any]] = []
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def stop(self) -> None:
        """Beat no more."""
        self._stopping.set()

    def run(self) -> None:
        """Report every `report_s`, renew every third of a lease; whatever breaks is connected again."""
        report_s, renew_s = self.rules.health.report_s, lease.renew_every_s(self.rules.lease)
        next_report = next_renewal = time.monotonic()
        failures = 0
        while not self._stopping.is_set():
            now = time.monotonic()
            try:
                if now >= next_report:
                    self._report()
                    self.reported.set()
                    next_report = max(next_report + report_s, now)
                if now >= next_renewal:
                    self._renew()
                    next_renewal = max(next_renewal + renew_s, now)
                failures = 0
            except SYNC_GONE:
                self._connection = None
                self._stopping.wait(backoff_s(failures))
                failures += 1
                continue
            self._stopping.wait(max(0.0, min(next_report, next_renewal) - time.monotonic()))

    def _report(self) -> None:
        rss_bytes, cpu = self._process.memory_info().rss, self._process.cpu_percent() / 100.0
        self._review_gate(rss_bytes)
        self._say()
        values = {"worker": self._worker, "rss_bytes": rss_bytes, "cpu": cpu, "gate": self.gate_open}
        self._execute(REPORT, {**values, "active": len(self._running())})

    def _review_gate(self, rss_bytes: int) -> None:
        rules, was_open, now = self.rules.health, self.gate_open, time.monotonic()
        self.gate_open = health.gate_open(was_open, health.score(rss_bytes, rules), rules)
        if was_open and not self.gate_open:
            self._closed_since = now
            self._note("gate_closed")
        elif self.gate_open and not was_open:
            self._closed_since = None
            self._note("gate_opened")
        if not self.gate_open:
            release_memory()
        if (
            self._closed_since is not None
            and health.must_recycle(now - self._closed_since, rules)
            and not self.must_leave
        ):
            self.must_leave = True
            self._note("worker_recycled")
        if self.gate_open != was_open or self.must_leave:
            self._on_change()

    def _renew(self) -> None:
        """Leased or not: a lease that nobody reads does no harm, and one code path is simpler than two."""
        if ids := self._running():
            values = {"ids": ids, "worker": self._worker, "running": State.RUNNING}
            self._execute(RENEW, {**values, "lease_s": self.rules.lease.length_s})

    def _note(self, kind: str) -> None:
        """Said with the next report that gets through: what was decided has happened, whoever hears of it."""
        self._unsaid.append({"kind": kind, "worker": self._worker, "task": -1, "detail": f"pid {os.getpid()}"})

    def _say(self) -> None:
        while self._unsaid:
            self._execute(NOTE, self._unsaid[0])
            self._unsaid.pop(0)

    def _execute(self, query: str, values: dict[str, Any]) -> None:
        if not self._reachable():
            raise psycopg.OperationalError("cut off from PostgreSQL")
        if self._connection is None or self._connection.closed:
            connect_s = math.ceil(CONNECT_S_MAX)
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, options=options(self._schema), connect_timeout=connect_s
            )
        with _hung_up_after(STATEMENT_S_MAX + CONNECT_S_MAX, self._connection):
            self._connection.execute(query, values)


@contextmanager
def _hung_up_after(seconds: float, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A block that fails as if the server had gone, if it takes longer: of a link on which nothing arrives any more,
    psycopg would wait for ever.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as link:
        hanging_up = threading.Timer(seconds, _hang_up, [link])
        hanging_up.start()
        try:
            yield
        finally:
            hanging_up.cancel()
            hanging_up.join()


def _hang_up(link: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        link.shutdown(socket.SHUT_RDWR)


def release_memory() -> None:
    """Collect garbage, then ask the C library to return free heap to the system (it need not, and only glibc
    is asked).
    """
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return  # another C library (musl): there is no such call, and nothing else to ask
