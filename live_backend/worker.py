"""A worker process: takes tasks from the queues into its slots, works, and writes the rulebook's verdict.

The way of one task through here: `_fetch` → `_claim` → `_attempt` → `_judge`, and then `settling.py`. Read them in that
order. Started by a supervisor as `python -m live_backend.worker`; told what to do on standard input. When that closes,
the parent is gone and so is the worker.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import NoReturn

from lab.errors import LabError
from lab.limits import LIVE_BATCH_TASKS_MAX, WAKE_POLL_S
from lab.rules import priority, retry, shutdown
from lab.rules.tasks import Accepted, Event, State, Task, transition
from lab.scenario import Scenario
from lab.workload import Plan
from live_backend import statements
from live_backend.attempts import Ended, OfferedWork, PlannedWork, Work
from live_backend.broker import GONE, Broker, connect
from live_backend.config import WorkerConfig
from live_backend.cuts import Cuts, Reachable
from live_backend.database import JOINED_BY_ID, Database, backoff_s
from live_backend.heartbeat import Heartbeat
from live_backend.knobs import Knobs, Turns
from live_backend.loops import EXIT_LOOP_DIED, run_in_fast_loop, supervised
from live_backend.processes import EXIT_RECYCLED
from live_backend.revisions import refuse_other_revision
from live_backend.settling import Judged, Settler
from live_backend.store import Claim, Store, Verdict

GC_THRESHOLDS = (100_000, 50, 1_000)
"""Collect rarely: with the defaults, full collections over live tasks put 30 to 60 ms into the 99.9th percentile."""
ACCEPTED_KEPT = 1_024
"""Distinct (attempt, token, forgiven) of successes for which the rulebook's answer is remembered."""


