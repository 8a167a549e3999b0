"""An open-loop load over HTTP, in a process of its own: tasks are due at fixed moments, whatever the answers take.

`python load.py` reads one JSON object from standard input {url, role, rate_per_s, duration_s, batch_s, connections,
first, out} and prints one when all answers are in. `batch_s` 0: one POST /v1/tasks a task; else what has come due in
so many seconds goes into one POST /v1/tasks:batch. `out` gets the ids and the moments at which tasks were due.

A task that is due while all connections wait for answers waits too, and its latency counts from when it was due: no
coordinated omission. Timers are good to a millisecond, which is inside every figure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop

TICK_S = 0.001
ANSWERS_S_MAX = 30.0
"""After the last task was due, all answers are in by then."""
ACCEPTED = (200, 201)


@dataclass
class Request:
    """Tasks that go in one message: their numbers in the load."""

    numbers: range
    sent_s: float = 0.0


@dataclass
class Load:
    """What is to be sent, and what came of it."""

    url: str
    role: str
    rate_per_s: float
    duration_s: float
    batch_s: float
    connections: int
    first: int
    out: str
    due_s: Any = None
    ids: Any = None
    statuses: Counter[int] = field(default_factory=Counter)
    answer_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    refused: str = ""

    def __post_init__(self) -> None:
        count = round(self.rate_per_s * self.duration_s)
        self.due_s = np.arange(count) / self.rate_per_s
        self.ids = np.full(count, -1, np.int64)

    def requests(self) -> list[tuple[float, Request]]:
        """(when it goes, request): a batch goes when its last task is due."""
        count = len(self.due_s)
        size = max(1, round(self.batch_s * self.rate_per_s))
        parts = [range(start, min(start + size, count)) for start in range(0, count, size)]
        return [(float(self.due_s[part[-1]]), Request(part)) for part in parts]

    def message(self, request: Request) -> bytes:
        """The whole HTTP request."""
        tasks = [{"role": self.role, "priority": 3, "payload": self.first + number} for number in request.numbers]
        path, content = ("/v1/tasks:batch", {"tasks": tasks}) if self.batch_s else ("/v1/tasks", tasks[0])
        body = json.dumps(content).encode()
        host = urlsplit(self.url).netloc
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def answered(self, request: Request, status: int, body: bytes) -> None:
        """Note the ids."""
        self.statuses[status] += 1
        if status not in ACCEPTED:
            self.refused = self.refused or body.decode(errors="replace")[:500]
            return
        said = json.loads(body)
        tasks = said["tasks"] if self.batch_s else [said]
        self.ids[request.numbers.start : request.numbers.stop] = [task["id"] for task in tasks]


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for its first request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by descent
        self._fresh()
        self._sender.idle.append(self)

    def _fresh(self) -> None:
        self._parser, self._body = httptools.HttpResponseParser(self), b""

    def send(self, request: Request, message: bytes) -> None:
        """Write it whole."""
        self.request = request
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        request, self.request = self.request, None
        assert request is not None
        status, body = self._parser.get_status_code(), self._body
        self._fresh()
        self._sender.answered(self, request, status, body)

    def connection_lost(self, error: Exception | None) -> None:
        """The server closed it; a request under way is then without an answer."""
        self._sender.lost(self)


class Sender:
    """Sends what is due over whatever connection is idle; what finds none waits its turn."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.idle: deque[Connection] = deque()
        self._waiting: deque[Request] = deque()
        self._open = 0
        self._done = asyncio.Event()

    async def run(self) -> float:
        """Send all. Returns the moment of the load's second 0, s since 1970."""
        loop = asyncio.get_running_loop()
        where = urlsplit(self._load.url)
        for _ in range(self._load.connections):
            await loop.create_connection(lambda: Connection(self), str(where.hostname), int(where.port or 0))
        # Made beforehand: what is timed is the server, not our JSON.
        plan = [(at_s, request, self._load.message(request)) for at_s, request in self._load.requests()]
        self._messages = {id(request): message for _, request, message in plan}
        self._open = len(plan)
        started_s, epoch_s = time.perf_counter() + TICK_S, time.time() + TICK_S
        for at_s, request, _ in plan:
            while (wait_s := started_s + at_s - time.perf_counter()) > 0:
                await asyncio.sleep(max(wait_s, TICK_S))
            self._load.late_s.append(-wait_s)
            request.sent_s = time.perf_counter()  # the loop's own clock is only good to a millisecond
            self._send(request)
        await asyncio.wait_for(self._done.wait(), ANSWERS_S_MAX)
        return epoch_s

    def _send(self, request: Request) -> None:
        if self.idle:
            self.idle.popleft().send(request, self._messages[id(request)])
        else:
            self._waiting.append(request)

    def answered(self, connection: Connection, request: Request, status: int, body: bytes) -> None:
        """Note it, and let the connection have the next."""
        self._load.answer_s.append(time.perf_counter() - request.sent_s)
        self._load.answered(request, status, body)
        self.idle.append(connection)
        if self._waiting:
            self._send(self._waiting.popleft())
        self._one_less()

    def lost(self, connection: Connection) -> None:
        """Nobody will answer what it was asked: status 0."""
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.request is not None:
            self._load.answered(connection.request, 0, b"the connection was closed")
            self._one_less()

    def _one_less(self) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()


def main() -> None:
    """Read, send, write, print."""
    load = Load(**json.loads(sys.stdin.readline()))
    gc.disable()  # a pause of ours would be taken for one of the server's
    epoch_s = uvloop.run(Sender(load).run())
    due_us = ((epoch_s + load.due_s) * 1e6).astype(np.int64)
    np.save(load.out, np.stack([load.ids, due_us]))
    answer, late = np.array(load.answer_s) * 1000, np.array(load.late_s) * 1000
    found = {
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "refused": load.refused,
        "processor_s": time.process_time(),
        "answer_ms": {"p50": float(np.percentile(answer, 50)), "p99": float(np.percentile(answer, 99))},
        "late_ms": {"p50": float(np.percentile(late, 50)), "p99": float(np.percentile(late, 99))},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
