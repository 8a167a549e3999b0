"""What the live fault tests share: looking at a run from outside, past it, and striking it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import psycopg
import redis
from psycopg import sql

from lab.record import Record
from lab.rules.priority import QUEUES
from lab.rules.tasks import Event, State
from live_backend.servers import Servers
from tests.live.helpers import worker_processes
from tests.live.proxy import Proxy

UNSTRUCK = (
    "-c default_transaction_read_only=off -c statement_timeout=0 -c default_transaction_isolation=read\\ committed"
)
"""Settings of our own connections, whatever a test makes the rule for everybody else."""


class Between(NamedTuple):
    """The proxies between a run and its servers."""

    redis: Proxy
    postgres: Proxy


class Outside:
    """Connections of our own to the servers of a run, which none of its faults touch."""

    def __init__(self, servers: Servers) -> None:
        self.dsn, self.redis_url = servers.dsn, servers.redis_url
        self.redis = redis.Redis.from_url(servers.redis_url, decode_responses=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.redis.close()

    # -- PostgreSQL --

    def connect(self, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that writes even where others may only read, and waits for as long as it takes."""
        return psycopg.connect(self.dsn, options=UNSTRUCK, **options)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query; none if it gives none."""
        with self.connect(autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def setting(self, name: str, value: str | None) -> None:
        """Set a parameter of the whole server, for everybody and at once; None: as it was."""
        to = sql.SQL("alter system reset {}") if value is None else sql.SQL("alter system set {} = {}")
        with self.connect(autocommit=True) as connection:
            connection.execute(to.format(sql.Identifier(name), sql.Literal(value)))
            connection.execute("select pg_reload_conf()")

    def schema(self) -> str:
        """The schema of the run that was started last."""
        found = self.rows("select nspname from pg_namespace where nspname like 'run\\_%' order by oid desc limit 1")
        return str(found[0][0]) if found else ""

    def states(self) -> Counter[str]:
        """Tasks of the run by state; empty while there is none."""
        with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            if schema := self.schema():
                return Counter(dict(self.rows(f"select state, count(*) from {schema}.task group by state")))  # type: ignore[arg-type]
        return Counter()

    def running(self) -> int:
        """Tasks that are RUNNING."""
        return self.states()[State.RUNNING]

    def moved_to(self, state: State) -> int:
        """How often a task of the run has come into a state so far."""
        schema = self.schema()
        return int(self.rows(f"select count(*) from {schema}.transition where to_state = '{state}'")[0][0])

    # -- Redis --

    def taken(self) -> int:
        """Ids on the processing lists of the run's workers. The first entry of a list is the number of its operation.
        (Other tests' runs may have left lists of their own on the same Redis.)
        """
        own = f"run:{self.schema().removeprefix('run_')}:processing:*"
        return sum(max(0, self.redis.llen(key) - 1) for key in self.redis.scan_iter(own))

    def _queues(self) -> list[str]:
        return [key for name in QUEUES for key in self.redis.scan_iter(f"run:*:{name}")]

    def litter(self, *rubbish: str | bytes) -> None:
        """Put what is no task at both ends of every queue."""
        for key in self._queues():
            self.redis.lpush(key, *rubbish)
            self.redis.rpush(key, *rubbish)

    def kill_listeners(self) -> int:
        """Close the connections of all that wait to be woken: who subscribed, and who waits in a blocking command."""
        waiting = [one for one in self.redis.client_list() if {"P", "b"} & set(one["flags"])]
        return sum(self.redis.client_kill_filter(_id=one["id"]) for one in waiting)


def kill_workers() -> int:
    """SIGKILL to every worker process of this test. Returns how many there were."""
    found = worker_processes()
    for process in found:
        process.send_signal(signal.SIGKILL)
    return len(found)


def postmaster(outside: Outside) -> int:
    """The process id of a PostgreSQL of ours."""
    ((directory,),) = outside.rows("show data_directory")
    return int(Path(directory, "postmaster.pid").read_text().split("\n", 1)[0])


def freeze(pid: int) -> None:
    """SIGSTOP."""
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """SIGCONT."""
    os.kill(pid, signal.SIGCONT)


# ---- judging ---------------------------------------------------------------------------------------------------------


def sound(record: Record) -> None:
    """Every check of the record holds, and every task was completed."""
    assert record.info["checks"]["ok"], record.info["checks"]
    assert not record.info["stalled"]
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()


def counts(record: Record, *names: str) -> tuple[int, ...]:
    """Counts of the summary: attempts, retries, reclaimed, stale_writes …"""
    return tuple(record.info["summary"]["tasks"][name] for name in names)


def because(record: Record, event: Event) -> Any:
    """The transitions made for one reason."""
    return record.transitions[record.transitions["reason"] == event]


def noted(record: Record, kind: str) -> Any:
    """The events of one kind."""
    return record.events[record.events["kind"] == kind]
