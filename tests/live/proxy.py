"""A proxy that breaks connections on purpose: it stands between a client and a Redis or a PostgreSQL, and cuts, delays,
freezes or halves what passes.

It listens on a free port of 127.0.0.1 and forwards to a port or a unix socket, in a thread with a loop of its own.
Everything it does is asked for by a test; by itself it changes nothing. A message is what one `read` gives: what a
client writes in one go, as long as it is small.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Self
from urllib.parse import unquote

import psycopg

READ_BYTES = 1 << 16
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 s: closing sends a reset instead of the usual end, and drops what was not sent yet."""
READY = b"Z\x00\x00\x00\x05"
"""How the last message of PostgreSQL's answer begins; one byte of it follows. What was asked has been committed."""
ANSWER_S_MAX = 1.0
"""How long a reply that is to be lost is waited for: a server that says nothing has nothing to lose."""

Target = str | tuple[str, int]
"""A unix socket by its path, or (host, port)."""


class Proxy:
    """One proxy in front of one server. A context manager; all calls are safe from any thread."""

    def __init__(self, target: Target) -> None:
        self.target = target
        """Where new connections lead. Another server may be named at any time: a failover."""
        self.delay_s = 0.0
        """How late every message arrives, in either direction."""
        self.struck = 0
        """Replies lost and messages halved so far."""
        self.held = 0
        """Messages that wait in the proxy because it is paused."""
        self._wanted_halves = self._wanted_losses = 0
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._is_cut = False
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="proxy")
        self._thread.start()
        self.flowing, self._server = self._do(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._links)

    # -- what it can do --

    def cut(self) -> None:
        """Reset every connection, what is under way with it; whoever connects is reset too, until `heal`."""
        self._is_cut = True
        self.reset()

    def reset(self) -> None:
        """Reset every connection once. New ones stand."""
        self._do(self._break_all())

    def pause(self) -> None:
        """Nothing passes any more, and nobody is told: connections stand, new ones too, and their bytes wait."""
        self._call(self.flowing.clear)

    def heal(self) -> None:
        """End a cut and a pause: what waited arrives now."""
        self._is_cut = False
        self._call(self.flowing.set)

    def forget(self) -> None:
        """The connections of this moment never carry a byte again, and are never closed: half-open, as when a firewall
        has forgotten them. New ones work.
        """
        self._call(lambda: [link.freeze() for link in self._links])

    def lose_reply(self, times: int = 1) -> None:
        """For the next `times` messages of clients: deliver it, swallow the whole reply, reset the connection."""
        self._wanted_losses += times

    def halve(self, times: int = 1) -> None:
        """For the next `times` replies: let half of its bytes through, then reset the connection."""
        self._wanted_halves += times

    def close(self) -> None:
        """End it, its connections and its thread."""
        if not self._loop.is_closed():
            self._is_cut = True
            self._do(self._end())
            self._call(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    # -- asked by the links, in the loop --

    def loses_this_reply(self) -> bool:
        """Whether the reply to this message is one that was to be lost."""
        if self._wanted_losses == 0:
            return False
        self._wanted_losses -= 1
        return True

    def halves_this(self) -> bool:
        """Whether this reply is one that was to be halved."""
        if self._wanted_halves == 0:
            return False
        self._wanted_halves -= 1
        return True

    # -- inside --

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    async def _listen(self) -> tuple[asyncio.Event, asyncio.Server]:
        flowing = asyncio.Event()
        flowing.set()
        return flowing, await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, (reader, writer))
        if self._is_cut:
            link.abort()
            return
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def _break_all(self) -> None:
        for link in list(self._links):
            link.abort()

    async def _end(self) -> None:
        self._server.close()
        while self._links:
            await self._break_all()
            await asyncio.sleep(0.001)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, client: Streams) -> None:
        self._proxy, self._client = proxy, client
        self._server: Streams | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._frozen = False
        self._loses: asyncio.Future[None] | None = None
        """Set while a reply is being swallowed: done when the whole of it has been."""

    async def run(self) -> None:
        """Forward until either side ends or the link is broken."""
        try:
            self._server = await _connect(self._proxy.target)
        except OSError:
            self.abort()
            return
        self._pumps = [asyncio.create_task(pump) for pump in (self._requests(), self._replies())]
        try:
            await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()

    def freeze(self) -> None:
        """Carry no byte any more."""
        self._frozen = True

    def abort(self) -> None:
        """Reset both sides. What was read and not forwarded yet is gone."""
        for pump in self._pumps:
            pump.cancel()
        for _, writer in filter(None, (self._client, self._server)):
            own = writer.transport.get_extra_info("socket")
            if own is not None and own.family != socket.AF_UNIX:
                with suppress(OSError):  # the other side has reset it before
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _requests(self) -> None:
        assert self._server is not None
        while data := await self._read(self._client[0]):
            loses = self._proxy.loses_this_reply()
            if loses:
                self._loses = asyncio.get_running_loop().create_future()
            await self._send(self._server[1], data)
            if self._loses is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._loses, ANSWER_S_MAX)
                self._proxy.struck += 1
                return

    async def _replies(self) -> None:
        assert self._server is not None
        while data := await self._read(self._server[0]):
            if self._loses is not None:
                if _is_the_end(data) and not self._loses.done():
                    self._loses.set_result(None)
                continue
            if len(data) > 1 and self._proxy.halves_this():
                await self._send(self._client[1], data[: len(data) // 2])
                self._proxy.struck += 1
                return
            await self._send(self._client[1], data)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """The next message, when it may pass. b"": the other side has ended."""
        try:
            data = await reader.read(READ_BYTES)
        except OSError:
            return b""
        if self._proxy.delay_s:
            await asyncio.sleep(self._proxy.delay_s)
        self._proxy.held += 1
        try:
            await self._proxy.flowing.wait()
        finally:
            self._proxy.held -= 1
        if self._frozen:
            await asyncio.Event().wait()  # until this link is aborted, at the end of the proxy
        return data

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        with suppress(OSError):  # it has gone: the pump that reads from it ends the link
            writer.write(data)
            await writer.drain()


def _is_the_end(data: bytes) -> bool:
    """Whether a reply is whole: PostgreSQL says that it is ready again; Redis begins to answer when it has done all."""
    return data[:1] in b"+-:$*_,#%~>" or data[-6:-1] == READY


async def _connect(target: Target) -> Streams:
    if isinstance(target, str):
        return await asyncio.open_unix_connection(target)
    return await asyncio.open_connection(*target)


# ---- in front of what ------------------------------------------------------------------------------------------------


def redis_target(url: str) -> Target:
    """Where a Redis URL leads."""
    rest = url.split("://", 1)[1].split("?")[0]
    if url.startswith("unix:"):
        return unquote(rest)
    host, _, port = rest.split("@")[-1].split("/")[0].partition(":")
    return host, int(port or 6379)


def postgres_target(dsn: str) -> Target:
    """Where a DSN leads."""
    named = psycopg.conninfo.conninfo_to_dict(dsn)
    host, port = str(named.get("host") or "localhost"), int(str(named.get("port") or 5432))
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


def redis_url_through(proxy: Proxy) -> str:
    """The URL of the Redis behind a proxy."""
    return f"redis://127.0.0.1:{proxy.port}/0"


def dsn_through(proxy: Proxy, dsn: str) -> str:
    """The same database through a proxy. `peer` authentication works: PostgreSQL sees the proxy, which is us."""
    named = psycopg.conninfo.conninfo_to_dict(dsn)
    user, database = named.get("user"), named.get("dbname")
    return f"postgresql://{user}@127.0.0.1:{proxy.port}/{database}?sslmode=disable&gssencmode=disable"
