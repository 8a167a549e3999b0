"""Where the work of a task is done, whatever its role's work is: a handler of the user's own, or synthetic work.

The work of a handler is one of `handlers/callables` (async, or in threads), `handlers/isolated` (processes) and
`handlers/endpoint` (HTTP); a role without one does `handlers/synthetic`. `lab/rules/handling.py` says which endings are
failures and which are permanent.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from lab.errors import UsageError
from lab.handlers import Handler
from lab.rules import retry
from lab.rules.handling import Ending
from lab.scenario import Scenario
from live_backend.handlers.callables import AsyncCalls, NotFound, ThreadCalls, Threads, is_async, load
from live_backend.handlers.isolated import ProcessCalls
from live_backend.handlers.synthetic import Synthetic
from live_backend.jobs import Failed, Job, Permanent, failure

if TYPE_CHECKING:
    import httpcore

__all__ = ["Failed", "Job", "Permanent", "Workshop"]


class Calls(Protocol):
    """What a handler is called through."""

    async def do(self, job: Job) -> str | None:
        """The result as JSON text. Raises Failed or Permanent."""

    async def close(self) -> None:
        """End what is left of it."""


class Workshop:
    """The work of all roles of a scenario, in one worker process.

    `start`, then `do` as often as you like, at most `mesh.slots` at a time; `close` at the end.
    """

    def __init__(self, scenario: Scenario, *, key_scope: str = "", environ: Mapping[str, str] = os.environ) -> None:
        """`key_scope` is put before the task's id in the Idempotency-Key of HTTP handlers: ids of the standing mesh
        are unique, those of runs begin at 0 every time. `environ` holds MESHLAB_HTTP_HOSTS and secrets of headers.
        """
        self._scenario, self._key_scope, self._environ = scenario, key_scope, environ
        self._roles = scenario.workload.roles
        self._do: dict[str, Callable[[Job], Awaitable[str | None]]] = {}
        self._calls: list[Calls] = []
        self._connections: httpcore.AsyncConnectionPool | None = None
        self._threads = Threads(scenario.mesh.slots)

    def handles(self, role: str) -> bool:
        """Whether a role has a handler of its own."""
        return role in self._roles and self._roles[role].handler is not None

    async def start(self) -> None:
        """Find the handlers. Raises UsageError if one cannot be found, or may not be used here."""
        try:
            for name, role in self._roles.items():
                if role.handler is None:
                    synthetic = Synthetic(name, role, self._scenario, self._threads.pool)
                    self._do[name] = _nothing if synthetic.is_nothing else synthetic.do
                else:
                    calls = await self._calls_of(f"workload.roles.{name}.handler", role.handler)
                    self._do[name] = calls.do
        except BaseException:
            await self.close()
            raise

    async def do(self, job: Job) -> str | None:
        """Do the work of one attempt. Returns its result as JSON text to be stored as it is, None for none.

        Raises Failed (a retry may help) or Permanent (none can), whose texts are bounded and fit for every store.
        A cancellation passes through, and ends what runs.
        """
        try:
            do = self._do[job.role]
        except KeyError:
            known = ", ".join(self._do)
            raise failure(Ending.UNREADABLE, f"undecodable: unknown role {job.role!r}; there are {known}") from None
        return await do(job)

    async def close(self) -> None:
        """End all processes and connections. Threads end with what they are doing."""
        for calls in self._calls:
            await calls.close()
        self._calls = []
        if self._connections is not None:
            await self._connections.aclose()
        self._threads.pool.shutdown(wait=False, cancel_futures=True)

    async def _calls_of(self, where: str, handler: Handler) -> Calls:
        timeout_s = retry.cut(handler.timeout_s, self._scenario.rules.retry)
        try:
            calls = self._endpoint(where, handler, timeout_s) if handler.http else self._callable(handler, timeout_s)
            self._calls.append(calls)
            if isinstance(calls, ProcessCalls):
                await calls.start()
        except NotFound as error:
            raise UsageError(f"{where}.python: {error}") from error
        return calls

    def _callable(self, handler: Handler, timeout_s: float) -> Calls:
        if handler.isolation == "process":
            return ProcessCalls(handler.python, timeout_s, self._scenario.mesh.slots)
        call = load(handler.python)
        return AsyncCalls(call, timeout_s) if is_async(call) else ThreadCalls(call, timeout_s, self._threads)

    def _endpoint(self, where: str, handler: Handler, timeout_s: float) -> Calls:
        # Imported where it is needed: most scenarios have no endpoint.
        from live_backend.handlers.endpoint import Endpoint, connections
        from live_backend.handlers.reach import Reach

        if self._connections is None:
            self._connections = connections(Reach.of(self._environ), self._scenario.mesh.slots)
        return Endpoint(where, handler, timeout_s, self._connections, self._environ, self._key_scope)


async def _nothing(job: Job) -> None:
    """The work of a role that has nothing to do."""
