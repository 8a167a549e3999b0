"""`meshlab api`: the HTTP API and a standby reaper, on servers that the environment names."""

from __future__ import annotations

import argparse
import os

from cli.terminal import harmless, tell
from cli.up import announce


def command(options: argparse.Namespace) -> int:
    """Serve until told to leave. Raises ServersUnavailable if the environment does not name the servers."""
    from live_backend.serving import api

    api(options.host, options.port, os.environ, lambda text: tell(harmless(text)), announce)
    return 0
