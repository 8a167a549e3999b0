"""Bulk submission over HTTP, as a user's program does it."""

from __future__ import annotations

import http.client
import json
import time
from urllib.parse import urlsplit

from benchmarks.contest.processes import Trouble

BATCH = 1000
"""As many as the route takes."""
TIMEOUT_S = 60.0


def submit_batches(url: str, role: str, first: int, count: int) -> float:
    """Submit tasks numbered from `first`, one batch after another over one connection. Returns seconds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=TIMEOUT_S)
    started = time.perf_counter()
    for start in range(first, first + count, BATCH):
        numbers = range(start, min(start + BATCH, first + count))
        body = json.dumps({"tasks": [{"role": role, "priority": 3, "payload": number} for number in numbers]})
        connection.request("POST", "/v1/tasks:batch", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise Trouble(f"POST /v1/tasks:batch answered {answer.status}: {said.decode(errors='replace')[:500]}")
    took_s = time.perf_counter() - started
    connection.close()
    return took_s
