"""How the command center keeps up in a real browser: with frames, and with a message and a redraw for every event.

    .venv/bin/python benchmarks/browser.py                   # six rows, a minute each
    .venv/bin/python benchmarks/browser.py --minutes 5       # the heap over five minutes
    .venv/bin/python benchmarks/browser.py --seconds 15 --rates 1000 --only frames

Two fake sides (tests/ui/fake_mesh.py) make the events; from there on all is the app's own: lab.telemetry folds them, a
message a flush goes by server-sent events to the panel in a headless Chromium, drawn by software. Without batching
(`each`) every event is a message with a frame of its own, painted as it comes.

- paints/s: paints of the panel. idle: 1 − the share of time that the renderer's main thread spent in tasks, by a trace
  of 4 s (its own cost included); the same in processor time, which other programs on the machine do not change; and by
  Chromium's own sum over the run (TaskDuration).
- lag: from an event's moment until the frame with it is drawn, so up to 100 ms of it are the flush. (In High Traffic
  Mode the cards of the two sides take turns: one side's may be drawn a paint later than its counts and curves.)
- heap: growth of what JavaScript holds, after a collection at both ends. nodes: of the document, at the end.
- server: processor time of the app's process without the fakes' own, in % of one core.
- applied: after the load is over, every count and every card shown is what the events say.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright  # noqa: E402
from playwright.sync_api import Error as BrowserError  # noqa: E402

from lab.limits import MIB  # noqa: E402
from tests.ui.fake_mesh import FakeMesh, serve  # noqa: E402

RATES = (750, 1_000, 10_000)
MOVES_PER_TASK = 3.16
"""Submitted, claimed, ended; and of 5 % of the attempts a failure, a wait and another claim."""
UTILISATION, SLOTS = 0.7, 24
WARM_S, TRACE_S, DRAIN_S = 3.0, 4.0, 60.0
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-quic"]
QUIET = {"do": "stress", "on": False, "mode": "hold", "count": 1, "rate_per_s": 0}
SHOWN = """() => ({
  sides: Object.fromEntries(["model", "live"].map((side) => [side, panel.state[side].roles.map((role) =>
    ({ pending: role.pending, running: role.running, completed: role.completed, dead: role.dead }))])),
  cards: ["model", "live"].flatMap((side) => [...panel.root.querySelectorAll(`.zone.${side} .card`)].map((card) =>
    [side, card.shown.id, card.dataset.s, card.textContent])),
})"""


class Row(NamedTuple):
    """What was measured of one way at one rate; None where the page did not answer."""

    way: str
    wanted_per_s: int
    events_per_s: float
    paints_per_s: float | None
    trace_idle: float
    processor_idle: float
    task_idle: float | None
    lag_p50_ms: float | None
    lag_p95_ms: float | None
    heap_growth_mib: float | None
    nodes: float | None
    server: float
    applied: str


HEADINGS = (
    *("", "wanted/s", "events/s", "paints/s", "idle % (trace)", "(processor)", "(tasks)", "lag p50 ms", "lag p95 ms"),
    *("heap + MiB", "nodes", "server %", "applied"),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each row is measured (60)")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, help="events a second, both sides together")
    parser.add_argument("--only", choices=("frames", "each"), help="only one of the two ways")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        serve(_mesh(**json.loads(wanted.serve)), json.loads(wanted.serve)["port"]).run()
        return
    seconds = 60 * wanted.minutes if wanted.minutes else wanted.seconds
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS), flush=True)
    for way in [wanted.only] if wanted.only else ["frames", "each"]:
        for rate in wanted.rates:
            print(_line(measure(way, rate, seconds if way == "frames" else min(seconds, 20.0))), flush=True)


def _mesh(rate: float, seconds: float, each: bool, port: int) -> FakeMesh:
    tasks_per_s = rate / 2 / MOVES_PER_TASK
    return FakeMesh(
        slots=SLOTS // 3,
        service_s=UTILISATION * SLOTS / tasks_per_s,
        steady_per_s=tasks_per_s,
        until_s=seconds,
        immediate=each,
    )


def _line(row: Row) -> str:
    def shown(value: Any) -> str:
        return "–" if value is None else value if isinstance(value, str) else f"{value:,.{1 if value < 100 else 0}f}"

    return "| " + " | ".join(shown(value) for value in row) + " |"


def measure(way: str, rate: int, seconds: float) -> Row:
    """One row: a server and a browser of its own."""
    with _server(rate, 1.5 * seconds + 60, way == "each") as (address, process), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            return _measured(browser, address, psutil.Process(process), way, rate, seconds)
        finally:
            browser.close()


@contextlib.contextmanager
def _server(rate: int, load_s: float, each: bool) -> Iterator[tuple[str, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shape = json.dumps({"rate": rate, "seconds": load_s, "each": each, "port": port})
    process = subprocess.Popen([sys.executable, __file__, "--serve", shape])
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                _get(address + "/play")
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=DRAIN_S) as answer:
        return json.load(answer)


def _post(url: str, data: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(data).encode(), headers), timeout=DRAIN_S):
        pass


def _measured(browser: Browser, address: str, server: psutil.Process, way: str, rate: int, seconds: float) -> Row:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.goto(address)
    page.wait_for_function("window.panel && panel.stats.paints > 3")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    time.sleep(WARM_S)
    before, began = _now(devtools, way), _server_now(address, server)
    began_s, from_ms = time.monotonic(), 1000 * time.time()
    time.sleep(seconds)
    to_ms = 1000 * time.time()
    after, ended = _now(devtools, way), _server_now(address, server)
    wall_s = time.monotonic() - began_s
    idle = _traced_idle(browser, page)
    events_per_s = (ended["events"] - began["events"]) / wall_s
    own_s = (ended["cpu_s"] - began["cpu_s"]) - (ended["play_s"] - began["play_s"])
    found = _paints(page, address, from_ms, to_ms)
    both = before is not None and after is not None
    return Row(
        way,
        rate,
        events_per_s,
        found["paints_per_s"] if found else None,
        *idle,
        100 * (1 - (after["TaskDuration"] - before["TaskDuration"]) / wall_s) if both else None,
        found["p50"] if found else None,
        found["p95"] if found else None,
        (after["JSHeapUsedSize"] - before["JSHeapUsedSize"]) / MIB if both else None,
        after["Nodes"] if after is not None else None,
        100 * own_s / wall_s,
        _applied(page, address) if found else "the page does not answer",
    )


def _now(devtools: CDPSession, way: str) -> dict[str, float]:
    """Chromium's own figures, after a collection. A page that redraws for every event does not answer: then nothing."""
    if way == "each":
        return None  # type: ignore[return-value]
    devtools.send("HeapProfiler.collectGarbage")
    return {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}


