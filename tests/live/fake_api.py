"""An HTTP server that answers as a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """One response. `cut` closes the connection instead."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


class FakeApi:
    """Answers with `answer(asked)`."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
                fake.asked.append(asked)
                self._send(answer(asked))

            def _send(self, given: Answer) -> None:
                if given.cut:
                    self.close_connection = True
                    self.connection.close()
                    return
                body = given.body.encode() if isinstance(given.body, str) else json.dumps(given.body).encode()
                self.send_response(given.status)
                for name, value in {"content-type": "application/json", **given.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _serve

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """An RFC 9457 problem."""
    content = {"type": "about:blank", "title": "Refused", "status": status, "detail": detail, **more}
    return Answer(status, content, {"content-type": "application/problem+json", **(headers or {})})


def task(task_id: int, state: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    """A task as the API gives it."""
    return {
        "id": task_id,
        "role": "DEVELOPER",
        "priority": 2,
        "queue": "agent_medium",
        "state": state,
        "attempt": 1,
        "token": 1,
        "worker": "host-1-0.1",
        "changed_at": "2026-01-02T03:04:05.678901Z",
        "due_at": None,
        "lease_until": None,
        "payload": None,
        "result": None,
        "error": None,
        "dead_letter": None,
        **more,
    }


def frame(event_id: str, task_id: int, **more: Any) -> str:
    """A transition as it stands in the event stream."""
    data = {
        "version": 1,
        "subject": f"task/{task_id}",
        "task": task_id,
        "role": "DEVELOPER",
        "from": "PENDING",
        "to": "RUNNING",
        "at": "2026-01-02T03:04:05Z",
        "worker": "w",
        "attempt": 1,
        "token": 1,
        "reason": "claimed",
        "delay_s": 0.0,
        **more,
    }
    return f"id: {event_id}\nevent: transition\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
