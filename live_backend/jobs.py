"""What a handler gets, and what may come of it. User code imports `Job` and `Permanent` from here.

    async def answer(job: Job) -> object:   # or an ordinary function
        return {"summary": await summarize(job.payload["text"])}

What it returns must be JSON. What it raises is a failure, and the task is tried again; `Permanent` says that trying
again cannot help.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, NoReturn

from lab.limits import HANDLER_ERROR_CHARS_MAX, HANDLER_RESULT_BYTES_MAX
from lab.rules.handling import ANSWERS, Answer, Ending


class Job(NamedTuple):
    """One attempt at a task.

    `attempt` counts from 1; `token` only ever rises. `payload` is JSON text (or None) on its way to the workshop, and
    the decoded value when a handler gets it.
    """

    id: int
    role: str
    priority: int
    attempt: int
    token: int
    payload: Any = None


class Failed(Exception):
    """The attempt has failed and may be tried again. Its text is for people, and bounded."""


class Permanent(Exception):
    """No retry can mend it: the task goes to the dead letters at once. Handlers may raise it."""


def failure(ending: Ending, text: str) -> Failed | Permanent:
    """What to raise when the work ended in this way: the rulebook says whether a retry may help."""
    kind = Permanent if ANSWERS[ending] is Answer.PERMANENT else Failed
    return kind(bounded(text))


def failure_of(error: BaseException) -> Failed | Permanent:
    """What to raise for whatever a handler has raised."""
    if isinstance(error, Failed):
        return Failed(bounded(_message(error)))
    if isinstance(error, Permanent):
        return failure(Ending.GAVE_UP, _message(error) or "the handler gave up")
    return failure(Ending.RAISED, described(error))


def described(error: BaseException) -> str:
    """`TypeName: message`, bounded."""
    message = _message(error)
    return bounded(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def bounded(text: str) -> str:
    """The text in at most HANDLER_ERROR_CHARS_MAX characters that every database takes."""
    if len(text) > HANDLER_ERROR_CHARS_MAX:
        text = text[: HANDLER_ERROR_CHARS_MAX - 1] + "…"
    return text.replace("\x00", "␀").encode("utf-8", "replace").decode("utf-8")


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # its own __str__ is broken, and that is all that can be said of it
        return f"(its text cannot be had: {type(second).__name__})"


def decoded(job: Job) -> Job:
    """The job as a handler gets it. Raises Permanent if the payload is no JSON."""
    if job.payload is None:
        return job
    return Job(job.id, job.role, job.priority, job.attempt, job.token, value_of(job.payload))


def value_of(payload: str) -> Any:
    """The value of a payload's JSON text. Raises Permanent if it has none."""
    try:
        return _DECODE(payload)
    except (ValueError, TypeError, RecursionError) as error:
        raise failure(Ending.UNREADABLE, f"undecodable payload: {described(error)}") from error


def result_text(result: Any) -> str | None:
    """The result as JSON text, all ASCII, ready to be stored; None stays None. Raises Permanent if it cannot be
    kept.
    """
    if result is None:
        return None
    try:
        text: str = ENCODE(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise failure(Ending.UNFIT, f"the result is not JSON: {described(error)}") from error
    if len(text) > HANDLER_RESULT_BYTES_MAX:
        said = f"the result has {len(text):,} bytes as JSON; at most {HANDLER_RESULT_BYTES_MAX:,} are kept with a task"
        raise failure(Ending.UNFIT, f"{said}: store it elsewhere and return where it is")
    return text


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODE: Final = json.JSONDecoder(parse_constant=_no_number).decode
ENCODE: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
"""A value as JSON text in which all is ASCII, so that its length is its size and nothing in it can offend a store."""
