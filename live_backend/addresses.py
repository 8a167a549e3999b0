"""What is known of a server, and the servers that the environment names: read, tried within a bound, described.

Every failure is one line that names the variable, what was tried (never its password), and what to do.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lab.errors import Unavailable
from live_backend.binaries import Kind, Source, is_recent, version_min

CONNECT_TIMEOUT_S: Final = 3.0
"""For the whole attempt: name lookup, every address, log-in and the questions asked."""
REDIS_PORT: Final = 6379
NAMES: Final[Mapping[Kind, str]] = {"redis": "Redis", "postgres": "PostgreSQL"}
POSTGRES_SETTINGS: Final = ("max_connections", "shared_buffers", "max_wal_size", "fsync", "synchronous_commit")
DSN_FORMS: Final = "postgresql://user:password@host:5432/database or host=… dbname=… user=…"

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")


class ServersUnavailable(Unavailable):
    """No Redis or PostgreSQL to be had. The message is one line; `mend` repeats the part of it that says what to do."""

    def __init__(self, message: str, mend: str = "") -> None:
        self.mend = mend
        self.problem = one_line(message)
        super().__init__(f"{self.problem} {one_line(mend)}".strip())


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server as found: what it is, where it comes from, its limits, and what is wrong with it, if anything."""

    kind: Kind
    source: Source
    where: str
    """Address (password hidden) if the environment names it, else the path of the program."""
    version: str
    limits: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str | None = None
    mend: str | None = None
    """What would mend the problem: a command or a setting."""


