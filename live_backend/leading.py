"""One at a time: a lease in PostgreSQL on a job that any process could do.

The store's clock judges it. A holder that was frozen past its lease may think for a moment that it still leads; the
reaper's statements are guarded, so two reapers at once only do the same work twice.
"""

from __future__ import annotations

from typing import Final

from live_backend.database import Database

LEAD: Final = """
insert into leadership (job, holder, until, term) values ($1, $2, now() + $3::float8 * interval '1 second', 1)
on conflict (job) do update
set holder = $2, until = now() + $3::float8 * interval '1 second',
    term = leadership.term + (leadership.holder <> $2)::integer
where leadership.holder = $2 or leadership.until <= now()
returning term"""

RESIGN: Final = """
update leadership set until = now() where job = $1 and holder = $2"""


class Candidate:
    """One process that would do a job. `holder` names it, and no other process ever."""

    def __init__(self, database: Database, job: str, holder: str, lease_s: float) -> None:
        self._database, self._job, self._holder, self._lease_s = database, job, holder, lease_s

    async def leads(self) -> bool:
        """Take the lease if it is free, renew it if it is ours. Whether we hold it now, for `lease_s`."""
        return bool(await self._database.rows(LEAD, self._job, self._holder, self._lease_s))

    async def resign(self) -> None:
        """Leave it to the next."""
        await self._database.rows(RESIGN, self._job, self._holder)
