"""`meshlab up` and `meshlab api`, from the servers to the last process that leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import Interrupted, Unavailable, UsageError
from lab.limits import LIVE_WORKERS_MAX, MEND_S
from lab.scenario import Scenario
from live_backend import definition
from live_backend.addresses import NAMES, ServerFacts, ServersUnavailable, external_postgres, external_redis
from live_backend.ending import end
from live_backend.invitations import shared_addresses
from live_backend.posts import Tell
from live_backend.servers import Servers, open_servers
from live_backend.standing import Addresses, Listen, Standing, free_port
from live_backend.whereabouts import TOKEN_VARIABLE, Api, StateFile, own_token


@dataclass(frozen=True)
class Running:
    """A mesh that answers: what its operator wants to know."""

    listen: Listen
    wanted_port: int
    token_from: str | None
    """Where the token stands: a variable or a file. None: there is none."""
    scenario: Scenario
    workers: int
    facts: tuple[ServerFacts, ...]
    data: Path | None = None
    findable: bool = True
    """Whether the command line finds it by itself."""

    @property
    def is_embedded(self) -> bool:
        """Whether the tasks are in a PostgreSQL of our own."""
        return any(fact.kind == "postgres" and fact.source != "environment" for fact in self.facts)


Announce = Callable[[Running], None]


@dataclass(frozen=True)
class Asked:
    """What `meshlab up` is to do. `workers` None: as many as the scenario says; `data` None: keep nothing."""

    scenario: Scenario
    host: str
    port: int
    workers: int | None = None
    data: Path | None = None


def up(asked: Asked, environ: Mapping[str, str], tell: Tell, announce: Announce) -> None:
    """A whole standing mesh on this machine, until SIGTERM or Ctrl-C. `announce` is called when it is ready.

    Raises Unavailable if it cannot be started, UsageError if it asks for what this machine cannot do.
    """
    scenario, workers = asked.scenario, asked.scenario.mesh.workers if asked.workers is None else asked.workers
    if sys.platform == "win32":
        raise Unavailable("a standing mesh needs a Unix: run the lab inside WSL (`wsl --install`)")
    if workers > LIVE_WORKERS_MAX:
        raise UsageError(
            f"{workers} workers are too many for `meshlab up`, which starts at most {LIVE_WORKERS_MAX}; "
            "`meshlab worker` adds more, here or elsewhere"
        )
    listen, token_from = _listen(asked.host, asked.port, environ)
    with open_servers(environ, data=asked.data) as servers:
        addresses = Addresses(servers.dsn, servers.redis_url)
        running = Running(listen, asked.port, token_from, scenario, workers, servers.facts, asked.data)
        serving = _Serving(running, addresses, environ, tell, announce, servers)
        asyncio.run(serving.run(lambda: definition.publish(servers.dsn, scenario)))


def api(host: str, port: int, environ: Mapping[str, str], tell: Tell, announce: Announce) -> None:
    """An API process and a standby reaper for the servers that the environment names, until SIGTERM or Ctrl-C.

    Whatever standing mesh is there is left as it is; the default one is made where there is none.
    """
    redis_server, postgres = shared_addresses(environ, "meshlab api")
    facts = external_redis(*redis_server), external_postgres(*postgres)
    listen, token_from = _listen(host, port, environ)
    addresses, mesh = Addresses(postgres[1], redis_server[1]), definition.default_mesh()
    running = Running(listen, port, token_from, mesh, 0, facts)
    serving = _Serving(running, addresses, environ, tell, announce, None)
    asyncio.run(serving.run(lambda: definition.publish(addresses.dsn, mesh, only_if_none=True)))


def _listen(host: str, port: int, environ: Mapping[str, str]) -> tuple[Listen, str | None]:
    """Where to listen, and where the token comes from. Without one, only this machine is let near."""
    listen = Listen(host, free_port(host, port))
    if listen.is_loopback and not environ.get(TOKEN_VARIABLE, "").strip():
        return listen, None
    token, token_from = own_token(environ)
    return replace(listen, token=token), token_from


class _Serving:
    """One mesh from its tables to its end."""

    def __init__(
        self,
        running: Running,
        addresses: Addresses,
        environ: Mapping[str, str],
        tell: Tell,
        announce: Announce,
        servers: Servers | None,
    ) -> None:
        self._running, self._addresses, self._environ = running, addresses, environ
        self._tell, self._announce, self._servers = tell, announce, servers
        self._stack = ExitStack()
        self._stopping = asyncio.Event()

    async def run(self, publish: Callable[[], None]) -> None:
        """Until the first signal; the second ends everything at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop)
        await asyncio.to_thread(definition.prepare, self._addresses.dsn)
        await asyncio.to_thread(publish)
        found = await asyncio.to_thread(definition.fetch, self._addresses.dsn)
        scenario = found.scenario if found else self._running.scenario
        running = replace(self._running, scenario=scenario)
        standing = Standing(self._addresses, scenario, self._tell, workers=running.workers, listen=running.listen)
        mending = asyncio.create_task(self._mend())
        with self._stack:
            async with standing:
                await self._serve(standing, running)
                await end(mending)

    async def _serve(self, standing: Standing, running: Running) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        ready = asyncio.create_task(standing.ready())
        try:
            await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set():
                ready.result()
                self._announce(replace(running, findable=self._make_findable(running.listen)))
                await stopping
        finally:
            await end(ready, stopping)

    def _make_findable(self, listen: Listen) -> bool:
        try:
            private = self._servers is not None and self._servers.embedded_postgres
            dsn = self._addresses.dsn if private else None
            self._stack.enter_context(StateFile(Api(listen.url, listen.token), self._environ, dsn))
        except Unavailable as error:
            self._tell(f"{error}; until then, set MESHLAB_API={listen.url} for `meshlab submit` and the like")
            return False
        return True

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._stack.close()
            # Not sys.exit, which would wait for the very end that the person is tired of. Processes and servers end by
            # themselves when this one is gone.
            os._exit(Interrupted.exit_status)
        self._stopping.set()
        self._tell("\nstopping: no task is taken in any more; workers finish or hand back (once more to leave at once)")

    async def _mend(self) -> None:
        """Start our own servers again when they have died: PostgreSQL has its log, and Redis is rebuilt from it."""
        told = ""
        while self._servers is not None:
            await asyncio.sleep(MEND_S)
            try:
                for kind in await asyncio.to_thread(self._servers.start_ended):
                    self._tell(f"{NAMES[kind]} had ended; it was started again")
                told = ""
            except ServersUnavailable as error:
                if str(error) != told:
                    self._tell(told := str(error))