def redis_address(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """(variable, URL) of the Redis that the environment names, or None. REDIS_URL goes before REDIS_ADDR."""
    if url := environ.get("REDIS_URL", "").strip():
        _refuse_bad_redis_url(url)
        return "REDIS_URL", url
    if address := environ.get("REDIS_ADDR", "").strip():
        host, port = _host_and_port(address)
        return "REDIS_ADDR", f"redis://{host}:{port}/0"
    return None


def postgres_address(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """(variable, DSN) of the PostgreSQL that the environment names, as libpq reads it. None: it names none."""
    dsn = environ.get("DB_DSN", "").strip()
    if not dsn:
        return None
    dsn = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", dsn)  # SQLAlchemy's form with a driver
    import psycopg

    try:
        if "://" in dsn:
            _refuse_bad_authority("DB_DSN", dsn)
        psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # libpq's own words would quote the text, and with it the password.
        raise _unreadable("DB_DSN", dsn, DSN_FORMS) from None
    return "DB_DSN", dsn


def external_redis(variable: str, url: str) -> ServerFacts:
    """Ask the Redis at `url` what it is. Raises ServersUnavailable if it does not answer or cannot serve."""
    return _external("redis", variable, url, lambda: ask_redis(url))


def external_postgres(variable: str, dsn: str) -> ServerFacts:
    """Ask the PostgreSQL at `dsn` what it is. Raises ServersUnavailable if it does not answer or cannot serve."""
    return _external("postgres", variable, dsn, lambda: ask_postgres(dsn))


def ask_redis(url: str) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Version, limits and remarks of a Redis, by INFO alone: hosted ones often forbid CONFIG."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(url, socket_timeout=CONNECT_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
    try:
        info: dict[str, Any] = client.info("everything")
    finally:
        client.close()
    limits = {name: str(info.get(name, "unknown")) for name in ("maxmemory", "maxmemory_policy", "maxclients")}
    notes = []
    if limits["maxmemory"] != "0" and limits["maxmemory_policy"] not in ("noeviction", "unknown"):
        notes.append(
            f"maxmemory_policy {limits['maxmemory_policy']} may drop queues when memory is short; noeviction is right"
        )
    if info.get("role") == "slave":
        notes.append("this is a replica: it refuses writes")
    return str(info["redis_version"]), limits, tuple(notes)


def ask_postgres(dsn: str) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Version, limits and remarks of a PostgreSQL."""
    import psycopg

    with psycopg.connect(dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
        settings = [_setting(connection, name) for name in ("server_version", *POSTGRES_SETTINGS)]
        standby = connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
    limits = dict(zip(POSTGRES_SETTINGS, settings[1:], strict=True))
    notes = [
        f"{name} is off: a crash of the machine loses acknowledged tasks"
        for name in ("fsync", "synchronous_commit")
        if limits[name] == "off"
    ]
    if standby:
        notes.append("this is a standby: it refuses writes")
    return settings[0].split()[0], limits, tuple(notes)


def _setting(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> str:
    row = connection.execute("select current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else "unknown"


def hidden(address: str) -> str:
    """The address with its password masked, even if it is malformed."""
    shown = re.sub(r"(?<=://)([^:@/]*):.*@", r"\1:***@", address)
    if "://" not in shown:
        shown = re.sub(r"^[^\s=]*@", "***@", shown)
    return re.sub(r"((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^&\s]+)", r"\1***", shown, flags=re.IGNORECASE)


def _reason(error: Exception) -> str:
    """The first line of what a driver says, without its full stop; its further lines ask questions or give hints."""
    said = str(error).strip() or type(error).__name__
    return one_line(said.splitlines()[0]).rstrip(".")


def one_line(text: object) -> str:
    return " ".join(str(text).split())


def _external(
    kind: Kind, variable: str, address: str, ask: Callable[[], tuple[str, dict[str, str], tuple[str, ...]]]
) -> ServerFacts:
    mend = f"Start it, correct {variable}, or unset {variable} and the lab starts a {NAMES[kind]} of its own."
    tried = f"{variable}: {NAMES[kind]} at {hidden(address)}"
    try:
        version, limits, notes = _within(CONNECT_TIMEOUT_S, ask)
    except (
        Exception
    ) as error:  # whatever a driver, resolver or TLS library thinks of raising: the user's address did not work
        raise ServersUnavailable(f"{tried} cannot be used: {_reason(error)}.", mend) from error
    if not is_recent(kind, version):
        raise ServersUnavailable(f"{tried} is version {version}; the lab needs {version_min(kind)} or later.", mend)
    return ServerFacts(kind, "environment", hidden(address), version, limits, notes)


def _within(bound_s: float, ask: Callable[[], T]) -> T:
    """`ask()`, or TimeoutError. In a thread: no driver's timeout bounds name lookups, or all of a host's addresses."""
    answers: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((ask(), None))
        except BaseException as error:  # handed over, not swallowed
            answers.put((None, error))

    threading.Thread(target=run, daemon=True, name="address probe").start()
    try:
        value, error = answers.get(timeout=bound_s)
    except queue.Empty:
        raise TimeoutError(f"no answer within {bound_s:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _host_and_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]?#]+)(?::(\d{1,5}))?", address)
    port = int(found[2] or REDIS_PORT) if found else 0
    if not found or not 0 < port < 65536:
        raise _unreadable("REDIS_ADDR", address, "host:port; a URL, or one with a password, goes into REDIS_URL")
    return found[1], port


def _refuse_bad_redis_url(url: str) -> None:
    form = "redis://[user:password@]host:port/number, rediss://… or unix:///path/to/socket"
    scheme, _, rest = url.partition("://")
    if scheme not in ("redis", "rediss", "unix") or not rest:
        raise _unreadable("REDIS_URL", url, form)
    if scheme != "unix":
        _refuse_bad_authority("REDIS_URL", url)
        path = re.sub(r"^[^/?#]*", "", rest).split("?")[0].strip("/")
        if path and not path.isdigit():  # redis-py would silently take database 0
            raise _unreadable("REDIS_URL", url, form)


def _refuse_bad_authority(variable: str, url: str) -> None:
    """A bare @ / ? # or : in a password splits the address there; its rest would turn up as a host in messages."""
    authority = re.sub(r"[/?#].*", "", url.split("://", 1)[1], flags=re.DOTALL)
    hosts = authority.rpartition("@")[2]
    sound = authority.count("@") <= 1 and all(
        re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(:\d{0,5})?", host) for host in hosts.split(",")
    )
    if not sound:
        raise _unreadable(variable, url, "a URL, in which a password's @ : / ? # are written %40 %3A %2F %3F %23")


def _unreadable(variable: str, address: str, form: str) -> ServersUnavailable:
    mend = f"Correct {variable}, or unset it and the lab starts a server of its own."
    return ServersUnavailable(f"{variable}: {hidden(address)!r} cannot be read; expected {form}.", mend)
