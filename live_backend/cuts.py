"""A worker cut off from a server, seen from inside: the fault `cut_worker`.

No packet is really dropped. The process itself closes its connections and opens none for the time, which is what a
partition looks like to it, whether it runs here or on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lab.faults import CutWorker, Fault, Server

Reachable = Callable[[], bool]
"""Whether a server can be reached now. `Database` and the clients of Redis ask it before they use a connection."""


def always() -> bool:
    """Nobody cuts us off."""
    return True


class Cuts:
    """The cuts of the worker at one place. `run_s` tells the moment of the run; the heartbeat's thread asks too."""

    def __init__(self, faults: Sequence[Fault], place: int, run_s: Callable[[], float]) -> None:
        self._place, self._run_s = place, run_s
        self._here_since_s = math.inf
        self.follow(faults)

    def follow(self, faults: Sequence[Fault]) -> None:
        """From now on the cuts are those among these faults."""
        self._cuts = [fault for fault in faults if isinstance(fault, CutWorker) and fault.worker == self._place]

    def start(self) -> None:
        """The run has started, or had before this process came: earlier cuts hit whoever stood here then."""
        self._here_since_s = self._run_s()

    def reachable(self, server: Server) -> bool:
        """Whether this process can reach a server now."""
        now_s = self._run_s()
        return not any(
            cut.server == server and self._here_since_s <= cut.at_s <= now_s < cut.at_s + cut.for_s
            for cut in self._cuts
        )
