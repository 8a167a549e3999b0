"""A mesh whose tables a test can write to, an API process in front of it, and readers of streams."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import httpx
import psycopg
import redis
import uvicorn
from psycopg import sql
from psycopg.types.json import Json

from lab import Scenario
from lab.rules.priority import DEAD_LETTERS, QUEUES
from live_backend.api.__main__ import configured, listening_socket
from live_backend.api.app import create_app
from live_backend.api.settings import Settings
from live_backend.broker import RETRIES
from live_backend.database import options
from live_backend.servers import Servers
from tests.live.helpers import eventually

EMPTY = """
delete from task; delete from transition; delete from worker; delete from note; delete from payload;
delete from result; delete from failure; delete from dead_letter; delete from submission_key; delete from straggler"""


@dataclass
class Mesh:
    """A standing mesh without processes: its tables, its queues."""

    servers: Servers
    schema: str
    prefix: str

    @cached_property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        """To its tables."""
        return psycopg.connect(self.servers.dsn, autocommit=True, options=options(self.schema))

    @cached_property
    def redis(self) -> redis.Redis:
        """To its queues."""
        return redis.Redis.from_url(self.servers.redis_url, decode_responses=True)

    def settings(self, **values: Any) -> Settings:
        """What an API process in front of it is told."""
        base = Settings(self.servers.dsn, self.servers.redis_url, schema=self.schema, prefix=self.prefix)
        return replace(base, **values)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """What is really in the tables."""
        cursor = self.connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []

    def execute(self, query: str, *values: Any) -> None:
        """Do something to the tables behind the API's back."""
        self.rows(query, *values)

    def publish(self, scenario: Scenario) -> None:
        """Say what the mesh is."""
        self.execute(
            "insert into mesh (scenario, base) values (%s, '.') on conflict (one) do update"
            " set scenario = excluded.scenario, changed_at = now()",
            Json(scenario.data),
        )

    def empty(self) -> None:
        """No tasks, no workers, no queues."""
        self.execute(EMPTY)
        self.redis.delete(*(self.prefix + name for name in (*QUEUES, DEAD_LETTERS, RETRIES)))

    def queue(self, name: str) -> list[int]:
        """The ids in a queue."""
        return [int(task) for task in self.redis.lrange(self.prefix + name, 0, -1)]

    def state(self, task: int) -> str:
        """The state of a task."""
        return str(self.rows("select state from task where id = %s", task)[0][0])

    def add(self, task: int, state: str = "PENDING", role: str = "DEVELOPER", **columns: Any) -> int:
        """A task that came here by itself, with a row of the audit log."""
        values = {"id": task, "role": role, "priority": 3, "class": 0, "state": state, **columns}
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        query = sql.SQL("insert into task ({}) values ({})").format(
            names, sql.SQL(", ").join([sql.Placeholder()] * len(values))
        )
        self.execute(query, *values.values())  # type: ignore[arg-type]
        self.log(task, "", "PENDING", "submitted")
        if state == "PERMANENT_FAILURE":
            self.execute("insert into dead_letter (task) values (%s)", task)
        return task

    def log(self, task: int, start: str, end: str, reason: str) -> None:
        """A row of the audit log."""
        self.execute(
            "insert into transition (task, from_state, to_state, attempt, token, reason) values (%s, %s, %s, 0, 0, %s)",
            task,
            start,
            end,
            reason,
        )


class Api:
    """An API in front of a mesh, in a process of its own or in a thread of this one."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.settings, self.port, self.url = settings, port, f"http://127.0.0.1:{port}"
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def submit(self, **task: Any) -> dict[str, Any]:
        """Submit a task, and see it accepted."""
        answer = self.http.post("/v1/tasks", json={"role": "DEVELOPER", **task})
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    @contextmanager
    def events(self, **parameters: Any) -> Iterator[Iterator[Event]]:
        """A stream of events. Heartbeats are events without a kind."""
        headers = {"Last-Event-ID": parameters.pop("since")} if "since" in parameters else {}
        with self.http.stream("GET", "/v1/events", params=parameters, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            yield parsed(answer.iter_lines())


class ApiProcess(Api):
    """Started as the supervisor would. Nothing but one line may be said on its standard output, and no stack trace."""

    def __init__(self, settings: Settings) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "live_backend.api"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(settings.to_line())
        self.process.stdin.flush()
        said = self.process.stdout.readline()
        assert said, self.process.communicate()[1]
        super().__init__(settings, json.loads(said)["port"])

    def end(self) -> tuple[int, str]:
        """Its exit status, and what it wrote on standard error."""
        self.http.close()
        said, complaints = self.process.communicate(timeout=60)
        assert said == "" and "Traceback" not in complaints, (said, complaints)
        return self.process.returncode, complaints


@contextmanager
def process(settings: Settings) -> Iterator[ApiProcess]:
    """A process that is asked to leave at the end."""
    api = ApiProcess(settings)
    try:
        yield api
    finally:
        if api.process.poll() is None:
            api.process.terminate()
        assert api.end()[0] == 0


@contextmanager
def thread(settings: Settings) -> Iterator[Api]:
    """The same server in a thread: it starts in a tenth of the time."""
    bound = listening_socket(settings.host, 0)
    server = uvicorn.Server(configured(create_app(settings), settings))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    serving.start()
    eventually(lambda: server.started or not serving.is_alive())
    api = Api(settings, bound.getsockname()[1])
    try:
        yield api
    finally:
        api.http.close()
        server.should_exit = True
        serving.join(30)


class Event(NamedTuple):
    """An event of a stream."""

    id: str
    kind: str
    data: dict[str, Any]


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Blocks of a stream as WHATWG's standard reads them."""
    identity, kind, data = "", "", ""
    for line in lines:
        if not line:
            yield Event(identity, kind, json.loads(data) if data else {})
            kind, data = "", ""
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                identity = value
            elif name == "event":
                kind = value
            elif name == "data":
                data += value


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document that an answer must be."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status and found["detail"] and found["title"] and found["type"], found
    return found
