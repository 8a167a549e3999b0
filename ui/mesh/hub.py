"""The hub: the one session of the app, its two sides, and everybody who watches.

Lives in the app's event loop. While a session runs it passes on what the sides have told ten times a second; while none
does, nothing of it runs but a word every two seconds for those who watch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.errors import LabError, UsageError
from lab.limits import STREAMS_MAX
from lab.rules.view import ViewRules
from lab.scenario import Scenario
from ui import library
from ui.mesh import sides
from ui.mesh.commands import Chaos, Command, Opening, Pace, RedriveAll, Start, Stop, Stress, Turn
from ui.mesh.script import Script
from ui.mesh.session import Session, idle
from ui.mesh.sides import SideName

SCENARIO = "command_center"
FLUSH_S = ViewRules().flush_s
IDLE_S = 2.0
"""Without a session, those who watch hear something this often."""
NAMES: tuple[SideName, ...] = ("model", "live")

Marks = dict[SideName, int]
Message = dict[str, Any]


class Refused(LabError):
    """A command that does not fit what is going on now: HTTP 409."""


class Viewer:
    """One browser window: from which bin and behind which event on it has to be told."""

    def __init__(self) -> None:
        self.session_id = ""
        self.first: Marks = dict.fromkeys(NAMES, 0)
        self.after: Marks = dict.fromkeys(NAMES, 0)
        self.news = asyncio.Event()
        self.news.set()  # the first message is everything


class Tick:
    """What was passed on last, encoded once for all who are up to date."""

    def __init__(self, session_id: str, first: Marks, after: Marks, upto: Marks) -> None:
        self.session_id, self.first, self.after, self.upto = session_id, first, after, upto
        self.encoded = b""


class Hub:
    """Takes commands, keeps the session, serves viewers. All methods but `place` and `ask` belong to one event loop."""

    def __init__(self, commands: Mapping[SideName, Sequence[str]] | None = None) -> None:
        self._commands = dict(commands or sides.COMMANDS)
        self._serial = itertools.count(int(time.time() * 1_000))
        self._viewers: set[Viewer] = set()
        self._session: Session | None = None
        self._running: asyncio.Task[None] | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._stir = asyncio.Event()
        self._closing = asyncio.Event()
        self._idle: Message | None = None
        self._tick = Tick("", *(dict.fromkeys(NAMES, 0) for _ in range(3)))

    # -- commands --

    async def command(self, command: Command) -> Message:
        """Do what somebody asked for; returns the session as it is then. Raises Refused or UsageError with words."""
        if self._closing.is_set():
            raise Refused("The app is ending; nothing was done.")
        session = self._session if self._session is not None and self._session.is_on else None
        match command:
            case Start():
                await self._start(command, session)
            case Stress() if session is None and command.on:
                await self._start(Start(do="start", first=Opening(stress=command.wish)), None)
            case _ if session is None:
                raise Refused("No session is running. Press “Send 500 tasks” to begin one.")
            case Stop():
                session.stop("Stopped by hand.")
            case Stress() | Turn() | Chaos() | Pace() | RedriveAll():
                self._steer(session, command)
        self._stirred()
        return self.session_told()

    def ask(self, command: Command, within_s: float) -> None:
        """The same for other pages of the app, from any thread. Raises TimeoutError if it is not done in time."""
        running = self._running
        if running is None or running.done():
            raise Refused("The session is over, and its dead letters went with it; its record has them.")
        asyncio.run_coroutine_threadsafe(self.command(command), running.get_loop()).result(within_s)

    def _steer(self, session: Session, command: Stress | Turn | Chaos | Pace | RedriveAll) -> None:
        if not session.is_open:
            raise Refused("The session is just being stopped and saved. Begin another in a moment.")
        if isinstance(command, Chaos) and not session.can[command.what]:
            raise Refused(session.why_not(command.what))
        session.steer(command)

    async def _start(self, command: Start, session: Session | None) -> None:
        if session is not None:
            raise Refused("A session is running already; everybody watches the same. Stop it first.")
        base = await asyncio.to_thread(_shipped, command.scenario or SCENARIO)
        if self._session is not None and self._session.is_on:  # somebody else was quicker meanwhile
            raise Refused("A session has just been started; you are watching it.")
        first = command.first.stress if command.first else None
        self._session = session = Session(base, first, live=command.live, commands=self._commands)
        self._running = asyncio.get_running_loop().create_task(self._play(session), name="mesh-session")

    async def _play(self, session: Session) -> None:
        try:
            await session.play(lambda: bool(self._viewers))
        finally:
            self._stirred()

    # -- viewers --

    @property
    def is_full(self) -> bool:
        """Whether nobody else may watch."""
        return len(self._viewers) >= STREAMS_MAX

    @property
    def closing(self) -> asyncio.Event:
        """Set when the app ends: streams end then."""
        return self._closing

    @contextlib.contextmanager
    def watching(self) -> Iterator[Viewer]:
        """A new viewer, for as long as it watches."""
        viewer = Viewer()
        self._viewers.add(viewer)
        self._stirred()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)
            self._stir.set()

    def take(self, viewer: Viewer) -> bytes:
        """The newest message for a viewer: what it has missed is in it, in one."""
        tick, session_id = self._tick, self._session_id
        viewer.news.clear()
        if viewer.session_id != session_id:
            viewer.first, viewer.after = dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0)
        up_to_date = tick.encoded and (tick.session_id, tick.first, tick.after) == (
            viewer.session_id,
            viewer.first,
            viewer.after,
        )
        upto = tick.upto if tick.session_id == session_id else dict.fromkeys(NAMES, 0)
        encoded = tick.encoded if up_to_date else _encoded(self._message(viewer.first, viewer.after, upto))
        viewer.session_id, viewer.after, viewer.first = session_id, dict(upto), dict.fromkeys(NAMES, _NONE)
        return encoded

    def state(self) -> Message:
        """Everything, as the first message of a connection has it."""
        return self._message(dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES, 0), None)

    def _message(self, first: Marks, after: Marks, upto: Marks | None) -> Message:
        frames: dict[str, Any] = {name: None for name in NAMES}
        for name, side in self._sides.items():
            frames[name] = side.history.since(first[name], after[name], upto[name] if upto is not None else None)
        at_ms = int(time.time() * 1_000)
        return {"n": next(self._serial), "at": at_ms, "session": self.session_told(), **frames}

    @property
    def _sides(self) -> Mapping[SideName, sides.Side]:
        return self._session.sides if self._session is not None else {}

    @property
    def _session_id(self) -> str:
        return self._session.id if self._session is not None else ""

    # -- passing on --

    def _stirred(self) -> None:
        """Something has changed: whoever watches is told soon."""
        self._stir.set()
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.get_running_loop().create_task(self._pass_on(), name="mesh-ticker")

    async def _pass_on(self) -> None:
        """Ten times a second while a session is on, else when something changes, for as long as somebody watches."""
        while (self._viewers or self._is_on) and not self._closing.is_set():
            began_s = time.monotonic()
            self._publish()
            if self._is_on:
                await asyncio.sleep(max(0.0, began_s + FLUSH_S - time.monotonic()))
                continue
            self._stir.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), IDLE_S)

    @property
    def _is_on(self) -> bool:
        return self._session is not None and self._session.is_on

    def _publish(self) -> None:
        """Make the next message, and wake all viewers."""
        last, session_id = self._tick, self._session_id
        after = dict(last.upto) if last.session_id == session_id else dict.fromkeys(NAMES, 0)
        first: Marks = dict.fromkeys(NAMES, _NONE)
        upto: Marks = dict.fromkeys(NAMES, 0)
        for name, side in self._sides.items():
            first[name], upto[name] = side.changed_from if side.fresh else _NONE, side.history.last_event
            side.told()
        self._tick = Tick(session_id, first, after, upto)
        if not self._viewers:
            return
        self._tick.encoded = _encoded(self._message(first, after, upto))
        for viewer in self._viewers:
            viewer.first = {name: min(viewer.first[name], first[name]) for name in NAMES}
            viewer.news.set()

    # -- what is known --

    def session_told(self) -> Message:
        """The session as browsers see it."""
        if self._session is not None:
            return self._session.told()
        if self._idle is None:
            self._idle = idle(_shipped(SCENARIO))
        return self._idle

    @property
    def script(self) -> Script | None:
        """What has been done in the present or last session; None if there has been none."""
        return self._session.script if self._session is not None else None

    def place(self) -> dict[str, str] | None:
        """Where the live side of the running session keeps its tasks (dsn, redis_url, schema, prefix). For other pages
        of the app, from any thread; never for a browser.
        """
        session = self._session
        live = session.sides.get("live") if session is not None and session.is_on else None
        return live.place if live is not None else None

    # -- the end --

    def leave(self) -> None:
        """The app is about to end: streams end now, so that the server need not wait for them, and so do the sides."""
        self._closing.set()
        for side in self._sides.values():
            side.hang_up()
        for viewer in self._viewers:
            viewer.news.set()

    async def close(self) -> None:
        """End everything that was started."""
        self.leave()
        for task in (self._running, self._ticker):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


_NONE = 1 << 60
"""Behind all bins: nothing to tell."""


def _shipped(name: str) -> Scenario:
    """A shipped scenario. Raises UsageError if there is none of that name, ScenarioError if it is damaged."""
    found = library.shipped().get(name)
    if found is None:
        raise UsageError(f"There is no scenario {name!r} among the shipped ones.")
    return library.load(found.text, found.path.name)


def _encoded(message: Message) -> bytes:
    """As an event of the stream."""
    return b"event: frame\ndata: " + json.dumps(message, separators=(",", ":")).encode() + b"\n\n"
