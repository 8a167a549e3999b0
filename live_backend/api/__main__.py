"""An API process: told on standard input what to serve, and gone when that closes.

On SIGTERM it takes no more connections, tells the streams to end, lets requests finish within API_GRACE_S_MAX, and
exits 0. Once it listens it says so with one JSON line on standard output: {"host", "port", "pid"}.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from lab.errors import LabError, Unavailable
from lab.limits import API_CLIENTS_MAX, API_GRACE_S_MAX, SOCKET_MESSAGE_BYTES_MAX, SOCKET_PING_S
from live_backend.api.app import create_app
from live_backend.api.connections import BoundedProtocol
from live_backend.api.settings import Settings
from live_backend.loops import run_in_fast_loop

log = logging.getLogger("meshlab.api")


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the application: bounded everywhere, and silent."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_BYTES_MAX,
        ws_ping_interval=SOCKET_PING_S,
        ws_ping_timeout=SOCKET_PING_S,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=API_CLIENTS_MAX,
        timeout_graceful_shutdown=int(API_GRACE_S_MAX),
    )


class Server(uvicorn.Server):
    """uvicorn, with an end that streams hear of."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(configured(app, settings))
        self._app = app

    def leave(self) -> None:
        """End gracefully."""
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own handlers would end the process by the same signal again, once all is done."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.leave)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams first: they would not end by themselves."""
        self._app.state.services.feed.close()
        await super().shutdown(sockets)


def listening_socket(host: str, port: int) -> socket.socket:
    """Bound, not yet listening. Raises Unavailable if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), port))
    except OSError as error:
        bound.close()
        raise Unavailable(
            f"The API cannot listen on {host}:{port} ({error.strerror}). Choose another --port."
        ) from error
    return bound


def listen_to_parent(server: Server, loop: asyncio.AbstractEventLoop) -> None:
    """When the parent says nothing more it is dead, and this process must not outlive it."""
    sys.stdin.read()
    loop.call_soon_threadsafe(server.leave)


async def serve(settings: Settings, bound: socket.socket) -> None:
    """Until asked to leave."""
    server = Server(create_app(settings), settings)
    threading.Thread(target=listen_to_parent, args=(server, asyncio.get_running_loop()), daemon=True).start()
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if server.started:
        gc.collect()
        gc.freeze()  # a full collection over everything that was ever imported would show in the slowest answers
        where = {"host": settings.host, "port": bound.getsockname()[1], "pid": os.getpid()}
        print(json.dumps(where), flush=True)
    await serving


def main() -> int:
    """Be told, serve, leave. Returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_line(sys.stdin.readline())
        bound = listening_socket(settings.host, settings.port)
    except LabError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    run_in_fast_loop(serve(settings, bound))
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the thread that reads standard input would be waited for
