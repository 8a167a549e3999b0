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
from functools import partial
from typing import Any, NamedTuple, NoReturn

from lab import faults
from lab.limits import LIVE_BATCH_TASKS_MAX, WAKE_POLL_S
from lab.rules import deadline, priority, retry, shutdown
from lab.rules.tasks import Accepted, Event, State, transition
from lab.workload import Outcome, Plan
from live_backend import work
from live_backend.broker import GONE, Broker, connect
from live_backend.config import WorkerConfig
from live_backend.cuts import Cuts
from live_backend.database import Database, backoff_s
from live_backend.heartbeat import NOTE, Heartbeat
from live_backend.processes import EXIT_RECYCLED
from live_backend.store import Claim, Store, Verdict, patience_s

HELLO = """
insert into worker (id, place, pid) values (%(worker)s, %(place)s, %(pid)s)
on conflict (id) do update set seen_at = now()"""
FAREWELL = "update worker set left_at = now(), active = 0 where id = %(worker)s"


class Ended(NamedTuple):
    """An attempt that is over: its verdict, who waits to hear whether it held, and whether it is delivered twice."""

    verdict: Verdict
    written: asyncio.Future[bool]
    twice: bool


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
        self._faults, self._cuts = scenario.faults, Cuts(scenario.faults, config.place, self._run_s)
        reachable = partial(self._cuts.reachable, "postgres")
        self.broker = Broker(connect(config.redis_url, partial(self._cuts.reachable, "redis")), config.prefix)
        self.claims = Store(Database(config.dsn, config.schema, reachable), self.rules.lease)
        self.verdicts = Store(Database(config.dsn, config.schema, reachable), self.rules.lease)
        self.pool = ThreadPoolExecutor(max_workers=min(32, self.slots), thread_name_prefix="work")
        self._running: dict[tuple[int, int], asyncio.Task[None]] = {}
        """By (task, token): a worker that was frozen may win a task again while its old attempt still ends."""
        self._under_way: dict[tuple[int, int], asyncio.Task[None]] = {}
        """Attempts whose slot is free again and whose verdict has not arrived yet."""
        self._ended: list[Ended] = []
        self._something_ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._leaving = False
        self._taken = 0
        self._retry_tokens = retry.budget_start(self.rules.retry)
        self._loop = asyncio.get_running_loop()
        self.heartbeat = Heartbeat(
            config.dsn, config.schema, self.name, self.rules, self._running_ids, self._changed_elsewhere, reachable
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

    def start(self, epoch_s: float) -> None:
        """The run starts, or started, at this moment."""
        self.started_epoch_s = epoch_s
        self._cuts.start()

    def leave(self) -> None:
        """Claim nothing more; finish or hand back; go."""
        self._leaving = True
        self._wake.set()

    async def _finish(self) -> None:
        """Let running attempts end within the grace; hand the rest back. A recycled worker finishes whatever
        it holds.
        """
        grace_s = None if self.heartbeat.must_leave else shutdown.grace_s(self.rules.shutdown)
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=grace_s)
            for attempt in late:
                attempt.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.gather(*self._under_way.values())  # already sent: they arrive, whatever becomes of this process

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
            running = {task for task, _ in [*self._running, *self._under_way]}
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
        started_s = self._run_s()
        outcome = self.plan.outcome(claim.id, claim.task.attempt, started_s, self.config.place)
        try:
            await self._work(claim.id, outcome, faults.kills_after_s(self._faults, claim.id, started_s))
        except asyncio.CancelledError:
            await self._deliver(claim, self._verdict(claim, Event.HANDED_BACK))
        else:
            ended_s, verdict = self._run_s(), self._judged(claim, outcome)
            if delay_s := faults.completion_delay_s(self._faults, ended_s):
                await self._let_go(claim, delay_s)
            await self._deliver(claim, verdict, twice=faults.is_delivered_twice(self._faults, ended_s))
        self._under_way.pop((claim.id, claim.task.token), None)
        self._free(claim)

    async def _work(self, task: int, outcome: Outcome, kills_after_s: float) -> None:
        """Do what the task does; a poisonous one ends this process on the way."""
        await work.do(self.plan, task, min(outcome.work_s, kills_after_s), self.pool)
        if kills_after_s <= outcome.work_s:
            os.kill(os.getpid(), signal.SIGKILL)

    def _judged(self, claim: Claim, outcome: Outcome) -> Verdict:
        """The rulebook's verdict on an attempt that ended by itself."""
        task, attempt, rules = claim.id, claim.task.attempt, self.rules
        left = rules.deadline.wastes and deadline.has_left(claim.waited_s, self.plan.patience_s(task, attempt))
        if not (outcome.failed or left):
            self._retry_tokens = retry.after_success(self._retry_tokens, rules.retry)
            return self._verdict(claim, Event.SUCCEEDED)
        self._retry_tokens, may_retry = retry.after_failure(
            self._retry_tokens, claim.task.spent, outcome.permanent, rules.retry
        )
        return self._verdict(claim, Event.FAILED, may_retry=may_retry)

    def _verdict(self, claim: Claim, event: Event, *, may_retry: bool = True) -> Verdict:
        """What the rulebook says of the claim's end, and how long the client will wait for the next try."""
        roll = self.plan.jitter_roll(claim.id, claim.task.attempt) if event is Event.FAILED else 0.0
        said = transition(claim.task, event, self.rules.retry, token=claim.task.token, roll=roll, may_retry=may_retry)
        assert isinstance(said, Accepted), said
        return Verdict(claim.id, claim.task.token, said, patience_s(self.plan, claim.id, said.task.attempt + 1))

    async def _deliver(self, claim: Claim, verdict: Verdict, *, twice: bool = False) -> None:
        """See the verdict written; a slot that has to sleep through the backoff does so here."""
        ended = Ended(verdict, self._loop.create_future(), twice)
        self._ended.append(ended)
        self._something_ended.set()
        held = await ended.written
        if held and verdict.accepted.task.state is State.RETRY_WAIT and self.rules.retry.wait == "in_slot":
            await self._sleep_in_slot(claim, verdict.accepted.delay_s)

    async def _let_go(self, claim: Claim, delay_s: float) -> None:
        """The verdict is under way: the slot is free meanwhile, and nobody renews the lease."""
        key = claim.id, claim.task.token
        self._under_way[key] = self._running[key]
        self._free(claim)
        await asyncio.sleep(delay_s)

    def _free(self, claim: Claim) -> None:
        self._running.pop((claim.id, claim.task.token), None)
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

    async def _settle(self, batch: list[Ended]) -> None:
        verdicts = [ended.verdict for ended in batch]
        due_at = await self.verdicts.settle(verdicts)
        kept = [verdict for verdict in verdicts if verdict.id in due_at]
        await self._tell_index(verdicts, kept, due_at)
        await self._note_refused("stale_write", [verdict for verdict in verdicts if verdict.id not in due_at])
        if again := [ended.verdict for ended in batch if ended.twice]:
            held_again = await self.verdicts.settle(again)
            await self._note_refused(
                "duplicate_completion", [verdict for verdict in again if verdict.id not in held_again]
            )
        for ended in batch:
            if not ended.written.done():
                ended.written.set_result(ended.verdict.id in due_at)

    async def _note_refused(self, kind: str, verdicts: list[Verdict]) -> None:
        for verdict in verdicts:
            note = {"kind": kind, "worker": self.name, "task": verdict.id, "detail": f"token {verdict.token}"}
            await self.verdicts.database.run(NOTE, note)

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
            worker.start(float(value))
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
