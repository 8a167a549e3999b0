"""What a role may do instead of synthetic work: call a Python function, or an HTTP endpoint.

The model does not call it: there the role's `service` stands for it. A scenario with a handler is code, and is trusted
like code; it holds no secrets, only the names of the variables that hold them.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from lab import limits
from lab.rules.base import Rules
from lab.rules.handling import HANDLER_TIMEOUT_S_DEFAULT

HEADER = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]{0,99}$"
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9A-Fa-f]*)\.?")
OUR_HEADERS = frozenset(
    {
        "accept",
        "connection",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "x-meshlab-attempt",
    }
)
"""What an endpoint must be able to rely on, and what frames a request."""


class Handler(Rules):
    """Work of your own: `python` or `http`, and how long it may take."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["python"], "not": {"required": ["headers_from_env"]}},
                {"required": ["http"], "not": {"required": ["isolation"]}},
            ]
        }
    )

    python: str = Field(
        "",
        pattern=rf"^{NAME}(\.{NAME})*:{NAME}(\.{NAME})*$",
        max_length=200,
        description="A Python callable, module:function, async or not. It is given the job and returns JSON.",
    )
    isolation: Literal["shared", "process"] = Field(
        "shared",
        description="Called in the worker's own process, or in one that does one job at a time and can be killed.",
    )
    http: str = Field(
        "",
        pattern=r"^[\x21-\x7E]+$",
        max_length=2_000,
        description="An HTTP endpoint: each attempt is a POST of the job, the JSON of the answer is the result.",
    )
    headers_from_env: dict[Annotated[str, Field(pattern=HEADER)], Annotated[str, Field(pattern=VARIABLE)]] = Field(
        default_factory=dict,
        max_length=limits.HANDLER_HEADERS_MAX,
        description="Headers whose values are secrets: header → environment variable of the worker that holds it.",
    )
    timeout_s: float = Field(
        HANDLER_TIMEOUT_S_DEFAULT,
        gt=0,
        le=limits.SERVICE_S_MAX,
        description="An attempt that works longer is cut there and has failed.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.python) == bool(self.http):
            raise ValueError("give either python or http, and not both")
        if self.http and "isolation" in self.model_fields_set:
            raise ValueError("isolation is for python; an http endpoint is a process of its own")
        if self.python and "headers_from_env" in self.model_fields_set:
            raise ValueError("headers_from_env is for http; a python callable reads the environment itself")
        return self

    @field_validator("http")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ValueError("must be a URL such as http://127.0.0.1:8080/agent or https://agents.example.org/run")
        if "@" in parts.netloc:
            raise ValueError("a scenario holds no secrets: give user and password by headers_from_env")
        if "#" in url:
            raise ValueError("a fragment (#…) is never sent; leave it out")
        if not _is_plain_host(parts):
            raise ValueError(
                "the host must be a name, four decimal numbers such as 127.0.0.1, or IPv6 in brackets: nothing else "
                "is read the same way by everybody"
            )
        return url

    @field_validator("headers_from_env")
    @classmethod
    def _headers_of_your_own(cls, headers: dict[str, str]) -> dict[str, str]:
        names = [header.lower() for header in headers]
        for name in names:
            if name in OUR_HEADERS:
                raise ValueError(f"{name!r} is set by the worker itself")
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is there twice: headers have no case")
        return headers


def _is_plain_host(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        return not NUMERIC.fullmatch(host) and HOST_NAME.fullmatch(host) is not None and "[" not in parts.netloc
    return "%" not in host and (":" not in host or "[" in parts.netloc)
