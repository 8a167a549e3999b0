"""A host of workers, `meshlab worker`: takes up invitations of engines elsewhere and runs one worker process for each
until it is over. It decides nothing: it starts, delivers signals, and reports how the process ended. Beside that it
serves the standing mesh, if there is one (`membership.py`).

Hosts take turns because they all wait at the head of one list; there is no limit to how many workers one may hold, so a
mesh with more workers than hosts runs all the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import IO

import redis.asyncio as redis

from lab.errors import Interrupted
from lab.limits import INVITATION_WAIT_S, LAST_WORDS_BYTES_MAX, LINK_BEAT_S, LINK_EXPIRE_S, RECONNECT_S_MAX, STOP_S_MAX
from live_backend.addresses import external_postgres, external_redis
from live_backend.broker import GONE, RedisError, connect
from live_backend.config import INVITATIONS, SIGNALS, Orders, Report, Silence, WorkerConfig
from live_backend.ending import end
from live_backend.invitations import shared_addresses
from live_backend.membership import Membership, Share
from live_backend.processes import EXIT_RECYCLED, KILL, LocalProcess, how, start_process
from live_backend.standing import Addresses

EXPIRE_MS = int(LINK_EXPIRE_S * 1000)
Tell = Callable[[str], None]


def serve(environ: Mapping[str, str], tell: Tell, share: Share | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, and return when all children have left.

    Raises ServersUnavailable if the environment names no servers or they do not answer, Interrupted after a second
    signal.
    """
    redis_server, postgres = shared_addresses(environ, "meshlab worker")
    facts = external_redis(*redis_server), external_postgres(*postgres)
    tell("; ".join(f"{fact.kind} {fact.version} at {fact.where}" for fact in facts))
    asyncio.run(Host(redis_server[1], postgres[1], tell, share or Share()).run())


class Host:
    """Waits for invitations, and holds the children."""

    def __init__(self, redis_url: str, dsn: str, tell: Tell, share: Share) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._redis_url, self._dsn, self._tell = redis_url, dsn, tell
        self._leaving, self._hurry = asyncio.Event(), asyncio.Event()
        self._children: set[asyncio.Task[None]] = set()
        self._membership = Membership(Addresses(dsn, redis_url), share, tell)

    async def run(self) -> None:
        """Take whatever is offered until told to leave; then see all children leave."""
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(NotImplementedError):  # Windows: there Ctrl-C raises KeyboardInterrupt
                asyncio.get_running_loop().add_signal_handler(number, self._leave)
        async with connect(self._redis_url) as client:
            self._tell(f"{self.name} waits for invitations")
            member = asyncio.create_task(self._membership.run(self._leaving, self._hurry))
            member.add_done_callback(self._over)
            try:
                while (invitation := await self._next(client)) is not None:
                    self._accept(client, invitation)
                await asyncio.gather(member, *self._children, return_exceptions=True)
            finally:
                await end(member, *self._children)
        if self._hurry.is_set():
            raise Interrupted("left at once; what the workers ran is taken over when its leases lapse")

    def _leave(self) -> None:
        if self._leaving.is_set():
            self._hurry.set()
            return
        self._leaving.set()
        if workers := len(self._children) + self._membership.processes:
            self._tell(f"leaving; {workers} workers finish or hand back (once more to leave at once)")

    async def _next(self, client: redis.Redis) -> str | None:
        """The next invitation, or None when it is time to leave."""
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            while not leaving.done():
                asking = asyncio.create_task(_ask(client))
                await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    await end(asking)  # an invitation that is lost with it is offered again by its engine
                elif (invitation := asking.result()) is not None:
                    return invitation
            return None
        finally:
            leaving.cancel()

    def _accept(self, client: redis.Redis, invitation: str) -> None:
        try:
            config = WorkerConfig.from_invitation(invitation, dsn=self._dsn, redis_url=self._redis_url)
        except ValueError as error:
            self._tell(f"an invitation was dropped: {error}; do engine and worker have the same version?")
            return
        child = Child(client, config, self.name, self._tell, self._leaving, self._hurry)
        task = asyncio.create_task(child.live())
        self._children.add(task)
        task.add_done_callback(self._over)

    def _over(self, child: asyncio.Task[None]) -> None:
        """A worker that cannot be served must not take the others with it; its engine notices the silence."""
        self._children.discard(child)
        if not child.cancelled() and (error := child.exception()) is not None:
            self._tell(f"a worker could not be served: {type(error).__name__}: {error}")


