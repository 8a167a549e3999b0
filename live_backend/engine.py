"""Run a scenario on real servers with real worker processes, and hand over the record.

The order of a run: servers and worker processes start side by side; the run gets its own schema and key prefix;
workers say they are ready; the clock starts; the plan is submitted; it drains; workers leave; the record is read out
of PostgreSQL; all is removed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab import record as records
from lab.changes import workers_most
from lab.errors import LabError, Unavailable, UsageError
from lab.faults import RedisRestart
from lab.limits import LIVE_WORKERS_MAX, PROGRESS_S, WORKER_READY_S_MAX
from lab.outcome import judge
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.record import Record
from lab.rules import shutdown
from lab.scenario import Scenario
from lab.workload import Plan
from live_backend import database, harvest
from live_backend.broker import Broker, connect
from live_backend.caretaker import Caretaker
from live_backend.config import WorkerConfig
from live_backend.database import Database
from live_backend.ending import end
from live_backend.invitations import Invitations, workers_are_remote
from live_backend.notes import Notes
from live_backend.processes import LocalProcesses, Processes
from live_backend.producer import Producer
from live_backend.reaper import Reaper
from live_backend.servers import Servers, open_servers
from live_backend.store import Store, patience_s
from live_backend.striker import Striker, refuse_servers_that_are_not_ours, refuse_what_cannot_be_struck
from live_backend.supervisor import Supervisor

LEAD_S = 0.05
"""The run starts this long after the workers are ready, so that the first arrivals are not already late."""
ORDER_SLACK_S = 2.0
"""How far apart two claims may be committed whose ids were taken from Redis at the same moment, on a busy machine. The
order is decided when ids are taken; the audit log only knows when claims were committed."""


def run_live(scenario: Scenario, *, on_progress: OnProgress = ignore, stop: Stop = never) -> Record:
    """The record of `scenario` on Redis and PostgreSQL (`REDIS_ADDR`/`REDIS_URL`, `DB_DSN`, or embedded ones).

    `on_progress` is called a few times a second; when `stop` returns True the run ends early and its record says so.
    Raises Unavailable if there are no servers, UsageError if the scenario asks for what this machine cannot do.
    """
    refuse_what_this_machine_cannot(scenario)
    plan, remote = Plan(scenario), workers_are_remote(os.environ)
    with open_servers() as servers:
        refuse_servers_that_are_not_ours(scenario, servers)
        if any(isinstance(fault, RedisRestart) and fault.keeps != "nothing" for fault in scenario.faults):
            servers.keep_redis_log()
        return _in_a_loop_of_its_own(LiveRun(plan, servers, on_progress, stop, remote=remote).run())


def refuse_what_this_machine_cannot(scenario: Scenario) -> None:
    """Raise UsageError for a scenario that no live engine can run, Unavailable if there can be none on this machine."""
    if sys.platform == "win32":
        raise Unavailable("live runs need a Unix: run the lab inside WSL (`wsl --install`); the model works here")
    if (workers := workers_most(scenario)) > LIVE_WORKERS_MAX:
        asked = (
            f"mesh.workers is {workers}" if workers == scenario.mesh.workers else f"a change asks for {workers} workers"
        )
        raise UsageError(
            f"{asked}; a live run starts at most {LIVE_WORKERS_MAX} processes (the model has no such limit)"
        )
    refuse_what_cannot_be_struck(scenario)


def _in_a_loop_of_its_own(work: Coroutine[Any, Any, Record]) -> Record:
    """Run a coroutine, in another thread if this one has a running loop already (a notebook has)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    found: list[Record | BaseException] = []

    def target() -> None:
        try:
            found.append(asyncio.run(work))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


@dataclass
class Parts:
    """What makes a run go on, beside its workers. `helpers` are the tasks in which it does."""

    producer: Producer
    reaper: Reaper
    striker: Striker
    caretaker: Caretaker
    helpers: list[asyncio.Future[None]]


