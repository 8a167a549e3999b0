"""Holds the embedded servers of one run, and outlives that run just long enough to clear up after it.

A lab that is killed with SIGKILL can stop nothing any more, so the servers are not its children: they are children of
this small process, which holds the read end of a pipe. When the pipe reports its end, or the parent is no longer our
parent, every server is stopped and every directory deleted. It makes the directories itself, so that there is no moment
in which one exists that it does not know.

`Watchdog` is the lab's side, `Keeper` the other. This file also runs alone (`python -I -S watchdog.py PARENT`), hence
standard library only and nothing of ours. It knows processes and directories; what a Redis is, `embedded.py` knows.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PARENT_CHECK_S: Final = 0.5
"""A forked child of a lab that died may still hold the pipe open; then `getppid` tells, this late at most."""
STOP_RUNG_S: Final = 5.0
"""How long a server may take for each step of its stop ladder. Measured: 0.1 s for either."""
CHILD_POLL_S: Final = 0.005
REMOVE_TRIES: Final = 100
REMOVE_RETRY_S: Final = 0.02
LOCK_NAME: Final = ".alive"
"""Locked by the keeper for as long as it lives: with this lock free, the directory was left by one that was killed."""
ABANDONED_S: Final = 10.0
"""A younger directory is left alone: its keeper may be about to lock it."""
CLOSE_TIMEOUT_S: Final = 4 * STOP_RUNG_S
"""Longer than the longest ladder: after it the lab goes on and leaves the rest to the watchdog."""
SET_PARENT_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG of <linux/prctl.h>."""


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that a server runs as when the lab runs as root."""

    name: str
    uid: int
    gid: int


class Watchdog:
    """The lab's side: asks the keeper process to make directories and to start, watch and signal servers.

    Every call is answered at once. Failures are OSError. Safe to call from several threads.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid())]
        # A session of its own: the terminal's Ctrl-C is for the lab alone, which then stops the servers in order.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        self._owner = os.getpid()
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def make_directory(self, base: Path, prefix: str) -> Path:
        """A fresh directory of mode 0700, deleted when the run ends however it ends; the dead's are swept up first."""
        return Path(self._ask("make", base=str(base), prefix=prefix))

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str],
        stop: Sequence[int],
        account: Account | None = None,
    ) -> int:
        """Start `argv` under `name` and return its process id. `stop` is its ladder: signals, mildest first."""
        ids = [account.uid, account.gid] if account else None
        return int(
            self._ask("start", name=name, argv=list(argv), log=str(log), env=dict(env), stop=list(stop), ids=ids)
        )

    def status(self, name: str) -> int | None:
        """None while it runs, else its exit status (negative: the signal that ended it)."""
        status = self._ask("status", name=name)
        return None if status is None else int(status)

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a server; nothing happens if it has already ended."""
        self._ask("signal", name=name, signum=int(signum))

    def close(self) -> None:
        """Stop every server, delete every directory, and wait for both. A second call does nothing."""
        if os.getpid() != self._owner:  # a forked child closes nothing that its parent still uses
            return
        with self._lock:
            if self._process.stdin and not self._process.stdin.closed:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_TIMEOUT_S)
        if self._process.stdout:
            self._process.stdout.close()

    def _ask(self, do: str, **arguments: Any) -> Any:
        with self._lock:
            answer = self._exchange(json.dumps({"do": do, **arguments}).encode() + b"\n")
        if "error" in answer:
            raise OSError(answer["error"])
        return answer["value"]

    def _exchange(self, line: bytes) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except ValueError as error:  # "write to closed file"
            raise OSError("the embedded servers have been closed") from error
        if not answer:
            raise OSError("the process that holds the embedded servers has ended")
        found: dict[str, Any] = json.loads(answer)
        return found


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    stop: list[int]


class Keeper:
    """The process itself: obeys one JSON line after another until the pipe ends, then clears up."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._children: dict[str, _Child] = {}
        self._directories: list[str] = []
        self._locks: list[int] = []
        self._arm = _death_signal_setter()

    def serve(self) -> None:
        try:
            for line in _lines(lambda: os.getppid() == self._parent):
                sys.stdout.write(json.dumps(self._answer(json.loads(line))) + "\n")
                sys.stdout.flush()
        finally:
            signal.signal(signal.SIGTERM, lambda *_: None)  # a second one must not cut the clearing up short
            self._stop_all()
            self._remove_all()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        obey: Callable[..., Any] = getattr(self, "do_" + request.pop("do"))
        try:
            return {"value": obey(**request)}
        except OSError as error:
            return {"error": f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"}

    def do_make(self, base: str, prefix: str) -> str:
        _sweep(base, prefix)
        self._directories.append(made := tempfile.mkdtemp(prefix=prefix, dir=base))
        self._locks.append(_locked(made, os.O_CREAT))
        return made

    def do_start(
        self, name: str, argv: list[str], log: str, env: dict[str, str], stop: list[int], ids: list[int] | None
    ) -> int:
        known = self._children.get(name)
        if known and known.process.poll() is None:
            raise OSError(f"{name} already runs")
        drop: dict[str, Any] = {"user": ids[0], "group": ids[1], "extra_groups": []} if ids else {}
        with open(log, "ab") as sink:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd="/",
                env=env,
                start_new_session=True,
                preexec_fn=functools.partial(self._arm, stop[0]) if self._arm else None,
                **drop,
            )
        self._children[name] = _Child(process, stop)
        return process.pid

    def do_status(self, name: str) -> int | None:
        return self._children[name].process.poll()

    def do_signal(self, name: str, signum: int) -> None:
        _send(self._children[name].process, signum)

    def _stop_all(self) -> None:
        """Up the ladders, all servers at once: each step signals whoever is left and waits a bounded time."""
        for rung in range(max((len(child.stop) for child in self._children.values()), default=0)):
            left = [child for child in self._children.values() if child.process.poll() is None]
            for child in left:
                _send(child.process, child.stop[min(rung, len(child.stop) - 1)])
            deadline = time.monotonic() + STOP_RUNG_S
            while any(child.process.poll() is None for child in left) and time.monotonic() < deadline:
                time.sleep(CHILD_POLL_S)

    def _remove_all(self) -> None:
        for directory in self._directories:
            _remove(directory)


