"""Where the mesh API of this user is, and the secret that opens it.

`meshlab up` writes both into a file that only this user may read, and removes it when it ends; the command line and the
client look there when MESHLAB_API is unset. So a token is never typed, and stands in no process list. Where its
PostgreSQL is private, the file says where that is too (a socket, no password): a shadow reads it there.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from lab.errors import Unavailable

API_VARIABLE: Final = "MESHLAB_API"
TOKEN_VARIABLE: Final = "MESHLAB_TOKEN"
HOST_DEFAULT: Final = "127.0.0.1"
FILE: Final = "api.json"
PORT_DEFAULT: Final = 8700
TOKEN_BYTES: Final = 32
"""256 random bits: nobody guesses them."""


@dataclass(frozen=True)
class Api:
    """An API's address and, if it asks for one, its token (never shown)."""

    url: str
    token: str | None = field(default=None, repr=False)


def find_api(environ: Mapping[str, str]) -> Api:
    """MESHLAB_API with MESHLAB_TOKEN, else the `meshlab up` that runs as this user, else the default address.

    The token of the file is for the address in the same file and goes nowhere else.
    """
    token = environ.get(TOKEN_VARIABLE, "").strip() or None
    if url := environ.get(API_VARIABLE, "").strip():
        return Api(url.rstrip("/"), token)
    if found := _read(environ):
        return Api(str(found["url"]), token or found["token"])
    return Api(f"http://{HOST_DEFAULT}:{PORT_DEFAULT}", token)


def find_private_dsn(environ: Mapping[str, str]) -> str | None:
    """The private PostgreSQL of the `meshlab up` that runs as this user; None if there is none."""
    found = _read(environ)
    return str(found["dsn"]) if found and found.get("dsn") else None


def state_folder(environ: Mapping[str, str]) -> Path:
    """$XDG_STATE_HOME/meshlab, else ~/.local/state/meshlab."""
    base = environ.get("XDG_STATE_HOME", "").strip()
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "meshlab"


def is_loopback(url_or_host: str) -> bool:
    """Whether an address, or a host by itself, is this machine's own."""
    try:
        host = urlsplit(url_or_host).hostname if "://" in url_or_host else url_or_host.strip("[]")
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:  # another name, or no address at all
        return False


class StateFile:
    """The file of a running `meshlab up`. A context: inside it clients find the API, and a shadow the PostgreSQL
    `private_dsn` (None: the environment names it, to whoever needs it).
    """

    def __init__(self, api: Api, environ: Mapping[str, str], private_dsn: str | None = None) -> None:
        self.path = state_folder(environ) / FILE
        self._text = json.dumps({"url": api.url, "token": api.token, "pid": os.getpid(), "dsn": private_dsn})

    def __enter__(self) -> StateFile:
        try:
            _write_private(self.path, self._text)
        except OSError as error:
            raise Unavailable(
                f"{self.path}: cannot be written ({error.strerror}); set XDG_STATE_HOME to a folder of yours"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the next reader sees that its process is gone
            if self.path.read_text("utf-8") == self._text:  # else a later `meshlab up` has put its own there
                self.path.unlink()


def own_token(environ: Mapping[str, str]) -> tuple[str, str]:
    """The token that opens an API of this user, and where it comes from: MESHLAB_TOKEN, else a file made once."""
    if token := environ.get(TOKEN_VARIABLE, "").strip():
        return token, TOKEN_VARIABLE
    path = state_folder(environ) / "token"
    try:
        if not path.exists():
            _write_private(path, secrets.token_urlsafe(TOKEN_BYTES))
        if path.stat().st_mode & 0o077:
            raise Unavailable(f"{path}: others may read this token; remove the file, and a new one is made")
        token = path.read_text("utf-8").strip()
    except OSError as error:
        raise Unavailable(f"{path}: no token can be kept here ({error.strerror}); set {TOKEN_VARIABLE}") from error
    if not token:
        raise Unavailable(f"{path}: is empty; remove the file, and a token is made")
    return token, str(path)


def _read(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """What a `meshlab up` that is alive has written. Another user's file is not believed."""
    try:
        with (state_folder(environ) / FILE).open(encoding="utf-8") as file:
            if os.name != "nt" and os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            found: dict[str, Any] = json.load(file)
        alive = psutil.pid_exists(found["pid"]) and {"url", "token"} <= found.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return found if alive else None


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable for nobody else at any moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
