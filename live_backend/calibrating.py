"""What each operation of the hot path costs on these servers: the very calls of producer and worker, in batches of
several sizes, timed one by one in a schema and under keys of their own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from lab.calibration import OPERATIONS, Timing
from lab.errors import Interrupted
from lab.limits import MIB
from lab.progress import Stop
from lab.record import nonce
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import Accepted, Event, transition
from live_backend import database
from live_backend.broker import Broker, connect
from live_backend.database import JOINED_BY_ID, Database
from live_backend.loops import run_in_fast_loop
from live_backend.servers import Servers
from live_backend.store import Claim, NewTask, Store, Verdict
from live_backend.work import touched

BATCHES: Final = (1, 5, 20, 100, 400)
REPEATS: Final = {1: 200, 5: 100, 20: 60, 100: 30, 400: 15}
WARM_UP: Final = 20
"""Batches before the first that counts: statements are prepared and caches filled."""
ROLE, PRIORITY, CLASS, WORKER = "calibration", 3, 0, "w0.1"
FILLED_MIB: Final = (8, 16, 32)
FILLS: Final = 15
UVLOOP_TICK_S: Final = 0.001

Answer = TypeVar("Answer")


def time_operations(servers: Servers, stop: Stop) -> list[Timing]:
    """Timings of every operation at every batch size. Raises Interrupted if it was stopped."""
    found: list[Timing] = []

    async def work() -> None:
        found.extend(await _Bench(servers, stop).run())

    run_in_fast_loop(work())
    return found


def time_memory() -> tuple[float, float]:
    """Seconds a MiB to fill the memory of a task, in a thread as workers do, and to give it back."""
    fills, drops = [], []
    with ThreadPoolExecutor(1) as pool:
        for mib in FILLED_MIB:
            for _ in range(FILLS):
                started = time.perf_counter()
                block = pool.submit(touched, mib * MIB).result()
                filled = time.perf_counter()
                block.close()
                fills.append((filled - started) / mib)
                drops.append((time.perf_counter() - filled) / mib)
    return sorted(fills)[len(fills) // 2], sorted(drops)[len(drops) // 2]


def timer_tick_s() -> float:
    """Resolution of the timers of a worker's event loop: uvloop counts whole milliseconds, asyncio's own does not."""
    return UVLOOP_TICK_S if importlib.util.find_spec("uvloop") else 0.0


class _Bench:
    """A producer and a worker in one, who do one thing at a time."""

    def __init__(self, servers: Servers, stop: Stop) -> None:
        self._servers, self._stop, self._rules = servers, stop, Rulebook()
        self._schema, self._prefix = f"run_{nonce()}", f"run:{nonce()}:"
        self._watched: list[int] = []
        self._spent: dict[str, list[tuple[float, float, float]]] = {}
        self._next_id = self._taken = 0

    async def run(self) -> list[Timing]:
        """All operations at all sizes."""
        await asyncio.to_thread(database.create, self._servers.dsn, self._schema)
        connection = Database(self._servers.dsn, self._schema, JOINED_BY_ID)
        broker = Broker(connect(self._servers.redis_url), self._prefix)
        try:
            self._watched = await self._server_processes(connection, broker)
            store, found = Store(connection, self._rules.lease), []
            await self._measured(store, broker, 1, WARM_UP)
            for batch in BATCHES:
                found += await self._measured(store, broker, batch, REPEATS[batch])
            return found
        finally:
            await connection.close()
            with suppress(Exception):  # the servers may be gone, and then so is what we would remove
                await broker.wipe()
                await asyncio.to_thread(database.drop, self._servers.dsn, self._schema)
            await broker.client.aclose()

    async def _server_processes(self, connection: Database, broker: Broker) -> list[int]:
        """The processes that serve us, if they run here."""
        if not (self._servers.embedded_postgres and self._servers.embedded_redis):
            return []
        redis_facts: dict[str, Any] = await broker.client.info("server")
        (backend,) = (await connection.rows("select pg_backend_pid()"))[0]
        return [int(backend), int(redis_facts["process_id"])]

    async def _measured(self, store: Store, broker: Broker, batch: int, repeats: int) -> list[Timing]:
        self._spent = {name: [] for name in OPERATIONS}
        for _ in range(repeats):
            if self._stop():
                raise Interrupted("stopped while the operations were timed; nothing was changed")
            await self._once(store, broker, batch)
        return [self._timing(name, batch) for name in OPERATIONS]

    def _timing(self, name: str, batch: int) -> Timing:
        walls, own, servers = zip(*self._spent[name], strict=True)
        server_s = sum(servers) / len(servers) if self._watched else None
        return Timing(name, batch, tuple(walls), sum(own) / len(own), server_s)

    async def _once(self, store: Store, broker: Broker, batch: int) -> None:
        """The way of one batch, from its submission to its verdicts."""
        ids = list(range(self._next_id, self._next_id + batch))
        self._next_id += batch
        await self._timed("submit", lambda: store.submit([NewTask(one, ROLE, PRIORITY, CLASS, None) for one in ids]))
        await self._timed("push", lambda: broker.push({CLASS: ids}))
        order = [(batch, (0, 1, 2))]
        taken = await self._timed("fetch", lambda: broker.take(WORKER, self._taken, order, keep_list=True))
        self._taken += 1
        claims = await self._timed("claim", lambda: store.claim(taken, WORKER))
        await self._timed("settle", lambda: store.settle(self._verdicts(claims)))

    def _verdicts(self, claims: Sequence[Claim]) -> list[Verdict]:
        said = [(one, transition(one.task, Event.SUCCEEDED, self._rules.retry, token=one.task.token)) for one in claims]
        return [Verdict(one.id, one.task.token, answer) for one, answer in said if isinstance(answer, Accepted)]

    async def _timed(self, name: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        servers_s, own_s, started = self._servers_s(), time.thread_time(), time.perf_counter()
        answer = await call()
        wall_s = time.perf_counter() - started
        self._spent[name].append((wall_s, time.thread_time() - own_s, self._servers_s() - servers_s))
        return answer

    def _servers_s(self) -> float:
        """Processor time of the server processes so far, to the nanosecond: psutil's hundredths would not do."""
        files = (Path(f"/proc/{pid}/schedstat") for pid in self._watched)
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9
