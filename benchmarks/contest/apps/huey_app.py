# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""huey on a Redis list with blocking pop, results off."""

import os
import time

from huey import RedisHuey

from benchmarks.contest.body import SLEEP_S, mark

huey = RedisHuey("contest", url=os.environ["CONTEST_REDIS"], results=False)


@huey.task()
def noop(number: int) -> None:
    mark(number)


@huey.task()
def sleep(number: int) -> None:
    time.sleep(SLEEP_S)
    mark(number)


def enqueue(kind: str, numbers: list[int]) -> None:
    """huey has no bulk call."""
    task = {"noop": noop, "sleep": sleep}[kind]
    for number in numbers:
        task(number)
