"""The streams of events: Server-Sent Events, and a WebSocket with the same frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, WebSocket
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketState

from lab.errors import Unavailable
from lab.limits import API_AWAY_RETRY_S, FEED_SEND_S_MAX, FEED_STREAMS_MAX
from live_backend.api.body import BIGINT_MAX
from live_backend.api.describing import described
from live_backend.api.problems import Problem
from live_backend.api.services import services
from live_backend.api.tasks import RoleName
from live_backend.feed import Feed, Filter, Frame

router = APIRouter(tags=["events"])

SINCE_CHARS_MAX: Final = 64
GOING_AWAY, TRY_LATER, TAKES_NOTHING = 1001, 1013, 1003
"""Close codes of RFC 6455."""
EVENT: Final = {
    "description": "One event of the stream; `data` is a JSON object on one line.",
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
        "event": {"enum": ["transition", "reset", "missed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
EXAMPLE: Final = (
    "id: 51234-907\nevent: transition\n"
    'data: {"version": 1, "subject": "task/1000017", "task": 1000017, "role": "DEVELOPER", "from": "PENDING", '
    '"to": "RUNNING", "at": "2026-11-21T15:46:15.123456Z", "worker": "host-a1b2.1", "attempt": 1, "token": 1, '
    '"reason": "claimed", "delay_s": 0.0}\n\n'
)
Since = Annotated[
    str | None,
    Query(max_length=SINCE_CHARS_MAX, description="Go on after this event, as the header Last-Event-ID does."),
]
TaskFilter = Annotated[int | None, Query(ge=1, le=BIGINT_MAX, description="Only this task's.")]

Write = Callable[[list[Frame]], Awaitable[None]]


@router.get(
    "/v1/events",
    summary="Events as they happen (Server-Sent Events)",
    description="Each row of the audit log is an event `transition`; its id is `<xid>-<seq>`. A client that comes back "
    "with the last id it saw goes on behind it, without gap or double. `reset`: that is not possible any more; look at "
    "the tasks afresh. `missed`: this reader was too slow, and the feed goes on from now; `from`, `to` and `count` say "
    "what it missed. A comment is sent at least every 15 s.",
    response_class=Response,
    responses={
        200: {
            "description": "A stream that does not end by itself.",
            "content": {"text/event-stream": {"schema": EVENT, "example": EXAMPLE}},
        },
        **described(422, 503),
    },
)
async def stream(
    request: Request, last_event_id: Since = None, task: TaskFilter = None, role: RoleName = None
) -> Response:
    feed = services(request.scope).feed
    if feed.is_full:
        raise _too_many()
    since = request.headers.get("last-event-id", last_event_id)
    return EventStream(feed, since[:SINCE_CHARS_MAX] if since is not None else None, Filter(task, role))


@router.websocket("/v1/ws")
async def socket(
    websocket: WebSocket, last_event_id: Since = None, task: TaskFilter = None, role: RoleName = None
) -> None:
    """The same frames as JSON: {"id", "event", "data"}. Takes nothing: who sends is disconnected."""
    feed = services(websocket.scope).feed
    if feed.is_full:
        await websocket.send_denial_response(_too_many().response())
        return
    await websocket.accept()

    async def write(frames: list[Frame]) -> None:
        for frame in frames:
            if frame.event:
                await websocket.send_text(_as_json(frame))

    code = GOING_AWAY
    try:
        if await _pump(feed, last_event_id, Filter(task, role), write, _heard(websocket)):
            code = TAKES_NOTHING
    except Unavailable:
        code = TRY_LATER
    if websocket.application_state is WebSocketState.CONNECTED:
        with suppress(RuntimeError, WebSocketDisconnect):  # it has gone by itself meanwhile
            await websocket.close(code)


class EventStream(Response):
    """A response that goes on until the reader or the feed has gone."""

    def __init__(self, feed: Feed, since: str | None, only: Filter) -> None:
        self._feed, self._since, self._only = feed, since, only
        self.background = None
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})

        async def write(frames: list[Frame]) -> None:
            text = "".join(map(_as_sse, frames))
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        with suppress(Unavailable):  # the stream ends, and its reader comes again
            await _pump(self._feed, self._since, self._only, write, _gone(receive))
        with suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pump(feed: Feed, since: str | None, only: Filter, write: Write, gone: Coroutine[Any, Any, bool]) -> bool:
    """Frames from the feed to a reader, until either has gone, or the reader takes nothing for too long. Returns what
    `gone` did, or False.
    """
    listening = asyncio.create_task(gone)
    writing = asyncio.create_task(_write_all(feed, since, only, write))
    try:
        await asyncio.wait([listening, writing], return_when=asyncio.FIRST_COMPLETED)
        if writing.done():
            writing.result()
        return listening.result() if listening.done() else False
    finally:
        for task in (listening, writing):
            task.cancel()
        await asyncio.gather(listening, writing, return_exceptions=True)


async def _write_all(feed: Feed, since: str | None, only: Filter, write: Write) -> None:
    with suppress(OSError, TimeoutError, WebSocketDisconnect):  # the reader has gone, or takes nothing any more
        async with aclosing(feed.listen(since, only)) as frames:
            async for several in frames:
                async with asyncio.timeout(FEED_SEND_S_MAX):
                    await write(several)


async def _gone(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        continue
    return False


async def _heard(websocket: WebSocket) -> bool:
    """Whether the reader said something, which it must not, before it went."""
    message = await websocket.receive()
    return bool(message["type"] == "websocket.receive")


def _as_sse(frame: Frame) -> str:
    """Data is JSON without line ends, so nothing in it can pass for a field. Without an event: a comment and the id."""
    if not frame.event:
        return f": still here\nid: {frame.id}\n\n"
    return f"id: {frame.id}\nevent: {frame.event}\ndata: {frame.data}\n\n"


def _as_json(frame: Frame) -> str:
    document: dict[str, Any] = {"id": frame.id, "event": frame.event, "data": json.loads(frame.data)}
    return json.dumps(document)


def _too_many() -> Problem:
    detail = f"{FEED_STREAMS_MAX} streams of events are open, and no more can be. Close one, or come again later."
    return Problem(503, detail, retry_after_s=API_AWAY_RETRY_S)