class Worker:
    """One process of the mesh."""

    def __init__(self, config: WorkerConfig) -> None:
        scenario = config.load_scenario()
        self.name, self.config, self.rules = config.worker, config, scenario.rules
        self.slots = scenario.mesh.slots
        self.started_epoch_s: float | None = None
        self._scenario, self._turns = scenario, Turns(self._run_s, self._turn)
        self._cuts = Cuts(scenario.faults, config.place, self._run_s)
        self.work: Work
        if config.standing:
            self.work = OfferedWork(scenario)
        else:
            self.work = PlannedWork(Plan(scenario), config.place, self._run_s, config.schema)
        reachable = partial(self._cuts.reachable, "postgres")
        self.broker = Broker(connect(config.redis_url, partial(self._cuts.reachable, "redis")), config.prefix)
        self.claims, self.verdicts = (Store(self._database(reachable), self.rules.lease) for _ in range(2))
        self.settler = Settler(self.verdicts, self.broker, self.rules, self.name, self._written)
        self._running: dict[tuple[int, int], asyncio.Task[None]] = {}
        """By (task, token): a worker that was frozen may win a task again while its old attempt still ends."""
        self._late: dict[tuple[int, int], asyncio.Task[None]] = {}
        """Attempts whose slot is free again and whose verdict has not been sent yet (a fault)."""
        self._wake = asyncio.Event()
        self._all_free = asyncio.Event()
        self._leaving = False
        self._taken = self._operation = 0
        self._list_is_kept = False
        """Whether Redis still has on our list what has been claimed since."""
        self._retry_tokens = retry.budget_start(self.rules.retry)
        self._succeeded = lru_cache(ACCEPTED_KEPT)(partial(self._said, event=Event.SUCCEEDED))
        self._loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(
            config.dsn, config.schema, self.name, self.rules, self._running_ids, self._changed_elsewhere, reachable
        )

    def _database(self, reachable: Reachable) -> Database:
        return Database(self.config.dsn, self.config.schema, JOINED_BY_ID, reachable)

    # -- life --

    async def run(self) -> int:
        """Work until asked to leave. Returns the exit status."""
        await asyncio.to_thread(refuse_other_revision, self.config.dsn, self.config.schema)
        await self.work.start()
        await self._rehearse()
        me = self.name, self.config.place, os.getpid(), os.uname().nodename, self.slots
        await self.claims.database.run(statements.HELLO, *me)
        self.heartbeat.start()
        await asyncio.to_thread(self.heartbeat.reported.wait)
        loops = (self._fetch_loop(), self.settler.run(), self._listen_loop())
        fetching, *_others = [supervised(loop, "worker loop") for loop in loops]  # kept: tasks are held weakly
        await fetching
        if not shutdown.hands_back(self.rules.shutdown) and not self.heartbeat.must_leave:
            return 0  # the published way: what runs is dropped
        await self._finish()
        self.heartbeat.stop()
        await self.work.close()
        await self.verdicts.database.run(statements.FAREWELL, self.name)
        return EXIT_RECYCLED if self.heartbeat.must_leave else 0

    async def _rehearse(self) -> None:
        """Connections open and statements planned: whoever says hello is as quick as it will ever be. Without it the
        first tasks waited some 30 ms; at 2,500 a second these are 80 of them.
        """
        await asyncio.gather(self.claims.claim([], self.name), self.verdicts.rehearse_verdicts())
        with suppress(*GONE):  # it may be away: the fetch loop waits for it
            await self.broker.rehearse()

    def start(self, epoch_s: float) -> None:
        """The run starts, or started, at this moment."""
        self.started_epoch_s = epoch_s
        self._cuts.start()
        self._loop.call_soon_threadsafe(lambda: self._turns.follow(self._scenario))

    def hear_of_growth(self, text: str) -> None:
        """The scenario has grown while the run goes on. Heard in another thread, which makes the new plan; attempts
        that start when the old one is stale wait for it.
        """
        work, said = self.work, json.loads(text)
        assert isinstance(work, PlannedWork), "a standing mesh does not grow"
        self._loop.call_soon_threadsafe(work.expect_growth, said["from_s"])
        plan = Plan(Scenario.from_data(said["scenario"], base=Path(self.config.base)))
        plan.column("service", 1)
        self._loop.call_soon_threadsafe(self._grow, work, plan)

    def _grow(self, work: PlannedWork, plan: Plan) -> None:
        self._scenario = plan.scenario
        work.follow(plan)
        self._cuts.follow(plan.scenario.faults)
        if self.started_epoch_s is not None:
            self._turns.follow(plan.scenario)

    def _turn(self, knobs: Knobs) -> None:
        """Somebody has turned a knob: all that was bound to the old values is bound to the new ones."""
        self.slots, self.rules = knobs.slots, knobs.rules
        self.heartbeat.rules = knobs.rules
        self._succeeded.cache_clear()
        self._wake.set()

    def leave(self) -> None:
        """Claim nothing more; finish or hand back; go."""
        self._leaving = True
        self._wake.set()

    async def _finish(self) -> None:
        """Let running attempts end within the grace; hand the rest back. A recycled worker finishes whatever
        it holds.
        """
        grace_s = None if self.heartbeat.must_leave else shutdown.grace_s(self.rules.shutdown)
        await asyncio.sleep(0)  # what was claimed a moment ago must have begun, or it could not answer
        if self._running:
            self._all_free.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_free.wait(), grace_s)
        for attempt in list(self._running.values()):
            attempt.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await asyncio.gather(*self._late.values())  # already sent: they arrive, whatever becomes of this process
        await self.settler.all_written()

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
                    continue  # with the same number: what Redis may have moved to our list it tells us then
            if self.heartbeat.must_leave:
                self._leaving = True
            elif took < free or free <= 0:
                await self._wait_to_be_woken()

    async def _fetch(self, free: int) -> int:
        orders = await self._orders(free)
        ids = await self.broker.take(self.name, self._operation, orders, keep_list=self.rules.lease.reclaims)
        self._taken += len(ids)
        if ids:
            await self._claim(ids)
        self._operation += 1
        self._list_is_kept = bool(ids) and self.rules.lease.reclaims
        return len(ids)

    async def _wait_to_be_woken(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), WAKE_POLL_S)
        if self._list_is_kept and not self._wake.is_set():  # it may be long until the next take says so
            with suppress(*GONE):
                await self.broker.release(self.name)
                self._list_is_kept = False

    async def _orders(self, free: int) -> list[tuple[int, Sequence[int]]]:
        """For the free slots, the order in which the rulebook has them try the classes."""
        rules = self.rules.priority
        if rules.order == "strict":
            return [(free, priority.service_order(rules, (), 0))]
        if rules.order == "weighted":
            return [(1, priority.service_order(rules, (), self._taken + slot)) for slot in range(free)]
        waits_s = await self._head_waits_s()
        return [(1, priority.service_order(rules, waits_s, 0))]  # one at a time: the next head may be of another age

    async def _head_waits_s(self) -> list[float | None]:
        heads = await self.broker.heads()
        rows = await self.claims.database.rows(statements.AGES, [head for head in heads if head is not None])
        waits_s = {row[0]: row[1] for row in rows}
        return [waits_s.get(head) if head is not None else None for head in heads]

    # -- 2. claim: PENDING → RUNNING, one statement for the batch --

    async def _claim(self, ids: list[int]) -> None:
        """What it does not win it drops: somebody else has it, or it was cancelled."""
        for claim in await self.claims.claim(ids, self.name):
            key = claim.id, claim.task.token
            if key not in self._running:
                self._running[key] = self._loop.create_task(self._attempt(claim))

    # -- 3. the attempt, in a slot --

    async def _attempt(self, claim: Claim) -> None:
        """Work, and have the verdict written; then the slot is free."""
        try:
            ended = await self.work.do(claim)
        except asyncio.CancelledError:
            self.settler.add(Judged(self._verdict(claim, Event.HANDED_BACK), claim.queue))
            return
        verdict = self._judge(claim, ended)
        if ended.late_s:
            await self._let_go(claim, ended.late_s)
        self.settler.add(Judged(verdict, claim.queue, ended.twice))

    def _judge(self, claim: Claim, ended: Ended) -> Verdict:
        """The rulebook's verdict on an attempt that ended by itself."""
        if not ended.failed:
            self._retry_tokens = retry.after_success(self._retry_tokens, self.rules.retry)
            return Verdict(claim.id, claim.task.token, self._succeeded(claim.task), result=ended.result)
        self._retry_tokens, may_retry = retry.after_failure(
            self._retry_tokens, claim.task.spent, ended.permanent, self.rules.retry
        )
        return self._verdict(claim, Event.FAILED, may_retry=may_retry, error=ended.error)

    def _verdict(self, claim: Claim, event: Event, *, may_retry: bool = True, error: str | None = None) -> Verdict:
        """What the rulebook says of the claim's end, and how long the client will wait for the next try."""
        roll = self.work.jitter_roll(claim.id, claim.task.attempt) if event is Event.FAILED else 0.0
        said = self._said(claim.task, event=event, roll=roll, may_retry=may_retry)
        patience_s = self.work.patience_s(claim.id, said.task.attempt + 1)
        return Verdict(claim.id, claim.task.token, said, patience_s, error=error)

    def _said(self, task: Task, *, event: Event, roll: float = 0.0, may_retry: bool = True) -> Accepted:
        said = transition(task, event, self.rules.retry, token=task.token, roll=roll, may_retry=may_retry)
        assert isinstance(said, Accepted), said
        return said

    async def _let_go(self, claim: Claim, delay_s: float) -> None:
        """The verdict is under way: the slot is free meanwhile, and nobody renews the lease."""
        key = claim.id, claim.task.token
        self._late[key] = self._running.pop(key)
        self._freed()
        await asyncio.sleep(delay_s)
        self._late.pop(key)

    # -- 4. written: the slots are free --

    def _written(self, batch: Sequence[Judged], due_at: dict[int, float]) -> None:
        in_slot = self.rules.retry.wait == "in_slot"
        for judged in batch:
            slept = in_slot and judged.verdict.accepted.task.state is State.RETRY_WAIT
            if slept and judged.verdict.id in due_at and judged.key in self._running:
                self._running[judged.key] = self._loop.create_task(self._sleep_in_slot(judged.verdict))
            else:
                self._running.pop(judged.key, None)
        self._freed()

    def _freed(self) -> None:
        self._wake.set()
        if not self._running:
            self._all_free.set()

    async def _sleep_in_slot(self, verdict: Verdict) -> None:
        """The published backoff: the slot sleeps, then puts the task back itself, unless somebody did so meanwhile."""
        try:
            await asyncio.sleep(verdict.accepted.delay_s)
            while not (moved := await self.verdicts.due([verdict.id], self.name)):
                if not await self.verdicts.waits_for(verdict.id, verdict.token):
                    return
                await asyncio.sleep(0.001)  # the store's clock says when, and ours may be a moment ahead of it
            with suppress(*GONE):  # if Redis is away the reaper puts it back
                await self.broker.push({moved[0][1]: [verdict.id]}, front=self.rules.retry.position == "front")
        finally:
            self._running.pop((verdict.id, verdict.token), None)
            self._freed()

    def _running_ids(self) -> list[int]:
        return [task for task, _ in list(self._running)]

    def _run_s(self) -> float:
        return time.time() - self.started_epoch_s if self.started_epoch_s is not None else 0.0

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


def listen_to_parent(worker: Worker) -> None:
    """The parent says when the run started; when it says nothing more, it is dead, and this process must not outlive
    it.
    """
    try:
        for line in sys.stdin:
            word, _, value = line.partition(" ")
            if word == "start":
                worker.start(float(value))
            elif word == "grow":
                worker.hear_of_growth(value)
    except BaseException:
        traceback.print_exc()  # a defect; and nobody would notice any more when the parent dies
        os._exit(EXIT_LOOP_DIED)
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
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        status = await worker.run()
    except LabError as error:
        print(error, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run_in_fast_loop(main())
