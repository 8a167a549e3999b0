"""A producer that keeps a mesh busy, in a process of its own: it submits as long as not too much is waiting.

`python feeder.py` reads one JSON object from standard input {way, url, dsn, redis_url, marks, already, duration_s,
waiting_max} and prints one when it has ended. `way` http: POST /v1/tasks:batch over four connections. `way` intake: the
intake that the API submits through, in this process, four batches under way.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.contest.contestant import Marks
from benchmarks.contest.submit import BATCH, submit_batches
from lab.rules.priority import PriorityRules, queue_class
from live_backend.broker import Broker, connect
from live_backend.intake import Intake, Submission
from live_backend.loops import run_in_fast_loop

ROLE = "NOOP"
AT_ONCE = 4
PRIORITY = 3
ROOM_S = 0.002
"""How soon to look again whether there is room."""


class Feeder:
    """Counts what is submitted, and says whether there is room for more."""

    def __init__(self, marks: Marks, already: int, duration_s: float, waiting_max: int) -> None:
        self._marks, self._already, self._waiting_max = marks, already, waiting_max
        self._ends = time.monotonic() + duration_s
        self._lock = threading.Lock()
        self.submitted = 0

    @property
    def over(self) -> bool:
        """Whether nothing more is to be submitted."""
        return time.monotonic() > self._ends

    def next(self) -> int | None:
        """The first number of a batch that may go now. None: there is no room, or it is over."""
        with self._lock:
            if self.over or self.submitted + self._already - self._marks.count() >= self._waiting_max:
                return None
            self.submitted += BATCH
            return self.submitted - BATCH


def over_http(feeder: Feeder, url: str) -> None:
    """Until it is over."""
    failed: list[BaseException] = []

    def feed() -> None:
        try:
            while not feeder.over:
                if (first := feeder.next()) is None:
                    time.sleep(ROOM_S)
                else:
                    submit_batches(url, ROLE, first, BATCH)
        except BaseException as error:  # raised below, in the main thread
            failed.append(error)

    threads = [threading.Thread(target=feed) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


async def through_intake(feeder: Feeder, dsn: str, redis_url: str) -> None:
    """Until it is over."""
    client = connect(redis_url)
    intake = Intake(dsn, Broker(client))
    intake.start()
    queue = queue_class(PRIORITY, ROLE, PriorityRules())

    async def feed() -> None:
        while not feeder.over:
            if (first := feeder.next()) is None:
                await asyncio.sleep(ROOM_S)
            else:
                numbers = range(first, first + BATCH)
                await intake.submit([Submission(ROLE, PRIORITY, queue, str(number)) for number in numbers])

    await asyncio.gather(*(feed() for _ in range(AT_ONCE)))
    await intake.close()
    await client.aclose()


def main() -> None:
    """Read, submit, print."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    gc.freeze()
    started_s = time.time()
    feeder = Feeder(Marks(Path(order["marks"])), order["already"], order["duration_s"], order["waiting_max"])
    if order["way"] == "http":
        over_http(feeder, order["url"])
    else:
        run_in_fast_loop(through_intake(feeder, order["dsn"], order["redis_url"]))
    found = {"started_s": started_s, "submitted": feeder.submitted, "processor_s": time.process_time()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
