"""Which driver for the hot path: the same three statements through psycopg 3 and asyncpg, in batches of 1 to 500.

    python benchmarks/drivers.py [--rows 50000]

Each batch is submitted, claimed and completed, as a task is; both drivers prepare their statements and take turns,
batch size by batch size. Printed are microseconds a row: of the wall clock, and of this process's own processor time,
which is what the driver costs. docs/decisions/004 draws the conclusion.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import uvloop

from lab.rules.tasks import Event, State
from live_backend import database, statements
from live_backend.servers import open_servers

BATCHES = (1, 20, 100, 500)
SCHEMA = "run_drivers"
Execute = Callable[..., Awaitable[Any]]


async def main(dsn: str, rows: int) -> None:
    """Measure and print."""
    asyncpg_connection = await database.connect(dsn, SCHEMA, database.JOINED_BY_ID)
    psycopg_connection = await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, options=f"{database.options(SCHEMA)} -c plan_cache_mode=force_generic_plan"
    )
    psycopg_connection.prepare_threshold = 0

    async def by_psycopg(query: str, *values: Any) -> list[Any]:
        return await (await psycopg_connection.execute(_named(query), _numbered(values))).fetchall()

    drivers: dict[str, Execute] = {"psycopg": by_psycopg, "asyncpg": asyncpg_connection.fetch}
    print(f"{'batch':>6} {'driver':>8} {'submit':>15} {'claim':>15} {'complete':>15}   µs a row: wall (processor)")
    first = 0
    for batch in BATCHES:
        count = max(1, min(rows, 100 * batch if batch < 20 else rows) // batch)
        for name, execute in drivers.items():
            await _one(execute, first, batch, 10)  # prepares
            first += 10 * batch
            cells = [f"{wall:6.1f} ({own:5.1f})" for wall, own in await _one(execute, first, batch, count)]
            first += count * batch
            print(f"{batch:>6} {name:>8} " + " ".join(f"{cell:>15}" for cell in cells), flush=True)
    await asyncpg_connection.close()
    await psycopg_connection.close()


async def _one(execute: Execute, first: int, batch: int, count: int) -> list[tuple[float, float]]:
    """(wall, processor) microseconds a row of each of the three statements."""
    batches = [list(range(first + n * batch, first + (n + 1) * batch)) for n in range(count)]

    def submit(ids: list[int]) -> tuple[Any, ...]:
        columns = [["A"] * batch, [3] * batch, [0] * batch, [None] * batch]
        return (statements.SUBMIT, ids, *columns, State.PENDING, Event.SUBMITTED)

    def claim(ids: list[int]) -> tuple[Any, ...]:
        return (statements.CLAIM, ids, "w0.1", State.RUNNING, State.PENDING, Event.CLAIMED, 10.0)

    def complete(ids: list[int]) -> tuple[Any, ...]:
        return (statements.COMPLETE, ids, 1, State.COMPLETED, State.RUNNING, Event.SUCCEEDED)

    found = []
    for step in (submit, claim, complete):
        wall, own = time.perf_counter(), time.process_time()
        for ids in batches:
            assert len(await execute(*step(ids))) == batch
        per_row = 1e6 / (batch * count)
        found.append(((time.perf_counter() - wall) * per_row, (time.process_time() - own) * per_row))
    return found


def _named(query: str) -> str:
    """asyncpg's $1 as psycopg's %(p1)s."""
    return re.sub(r"\$(\d+)", r"%(p\1)s", query)


def _numbered(values: tuple[Any, ...]) -> dict[str, Any]:
    return {f"p{number}": value for number, value in enumerate(values, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000, help="rows a batch size (default: 50,000)")
    options = parser.parse_args()
    with open_servers({}) as servers:
        database.create(servers.dsn, SCHEMA)
        uvloop.run(main(servers.dsn, options.rows))
