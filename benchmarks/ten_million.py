"""Does anything get slower when ten million finished tasks lie in the tables? One command, on a PostgreSQL of its own.

    .venv/bin/python benchmarks/ten_million.py                     # 0, 1 M and 10 M: some 6 GB of disk, 10 minutes
    .venv/bin/python benchmarks/ten_million.py --tasks 0 200000    # a quick look
    .venv/bin/python benchmarks/ten_million.py --plans             # with every plan at the largest size

The tables are filled with COMPLETED tasks and their audit rows, as two API processes would leave them (each hands out
ids from blocks of its own, so both logs interleave), and vacuumed, as autovacuum leaves them. Then, on top of that:

- the way of a task through `live_backend/store.py`, 100 tasks a statement: milliseconds a call, median of many;
- what the reaper, the event feed and the API ask, with 100 tasks waiting and 100 running.

Pages are those of 8 KiB that PostgreSQL looks at (EXPLAIN ANALYZE, BUFFERS). They do not depend on the machine: a
statement whose pages stay the same is flat, whatever the clock says on a busy day.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lab.limits import BLOCK_TASKS
from lab.rules.lease import LeaseRules
from lab.rules.retry import RetryRules
from lab.rules.tasks import TERMINAL, Accepted, Event, State, transition
from live_backend import database, feed, narrowing, pruning, statements
from live_backend.database import Database
from live_backend.servers import open_servers
from live_backend.store import Claim, NewTask, Store, Verdict

BYTES_A_TASK = 900
"""Task row at fillfactor 40, its key, three audit rows, and the WAL that has not been recycled yet."""
CHUNK_TASKS = 20_000
BATCH_TASKS = 100
ROUNDS = 40
ABOVE_ALL_FILLED = 1_000_000_000
LEASE_S = 600.0
"""Longer than the benchmark: nothing lapses meanwhile."""

FILL = """
with new as (
    insert into task (id, role, priority, class, state, attempt, token, worker)
    select ((i / 2 / %(block)s) * 2 + i %% 2) * %(block)s + (i / 2) %% %(block)s,
           'DEVELOPER', 3, 0, 'COMPLETED', 1, 1, 'filled'
    from generate_series(%(first)s::bigint, %(last)s) as i
    returning id)
insert into transition (task, from_state, to_state, worker, attempt, token, reason)
select id, from_state, to_state, worker, attempt, attempt, reason
from (values ('', 'PENDING', '', 0, 'submitted'), ('PENDING', 'RUNNING', 'filled', 1, 'claimed'),
             ('RUNNING', 'COMPLETED', 'filled', 1, 'succeeded') limit %(audit)s)
     as move (from_state, to_state, worker, attempt, reason), new
