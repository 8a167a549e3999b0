"""The live side of a session: `python -m live_backend.session`, started and fed by the app (ui/mesh).

Lines of JSON come in on standard input (start, go, grow, stop), frames go out on standard output, ten a second. When
the input ends, so does this, at once: nothing is saved, no process and no schema stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from lab.errors import LabError, UsageError
from lab.limits import SESSION_END_S_MAX, SESSION_LINE_BYTES_MAX
from lab.record import Record
from lab.scenario import Scenario
from lab.telemetry import Phase, Telemetry
from lab.workload import Plan
from live_backend.ending import end
from live_backend.processes import LocalProcesses
from live_backend.servers import Servers, open_servers

if TYPE_CHECKING:
    from live_backend.session_run import SessionRun

POSTGRES_AWAY: Final = "PostgreSQL is away; nothing is lost, and all goes on when it is back"
REDIS_AWAY: Final = "Redis is away; what it held is put back from PostgreSQL"
DRAINING: Final = "no more tasks come; what has come may end"
NOTHING_CAME: Final = "no task had come, so there is nothing to save"

Message = dict[str, Any]


class Session:
    """One session, from its start line to its record."""

    def __init__(self, start: Message) -> None:
        if start.get("do") != "start":
            raise UsageError(f"the first command must be start, and this is {start.get('do')!r}")
        self._scenario = Scenario.from_data(start["scenario"], base=Path(start["base"]), source="the session")
        self._runs = Path(start["runs"])
        plan = Plan(self._scenario)
        self.view = self._scenario.rules.view
        self._plan, self._telemetry = plan, Telemetry("live", plan)
        self._commands: asyncio.Queue[Message] = asyncio.Queue()
        self._run: SessionRun | None = None
        self._servers: Servers | None = None
        self._note, self._record = "starting PostgreSQL and Redis …", ""
        self._over: Phase | None = None
        self._stopping = asyncio.Event()
        self._stop_at_s = 0.0
        self._sampled = 0

    # -- its life --

    async def play(self) -> None:
        """Servers, workers, the run, the record. Raises LabError if one of them cannot be had."""
        processes = LocalProcesses()
        try:
            await processes.start(self._scenario.mesh.workers)
            # The engine takes a second to load, and so do the servers to start: both at once.
            opening = asyncio.ensure_future(asyncio.to_thread(open_servers))
            engine = await asyncio.to_thread(import_module, "live_backend.session_run")
            servers = self._servers = await opening
            self._run = engine.SessionRun(self._plan, servers, self._telemetry, processes)
            self._note = f"starting {self._scenario.mesh.workers} workers …"
            record = await self._run_to_the_end(self._run)
            if record is not None:
                self._note = "saving the record"
                self._record = str(await asyncio.to_thread(record.save, self._runs / str(record.info["run_id"])))
            self._note = "" if record is not None else NOTHING_CAME
            self._over = "ended"
        finally:
            await processes.close()
            if self._servers is not None:
                await asyncio.to_thread(self._servers.close)

    async def _run_to_the_end(self, run: SessionRun) -> Record | None:
        """The record; None if it was stopped before any task had come."""
        running, stopping = asyncio.ensure_future(run.run()), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not running.done() and not await run.stop(self._stop_at_s):
                return None
            return await running
        finally:
            stopping.cancel()
            run.abandon()
            if not running.done():
                running.cancel()
                await asyncio.wait({running})

    # -- commands --

    def hear(self, line: bytes) -> None:
        """A command has come. What grows stops the old plan at once; the rest happens in order of the commands."""
        message = _read(line)
        run, do = self._run, message.get("do")
        if run is not None and do == "grow":
            run.expect_growth(float(message["from_s"]))
        elif run is not None and do == "stop" and float(message.get("at_s", 0.0)) > run.now_s():
            self._stop_at_s = float(message["at_s"])
            run.expect_growth(self._stop_at_s)
        self._commands.put_nowait(message)

    async def obey_all(self) -> None:
        """Do what is said, one after the other. Raises LabError for what cannot be done."""
        while True:
            message = await self._commands.get()
            do, run = message.get("do"), self._run
            if do == "stop":
                self._note = DRAINING
                self._stopping.set()
                return
            if do == "go" and run is not None:
                run.go(float(message["epoch_s"]))
            elif do == "grow" and run is not None:
                await run.grow(message["scenario"], float(message["from_s"]))
            elif do != "pace":  # the real mesh knows one pace
                raise UsageError(f"{do!r} is no command now: it is {self.phase}; there are go, grow and stop")

    # -- what is told --

    @property
    def phase(self) -> Phase:
        """How far it has come."""
        if self._over is not None:
            return self._over
        if self._run is None or not self._run.ready.is_set():
            return "starting"
        return "running" if self._run.started.is_set() else "ready"

    def fail(self, why: str) -> None:
        """It cannot go on."""
        self._over, self._note = "failed", why

    def frame(self) -> dict[str, Any]:
        """Where it stands: see `lab.telemetry`. `place` says where its data is, and holds passwords."""
        run, telemetry = self._run, self._telemetry
        if run is not None and run.parts is not None:
            samples, producer = run.parts.caretaker.samples, run.parts.producer
            telemetry.samples(samples[self._sampled :])
            self._sampled = len(samples)
            telemetry.admission(producer.arrived, producer.holding, producer.rejected, producer.is_open)
        t_s = max(0.0, run.now_s()) if run is not None else 0.0
        return {**telemetry.frame(t_s, self.phase, self._words()), "record": self._record, **self._place()}

    def _words(self) -> str:
        run = self._run
        if run is None or run.parts is None or self.phase != "running":
            return "" if self.phase == "ready" else self._note
        if run.tail is not None and run.tail.is_away:
            return POSTGRES_AWAY
        if run.parts.caretaker.redis_is_away:
            return REDIS_AWAY
        return self._note if self._stopping.is_set() else ""

    def _place(self) -> dict[str, Any]:
        run, servers = self._run, self._servers
        if run is None or servers is None:
            return {}
        ours = servers.embedded_postgres and servers.embedded_redis
        place = {"dsn": servers.dsn, "redis_url": servers.redis_url, "schema": run.schema, "prefix": run.prefix}
        return {"servers": "embedded" if ours else "yours", "place": place}


def _read(line: bytes) -> Message:
    """A command; what is none has nothing to do."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


