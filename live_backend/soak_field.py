"""What a nemesis can strike: the processes of a standing mesh, its Redis, its PostgreSQL; from outside and past it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import psycopg
import redis

from lab.errors import Unavailable
from live_backend.addresses import ServersUnavailable
from live_backend.posts import Post
from live_backend.servers import Servers
from live_backend.standing import Listen, Standing

POLL_S: Final = 0.05
REACH_S_MAX: Final = 5
"""A server that does not answer the nemesis for this long is left alone: it has been struck already."""
OWN_OPTIONS: Final = "-c default_transaction_read_only=off -c application_name=nemesis"
"""The nemesis may write even where nobody else may, or it could not undo that."""
ACTIVE_REAPER: Final = "select holder from public.leadership where job = 'reaper' and until > now()"
STARTED: Final = "select pid from public.worker where extract(epoch from started_at) > %(since)s"
READ_ONLY: Final = "alter system set default_transaction_read_only = on"
READ_WRITE: Final = "alter system reset default_transaction_read_only"
TERMINATE: Final = "select pg_terminate_backend(%(pid)s)"
TERMINATE_ALL: Final = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where backend_type = 'client backend' and pid <> pg_backend_pid()"
)
OTHERS: Final = (
    "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() order by pid"
)

MISSED: Final = (psycopg.Error, redis.RedisError, OSError, ServersUnavailable, psutil.Error, LookupError)
"""What a blow meets whose target is not there."""


class Field:
    """A standing mesh of its own, with two reapers. Whoever strikes bounds how long it is waited for."""

    def __init__(self, servers: Servers, standing: Standing, standby: Standing, listen: Listen) -> None:
        self.servers, self.standing = servers, standing
        self._reapers = [standing.reaper, standby.reaper]
        self._listen = listen
        self._redis = redis.Redis.from_url(servers.redis_url, socket_timeout=REACH_S_MAX)
        self._redis_pid = int(self._redis.info("server")["process_id"])
        self._data = Path(self._rows("show data_directory")[0][0])
        self._frozen: set[int] = set()

    # -- processes --

    @property
    def api(self) -> Post:
        """The post of the API."""
        return self.standing.api[0]

    async def active_reaper(self) -> Post:
        """The post of the reaper that leads. Raises LookupError if none does."""
        rows = await asyncio.to_thread(self._rows, ACTIVE_REAPER)
        pid = int(rows[0][0].split(":")[1]) if rows else None
        for post in self._reapers:
            if pid is not None and post.pid == pid:
                return post
        raise LookupError("no reaper leads now")

    def send(self, pids: Iterable[int], number: signal.Signals) -> None:
        """Send a signal to processes. One that is gone already is no error."""
        for pid in pids:
            if number == signal.SIGSTOP:
                self._frozen.add(pid)
            if number == signal.SIGCONT:
                self._frozen.discard(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def manned(self, posts: Iterable[Post], but: Iterable[int]) -> None:
        """Wait until processes other than `but` stand at these posts."""
        gone = set(but)
        await self._until(lambda: all(post.pid is not None and post.pid not in gone for post in posts))

    async def at_work(self, posts: Iterable[Post], since: float) -> None:
        """Wait until the workers at these posts, started after `since` (epoch, s), can be given tasks."""
        while True:
            pids = [post.pid for post in posts]
            with suppress(psycopg.Error):
                ready = {row[0] for row in await self.sql(STARTED, since=since)}
                if set(pids) <= ready:
                    return
            await asyncio.sleep(POLL_S)

    async def api_answers(self) -> None:
        """Wait until the API listens again."""
        async with httpx.AsyncClient(trust_env=False, timeout=REACH_S_MAX) as client:
            while True:
                with suppress(httpx.TransportError):
                    await client.get(f"{self._listen.url}/healthz")
                    return
                await asyncio.sleep(POLL_S)

    async def _until(self, happens: Callable[[], bool]) -> None:
        while not happens():
            await asyncio.sleep(POLL_S)

    # -- Redis --

    async def redis(self, *words: Any) -> Any:
        """A command."""
        return await asyncio.to_thread(self._redis.execute_command, *words)

    @property
    def redis_pids(self) -> list[int]:
        """Its process."""
        return [self._redis_pid]

    async def restart_redis(self, down_s: float) -> None:
        """Kill it; it comes back empty."""
        await asyncio.to_thread(self.servers.restart_redis, down_s)
        await self.learn_redis()

    async def learn_redis(self) -> None:
        """Find its process again."""
        self._redis_pid = int((await asyncio.to_thread(self._redis.info, "server"))["process_id"])

    # -- PostgreSQL --

    async def sql(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement; none if it gives none."""
        return await asyncio.to_thread(self._rows, query, **values)

    async def locked(self, hold_s: float) -> None:
        """Keep everybody from writing tasks for so long."""
        await asyncio.to_thread(self._lock, hold_s)

    async def sessions(self) -> list[int]:
        """The process ids of all sessions but ours."""
        return [row[0] for row in await self.sql(OTHERS)]

    @property
    def postmaster(self) -> int:
        """Its first process. Raises OSError if there is none."""
        return int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def postgres_pids(self) -> list[int]:
        """All its processes, the first one first."""
        first = self.postmaster
        return [first, *(child.pid for child in psutil.Process(first).children(recursive=True))]

    async def start_postgres(self) -> None:
        """Start it if it has ended, and wait until it answers. As long as a process of the dead one is there it will
        not start: it is tried again.
        """
        while True:
            with suppress(ServersUnavailable):
                await asyncio.to_thread(self.servers.start_postgres)
                return
            await asyncio.sleep(POLL_S)

    async def read_only(self, on: bool) -> None:
        """Refuse, or no longer refuse, every write."""
        await self.sql(READ_ONLY if on else READ_WRITE)
        await self.sql("select pg_reload_conf()")

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with self._connect() as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def _lock(self, hold_s: float) -> None:
        with self._connect() as connection, connection.transaction():
            connection.execute("set local lock_timeout = '2s'")
            connection.execute("lock table public.task in exclusive mode")
            time.sleep(hold_s)  # in a thread of its own

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.servers.dsn, autocommit=True, options=OWN_OPTIONS, connect_timeout=REACH_S_MAX)

    # -- the end --

    async def heal(self) -> None:
        """Undo whatever still lasts. Raises Unavailable if a server does not come back."""
        self.send(list(self._frozen), signal.SIGCONT)
        try:
            await asyncio.to_thread(self.servers.start_redis)
            await self.learn_redis()
            await self.redis("CONFIG", "SET", "maxmemory", "0")
            await self.start_postgres()
            await self.read_only(False)
            await self.api_answers()
        except MISSED as error:
            raise Unavailable(f"the soak's own servers did not come back: {error}") from error

    def close(self) -> None:
        """Let go of Redis."""
        self._redis.close()