order by id / %(block)s %% 2, id"""
SIZES = "select pg_total_relation_size('task'), pg_total_relation_size('transition')"
TASK = "select * from task where id = $1"
HISTORY = "select * from transition where task = $1 order by at, seq"
NEWEST = "select id, state, role from task order by id desc limit 50"


@dataclass
class Found:
    """What was measured of one statement: milliseconds and pages by size of the tables, and what it reads through."""

    ms: dict[int, float] = field(default_factory=dict)
    pages: dict[int, int] = field(default_factory=dict)
    through: dict[int, str] = field(default_factory=dict)
    plan: str = ""


Book = dict[str, Found]


def fill(dsn: str, schema: str, first: int, tasks: int, audit: int) -> None:
    """Finished tasks from the `first`-th up to `tasks`."""
    with pruning.connect(dsn, schema) as connection:
        for lowest in range(first, tasks, CHUNK_TASKS):
            highest = min(lowest + CHUNK_TASKS, tasks) - 1
            connection.execute(
                FILL, {"block": BLOCK_TASKS, "first": lowest, "last": highest, "audit": audit}, prepare=True
            )
            tell(f"filling: {highest + 1:,} tasks")
        connection.execute("vacuum (analyze) task")
        connection.execute("vacuum (analyze) transition")
        narrowing.mend(connection)  # that vacuum may have driven an autovacuum away in the middle
    tell("")


def tell(text: str) -> None:
    """How far it has come."""
    if sys.stderr.isatty():
        print(f"\r{text:40}", end="\r", file=sys.stderr, flush=True)


class Bench:
    """Statements on one schema, at one size of its tables."""

    def __init__(self, dsn: str, schema: str, size: int, book: Book) -> None:
        self._dsn, self._schema, self._size, self._book = dsn, schema, size, book
        self._database = Database(dsn, schema, database.JOINED_BY_ID)
        self._reaping = Database(dsn, schema, database.PLANNED_ANEW)
        self._store = Store(self._database, LeaseRules(length_s=LEASE_S))
        self._ids: Iterator[int] = iter(())
        self._running: list[Claim] = []
        self._waiting: list[int] = []
        self._mark = 0

    async def run(self) -> None:
        """Measure everything."""
        await self._one_tasks_way()
        await self._leave_some()
        await self._questions()
        await self._store.settle(succeeded(self._running))
        await self._store.settle(succeeded(await self._store.claim(self._waiting, "bench")))
        await self._database.close()
        await self._reaping.close()

    async def _one_tasks_way(self) -> None:
        took: dict[str, list[float]] = {"submit 100": [], "claim 100": [], "complete 100": []}
        for _ in range(ROUNDS):
            tasks = await self._new_tasks()
            ids = [task.id for task in tasks]
            await self._timed(took["submit 100"], self._store.submit(tasks))
            claims = await self._timed(took["claim 100"], self._store.claim(ids, "bench"))
            await self._timed(took["complete 100"], self._store.settle(succeeded(claims)))
        for name, seconds in took.items():
            self._note(name).ms[self._size] = median(seconds) * 1000
        tasks = await self._new_tasks()
        await self._explain("submit 100", self._database, statements.SUBMIT, *submitted(tasks))
        await self._store.submit(tasks)
        ids = [task.id for task in tasks]
        claim = ids, "bench", State.RUNNING, State.PENDING, Event.CLAIMED, LEASE_S
        await self._explain("claim 100", self._database, statements.CLAIM, *claim)
        claims = await self._store.claim(ids, "bench")
        done = [one.id for one in claims], claims[0].task.token
        end = State.COMPLETED, State.RUNNING, Event.SUCCEEDED
        await self._explain("complete 100", self._database, statements.COMPLETE, *done, *end)
        await self._store.settle(succeeded(claims))

    async def _leave_some(self) -> None:
        """Sweeps begin above all that is finished, as they do after a quiet minute; there 100 run, and 100 wait."""
        sweeper = Store(self._reaping, LeaseRules(length_s=LEASE_S))
        for _ in range(2):
            await sweeper.advance(lag_s=0.0)
        await self._database.rows(feed.SUMMARIZE)  # as the feed does every second
        self._mark = (await self._database.rows(feed.HORIZON))[0][0]
        running, waiting = await self._new_tasks(), await self._new_tasks()
        await self._store.submit([*running, *waiting])
        self._running = await self._store.claim([task.id for task in running], "bench")
        self._waiting = [task.id for task in waiting]

    async def _questions(self) -> None:
        ended = [str(state) for state in TERMINAL]
        look = (State.PENDING, 0.0, State.RUNNING, State.RETRY_WAIT, 0.0)
        (end,) = (await self._database.rows(feed.HORIZON))[0]
        middle = max(self._size // 2 // 2, 0)
        tail = positional(feed.EVENTS, {"xid": self._mark, "seq": 0, "end_xid": end, "end_seq": 0, "limit": 1_000})
        questions: list[tuple[str, Database, str, Sequence[Any]]] = [
            ("reaper: what is late", self._reaping, statements.LOOK, look),
            ("reaper: clients that left", self._reaping, statements.EXPIRE, (State.CANCELLED, State.PENDING, "left")),
            ("reaper: who waits", self._reaping, statements.WAITING, (State.PENDING, 0.0)),
            ("reaper: move the ceiling", self._reaping, statements.ADVANCE, (0.0, ended)),
            ("feed: what came since", self._database, *tail),
            ("API: a task", self._database, TASK, (middle,)),
            ("API: a task's transitions", self._database, HISTORY, (middle,)),
            ("API: the newest 50 tasks", self._database, NEWEST, ()),
        ]
        for name, asked, query, values in questions:
            await self._explain(name, asked, query, *values)

    async def _new_tasks(self) -> list[NewTask]:
        """Tasks with ids that nobody has, from a fresh block as an API process takes them."""
        ids = [task for task, _ in zip(self._ids, range(BATCH_TASKS), strict=False)]
        if len(ids) < BATCH_TASKS:
            highest = (await self._database.rows("select coalesce(max(id), 0) from task"))[0][0]
            block = max(highest, ABOVE_ALL_FILLED) // BLOCK_TASKS + 1
            self._ids = iter(range(block * BLOCK_TASKS, (block + 1) * BLOCK_TASKS))
            return await self._new_tasks()
        return [NewTask(task, "DEVELOPER", 3, 0, None) for task in ids]

    @staticmethod
    async def _timed(into: list[float], work: Awaitable[Any]) -> Any:
        began = time.perf_counter()
        found = await work
        into.append(time.perf_counter() - began)
        return found

    async def _explain(self, name: str, asked: Database, query: str, *values: Any) -> None:
        """The plan, thrice; nothing of what it did stays."""
        plans = []
        for _ in range(3):
            connection = await database.connect(self._dsn, self._schema)
            doing = connection.transaction()
            await doing.start()
            [row] = await connection.fetch(f"explain (analyze, buffers, format json) {query}", *values)
            await doing.rollback()
            await connection.close()
            plans.append(json.loads(row[0])[0])
        best = min(plans, key=lambda each: each["Execution Time"])
        found = self._note(name)
        found.ms.setdefault(self._size, best["Execution Time"] + best["Planning Time"])
        found.pages[self._size] = pages(best["Plan"])
        found.through[self._size] = ", ".join(dict.fromkeys(ways(best["Plan"])))
        found.plan = json.dumps(best["Plan"], indent=1)

    def _note(self, name: str) -> Found:
        return self._book.setdefault(name, Found())


def submitted(tasks: Sequence[NewTask]) -> tuple[Any, ...]:
    """What `statements.SUBMIT` takes."""
    columns = tuple(list(column) for column in zip(*tasks, strict=True))
    return *columns, State.PENDING, Event.SUBMITTED


def succeeded(claims: Sequence[Claim]) -> list[Verdict]:
    """The rulebook's word on work that went well."""
    verdicts = []
    for one in claims:
        verdict = transition(one.task, Event.SUCCEEDED, RetryRules(), token=one.task.token)
        assert isinstance(verdict, Accepted)
        verdicts.append(Verdict(one.id, one.task.token, verdict))
    return verdicts