# ---- the process -----------------------------------------------------------------------------------------------------


class Teller:
    """Writes frames. In a thread: whoever reads them may be slow, and the mesh must not wait for that."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._one = out, threading.Lock()

    async def tell(self, frame: dict[str, Any]) -> None:
        """Write a frame, and wait until it is written."""
        line = json.dumps(frame, separators=(",", ":"), allow_nan=False) + "\n"
        await asyncio.to_thread(self._write, line)

    def _write(self, line: str) -> None:
        with self._one:
            self._out.write(line)
            self._out.flush()

    async def tell_all(self, session: Session) -> None:
        """A frame every flush, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self.tell(session.frame())
            await asyncio.sleep(max(0.0, began + session.view.flush_s - loop.time()))


async def serve(session: Session, teller: Teller, left: asyncio.Event) -> int:
    """Play a session until it is over, or until it is left. Returns the exit status."""
    playing, obeying, telling = (
        asyncio.ensure_future(work) for work in (session.play(), session.obey_all(), teller.tell_all(session))
    )
    leaving = asyncio.ensure_future(left.wait())
    waiting = {playing, telling, leaving}
    await asyncio.wait({*waiting, obeying}, return_when=asyncio.FIRST_COMPLETED)
    if obeying.done() and obeying.exception() is None:  # it was told to stop
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    errors = [task.exception() for task in (playing, obeying, telling) if task.done() and not task.cancelled()]
    playing.cancel()
    await asyncio.wait({playing}, timeout=SESSION_END_S_MAX)  # cancelled once: what it tidies up must not be cut short
    await end(obeying, telling, leaving)
    error = next((one for one in errors if one is not None), None)
    if error is not None and not isinstance(error, OSError):  # nobody reads the frames: then nobody would read this
        session.fail(_said(error))
    if error is None and session.phase != "ended":
        return 130
    with suppress(OSError):
        await teller.tell(session.frame())
    return 1 if error is not None else 0


def _said(error: BaseException) -> str:
    if isinstance(error, LabError):
        print(error, file=sys.stderr)
        return str(error)
    traceback.print_exception(error)
    return f"the live side met a defect of the lab ({type(error).__name__}); its log says more"


def _listen(loop: asyncio.AbstractEventLoop, session: Session, left: asyncio.Event) -> None:
    """Hand over each line, until there are no more."""
    while line := sys.stdin.buffer.readline(SESSION_LINE_BYTES_MAX):
        loop.call_soon_threadsafe(session.hear, line)
    loop.call_soon_threadsafe(left.set)


async def main(out: IO[str]) -> NoReturn:
    """Be told, play, and leave at once: without waiting for threads, which may read or write for ever."""
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, left.set)
    status = 1
    first = await asyncio.to_thread(sys.stdin.buffer.readline, SESSION_LINE_BYTES_MAX)
    if first:
        try:
            session = await asyncio.to_thread(Session, _read(first))
        except LabError as error:
            print(error, file=sys.stderr)
        else:
            threading.Thread(target=_listen, args=(loop, session, left), daemon=True).start()
            status = await serve(session, Teller(out), left)
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever else prints must not break a frame
    asyncio.run(main(told))
