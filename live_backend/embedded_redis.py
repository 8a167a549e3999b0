"""A private Redis: a rebuildable index on a unix socket of mode 0700, with no TCP port and nothing on disk."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from live_backend.addresses import ask_redis
from live_backend.embedded import SIGKILL, START_TIMEOUT_S, EmbeddedServer
from live_backend.watchdog import Watchdog


class EmbeddedRedis(EmbeddedServer):
    """Redis without persistence: PostgreSQL is the authority, so that a restart comes back empty is by design.

    With `keeps_log` it writes an append-only file, for faults that want it to come back with what it knew.
    """

    kind = "redis"
    stop_ladder = (signal.SIGTERM, SIGKILL)

    def __init__(self, watchdog: Watchdog, home: Path, environ: Mapping[str, str]) -> None:
        super().__init__(watchdog, home, environ, account=None)
        self._home = home
        self.keeps_log = False

    @property
    def socket_path(self) -> Path:
        return self._home / "redis.sock"

    @property
    def address(self) -> str:
        return f"unix://{quote(str(self.socket_path))}?db=0"

    @property
    def log_bytes(self) -> int:
        """The length of the append-only file: what a later `forget` may go back to."""
        return self._log_file.stat().st_size if self.keeps_log else 0

    def forget(self, beyond_bytes: int) -> None:
        """While it is down: lose all that was written after its append-only file was so long."""
        if self.keeps_log:
            os.truncate(self._log_file, min(beyond_bytes, self.log_bytes))

    @property
    def _log_file(self) -> Path:
        """Redis 7 keeps it in a directory of its own, in parts of which the newest grows; Redis 6 has the one file."""
        return next(iter(self._home.glob("appendonlydir/*.incr.aof")), self._home / "appendonly.aof")

    def _begin(self) -> None:
        self._run_server()

    def _await_ready(self) -> None:
        self._await_answer(START_TIMEOUT_S)

    def _command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self._home),
            "save": "",  # no snapshots: a fork under load doubles memory for data that nobody will read
            "appendonly": "yes" if self.keeps_log else "no",
            "appendfsync": "no",  # written before the answer all the same: a killed process loses nothing of it
            "auto-aof-rewrite-percentage": "0",  # a file that is rewritten no longer begins as it did a second ago
            "maxmemory-policy": "noeviction",  # an index may be short of memory loudly, never silently incomplete
            "daemonize": "no",
        }
        return [str(self.binary.path), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(START_TIMEOUT_S)
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _ask(self) -> tuple[str, dict[str, str], tuple[str, ...]]:
        return ask_redis(self.address)
