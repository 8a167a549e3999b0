"""Keeps a worker process at every place of a run: has them started, replaces those that die, lets faults loose on them,
and sees them all leave. Where processes run is not its business (`processes.py`, `invitations.py`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from lab.limits import STOP_S_MAX
from lab.rules import Rulebook, shutdown
from live_backend.config import WorkerConfig
from live_backend.ending import end
from live_backend.notes import Notes
from live_backend.processes import EXIT_RECYCLED, KILL, Processes, WorkerProcess, how


@dataclass
class Place:
    """One position of the mesh, and the process that stands there now."""

    index: int
    life: int = 0
    process: WorkerProcess | None = None
    wanted: bool = True
    """Whether the mesh still has this place: an operator may take the last ones away."""

    @property
    def worker(self) -> str:
        """The id of the present process: unique within a run, never used again."""
        return f"w{self.index}.{self.life}"


class Supervisor:
    """The workers of one run. `configure` says what a worker is told, by its id and place."""

    def __init__(
        self,
        workers: int,
        rules: Rulebook,
        configure: Callable[[str, int], WorkerConfig],
        notes: Notes,
        processes: Processes,
    ) -> None:
        self.places = [Place(index) for index in range(workers)]
        self._rules, self._configure, self._notes, self._processes = rules, configure, notes, processes
        self._started_epoch_s: float | None = None
        self._closing = False
        self._all: list[WorkerProcess] = []
        """Every process that was started and has not been seen to end, also of places that have another one now."""
        self._told: list[WorkerProcess] = []
        self._watches: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start all processes. They load their code and wait to be told what to do."""
        await asyncio.gather(*(self._spawn(place) for place in self.places))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def configure_all(self) -> None:
        """Tell all processes what to do; from now on the dead are replaced."""
        for place in self.places:
            await self._tell(place)

    async def start_run(self, epoch_s: float) -> None:
        """Tell the workers, and those that will replace them, when the run started."""
        self._started_epoch_s = epoch_s
        for place in self.places:
            if place.process is not None:
                await place.process.start_run(epoch_s)

    async def resize(self, workers: int) -> None:
        """Fill new places; or have the last ones leave by the rule of shutdown, and replace them no more."""
        for place in self.places[workers:]:
            if place.wanted and place.process is not None:
                place.process.leave()
            place.wanted = False
        self.places += [Place(index, wanted=False) for index in range(len(self.places), workers)]
        empty = [place for place in self.places[:workers] if not place.wanted]
        for place in empty:
            place.wanted = True
        await asyncio.gather(*(self._replace(place) for place in empty))

    def grow(self, line: str) -> None:
        """Say to all workers how the scenario has grown; those that come later are configured with it."""
        for process in self._told:
            if process.status is None:
                process.say(line)

    @property
    def someone_died(self) -> bool:
        """Whether a worker is dead that has not been replaced."""
        return any(place.process is not None and place.process.status is not None for place in self.places)

    def trouble(self) -> str:
        """Why the workers are not ready, in one line."""
        return self._processes.trouble()

    # -- faults --

    def send(self, index: int, number: signal.Signals) -> None:
        """Send a signal to the process at a place, if there is such a place and one is alive there."""
        process = self.places[index].process if index < len(self.places) else None
        if process is not None:
            process.send(number)

    # -- one place --

    async def _spawn(self, place: Place) -> None:
        place.life += 1
        place.process = await self._processes.spawn()
        self._all.append(place.process)

    async def _tell(self, place: Place) -> None:
        process = place.process
        assert process is not None
        self._told.append(process)
        await process.configure(self._configure(place.worker, place.index))
        if self._started_epoch_s is not None:
            await process.start_run(self._started_epoch_s)
        watch = asyncio.get_running_loop().create_task(self._watch(place, process, place.worker))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _watch(self, place: Place, process: WorkerProcess, worker: str) -> None:
        """Wait for the process to end; note how; put a fresh one in its place as the rules say."""
        self._notes.add("worker_started", worker, detail=await process.started())
        status = await process.wait()
        self._all.remove(process)
        self._told.remove(process)
        recycled = status == EXIT_RECYCLED
        self._notes.add("worker_left", worker, detail="recycled" if recycled else how(status))
        after_s = 0.0 if recycled else self._rules.health.restart_after_s
        if self._closing or after_s is None or self._started_epoch_s is None:
            return  # before the run has started a dead worker is an error of ours, and replacing it would hide that
        await asyncio.sleep(after_s)
        if place.wanted and place.worker == worker and not self._closing:
            await self._replace(place)

    async def _replace(self, place: Place) -> None:
        await self._spawn(place)
        if (self._closing or not place.wanted) and place.process is not None:
            place.process.send(KILL)  # the end came while it was being started: nobody would ever tell it to leave
        else:
            await self._tell(place)

    # -- the end --

    def kill_all(self) -> None:
        """The end at once: nobody wants what the workers still do."""
        self._closing = True
        for process in self._all:
            process.send(KILL)

    async def close(self) -> None:
        """Ask all workers to leave, wait, and kill whichever has not left. May be called again, if it was cut short."""
        self._closing = True
        living = [process for process in self._all if process.status is None]
        for process in living:
            process.leave()
        await _all_left(living, min(STOP_S_MAX, shutdown.grace_s(self._rules.shutdown) + 1.0))
        late = [process for process in living if process.status is None]
        for process in late:
            process.send(KILL)
        await _all_left(late, STOP_S_MAX)  # bounded: of a worker elsewhere one may never hear again
        await end(*self._watches)
        await self._processes.close()


async def _all_left(processes: list[WorkerProcess], within_s: float) -> None:
    leaving = [asyncio.ensure_future(process.wait()) for process in processes]
    if leaving:
        _, late = await asyncio.wait(leaving, timeout=within_s)
        for one in late:
            one.cancel()
