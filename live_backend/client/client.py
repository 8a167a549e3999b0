"""The two clients: the same methods, one to call and one to await."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from lab.errors import UsageError
from lab.limits import CLIENT_ANSWER_S_MAX, CLIENT_RETRY_S_MAX
from live_backend.client import calls
from live_backend.client.calls import Call, T
from live_backend.client.retrying import ApiAway, Patience, Watch, away, problem_of, value_of
from live_backend.client.values import Event, Overview, Receipt, Task, TaskRequest, Transition, Worker
from live_backend.whereabouts import Api, find_api, is_loopback


class _Stream:
    """Where a reader of the event stream stands, so that it can go on after a break."""

    def __init__(self, task: int | None, role: str | None, last_event_id: str | None) -> None:
        self.params = {name: str(value) for name, value in (("task", task), ("role", role)) if value is not None}
        self._at = last_event_id

    @property
    def headers(self) -> dict[str, str]:
        """What a request for the rest of the stream says."""
        again = {"Last-Event-ID": self._at} if self._at else {}
        return {"Accept": "text/event-stream", "Cache-Control": "no-store", **again}

    def event(self, frame: ServerSentEvent) -> Event | None:
        """The event of a frame; None for a heartbeat."""
        if not frame.data:
            return None
        self._at = frame.id or self._at
        try:
            return Event.of(frame.id, frame.event, json.loads(frame.data))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"event {frame.id!r} is of another version than this client: {error}") from error


class _Base:
    def __init__(self, url: str | None, token: str | None, retry_for_s: float, silent_for_s: float | None) -> None:
        api = find_api(os.environ) if url is None else Api(url.rstrip("/"))
        self.url = api.url
        token = token if token is not None else api.token
        if token and not (token.isascii() and token.isprintable()):
            raise UsageError("a token consists of printable ASCII characters; this one would fit into no header")
        self._retry_for_s, self._silent_for_s = retry_for_s, retry_for_s if silent_for_s is None else silent_for_s
        self._options: dict[str, Any] = {
            "base_url": api.url,
            "timeout": CLIENT_ANSWER_S_MAX,
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
            "trust_env": not is_loopback(api.url),  # a proxy has no business between this machine and itself
        }
        try:
            if httpx.URL(api.url).scheme not in ("http", "https"):
                raise httpx.InvalidURL("no http:// or https:// in front")
        except httpx.InvalidURL as error:
            message = f"{api.url}: this is no address of a mesh API ({error}); write http://127.0.0.1:8700, say"
            raise UsageError(message) from error

    def _patience(self) -> Patience:
        return Patience(self._retry_for_s, self._silent_for_s)

    @staticmethod
    def _request(call: Call[Any]) -> dict[str, Any]:
        content = None if call.body is None else call.body.encode()
        headers = {"Content-Type": "application/json"} if content is not None else {}
        return {
            "method": call.method,
            "url": call.path,
            "params": call.params or None,
            "content": content,
            "headers": headers,
        }


class Client(_Base):
    """Talks to a mesh API. A context manager; safe to share between threads.

    `retry_for_s` bounds how long a call that may be repeated goes on trying, `silent_for_s` how long it does so while
    nobody answers at all (default: as long). Calls raise ApiAway, Refused (with
    NotFound and Conflict), or UsageError for what cannot even be sent.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        retry_for_s: float = CLIENT_RETRY_S_MAX,
        silent_for_s: float | None = None,
    ) -> None:
        super().__init__(url, token, retry_for_s, silent_for_s)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self,
        role: str,
        payload: Any = None,
        *,
        priority: int | None = None,
        key: str | None = None,
        make_key: bool = True,
    ) -> Receipt:
        """Submit a task. Without a key one is made, so that it may be repeated; `make_key=False`: without, and then it
        is repeated only if it was certainly not accepted.
        """
        return self._do(calls.submit(TaskRequest(role, payload, priority, key), make_key=make_key))

    def submit_batch(self, requests: Sequence[TaskRequest], *, make_key: bool = True) -> list[Receipt]:
        """Submit many; the receipts are in the same order. More than fit into one request go in several, one after
        the other: if a later one is refused, the earlier ones stand.
        """
        return [one for call in calls.submit_batch(requests, make_key=make_key) for one in self._do(call)]

    def task(self, task_id: int) -> Task:
        """One task with its payload and result."""
        return self._do(calls.task(task_id))

    def tasks(
        self,
        *,
        state: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> tuple[list[Task], int | None]:
        """A page of tasks, newest first, and the `before` of the next page (None: there is none)."""
        return self._do(calls.tasks(state=state, role=role, before=before, limit=limit))

    def transitions(self, task_id: int) -> list[Transition]:
        """The audit log of a task, oldest first."""
        return self._do(calls.transitions(task_id))

    def cancel(self, task_id: int) -> Task:
        """Cancel a task that waits. Raises Conflict in any other state."""
        return self._do(calls.operate(task_id, "cancel"))

    def redrive(self, task_id: int) -> Task:
        """Start a dead task anew. Raises Conflict in any other state."""
        return self._do(calls.operate(task_id, "redrive"))

    def dead_letters(
        self, *, role: str | None = None, after: int | None = None, limit: int | None = None
    ) -> tuple[list[Task], int | None]:
        """A page of dead letters, and the `after` of the next page (None: there is none)."""
        return self._do(calls.dead_letters(role=role, after=after, limit=limit))

    def redrive_dead_letters(
        self, ids: Sequence[int] | None = None, *, role: str | None = None, everything: bool = False
    ) -> list[int]:
        """Start dead tasks anew: these, those of a role, or all. Returns which."""
        return self._do(calls.dead_letters_action("redrive", ids, role, everything))

    def discard_dead_letters(
        self, ids: Sequence[int] | None = None, *, role: str | None = None, everything: bool = False
    ) -> list[int]:
        """Put dead letters aside for good: these, those of a role, or all. Returns which."""
        return self._do(calls.dead_letters_action("discard", ids, role, everything))

    def overview(self) -> Overview:
        """The queues, the unfinished tasks by state, and admission."""
        return self._do(calls.overview())

    def workers(self) -> list[Worker]:
        """The worker processes."""
        return self._do(calls.workers())

    def wait(self, task_id: int, timeout_s: float | None = None) -> Task:
        """Wait until a task is finished, and return it. Raises NotFinished after `timeout_s` (None: never)."""
        watch = Watch(task_id, timeout_s)
        while not (found := self.task(task_id)).finished:
            time.sleep(watch.wait_s(found.state))
        return found

    def events(
        self, *, task: int | None = None, role: str | None = None, last_event_id: str | None = None
    ) -> Iterator[Event]:
        """The events from now on, or those after `last_event_id`; without end. After a break it goes on where it was,
        without gap or double.
        """
        stream, patience = _Stream(task, role, last_event_id), self._patience()
        while True:
            opened = self._http.stream("GET", "/v1/events", params=stream.params, headers=stream.headers)
            try:
                with opened as response:
                    if not response.is_success:
                        response.read()
                        raise problem_of(response)
                    patience.renew()
                    for frame in EventSource(response).iter_sse():
                        if event := stream.event(frame):
                            yield event
                error: ApiAway = ApiAway(f"the event stream of {self.url} ended")
            except httpx.TransportError as broken:
                error = away(broken, self.url)
            except ApiAway as closed:
                error = closed
            except SSEError as strange:
                raise UsageError(f"{self.url}: what answers sends no events ({strange})") from strange
            time.sleep(patience.wait_s(error, repeatable=True))

    def _do(self, call: Call[T]) -> T:
        patience = self._patience()
        while True:
            try:
                return value_of(call, self._http.request(**self._request(call)))
            except httpx.TransportError as broken:
                error = away(broken, self.url)
            except ApiAway as closed:
                error = closed
            time.sleep(patience.wait_s(error, repeatable=call.repeatable))


class AsyncClient(_Base):
    """The same to await. An async context manager."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        retry_for_s: float = CLIENT_RETRY_S_MAX,
        silent_for_s: float | None = None,
    ) -> None:
        super().__init__(url, token, retry_for_s, silent_for_s)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """See Client."""
        await self._http.aclose()

    async def submit(
        self,
        role: str,
        payload: Any = None,
        *,
        priority: int | None = None,
        key: str | None = None,
        make_key: bool = True,
    ) -> Receipt:
        """See Client."""
        return await self._do(calls.submit(TaskRequest(role, payload, priority, key), make_key=make_key))

    async def submit_batch(self, requests: Sequence[TaskRequest], *, make_key: bool = True) -> list[Receipt]:
        """See Client."""
        return [one for call in calls.submit_batch(requests, make_key=make_key) for one in await self._do(call)]

    async def task(self, task_id: int) -> Task:
        """See Client."""
        return await self._do(calls.task(task_id))

    async def tasks(
        self,
        *,
        state: str | None = None,
        role: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> tuple[list[Task], int | None]:
        """See Client."""
        return await self._do(calls.tasks(state=state, role=role, before=before, limit=limit))

    async def transitions(self, task_id: int) -> list[Transition]:
        """See Client."""
        return await self._do(calls.transitions(task_id))

    async def cancel(self, task_id: int) -> Task:
        """See Client."""
        return await self._do(calls.operate(task_id, "cancel"))

    async def redrive(self, task_id: int) -> Task:
        """See Client."""
        return await self._do(calls.operate(task_id, "redrive"))

    async def dead_letters(
        self, *, role: str | None = None, after: int | None = None, limit: int | None = None
    ) -> tuple[list[Task], int | None]:
        """See Client."""
        return await self._do(calls.dead_letters(role=role, after=after, limit=limit))

    async def redrive_dead_letters(
        self, ids: Sequence[int] | None = None, *, role: str | None = None, everything: bool = False
    ) -> list[int]:
        """See Client."""
        return await self._do(calls.dead_letters_action("redrive", ids, role, everything))

    async def discard_dead_letters(
        self, ids: Sequence[int] | None = None, *, role: str | None = None, everything: bool = False
    ) -> list[int]:
        """See Client."""
        return await self._do(calls.dead_letters_action("discard", ids, role, everything))

    async def overview(self) -> Overview:
        """See Client."""
        return await self._do(calls.overview())

    async def workers(self) -> list[Worker]:
        """See Client."""
        return await self._do(calls.workers())

    async def wait(self, task_id: int, timeout_s: float | None = None) -> Task:
        """See Client."""
        watch = Watch(task_id, timeout_s)
        while not (found := await self.task(task_id)).finished:
            await asyncio.sleep(watch.wait_s(found.state))
        return found

    async def events(
        self, *, task: int | None = None, role: str | None = None, last_event_id: str | None = None
    ) -> AsyncIterator[Event]:
        """See Client."""
        stream, patience = _Stream(task, role, last_event_id), self._patience()
        while True:
            opened = self._http.stream("GET", "/v1/events", params=stream.params, headers=stream.headers)
            try:
                async with opened as response:
                    if not response.is_success:
                        await response.aread()
                        raise problem_of(response)
                    patience.renew()
                    async for frame in EventSource(response).aiter_sse():
                        if event := stream.event(frame):
                            yield event
                error: ApiAway = ApiAway(f"the event stream of {self.url} ended")
            except httpx.TransportError as broken:
                error = away(broken, self.url)
            except ApiAway as closed:
                error = closed
            except SSEError as strange:
                raise UsageError(f"{self.url}: what answers sends no events ({strange})") from strange
            await asyncio.sleep(patience.wait_s(error, repeatable=True))

    async def _do(self, call: Call[T]) -> T:
        patience = self._patience()
        while True:
            try:
                return value_of(call, await self._http.request(**self._request(call)))
            except httpx.TransportError as broken:
                error = away(broken, self.url)
            except ApiAway as closed:
                error = closed
            await asyncio.sleep(patience.wait_s(error, repeatable=call.repeatable))
