"""A worker process: takes tasks from the queues into its slots, works, and writes the rulebook's verdict.

The way of one task through here: `_fetch` → `_claimed` → `_attempt` → `_settle`. Read them in that order.
Started by the supervisor as `python -m live_backend.worker`; told what to do on standard input. When that closes, the
parent is gone and so is the worker.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn

from lab.limits import LIVE_BATCH_TASKS_MAX, WAKE_POLL_S
from lab.rules import priority, shutdown
from lab.rules.tasks import Accepted, Event, State, transition
from lab.workload import Plan
from live_backend import work
from live_backend.broker import GONE, Broker, connect
from live_backend.config import WorkerConfig
from live_backend.database import Database, backoff_s
from live_backend.heartbeat import NOTE, Heartbeat
from live_backend.processes import EXIT_RECYCLED
from live_backend.store import Claim, Store, Verdict

HELLO = """
insert into worker (id, place, pid) values (%(worker)s, %(place)s, %(pid)s)
on conflict (id) do update set seen_at = now()"""
FAREWELL = "update worker set left_at = now(), active = 0 where id = %(worker)s"


class Worker:
    """One process of the mesh."""

    def __init__(self, config: WorkerConfig) -> None:
        scenario = config.load_scenario()
        self.name, self.config, self.rules = config.worker, config, scenario.rules
        self.plan = Plan(scenario)
        # Drawn before the run: the first draw may load SciPy, which takes a third of a second.
        self.plan.column("service", 1)
        self.slots = scenario.mesh.slots
        self.started_epoch_s: float | None = None
        self.broker = Broker(connect(config.redis_url), config.prefix)
        self.claims = Store(Database(config.dsn, config.schema), self.rules.lease)
        self.verdicts = Store(Database(config.dsn, config.schema), self.rules.lease)
        self.pool = ThreadPoolExecutor(max_workers=min(32, self.slots), thread_name_prefix="work")
        self._running: dict[tuple[int, int], asyncio.Task[None]] = {}
        """By (task, token): a worker that was frozen may win a task again while its old attempt still ends."""
        self._ended: list[tuple[Verdict, asyncio.Future[bool]]] = []
        self._something_ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._leaving = False
        self._taken = 0
        self._loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(
            config.dsn, config.schema, self.name, self.rules, self._running_ids, self._changed_elsewhere
        )

    # -- life --

    async def run(self) -> int:
        """Work until asked to leave. Returns the exit status."""
        await self.claims.database.run(HELLO, self._me())
        self.heartbeat.start()
        loops = [
            self._supervised(self._fetch_loop()),
            self._supervised(self._settle_loop()),
            self._supervised(self._listen_loop()),
        ]
        await loops[0]
        if not shutdown.hands_back(self.rules.shutdown) and not self.heartbeat.must_leave:
            return 0  # the published way: what runs is dropped
        await self._finish()
        self.heartbeat.stop()
        await self.verdicts.database.run(FAREWELL, self._me())
        return EXIT_RECYCLED if self.heartbeat.must_leave else 0

    def leave(self) -> None:
        """Claim nothing more; finish or hand back; go."""
        self._leaving = True
        self._wake.set()

    async def _finish(self) -> None:
        """Let running attempts end within the grace; hand the rest back. A recycled worker finishes whatever
        it holds.
        """
        grace_s = None if self.heartbeat.must_leave else shutdown.grace_s(self.rules.shutdown)
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=grace_s)
        for attempt in late:
            attempt.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _supervised(self, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A loop that must not die alone: an unexpected error ends the process, and the lease does the rest."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._loop.call_exception_handler({"message": "worker loop died", "exception": task.exception()})
                os._exit(70)

        task = self._loop.create_task(loop)
        task.add_done_callback(ended)
        return task

    # -- 1. fetch: from the queues to this worker --

    async def _fetch_loop(self) -> None:
        """Take as many tasks as there are free slots; when there are none to take, wait to be woken."""
        failures = 0
        while not self._leaving:
            self._wake.clear()
            free = min(self.slots - len(self._running), LIVE_BATCH_TASKS_MAX)
            took = 0
            if free > 0 and self.heartbeat.gate_open and not self.heartbeat.must_leave:
                try:
                    took = await self._fetch(free)
                    failures = 0
                except GONE:
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1
                    await self._adopt()
                    continue
            if self.heartbeat.must_leave:
                self._leaving = True
            elif took < free or free <= 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), WAKE_POLL_S)

    async def _fetch(self, free: int) -> int:
        orders = await self._orders(free)
        ids = await self.broker.take(self.name, orders, keep_list=self.rules.lease.reclaims)
        self._taken += len(ids)
        if ids:
            await self._claim(ids)
        return len(ids)

    async def _orders(self, free: int) -> list[Sequence[int]]:
        """For each free slot the order in which the rulebook has it try the classes."""
        rules = self.rules.priority
        if rules.order == "strict":
            return [priority.service_order(rules, (), 0)] * free
        if rules.order == "weighted":
            return [priority.service_order(rules, (), self._taken + slot) for slot in range(free)]
        waits_s = await self._head_waits_s()
        return [priority.service_order(rules, waits_s, 0)]  # one at a time: the next head may be of another age

    async def _head_waits_s(self) -> list[float | None]:
        heads = await self.broker.heads()
        query = "select id, extract(epoch from now() - changed_at)::float8 from task where id = any(%(ids)s)"
        rows = await self.claims.database.rows(query, {"ids": [head for head in heads if head is not None]})
        waits_s = {row[0]: row[1] for row in rows}
        return [waits_s.get(head) if head is not None else None for head in heads]

    async def _adopt(self) -> None:
        """After Redis was away: what it may have moved to our list without our hearing of it is ours to claim."""
        with suppress(*GONE):
            running = self._running_ids()
            ids = [task for task in await self.broker.held_by(self.name) if task not in running]
            if ids:
                await self._claim(ids)

    # -- 2. claim: PENDING → RUNNING, one statement for the batch --

    async def _claim(self, ids: list[int]) -> None:
        won = await self.claims.claim(ids, self.name)
        for claim in won:
            key = claim.id, claim.task.token
            if key not in self._running:
                self._running[key] = self._loop.create_task(self._attempt(claim))
        lost = set(ids) - {claim.id for claim in won}
        if lost and self.rules.lease.reclaims:
            await self.broker.settled(self.name, lost, {}, ())

    # -- 3. the attempt, in a slot --

    async def _attempt(self, claim: Claim) -> None:
        """Work, ask the rulebook, see the verdict written; then the slot is free."""
        task, attempt = claim.id, claim.task.attempt
        try:
            service_s = self.plan.stretched_service_s(task, attempt, self._run_s())
            await work.do(self.plan, task, service_s, self.pool)
            event = Event.FAILED if self.plan.fails(task, attempt) else Event.SUCCEEDED
        except asyncio.CancelledError:
            event = Event.HANDED_BACK
        roll = self.plan.jitter_roll(task, attempt) if event is Event.FAILED else 0.0
        verdict = transition(claim.task, event, self.rules.retry, token=claim.task.token, roll=roll)
        assert isinstance(verdict, Accepted), verdict
        written = self._loop.create_future()
        self._ended.append((Verdict(task, claim.task.token, verdict), written))
        self._something_ended.set()
        held = await written
        if held and verdict.task.state is State.RETRY_WAIT and self.rules.retry.wait == "in_slot":
            await self._sleep_in_slot(claim, verdict.delay_s)
        self._running.pop((task, claim.task.token), None)
        self._wake.set()

    async def _sleep_in_slot(self, claim: Claim, delay_s: float) -> None:
        """The published backoff: the slot sleeps, then puts the task back itself, unless somebody did so meanwhile."""
        await asyncio.sleep(delay_s)
        while not (moved := await self.verdicts.due([claim.id], self.name)):
            if not await self.verdicts.waits_for(claim.id, claim.task.token):
                return
            await asyncio.sleep(0.001)  # the store's clock says when, and ours may be a moment ahead of it
        await self._push(moved[0])

    async def _push(self, moved: tuple[int, int]) -> None:
        with suppress(*GONE):  # if Redis is away the reaper puts it back
            await self.broker.push({moved[1]: [moved[0]]}, front=self.rules.retry.position == "front")

    def _running_ids(self) -> list[int]:
        return [task for task, _ in list(self._running)]

    def _run_s(self) -> float:
        return time.time() - self.started_epoch_s if self.started_epoch_s is not None else 0.0

    # -- 4. settle: the verdicts of all attempts that ended, one statement for the batch --

    async def _settle_loop(self) -> None:
        while True:
            await self._something_ended.wait()
            self._something_ended.clear()
            batch, self._ended = self._ended[:LIVE_BATCH_TASKS_MAX], self._ended[LIVE_BATCH_TASKS_MAX:]
            if self._ended:
                self._something_ended.set()
            await self._settle(batch)

    async def _settle(self, batch: list[tuple[Verdict, asyncio.Future[bool]]]) -> None:
        verdicts = [verdict for verdict, _ in batch]
        due_at = await self.verdicts.settle(verdicts)
        kept = [verdict for verdict in verdicts if verdict.id in due_at]
        await self._tell_index(verdicts, kept, due_at)
        for verdict in verdicts:
            if verdict.id not in due_at:
                note = {
                    "kind": "stale_write",
                    "worker": self.name,
                    "task": verdict.id,
                    "detail": f"token {verdict.token}",
                }
                await self.verdicts.database.run(NOTE, note)
        for verdict, written in batch:
            if not written.done():
                written.set_result(verdict.id in due_at)

    async def _tell_index(self, ended: list[Verdict], kept: list[Verdict], due_at: dict[int, float]) -> None:
        """Redis hears of it after the commit. If it is away, the reaper finds in PostgreSQL what has to be done."""

        def ids(state: State) -> list[int]:
            return [verdict.id for verdict in kept if verdict.accepted.task.state is state]

        scheduled = self.rules.retry.wait == "scheduled"
        retries = {task: due_at[task] for task in ids(State.RETRY_WAIT)} if scheduled else {}
        mine = [verdict.id for verdict in ended] if self.rules.lease.reclaims else []
        with suppress(*GONE):
            await self.broker.settled(self.name, mine, retries, ids(State.PERMANENT_FAILURE))
            if back := ids(State.PENDING):
                await self.broker.push(self._by_class(back))

    def _by_class(self, ids: list[int]) -> dict[int, list[int]]:
        by_class: dict[int, list[int]] = {}
        for task in ids:
            by_class.setdefault(self.plan.queue[task], []).append(task)
        return by_class

    # -- being woken --

    async def _listen_loop(self) -> None:
        """Wake the fetch loop whenever somebody pushed. A lost call costs at most WAKE_POLL_S, never a task."""
        while True:
            with suppress(*GONE):
                async with connect(self.config.redis_url) as client, client.pubsub() as channel:
                    await channel.subscribe(self.broker.wake_channel)
                    async for _ in channel.listen():
                        self._wake.set()
            await asyncio.sleep(WAKE_POLL_S * random.random())

    def _changed_elsewhere(self) -> None:
        self._loop.call_soon_threadsafe(self._wake.set)

    def _me(self) -> dict[str, Any]:
        return {"worker": self.name, "place": self.config.place, "pid": os.getpid()}


def listen_to_parent(worker: Worker) -> None:
    """The parent says when the run started; when it says nothing more, it is dead, and this process must not outlive
    it.
    """
    for line in sys.stdin:
        word, _, value = line.partition(" ")
        if word == "start":
            worker.started_epoch_s = float(value)
    os._exit(0)


async def main() -> NoReturn:
    """Be told, prepare, work; and leave at once when that is over.

    Without asyncio's own end, which would cancel and await attempts that are to be dropped and that answer a
    cancellation by handing back, and without waiting for threads: nothing that matters is left in this process.
    """
    loop = asyncio.get_running_loop()
    worker = Worker(WorkerConfig.from_line(await loop.run_in_executor(None, sys.stdin.readline)))
    threading.Thread(target=listen_to_parent, args=(worker,), daemon=True).start()
    with suppress(NotImplementedError):  # Windows has no such handlers; there the parent ends workers by the pipe
        loop.add_signal_handler(signal.SIGTERM, worker.leave)
    gc.collect()
    gc.freeze()  # a full collection over everything that was ever imported costs tens of milliseconds, again and again
    status = await worker.run()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    asyncio.run(main())
