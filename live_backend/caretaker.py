"""Watches a live run: counts tasks, samples the queues, tells the producer how the fleet is, strikes with the
scenario's faults.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from lab.errors import UsageError
from lab.faults import (
    Fault,
    KillWorker,
    PauseWorker,
    PostgresRestart,
    RedisFlush,
    RedisRestart,
    SlowService,
    StopWorker,
)
from lab.limits import PROGRESS_S
from lab.patience import patience_s
from lab.record import SampleRow
from lab.rules import health
from lab.rules.tasks import State
from lab.workload import Plan
from live_backend.broker import GONE, Broker
from live_backend.notes import Notes
from live_backend.producer import Producer
from live_backend.servers import Servers
from live_backend.store import Store
from live_backend.supervisor import Supervisor

FLEET = """
select distinct on (place) place, extract(epoch from now() - seen_at)::float8, gate, active from worker
order by place, started_at desc"""


class Caretaker:
    """Sees when a run is over. `stalled` is True if it can never drain."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        broker: Broker,
        producer: Producer,
        supervisor: Supervisor,
        servers: Servers,
        notes: Notes,
        now_s: Callable[[], float],
    ) -> None:
        self.samples: list[SampleRow] = []
        self.ended = 0
        self.stalled = False
        self._plan, self._store, self._broker, self._producer = plan, store, broker, producer
        self._supervisor, self._servers, self._notes, self._now_s = supervisor, servers, notes, now_s
        self._rules = plan.scenario.rules
        self._counts: dict[State, int] = {}
        self._moved_at = time.monotonic()
        self._active = 0

    # -- looking --

    async def look(self) -> bool:
        """One look at the run. Returns True when it is over: every task ended, or none can move any more."""
        counts, fleet = await self._store.counts(), await self._store.database.rows(FLEET)
        in_progress = sum(counts.get(state, 0) for state in (State.PENDING, State.RUNNING, State.RETRY_WAIT))
        self.ended = self._producer.submitted - in_progress + self._producer.rejected
        self._producer.pending = counts.get(State.PENDING, 0)
        self._producer.closed_workers = sum(
            health.counts_as_closed(gate, age, self._rules.health) for _, age, gate, _ in fleet
        )
        self._active = sum(active for _, age, _, active in fleet if age < self._silence_s)
        await self._sample(counts)
        if self._producer.done and in_progress == 0:
            return True
        if counts != self._counts or self._active or not self._supervisor_idle():
            self._counts, self._moved_at = counts, time.monotonic()
        self.stalled = time.monotonic() - self._moved_at > patience_s(self._rules)
        return self.stalled

    @property
    def _silence_s(self) -> float:
        return health.MISSING_REPORTS_CLOSED * self._rules.health.report_s

    def _supervisor_idle(self) -> bool:
        """Whether nothing is due by itself: no arrival to come, no retry in the schedule of a run that keeps one."""
        waiting = self._counts.get(State.RETRY_WAIT, 0) and self._rules.retry.wait == "scheduled"
        return self._producer.arrived == self._plan.count and not waiting

    async def _sample(self, counts: dict[State, int]) -> None:
        depths = (0, 0, 0)
        with suppress(*GONE):
            high, medium, low, _ = await self._broker.depths()
            depths = (high, medium, low)
        tail = (*depths, counts.get(State.RETRY_WAIT, 0), self._producer.holding)
        self.samples.append(SampleRow(round(self._now_s(), 6), "", 0.0, 0.0, self._active, True, *tail))

    async def watch(self) -> None:
        """Look a few times a second until the run is over."""
        while not await self.look():
            await asyncio.sleep(PROGRESS_S)

    # -- striking --

    async def strike_all(self) -> None:
        """Every fault of the scenario at its moment."""
        await asyncio.gather(*(self._strike_at(fault) for fault in self._plan.scenario.faults))

    async def _strike_at(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, fault.at_s - self._now_s()))
        detail = f"worker {fault.worker}" if isinstance(fault, KillWorker | StopWorker | PauseWorker) else ""
        self._notes.add("fault", detail=f"{fault.kind} {detail}".strip())
        match fault:
            case KillWorker():
                self._supervisor.send(fault.worker, signal.SIGKILL)
            case StopWorker():
                self._supervisor.send(fault.worker, signal.SIGTERM)
            case PauseWorker():
                self._supervisor.send(fault.worker, signal.SIGSTOP)
                await asyncio.sleep(fault.for_s)
                self._supervisor.send(fault.worker, signal.SIGCONT)
            case RedisFlush():
                await self._broker.wipe()
            case RedisRestart():
                await asyncio.to_thread(self._servers.restart_redis, down_s=fault.down_s)
            case PostgresRestart():
                await asyncio.to_thread(self._servers.restart_postgres, immediate=True, down_s=fault.down_s)
            case SlowService():
                pass  # the workers' plan stretches the work that starts in the window


def refuse_what_cannot_be_done(plan: Plan, servers: Servers) -> None:
    """Raise UsageError for a fault that would hit servers which are not ours to restart."""
    for index, fault in enumerate(plan.scenario.faults):
        not_ours = (isinstance(fault, RedisRestart) and not servers.embedded_redis) or (
            isinstance(fault, PostgresRestart) and not servers.embedded_postgres
        )
        if not_ours:
            raise UsageError(
                f"faults[{index}]: {fault.kind} needs the embedded servers, and this run uses yours; "
                "unset REDIS_ADDR, REDIS_URL and DB_DSN, or take the fault out"
            )
