"""The client of a soak: submits at a steady rate over HTTP, and repeats each submission until it has its receipt.

Every task has a key, and everything about it follows from its number, so that any of them can be sent once more. What
was acknowledged is kept: that is what the mesh has promised.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from lab.errors import LabError
from lab.limits import SOAK_REQUESTS_MAX
from live_backend.client import AsyncClient, Receipt, TaskRequest
from live_backend.ending import end

TICK_S: Final = 0.05
"""How often tasks are submitted: one by itself, the others of the moment in a batch, so that both routes are used."""
REPEAT_TICKS: Final = 10
"""Each so many ticks a task is sent again that was acknowledged before: the same id must come back."""
AGAIN_S: Final = 0.5
"""How long to wait after an answer that no client expects, before the same is asked again."""


class Sent(NamedTuple):
    """A request that was answered: when it was first sent, and when its receipt came (epoch, s)."""

    at: float
    answered_at: float


class Load:
    """Submits from `run` on. All that is public may be read at any time."""

    def __init__(self, client: AsyncClient, rate_per_s: float, roles: Sequence[str], name: str, seed: int) -> None:
        self.promised: dict[int, int] = {}
        """Number → id, of every task that was acknowledged."""
        self.sent_at: list[float] = []
        """When each was sent for the first time (epoch, s), by number."""
        self.held_back = 0
        """How many were not, since too many requests were under way."""
        self.contradictions: list[str] = []
        """Receipts that cannot be: another id for the same key, or a conflict where there is none."""
        self.strange: Counter[str] = Counter()
        """Answers other than a receipt, a "not now" or silence."""
        self.requests: list[Sent] = []
        self._client, self._rate_per_s, self._roles, self._name = client, rate_per_s, roles, name
        self._chance = random.Random(seed)
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def sent(self) -> int:
        """How many were submitted, acknowledged or not: they are numbered from 0."""
        return len(self.sent_at)

    def key(self, number: int) -> str:
        """The idempotency key of the task of that number."""
        return f"{self._name}-{number}"

    async def run(self, until: asyncio.Event) -> None:
        """Submit until then."""
        began = time.monotonic()
        passed = ticks = 0
        while not until.is_set():
            await asyncio.sleep(TICK_S)
            due = int((time.monotonic() - began) * self._rate_per_s) - passed
            passed, ticks = passed + due, ticks + 1
            if len(self._under_way) >= SOAK_REQUESTS_MAX:
                self.held_back += due
                continue
            numbers = range(self.sent, self.sent + due)
            self.sent_at += [time.time()] * due
            for part in (numbers[:1], numbers[1:]):
                self._begin(part)
            if (
                ticks % REPEAT_TICKS == 0
                and self.sent
                and (known := self._chance.randrange(self.sent)) in self.promised
            ):
                self._begin([known])

    async def answered(self, patience_s: float) -> int:
        """Wait for the receipts of what was sent. Returns how many tasks have none yet after so long."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=patience_s)
        await end(*self._under_way)
        return self.sent - len(self.promised)

    def _begin(self, numbers: Sequence[int]) -> None:
        if numbers:
            task = asyncio.create_task(self._submit(numbers))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _submit(self, numbers: Sequence[int]) -> None:
        requests, at = [self._request(number) for number in numbers], time.time()
        while True:
            try:
                receipts = await self._sent(requests)
                break
            except LabError as error:  # the client itself repeats all that may pass
                self.strange[str(error).splitlines()[0]] += 1
                await asyncio.sleep(AGAIN_S)
        self.requests.append(Sent(at, time.time()))
        for number, receipt in zip(numbers, receipts, strict=True):
            if receipt.status == "conflict" or self.promised.setdefault(number, receipt.id) != receipt.id:
                promised = self.promised.get(number)
                self.contradictions.append(f"{self.key(number)}: {receipt.status} {receipt.id}, promised {promised}")

    async def _sent(self, requests: list[TaskRequest]) -> list[Receipt]:
        if len(requests) > 1:
            return await self._client.submit_batch(requests)
        [one] = requests
        return [await self._client.submit(one.role, one.payload, key=one.key)]

    def _request(self, number: int) -> TaskRequest:
        role = self._roles[number % len(self._roles)]
        return TaskRequest(role, {"number": number}, None, self.key(number))
