"""The drain: workers started and warm, then frozen; tasks submitted; workers let go; time to the last task done."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest.contestant import WARM_FIRST, WARM_TASKS, Contestant, Kind, Marks, Place
from benchmarks.contest.machine import empty_place
from benchmarks.contest.processes import SERVERS, Meter
from live_backend.servers import Servers

SETTLE_S = 0.5
"""After the warm-up: what it left to be written is written."""
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Drained:
    """One run. Processor times are µs a task."""

    contestant: str
    kind: Kind
    tasks: int
    enqueue_per_s: float
    drain_per_s: float
    both_per_s: float
    contestant_us: float
    redis_us: float
    postgres_us: float
    verified: str
    setting: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def drain(servers: Servers, contestant: Contestant, kind: Kind, tasks: int, timeout_s: float) -> Drained:
    """Run it once on empty stores. Raises Trouble if it does not do what it should, in time."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="contest-")))
        dsn = stack.enter_context(empty_place(servers, "contest"))
        place = Place(servers.redis_url, dsn, folder / "marks")
        stack.callback(contestant.stop)
        groups = contestant.start(place, kind)
        contestant.enqueue(kind, WARM_FIRST, WARM_TASKS)
        Marks(place.marks).wait(WARM_TASKS, START_TIMEOUT_S, groups)
        time.sleep(SETTLE_S)
        contestant.freeze()
        enqueue_s = contestant.enqueue(kind, 0, tasks)
        meter, started_s = Meter(groups), time.time()
        contestant.resume()
        drain_s = contestant.wait_done(tasks, timeout_s) - started_s
        spent = {part: seconds / tasks * 1e6 for part, seconds in meter.read().items()}
        own_us = sum(each_us for part, each_us in spent.items() if part not in SERVERS)
        return Drained(
            contestant=contestant.name,
            kind=kind,
            tasks=tasks,
            enqueue_per_s=tasks / enqueue_s,
            drain_per_s=tasks / drain_s,
            both_per_s=tasks / (enqueue_s + drain_s),
            contestant_us=own_us,
            redis_us=spent["redis"],
            postgres_us=spent["postgres"],
            verified=contestant.verify(tasks),
            setting=contestant.setting(kind),
        )
