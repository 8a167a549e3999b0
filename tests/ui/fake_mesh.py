"""A stand-in for the app's hub: the panel's page, its assets, a stream of frames from two `FakeSide`s, and commands.

The frames are `lab.telemetry`'s own. It is the fixture of the panel's tests, and what benchmarks/browser.py measures.
To look at the panel: `python -m tests.ui.fake_mesh`, then open the address it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from lab.record import now
from lab.scenario import Scenario
from lab.telemetry import Moved
from lab.workload import Plan
from tests.ui.fake_side import COMPLETED, DEAD, FakeSide
from ui import panel

ASSETS = Path(panel.__file__).parent / "assets"
FLUSH_S = 0.1
LAGS_KEPT = 50
BIN_COLUMNS = ("throughput", "p50", "p95", "depth", "rss", "retries")
ROLES = ("ARCHITECT", "DEVELOPER", "QA_ENGINEER")
CHAOS = ("kill_worker", "pause_worker", "slow_provider", "fail_role", "wipe_redis", "restart_postgres")
FAULTS = {"slow_provider": "slow_service", "wipe_redis": "redis_flush", "restart_postgres": "postgres_restart"}
LIMITS = {
    "rate": [0, 100, 1],
    "workers": [1, 16, 1],
    "slots": [1, 32, 1],
    "failure_rate": [0, 0.9, 0.01],
    "retry_base_s": [0.1, 10, 0.1],
    "rss_limit_mib": [128, 1024, 16],
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Mesh</title>
<link rel="icon" href="data:,">
<style>
:root { --st-background-color: #fff; --st-text-color: #31333f; --st-font: "Source Sans", system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { :root { --st-background-color: #0e1117; --st-text-color: #fafafa; } }
body { margin: 0; padding: 68px 20px 16px; background: var(--st-background-color); color: var(--st-text-color); }
</style><div id="place"></div>
<script type="module">
import { mount } from "/lab/assets/panel.js";
const place = document.querySelector("#place").attachShadow({ mode: "open" });
window.panel = mount(place, DATA);
</script></html>"""


