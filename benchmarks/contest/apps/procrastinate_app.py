# mypy: ignore-errors
# (its packages are installed in the peers' environment alone)
"""procrastinate on PostgreSQL."""

import asyncio
import os

import procrastinate

from benchmarks.contest.body import SLEEP_S, mark

AT_ONCE = 1000
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["CONTEST_DSN"]))


@app.task(name="noop")
async def noop(number: int) -> None:
    mark(number)


@app.task(name="sleep")
async def sleep(number: int) -> None:
    await asyncio.sleep(SLEEP_S)
    mark(number)


def prepare() -> None:
    """Create its tables."""
    with app.open():
        app.schema_manager.apply_schema()


def enqueue(kind: str, numbers: list[int]) -> None:
    """By its bulk call."""
    task = {"noop": noop, "sleep": sleep}[kind]
    with app.open():
        for start in range(0, len(numbers), AT_ONCE):
            task.batch_defer(*({"number": number} for number in numbers[start : start + AT_ONCE]))
