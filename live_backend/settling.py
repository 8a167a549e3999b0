"""Verdicts on their way to the store: whatever has ended while the last batch was being committed is the next batch.

After the commit Redis hears of retries and dead letters; if it is away, the reaper finds in PostgreSQL what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from lab.limits import LIVE_BATCH_TASKS_MAX, PUSH_S_MAX
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import State
from live_backend.broker import GONE, Broker
from live_backend.store import Store, Verdict


class Judged(NamedTuple):
    """A verdict to be written: of which class the task is, and whether the message comes twice (a fault)."""

    verdict: Verdict
    queue: int
    twice: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """(task, token): which attempt it was."""
        return self.verdict.id, self.verdict.token


class Settler:
    """Writes one worker's verdicts. `on_written` hears of each batch, and of what held (id → due time)."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        rules: Rulebook,
        worker: str,
        on_written: Callable[[Sequence[Judged], dict[int, float]], None],
    ) -> None:
        self._store, self._broker, self._rules, self._worker = store, broker, rules, worker
        self._on_written = on_written
        self._waiting: list[Judged] = []
        self._untold: list[Judged] = []
        self._due_at: dict[int, float] = {}
        self._come, self._to_tell = asyncio.Event(), asyncio.Event()
        self._all_written, self._all_told = asyncio.Event(), asyncio.Event()
        self._all_written.set()
        self._all_told.set()

    def add(self, judged: Judged) -> None:
        """Another verdict."""
        self._waiting.append(judged)
        self._come.set()
        self._all_written.clear()

    async def all_written(self) -> None:
        """Wait until nothing is under way any more."""
        await self._all_written.wait()
        await self._all_told.wait()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._write_loop())
            both.create_task(self._tell_loop())

    # -- PostgreSQL --

    async def _write_loop(self) -> None:
        while True:
            await self._come.wait()
            batch, self._waiting = self._waiting[:LIVE_BATCH_TASKS_MAX], self._waiting[LIVE_BATCH_TASKS_MAX:]
            if not self._waiting:
                self._come.clear()
            await self._write(batch)
            if not self._waiting:
                self._all_written.set()

    async def _write(self, batch: list[Judged]) -> None:
        due_at = await self._store.settle([judged.verdict for judged in batch])
        if len(due_at) < len(batch):
            await self._note_refused("stale_write", [judged for judged in batch if judged.verdict.id not in due_at])
        self._let_tell(batch, due_at)
        if again := [judged for judged in batch if judged.twice]:
            held_again = await self._store.settle([judged.verdict for judged in again])
            refused = [judged for judged in again if judged.verdict.id not in held_again]
            await self._note_refused("duplicate_completion", refused)
        self._on_written(batch, due_at)

    async def _note_refused(self, kind: str, refused: list[Judged]) -> None:
        if refused:
            tokens = [(judged.verdict.id, f"token {judged.verdict.token}") for judged in refused]
            await self._store.note(kind, tokens, self._worker)

    # -- Redis --

    def _let_tell(self, batch: list[Judged], due_at: dict[int, float]) -> None:
        """Only what is not simply done concerns Redis, and no verdict waits for it."""
        held = [judged for judged in batch if not judged.verdict.is_plain and judged.verdict.id in due_at]
        if held:
            self._untold += held
            self._due_at |= due_at
            self._to_tell.set()
            self._all_told.clear()

    async def _tell_loop(self) -> None:
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            held, self._untold = self._untold, []
            due_at, self._due_at = self._due_at, {}
            with suppress(*GONE):  # a TimeoutError is an OSError
                async with asyncio.timeout(PUSH_S_MAX):
                    await self._tell(held, due_at)
            if not self._untold:
                self._all_told.set()

    async def _tell(self, held: list[Judged], due_at: dict[int, float]) -> None:
        states = [(judged, judged.verdict.accepted.task.state) for judged in held]
        retries = {judged.verdict.id: due_at[judged.verdict.id] for judged, at in states if at is State.RETRY_WAIT}
        dead = [judged.verdict.id for judged, at in states if at is State.PERMANENT_FAILURE]
        back: dict[int, list[int]] = {}
        for judged, at in states:
            if at is State.PENDING:
                back.setdefault(judged.queue, []).append(judged.verdict.id)
        scheduled = retries if self._rules.retry.wait == "scheduled" else {}
        if scheduled or dead:
            await self._broker.settled(scheduled, dead)
        if back:
            await self._broker.push(back)