@dataclass
class FakeMesh:
    """What the fake does. `roles`: their names, hostile ones too; `steady_per_s`: a load from the start."""

    roles: tuple[str, ...] = ROLES
    service_s: float = 0.6
    slots: int = 8
    steady_per_s: float = 0.0
    until_s: float = 1_800.0
    immediate: bool = False
    """A message for each transition, and a paint for each message: the way not to do it."""
    session: dict[str, Any] = field(default_factory=dict)
    sides: dict[str, FakeSide] = field(default_factory=dict)
    commands: list[dict[str, Any]] = field(default_factory=list)
    flushed: dict[int, list[float]] = field(default_factory=dict)
    """By message: moments (epoch, ms) of transitions that it was the first to tell: every one, or every so many."""
    play_s: float = 0.0
    """Processor time that the fake sides took."""
    events: int = 0
    """Transitions so far, of both."""
    overrule: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Changes a message before it is sent: for tests of what a panel must not believe."""

    def __post_init__(self) -> None:
        self._n = 0
        self._readers: set[asyncio.Queue[str]] = set()
        self._past: dict[str, dict[str, Any]] = {}
        self._entries: list[dict[str, Any]] = []
        self._epoch_s = 0.0
        self._wake = asyncio.Event()
        self._rest()

    def _rest(self) -> None:
        knobs = {"rate": 5, "workers": 3, "slots": self.slots, "failure_rate": 0.05, "retry_base_s": 0.5}
        self.session = {
            "id": "",
            "state": "idle",
            "message": "",
            "scenario": "command-center",
            "t": 0.0,
            "started_at": "",
            "live": True,
            "servers": "none",
            "knobs": {**knobs, "rss_limit_mib": 512},
            "limits": LIMITS,
            "roles": list(self.roles),
            "stress": {"on": False, "mode": "burst", "count": 500, "rate_per_s": 50},
            "pace": 1,
            "can": dict.fromkeys(CHAOS, True),
            "records": [],
            "speed_limit": "This machine can hold about 60 tasks/s of this scenario.",
        }

    # -- the session --

    def start(self, entries: list[dict[str, Any]]) -> None:
        """Begin, with these arrivals."""
        self._entries = entries
        plan = self._plan()
        shape = {"service_s": self.service_s, "workers": 3, "slots": self.slots}
        self.sides = {
            "model": FakeSide("model", plan, seed=1, **shape),  # type: ignore[arg-type]
            "live": FakeSide("live", plan, seed=2, **shape),  # type: ignore[arg-type]
        }
        self._past, self._epoch_s = {}, time.time()
        started = now().isoformat()
        self.session.update(id=f"s{time.time_ns()}", state="running", t=0.0, started_at=started, records=[])
        self._wake.set()

    def _plan(self) -> Plan:
        roles = {name: {"service": {"dist": "constant", "mean_s": 1.0}, "memory_mib": 20} for name in self.roles}
        arrivals = {"kind": "schedule", "until_s": self.until_s, "entries": self._entries}
        workload = {"arrivals": arrivals, "roles": roles}
        mesh = {"workers": 3, "slots": self.slots}
        return Plan(Scenario.from_data({"name": "fake", "seed": 7, "workload": workload, "mesh": mesh}))

    @property
    def now_s(self) -> float:
        """Seconds of the session."""
        return time.time() - self._epoch_s

    def do(self, command: dict[str, Any]) -> str:
        """Carry a command out; returns why not, if not."""
        self.commands.append(command)
        what, running = command["do"], self.session["state"] == "running"
        if what == "stress":
            self._stress(command, running)
        elif what == "start" and command.get("first"):
            self._stress(command["first"]["stress"], False)
        elif what == "start":
            self.start([{"at_s": 0.0, "rate_per_s": 5}])
        elif not running:
            return f"There is no session for '{what}'. Start one: send 500 tasks."
        elif what == "stop":
            self.session.update(state="ended", message="Saved.", records=["fake-sim-1", "fake-live-1"])
        elif what == "knob":
            self.session["knobs"][command["knob"]] = command["value"]
        elif what == "pace":
            self.session["pace"] = command["speed"]
        elif what == "chaos":
            self._strike(command)
        return ""

    def _stress(self, command: dict[str, Any], running: bool) -> None:
        self.session["stress"] = {key: command[key] for key in ("on", "mode", "count", "rate_per_s")}
        at_s = round(self.now_s + 0.3, 3) if running else 0.3
        rate = command["rate_per_s"] if command["on"] and command["mode"] == "hold" else self.session["knobs"]["rate"]
        entries: list[dict[str, Any]] = [{"at_s": at_s, "rate_per_s": rate}]
        if command["on"] and command["mode"] == "burst":
            entries.insert(0, {"at_s": at_s, "count": command["count"]})
        if not running:
            self.start(entries)
            return
        self._entries += entries
        plan = self._plan()
        for side in self.sides.values():
            side.grow(plan)

    def _strike(self, command: dict[str, Any]) -> None:
        what = command["what"]
        for side in self.sides.values():
            if what == "kill_worker":
                side.kill(self.now_s, command.get("worker") or 0)
            elif what == "pause_worker":
                side.fault(self.now_s, f"pause_worker worker {command.get('worker') or 0}")
            elif what == "fail_role":
                side.fault(self.now_s, f"role_outage role {command['role']}")
            else:
                side.fault(self.now_s, FAULTS[what])

    # -- the stream --

    async def run(self) -> None:
        """Ten messages a second, and one every two seconds while nothing runs."""
        if self.steady_per_s:
            self._n += 1
            self.start([{"at_s": 1.0, "rate_per_s": self.steady_per_s}])
        began_s, ticks = time.monotonic(), 0
        while True:
            if self.session["state"] == "running":
                await (self._each() if self.immediate else self._flush())
                ticks += 1
                await asyncio.sleep(max(0.0, began_s + ticks * FLUSH_S - time.monotonic()))
                continue
            self._send({})
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 2.0)
            began_s, ticks = time.monotonic(), 0

    async def _flush(self) -> None:
        t_s = self.session["t"] = round(self.now_s, 3)
        told = []
        for side in self.sides.values():
            moves = self._played(side, t_s)
            side.telemetry.moves(moves)
            told += [move.t_s for move in moves]
        self._send({name: side.telemetry.frame(t_s, "running") for name, side in self.sides.items()}, told)

    async def _each(self) -> None:
        """A message for every transition, each with the whole frame, as it happens."""
        t_s = self.session["t"] = round(self.now_s, 3)
        for name, side in self.sides.items():
            for move in self._played(side, t_s):
                side.telemetry.moves([move])
                frames = {
                    **{other: one for other, one in self._last.items()},
                    name: side.telemetry.frame(t_s, "running"),
                }
                self._send(frames, [move.t_s])
                await asyncio.sleep(0)

    def _played(self, side: FakeSide, t_s: float) -> list[Moved]:
        """What a side does up to a moment. It costs processor time that a real app's process does not have to spend."""
        began_s = time.process_time()
        moves = side.step(t_s)
        self.play_s += time.process_time() - began_s
        self.events += len(moves)
        return moves

    @property
    def _last(self) -> dict[str, dict[str, Any]]:
        return {name: {**frame, "events": []} for name, frame in self._past.items()}

    def _send(self, frames: dict[str, dict[str, Any]], told: list[float] | None = None) -> None:
        for name, frame in frames.items():
            self._remember(name, frame)
        self._n += 1
        few = (told or [])[:: 1 + len(told or ()) // LAGS_KEPT]
        self.flushed[self._n] = [round(1000 * (self._epoch_s + t_s), 1) for t_s in few]
        data = self._encoded(frames)
        for reader in self._readers:
            while reader.full():
                reader.get_nowait()  # a slow reader gets the newest, never a backlog
            reader.put_nowait(data)

    def _remember(self, name: str, frame: dict[str, Any]) -> None:
        past = self._past.get(name)
        bins, first = frame["bins"], frame["bins"]["first"]
        known = past["bins"] if past else {column: [] for column in BIN_COLUMNS}
        merged = {column: known[column][:first] + bins[column] for column in BIN_COLUMNS}
        events = (past["events"] if past else []) + frame["events"]
        self._past[name] = {**frame, "bins": {**bins, "first": 0, **merged}, "events": events[-50:]}

    def _encoded(self, frames: dict[str, dict[str, Any]]) -> str:
        sides = {name: frames.get(name) for name in ("model", "live")}
        message = {"n": self._n, "at": round(time.time() * 1000), "session": self.session, **sides}
        if self.overrule is not None:
            message = self.overrule(copy.deepcopy(message))
        return f"event: frame\ndata: {json.dumps(message, separators=(',', ':'))}\n\n"

    async def stream(self, request: Request) -> Response:
        """GET /lab/mesh/stream."""

        async def messages() -> AsyncIterator[str]:
            queue: asyncio.Queue[str] = asyncio.Queue(2_000 if self.immediate else 1)
            self._readers.add(queue)
            try:
                yield "retry: 300\n\n" + self._encoded(self._past)
                while True:
                    yield await queue.get()
            finally:
                self._readers.discard(queue)

        return StreamingResponse(messages(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def command(self, request: Request) -> Response:
        """POST /lab/mesh/command."""
        refused = self.do(await request.json())
        if refused:
            return JSONResponse({"error": refused}, status_code=409)
        return JSONResponse({"ok": True, "session": self.session})

    async def page(self, request: Request) -> Response:
        """The page that mounts the panel."""
        data = {"colours": panel.colours(), "measure": True, "immediate": self.immediate}
        return HTMLResponse(PAGE.replace("DATA", json.dumps(data)))

    async def asset(self, request: Request) -> Response:
        """GET /lab/assets/{file}."""
        file = ASSETS / Path(request.path_params["file"]).name
        return (
            FileResponse(file, headers={"Cache-Control": "no-cache"}) if file.is_file() else Response(status_code=404)
        )

    def app(self) -> Starlette:
        """The ASGI application; it runs the fake mesh as long as it lives."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            running = asyncio.create_task(self.run())
            yield
            running.cancel()

        return Starlette(routes=[Route("/", self.page), *self.routes()], lifespan=lifespan)

    def routes(self) -> list[Route]:
        """The routes of the app's own origin that the panel uses, and one for those who check it."""
        return [
            Route("/lab/mesh/stream", self.stream),
            Route("/lab/mesh/command", self.command, methods=["POST"]),
            Route("/lab/assets/{file}", self.asset),
            Route("/truth", self.truth),
            Route("/play", self.played),
        ]

    async def played(self, request: Request) -> Response:
        """How much processor time the fake sides took, in seconds, and how far the session is."""
        return JSONResponse({"play_s": self.play_s, "events": self.events, "over": self._is_over})

    @property
    def _is_over(self) -> bool:
        """Whether nothing will happen any more."""
        sides = self.sides.values()
        return all(
            len(side.truth) == side.plan.count and set(side.truth.values()) <= {COMPLETED, DEAD} for side in sides
        )

    async def truth(self, request: Request) -> Response:
        """What was told, for those who check what is shown: last states, and when what was told."""
        roles = {name: side.plan.role.tolist() for name, side in self.sides.items()}
        states = {name: side.truth for name, side in self.sides.items()}
        return JSONResponse({"states": states, "roles": roles, "flushed": self.flushed})


def serve(mesh: FakeMesh, port: int, kind: Literal["info", "critical"] = "critical") -> uvicorn.Server:
    """A server for it, on loopback; `.run()` it. Open streams do not keep it from ending."""
    config = uvicorn.Config(mesh.app(), "127.0.0.1", port, log_level=kind, timeout_graceful_shutdown=0)
    return uvicorn.Server(config)


if __name__ == "__main__":
    serve(FakeMesh(), 0, "info").run()
