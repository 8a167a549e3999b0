"""The standing mesh on this machine: an API process, a reaper process and worker processes, kept there until told to
leave. `meshlab up` has all three kinds, `meshlab api` the first two, `meshlab worker` the last two.

The order of the end matters: first nobody submits any more, then workers finish or hand back what they run, and the
reaper goes last. If this process is killed, all of them end by themselves: their standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import socket
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psycopg

from lab.errors import Unavailable
from lab.limits import API_STOP_S_MAX, STOP_S_MAX, WORKER_READY_S_MAX
from lab.rules import shutdown
from lab.scenario import Scenario
from live_backend.addresses import CONNECT_TIMEOUT_S
from live_backend.config import WorkerConfig
from live_backend.definition import PREFIX, SCHEMA
from live_backend.posts import Duty, Post, Tell
from live_backend.whereabouts import is_loopback

API_MODULE: Final = "live_backend.api"
REAPER_MODULE: Final = "live_backend.reaping"
WORKER_MODULE: Final = "live_backend.worker"
DEATHS_AT_START_MAX: Final = 3
"""A process that has died so often before it was ever ready will not get ready."""
READY_POLL_S: Final = 0.1
READY_WORKERS = "select count(*) from public.worker where id = any(%(ids)s)"


@dataclass(frozen=True)
class Addresses:
    """The servers of the mesh. They may hold passwords: never shown."""

    dsn: str
    redis_url: str

    def __repr__(self) -> str:
        return "Addresses(…)"


@dataclass(frozen=True)
class Listen:
    """Where an API process listens, and the token that it asks for."""

    host: str
    port: int
    token: str | None = None

    def __repr__(self) -> str:
        return f"Listen({self.host!r}, {self.port})"

    @property
    def url(self) -> str:
        """Its address as seen from this machine."""
        host = self.host
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1" if host != "::" else "::1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


class Standing:
    """The posts of this machine. A context: inside it they are manned."""

    def __init__(
        self, addresses: Addresses, scenario: Scenario, tell: Tell, *, workers: int, listen: Listen | None = None
    ) -> None:
        self._addresses, self._scenario, self._listen = addresses, scenario, listen
        self._name = f"{_plain(socket.gethostname())}-{secrets.token_hex(3)}"
        self.api = [Post(self._api_duty(listen), tell)] if listen else []
        self.reaper = Post(self._reaper_duty(), tell)
        self.workers = [Post(self._worker_duty(place), tell) for place in range(workers)]

    async def __aenter__(self) -> Self:
        for post in self._posts:
            post.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def ready(self) -> None:
        """Wait until the API answers and all workers are there. Raises Unavailable if they do not get so far."""
        until = time.monotonic() + WORKER_READY_S_MAX
        missing = "not asked yet"
        while missing:
            missing = await self._missing()
            broken = [post.duty.name for post in self._posts if post.deaths >= DEATHS_AT_START_MAX]
            if broken or (missing and time.monotonic() > until):
                who = ", ".join(broken) or missing
                raise Unavailable(f"the mesh did not get ready: {who}; what its processes said stands above")
            if missing:
                await asyncio.sleep(READY_POLL_S)

    async def close(self) -> None:
        """See all leave: the API first, then the workers, the reaper last. May be called again."""
        for group in (self.api, self.workers, [self.reaper]):
            await asyncio.gather(*(post.dismiss() for post in group))

    def kill(self) -> None:
        """End all at once. What the workers ran is taken over elsewhere when its leases lapse."""
        for post in self._posts:
            post.kill()

    @property
    def _posts(self) -> list[Post]:
        return [self.reaper, *self.workers, *self.api]

    # -- what each is told --

    def _api_duty(self, listen: Listen) -> Duty:
        told = self._told(host=listen.host, port=listen.port, token=listen.token)
        return Duty("api", API_MODULE, lambda life: told, API_STOP_S_MAX, out=DEVNULL)  # it prints where it listens

    def _reaper_duty(self) -> Duty:
        told = self._told(schema=SCHEMA, prefix=PREFIX)
        return Duty("reaper", REAPER_MODULE, lambda life: told, API_STOP_S_MAX)

    def _worker_duty(self, place: int) -> Duty:
        rules = self._scenario.rules
        stop_s = shutdown.grace_s(rules.shutdown) + STOP_S_MAX
        return Duty(
            f"worker {place}",
            WORKER_MODULE,
            lambda life: self._config(place, life).to_line(),
            stop_s,
            rules.health.restart_after_s,
        )

    def _config(self, place: int, life: int) -> WorkerConfig:
        return WorkerConfig(
            worker=self._worker(place, life),
            place=place,
            dsn=self._addresses.dsn,
            redis_url=self._addresses.redis_url,
            schema=SCHEMA,
            prefix=PREFIX,
            scenario=self._scenario.data,
            base=str(self._scenario.base.resolve()),
            standing=True,
        )

    def _worker(self, place: int, life: int) -> str:
        """The id of a process: unique among all hosts and all lives."""
        return f"{self._name}-{place}.{life}"

    def _told(self, **more: Any) -> str:
        return json.dumps({"dsn": self._addresses.dsn, "redis_url": self._addresses.redis_url, **more}) + "\n"

    # -- are they there? --

    async def _missing(self) -> str:
        """Who is not ready yet, in words; empty when all are."""
        if self._listen and (why := await _unwell(self._listen)):
            return f"the API ({why})"
        ids = [self._worker(place, post.life) for place, post in enumerate(self.workers)]
        missing = len(ids) - await asyncio.to_thread(_count, self._addresses.dsn, ids)
        return f"{missing} of {len(ids)} workers" if missing else ""


async def _unwell(listen: Listen) -> str:
    """Why the API does not say that all is well; empty if it does."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=CONNECT_TIMEOUT_S) as client:
            response = await client.get(f"{listen.url}/healthz")
    except httpx.TransportError as error:
        return str(error) or type(error).__name__
    return "" if response.is_success else f"status {response.status_code}: {response.text[:200]}"


def _count(dsn: str, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    with suppress(psycopg.OperationalError):  # it may just be starting again
        with psycopg.connect(dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
            row = connection.execute(READY_WORKERS, {"ids": list(ids)}).fetchone()
        return int(row[0]) if row else 0
    return 0


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody listens there, else another that is free. 0 asks for any. Raises Unavailable for a host that
    is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, wanted, type=socket.SOCK_STREAM)[0]
        for port in dict.fromkeys((wanted, 0)):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself does
                try:
                    probe.bind((address[0], port, *address[2:]))
                    return int(probe.getsockname()[1])
                except OSError as error:
                    refusal = error
        raise refusal
    except OSError as error:
        raise Unavailable(
            f"--host {host}: nothing can listen there ({error.strerror}); is it this machine's?"
        ) from error


def _plain(text: str) -> str:
    """What may become part of keys."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", text) or "host"
