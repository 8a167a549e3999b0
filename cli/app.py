"""`meshlab app`: the app on this machine, in the browser or in a window of its own, until it is closed or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from cli.app_server import App, free_port, running
from cli.app_window import window
from cli.terminal import harmless, say, tell
from lab.errors import Unavailable


def command(options: argparse.Namespace) -> int:
    """Serve the app and show it. Raises Unavailable if it cannot be served, or no window can be opened."""
    show = window(os.environ) if options.window else None  # before anything is started
    port = free_port(options.port)
    with _ended_by_sigterm(), suppress(KeyboardInterrupt), running(port) as app:
        say(f"{app.url}  ({'close its window' if show else 'Ctrl-C'} to end it)")
        sys.stdout.flush()
        if show is not None:
            show(app.url)
            return 0
        if not options.no_browser and not webbrowser.open(app.url):
            tell("no browser could be opened here; open the address above in one")
        return _serve(app)
    return 0


def _serve(app: App) -> int:
    """Until the server ends, which it should not do by itself."""
    status = app.process.wait()
    raise Unavailable(harmless(f"the app ended with status {status}; its own words are above"))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: the server goes with us."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
