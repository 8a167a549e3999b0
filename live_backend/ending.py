"""Ending background work for certain."""

from __future__ import annotations

import asyncio
from typing import Any

from lab.limits import CANCEL_AGAIN_S


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they end with.

    Whoever goes on is cancelled again: before Python 3.12 `asyncio.wait_for` forgets a cancellation that comes at the
    very moment when what it waits for is done (CPython issue 81839), and psycopg waits with it. One run in some dozens
    hung at its end until this was here.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
