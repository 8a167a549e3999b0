"""What an answer means, and whether and when a call is sent again.

Again goes what may be repeated without harm (reads, and submissions that carry a key), and whatever was certainly not
carried out: a connection that was refused, an admission that is closed. The wait is what the API asks for, else it
doubles; jitter only adds. The bound is on the whole call.

ApiAway       the API, or a server behind it, is away or closed, and stayed so    (exit status 1)
├── NotFinished   a task was not over in the time that its waiter gave it
Refused       the API says that the request cannot be met; `status`, `detail`, `errors`   (exit status 2)
├── NotFound      there is no such task
└── Conflict      not in this state, or the key belongs to another request
"""

from __future__ import annotations

import random
import time
from typing import Any

import httpx

from lab.errors import Unavailable, UsageError
from lab.limits import CLIENT_BACKOFF_S_MAX, CLIENT_BACKOFF_S_MIN, CLIENT_POLL_S_MAX, CLIENT_POLL_S_MIN
from live_backend.client.calls import Call, T

CLOSED = 429
AWAY = (502, 503, 504)
JITTER_SHARE = 0.25
"""Added to a wait at most: a fleet of clients that were sent away together does not come back together."""


class ApiAway(Unavailable):
    """The API cannot do it now."""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, untouched: bool = False, silent: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.untouched = untouched
        """Whether it is certain that nothing was done."""
        self.silent = silent
        """Whether there was no answer at all."""


class NotFinished(ApiAway):
    """A task was not over in time."""


class Refused(UsageError):
    """The API will not do it. `errors` locates what is wrong with a request: [{path, found, allowed}]."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, Any]]) -> None:
        self.status, self.detail, self.errors = status, detail, errors
        unsaid = [one for one in errors if str(one.get("allowed")) not in detail]  # the API's detail tells the first
        located = [f"{one.get('path', '')}: found {one.get('found')!r}, allowed {one.get('allowed')}" for one in unsaid]
        super().__init__("\n".join([detail, *located]))


class NotFound(Refused):
    """There is no such task."""


class Conflict(Refused):
    """The task is not in a state that allows this, or the key belongs to another request."""


def value_of(call: Call[T], response: httpx.Response) -> T:
    """What a whole answer means. Raises ApiAway or Refused."""
    if not response.is_success:
        raise problem_of(response)
    try:
        return call.read(response.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        where = f"{response.request.method} {response.request.url}"
        raise Unavailable(f"{where}: what answers is no mesh API of this version ({type(error).__name__})") from error


def problem_of(response: httpx.Response) -> ApiAway | Refused | Unavailable:
    """The error that an answer tells of."""
    problem = _problem(response)
    detail = str(problem.get("detail") or problem.get("title") or f"{response.request.url}: {response.status_code}")
    status = response.status_code
    if status == CLOSED or status in AWAY:
        return ApiAway(detail, retry_after_s=_retry_after_s(response), untouched=status == CLOSED)
    if status >= 500:
        return Unavailable(f"{detail} (status {status})")
    kind = {404: NotFound, 409: Conflict}.get(status, Refused)
    return kind(status, detail, list(problem.get("errors") or []))


def away(error: httpx.TransportError, url: str) -> ApiAway:
    """A connection that failed, as an error for people."""
    reason = " ".join(str(error).split()) or type(error).__name__
    untouched = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    advice = "start one with `meshlab up`, or set MESHLAB_API to where it is"
    message = f"the mesh API at {url} does not answer ({reason}); {advice}"
    return ApiAway(message, untouched=untouched, silent=True)


class Patience:
    """How long one call goes on trying: `for_s` while an API says that it cannot, `silent_for_s` while none answers."""

    def __init__(self, for_s: float, silent_for_s: float) -> None:
        self._for_s, self._silent_for_s = for_s, silent_for_s
        self.renew()

    def renew(self) -> None:
        """It has just worked: from here on count anew."""
        self._from, self._failures = time.monotonic(), 0

    def wait_s(self, error: ApiAway, *, repeatable: bool) -> float:
        """How long to wait before it is sent again. Raises the error if that would be wrong, or too late."""
        if not (repeatable or error.untouched):
            raise error
        self._failures += 1
        backoff_s = min(CLIENT_BACKOFF_S_MAX, CLIENT_BACKOFF_S_MIN * 2.0 ** (self._failures - 1))
        wait_s = (error.retry_after_s or backoff_s) * (1.0 + JITTER_SHARE * random.random())
        if time.monotonic() + wait_s > self._from + (self._silent_for_s if error.silent else self._for_s):
            raise error
        return wait_s


class Watch:
    """The pace of somebody who waits for a task."""

    def __init__(self, task: int, timeout_s: float | None) -> None:
        self._task, self._timeout_s = task, timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._next_s = CLIENT_POLL_S_MIN

    def wait_s(self, state: str) -> float:
        """How long until it is asked again. Raises NotFinished when the time is up."""
        left_s = None if self._until is None else self._until - time.monotonic()
        if left_s is not None and left_s <= 0.0:
            raise NotFinished(
                f"task {self._task} is still {state} after {self._timeout_s:g} s; it goes on, so ask again later"
            )
        wait_s, self._next_s = self._next_s, min(CLIENT_POLL_S_MAX, 1.5 * self._next_s)
        return wait_s if left_s is None else min(wait_s, left_s)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:  # a proxy's page, say
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after_s(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None
