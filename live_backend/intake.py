"""The way in of the standing mesh: tasks of many requests share one commit, and are then pushed to their queues.

A batch is whatever has come while the last one was being committed, never waited for. Nobody waits for Redis: what it
does not hear now, the reaper tells it later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from lab.errors import LabError, Unavailable
from lab.limits import (
    BLOCK_S_MAX,
    BLOCK_TASKS,
    INTAKE_AWAY_S_MAX,
    INTAKE_TASKS_MAX,
    LIVE_BATCH_TASKS_MAX,
    PUSH_S_MAX,
)
from lab.rules.tasks import Event, State
from live_backend import statements
from live_backend.broker import GONE, Broker
from live_backend.database import PLANNED_ONCE, Database
from live_backend.ending import end
from live_backend.loops import supervised

OnCommit = Callable[[int, float], None]
"""Hears of each commit: how many tasks, and how many seconds."""


class Submission(NamedTuple):
    """A task that somebody wants done. `queue` is its class, `payload` JSON; `digest` says what was asked for, so that
    a second request under the same `key` can be told from a repetition.
    """

    role: str
    priority: int
    queue: int
    payload: str | None = None
    key: str | None = None
    digest: bytes = b""


class Receipt(NamedTuple):
    """What became of a submission. "existing": its key was known, for the same request; "conflict": for another one.
    `id` is then the task that the key stands for.
    """

    id: int
    status: Literal["created", "existing", "conflict"]


class IntakeFull(LabError):
    """More is being submitted than can be committed."""


class _Request(NamedTuple):
    submissions: Sequence[Submission]
    answer: asyncio.Future[list[Receipt]]


class Intake:
    """Commits submissions. Start it with `start()`; `submit` may be called by any number of requests at once."""

    def __init__(
        self, dsn: str, broker: Broker, schema: str = "public", on_commit: OnCommit = lambda tasks, seconds: None
    ) -> None:
        self._database = Database(dsn, schema, PLANNED_ONCE)
        self._broker, self._on_commit = broker, on_commit
        self._waiting: list[_Request] = []
        self._waiting_tasks = 0
        self._come, self._to_push = asyncio.Event(), asyncio.Event()
        self._unpushed: dict[int, list[int]] = {}
        self._ids = iter(range(0))
        self._block_until = 0.0
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to commit what comes."""
        self._loops = [supervised(self._commit_loop(), "intake"), supervised(self._push_loop(), "push")]

    async def close(self) -> None:
        """Commit nothing more. Whoever still waits is refused."""
        await end(*self._loops)
        self._refuse(self._waiting, IntakeFull("the mesh is stopping; submit again when it is back"))
        await self._database.close()

    async def submit(self, submissions: Sequence[Submission]) -> list[Receipt]:
        """Returns when they are committed, or known from before, in the order given.

        Raises IntakeFull if too many wait already, Unavailable if PostgreSQL is away. Then nobody knows whether they
        were committed: to submit them again under the same keys is safe.
        """
        if self._waiting_tasks + len(submissions) > INTAKE_TASKS_MAX:
            raise IntakeFull(f"{self._waiting_tasks:,} tasks wait to be committed already; submit again in a moment")
        answer: asyncio.Future[list[Receipt]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(submissions, answer))
        self._waiting_tasks += len(submissions)
        self._come.set()
        return await answer

    # -- committing --

    async def _commit_loop(self) -> None:
        while True:
            await self._come.wait()
            requests = self._next_batch()
            submissions = [one for request in requests for one in request.submissions]
            began = time.perf_counter()
            try:
                receipts = await self._commit(submissions) if submissions else []
            except LabError as error:
                self._refuse(requests, error)
                continue
            self._on_commit(len(submissions), time.perf_counter() - began)
            self._hand_on(submissions, receipts)
            first = 0
            for request in requests:
                if not request.answer.done():
                    request.answer.set_result(receipts[first : first + len(request.submissions)])
                first += len(request.submissions)

    def _next_batch(self) -> list[_Request]:
        """Requests in their order, up to a statement's worth; without those whose client has gone."""
        batch: list[_Request] = []
        tasks = taken = 0
        for request in self._waiting:
            if batch and tasks + len(request.submissions) > LIVE_BATCH_TASKS_MAX:
                break
            taken += 1
            self._waiting_tasks -= len(request.submissions)
            if not request.answer.done():
                batch.append(request)
                tasks += len(request.submissions)
        del self._waiting[:taken]
        if not self._waiting:
            self._come.clear()
        return batch

    @staticmethod
    def _refuse(requests: Sequence[_Request], error: LabError) -> None:
        for request in requests:
            if not request.answer.done():
                request.answer.set_exception(error)

    async def _commit(self, submissions: Sequence[Submission]) -> list[Receipt]:
        ids = await self._new_ids(len(submissions))
        asked = [
            ids,
            [one.role for one in submissions],
            [one.priority for one in submissions],
            [one.queue for one in submissions],
        ]
        if all(one.key is None and one.payload is None for one in submissions):
            query, values = statements.SUBMIT, [*asked, [None] * len(ids), State.PENDING, Event.SUBMITTED]
        else:
            more = [
                [one.payload for one in submissions],
                [one.key for one in submissions],
                [one.digest for one in submissions],
            ]
            query, values = statements.SUBMIT_WITH_MORE, [*asked, *more, State.PENDING, Event.SUBMITTED]
        rows, repeated = await self._database.run(query, *values, patience_s=INTAKE_AWAY_S_MAX)
        new = {row[0] for row in rows}
        if repeated:  # the ids are ours alone: what stands there under them, an earlier try has written
            new |= {row[0] for row in await self._database.rows(statements.KNOWN, ids)}
        if len(new) == len(ids):
            return [Receipt(task, "created") for task in ids]
        return await self._told_apart(submissions, ids, new)

    async def _told_apart(self, submissions: Sequence[Submission], ids: list[int], new: set[int]) -> list[Receipt]:
        """Which of those that are not new were asked for before, and which use a key for something else."""
        keys = [one.key for one, task in zip(submissions, ids, strict=True) if task not in new]
        known = {row[0]: (row[1], row[2]) for row in await self._database.rows(statements.KEYED, keys)}
        receipts = []
        for one, task in zip(submissions, ids, strict=True):
            if task in new:
                receipts.append(Receipt(task, "created"))
            else:
                if (one.key or "") not in known:  # pruned with its task, between the two statements
                    raise Unavailable("an idempotency key was pruned just now; submit again under the same keys")
                digest, first = known[one.key or ""]
                receipts.append(Receipt(first, "existing" if digest == one.digest else "conflict"))
        return receipts

    async def _new_ids(self, count: int) -> list[int]:
        """Ids that nobody else has, known before the insert, so that one whose answer is lost can be looked up.

        They come in blocks. A block is not used for long: sweeps pass over ids that are old (limits.SWEEP_LAG_S).
        """
        ids: list[int] = []
        while len(ids) < count:
            if time.monotonic() > self._block_until:
                self._ids = iter(range(0))
            ids += [task for task, _ in zip(self._ids, range(count - len(ids)), strict=False)]
            if len(ids) < count:
                rows, _ = await self._database.run(statements.BLOCK, patience_s=INTAKE_AWAY_S_MAX)
                self._ids = iter(range(rows[0][0] * BLOCK_TASKS, (rows[0][0] + 1) * BLOCK_TASKS))
                self._block_until = time.monotonic() + BLOCK_S_MAX
        return ids

    # -- pushing --

    def _hand_on(self, submissions: Sequence[Submission], receipts: Sequence[Receipt]) -> None:
        for one, receipt in zip(submissions, receipts, strict=True):
            if receipt.status == "created":
                self._unpushed.setdefault(one.queue, []).append(receipt.id)
        if self._unpushed:
            self._to_push.set()

    async def _push_loop(self) -> None:
        while True:
            await self._to_push.wait()
            self._to_push.clear()
            by_class, self._unpushed = self._unpushed, {}
            with suppress(*GONE):  # a TimeoutError is an OSError
                async with asyncio.timeout(PUSH_S_MAX):
                    await self._broker.push(by_class)