def _lines(parent_lives: Callable[[], bool]) -> Any:
    """Lines from standard input until it ends or the parent is gone."""
    rest = b""
    while parent_lives():
        if not select.select([0], [], [], PARENT_CHECK_S)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _send(process: subprocess.Popen[bytes], signum: int) -> None:
    """A signal to our own child; SIGKILL goes to its group, because initdb works through children of its own."""
    if process.poll() is not None:  # reaped: its number may belong to a stranger by now
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if signum == signal.SIGKILL:
            os.killpg(process.pid, signum)
        else:
            process.send_signal(signum)


def _remove(directory: str) -> None:
    for _ in range(REMOVE_TRIES):  # the last backends of a killed postmaster may still write for a moment
        shutil.rmtree(directory, ignore_errors=True)
        if not os.path.lexists(directory):
            return
        time.sleep(REMOVE_RETRY_S)


def _sweep(base: str, prefix: str) -> None:
    """Delete what killed keepers left in `base`. What has no lock, a held one, or another user's is not ours."""
    for entry in os.scandir(base):
        if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):
                lock = _locked(entry.path)
                if time.time() - os.fstat(lock).st_mtime > ABANDONED_S:
                    _remove(entry.path)
                os.close(lock)


def _locked(directory: str, flags: int = 0) -> int:
    """A descriptor that holds the directory's lock. OSError if another process does, or if there is none."""
    import fcntl

    lock = os.open(os.path.join(directory, LOCK_NAME), os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            raise PermissionError("the lock is another user's")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _death_signal_setter() -> Callable[[int], object] | None:
    """On Linux, what a child calls before exec so that it gets its stop signal if this very process is killed."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # a Python without ctypes loses only this second safety net
        return None
    return lambda signum: prctl(SET_PARENT_DEATH_SIGNAL, signum, 0, 0, 0)


def main() -> None:
    os.umask(0o077)
    # A handler that does nothing, not SIG_IGN: an ignored signal stays ignored across exec, in the servers too.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # `serve` clears up on the way out
    with contextlib.suppress(BrokenPipeError):
        Keeper(int(sys.argv[1])).serve()


if __name__ == "__main__":
    main()
