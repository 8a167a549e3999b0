# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""dramatiq on Redis with its default middleware, results off."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.contest.body import SLEEP_S, mark

dramatiq.set_broker(RedisBroker(url=os.environ["CONTEST_REDIS"]))


@dramatiq.actor
def noop(number: int) -> None:
    mark(number)


@dramatiq.actor
def sleep(number: int) -> None:
    time.sleep(SLEEP_S)
    mark(number)


def enqueue(kind: str, numbers: list[int]) -> None:
    """dramatiq has no bulk call."""
    actor = {"noop": noop, "sleep": sleep}[kind]
    for number in numbers:
        actor.send(number)
