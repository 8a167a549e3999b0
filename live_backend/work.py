"""The synthetic work of a task, really done: the time really waited for, the processor really burnt, the memory really
held.
"""

from __future__ import annotations

import asyncio
import mmap
import time
from concurrent.futures import ThreadPoolExecutor

from lab.limits import LOOP_FILL_BYTES_MAX
from lab.workload import Plan

BURN_SLICE = 2_000
"""Turns of the busy loop between two looks at the processor's clock: about a tenth of a millisecond."""


async def do(plan: Plan, task: int, service_s: float, pool: ThreadPoolExecutor) -> None:
    """Work on a task for `service_s` seconds, as its role says: an agent mostly waits for its model, and computes a
    little.
    """
    await spend(service_s, service_s * plan.cpu_share(task), plan.memory_bytes[task], pool)


async def spend(service_s: float, burn_s: float, memory_bytes: int, pool: ThreadPoolExecutor) -> None:
    """Take `service_s` seconds, `burn_s` of them on the processor, and hold so much memory meanwhile.

    The loop's own clock would not do: uvloop's stands still while callbacks run, and here threads keep them from it.
    """
    loop = asyncio.get_running_loop()
    ends_at = time.monotonic() + service_s
    block = await _hold(memory_bytes, pool)
    try:
        if burn_s > 0:
            await loop.run_in_executor(pool, _burn, burn_s)
        await asyncio.sleep(max(0.0, ends_at - time.monotonic()))
    finally:
        if block is not None:
            block.close()


async def _hold(size: int, pool: ThreadPoolExecutor) -> mmap.mmap | None:
    """A block of memory of its own, every page of it touched. It returns to the system when closed, whatever malloc
    thinks.
    """
    if size == 0:
        return None
    if size > LOOP_FILL_BYTES_MAX:
        return await asyncio.get_running_loop().run_in_executor(pool, touched, size)
    return touched(size)


def touched(size: int) -> mmap.mmap:
    """A block of so many bytes, every page of it written to."""
    block = mmap.mmap(-1, size)
    for start in range(0, size, mmap.PAGESIZE):
        block[start] = 1
    return block


def _burn(seconds: float) -> None:
    """Spend processor time of this thread, not wall-clock time: what others take of the core does not count."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        for _ in range(BURN_SLICE):
            pass