async def _ask(client: redis.Redis) -> str | None:
    try:
        found = await client.blpop([INVITATIONS], timeout=INVITATION_WAIT_S)
        return str(found[1]) if found else None
    except (*GONE, RedisError):
        await asyncio.sleep(RECONNECT_S_MAX)
        return None


class Child:
    """One worker process, and the talk with its engine."""

    def __init__(
        self,
        client: redis.Redis,
        config: WorkerConfig,
        host: str,
        tell: Tell,
        leaving: asyncio.Event,
        hurry: asyncio.Event,
    ) -> None:
        self._client, self._config, self._tell = client, config, tell
        self._leaving, self._hurry = leaving, hurry
        self._name = f"{config.worker} of {config.prefix.rstrip(':')}"
        self._report = Report(host)
        self._silence = Silence()
        self._start: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._grace_s = 0.0
        self._delivered = 0
        self._kill_at: float | None = None

    async def live(self) -> None:
        """From the invitation to the end of the process."""
        if not await self._claim():
            return
        with tempfile.TemporaryFile() as log:
            process = LocalProcess(await start_process(log))
            self._tell(f"{self._name}: started, pid {process.pid}")
            briefing = asyncio.create_task(self._brief(process))
            try:
                await self._talk(process, log)
            finally:
                briefing.cancel()
                process.send(KILL)  # whoever lives still has lost its engine, or is to leave at once
            self._tell("\n".join([f"{self._name}: {how(await process.wait())}", *self._report.said.splitlines()]))
        with suppress(*GONE, RedisError):
            await self._client.delete(self._config.report_key)

    async def _claim(self) -> bool:
        """Make the worker ours, unless its engine is gone, or another host was offered it again and was faster."""
        with suppress(*GONE, RedisError):
            key, text = self._config.report_key, self._report.to_text()
            if await self._client.exists(self._config.orders_key):
                return bool(await self._client.set(key, text, nx=True, px=EXPIRE_MS))
        return False

    async def _brief(self, process: LocalProcess) -> None:
        """Beside the talk: a process that does not read, because it is frozen, must still get its signals."""
        await process.configure(self._config)
        await process.start_run(await self._start)

    async def _talk(self, process: LocalProcess, log: IO[bytes]) -> None:
        """Beat until the engine has read how the process ended, or is gone, or there is no time left."""
        self._report = replace(self._report, pid=process.pid)
        while True:
            orders = await self._exchange()
            ended = self._report.status is not None
            if self._silence.too_long or self._hurry.is_set() or (ended and orders is None):
                return
            if orders is not None:
                self._obey(orders, process)
            self._leave_if_told(process)
            if ended:
                await asyncio.sleep(LINK_BEAT_S)
                continue
            with suppress(TimeoutError):
                status = await asyncio.wait_for(process.wait(), LINK_BEAT_S)
                self._report = replace(self._report, status=status, said=_last_words(log, status))

    async def _exchange(self) -> Orders | None:
        """Say how the process is, and hear what its engine wants: one round trip."""
        pipe = self._client.pipeline(transaction=False)
        pipe.set(self._config.report_key, self._report.to_text(), px=EXPIRE_MS)
        pipe.get(self._config.orders_key)
        try:
            _, text = await pipe.execute()
        except (*GONE, RedisError):
            self._silence.away()
            return None
        if text is None:
            self._silence.missing()
            return None
        self._silence.heard()
        return Orders.from_text(text)

    def _obey(self, orders: Orders, process: LocalProcess) -> None:
        self._grace_s = orders.grace_s
        if orders.start_epoch_s is not None and not self._start.done():
            self._start.set_result(orders.start_epoch_s)
        for name in orders.signals[self._delivered :]:
            if name in SIGNALS:
                process.send(signal.Signals[name])
        self._delivered = len(orders.signals)

    def _leave_if_told(self, process: LocalProcess) -> None:
        """When the host leaves: the rule of shutdown, which the process keeps itself, and a kill if it does not."""
        now = time.monotonic()
        if self._leaving.is_set() and self._kill_at is None:
            process.leave()
            self._kill_at = now + self._grace_s + STOP_S_MAX
        elif self._kill_at is not None and now > self._kill_at:
            process.send(KILL)


def _last_words(log: IO[bytes], status: int) -> str:
    """The end of what a process wrote, if it ended badly by itself."""
    if status in (0, EXIT_RECYCLED) or status < 0:
        return ""
    log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_WORDS_BYTES_MAX))
    return log.read().decode(errors="replace").strip()
