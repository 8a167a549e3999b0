"""Agents for the fault tests: they leave traces of every attempt, block, hoard memory, or kill their process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from live_backend.jobs import Job, Permanent

KEPT: list[bytearray] = []
"""What `hoard` never gives back."""
KEPT_BYTES = 64 * 1024 * 1024


async def effect(job: Job) -> dict[str, Any]:
    """Leave a line `task attempt` in the payload's `file` at once, and then take `s` seconds."""
    with Path(job.payload["file"]).open("a") as file:  # short lines in append mode: never torn
        file.write(f"{job.id} {job.attempt}\n")
    await asyncio.sleep(job.payload.get("s", 0.0))
    return {"attempt": job.attempt}


async def block(job: Job) -> str:
    """Hold up the whole event loop, as a library that is not asynchronous does."""
    time.sleep(job.payload["s"])
    return "done"


async def hoard(job: Job) -> int:
    """Take memory and never give it back. The process is as large afterwards as its limit allows for."""
    KEPT.append(bytearray(os.urandom(1 << 20) * (KEPT_BYTES >> 20)))
    return len(KEPT)


async def gated(job: Job) -> None:
    """Work until the test opens the gate, and leave a mark before and after."""
    folder = Path(os.environ["MESHLAB_TEST_GATE"])
    (folder / f"began-{job.id}-{job.attempt}").touch()
    while not (folder / "open").exists():
        await asyncio.sleep(0.01)
    (folder / f"passed-{job.id}-{job.attempt}").touch()


async def gated_and_failing_first(job: Job) -> None:
    """The same; and the first attempt fails."""
    await gated(job)
    if job.attempt == 1:
        raise RuntimeError("the first attempt fails")


async def poison(job: Job) -> None:
    """Kill the process."""
    os.kill(os.getpid(), signal.SIGKILL)


async def fail(job: Job) -> None:
    """Fail for good."""
    raise Permanent("this cannot be mended")
