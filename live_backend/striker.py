"""Strikes a live run with the faults of its scenario, each at its moment.

What hits processes and servers is done here. What hits the work or the messages of a worker is done by the worker
itself (`worker.py`, `cuts.py`), which knows the scenario too; here it is only noted.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from lab import faults
from lab.changes import workers_at
from lab.errors import UsageError
from lab.faults import Fault
from lab.scenario import Scenario
from live_backend.broker import Broker
from live_backend.notes import Notes
from live_backend.producer import Producer
from live_backend.reaper import Reaper
from live_backend.servers import Servers
from live_backend.supervisor import Supervisor

STRUCK_HERE = (
    faults.KillWorker,
    faults.StopWorker,
    faults.PauseWorker,
    faults.RedisFlush,
    faults.RedisRestart,
    faults.PostgresRestart,
    faults.DuplicateSubmission,
    faults.Redrive,
    faults.Change,
)
STRUCK_BY_WORKERS = (
    faults.CutWorker,
    faults.PoisonTask,
    faults.SlowService,
    faults.SlowWorker,
    faults.RoleOutage,
    faults.DuplicateCompletion,
    faults.DelayCompletion,
)


class Striker:
    """The faults of one run."""

    def __init__(
        self,
        scenario: Scenario,
        broker: Broker,
        producer: Producer,
        reaper: Reaper,
        supervisor: Supervisor,
        servers: Servers,
        notes: Notes,
        now_s: Callable[[], float],
    ) -> None:
        self._scenario = scenario
        self._to_come = list(scenario.faults)
        """Those that have not struck yet; a redrive, until it is done."""
        self._broker, self._producer, self._reaper, self._supervisor = broker, producer, reaper, supervisor
        self._servers, self._notes, self._now_s = servers, notes, now_s
        self._restarting = {"redis": asyncio.Lock(), "postgres": asyncio.Lock()}
        """A server that is still coming back is not killed again: on a busy machine that takes a while."""

    @property
    def redrives_to_come(self) -> int:
        """Redrives that have not happened yet: the run does not end before them."""
        return sum(isinstance(fault, faults.Redrive) for fault in self._to_come)

    async def strike_all(self) -> None:
        """Every fault of the scenario at its moment."""
        await self.strike(self._scenario.faults)

    def follow(self, scenario: Scenario) -> list[Fault]:
        """The scenario has grown: returns the faults that are new in it. What it lacks now never strikes."""
        known, self._scenario = list(self._scenario.faults), scenario
        self._to_come = [fault for fault in self._to_come if fault in scenario.faults]
        fresh = []
        for fault in scenario.faults:
            if fault in known:
                known.remove(fault)
            else:
                fresh.append(fault)
        self._to_come += fresh
        return fresh

    async def strike(self, chosen: Sequence[Fault]) -> None:
        """Each of these faults at its moment."""
        await asyncio.gather(*(self._strike_at(fault) for fault in chosen))

    async def _strike_at(self, fault: Fault) -> None:
        kept_bytes = await self._bytes_to_keep(fault) if isinstance(fault, faults.RedisRestart) else None
        await self._until(fault.at_s)
        if fault not in self._to_come:
            return  # the run was ended before
        if not isinstance(fault, faults.Redrive):
            self._to_come.remove(fault)
        self._notes.add("fault", detail=faults.told(fault))
        match fault:
            case faults.KillWorker():
                self._supervisor.send(fault.worker, signal.SIGKILL)
            case faults.StopWorker():
                self._supervisor.send(fault.worker, signal.SIGTERM)
            case faults.PauseWorker():
                self._supervisor.send(fault.worker, signal.SIGSTOP)
                await asyncio.sleep(fault.for_s)
                self._supervisor.send(fault.worker, signal.SIGCONT)
            case faults.RedisFlush():
                await self._broker.wipe()
            case faults.RedisRestart():
                async with self._restarting["redis"]:
                    await asyncio.to_thread(self._servers.restart_redis, fault.down_s, kept_bytes)
            case faults.PostgresRestart():
                async with self._restarting["postgres"]:
                    await asyncio.to_thread(self._servers.restart_postgres, immediate=True, down_s=fault.down_s)
            case faults.DuplicateSubmission():
                await self._producer.repeat(fault.at_s, fault.tasks)
            case faults.Redrive():
                await self._reaper.redrive(fault.role)
                self._to_come.remove(fault)
            case faults.Change(knob="workers"):
                self._producer.workers = workers_at(self._scenario, max(fault.at_s, self._now_s()))
                await self._supervisor.resize(self._producer.workers)

    async def _until(self, moment_s: float) -> None:
        await asyncio.sleep(max(0.0, moment_s - self._now_s()))

    async def _bytes_to_keep(self, fault: faults.RedisRestart) -> int | None:
        """How much of its log Redis comes back with (None: all); for all but the last second, it is asked then."""
        if fault.keeps == "all_but_last_second":
            await self._until(fault.at_s - faults.LAST_SECOND_S)
            return self._servers.redis_log_bytes()
        return None if fault.keeps == "all" else 0


def refuse_what_cannot_be_struck(scenario: Scenario) -> None:
    """Raise UsageError for a fault of a kind that this engine does not know how to strike: none is ever left out."""
    for index, fault in enumerate(scenario.faults):
        if not isinstance(fault, STRUCK_HERE + STRUCK_BY_WORKERS):
            raise UsageError(
                f"faults[{index}]: the live engine cannot strike with {fault.kind} yet; "
                "`--engine sim` can, or take the fault out"
            )


def refuse_servers_that_are_not_ours(scenario: Scenario, servers: Servers) -> None:
    """Raise UsageError for a fault that would restart servers which somebody else runs."""
    for index, fault in enumerate(scenario.faults):
        not_ours = (isinstance(fault, faults.RedisRestart) and not servers.embedded_redis) or (
            isinstance(fault, faults.PostgresRestart) and not servers.embedded_postgres
        )
        if not_ours:
            raise UsageError(
                f"faults[{index}]: {fault.kind} needs the embedded servers, and this run uses yours; "
                "unset REDIS_ADDR, REDIS_URL and DB_DSN, or take the fault out"
            )
