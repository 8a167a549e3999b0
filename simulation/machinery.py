"""What the machinery itself costs: event loops and the database as servers that saturate, and operations in batches.

An operation (submit, take and claim, settle, return due retries) of one process is a `Line`: one batch is under way,
and the next one is whatever has gathered meanwhile. Each batch passes through stages, such as the
process's own event loop, then the database, then a wait that occupies nobody. Stages that cost nothing do not exist,
and a line without stages is not built: with an ideal profile none of this runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapreplace
from math import floor
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from lab import draws
from lab.limits import LIVE_BATCH_TASKS_MAX
from lab.profile import Cost, Profile
from simulation.clock import Clock, Planned
from simulation.computing import Computing, Crowd

Item = TypeVar("Item")
Serve: TypeAlias = Callable[[float], float]
GOLDEN: Final = 0.6180339887498949
"""Multiples of it are spread evenly between whole numbers."""


class Server:
    """One or more identical servers, first come first served.

    How long a piece of work takes is known when it comes, so its end can be told at once and nothing need queue.
    """

    def __init__(self, clock: Clock, servers: int = 1, aside: float = 0.0) -> None:
        """`aside`: work that each piece brings along, as a share of it, and nobody waits for."""
        self.busy_s = 0.0
        """Work done so far and booked, over all servers."""
        self.servers = servers
        self._whole = 1.0 + aside
        self._clock, self._free_at_s = clock, [0.0] * servers
        self._serve = self.desk(0.0, 1.0)

    def book(self, work_s: float, wakes: float = 0.0) -> float:
        """Queue a piece of work. Returns the moment of its end. How often somebody must wake for it is a `Loop`'s."""
        return self.desk(0.0, 1.0, wakes)(work_s) if wakes else self._serve(work_s)

    def desk(self, batch_s: float, task_s: float, wakes: float = 0.0) -> Serve:
        """Where batches of one kind are booked: what is given a number of tasks, and returns the moment of their end.

        A closure, like `Store.move`: it is called a dozen times a task, and a variable of its own is found faster than
        an attribute.
        """
        clock, free_at_s, whole = self._clock, self._free_at_s, self._whole

        def serve(tasks: float) -> float:
            work_s = batch_s + task_s * tasks
            begins_s, now_s, whole_s = free_at_s[0], clock.now, work_s * whole
            if begins_s < now_s:
                begins_s = now_s
            heapreplace(free_at_s, begins_s + whole_s)
            self.busy_s += whole_s
            return begins_s + work_s

        return serve


class Loop(Server):
    """The event loop of one process: one thing at a time, and only while it has a core.

    Threads of its process that compute keep it waiting: it must get the interpreter back from them.
    """

    def __init__(self, clock: Clock, cores: Server | None, crowd: Crowd, switch_s: float) -> None:
        self.crowd = crowd
        """The threads that compute in the same process."""
        self._cores, self._switch_s = cores, switch_s
        super().__init__(clock)

    def desk(self, batch_s: float, task_s: float, wakes: float = 0.0) -> Serve:
        """As in every server; the loop must wake so often for a batch."""
        clock, free_at_s, crowd, patience_s = self._clock, self._free_at_s, self.crowd, wakes * self._switch_s
        threads, take_core = crowd.threads, self._cores.desk(0.0, 1.0) if self._cores is not None else None

        def serve(tasks: float) -> float:
            work_s = batch_s + task_s * tasks
            begins_s, now_s = free_at_s[0], clock.now
            if begins_s < now_s:
                begins_s = now_s
            if threads and wakes:
                begins_s += crowd.keeps_waiting_s(patience_s)
            ends_s = begins_s + work_s
            if take_core is not None:  # booked from now on: what begins later must not keep a core idle until then
                granted_s = take_core(work_s)
                if granted_s > ends_s:
                    ends_s = granted_s
            free_at_s[0] = ends_s
            self.busy_s += work_s
            return ends_s

        return serve


class Ease:
    """How much of a wait is left when the cores are at work: a machine that is awake need not be woken at each step."""

    WINDOW_S: Final = 0.05

    def __init__(self, clock: Clock, cores: Server | None, awake_share: float) -> None:
        self._clock, self._cores, self._awake_share = clock, cores if awake_share else None, awake_share
        self._from_s = self._busy_s = 0.0
        self._factor = 1.0

    def factor(self) -> float:
        """1 on idle cores, less the more they worked in the last window."""
        cores, now_s = self._cores, self._clock.now
        if cores is not None and now_s - self._from_s >= self.WINDOW_S:
            worked = (cores.busy_s - self._busy_s) / (cores.servers * (now_s - self._from_s))
            self._factor = 1.0 - self._awake_share * min(1.0, worked)
            self._from_s, self._busy_s = now_s, cores.busy_s
        return self._factor


