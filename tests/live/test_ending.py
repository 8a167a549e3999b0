"""Background work ends for certain, even if it misses a cancellation."""

from __future__ import annotations

import asyncio

from live_backend.ending import end


def test_work_that_swallows_its_first_cancellations_ends_all_the_same() -> None:
    """As `asyncio.wait_for` does before Python 3.12 when it is cancelled at the moment when it is done."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    async def scene() -> bool:
        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        await end(task)
        return task.cancelled()

    assert asyncio.run(asyncio.wait_for(scene(), 30))
    assert swallowed == 2


def test_work_that_failed_before_is_no_trouble() -> None:
    async def scene() -> None:
        async def broken() -> None:
            raise ValueError("it broke")

        task = asyncio.create_task(broken())
        await asyncio.sleep(0)
        await end(task)
        assert isinstance(task.exception(), ValueError)

    asyncio.run(scene())
