"""The app as a process of its own: started on loopback, waited for, ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from lab.errors import Unavailable, UsageError
from lab.limits import APP_START_S_MAX, APP_STOP_S_MAX

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8501
"""Streamlit's own, which people know."""
LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True)
class App:
    """The app, ready to be looked at."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def running(
    port: int, environment: Mapping[str, str] | None = None, *, errors: IO[bytes] | int | None = None
) -> Iterator[App]:
    """The app on this port of 127.0.0.1 from the moment at which it answers; ended when the context is left.

    `errors` takes what the server says on stderr (default: our own stderr). Raises Unavailable if it does not come up.
    """
    if not (ROOT / "app.py").is_file():
        raise UsageError(f"there is no app.py in {ROOT}; run this from a clone of the repository")
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    command += ["--server.address", HOST, "--server.port", str(port)]
    # Its words on stdout are an address, which we say ourselves.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    try:
        url = f"http://{HOST}:{port}"
        _wait_until_it_answers(url, process)
        yield App(url, process)
    finally:
        _end(process)


def free_port(wanted: int | None) -> int:
    """`wanted` if it can be had (0: any); without a wish the usual port, or any that is free. Raises Unavailable."""
    for port in (PORT_DEFAULT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable(f"port {wanted} of {HOST} is taken or not allowed; choose another with --port, or leave it out")


def _environment(given: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's, with a folder of runs that means the same in the app's own folder."""
    environment = dict(os.environ if given is None else given)
    if runs := environment.get("MESHLAB_RUNS"):
        environment["MESHLAB_RUNS"] = str(Path(runs).absolute())
    return environment


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + APP_START_S_MAX
    while time.monotonic() < deadline:
        if (status := process.poll()) is not None:
            raise Unavailable(f"the app ended with status {status} before it answered; its own words are above")
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(LOOK_EVERY_S)
    raise Unavailable(f"the app did not answer at {url} within {APP_START_S_MAX:g} s; its own words are above")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(APP_STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
