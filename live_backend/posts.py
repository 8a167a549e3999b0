"""A post: a process that is always there. It is started, told what to do on its standard input, watched, and replaced
when it ends; one that dies whenever it is started is started ever more seldom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lab.limits import RESTART_S_MAX, RESTART_S_MIN, STEADY_S, STOP_S_MAX
from live_backend.processes import EXIT_RECYCLED, KILL, LocalProcess, how, start_process

Tell = Callable[[str], None]
OUR_STDERR = 2
"""What processes say, they say where we do: a traceback of a handler belongs before the eyes of who runs it."""


@dataclass(frozen=True)
class Duty:
    """What stands at a post."""

    name: str
    module: str
    briefing: Callable[[int], str]
    """The line that the n-th process at this post is told, n = 1, 2, …"""
    stop_s: float
    """How long it may take to leave when it is asked to."""
    restart_after_s: float | None = RESTART_S_MIN
    """None: it is not replaced."""
    out: int = OUR_STDERR
    """Where goes what it prints: a descriptor, or DEVNULL."""


class Post:
    """Keeps its duty manned from `start` to `dismiss`."""

    def __init__(self, duty: Duty, tell: Tell) -> None:
        self.duty = duty
        self.life = 0
        """How many processes have stood here, the present one included."""
        self.deaths = 0
        """How many in a row have died soon after their start."""
        self._tell = tell
        self._process: LocalProcess | None = None
        self._dismissed = asyncio.Event()
        self._manning: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process that stands here now."""
        return self._process.pid if self._process is not None and self._process.status is None else None

    def start(self) -> None:
        """Man the post from now on."""
        self._manning = asyncio.create_task(self._man())

    async def dismiss(self) -> None:
        """Ask the process to leave, wait for it as long as its duty allows, and kill it if it is still there."""
        self._dismissed.set()
        if self._process is not None:
            self._process.leave()
        if self._manning is not None:
            await asyncio.wait({self._manning}, timeout=self.duty.stop_s)
            self.kill()
            await asyncio.wait({self._manning}, timeout=STOP_S_MAX)

    def kill(self) -> None:
        """End it at once, and do not replace it."""
        self._dismissed.set()
        if self._process is not None:
            self._process.send(KILL)

    async def _man(self) -> None:
        while not self._dismissed.is_set():
            started_at = time.monotonic()
            status = await self._one_life()
            if self._dismissed.is_set():
                return
            if status == EXIT_RECYCLED:
                self._tell(f"{self.duty.name}: recycled")
                continue
            self.deaths = 1 if time.monotonic() - started_at >= STEADY_S else self.deaths + 1
            ended = f"{self.duty.name}: {how(status)}"
            if self.duty.restart_after_s is None:
                self._tell(f"{ended}; not replaced, as health.restart_after_s says")
                return
            pause_s = _pause_s(self.duty.restart_after_s, self.deaths)
            self._tell(f"{ended}; another takes its place in {pause_s:.3g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._dismissed.wait(), pause_s)

    async def _one_life(self) -> int:
        """Start a process and see it end. Returns its status."""
        self.life += 1
        try:
            process = LocalProcess(await start_process(OUR_STDERR, self.duty.module, out=self.duty.out))
        except OSError as error:  # no memory or no process left to have; that may pass
            self._tell(f"{self.duty.name}: cannot be started ({error.strerror})")
            return 1
        self._process = process
        if self._dismissed.is_set():  # meanwhile: nobody else would ever end it
            process.send(KILL)
        else:
            await process.tell(self.duty.briefing(self.life))
        return await process.wait()


def _pause_s(restart_after_s: float, deaths: int) -> float:
    """Doubling with every death that follows soon upon a start."""
    first_s = max(restart_after_s, RESTART_S_MIN)
    return max(first_s, min(RESTART_S_MAX, first_s * 2.0 ** min(deaths - 1, 30)))
