"""What the machinery itself costs: event loops and the database as servers that saturate, and operations in batches.

An operation (submit, take and claim, settle, return due retries) of one process is a `Line`: one batch is under way,
and the next one is whatever has gathered meanwhile. Each batch passes through stages, such as the
process's own event loop, then the database, then a wait that occupies nobody. Stages that cost nothing do not exist,
and a line without stages is not built: with an ideal profile none of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapreplace
from typing import Generic, NamedTuple, TypeVar

from lab.limits import LIVE_BATCH_TASKS_MAX
from lab.profile import Cost, Profile
from simulation.clock import Clock, Planned

Item = TypeVar("Item")


class Server:
    """One or more identical servers, first come first served.

    How long a piece of work takes is known when it comes, so its end can be told at once and nothing need queue.
    """

    def __init__(self, clock: Clock, servers: int = 1) -> None:
        self.busy_s = 0.0
        """Work done so far and booked, over all servers."""
        self.servers = servers
        self._clock = clock
        self._free_at_s = [0.0] * servers

    def book(self, work_s: float) -> float:
        """Queue a piece of work. Returns the moment of its end."""
        begins_s, now_s = self._free_at_s[0], self._clock.now
        if begins_s < now_s:
            begins_s = now_s
        heapreplace(self._free_at_s, begins_s + work_s)
        self.busy_s += work_s
        return begins_s + work_s


class Stage(NamedTuple):
    """A part of an operation: the server that it occupies (None: none), for how long per batch and per task, and how
    long it then waits while nobody is busy with it.
    """

    server: Server | None
    batch_s: float
    task_s: float
    wait_s: float = 0.0


class Line(Planned, Generic[Item]):
    """One operation of one process. It is itself the event that ends the present stage of the batch under way."""

    __slots__ = ("_batch", "_clock", "_done", "_reached", "_stages", "_waiting")

    def __init__(self, clock: Clock, stages: Sequence[Stage], done: Callable[[list[Item]], None]) -> None:
        super().__init__()
        self._clock, self._stages, self._done = clock, stages, done
        self._waiting: list[Item] = []
        self._batch: list[Item] = []
        self._reached = 0

    def add(self, items: Iterable[Item]) -> None:
        """These want to go through: at once if nothing is under way, else with the next batch.

        At once means together with all others of this very moment.
        """
        under_way = bool(self._batch or self._waiting)
        self._waiting.extend(items)
        if not under_way:
            self.callbacks = _BEGIN
            self._clock.put(self, self._clock.now)

    def _begin(self) -> None:
        waiting = self._waiting
        self._batch, self._waiting = waiting[:LIVE_BATCH_TASKS_MAX], waiting[LIVE_BATCH_TASKS_MAX:]
        if waiting:
            self._reached = 0
            self._pass()

    def _pass(self) -> None:
        """Into the next stage; after the last one the batch is done."""
        if self._reached == len(self._stages):
            through = self._batch
            self._begin()  # who has waited goes before what these do next
            self._done(through)
            return
        server, batch_s, task_s, wait_s = self._stages[self._reached]
        self._reached += 1
        served_s = server.book(batch_s + task_s * len(self._batch)) if server is not None else self._clock.now
        self.callbacks = _PASS
        self._clock.put(self, served_s + wait_s)


_BEGIN, _PASS = (Line._begin,), (Line._pass,)


class Machinery:
    """The servers that processes share, and the lines that each process has of its own."""

    def __init__(self, clock: Clock, profile: Profile) -> None:
        self.database = Server(clock, profile.database_servers)
        self.producer, self.reaper = Server(clock), Server(clock)
        self.worker_loops: list[Server] = []
        self._clock, self._profile = clock, profile

    def new_worker_loop(self) -> Server:
        """The event loop of one more worker process."""
        self.worker_loops.append(Server(self._clock))
        return self.worker_loops[-1]

    def line(self, loop: Server, costs: Iterable[Cost], done: Callable[[list[Item]], None]) -> Line[Item] | None:
        """A line for an operation of the process with this event loop; None if it costs nothing."""
        stages = [stage for cost in costs for stage in self._stages(loop, cost)]
        return Line(self._clock, stages, done) if stages else None

    def utilisation(self, end_s: float) -> dict[str, float]:
        """The share of the run for which each server was busy: what is near 1 is where the backend tops out."""
        servers = {"producer": [self.producer], "reaper": [self.reaper], "database": [self.database]}
        named = servers | {"worker_loop_max": self.worker_loops}
        return {
            name: round(max((one.busy_s / (end_s * one.servers) for one in group), default=0.0), 6)
            for name, group in named.items()
        } if end_s > 0 else {}  # fmt: skip

    def _stages(self, loop: Server, cost: Cost) -> Iterable[Stage]:
        if cost.loop_s or cost.loop_task_s:
            yield Stage(loop, cost.loop_s, cost.loop_task_s)
        if cost.database_s or cost.database_task_s:
            yield Stage(self.database, cost.database_s, cost.database_task_s, cost.wait_s)
        elif cost.wait_s:
            yield Stage(None, 0.0, 0.0, cost.wait_s)
