# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""taskiq on a Redis stream (its acknowledged mode), results off."""

import asyncio
import os

from taskiq_redis import RedisStreamBroker

from benchmarks.contest.body import SLEEP_S, mark

AT_ONCE = 200
broker = RedisStreamBroker(url=os.environ["CONTEST_REDIS"])


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    mark(number)


@broker.task(task_name="sleep")
async def sleep(number: int) -> None:
    await asyncio.sleep(SLEEP_S)
    mark(number)


def enqueue(kind: str, numbers: list[int]) -> None:
    """taskiq has no bulk call: many at once."""

    async def send() -> None:
        await broker.startup()
        task = {"noop": noop, "sleep": sleep}[kind]
        for start in range(0, len(numbers), AT_ONCE):
            await asyncio.gather(*(task.kiq(number) for number in numbers[start : start + AT_ONCE]))
        await broker.shutdown()

    asyncio.run(send())
