"""Where live tasks are looked up and operated on: a session of the command center, or a standing mesh.

A live desk is asked anew each time, over a connection of its own, and answers within DESK_ANSWER_S_MAX or not at all: a
page must not hang because a server does.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from lab.errors import Unavailable, UsageError
from lab.limits import API_BATCH_TASKS_MAX, DESK_ANSWER_S_MAX, DESK_PAGES_MAX, PAGE_TASKS_MAX
from lab.rules.retry import RetryRules
from lab.rules.tasks import State
from live_backend import broker
from live_backend.broker import Broker
from live_backend.client import AsyncClient, NotFound, Task, Transition
from live_backend.operating import Operating
from live_backend.reading import Reading
from live_backend.whereabouts import API_VARIABLE, Api, find_api, state_folder
from ui.tasks_story import Item, Page, Step, Story

T = TypeVar("T")
KNOCK_S = 0.2
DEAD = "dead"
ALL = "all"
VIEWS = (DEAD, ALL, *(str(state) for state in State if state is not State.PERMANENT_FAILURE))
"""What can be listed: the dead letters, every task, or those in one state."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to list: a view, of one role, with these words in the error, from where the page before ended."""

    view: str = DEAD
    role: str = ""
    words: str = ""
    cursor: int | None = None


class Desk(Protocol):
    """A place where tasks are looked up. Raises Unavailable if it is away, UsageError for what cannot be."""

    @property
    def source(self) -> str:
        """Its name in a link."""

    @property
    def engine(self) -> Literal["sim", "live"]:
        """Whose tasks these are."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Its roles in the order of the scenario, if it knows them."""

    @property
    def redrives(self) -> Literal["", "all", "any"]:
        """Whether dead letters can be redriven here: none, only all of them, or any."""

    @property
    def discards(self) -> bool:
        """Whether dead letters can be put aside here."""

    def page(self, query: Query) -> Page:
        """Tasks: dead letters in order of their ids, others newest first."""

    def story(self, task_id: int) -> Story | None:
        """One task with its history; None: there is no such task."""

    def redrive(self, ids: Sequence[int] | None) -> int | None:
        """Start dead tasks anew, these or all. Returns how many were; None: it is done in a moment."""

    def discard(self, ids: Sequence[int]) -> int:
        """Put dead letters aside. Returns how many were."""


class Reader(Protocol):
    """What both kinds of live places can be asked."""

    async def dead_letters(self, role: str | None, after: int, limit: int) -> list[Task]: ...
    async def tasks(self, state: str | None, role: str | None, before: int | None) -> tuple[list[Task], int | None]: ...
    async def task(self, task_id: int) -> Task | None: ...
    async def transitions(self, task_id: int) -> list[Transition]: ...
    async def redrive(self, ids: Sequence[int] | None) -> list[int]: ...
    async def discard(self, ids: Sequence[int]) -> list[int]: ...


Opener = Callable[[], AbstractAsyncContextManager[Reader]]


