# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""pgqueuer on PostgreSQL through asyncpg and uvloop.

Its worker is started from here: the command line of 1.6.0 ends in its set-up of logging.
"""

import asyncio
import os
import sys

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.contest.body import SLEEP_S, mark

AT_ONCE = 1000


def prepare() -> None:
    """Create its tables."""
    uvloop.run(_prepare())


async def _prepare() -> None:
    connection = await asyncpg.connect(os.environ["CONTEST_DSN"])
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


def enqueue(kind: str, numbers: list[int]) -> None:
    """By its bulk call."""
    uvloop.run(_enqueue(kind, numbers))


async def _enqueue(kind: str, numbers: list[int]) -> None:
    connection = await asyncpg.connect(os.environ["CONTEST_DSN"])
    queries = Queries(AsyncpgDriver(connection))
    for start in range(0, len(numbers), AT_ONCE):
        batch = [b"%d" % number for number in numbers[start : start + AT_ONCE]]
        await queries.enqueue([kind] * len(batch), batch, [0] * len(batch))
    await connection.close()


async def work(batch: int, slots: int) -> None:
    """A worker that takes `batch` jobs at a time; with `slots` it has at most so many under way, else all it gets."""
    mesh = PgQueuer.from_asyncpg_connection(await asyncpg.connect(os.environ["CONTEST_DSN"]))

    @mesh.entrypoint("noop")
    async def noop(job: Job) -> None:
        mark(int(job.payload))

    @mesh.entrypoint("sleep")
    async def sleep(job: Job) -> None:
        await asyncio.sleep(SLEEP_S)
        mark(int(job.payload))

    await mesh.run(batch_size=batch, max_concurrent_tasks=slots or None)


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1]), int(sys.argv[2])))
