"""The reaper's process: `python -m live_backend.reaping`. Many may run, on any machine; one is active at a time.

It is told on standard input where the servers are (one line of JSON: dsn, redis_url, schema, prefix), and ends when
that closes: then its parent is gone. The rules are those of the mesh, which stand in the table `mesh`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from lab.errors import LabError, Unavailable
from lab.limits import IDLE_POLL_S, LEADER_LEASE_S, LEADER_RENEWALS, NARROW_S
from lab.rules.rulebook import Rulebook
from lab.scenario import Scenario
from live_backend import narrowing, pruning
from live_backend.broker import Broker, connect
from live_backend.database import PLANNED_ANEW, Database
from live_backend.ending import end
from live_backend.leading import Candidate
from live_backend.loops import run_in_fast_loop, supervised
from live_backend.reaper import Reaper
from live_backend.revisions import refuse_other_revision
from live_backend.store import Store

MESH = """
select scenario::text, base, changed_at from mesh"""
JOB = "reaper"


class Standby:
    """Waits for the lead, reaps while it has it."""

    def __init__(self, dsn: str, redis_url: str, schema: str, prefix: str) -> None:
        self._dsn, self._schema = dsn, schema
        self._databases = [Database(dsn, schema, PLANNED_ANEW) for _ in range(2)]
        self._broker = Broker(connect(redis_url), prefix)
        holder = f"{os.uname().nodename}:{os.getpid()}:{secrets.token_hex(4)}"
        self._reaping: asyncio.Future[Any] | None = None
        self._ruled_since: datetime | None = None
        self._candidate = Candidate(self._databases[0], JOB, holder, LEADER_LEASE_S)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                if await self._candidate.leads():
                    await self._reap_by_the_rules_of_now()
                else:
                    await self._rest()
                await asyncio.sleep(LEADER_LEASE_S / LEADER_RENEWALS)
        finally:
            if self._reaping is not None:
                await self._rest()
                await self._candidate.resign()

    async def _reap_by_the_rules_of_now(self) -> None:
        """A mesh that is published anew may have other rules."""
        rows = await self._databases[0].rows(MESH)  # none: the tables are there, the mesh is not yet
        if rows and rows[0][2] != self._ruled_since:
            await self._rest()
            rules = Scenario.from_data(json.loads(rows[0][0]), base=Path(rows[0][1])).rules
            self._ruled_since = rows[0][2]
            self._reaping = supervised(self._housekeeping(self._reaper(rules)), "reaper")

    async def _housekeeping(self, reaper: Reaper) -> None:
        """What is done by one process at a time."""
        async with asyncio.TaskGroup() as both:
            both.create_task(reaper.run())
            both.create_task(self._keep_narrow())

    async def _keep_narrow(self) -> None:
        """Mend indexes of the audit log whose upkeep was cut short; now and then, for nothing else depends on it."""

        def mend() -> list[str]:
            with pruning.connect(self._dsn, self._schema) as connection:
                return narrowing.mend(connection)

        while True:
            with suppress(Unavailable):  # away: the next time will do
                for index in await asyncio.to_thread(mend):
                    print(f"the index {index} was mended: its upkeep had been cut short", file=sys.stderr, flush=True)
            await asyncio.sleep(NARROW_S)

    async def _rest(self) -> None:
        if self._reaping is not None:
            await end(self._reaping)
        self._reaping = self._ruled_since = None

    def _reaper(self, rules: Rulebook) -> Reaper:
        store = Store(self._databases[1], rules.lease)
        requeued, kept = list[tuple[int, str]](), set[asyncio.Task[None]]()

        async def write() -> None:
            tasks = requeued.copy()
            requeued.clear()
            await store.note("requeued", tasks)

        def note(task: int) -> None:
            """All of one sweep are written at once: one by one they would hold up the sweeps that follow."""
            if not requeued:
                noting = asyncio.ensure_future(write())
                kept.add(noting)
                noting.add_done_callback(kept.discard)
            requeued.append((task, ""))

        return Reaper(store, self._broker, rules, note, idle_poll_s=IDLE_POLL_S)


async def main() -> NoReturn:
    """Be told, stand by, and leave when asked to, or when the parent is gone."""
    loop = asyncio.get_running_loop()
    told = json.loads(await loop.run_in_executor(None, sys.stdin.readline))
    standby = asyncio.ensure_future(_stand_by(told))
    loop.add_signal_handler(signal.SIGTERM, standby.cancel)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    status = 0
    with suppress(asyncio.CancelledError):
        try:
            await standby
        except LabError as error:
            print(error, file=sys.stderr, flush=True)
            status = 1
    os._exit(status)


async def _stand_by(told: dict[str, str]) -> None:
    await asyncio.to_thread(refuse_other_revision, told["dsn"], told["schema"])
    await Standby(**told).run()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    run_in_fast_loop(main())
