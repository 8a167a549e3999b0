"""The one shadow of this app: however many browsers look, the mesh is read and replayed once an interval."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import streamlit as st

from lab.errors import LabError, Unavailable
from lab.observed_watch import Look

WINDOW_S: Final = 120.0
EVERY_S: Final = 5.0
MISSING_S: Final = 10.0
"""How soon a mesh that was not there is looked for again."""
LOOKS_KEPT: Final = 60


def _beside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True, name="shadow").start()


@dataclass
class Watcher:
    """Looks when asked and the last look is old enough; everybody gets the same one."""

    begin: Callable[[], Callable[[], Look]]
    """Finds the mesh and gives what looks at it. Raises LabError if there is none."""
    clock: Callable[[], float] = time.monotonic
    start: Callable[[Callable[[], None]], None] = _beside
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    _look: Callable[[], Look] | None = None
    _problem: LabError | None = None
    _next_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def newest(self) -> Look:
        """The newest look; the next one is begun beside, so that no page waits but for the first. Raises LabError where
        there is no mesh, or it cannot be read.
        """
        with self._lock:
            due = self.clock() >= self._next_at
            if due:
                self._next_at = math.inf  # until the look that begins now has ended
        if due and not self.looks:
            self._look_again()
        elif due:
            self.start(self._look_again)
        with self._lock:
            if self._problem is not None:
                raise self._problem
            if not self.looks:
                raise Unavailable("the shadow takes its first look; it is here in a moment")
            return self.looks[-1]

    def _look_again(self) -> None:
        problem: LabError | None = None
        found: Look | None = None
        try:
            self._look = self._look or self.begin()
            found = self._look()
        except LabError as error:
            problem = error
        finally:
            with self._lock:
                self._problem = problem
                if found is not None:
                    self.looks.append(found)
                if problem is not None:  # a mesh that has gone may come back elsewhere
                    self._look = None
                    self.looks.clear()
                self._next_at = self.clock() + (EVERY_S if found is not None else MISSING_S)


@st.cache_resource(show_spinner=False)
def watcher() -> Watcher:
    """That of this app."""
    return Watcher(_begin)


def _begin() -> Callable[[], Look]:
    """Imported when somebody watches: drivers and the model are heavy."""
    from lab.fitting_replay import lone_overhead_s
    from lab.observed_watch import Shadow
    from live_backend.shadowing import Shadowing, find_dsn
    from simulation import simulate

    reader = Shadowing(find_dsn(os.environ))
    scenario = reader.look(WINDOW_S).scenario
    overhead_s = lone_overhead_s(simulate, scenario.profile, scenario.base)
    shadow = Shadow(simulate, EVERY_S, overhead_s=overhead_s)
    return lambda: shadow.look(reader.look(WINDOW_S))
