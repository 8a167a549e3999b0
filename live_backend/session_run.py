"""A live run that grows: what a person does while it runs becomes data of its scenario, at a moment a little ahead.

Every process that knows the scenario hears of its growth: the worker processes over their standard input, producer and
striker here. The record is that of the whole grown scenario, up to the moment at which the run was stopped.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from datetime import datetime
from typing import Any

from lab.changes import stopped
from lab.errors import ScenarioError, UsageError
from lab.faults import RedisRestart
from lab.limits import SESSION_DRAIN_S_MAX
from lab.progress import ignore
from lab.record import EventRow, Record
from lab.scenario import Scenario, Schedule
from lab.telemetry import Telemetry
from lab.workload import Plan
from live_backend.broker import Broker
from live_backend.caretaker import Caretaker
from live_backend.config import WorkerConfig
from live_backend.database import Database
from live_backend.ending import end
from live_backend.engine import LiveRun, Parts, refuse_what_this_machine_cannot
from live_backend.processes import LocalProcesses, Processes
from live_backend.servers import Servers
from live_backend.store import Store
from live_backend.striker import refuse_servers_that_are_not_ours
from live_backend.supervisor import Supervisor
from live_backend.tail import Tail


class SessionRun(LiveRun):
    """Starts when told to go, grows, and is over when it was stopped and has drained."""

    def __init__(self, plan: Plan, servers: Servers, telemetry: Telemetry, processes: LocalProcesses) -> None:
        refuse_what_cannot_grow(plan.scenario, plan.scenario, servers)
        self._own_processes = processes
        super().__init__(plan, servers, ignore, lambda: time.monotonic() > self._drain_until)
        self.ready, self.started = asyncio.Event(), asyncio.Event()
        self.tail: Tail | None = None
        self._tailing: asyncio.Future[None] | None = None
        self._telemetry = telemetry
        self._newest = plan.scenario
        self._go: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._stale_from_s: deque[float] = deque()
        self._noted = 0
        self._drain_until = math.inf

    # -- how it starts --

    def go(self, epoch_s: float) -> None:
        """The run starts, or started, at this moment of the wall clock."""
        if not self._go.done():
            self._go.set_result(epoch_s)

    async def _told_to_start(self) -> None:
        self.ready.set()
        await self._go

    def _lead_s(self) -> float:
        return self._go.result() - time.time()

    def _processes(self) -> Processes:
        """Children of this process: what a person does must reach them at its moment."""
        return self._own_processes

    def _parts(
        self, supervisor: Supervisor, watching: Store, submitting: Store, sweeping: Store, broker: Broker
    ) -> Parts:
        parts = super()._parts(supervisor, watching, submitting, sweeping, broker)
        parts.producer.may_grow = True
        return parts

    async def _until_over(self, watch: asyncio.Future[None], parts: Parts) -> bool:
        """With a tail beside it, which hears of everything until the place of the run is removed."""
        servers, producer = self.servers, parts.producer
        self.tail = Tail(
            servers.dsn,
            self.schema,
            self._start_epoch_s,
            self._telemetry,
            self._new_notes,
            lambda: (producer.submitted, producer.last_submitted),
        )
        tailing = self._tailing = asyncio.ensure_future(self.tail.run())
        parts.helpers.append(tailing)
        self.started.set()
        interrupted = await super()._until_over(watch, parts)
        parts.helpers.remove(tailing)  # the workers' last words are still to come
        return interrupted

    def _new_notes(self) -> list[EventRow]:
        rows = self.notes.rows[self._noted :]
        self._noted += len(rows)
        return rows

    def _worker_config(self, worker: str, place: int) -> WorkerConfig:
        """A worker that comes now knows all of the scenario that the others have been told."""
        config = super()._worker_config(worker, place)
        return WorkerConfig(**{**vars(config), "scenario": self._newest.data})

    # -- how it grows --

    def expect_growth(self, from_s: float) -> None:
        """What arrives from this moment on waits until the run has grown."""
        self._stale_from_s.append(from_s)
        if self.parts is not None:
            self.parts.producer.expect_growth(from_s)

    async def grow(self, data: dict[str, Any], from_s: float) -> None:
        """The whole new scenario; before `from_s` it is equal to the old one.

        Raises UsageError if it asks for what cannot be done here; then the run goes on as it was.
        """
        if from_s not in self._stale_from_s:
            self.expect_growth(from_s)
        await self.started.wait()
        try:
            scenario = await asyncio.to_thread(Scenario.from_data, data, base=self._newest.base)
            refuse_what_cannot_grow(self._newest, scenario, self.servers)
        except UsageError:
            self._settle_growth(self.plan)
            raise
        await self._follow(scenario)

    async def _follow(self, scenario: Scenario) -> None:
        """Workers first: they make the new plan at the same time as it is made here."""
        assert self.supervisor is not None and self.parts is not None
        self._newest = scenario
        self.supervisor.grow(f"grow {json.dumps({'scenario': scenario.data, 'from_s': self._stale_from_s[0]})}\n")
        plan = await asyncio.to_thread(Plan, scenario)
        self._settle_growth(plan)
        self.plan = plan
        self._telemetry.replan(plan)
        fresh = self.parts.striker.follow(scenario)
        self.parts.helpers.append(asyncio.ensure_future(self.parts.striker.strike(fresh)))

    def _settle_growth(self, plan: Plan) -> None:
        assert self.parts is not None
        self._stale_from_s.popleft()
        self.parts.producer.follow(plan, min(self._stale_from_s, default=math.inf))

    # -- how it ends --

    async def stop(self, at_s: float = 0.0) -> bool:
        """No task comes from `at_s` on, or from now if that is over; the run is over when all that came have ended, or
        after SESSION_DRAIN_S_MAX.

        Returns False if none has ever come: then there is nothing to drain and nothing to keep.
        """
        if self.parts is None:
            return False
        if at_s not in self._stale_from_s:
            at_s = math.ceil(max(self.now_s(), 0.0) * 1e6 + 1) / 1e6
            self.expect_growth(at_s)
        try:
            scenario = await asyncio.to_thread(stopped, self._newest, at_s)
        except ScenarioError:
            return False
        await self._follow(scenario)
        self._drain_until = time.monotonic() + SESSION_DRAIN_S_MAX
        self.parts.producer.may_grow = False
        return True

    def abandon(self) -> None:
        """The end at once."""
        if self.supervisor is not None:
            self.supervisor.kill_all()

    async def _record(
        self, connection: Database, caretaker: Caretaker, started_at: datetime, wall_s: float, facts: dict[str, Any]
    ) -> Record:
        if self.tail is not None and self._tailing is not None:
            await self.tail.catch_up()
            await end(self._tailing)
        return await super()._record(connection, caretaker, started_at, wall_s, facts)


def refuse_what_cannot_grow(old: Scenario, new: Scenario, servers: Servers) -> None:
    """Raise UsageError unless `new` differs from `old` by what may be added while a session runs here."""
    refuse_what_this_machine_cannot(new)
    refuse_servers_that_are_not_ours(new, servers)
    if not isinstance(new.workload.arrivals, Schedule):
        raise UsageError(f"{new.name}: the arrivals of a session must be a schedule, which can be continued")
    if _fixed(old) != _fixed(new):
        raise UsageError(f"{new.name}: only arrivals and faults of a session may grow; stop it and start another")
    for index, fault in enumerate(new.faults):
        if isinstance(fault, RedisRestart) and fault.keeps != "nothing":
            raise UsageError(f"faults[{index}]: in a session Redis comes back empty; take `keeps: {fault.keeps}` out")


def _fixed(scenario: Scenario) -> dict[str, Any]:
    """All of a scenario that cannot grow."""
    data = scenario.data
    workload = {name: value for name, value in data["workload"].items() if name != "arrivals"}
    return {**{name: value for name, value in data.items() if name != "faults"}, "workload": workload}
