"""Event loops: a fast one where there is one, and background work that must not die unheard."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

EXIT_LOOP_DIED = 70
"""EX_SOFTWARE: a fault of ours."""


def run_in_fast_loop(main: Coroutine[Any, Any, Any]) -> None:
    """Run on uvloop where it is installed (Unix), else on asyncio's own loop: a tenth less of the processor."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def supervised(loop: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Background work that must not die alone: an unexpected error ends the process, and the leases do the rest."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": f"{name} died", "exception": error})
            os._exit(EXIT_LOOP_DIED)

    task = asyncio.get_running_loop().create_task(loop)
    task.add_done_callback(ended)
    return task