def _server_now(address: str, server: psutil.Process) -> dict[str, float]:
    spent = server.cpu_times()
    return {**_get(address + "/play"), "cpu_s": spent.user + spent.system}


def _traced_idle(browser: Browser, page: Page) -> tuple[float, float]:
    """% of the time that the renderer's main thread spent in no task: by the wall clock, and by the processor's."""
    browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline", "__metadata"])
    time.sleep(TRACE_S)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    mains = {
        (one["pid"], one["tid"])
        for one in events
        if one["name"] == "thread_name" and one["args"].get("name") == "CrRendererMain"
    }
    tasks = [one for one in events if one["name"] == "RunTask" and (one["pid"], one["tid"]) in mains and "dur" in one]
    span_us = max(one["ts"] + one["dur"] for one in tasks) - min(one["ts"] for one in tasks)

    def idle(clock: str) -> float:
        busy_us: Counter[tuple[int, int]] = Counter()
        for one in tasks:
            busy_us[one["pid"], one["tid"]] += one.get(clock, 0)
        return max(0.0, 100 * (1 - max(busy_us.values()) / span_us))

    return idle("dur"), idle("tdur")


def _paints(page: Page, address: str, from_ms: float, to_ms: float) -> dict[str, float] | None:
    """End the load; then the rate of the paints, and the lag of the events. None if the page does not come back."""
    for command in ({"do": "knob", "knob": "rate", "value": 0}, QUIET):
        _post(address + "/lab/mesh/command", command)
    deadline = time.monotonic() + DRAIN_S
    while not _get(address + "/play")["over"] and time.monotonic() < deadline:
        time.sleep(0.5)
    try:
        page.wait_for_function("Date.now() - panel.state.at < 5000", timeout=1000 * DRAIN_S)
        painted = page.evaluate("panel.stats.painted")
    except BrowserError:
        return None
    flushed = {int(n): moments for n, moments in _get(address + "/truth")["flushed"].items()}
    lags, told, paints = [], painted[0][0], 0
    for n, at_ms in painted:
        new, told = range(told + 1, n + 1), max(told, n)
        if from_ms <= at_ms <= to_ms:
            paints += 1
            lags += [at_ms - moment for one in new for moment in flushed.get(one, ())]
    if len(lags) < 20:
        return None
    percentiles = statistics.quantiles(lags, n=20)
    return {"paints_per_s": 1000 * paints / (to_ms - from_ms), "p50": percentiles[9], "p95": percentiles[18]}


def _applied(page: Page, address: str) -> str:
    """Whether what is shown at the end is what the events said."""
    truth, shown = _get(address + "/truth"), page.evaluate(SHOWN)
    wrong = 0
    for side, roles in shown["sides"].items():
        told = Counter((truth["roles"][side][int(task)], state) for task, state in truth["states"][side].items())
        for index, role in enumerate(roles):
            found = {name: told[index, state] for name, state in STATES.items()}
            wrong += sum(role[name] != count for name, count in found.items())
    for side, task, state, text in shown["cards"]:
        wrong += truth["states"][side].get(str(task)) != state or not re.fullmatch(rf"\S {task}[⁰-⁹¹²³]?", text)
    tasks = sum(map(len, truth["states"].values()))
    return f"all ({tasks:,} tasks)" if not wrong else f"{wrong} wrong"


STATES = {"pending": "PENDING", "running": "RUNNING", "completed": "COMPLETED", "dead": "PERMANENT_FAILURE"}

if __name__ == "__main__":
    main()
