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
from live_backend.reaping import Standby
from live_backend.store import Look, Store

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

    async def look(self, older_s: float, late_s: float) -> Look:
        return Look(0, [1], [2])

    async def lapsed(self, ids: list[int]) -> list[tuple[int, Task]]:
        return [(1, Task(State.RUNNING, 1, 1, 0))]

    async def reclaim(self, verdicts: list[Any]) -> list[tuple[int, int, State]]:
        self.swept += 1
        return [(1, 0, State.PENDING)]

    async def due(self, ids: list[int]) -> list[tuple[int, int]]:
        return [(2, 0)]


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


def test_what_redis_lost_is_noted_at_once_and_not_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands may be missing after a restart of Redis, and the notes share the connection of the sweeps."""
    written: list[list[tuple[int, str]]] = []

    async def note(_: Store, kind: str, tasks: list[tuple[int, str]], worker: str = "") -> None:
        assert kind == "requeued"
        written.append(tasks)

    async def lose() -> None:
        standby = Standby("postgresql:///nowhere", "redis://nowhere", "public", "")
        finder = standby._reaper(RULES)
        for first in (0, 1_000):
            for task in range(first, first + 1_000):
                finder._on_requeued(task)
            await asyncio.sleep(0)

    monkeypatch.setattr(Store, "note", note)
    asyncio.run(lose())
    assert [[task for task, _ in batch] for batch in written] == [[*range(1_000)], [*range(1_000, 2_000)]]


def test_one_sweep_that_was_held_up_is_not_followed_by_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """With this share a sweep of 0.1 s would be followed by 1,000 s of rest, if it told of a long backlog."""
    monkeypatch.setattr(reaper, "SWEEP_SHARE_MAX", 1e-4)
    monkeypatch.setattr(reaper, "SWEEPS_COMPARED", 5)
    store = Books(first_sweep_s=0.1)
    asyncio.run(_sweep(store, IdleRedis(), 4))
    assert store.swept >= 4
