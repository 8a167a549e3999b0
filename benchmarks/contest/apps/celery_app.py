# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""Celery on Redis, results off."""

import os
import time

from celery import Celery

from benchmarks.contest.body import SLEEP_S, mark

REDIS = os.environ["CONTEST_REDIS"].replace("unix://", "redis+socket://").replace("db=", "virtual_host=")
app = Celery("contest", broker=REDIS)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=int(os.environ.get("CONTEST_PREFETCH", "4")),
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(number: int) -> None:
    mark(number)


@app.task(name="sleep")
def sleep(number: int) -> None:
    time.sleep(SLEEP_S)
    mark(number)


def enqueue(kind: str, numbers: list[int]) -> None:
    """Celery has no bulk call: one producer for all."""
    task = app.tasks[kind]
    with app.producer_pool.acquire(block=True) as producer:
        for number in numbers:
            task.apply_async((number,), producer=producer)
