"""Ours in the drain, behind the same face as the peers."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from benchmarks.contest.contestant import KINDS, WARM_TASKS, Kind, Marks, Place
from benchmarks.contest.mesh import Mesh
from benchmarks.contest.processes import Group
from benchmarks.contest.submit import submit_batches

WORKERS = 2
SLOTS: dict[Kind, int] = {"noop": 500, "sleep": 100}
MANY_SLOTS = 500
"""A slot that waits costs next to nothing, so users of 10 ms tasks would take as many as pay."""
"""In each process. No-op: where the rate stops to rise, as for a peer's batch. 10 ms: 200 in all, as for the peers."""
ROLES: dict[Kind, str] = {"noop": "NOOP", "sleep": "SLEEP"}


class Ours:
    """`meshlab up` with two worker processes. See Contestant."""

    def __init__(self, name: str, kinds: tuple[Kind, ...] = KINDS, slots: int | None = None) -> None:
        self.name, self.kinds, self._slots = name, kinds, slots
        self._mesh: Mesh | None = None

    def _slots_for(self, kind: Kind) -> int:
        return self._slots or SLOTS[kind]

    def setting(self, kind: Kind) -> str:
        """See Contestant."""
        command = f"meshlab up --workers {WORKERS} --slots {self._slots_for(kind)}"
        return f"`{command}`, submitted by POST /v1/tasks:batch; to COMPLETED committed"

    def start(self, place: Place, kind: Kind) -> Sequence[Group]:
        """See Contestant."""
        self._mesh = Mesh(place, workers=WORKERS, slots=self._slots_for(kind)).__enter__()
        return [self._mesh.group]

    def enqueue(self, kind: Kind, first: int, count: int) -> float:
        """See Contestant."""
        return submit_batches(self._standing.url, ROLES[kind], first, count)

    def freeze(self) -> None:
        """See Contestant."""
        self._standing.signal_workers(signal.SIGSTOP)

    def resume(self) -> None:
        """See Contestant."""
        self._standing.signal_workers(signal.SIGCONT)

    def wait_done(self, count: int, timeout_s: float) -> float:
        """See Contestant. Done is when the last COMPLETED has been committed, by PostgreSQL's own note of it."""
        self._standing.wait_completed(WARM_TASKS + count, timeout_s)
        return self._standing.last_commit_s()

    def verify(self, count: int) -> str:
        """See Contestant."""
        executed = Marks(self._standing.place.marks).refuse_gaps(count)
        return f"{executed}; {self._standing.verify(WARM_TASKS + count)}"

    def stop(self) -> None:
        """See Contestant."""
        mesh, self._mesh = self._mesh, None
        if mesh is not None:
            mesh.__exit__()

    @property
    def _standing(self) -> Mesh:
        assert self._mesh is not None, "start comes first"
        return self._mesh
