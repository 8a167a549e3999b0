"""A handler behind HTTP: each attempt is one POST of the job, and the JSON of the answer is its result.

`httpcore`, the engine of httpx, is used by itself: it follows no redirect, asks no proxy, unpacks nothing, and lets
connections be checked (`reach.py`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpcore

from lab.errors import UsageError
from lab.handlers import Handler
from lab.limits import (
    HANDLER_IDLE_S_MAX,
    HANDLER_RESPONSE_BYTES_MAX,
    HANDLER_RESPONSE_SHOWN_CHARS_MAX,
)
from lab.rules.handling import Answer, Ending, of_status
from live_backend.handlers.callables import timed_out
from live_backend.handlers.reach import VARIABLE, CheckedBackend, Reach
from live_backend.jobs import (
    ENCODE,
    Failed,
    Job,
    Permanent,
    bounded,
    decoded,
    described,
    failure,
    result_text,
    value_of,
)


def connections(reach: Reach, slots: int) -> httpcore.AsyncConnectionPool:
    """The connections of a worker, at most one for each slot. Certificates are verified."""
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(),
        max_connections=slots,
        max_keepalive_connections=slots,
        keepalive_expiry=HANDLER_IDLE_S_MAX,
        network_backend=CheckedBackend(reach),
    )


class TooLarge(Exception):
    """The answer has more bytes than anybody wants to hold."""


class Endpoint:
    """One role's endpoint."""

    def __init__(
        self,
        where: str,
        handler: Handler,
        timeout_s: float,
        pool: httpcore.AsyncConnectionPool,
        environ: Mapping[str, str],
        key_scope: str,
    ) -> None:
        """`where` is the handler's path in the scenario. Raises UsageError if a host is not allowed, or a header's
        variable is not set.
        """
        self._url, self._timeout_s, self._pool, self._key_scope = httpcore.URL(handler.http), timeout_s, pool, key_scope
        host = self._url.host.decode()
        if not Reach.of(environ).allows(host):
            raise UsageError(
                f"{where}.http: this worker may not talk to {host}. Loopback is always allowed; for another host "
                f"set {VARIABLE}={host} (a list, separated by commas) where the worker runs."
            )
        self._shown = handler.http.partition("?")[0]
        self._secrets = [_from_environment(f"{where}.headers_from_env.{header}", header, name, environ)
                         for header, name in handler.headers_from_env.items()]  # fmt: skip
        self._headers = [
            *((header.encode(), value.encode()) for header, value in self._secrets),
            (b"Host", handler.http.split("/")[2].partition("?")[0].encode()),
            (b"Content-Type", b"application/json"),
            (b"Accept", b"application/json"),
        ]

    async def do(self, job: Job) -> str | None:
        """POST it. Raises Failed or Permanent."""
        job = decoded(job)
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._post(job)
        except TimeoutError as error:
            raise timed_out(self._timeout_s) from error
        except TooLarge as error:
            raise failure(Ending.UNFIT, f"the answer of {self._shown} has {error}") from error
        except Exception as error:  # of httpcore, TLS or a resolver: whatever it is, there was no answer
            raise failure(Ending.UNREACHED, self._safe(f"{self._shown}: {described(error)}")) from error
        if (answer := of_status(status)) is not Answer.SUCCEEDED:
            kind = Permanent if answer is Answer.PERMANENT else Failed
            raise kind(bounded(f"HTTP {status} from {self._shown}: {self._beginning(body)}".removesuffix(": ")))
        return self._result(body)

    async def _post(self, job: Job) -> tuple[int, bytes]:
        """Status and body of the answer."""
        body = ENCODE(
            {"id": job.id, "role": job.role, "priority": job.priority, "attempt": job.attempt, "payload": job.payload}
        )
        headers = [
            *self._headers,
            (b"Idempotency-Key", f'"{self._key_scope}{job.id}"'.encode()),
            (b"X-Meshlab-Attempt", str(job.attempt).encode()),
        ]
        async with self._pool.stream("POST", self._url, headers=headers, content=body.encode()) as response:
            chunks, size = [], 0
            async for chunk in response.aiter_stream():
                chunks.append(chunk)
                size += len(chunk)
                if size > HANDLER_RESPONSE_BYTES_MAX:
                    raise TooLarge(f"more than {HANDLER_RESPONSE_BYTES_MAX:,} bytes; return where the result is")
            return response.status, b"".join(chunks)

    def _result(self, body: bytes) -> str | None:
        """The JSON of an answer, checked; None if it has no body."""
        if not body.strip():
            return None
        try:
            value = value_of(body.decode("utf-8-sig"))
        except (UnicodeDecodeError, Permanent) as error:
            said = f"the answer of {self._shown} is not JSON: {self._beginning(body)}"
            raise failure(Ending.UNFIT, said) from error
        return result_text(value)

    def _beginning(self, body: bytes) -> str:
        """The beginning of an answer, on one line."""
        text = self._safe(body[: 4 * HANDLER_RESPONSE_SHOWN_CHARS_MAX].decode("utf-8", "replace"))
        return " ".join(text.split())[:HANDLER_RESPONSE_SHOWN_CHARS_MAX]

    def _safe(self, text: str) -> str:
        """Without the secrets that an endpoint may echo."""
        for _, value in self._secrets:
            for secret in (value, value.rpartition(" ")[2]):  # "Bearer abc" may come back as abc
                text = text.replace(secret, "***") if secret else text
        return bounded(text)

    async def close(self) -> None:
        """The connections are the workshop's."""


def _from_environment(where: str, header: str, name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """(header, value). Raises UsageError; the value is never repeated."""
    value = environ.get(name, "").strip()
    if not value:
        raise UsageError(f"{where}: the environment variable {name} is not set; set it where the worker runs.")
    if not (value.isascii() and value.isprintable()):
        raise UsageError(f"{where}: the value of {name} cannot be a header: it has characters that are not plain text.")
    return header, value
