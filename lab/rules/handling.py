"""What becomes of an attempt that a handler works on: it has succeeded, it has failed, or no retry can mend it.

A handler is work of the user's own: a Python callable or an HTTP endpoint. A failure goes to the rules of `retry`. It
is permanent only if the very same request must end the same way again: a payload that cannot be read, a result that
cannot be kept, an answer that says "your request is wrong". Everything else may be luck: a crash, a timeout, a server
that is away or asks for patience.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

HANDLER_TIMEOUT_S_DEFAULT: Final = 60.0
"""A call of a model rarely takes longer, and a handler that hangs must not hold its slot for ever."""


class Answer(StrEnum):
    """What an attempt has come to."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PERMANENT = "failed for good"


class Ending(StrEnum):
    """How the work of a handler can end."""

    RETURNED = "returned a result"
    RAISED = "raised an exception"
    GAVE_UP = "raised `Permanent`"
    TIMED_OUT = "ran longer than its `timeout_s`"
    DIED = "its process died"
    UNREACHED = "its endpoint could not be reached, or broke off"
    UNREADABLE = "the payload is no JSON, or the role is unknown"
    UNFIT = "the result is no JSON, or too large"


ANSWERS: Mapping[Ending, Answer] = MappingProxyType(
    {
        Ending.RETURNED: Answer.SUCCEEDED,
        Ending.RAISED: Answer.FAILED,
        Ending.GAVE_UP: Answer.PERMANENT,
        Ending.TIMED_OUT: Answer.FAILED,
        Ending.DIED: Answer.FAILED,
        Ending.UNREACHED: Answer.FAILED,
        Ending.UNREADABLE: Answer.PERMANENT,
        Ending.UNFIT: Answer.PERMANENT,
    }
)

RETRIED_STATUSES: Final = frozenset({408, 425, 429})
"""Request Timeout, Too Early, Too Many Requests: the server asks for the same request again, later (RFC 9110, 8470,
6585).
"""


def of_status(status: int) -> Answer:
    """What the HTTP status of an endpoint's answer means.

    2xx is success. 5xx is the server's own trouble. 4xx says that the request is wrong, and it would be as wrong the
    next time. 3xx names another place: redirects are never followed, so this is permanent too.
    """
    if 200 <= status < 300:
        return Answer.SUCCEEDED
    if 300 <= status < 500 and status not in RETRIED_STATUSES:
        return Answer.PERMANENT
    return Answer.FAILED