class Late:
    """What a step waits more or less from one time to the next: the disk, a timer, the scheduler of the system."""

    DRAWN_AT_A_TIME: Final = 512

    def __init__(self, key: int, quantiles_s: Sequence[float], ease: Ease) -> None:
        self._key, self._quantiles_s, self._ease = key, quantiles_s, ease
        self._drawn: list[float] = []
        self._blocks = 0

    def draw(self) -> float:
        """Seconds. The n-th roll of a key is always the same."""
        if not self._drawn:
            self._draw_more()
        return self._drawn.pop() * self._ease.factor()

    def _draw_more(self) -> None:
        first = self._blocks * self.DRAWN_AT_A_TIME
        rolls = draws.uniforms(self._key, self.DRAWN_AT_A_TIME, first)
        self._drawn = np.asarray(self._quantiles_s)[(rolls * len(self._quantiles_s)).astype(int)].tolist()
        self._blocks += 1

    def of(self, number: int) -> float:
        """The draw with a number of its own."""
        roll = draws.uniform(self._key, number)
        return self._quantiles_s[int(roll * len(self._quantiles_s))] * self._ease.factor()


class Timers:
    """The timers of one process. Its clock counts whole ticks, if any, when a timer is set as when it rings: what ends
    in one tick ends together.
    """

    def __init__(self, tick_s: float, number: int, late: Late | None) -> None:
        """`number`: the process's own, since no two count their ticks from the same moment."""
        self._tick_s, self._late = tick_s, late
        self._phase_s = number * GOLDEN % 1.0 * tick_s

    def ring_at(self, now_s: float, work_s: float) -> float:
        """When one rings that is set now and should ring `work_s` later."""
        if not self._tick_s:
            return now_s + work_s + (self._late.draw() if self._late is not None else 0.0)
        ticks = floor((now_s - self._phase_s) / self._tick_s) + round(work_s / self._tick_s)
        late_s = self._late.of(ticks) if self._late is not None else 0.0
        rings_s = self._phase_s + ticks * self._tick_s + late_s
        return rings_s if rings_s > now_s else now_s


class Stage(NamedTuple):
    """A part of an operation: the server that it occupies (None: none), for how long per batch and per task, and how
    long it then waits while nobody is busy with it. `wakes` is how often the loop must wake for it.
    """

    server: Server | None
    batch_s: float
    task_s: float
    wait_s: float = 0.0
    wakes: float = 0.0
    late: Late | None = None
    woken: Late | None = None
    """How late it is if the line was idle: who has been at work need not be woken."""


class Line(Planned, Generic[Item]):
    """One operation of one process. It is itself the event that ends the present stage of the batch under way."""

    __slots__ = ("_ahead", "_batch", "_clock", "_done", "_last_mark", "_waiting", "_was_idle", "_way")

    def __init__(
        self,
        clock: Clock,
        stages: Sequence[Stage],
        done: Callable[[list[Item]], None],
        marks: Mapping[int, Callable[[list[Item]], None]],
    ) -> None:
        """`marks`: by number of stages passed, what happens to a batch on its way."""
        super().__init__()
        self._clock, self._done = clock, done
        self._way = [self._entry(stage, marks.get(passed)) for passed, stage in enumerate(stages)]
        """What a batch goes through: each is given its number of tasks, and tells when it has been passed."""
        self._last_mark = marks.get(len(stages))
        self._waiting: list[Item] = []
        self._batch: list[Item] = []
        self._ahead: Iterator[Serve] = iter(())
        """What is left of the way of the batch under way."""
        self._was_idle = True

    def _entry(self, stage: Stage, mark: Callable[[list[Item]], None] | None) -> Serve:
        """Into a stage, past the mark before it: by the shortest way there is, since most stages need little."""
        clock, (server, batch_s, task_s, wait_s, wakes, late, woken) = self._clock, stage
        serve: Serve = server.desk(batch_s, task_s, wakes) if server is not None else lambda _: clock.now

        def serve_and_wait(tasks: float) -> float:
            return serve(tasks) + wait_s

        def serve_late(tasks: float) -> float:
            served_s, waits_s = serve(tasks), wait_s
            if late is not None:
                waits_s += late.draw()
            if woken is not None and self._was_idle:
                waits_s += woken.draw()
            return served_s + waits_s

        enter = serve if not wait_s else serve_and_wait
        if late is not None or woken is not None:
            enter = serve_late
        if mark is None:
            return enter

        def pass_mark(tasks: float) -> float:
            mark(self._batch)
            return enter(tasks)

        return pass_mark

    def add(self, items: Iterable[Item]) -> None:
        """These want to go through: at once if nothing is under way, else with the next batch.

        At once means together with all others of this very moment.
        """
        if not self._batch and not self._waiting:
            self._was_idle = True
            self.callbacks = _BEGIN
            self._clock.put(self, self._clock.now)
        self._waiting.extend(items)

    def _begin(self) -> None:
        self._take()
        self._go_on()

    def _take(self) -> None:
        """The next batch is whatever has gathered."""
        waiting = self._waiting
        if len(waiting) <= LIVE_BATCH_TASKS_MAX:
            self._batch, self._waiting = waiting, []
        else:
            self._batch, self._waiting = waiting[:LIVE_BATCH_TASKS_MAX], waiting[LIVE_BATCH_TASKS_MAX:]
        self._ahead = iter(self._way)

    def _go_on(self) -> None:
        """Into the next stage, and on for as long as nothing else happens meanwhile; after the last one the batch is
        done, but who has waited for it sets out before what that leads to.
        """
        clock, batch = self._clock, self._batch
        queue, soon, tasks = clock._queue, clock._soon, len(batch)
        for enter in self._ahead:
            at_s = enter(tasks)
            if clock._next_feed_s <= at_s or (queue and queue[0][0] <= at_s) or soon or clock._steps:
                self.callbacks = _GO_ON
                clock.put(self, at_s)
                return
            clock.now = clock._now = at_s  # nothing else comes before: as if this event had just happened, and quicker
        if self._last_mark is not None:
            self._last_mark(batch)
        if self._waiting:
            self._was_idle = False
            self._take()
            self.callbacks = _GO_ON
            clock.put(self, next(self._ahead)(len(self._batch)))
        else:
            self._batch = []
        self._done(batch)


