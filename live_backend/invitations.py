"""Workers elsewhere, seen from the engine: each place of the run is offered as an invitation on a Redis list, and
whichever `meshlab worker` (`host.py`) takes it runs one worker process for it.

One beat does everything: it states all orders, offers what nobody has taken, and reads all reports. So whatever Redis
loses is said again with the next beat. What is said, and when a side counts as gone, is in `config.py`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import redis.asyncio as redis

from lab.errors import UsageError
from lab.limits import INVITATIONS_EXPIRE_S, LINK_BEAT_S, LINK_EXPIRE_S
from live_backend.addresses import ServersUnavailable, postgres_address, redis_address
from live_backend.broker import GONE, RedisError, connect
from live_backend.config import INVITATIONS, Orders, Report, Silence, WorkerConfig
from live_backend.ending import end
from live_backend.processes import CONTINUE, GONE_WITH_ITS_HOST, LAST_LINES, how, not_ready

VARIABLE = "MESHLAB_WORKERS"
EXPIRE_MS = int(LINK_EXPIRE_S * 1000)


def workers_are_remote(environ: Mapping[str, str]) -> bool:
    """Whether runs invite `meshlab worker` hosts. Raises ServersUnavailable if those could not reach the servers."""
    choice = environ.get(VARIABLE, "").strip() or "local"
    if choice not in ("local", "remote"):
        mend = f"Set {VARIABLE}=remote to use `meshlab worker` hosts, or unset it."
        raise ServersUnavailable(f"{VARIABLE}: {choice!r} is not a choice.", mend)
    if choice == "remote":
        shared_addresses(environ, f"{VARIABLE}=remote", f", or unset {VARIABLE}")
    return choice == "remote"


def shared_addresses(environ: Mapping[str, str], who: str, otherwise: str = "") -> tuple[tuple[str, str], ...]:
    """(variable, address) of the Redis and of the PostgreSQL. Raises ServersUnavailable that names what is missing."""
    redis_server, postgres = redis_address(environ), postgres_address(environ)
    if redis_server and postgres:
        return redis_server, postgres
    found = {"REDIS_URL (or REDIS_ADDR)": redis_server, "DB_DSN": postgres}
    missing = " and ".join(name for name, address in found.items() if not address)
    mend = f"Set {missing} to the servers that engine and workers share{otherwise}."
    raise ServersUnavailable(f"{who} needs {missing}, which this environment does not name.", mend)


class Invitation:
    """One worker process that some host runs for us, or will. Its orders are what we want; its report is what is."""

    def __init__(self, grace_s: float, changed: Callable[[], None]) -> None:
        self.config: WorkerConfig | None = None
        self.text = ""
        self.orders = Orders(grace_s)
        self.status: int | None = None
        self.said = ""
        self.leaving = False
        self.must_offer = True
        self._changed = changed
        self._silence = Silence()
        loop = asyncio.get_running_loop()
        self._taken: asyncio.Future[str] = loop.create_future()
        self._ended: asyncio.Future[int] = loop.create_future()

    @property
    def taken(self) -> bool:
        """Whether a host has ever said that it is its own."""
        return self._taken.done()

    # -- as the supervisor sees it --

    async def configure(self, config: WorkerConfig) -> None:
        """See WorkerProcess. From now on it is offered."""
        self.config, self.text = config, config.to_invitation()
        self._changed()

    async def start_run(self, epoch_s: float) -> None:
        """See WorkerProcess."""
        self.orders = replace(self.orders, start_epoch_s=epoch_s)
        self._changed()

    def say(self, line: str) -> None:
        """See WorkerProcess. A host passes no more on than its orders."""
        raise UsageError("the scenario of a run with workers elsewhere cannot grow; run a session on this machine")

    async def started(self) -> str:
        """See WorkerProcess."""
        return await asyncio.shield(self._taken)

    async def wait(self) -> int:
        """See WorkerProcess."""
        return await asyncio.shield(self._ended)

    def send(self, number: signal.Signals) -> None:
        """See WorkerProcess. One that no host has taken yet gets it as soon as it is started."""
        self.orders = replace(self.orders, signals=[*self.orders.signals, number.name])
        self._changed()

    def leave(self) -> None:
        """See WorkerProcess. An invitation that no host has taken is withdrawn."""
        self.leaving = True
        self.send(signal.SIGTERM)
        if CONTINUE is not None:
            self.send(CONTINUE)

    @property
    def last_words(self) -> str:
        """What it wrote before it ended, or else how it ended."""
        return "\n".join(self.said.splitlines()[-LAST_LINES:]) or how(self.status or 0)

    # -- as the beat sees it --

    @property
    def withdrawn(self) -> bool:
        """Whether it is to be taken off the list."""
        return self.leaving and not self.taken

    def heard(self, report: Report | None) -> None:
        """What its host has said, if its word is there."""
        if report is None:
            self._silence.missing()
            if self.withdrawn or (self.taken and self._silence.too_long):
                self._end(GONE_WITH_ITS_HOST)
            elif self._silence.too_long:  # Redis forgot it, or a host took it and died: nobody will come for it
                self.must_offer, self._silence = True, Silence()
            return
        self._silence.heard()
        if report.pid and not self.taken:
            self._taken.set_result(f"pid {report.pid} on {report.host}")
        if report.status is not None:
            self.said = report.said
            self._end(report.status)

    def not_heard(self) -> None:
        """Redis did not answer."""
        self._silence.away()
        if self.taken and self._silence.too_long:
            self._end(GONE_WITH_ITS_HOST)

    def give_up(self) -> None:
        """Wait no longer. Without orders its host ends it."""
        if self.status is None:
            self._end(GONE_WITH_ITS_HOST)

    def _end(self, status: int) -> None:
        self.status = status
        if not self._ended.done():
            self._ended.set_result(status)


class Invitations:
    """The workers of one run, all of them elsewhere."""

    def __init__(self, redis_url: str, grace_s: float) -> None:
        self._redis_url, self._grace_s = redis_url, grace_s
        self._all: list[Invitation] = []
        self._changed: asyncio.Event | None = None
        self._client: redis.Redis | None = None
        self._beating: asyncio.Task[None] | None = None

    async def spawn(self) -> Invitation:
        """See Processes. Nobody is invited before the worker is configured."""
        if self._changed is None:
            self._changed, self._client = asyncio.Event(), connect(self._redis_url)
            self._beating = asyncio.create_task(self._beat_on(self._client, self._changed))
        self._all.append(Invitation(self._grace_s, self._changed.set))
        return self._all[-1]

    def trouble(self) -> str:
        """See Processes."""
        waiting = [one.config.worker for one in self._all if one.config and not one.taken]
        if waiting:
            whom = f"the invitation of {', '.join(waiting)}" if len(waiting) < 4 else f"{len(waiting)} invitations"
            return (
                f"no `meshlab worker` took up {whom} (the run wants {len(self._all)} workers); "
                "start some: `docker compose up --scale worker=3`"
            )
        return not_ready("\n".join(one.last_words for one in self._all if one.status is not None))

    async def close(self) -> None:
        """See Processes."""
        for one in self._all:
            one.give_up()
        if self._beating is not None and self._client is not None:
            await end(self._beating)
            with suppress(*GONE, RedisError):
                await self._forget(self._client, self._all)
            await self._client.aclose()

    async def _beat_on(self, client: redis.Redis, changed: asyncio.Event) -> None:
        while True:
            changed.clear()
            open_ones = [(one, one.config) for one in self._all if one.config and one.status is None]
            try:
                await self._beat(client, open_ones)
            except (*GONE, RedisError):  # also one that is full or refuses: said again until it is heard
                for one, _ in open_ones:
                    one.not_heard()
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LINK_BEAT_S)

    async def _beat(self, client: redis.Redis, open_ones: list[tuple[Invitation, WorkerConfig]]) -> None:
        """State all orders, offer, and hear all reports: one round trip."""
        if not open_ones:
            return
        pipe = client.pipeline(transaction=False)
        offered = [one for one, _ in open_ones if one.must_offer and not one.withdrawn]
        for one, config in open_ones:
            self._state(pipe, one, config)
        pipe.mget([config.report_key for _, config in open_ones])
        *_, reports = await pipe.execute()
        for one in offered:
            one.must_offer = False
        for (one, _), text in zip(open_ones, reports, strict=True):
            one.heard(Report.from_text(text) if text else None)
        await self._forget(client, [one for one, _ in open_ones if one.status is not None])

    @staticmethod
    def _state(pipe: Any, one: Invitation, config: WorkerConfig) -> None:
        """Orders come before the invitation: a host drops an invitation that has no orders, as nobody wants it."""
        if one.withdrawn:
            pipe.lrem(INVITATIONS, 0, one.text)
            return
        pipe.set(config.orders_key, one.orders.to_text(), px=EXPIRE_MS)
        if one.must_offer:
            pipe.lrem(INVITATIONS, 0, one.text)  # so that it never stands there twice
            pipe.rpush(INVITATIONS, one.text)
            pipe.expire(INVITATIONS, INVITATIONS_EXPIRE_S)

    @staticmethod
    async def _forget(client: redis.Redis, ended: list[Invitation]) -> None:
        """Without orders a host knows that nobody wants its worker any more."""
        pipe = client.pipeline(transaction=False)
        for one in ended:
            if one.config is not None:
                pipe.lrem(INVITATIONS, 0, one.text)
                pipe.delete(one.config.orders_key, one.config.report_key)
        if ended:
            await pipe.execute()
