"""A worker host's part in the standing mesh: whatever mesh PostgreSQL names is served by worker processes and a standby
reaper of this host; when it changes they start anew, when it goes they leave.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import psycopg

from lab.errors import LabError, UsageError
from lab.limits import LIVE_WORKERS_MAX, MESH_POLL_S
from lab.scenario import Scenario
from live_backend import definition
from live_backend.definition import Definition
from live_backend.ending import end
from live_backend.posts import Tell
from live_backend.standing import Addresses, Standing


@dataclass(frozen=True)
class Share:
    """How much of the standing mesh this host takes on. None: as much as the mesh says."""

    processes: int | None = None
    slots: int | None = None

    def scenario(self, mesh: Scenario) -> Scenario:
        """The mesh as this host serves it."""
        return mesh if self.slots is None else mesh.override({"mesh.slots": self.slots})

    def workers(self, mesh: Scenario) -> int:
        """How many processes. Raises UsageError if that is more than one machine is asked to start."""
        found = mesh.mesh.workers if self.processes is None else self.processes
        if found > LIVE_WORKERS_MAX:
            raise UsageError(
                f"{found} processes are too many for one host; say --processes N, {LIVE_WORKERS_MAX} at most"
            )
        return found


class Membership:
    """Follows the definition of the mesh."""

    def __init__(self, addresses: Addresses, share: Share, tell: Tell) -> None:
        self._addresses, self._share, self._tell = addresses, share, tell
        self._standing: Standing | None = None
        self._served: datetime | None = None
        self._told = ""

    async def run(self, leaving: asyncio.Event, hurry: asyncio.Event) -> None:
        """Serve until `leaving`, then see all processes leave; `hurry` ends them at once."""
        following = asyncio.create_task(self._follow())
        told_to_leave = asyncio.create_task(leaving.wait())
        await asyncio.wait({following, told_to_leave}, return_when=asyncio.FIRST_COMPLETED)
        await end(following, told_to_leave)
        closing, hurrying = asyncio.create_task(self._leave()), asyncio.create_task(hurry.wait())
        await asyncio.wait({closing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if self._standing is not None:
            self._standing.kill()
        await closing
        await end(hurrying)
        if not following.cancelled() and (error := following.exception()):
            raise error

    @property
    def processes(self) -> int:
        """How many worker processes are kept here now."""
        return len(self._standing.workers) if self._standing else 0

    async def _follow(self) -> None:
        while True:
            try:
                await self._adopt(await asyncio.to_thread(definition.fetch, self._addresses.dsn))
                self._told = ""
            except psycopg.Error:  # away, or not ours to read: whoever is at work goes on, and it is asked again
                pass
            except LabError as error:
                self._tell_once(f"the standing mesh cannot be served here: {error}")
            await asyncio.sleep(MESH_POLL_S)

    async def _adopt(self, found: Definition | None) -> None:
        if (found.changed_at if found else None) == self._served:
            return
        await self._leave()
        if found is None:
            self._tell("the standing mesh is gone")
            return
        mine, workers = self._share.scenario(found.scenario), self._share.workers(found.scenario)
        self._standing = Standing(self._addresses, mine, self._tell, workers=workers)
        await self._standing.__aenter__()
        self._served = found.changed_at
        self._tell(f"serves the standing mesh {mine.name!r} with {workers} processes of {mine.mesh.slots} slots")

    async def _leave(self) -> None:
        if self._standing is not None:
            await self._standing.close()
        self._standing, self._served = None, None

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._tell(text)
        self._told = text
