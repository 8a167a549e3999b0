"""A request's body: read within a bound, and parsed as JSON that PostgreSQL can keep and any reader reads alike.

Refused with a 4xx, each with its reason: too large (also when it comes in chunks), not UTF-8, not JSON, nested too
deep, the same key twice, NaN and infinities, integers that no bigint holds, NUL and half surrogate pairs.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Receive, Scope

from lab.limits import API_BODY_BYTES_MAX, API_BODY_S_MAX, JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX
from live_backend.api.problems import Finding, Problem, shown

BIGINT_MIN: Final = -(2**63)
BIGINT_MAX: Final = 2**63 - 1
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
LONG_NUMBER = re.compile(r"\d{19}")
"""Only an integer of at least 19 digits can be beyond bigint."""
NUL_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
ONE_KIND = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _Refused(ValueError):
    """Valid JSON that is not accepted."""


async def read(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises Problem: 413 before more than the bound is read, 408 if it does not come to an end."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > API_BODY_BYTES_MAX:
            raise _too_large()
    message = await receive()
    if not message.get("more_body", False):
        return _bounded(message)
    async with asyncio.timeout(API_BODY_S_MAX) as limit:
        try:
            return await _joined(message, receive)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Problem(408, f"The body did not arrive within {API_BODY_S_MAX:g} s. Send it again.") from None


async def _joined(message: Mapping[str, Any], receive: Receive) -> bytes:
    chunks = bytearray(_bounded(message))
    while message.get("more_body", False):
        message = await receive()
        chunks += _bounded(message)
        if len(chunks) > API_BODY_BYTES_MAX:
            raise _too_large()
    return bytes(chunks)


def _bounded(message: Mapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise Problem(400, "The connection closed before the body was complete.")
    body: bytes = message.get("body", b"")
    if len(body) > API_BODY_BYTES_MAX:
        raise _too_large()
    return body


def _too_large() -> Problem:
    detail = f"The body is larger than {API_BODY_BYTES_MAX} bytes. Send fewer tasks at a time."
    return Problem(413, detail, headers={"Connection": "close"})


def parse(raw: bytes) -> Any:
    """The JSON value in `raw`. Raises Problem: 400, with what is wrong and where."""
    try:
        text = raw.decode()
        value = (_careful if LONG_NUMBER.search(text) else _plain).decode(text)
    except UnicodeDecodeError as error:
        raise _refused(f"it is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise _refused(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _refused(str(error)) from None
    if raw.count(b"[") + raw.count(b"{") > JSON_DEPTH_MAX and _is_too_deep(raw):
        raise _too_deep()
    return value


def _is_too_deep(raw: bytes) -> bool:
    """Strings away, everything but brackets away; then each round takes the innermost pairs."""
    brackets = STRING.sub(b"", raw).translate(ONE_KIND, NO_BRACKETS)
    for _ in range(JSON_DEPTH_MAX):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _too_deep() -> Problem:
    return _refused(f"it is nested more than {JSON_DEPTH_MAX} deep")


def _refused(reason: str) -> Problem:
    return Problem(400, f"The body is not JSON that is accepted here: {reason}. Correct it and send it again.")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"the key {shown(twice)} stands twice in one object")
    return fields


def _no_constant(name: str) -> Any:
    raise _Refused(f"{name} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > len(str(BIGINT_MIN)) or not BIGINT_MIN <= (value := int(digits)) <= BIGINT_MAX:
        raise _Refused(f"the integer {digits[:30]} is beyond 64 bits")
    return value


_plain = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_no_constant)
_careful = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_no_constant, parse_int=_integer)


def payload_text(payload: Any, path: str) -> tuple[str, bytes]:
    """A payload as canonical JSON (keys sorted), as text and as UTF-8. Raises Problem: 422."""
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise _unfit(path, f"half a surrogate pair (\\u{ord(error.object[error.start]):04x})", "Unicode text") from None
    except ValueError:  # 1e999 parses to infinity
        raise _unfit(path, "a number beyond double precision", "finite numbers") from None
    if len(encoded) > PAYLOAD_BYTES_MAX:
        raise _unfit(path, f"{len(encoded)} bytes", f"at most {PAYLOAD_BYTES_MAX} bytes")
    if "\\u0000" in text and NUL_ESCAPE.search(text):
        raise _unfit(path, "the character NUL (\\u0000)", "text without it")
    return text, encoded


def _unfit(path: str, found: str, allowed: str) -> Problem:
    detail = f"{path}: found {found}, allowed: {allowed}. Correct it and send it again."
    return Problem(422, detail, findings=[Finding(path, found, allowed)])