# ---- one desk for everything that lives ------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveDesk:
    """A live mesh behind a Reader. With `redrive_all`, redriving is that function's and concerns all dead letters."""

    source: str
    opener: Opener
    what: str
    redrive_all: Callable[[], None] | None = None
    engine: Literal["sim", "live"] = "live"
    discards: bool = True
    roles: tuple[str, ...] = ()

    @property
    def redrives(self) -> Literal["", "all", "any"]:
        """See Desk."""
        return "any" if self.redrive_all is None else "all"

    def page(self, query: Query) -> Page:
        """See Desk. A search through errors reads on until the page is full, or DESK_PAGES_MAX pages are read."""
        return self._ask(lambda reader: _page(reader, query))

    def story(self, task_id: int) -> Story | None:
        """See Desk."""

        async def read(reader: Reader) -> Story | None:
            task = await reader.task(task_id)
            return None if task is None else _story(task, await reader.transitions(task_id))

        return self._ask(read)

    def redrive(self, ids: Sequence[int] | None) -> int | None:
        """See Desk."""
        if self.redrive_all is None:
            return len(self._ask(lambda reader: reader.redrive(ids)))
        if ids is not None:
            raise UsageError("in a session all dead letters are redriven together, so that the model does the same")
        self.redrive_all()
        return None

    def discard(self, ids: Sequence[int]) -> int:
        """See Desk."""
        return len(self._ask(lambda reader: reader.discard(ids)))

    def _ask(self, question: Callable[[Reader], Awaitable[T]]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(DESK_ANSWER_S_MAX), self.opener() as reader:
                return await question(reader)

        try:
            return asyncio.run(bounded())
        except TimeoutError as error:
            said = f"{self.what} did not answer within {DESK_ANSWER_S_MAX:g} s; look again in a moment"
            raise Unavailable(said) from error


async def _page(reader: Reader, query: Query) -> Page:
    words, role = query.words.casefold(), query.role or None
    found: list[Item] = []
    cursor = query.cursor
    for _ in range(DESK_PAGES_MAX if words else 1):
        if query.view == DEAD:
            tasks = await reader.dead_letters(role, cursor or 0, PAGE_TASKS_MAX)
            cursor = tasks[-1].id if len(tasks) == PAGE_TASKS_MAX else None
        else:
            tasks, cursor = await reader.tasks(None if query.view == ALL else query.view, role, cursor)
        for task in tasks:
            if words not in (item := _item(task)).error.casefold():
                continue
            found.append(item)
            if len(found) == PAGE_TASKS_MAX:
                return Page(tuple(found), task.id if cursor is not None or task is not tasks[-1] else None)
        if cursor is None:
            break
    return Page(tuple(found), cursor)


def _item(task: Task) -> Item:
    letter = task.dead_letter
    # The planned work of a run fails without a text.
    why = task.error or (f"failed on attempt {task.attempt}" if letter else "")
    return Item(
        id=task.id,
        role=task.role,
        priority=task.priority,
        queue=task.queue,
        state=str(task.state),
        attempts=task.attempt,
        worker=task.worker or "",
        error=why,
        at=letter.at if letter else task.changed_at,
        discarded=letter is not None and letter.discarded_at is not None,
    )


def _story(task: Task, log: Sequence[Transition]) -> Story:
    origin = log[0].at if log else task.changed_at
    steps = tuple(
        Step(
            at_s=(one.at - origin).total_seconds(),
            start=str(one.from_state or ""),
            end=str(one.to_state),
            worker=one.worker or "",
            attempt=one.attempt,
            token=one.token,
            reason=one.reason,
            delay_s=one.delay_s,
            at=one.at,
        )
        for one in log
    )
    now_s = None if task.finished else (datetime.now(UTC) - origin).total_seconds()
    return Story(_item(task), steps, now_s, task.payload, task.result)


# ---- a session's schema ----------------------------------------------------------------------------------------------


class _Schema:
    """Reads a run's own schema, and operates on it."""

    def __init__(self, reading: Reading, operating: Operating) -> None:
        self._reading, self._operating = reading, operating

    async def dead_letters(self, role: str | None, after: int, limit: int) -> list[Task]:
        return [Task.of(one) for one in await self._reading.dead_letters(role, after, limit)]

    async def tasks(self, state: str | None, role: str | None, before: int | None) -> tuple[list[Task], int | None]:
        found, following = await self._reading.tasks(State(state) if state else None, role, before, PAGE_TASKS_MAX)
        return [Task.of(one) for one in found], following

    async def task(self, task_id: int) -> Task | None:
        found = await self._reading.task(task_id)
        return Task.of(found) if found else None

    async def transitions(self, task_id: int) -> list[Transition]:
        return [Transition.of(one, task_id) for one in await self._reading.transitions(task_id)]

    async def redrive(self, ids: Sequence[int] | None) -> list[int]:
        return await self._operating.redrive_letters(ids, None, RetryRules())

    async def discard(self, ids: Sequence[int]) -> list[int]:
        return await self._operating.discard_letters(ids, None)


def of_place(place: Mapping[str, Any], redrive_all: Callable[[], None] | None) -> LiveDesk:
    """The desk of a session, whose live side told its `dsn`, `schema`, `redis_url` and `prefix`."""
    dsn, schema = str(place["dsn"]), str(place["schema"])

    @asynccontextmanager
    async def opened() -> AsyncIterator[Reader]:
        reading, client = Reading(dsn, schema), broker.connect(str(place["redis_url"]))
        try:
            yield _Schema(reading, Operating(reading, Broker(client, str(place.get("prefix", "")))))
        finally:
            await client.aclose()
            await reading.close()

    return LiveDesk("session", opened, "the session's PostgreSQL", redrive_all)


# ---- a standing mesh's API -------------------------------------------------------------------------------------------


class _Api:
    """Asks the API of a standing mesh, as every client does."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def dead_letters(self, role: str | None, after: int, limit: int) -> list[Task]:
        return (await self._client.dead_letters(role=role, after=after, limit=limit))[0]

    async def tasks(self, state: str | None, role: str | None, before: int | None) -> tuple[list[Task], int | None]:
        return await self._client.tasks(state=state, role=role, before=before, limit=PAGE_TASKS_MAX)

    async def task(self, task_id: int) -> Task | None:
        try:
            return await self._client.task(task_id)
        except NotFound:
            return None

    async def transitions(self, task_id: int) -> list[Transition]:
        return await self._client.transitions(task_id)

    async def redrive(self, ids: Sequence[int] | None) -> list[int]:
        if ids is None:
            return await self._client.redrive_dead_letters(everything=True)
        return [one for some in _batches(ids) for one in await self._client.redrive_dead_letters(some)]

    async def discard(self, ids: Sequence[int]) -> list[int]:
        return [one for some in _batches(ids) for one in await self._client.discard_dead_letters(some)]


def _batches(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[at : at + API_BATCH_TASKS_MAX] for at in range(0, len(ids), API_BATCH_TASKS_MAX)]


def standing_api(environ: Mapping[str, str] = os.environ) -> Api | None:
    """The API that MESHLAB_API names, or that of the `meshlab up` of this user; None: there is none.

    A `meshlab up` that was killed leaves its file behind, so its port is knocked at: this machine answers at once.
    """
    api = find_api(environ)
    if environ.get(API_VARIABLE, "").strip():
        return api
    return api if (state_folder(environ) / "api.json").is_file() and _listens(api.url) else None


def _listens(url: str) -> bool:
    try:
        address = urlsplit(url)
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=KNOCK_S):
            return True
    except (OSError, ValueError):
        return False


def of_api(api: Api) -> LiveDesk:
    """The desk of a standing mesh."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Reader]:
        async with AsyncClient(api.url, token=api.token, retry_for_s=DESK_ANSWER_S_MAX, silent_for_s=0.0) as client:
            yield _Api(client)

    return LiveDesk("mesh", opened, f"the mesh API at {api.url}")


def words_of(value: Any) -> str:
    """A payload or result as JSON for people."""
    return json.dumps(value, indent=1, ensure_ascii=False)


__all__ = ["ALL", "DEAD", "VIEWS", "Desk", "LiveDesk", "Query", "of_api", "of_place", "standing_api", "words_of"]
