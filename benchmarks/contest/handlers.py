"""The task body as our workers run it. They find this file because `meshlab up` is started in benchmarks/."""

from __future__ import annotations

import asyncio

from benchmarks.contest.body import SLEEP_S, mark
from live_backend.jobs import Job

LONG_S = 2.0
"""The published burst's work."""


async def noop(job: Job) -> None:
    """Nothing but the mark, at the start of the work."""
    mark(job.payload)


async def sleep(job: Job) -> None:
    """10 ms of waiting."""
    await asyncio.sleep(SLEEP_S)
    mark(job.payload)


async def long(job: Job) -> None:
    """2 s of waiting."""
    await asyncio.sleep(LONG_S)
    mark(job.payload)
