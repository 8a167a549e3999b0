"""Agents for tests/live/test_user_work.py: what a user's module might hold."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from live_backend.jobs import Job, Permanent


async def upper(job: Job) -> Any:
    """An answer from the payload; once to be tried again; once not."""
    await asyncio.sleep(0)
    if job.payload == "no":
        raise Permanent("nothing to be done")
    if job.payload == "again" and job.attempt == 1:
        raise RuntimeError("the model was overloaded")
    return {"said": job.payload.upper(), "attempt": job.attempt}


def dies_first(job: Job) -> int:
    """Takes its own process down with it at the first attempt."""
    if job.attempt == 1:
        os._exit(9)
    return job.attempt


async def hangs(job: Job) -> None:
    """Never ends by itself."""
    await asyncio.Event().wait()
