"""The Redis and PostgreSQL of a run: those that the environment names, else private ones that live and die with it.

    with open_servers() as servers:
        redis.asyncio.Redis.from_url(servers.redis_url), psycopg.connect(servers.dsn)

REDIS_URL (or REDIS_ADDR, host:port) and DB_DSN each replace one embedded server. Private servers keep their sockets and
data in two directories of mode 0700, one for each server, and are stopped and deleted by `close`, by the end of this
process, or by its violent death. How a server is started is in `embedded.py`; where programs are found, in
`binaries.py`; what the environment names, in `addresses.py`; who clears up, in `watchdog.py`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from live_backend.addresses import (
    NAMES,
    ServerFacts,
    ServersUnavailable,
    external_postgres,
    external_redis,
    postgres_address,
    redis_address,
)
from live_backend.binaries import CHOICE_VARIABLE, CHOICES, Kind
from live_backend.embedded import SIGKILL, SIGQUIT, EmbeddedServer
from live_backend.embedded_postgres import HOME_PREFIX, SOCKET_NAME, EmbeddedPostgres
from live_backend.embedded_redis import EmbeddedRedis
from live_backend.watchdog import Account, Watchdog

__all__ = ["ServerFacts", "Servers", "ServersUnavailable", "inspect", "open_servers"]

SOCKET_PATH_BYTES_MAX: Final = 103
"""sun_path holds 108 bytes on Linux and 104 on macOS, with the closing zero."""
RANDOM_NAME_BYTES: Final = 8
"""What mkdtemp adds to a prefix."""
PRIVATE_PREFIX: Final = "meshlab-"
FALLBACK_BASES: Final = ("/var/tmp", "/tmp")
"""/var/tmp first: it is on disk where /tmp is often memory, in which fsync means nothing and the log eats RAM."""
UNPRIVILEGED_USER: Final = "nobody"
KINDS: Final[tuple[Kind, ...]] = ("redis", "postgres")
Own = TypeVar("Own", bound=EmbeddedServer)


def open_servers(
    environ: Mapping[str, str] = os.environ, *, directory: Path | None = None, data: Path | None = None
) -> Servers:
    """Connect to or start both servers, and return when both answer. Raises ServersUnavailable: one line.

    `directory` is where the private directories are made (default: TMPDIR if short enough, else /var/tmp, else /tmp).
    `data` is a folder in which a private PostgreSQL keeps its data from run to run (default: it goes with the run).
    """
    return _open(KINDS, environ, directory, data)


def inspect(environ: Mapping[str, str] = os.environ) -> list[ServerFacts]:
    """Which servers a run would use, their versions and limits; what is missing and would mend it. Never raises."""
    try:
        with _open(KINDS, environ, None) as servers:
            return list(servers.facts)
    except Exception:  # something is missing: ask one by one, so that each server has its own finding
        return [_inspect_one(kind, environ) for kind in KINDS]


class Servers:
    """The two servers of a run. A context manager; `close` may be called twice."""

    redis_url: str
    dsn: str
    facts: tuple[ServerFacts, ...]

    def __init__(self, watchdog: Watchdog | None = None) -> None:
        self.redis_url = self.dsn = ""
        self.facts = ()
        self._watchdog = watchdog
        self._redis: EmbeddedRedis | None = None
        self._postgres: EmbeddedPostgres | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def embedded_redis(self) -> bool:
        return self._redis is not None

    @property
    def embedded_postgres(self) -> bool:
        return self._postgres is not None

    def kill_redis(self) -> None:
        """As a crash would: SIGKILL."""
        self._own(self._redis, "redis").kill(SIGKILL)

    def start_redis(self) -> None:
        """Same place and settings; it comes back empty, unless it keeps a log."""
        self._own(self._redis, "redis").start()

    def restart_redis(self, down_s: float = 0.0, kept_bytes: int | None = 0) -> None:
        """Kill it, leave it down for `down_s` seconds, start it again.

        It comes back with the first `kept_bytes` of its log, None: all of it. Without a log it comes back empty.
        """
        redis = self._own(self._redis, "redis")
        self.kill_redis()
        if kept_bytes is not None:
            redis.forget(beyond_bytes=kept_bytes)
        time.sleep(down_s)
        self.start_redis()

    def keep_redis_log(self) -> None:
        """Start it anew, empty, so that from now on it writes a log of all that it learns."""
        redis = self._own(self._redis, "redis")
        self.kill_redis()
        redis.keeps_log = True
        self.start_redis()

    def redis_log_bytes(self) -> int:
        """How long its log is now."""
        return self._own(self._redis, "redis").log_bytes

    def kill_postgres(self, *, immediate: bool = True) -> None:
        """Immediate (SIGQUIT: no checkpoint, the next start replays the log) or fast (only connections are lost)."""
        self._own(self._postgres, "postgres").kill(SIGQUIT if immediate else signal.SIGINT)

    def start_postgres(self) -> None:
        """Same data and settings; returns when it has replayed its log and answers."""
        self._own(self._postgres, "postgres").start()

    def restart_postgres(self, *, immediate: bool = True, down_s: float = 0.0) -> None:
        """Shut it down, leave it down for `down_s` seconds, start it again."""
        self.kill_postgres(immediate=immediate)
        time.sleep(down_s)
        self.start_postgres()

    def start_ended(self) -> list[Kind]:
        """Start our own servers again that have ended, whoever ended them. Returns which; raises ServersUnavailable."""
        ended = [server for server in (self._redis, self._postgres) if server is not None and server.has_ended]
        for server in ended:
            server.start()
        return [server.kind for server in ended]

    def close(self) -> None:
        """Stop what was started and delete its directories. Servers that the environment named are left alone."""
        if self._watchdog:
            self._watchdog.close()

    @staticmethod
    def _own(server: Own | None, kind: Kind) -> Own:
        if server is None:
            variable = "DB_DSN" if kind == "postgres" else "REDIS_URL (or REDIS_ADDR)"
            raise ServersUnavailable(
                f"This {NAMES[kind]} is not the lab's own, so the lab will not kill or start it.",
                f"Unset {variable} to let the lab run a private one.",
            )
        return server


def _open(
    kinds: tuple[Kind, ...], environ: Mapping[str, str], directory: Path | None, data: Path | None = None
) -> Servers:
    _refuse_bad_choice(environ)
    # All that can be refused without starting anything comes first.
    redis = redis_address(environ) if "redis" in kinds else None
    postgres = postgres_address(environ) if "postgres" in kinds else None
    facts: dict[Kind, ServerFacts] = {}
    if redis:
        facts["redis"] = external_redis(*redis)
    if postgres:
        facts["postgres"] = external_postgres(*postgres)
    missing = [kind for kind in kinds if kind not in facts]
    servers = _start(missing, environ, directory, data) if missing else Servers()
    servers.redis_url = redis[1] if redis else servers.redis_url
    servers.dsn = postgres[1] if postgres else servers.dsn
    facts |= {fact.kind: fact for fact in servers.facts}
    servers.facts = tuple(facts[kind] for kind in kinds)
    return servers


def _start(kinds: list[Kind], environ: Mapping[str, str], directory: Path | None, data: Path | None) -> Servers:
    """Start private servers, both at once: initdb takes half a second in which Redis, and our drivers, get ready."""
    if os.name == "nt":
        raise ServersUnavailable(
            "Under Windows the lab starts no servers of its own.",
            "Run it in WSL, or set REDIS_URL (Memurai serves) and DB_DSN to running servers.",
        )
    account = _unprivileged_account() if os.geteuid() == 0 and "postgres" in kinds else None
    base = _base_directory(environ, directory, account)
    keep = _keeping_folder(data, account) if data else None
    servers = Servers(watchdog := Watchdog())
    try:
        private = watchdog.make_directory(base, PRIVATE_PREFIX)
        started: list[EmbeddedServer] = []
        if "redis" in kinds:  # first: it is the one that may be missing, and its start costs PostgreSQL 5 ms
            servers._redis = EmbeddedRedis(watchdog, private, environ)
            started.append(servers._redis)
        if "postgres" in kinds:
            servers._postgres = EmbeddedPostgres(watchdog, private, base, environ, account, keep)
            started.append(servers._postgres)
        for server in started:
            server.launch()
        for driver in ("psycopg", "redis"):  # 0.2 s each, which initdb needs anyway
            importlib.import_module(driver)
        for server in started:
            server.finish()
        servers.facts = tuple(server.facts() for server in started)
        servers.redis_url = servers._redis.address if servers._redis else ""
        servers.dsn = servers._postgres.address if servers._postgres else ""
    except OSError as error:
        watchdog.close()
        raise ServersUnavailable(
            f"No private servers could be started in {base}: {error}.", "Run meshlab doctor."
        ) from error
    except BaseException:  # an error of ours or Ctrl-C: either way nothing may be left running
        watchdog.close()
        raise
    return servers


def _inspect_one(kind: Kind, environ: Mapping[str, str]) -> ServerFacts:
    variables = ("DB_DSN",) if kind == "postgres" else ("REDIS_URL", "REDIS_ADDR")
    named = next((name for name in variables if environ.get(name, "").strip()), None)
    nothing = ServerFacts(kind, "environment" if named else "path", named or "", "")
    try:
        with _open((kind,), environ, None) as servers:
            return servers.facts[0]
    except ServersUnavailable as error:
        return replace(nothing, problem=error.problem, mend=error.mend or None)
    except Exception as error:  # the doctor reports whatever is wrong; it does not fall ill itself
        return replace(
            nothing, problem=f"{type(error).__name__}: {error}", mend="Report this: it is a defect of the lab."
        )


def _refuse_bad_choice(environ: Mapping[str, str]) -> None:
    choice = environ.get(CHOICE_VARIABLE, "")
    if choice not in CHOICES:
        raise ServersUnavailable(
            f"{CHOICE_VARIABLE}: {choice!r} is not a choice.",
            f"Set {CHOICE_VARIABLE}=wheel to use the wheels' programs only, or unset it.",
        )


def _unprivileged_account() -> Account:
    import pwd

    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ServersUnavailable(
        f"PostgreSQL refuses to run as root, and there is no user {UNPRIVILEGED_USER} to run it as.",
        "Run as an ordinary user, or set DB_DSN to a running server.",
    )


def _base_directory(environ: Mapping[str, str], directory: Path | None, account: Account | None) -> Path:
    """Where private directories may be made: writable, open to who runs PostgreSQL, short enough for a socket."""
    named = [str(directory)] if directory else [environ.get("TMPDIR", ""), *FALLBACK_BASES]
    refusals = []
    for base in (Path(name).absolute() for name in named if name):
        refusal = next(_refusals(base, account), None)
        if refusal is None:
            return base
        refusals.append(f"{base} {refusal}")
    raise ServersUnavailable(
        f"No place for the private servers' sockets: {'; '.join(refusals)}.", "Set TMPDIR to a short path such as /tmp."
    )


def _keeping_folder(data: Path, account: Account | None) -> Path:
    """The folder that keeps data, made if it is missing, and within reach of who runs PostgreSQL."""
    folder = data.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        closed = next((part for part in (folder, *folder.parents) if account and not part.stat().st_mode & 0o001), None)
    except OSError as error:
        raise ServersUnavailable(
            f"{folder}: data cannot be kept here ({error.strerror}).", "Name another folder."
        ) from error
    if closed and account:
        raise ServersUnavailable(
            f"{folder}: no data can be kept here, since PostgreSQL runs as {account.name}, to whom {closed} is closed.",
            "Name a folder that is open to all (the data in it is not), or run as an ordinary user.",
        )
    return folder


def _refusals(base: Path, account: Account | None) -> Iterator[str]:
    longest = len(os.fsencode(base)) + len(f"/{HOME_PREFIX}") + RANDOM_NAME_BYTES + len(f"/{SOCKET_NAME}")
    if not base.is_dir():
        yield "is not a directory"
    elif not os.access(base, os.W_OK | os.X_OK):
        yield "is not writable"
    if longest > SOCKET_PATH_BYTES_MAX:
        yield f"is too long by {longest - SOCKET_PATH_BYTES_MAX} bytes for a unix socket"
    if account and not all(part.stat().st_mode & 0o001 for part in (base, *base.parents)):
        yield f"is closed to the user {account.name}"