def positional(query: str, values: dict[str, Any]) -> tuple[str, Sequence[Any]]:
    """psycopg's named parameters as PostgreSQL's numbered ones."""
    names = list(values)
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}::bigint", query)
    return numbered, list(values.values())


def ways(plan: dict[str, Any]) -> Iterator[str]:
    """The indexes that a plan goes through, and the tables that it reads from end to end."""
    if "Index Name" in plan:
        yield plan["Index Name"]
    elif plan["Node Type"] == "Seq Scan":
        yield f"all of {plan['Relation Name']}"
    for part in plan.get("Plans", []):
        yield from ways(part)


def pages(plan: dict[str, Any]) -> int:
    """Pages that a statement looked at. A CTE that changes rows and that nobody reads runs after everything else, and
    the root of the plan does not count it.
    """
    parts = {part["Subplan Name"].removeprefix("CTE "): part for part in plan.get("Plans", []) if is_cte(part)}
    read = set(read_by(plan))
    while more := {name for each in read for name in read_by(parts[each])} - read:
        read |= more
    counted = [plan, *(part for name, part in parts.items() if name not in read)]
    return sum(part["Shared Hit Blocks"] + part["Shared Read Blocks"] for part in counted)


def is_cte(plan: dict[str, Any]) -> bool:
    return str(plan.get("Subplan Name", "")).startswith("CTE ")


def read_by(plan: dict[str, Any]) -> Iterator[str]:
    """The CTEs that a part of a plan reads, not counting what they read themselves."""
    if "CTE Name" in plan:
        yield plan["CTE Name"]
    for part in plan.get("Plans", []):
        if not is_cte(part):
            yield from read_by(part)


def print_book(book: Book, sizes: list[int]) -> None:
    """A line for each statement: pages and milliseconds at each size."""
    heads = [f"{size:,}" for size in sizes]
    print(f"\n{'finished tasks':27}" + "".join(f"{head:>13} pages{'ms':>9}" for head in heads) + "  through")
    for name, found in book.items():
        cells = "".join(f"{found.pages[size]:19,}{found.ms[size]:9.2f}" for size in sizes)
        print(f"{name:27}{cells}  {found.through[sizes[-1]]}")


@contextmanager
def a_schema(dsn: str) -> Iterator[str]:
    """A schema of our own, gone afterwards."""
    name = f"ten_million_{uuid.uuid4().hex[:8]}"
    database.create(dsn, name)
    try:
        yield name
    finally:
        database.drop(dsn, name)


def refuse_small_disk(tasks: int) -> None:
    """End here if it might not fit."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < tasks * BYTES_A_TASK:
        sys.exit(f"{tasks:,} tasks need some {tasks * BYTES_A_TASK / 1e9:.1f} GB; {free / 1e9:.1f} GB are free")


def report(dsn: str, schema: str, size: int, seconds: float) -> None:
    """How large it has become."""
    with pruning.connect(dsn, schema) as connection:
        row = connection.execute(SIZES).fetchone()
    assert row is not None
    print(f"{size:>12,} tasks: task {row[0] / 1e9:.2f} GB, transition {row[1] / 1e9:.2f} GB, filled in {seconds:.0f} s")


def measured(dsn: str, schema: str, sizes: list[int], audit: int) -> Book:
    """Fill to each size in turn, and measure there."""
    book: Book = {}
    filled = 0
    for size in sizes:
        began = time.monotonic()
        fill(dsn, schema, filled, size, audit)
        filled = size
        report(dsn, schema, size, time.monotonic() - began)
        asyncio.run(Bench(dsn, schema, size, book).run())
    return book


def main() -> None:
    """Fill, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tasks", type=int, nargs="+", default=[0, 1_000_000, 10_000_000], metavar="N")
    options.add_argument("--audit", type=int, choices=(0, 1, 2, 3), default=3, help="audit rows of each filled task")
    options.add_argument("--plans", action="store_true", help="print the plans at the largest size")
    asked = options.parse_args()
    sizes = sorted(asked.tasks)
    refuse_small_disk(sizes[-1])
    with open_servers() as servers, a_schema(servers.dsn) as schema:
        print(", ".join(f"{fact.kind} {fact.version}" for fact in servers.facts if fact.kind == "postgres"))
        book = measured(servers.dsn, schema, sizes, asked.audit)
        print_book(book, sizes)
        if asked.plans:
            print("\n".join(f"\n{name}\n{found.plan}" for name, found in book.items()))


if __name__ == "__main__":
    main()
