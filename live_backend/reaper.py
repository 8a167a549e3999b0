"""The reaper: returns due retries, takes lapsed claims back, and puts back from PostgreSQL what Redis has lost. And,
when an operator asks for it, the dead letters.

It holds nothing that matters: any process could do this, and one that dies in the middle leaves nothing half done. Even
two at once do no harm, for every statement is guarded; `leading.py` sees to it that one is enough.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from lab.limits import (
    DEEP_SWEEPS,
    DEEP_TASKS_MAX,
    LEFT_POLL_S,
    LIVE_BATCH_TASKS_MAX,
    RETRY_POLL_S,
    SWEEP_ANSWER_S_MAX,
    SWEEP_SHARE_MAX,
    SWEEPS_COMPARED,
)
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import Accepted, Event, State, Task, transition
from live_backend.broker import GONE, Broker
from live_backend.ending import end
from live_backend.store import Look, Store, Verdict

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
        idle_poll_s: float = RETRY_POLL_S,
    ) -> None:
        """`idle_poll_s`: how often to look for due retries while none is scheduled."""
        self._store, self._broker, self._rules, self._idle_poll_s = store, broker, rules, idle_poll_s
        self._on_requeued, self._patience_of = on_requeued, patience_of
        self._sweeps = 0
        self._sweeping = asyncio.Lock()
        """Held by a sweep, and by a redrive: what one of them moves the other must not find half moved."""

    async def run(self) -> None:
        """Until cancelled: due retries as they come, clients that left soon after, everything else every `sweep_s`."""
        loops = [asyncio.ensure_future(loop) for loop in (self._watch_loop(), self._sweep_loop())]
        try:
            await asyncio.gather(*loops)
        finally:
            await end(*loops)

    async def _watch_loop(self) -> None:
        """What Redis knows the moment of. By itself: a Redis that is frozen keeps it waiting, and leases lapse all the
        same.
        """
        next_look = time.monotonic()
        await self._sign_index()
        while True:
            rest_s = RETRY_POLL_S
            with suppress(*GONE):
                soonest = await self._broker.next_due()
                if soonest is None:
                    rest_s = self._idle_poll_s
                elif soonest <= time.time():
                    await self._return_due()
            if self._rules.deadline.cancels and time.monotonic() >= next_look:
                next_look = time.monotonic() + LEFT_POLL_S
                with suppress(*GONE):
                    await self._cancel_expired()
            await asyncio.sleep(rest_s)

    async def _sweep_loop(self) -> None:
        """Where every sweep takes long, longer rests follow. One alone was held up by a server that was away."""
        rest_s = sweep_s = self._rules.lease.sweep_s
        took_s = deque([0.0] * SWEEPS_COMPARED, maxlen=SWEEPS_COMPARED)
        while True:
            await asyncio.sleep(rest_s)
            began = time.monotonic()
            if await self.sweep():
                took_s.append(time.monotonic() - began)
            rest_s = max(began + sweep_s - time.monotonic(), min(took_s) / SWEEP_SHARE_MAX)

    async def sweep(self) -> bool:
        """One look at everything that should have happened by now. Returns whether Redis could be told all of it."""
        told = True
        async with self._sweeping:
            await self._store.advance()
            look = await self._store.look(self._rules.lease.sweep_s, self._late_s)
            leased = (self._reclaim_lapsed, self._return_overdue, self._mend_index)
            for step in leased if self._rules.lease.reclaims else (self._return_overdue,):
                try:
                    await step(look)
                except GONE:  # in PostgreSQL it has happened; Redis hears of it in a later sweep
                    told = False
        return told

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

    @property
    def _late_s(self) -> float:
        """How late a retry is overdue: at once if it was scheduled; a slot that sleeps through it might still wake."""
        return self._rules.lease.length_s if self._rules.retry.wait == "in_slot" else 0.0

    async def _return_overdue(self, look: Look) -> None:
        """Retries that Redis forgot; and those of a slot that died asleep, once its lease would have lapsed."""
        if self._rules.retry.wait == "in_slot" and not self._rules.lease.reclaims:
            return  # the published way: what slept in a dead slot is lost
        if ids := look.overdue[:LIVE_BATCH_TASKS_MAX]:
            await self._push(await self._store.due(ids), front=self._rules.retry.position == "front")

    # -- clients that left --

    async def _cancel_expired(self) -> None:
        """Cancelled in the store first; what Redis still holds of them then could not be claimed anyway."""
        left = await self._store.expire()
        if left:
            await self._broker.withdraw(_by_class(left))

    # -- leases --

    async def _reclaim_lapsed(self, look: Look) -> None:
        if not look.lapsed:
            return
        lapsed = await self._store.lapsed(look.lapsed[:LIVE_BATCH_TASKS_MAX])
        taken_back = await self._store.reclaim([self._verdict(*one, Event.LEASE_LAPSED) for one in lapsed])
        await self._push([(task, queue) for task, queue, state in taken_back if state is State.PENDING])
        dead = [task for task, _, state in taken_back if state is State.PERMANENT_FAILURE]
        if dead:
            async with asyncio.timeout(SWEEP_ANSWER_S_MAX):
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

    async def _mend_index(self, look: Look) -> None:
        """Put back pending tasks that stand in no queue and on no living worker's list: pushing twice is harmless.

        The cheap question first: as long as the queues hold at least as many tasks as have been pending for a sweep,
        none is missing; unless they hold some twice, or cancelled ones, so now and then all are looked at.
        """
        older_s = self._rules.lease.sweep_s
        async with asyncio.timeout(SWEEP_ANSWER_S_MAX):
            intact, queued = await self._broker.mark(), sum((await self._broker.depths())[:3])
        expected = look.waiting
        self._sweeps += 1
        all_are_looked_at = self._sweeps % DEEP_SWEEPS == 0 and expected <= DEEP_TASKS_MAX
        if not expected or (intact and queued >= expected and not all_are_looked_at):
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
            async with asyncio.timeout(SWEEP_ANSWER_S_MAX):  # a TimeoutError is an OSError: then Redis is gone
                await self._broker.push(_by_class(tasks), front=front)


def _by_class(tasks: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    by_class: dict[int, list[int]] = {}
    for task, queue in tasks:
        by_class.setdefault(queue, []).append(task)
    return by_class
