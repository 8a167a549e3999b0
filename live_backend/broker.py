"""Redis, the rebuildable index: three queues of task ids, what each worker has taken and not yet claimed, a schedule
of retries, dead letters.

It holds and orders; it decides nothing and is never asked what is true. Every write may be repeated without harm, so
callers simply try again; what Redis forgets, the reaper puts back from PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lab.limits import CONNECT_S_MAX, REDIS_ANSWER_S_MAX, REDIS_CONNECTIONS_MAX, TAKEN_EXPIRE_S
from lab.rules.priority import DEAD_LETTERS, QUEUES
from live_backend.cuts import Reachable, always

RETRIES = "agent_retry"
MARKER = "agent_index"
WAKE = "agent_wake"

ID_DIGITS_MAX = 18
"""Ids are bigints; so many digits always fit."""
GONE = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, ConnectionError, OSError)
"""What a Redis that is away, has just gone, is full, or was demoted raises."""

__all__ = ["GONE", "Broker", "RedisError", "connect"]


class Pool(redis.ConnectionPool):
    """Connections that break, and cannot be opened, while Redis is out of reach."""

    def __init__(self, *, reachable: Reachable, **options: Any) -> None:
        super().__init__(**options)
        self._reachable = reachable

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """See redis.ConnectionPool. Every command asks for its connection here."""
        if not self._reachable():
            await self.disconnect(inuse_connections=False)
            raise RedisConnectionError("cut off from Redis")
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]


def connect(url: str, reachable: Reachable = always) -> redis.Redis:
    """A client that never repeats a command by itself: a take that is repeated blindly takes twice."""
    timeouts = {"socket_timeout": REDIS_ANSWER_S_MAX, "socket_connect_timeout": CONNECT_S_MAX}
    text = {"decode_responses": True, "encoding_errors": "replace"}  # anybody may write into a queue
    pool = Pool.from_url(
        url, reachable=reachable, max_connections=REDIS_CONNECTIONS_MAX, **text, retry=Retry(NoBackoff(), 0), **timeouts
    )
    return redis.Redis.from_pool(pool)


class Broker:
    """The queues of one run (`prefix`), or of the standing mesh (no prefix)."""

    def __init__(self, client: redis.Redis, prefix: str = "") -> None:
        self.client = client
        self.prefix = prefix
        self.wake_channel = prefix + WAKE
        self._queues = [prefix + name for name in QUEUES]
        self._take = client.register_script(files("live_backend").joinpath("lua/take.lua").read_text())

    def processing(self, worker: str) -> str:
        """The key of a worker's processing list."""
        return f"{self.prefix}processing:{worker}"

    async def rehearse(self) -> None:
        """Open the connection, and let Redis have the script."""
        await self.client.script_load(self._take.script)

    async def push(self, ids_by_class: Mapping[int, Sequence[int]], *, front: bool = False) -> None:
        """Put tasks into their queues, and wake idle workers. At the front, the first of `ids` will be served first."""
        pipe = self.client.pipeline(transaction=False)
        for queue, ids in ids_by_class.items():
            if ids and front:
                pipe.lpush(self._queues[queue], *reversed(ids))
            elif ids:
                pipe.rpush(self._queues[queue], *ids)
        pipe.publish(self.wake_channel, "")
        await pipe.execute()

    async def withdraw(self, ids_by_class: Mapping[int, Sequence[int]]) -> None:
        """Take tasks out of their queues. They are mostly near the head, where those stand that have waited longest."""
        pipe = self.client.pipeline(transaction=False)
        for queue, ids in ids_by_class.items():
            for task in ids:
                pipe.lrem(self._queues[queue], 1, str(task))
        await pipe.execute()

    async def take(
        self, worker: str, operation: int, orders: Sequence[tuple[int, Sequence[int]]], *, keep_list: bool
    ) -> list[int]:
        """Up to as many tasks as `orders` say: (how many, the classes to try, first to last), one after the other.

        `operation` counts the takes of a worker. To repeat a number is to ask again for what it took, which is the
        thing to do if the answer was lost; a new one says that all that was taken before has been claimed.
        """
        keys = [*self._queues, self.processing(worker)] if keep_list else self._queues
        runs = [word for count, order in orders for word in (count, "".join(map(str, order)))]
        taken = await self._take(keys=keys, args=[operation, TAKEN_EXPIRE_S, *runs])
        return _ids(taken)

    async def release(self, worker: str) -> None:
        """All that the worker had taken has been claimed."""
        await self.client.delete(self.processing(worker))

    async def heads(self) -> list[int | None]:
        """The first task of each queue."""
        pipe = self.client.pipeline(transaction=False)
        for queue in self._queues:
            pipe.lindex(queue, 0)
        return [next(iter(_ids([word])), None) if word is not None else None for word in await pipe.execute()]

    async def settled(self, retries: Mapping[int, float], dead: Iterable[int]) -> None:
        """After the commit: retries into the schedule (by due time), the dead to their letters.

        A dead letter is removed before it is added, so that saying it twice leaves it there once.
        """
        pipe = self.client.pipeline(transaction=False)
        if retries:
            pipe.zadd(self.prefix + RETRIES, {str(task): due for task, due in retries.items()})
        for task in dead:
            pipe.lrem(self.prefix + DEAD_LETTERS, 0, str(task))
            pipe.rpush(self.prefix + DEAD_LETTERS, task)
        await pipe.execute()

    async def withdraw_letters(self, ids: Sequence[int]) -> None:
        """Take tasks out of the dead letters. They are mostly near the head: who came first has died first."""
        pipe = self.client.pipeline(transaction=False)
        for task in ids:
            pipe.lrem(self.prefix + DEAD_LETTERS, 1, str(task))
        await pipe.execute()

    async def due(self, now_epoch_s: float, limit: int) -> list[int]:
        """Retries whose time has come, soonest first."""
        found = await self.client.zrangebyscore(self.prefix + RETRIES, "-inf", now_epoch_s, start=0, num=limit)
        return _ids(found)

    async def unschedule(self, ids: Sequence[int]) -> None:
        """Take retries out of the schedule."""
        if ids:
            await self.client.zrem(self.prefix + RETRIES, *ids)

    async def next_due(self) -> float | None:
        """When the soonest retry is due (epoch, s); None: there is none."""
        soonest = await self.client.zrange(self.prefix + RETRIES, 0, 0, withscores=True)
        return float(soonest[0][1]) if soonest else None

    async def depths(self) -> tuple[int, int, int, int]:
        """Tasks in the three queues and in the schedule."""
        pipe = self.client.pipeline(transaction=False)
        for queue in self._queues:
            pipe.llen(queue)
        pipe.zcard(self.prefix + RETRIES)
        high, medium, low, waiting = await pipe.execute()
        return high, medium, low, waiting

    async def contents(self, workers: Iterable[str]) -> set[int]:
        """Every task that stands in a queue or on the processing list of one of `workers`."""
        pipe = self.client.pipeline(transaction=False)
        for queue in self._queues:
            pipe.lrange(queue, 0, -1)
        for worker in workers:
            pipe.lrange(self.processing(worker), 1, -1)  # the first is the number of the operation
        return {task for words in await pipe.execute() for task in _ids(words)}

    async def mark(self) -> bool:
        """Leave a mark that only a Redis that forgot everything lacks. Returns True if it was still there."""
        return not await self.client.set(self.prefix + MARKER, "1", nx=True)

    async def wipe(self) -> None:
        """Remove every key of this run, and no other."""
        batch: list[Any] = []
        async for key in self.client.scan_iter(match=self.prefix + "*", count=1000):
            batch.append(key)
        if batch:
            await self.client.delete(*batch)


def _ids(words: Iterable[Any]) -> list[int]:
    """The ids among the entries of a list. What is no id names no task, and is dropped."""
    return [int(word) for word in words if word.isascii() and word.isdigit() and len(word) <= ID_DIGITS_MAX]