_BEGIN, _GO_ON = (Line._begin,), (Line._go_on,)


class Machinery:
    """The servers that processes share, and the lines that each process has of its own."""

    def __init__(self, clock: Clock, profile: Profile, seed: int = 0) -> None:
        self.cores = Server(clock, profile.cores, profile.aside_share) if profile.cores else None
        self.database = self.cores or Server(clock, profile.database_servers)
        """Its processes run on the cores that all others run on, where a profile knows how many there are."""
        self.computing = Computing(clock, profile.cores)
        self._clock, self._profile, self._seed = clock, profile, seed
        self._ease = Ease(clock, self.cores, profile.awake_share)
        self.producer, self.reaper = self._loop(), self._loop()
        self.worker_loops: list[Loop] = []

    def new_worker_loop(self) -> Loop:
        """The event loop of one more worker process."""
        self.worker_loops.append(self._loop())
        return self.worker_loops[-1]

    def _loop(self) -> Loop:
        return Loop(self._clock, self.cores, self.computing.crowd(), self._profile.switch_s)

    def line(
        self,
        loop: Server,
        costs: Sequence[Cost],
        done: Callable[[list[Item]], None],
        name: str = "",
        marks: Mapping[int, Callable[[list[Item]], None]] = MappingProxyType({}),
    ) -> Line[Item] | None:
        """A line for an operation of the process with this event loop; None if it costs nothing. Its `name` is the key
        of its draws; `marks` says what happens to a batch after so many of the costs.
        """
        stages: list[Stage] = []
        passed = dict[int, Callable[[list[Item]], None]]()
        for number, cost in enumerate(costs):
            stages += self._stages(loop, cost, f"{name}/{number}")
            if number + 1 in marks:
                passed[len(stages)] = marks[number + 1]
        return Line(self._clock, stages, done, passed) if stages else None

    def late(self, name: str, quantiles_s: Sequence[float]) -> Late | None:
        """Draws of how late something is, by the key of that name; None if it never is."""
        key = draws.stream(self._seed, f"machinery/{name}")
        return Late(key, quantiles_s, self._ease) if len(quantiles_s) else None

    def timers(self, worker: str, number: int) -> Timers | None:
        """Those of the worker process with that name and number; None if they ring in time."""
        tick_s, late = self._profile.timer_tick_s, self.late(f"{worker}/timer", self._profile.timer_late_s)
        return Timers(tick_s, number, late) if tick_s or late is not None else None

    def beat(self) -> None:
        """A worker has reported its health."""
        if self.cores is not None and self._profile.heartbeat_s:
            self.cores.book(self._profile.heartbeat_s)

    def utilisation(self, end_s: float) -> dict[str, float]:
        """The share of the run for which each server was busy: what is near 1 is where the backend tops out."""
        database = {"cores": [self.cores]} if self.cores is not None else {"database": [self.database]}
        servers: dict[str, Sequence[Server]] = {"producer": [self.producer], "reaper": [self.reaper], **database}
        named = servers | {"worker_loop_max": self.worker_loops}
        return {
            name: round(max((one.busy_s / (end_s * one.servers) for one in group), default=0.0), 6)
            for name, group in named.items()
        } if end_s > 0 else {}  # fmt: skip

    def _stages(self, loop: Server, cost: Cost, name: str) -> Iterable[Stage]:
        late, woken = self.late(name, cost.late_s), self.late(f"{name}/woken", cost.woken_late_s)
        if cost.loop_s or cost.loop_task_s:
            yield Stage(loop, cost.loop_s, cost.loop_task_s, wakes=cost.wakes, woken=woken)
            woken = None
        if cost.database_s or cost.database_task_s:
            yield Stage(self.database, cost.database_s, cost.database_task_s, cost.wait_s, late=late, woken=woken)
        elif cost.wait_s or late or woken:
            yield Stage(None, 0.0, 0.0, cost.wait_s, late=late, woken=woken)
