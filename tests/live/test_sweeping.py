"""The reaper's sweeps while a server is frozen: a lease lapses by PostgreSQL's clock, whatever Redis does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from lab.rules.rulebook import Rulebook
from lab.rules.tasks import State, Task
from live_backend import reaper
from live_backend.reaper import Reaper

RULES = Rulebook.model_validate({"lease": {"length_s": 1.0, "sweep_s": 0.01}})
PATIENCE_S = 20.0


class FrozenRedis:
    """Answers nothing, ever."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def never(*_: object, **__: object) -> Any:
            await asyncio.Event().wait()

        return never


class Books:
    """A store with one lapsed lease and one overdue retry at every look; `swept` counts the reclaims."""

    def __init__(self, first_sweep_s: float = 0.0) -> None:
        self.swept = 0
        self._first_sweep_s = first_sweep_s

    async def advance(self) -> bool:
        if not self.swept:
            await asyncio.sleep(self._first_sweep_s)
        return False

    async def lapsed(self, limit: int) -> list[tuple[int, Task]]:
        return [(1, Task(State.RUNNING, 1, 1, 0))]

    async def reclaim(self, verdicts: list[Any]) -> list[tuple[int, int, State]]:
        self.swept += 1
        return [(1, 0, State.PENDING)]

    async def overdue(self, late_s: float, limit: int) -> list[int]:
        return [2]

    async def due(self, ids: list[int]) -> list[tuple[int, int]]:
        return [(2, 0)]

    async def count_waiting(self, older_s: float) -> int:
        return 0


class IdleRedis:
    """Has nothing, and takes everything."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*_: object, **__: object) -> Any:
            return {"due": [], "next_due": None, "depths": (0, 0, 0, 0)}.get(name, True)

        return answer


async def _sweep(store: Any, broker: Any, times: int) -> None:
    """Let a reaper run until it has swept so often."""
    running = asyncio.create_task(Reaper(store, broker, RULES, lambda task: None).run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while store.swept < times and not running.done():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_leases_are_taken_back_while_redis_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though retries are overdue, too, of which Redis cannot hear."""
    monkeypatch.setattr(reaper, "SWEEP_ANSWER_S_MAX", 0.01)
    store = Books()
    asyncio.run(_sweep(store, FrozenRedis(), 5))
    assert store.swept >= 5


def test_one_sweep_that_was_held_up_is_not_followed_by_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """With this share a sweep of 0.1 s would be followed by 1,000 s of rest, if it told of a long backlog."""
    monkeypatch.setattr(reaper, "SWEEP_SHARE_MAX", 1e-4)
    monkeypatch.setattr(reaper, "SWEEPS_COMPARED", 5)
    store = Books(first_sweep_s=0.1)
    asyncio.run(_sweep(store, IdleRedis(), 4))
    assert store.swept >= 4
