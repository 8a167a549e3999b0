"""One side of a session that nobody runs: tasks arrive, are worked on, fail and come back, as a mesh would have it.

It tells a `lab.telemetry.Telemetry` what a real side would tell, at whatever rate is asked for, and costs next to
nothing. Its chances come from its seed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from lab.limits import MIB
from lab.record import EventRow, SampleRow
from lab.rules.tasks import Event, State
from lab.telemetry import Moved, Side, Telemetry
from lab.workload import Plan

LEASE_S, RESTART_S, REPORT_S = 3.0, 1.0, 0.5
IDLE_MIB, BUSY_MIB = 90, 22
PENDING, RUNNING, RETRY_WAIT = map(str, (State.PENDING, State.RUNNING, State.RETRY_WAIT))
COMPLETED, DEAD = str(State.COMPLETED), str(State.PERMANENT_FAILURE)


class FakeSide:
    """A mesh of `workers` × `slots`, as an event loop over a heap. `step(t)` lets the time come to `t` seconds."""

    def __init__(self, side: Side, plan: Plan, *, service_s: float, workers: int, slots: int, seed: int) -> None:
        self.telemetry, self.plan = Telemetry(side, plan), plan
        self.service_s, self.workers, self.slots = service_s, workers, slots
        self.failure_rate, self.retry_base_s = 0.05, 0.5
        self.chance = random.Random(seed)
        self.truth: dict[int, str] = {}
        """The last state of each task that was told."""
        self._next_task = 0
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._serial = 0
        self._queues: tuple[deque[int], ...] = (deque(), deque(), deque())
        self._attempt: dict[int, int] = {}
        self._told: list[Moved] = []
        self._hands: list[dict[int, int]] = [{} for _ in range(workers)]
        self._life = [1] * workers
        self._away = [False] * workers
        self._claims = 0
        self._slow, self._slow_until = 1.0, 0.0
        self._down: tuple[str, float] = ("", 0.0)
        for place in range(workers):
            self._note(0.0, "worker_started", worker=self._name(place))
        self._at(0.0, self._report)

    def grow(self, plan: Plan) -> None:
        """The plan has grown."""
        self.plan = plan
        self.telemetry.replan(plan)

    def step(self, until_s: float) -> list[Moved]:
        """Let everything up to a moment happen. Returns the transitions, which the telemetry is still to be told."""
        arrivals, count = self.plan.arrival_column, self.plan.count
        while True:
            arrival_s = arrivals[self._next_task] if self._next_task < count else float("inf")
            due_s = self._due[0][0] if self._due else float("inf")
            if min(arrival_s, due_s) > until_s:
                break
            if arrival_s <= due_s:
                self._move(arrival_s, self._next_task, None, PENDING, reason=Event.SUBMITTED)
                self._queues[self.plan.queue[self._next_task]].append(self._next_task)
                self._next_task += 1
                self._dispatch(arrival_s)
            else:
                at_s, _, act = heapq.heappop(self._due)
                act(at_s)
        told, self._told = self._told, []
        return told

    # -- what is done to it --

    def kill(self, t_s: float, place: int) -> None:
        """SIGKILL, a lease that lapses, and a new process."""
        self._fault(t_s, f"kill_worker worker {place}")
        self._note(t_s, "worker_left", worker=self._name(place), detail="killed")
        orphans, self._hands[place], self._away[place] = dict(self._hands[place]), {}, True
        self._at(t_s + RESTART_S, lambda at_s: self._reborn(at_s, place))
        self._at(t_s + LEASE_S, lambda at_s: self._reclaim(at_s, orphans))

    def fault(self, t_s: float, detail: str, for_s: float = 10.0) -> None:
        """Anything else: slow_service, role_outage role NAME, redis_flush, …"""
        self._fault(t_s, detail)
        kind, *named = detail.split(" ", 2)
        if kind == "slow_service":
            self._slow, self._slow_until = 3.0, t_s + for_s
        if kind == "role_outage":
            self._down = (named[-1], t_s + for_s)

    # -- how it goes --

    def _dispatch(self, t_s: float) -> None:
        places = [p for p in range(self.workers) if not self._away[p] and len(self._hands[p]) < self.slots]
        while places and (queue := next(filter(None, self._queues), None)):
            place = min(places, key=lambda p: len(self._hands[p]))
            self._claim(t_s, place, queue.popleft())
            if len(self._hands[place]) >= self.slots:
                places.remove(place)

    def _claim(self, t_s: float, place: int, task: int) -> None:
        self._claims += 1
        claim = self._hands[place][task] = self._claims
        self._attempt[task] = self._attempt.get(task, 0) + 1
        self._move(t_s, task, PENDING, RUNNING, worker=self._name(place), reason=Event.CLAIMED)
        slow = self._slow if t_s < self._slow_until else 1.0
        took_s = self.service_s * slow * self.chance.lognormvariate(-0.1, 0.45)
        self._at(t_s + took_s, lambda at_s: self._finish(at_s, place, task, claim))

    def _finish(self, t_s: float, place: int, task: int, claim: int) -> None:
        if self._hands[place].get(task) != claim:
            return  # its worker was killed meanwhile
        del self._hands[place][task]
        role = self.plan.role_names[self.plan.role[task]]
        if self.chance.random() >= self.failure_rate and not (role == self._down[0] and t_s < self._down[1]):
            self._move(t_s, task, RUNNING, COMPLETED, worker=self._name(place), reason=Event.SUCCEEDED)
        elif self._attempt[task] >= 6:
            self._move(t_s, task, RUNNING, DEAD, worker=self._name(place), reason=Event.FAILED)
        else:
            self._move(t_s, task, RUNNING, RETRY_WAIT, worker=self._name(place), reason=Event.FAILED)
            due_s = t_s + self.retry_base_s * 2 ** self._attempt[task]
            self._at(due_s, lambda at_s: self._again(at_s, task, RETRY_WAIT, Event.DUE))
        self._dispatch(t_s)

    def _again(self, t_s: float, task: int, source: str, reason: str) -> None:
        self._move(t_s, task, source, PENDING, reason=reason)
        self._queues[self.plan.queue[task]].append(task)
        self._dispatch(t_s)

    def _reclaim(self, t_s: float, orphans: dict[int, int]) -> None:
        for task in orphans:
            self._again(t_s, task, RUNNING, Event.LEASE_LAPSED)

    def _reborn(self, t_s: float, place: int) -> None:
        self._life[place] += 1
        self._away[place] = False
        self._note(t_s, "worker_started", worker=self._name(place))
        self._dispatch(t_s)

    def _report(self, t_s: float) -> None:
        self._at(t_s + REPORT_S, self._report)
        for place in range(self.workers):
            if self._away[place]:
                continue
            busy = len(self._hands[place]) * min(1.0, 8 / self.slots)
            rss = (IDLE_MIB + BUSY_MIB * busy + self.chance.uniform(-6, 6) + min(150, t_s)) * MIB
            self.telemetry.samples([SampleRow(t_s, self._name(place), rss, 0.0, int(busy), True, 0, 0, 0, 0, 0)])

    # -- telling --

    def _name(self, place: int) -> str:
        return f"w{place}.{self._life[place]}"

    def _at(self, t_s: float, act: Callable[[float], None]) -> None:
        self._serial += 1
        heapq.heappush(self._due, (t_s, self._serial, act))

    def _move(self, t_s: float, task: int, source: str | None, to: str, *, worker: str = "", reason: str) -> None:
        self.truth[task] = to
        self._told.append(Moved(t_s, task, source, to, worker, self._attempt.get(task, 0), str(reason)))

    def _fault(self, t_s: float, detail: str) -> None:
        self._note(t_s, "fault", detail=detail)

    def _note(self, t_s: float, kind: str, **more: Any) -> None:
        row: dict[str, Any] = {"worker": "", "task": -1, "detail": "", **more}
        self.telemetry.notes([EventRow(t_s, kind, row["worker"], row["task"], row["detail"])])