class LiveRun:
    """One run: its own schema in PostgreSQL, its own key prefix in Redis, its own processes."""

    def __init__(
        self, plan: Plan, servers: Servers, on_progress: OnProgress, stop: Stop, *, remote: bool = False
    ) -> None:
        self.plan, self.servers, self._remote = plan, servers, remote
        self._on_progress, self._stop = on_progress, stop
        self._nonce = records.nonce()
        self.schema, self.prefix = f"run_{self._nonce}", f"run:{self._nonce}:"
        self._start_epoch_s = 0.0
        self._zero = time.monotonic()
        self.notes = Notes(self.now_s)
        self.supervisor: Supervisor | None = None
        self.parts: Parts | None = None
        """There once the workers are ready."""

    def now_s(self) -> float:
        """Seconds since the start of the run; below 0 in the last moment before it, 0 while it is prepared."""
        return time.monotonic() - self._zero if self._start_epoch_s else 0.0

    async def run(self) -> Record:
        """The whole run."""
        started_at, started = records.now(), time.monotonic()
        rules = self.plan.scenario.rules
        supervisor = self.supervisor = Supervisor(
            self.plan.scenario.mesh.workers, rules, self._worker_config, self.notes, self._processes()
        )
        async with supervisor, self._own_place() as (store, broker):
            caretaker, interrupted = await self._drive(supervisor, store, broker)
            await supervisor.close()
            facts = {
                "interrupted": interrupted,
                "stalled": caretaker.stalled,
                "order_slack_s": ORDER_SLACK_S,
                "servers": [f"{fact.kind} {fact.version} ({fact.source})" for fact in self.servers.facts],
            }
            return await self._record(store.database, caretaker, started_at, time.monotonic() - started, facts)

    def _processes(self) -> Processes:
        """Where the workers come from: this machine, or `meshlab worker` hosts."""
        if not self._remote:
            return LocalProcesses()
        return Invitations(self.servers.redis_url, shutdown.grace_s(self.plan.scenario.rules.shutdown))

    @asynccontextmanager
    async def _own_place(self) -> AsyncIterator[tuple[Store, Broker]]:
        """The run's schema and keys, removed afterwards: what matters is in the record by then."""
        dsn = self.servers.dsn
        try:
            await asyncio.to_thread(database.create, dsn, self.schema)
        except Exception as error:
            raise Unavailable(
                f"PostgreSQL would not make the schema {self.schema} for this run: {str(error).splitlines()[0]}"
            ) from error
        connection = Database(dsn, self.schema, database.PLANNED_ANEW)
        broker = Broker(connect(self.servers.redis_url), self.prefix)
        try:
            yield Store(connection, self.plan.scenario.rules.lease), broker
        finally:
            await connection.close()
            with suppress(Exception):  # the servers may be gone, and then so is what we would remove
                await broker.wipe()
                await asyncio.to_thread(database.drop, dsn, self.schema)
            await broker.client.aclose()

    async def _drive(self, supervisor: Supervisor, store: Store, broker: Broker) -> tuple[Caretaker, bool]:
        """Start, submit, watch until it is over. Returns who watched, and whether it was stopped before the end."""
        rules = self.plan.scenario.rules
        submitting = Database(self.servers.dsn, self.schema, database.PLANNED_ONCE)
        sweeping = Database(self.servers.dsn, self.schema, database.PLANNED_ANEW)
        producing, reaping = (Store(one, rules.lease) for one in (submitting, sweeping))
        parts = self._parts(supervisor, store, producing, reaping, broker)
        await self._prepare(supervisor, store)
        await asyncio.gather(producing.submit([]), reaping.due([]))  # connections open, statements planned
        await self._start(supervisor, store)
        work = (parts.reaper.run(), parts.producer.run(), parts.striker.strike_all())
        parts.helpers += [asyncio.ensure_future(one) for one in work]
        watch = asyncio.ensure_future(parts.caretaker.watch())
        self.parts = parts
        try:
            interrupted = await self._until_over(watch, parts)
        finally:
            await end(watch, *parts.helpers)
            for own in (submitting, sweeping):
                await own.close()
        return parts.caretaker, interrupted

    def _parts(
        self, supervisor: Supervisor, watching: Store, submitting: Store, sweeping: Store, broker: Broker
    ) -> Parts:
        rules = self.plan.scenario.rules
        producer = Producer(self.plan, submitting, broker, self.notes, self.now_s)
        reaper = Reaper(
            sweeping,
            broker,
            rules,
            lambda task: self.notes.add("requeued", task=task),
            lambda task, attempt: patience_s(self.plan, task, attempt),
        )
        striker = Striker(
            self.plan.scenario, broker, producer, reaper, supervisor, self.servers, self.notes, self.now_s
        )
        return Parts(
            producer, reaper, striker, Caretaker(rules, watching, broker, producer, striker, self.now_s), helpers=[]
        )

    async def _prepare(self, supervisor: Supervisor, store: Store) -> None:
        """Configure the workers, and wait until all are ready."""
        await supervisor.configure_all()
        wanted, waited_from = len(supervisor.places), time.monotonic()
        while (await store.database.rows("select count(*) from worker"))[0][0] < wanted:
            if time.monotonic() - waited_from > WORKER_READY_S_MAX or supervisor.someone_died:
                raise Unavailable(supervisor.trouble())
            await asyncio.sleep(0.01)

    async def _start(self, supervisor: Supervisor, store: Store) -> None:
        """Start the clock, and tell the workers."""
        await self._told_to_start()
        (epoch_s,) = (await store.database.rows("select extract(epoch from clock_timestamp())::float8"))[0]
        lead_s = self._lead_s()
        self._zero = time.monotonic() + lead_s
        self._start_epoch_s = epoch_s + lead_s
        await supervisor.start_run(self._start_epoch_s)

    async def _told_to_start(self) -> None:
        """Wait until the run may start: at once."""

    def _lead_s(self) -> float:
        """How far ahead of now the run starts, in seconds; below 0, if it has started."""
        return LEAD_S

    async def _until_over(self, watch: asyncio.Future[None], parts: Parts) -> bool:
        """Wait, telling about progress. An error in any part of the engine ends the run with it."""
        while not watch.done():
            await asyncio.wait([watch], timeout=PROGRESS_S)
            for task in parts.helpers:
                if task.done() and task.exception() is not None:
                    raise task.exception() or LabError("a part of the engine ended")
            self._on_progress(Progress("live", parts.caretaker.ended, self.plan.count, self.now_s(), self.now_s()))
            if self._stop():
                return True
        watch.result()
        return False

    def _worker_config(self, worker: str, place: int) -> WorkerConfig:
        scenario = self.plan.scenario
        return WorkerConfig(
            worker=worker,
            place=place,
            dsn=self.servers.dsn,
            redis_url=self.servers.redis_url,
            schema=self.schema,
            prefix=self.prefix,
            scenario=scenario.data,
            base=str(scenario.base.resolve()),
        )

    async def _record(
        self, connection: Database, caretaker: Caretaker, started_at: datetime, wall_s: float, facts: dict[str, Any]
    ) -> Record:
        """Read the run out of PostgreSQL."""
        start = self._start_epoch_s
        transitions = await harvest.transitions(connection, start)
        samples = [*caretaker.samples, *await harvest.samples(connection, start)]
        events = [*self.notes.rows, *await harvest.events(connection, start)]

        def judged() -> Record:
            record = records.assemble(
                self.plan,
                "live",
                transitions,
                sorted(samples, key=lambda row: row.t_s),
                sorted(events, key=lambda row: row.t_s),
                run_id=records.new_run_id(self.plan.scenario, "live", started_at, self._nonce),
                started_at=started_at,
                wall_s=wall_s,
                facts=facts,
            )
            return judge(record)

        return await asyncio.to_thread(judged)  # whoever shows the run goes on meanwhile
