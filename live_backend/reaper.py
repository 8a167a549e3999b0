"""The reaper: returns due retries, takes lapsed claims back, and puts back from PostgreSQL what Redis has lost. And,
when an operator asks for it, the dead letters.

It holds nothing that matters: any process could do this, and one that dies in the middle leaves nothing half done. Even
two at once do no harm, for every statement is guarded; `leading.py` sees to it that one is enough.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from lab.limits import LEFT_POLL_S, LIVE_BATCH_TASKS_MAX, RETRY_POLL_S, SWEEP_SHARE_MAX
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import Accepted, Event, State, Task, transition
from live_backend.broker import GONE, Broker
from live_backend.store import Store, Verdict

OnRequeued = Callable[[int], None]
"""Hears of each task that Redis had lost."""
PatienceOf = Callable[[int, int], float | None]
"""How long the client of a task waits for an attempt to start, in seconds; None: for ever."""


def nobody_leaves(task: int, attempt: int) -> None:
    """The patience of clients that wait for ever."""
    return None


class Reaper:
    """Looks after the tasks of one run, or of the standing mesh."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        rules: Rulebook,
        on_requeued: OnRequeued,
        patience_of: PatienceOf = nobody_leaves,
    ) -> None:
        self._store, self._broker, self._rules = store, broker, rules
        self._on_requeued, self._patience_of = on_requeued, patience_of
        self._sweeping = asyncio.Lock()
        """Held by a sweep, and by a redrive: what one of them moves the other must not find half moved."""

    async def run(self) -> None:
        """Until cancelled: due retries as they come, clients that left soon after, everything else every `sweep_s`."""
        next_sweep, next_look = time.monotonic() + self._rules.lease.sweep_s, time.monotonic()
        await self._sign_index()
        while True:
            with suppress(*GONE):
                await self._return_due()
            if self._rules.deadline.cancels and time.monotonic() >= next_look:
                next_look = time.monotonic() + LEFT_POLL_S
                with suppress(*GONE):
                    await self._cancel_expired()
            if time.monotonic() >= next_sweep:
                next_sweep = await self._timed_sweep()
            await asyncio.sleep(RETRY_POLL_S)

    async def _timed_sweep(self) -> float:
        """A sweep; returns when the next is due. One that takes long is followed by a longer rest."""
        began = time.monotonic()
        with suppress(*GONE):
            await self.sweep()
        ended = time.monotonic()
        return max(began + self._rules.lease.sweep_s, ended + (ended - began) / SWEEP_SHARE_MAX)

    async def sweep(self) -> None:
        """One look at everything that should have happened by now."""
        async with self._sweeping:
            await self._store.advance()
            await self._return_overdue()
            if self._rules.lease.reclaims:
                await self._reclaim_lapsed()
                await self._mend_index()

    async def redrive(self, role: str | None = None, ids: Sequence[int] | None = None) -> list[int]:
        """Put every dead letter (or those of a role, or these) back into its queue, in the order of the ids. Returns
        which it was.
        """
        done: list[int] = []
        async with self._sweeping:
            dead = await self._store.dead(role, ids)
            for first in range(0, len(dead), LIVE_BATCH_TASKS_MAX):
                batch = dead[first : first + LIVE_BATCH_TASKS_MAX]
                back = await self._store.redrive([self._verdict(task, facts, Event.REDRIVEN) for task, facts in batch])
                done += [task for task, _ in back]
                with suppress(*GONE):  # the next sweep puts them back
                    await self._broker.withdraw_letters([task for task, _ in back])
                    await self._push(back)
        return done

    # -- retries --

    async def _return_due(self) -> None:
        ids = await self._broker.due(time.time(), LIVE_BATCH_TASKS_MAX)
        if ids:
            moved = await self._store.due(ids)
            await self._push(moved, front=self._rules.retry.position == "front")
            not_moved = set(ids) - {task for task, _ in moved}
            too_early = await self._store.still_waiting(not_moved) if not_moved else set[int]()
            await self._broker.unschedule([task for task in ids if task not in too_early])

    async def _return_overdue(self) -> None:
        """Retries that Redis forgot; and those of a slot that died asleep, once its lease would have lapsed."""
        in_slot = self._rules.retry.wait == "in_slot"
        if in_slot and not self._rules.lease.reclaims:
            return  # the published way: what slept in a dead slot is lost
        late_s = self._rules.lease.length_s if in_slot else 0.0
        ids = await self._store.overdue(late_s, LIVE_BATCH_TASKS_MAX)
        if ids:
            await self._push(await self._store.due(ids), front=self._rules.retry.position == "front")

    # -- clients that left --

    async def _cancel_expired(self) -> None:
        """Cancelled in the store first; what Redis still holds of them then could not be claimed anyway."""
        left = await self._store.expire()
        if left:
            await self._broker.withdraw(_by_class(left))

    # -- leases --

    async def _reclaim_lapsed(self) -> None:
        lapsed = await self._store.lapsed(LIVE_BATCH_TASKS_MAX)
        if not lapsed:
            return
        taken_back = await self._store.reclaim([self._verdict(*one, Event.LEASE_LAPSED) for one in lapsed])
        await self._push([(task, queue) for task, queue, state in taken_back if state is State.PENDING])
        dead = [task for task, _, state in taken_back if state is State.PERMANENT_FAILURE]
        if dead:
            await self._broker.settled({}, dead)

    def _verdict(self, task: int, facts: Task, event: Event) -> Verdict:
        """What the rulebook says of an event, and how long the client will wait for the next try."""
        verdict = transition(facts, event, self._rules.retry)
        assert isinstance(verdict, Accepted), verdict
        return Verdict(task, facts.token, verdict, self._patience_of(task, facts.attempt + 1))

    # -- the index --

    async def _sign_index(self) -> None:
        with suppress(*GONE):
            await self._broker.mark()

    async def _mend_index(self) -> None:
        """Put back pending tasks that stand in no queue and on no living worker's list: pushing twice is harmless.

        The cheap question first: as long as the queues hold at least as many tasks as have been pending for a sweep,
        none is missing.
        """
        older_s = self._rules.lease.sweep_s
        intact, queued = await self._broker.mark(), sum((await self._broker.depths())[:3])
        expected = await self._store.count_waiting(older_s)
        if not expected or (intact and queued >= expected):
            return
        waiting = await self._store.waiting(older_s)
        # What a worker took that was heard of within a lease is in good hands.
        present = await self._broker.contents(await self._store.living(self._rules.lease.length_s))
        missing = {task for task, _ in waiting} - present
        # Between the two looks some were claimed, and so left both the queues and this list: ask again before putting
        # any back.
        lost = [(task, queue) for task, queue in await self._store.waiting(older_s) if task in missing]
        for task, _ in lost:
            self._on_requeued(task)
        await self._push(lost, front=True)

    async def _push(self, tasks: Sequence[tuple[int, int]], *, front: bool = False) -> None:
        if tasks:
            await self._broker.push(_by_class(tasks), front=front)


def _by_class(tasks: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    by_class: dict[int, list[int]] = {}
    for task, queue in tasks:
        by_class.setdefault(queue, []).append(task)
    return by_class
