"""`meshlab worker`: processes for the standing mesh and for live runs that are started elsewhere, until SIGTERM or
Ctrl-C.
"""

from __future__ import annotations

import argparse
import os

from cli.terminal import harmless, tell


def command(options: argparse.Namespace) -> int:
    """Serve, then leave. Raises ServersUnavailable if the environment does not name the servers to serve on."""
    from live_backend.host import serve
    from live_backend.membership import Share

    serve(os.environ, lambda text: tell(harmless(text)), Share(options.processes, options.slots))
    return 0
