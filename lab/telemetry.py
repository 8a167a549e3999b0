"""A run as it is watched: transitions, samples and notes are folded as they come, and a frame says where all stands.

Both engines tell a run to a `Telemetry`; ten times a second a frame of it (plain data, a few kilobytes whatever the
event rate) goes to whoever watches. What a frame shows is decided by `rules.view` and `rules.health`.

Folding a transition costs some microseconds. Of each task a few numbers are kept in columns; cards are made for the
few that are shown. Times are seconds of the run.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from lab.limits import FRAME_EVENTS_MAX, RUNNING_CARDS_MAX
from lab.record import EventRow, SampleRow
from lab.rules.priority import QUEUES
from lab.rules.tasks import Event, State
from lab.rules.view import high_traffic, is_newer
from lab.telemetry_crew import Crew
from lab.telemetry_curves import Curves
from lab.telemetry_strikes import PROCESS_FAULTS, SERVER_FAULTS, WORK_FAULTS, Strikes, fault_words
from lab.workload import Plan

Side = Literal["model", "live"]
Phase = Literal["starting", "ready", "running", "ended", "failed"]

NAMES = tuple(map(str, State))
PENDING, RUNNING, RETRY_WAIT, COMPLETED, DEAD, CANCELLED = range(len(NAMES))
OUTSIDE = len(NAMES)
"""Where a task is before it comes in."""
CODES: dict[str | None, int] = {**{name: code for code, name in enumerate(NAMES)}, None: OUTSIDE, "": OUTSIDE}

TAKEN_BACK = frozenset({Event.LEASE_LAPSED, Event.HANDED_BACK})
CLOCK_SLACK_S = 0.1
"""Two servers' clocks, or two statements, may date neighbouring transitions the wrong way round by this much."""
SETTLE_S = 0.25
"""The transitions of a moment may be told this much later than a fault that struck then: its tasks are counted then."""
RATE_WINDOW_S = 1.0
SEEN_TASKS = 3
"""Tasks that a summed-up event names."""


class Moved(NamedTuple):
    """One accepted transition. `source` is None (or "") where a task comes in; `attempt` is the task's after it."""

    t_s: float
    task: int
    source: str | None
    to: str
    worker: str
    attempt: int
    reason: str


class Lane:
    """The tasks of one role: those that live, in the order in which they came to where they are, and the last ended."""

    def __init__(self, name: str, finished_cards: int) -> None:
        self.name = name
        self.count = [0] * (OUTSIDE + 1)
        self.pending: tuple[dict[int, None], ...] = tuple({} for _ in QUEUES)
        """By class of their queue."""
        self.running: dict[int, None] = {}
        self.retry_wait: dict[int, None] = {}
        self.finished: deque[int] = deque(maxlen=finished_cards)


class Telemetry:
    """Folds what one side of a session tells.

    Hand over what happened in the order of commit: notes before the transitions of the same moments. A transition that
    was told before changes nothing.
    """

    def __init__(self, side: Side, plan: Plan) -> None:
        self.side: Side = side
        self.curves = Curves()
        self._since, self._attempt, self._version = array("d"), array("H"), array("I")
        self._state = bytearray()
        self._worker: list[str] = []
        self._lanes: list[Lane] = []
        self.crew = Crew(plan.scenario)
        self.replan(plan)
        self._strikes = Strikes()
        self._to_strike: deque[tuple[float, str]] = deque()
        self._strike_at_s = math.inf
        self._total: Counter[str] = Counter()
        self._told_counts: tuple[int, int] | None = None
        self._admission: tuple[int, int, int, bool] | None = None
        self._queues: tuple[int, int, int] | None = None
        self._events: list[tuple[float, str, str, str]] = []
        self._sums: dict[str, list[int]] = {}
        self._event_number = 0
        self._in_flush, self._busy = 0, False
        self._flushes: deque[tuple[float, int]] = deque()

    def replan(self, plan: Plan) -> None:
        """The scenario has grown; what has been told of stays as it is."""
        self.plan = plan
        self._role, self._priority, self._class = plan.role.tobytes(), plan.priority.tobytes(), plan.queue
        self._arrival_s, self._view = plan.arrival_column, plan.scenario.rules.view
        self._lanes += [Lane(name, self._view.finished_cards) for name in plan.role_names[len(self._lanes) :]]
        more = plan.count - len(self._state)
        if more > 0:
            self._state.extend([OUTSIDE] * more)
            self._worker.extend([""] * more)
            for column in (self._since, self._attempt, self._version):
                column.frombytes(bytes(column.itemsize * more))
        self.crew.replan(plan.scenario)

    # -- what is told --

    def moves(self, rows: Iterable[Moved]) -> None:
        """Transitions, in the order of commit. Raises IndexError for a task that is not in the plan."""
        state, since_s, curves, struck = self._state, self._since, self.curves, self._strikes.touched
        for t_s, task, source, to, worker, attempt, reason in rows:
            was, now, since = state[task], CODES[to], since_s[task]
            if CODES[source] == was and t_s >= since - CLOCK_SLACK_S:
                pass
            elif now == COMPLETED == was:
                self._completed_again(task, t_s, since)
                continue
            elif not is_newer(int(since * 1e6), int(t_s * 1e6)):
                continue  # told before, or older than what is known
            if t_s > self._strike_at_s:
                self._strike(t_s)
            self._in_flush += 1
            lane, number = self._lanes[self._role[task]], curves.bin_of(t_s)
            self._leave(lane, task, was, number)
            state[task], since_s[task], self._attempt[task] = now, t_s, attempt
            self._version[task] += 1
            self._enter(lane, task, now, number, worker, t_s)
            if was == RUNNING and reason in TAKEN_BACK:
                self._taken_back(task, reason)
            if struck and task in struck and now in (COMPLETED, DEAD, CANCELLED):
                self._strikes.ended(task)

    def _leave(self, lane: Lane, task: int, was: int, number: int) -> None:
        lane.count[was] -= 1
        if was == PENDING:
            del lane.pending[self._class[task]][task]
            self.curves.pending(number, -1)
        elif was == RUNNING:
            del lane.running[task]
            self.crew.put_down(self._worker[task], task)
        elif was == RETRY_WAIT:
            del lane.retry_wait[task]
        elif was != OUTSIDE and task in lane.finished:
            lane.finished.remove(task)

    def _enter(self, lane: Lane, task: int, now: int, number: int, worker: str, t_s: float) -> None:
        lane.count[now] += 1
        if now == RUNNING:
            lane.running[task] = None
            self._worker[task] = self.crew.take_up(worker, task)
            self._total["claims"] += 1
        elif now == COMPLETED:
            lane.finished.appendleft(task)
            self.curves.completed(number, t_s - self._arrival_s[task])
        elif now == PENDING:
            lane.pending[self._class[task]][task] = None
            self._worker[task] = ""
            self.curves.pending(number, 1)
        elif now == RETRY_WAIT:
            lane.retry_wait[task] = None
            self._total["retries"] += 1
            self.curves.retried(number)
        else:
            lane.finished.appendleft(task)
            if now == DEAD:
                self._sums.setdefault("dead", []).append(task)

    def _taken_back(self, task: int, reason: str) -> None:
        """A task that ran runs no more: its lease lapsed, or its worker handed it back."""
        self._total[reason] += 1
        self._sums.setdefault(reason, []).append(task)
        if task in self._strikes.touched:
            self._strikes.reclaimed(task)

    def _completed_again(self, task: int, t_s: float, since_s: float) -> None:
        """A second completion, unless it is the first one told twice."""
        if t_s == since_s:
            return
        self._in_flush += 1
        self._total["doubled"] += 1
        self._version[task] += 1
        self._say(t_s, "check", f"task {task} was completed twice", "bad")
        if task in self._strikes.touched:
            self._strikes.doubled(task)

    def samples(self, rows: Iterable[SampleRow]) -> None:
        """Reports of workers, and of the queues (those with an empty `worker`; live they are what Redis says)."""
        for row in rows:
            if row.worker:
                self.crew.report(row)
                self.curves.weigh(self.crew.rss_bytes, row.t_s)
                continue
            self.curves.hold(row.held, row.t_s)
            if self.side == "live":
                self._queues = (row.agent_high, row.agent_medium, row.agent_low)

    def notes(self, rows: Iterable[EventRow]) -> None:
        """What happened to the mesh: faults, gates, workers, refused writes; other kinds are passed over."""
        for row in rows:
            if row.kind == "fault":
                self._to_strike.append((row.t_s, row.detail))
                self._strike_at_s = self._to_strike[0][0]
                self._say_fault(row)
            elif row.kind in ("requeued", "stale_write"):
                self._total[row.kind] += 1
                self._sums.setdefault(row.kind, []).append(row.task)
            elif (said := self.crew.note(row)) is not None:
                self._say(row.t_s, *said)
                self.curves.weigh(self.crew.rss_bytes, row.t_s)
            elif row.kind in ADMISSION_WORDS:
                self._say(row.t_s, "gate", *ADMISSION_WORDS[row.kind])

    def admission(self, arrived: int, held: int, rejected: int, open: bool) -> None:
        """What the producer has seen so far: tasks whose moment came, those it holds, those refused; its gate."""
        self._admission = (arrived, held, rejected, open)
        self.curves.hold(held)

    def verified(self, lost: int, doubled: int) -> None:
        """What the store itself says: tasks that came in and are not there, and tasks completed more than once."""
        before = self._told_counts or (0, 0)
        self._told_counts = (lost, doubled)
        self._strikes.lost(lost)
        if lost > before[0]:
            self._say(self.curves.reached_s, "check", f"{lost} tasks are lost: they came in and are not there", "bad")
        if doubled > max(before[1], self._total["doubled"]):
            self._say(self.curves.reached_s, "check", f"{doubled} tasks were completed more than once", "bad")

    def reached(self, t_s: float) -> None:
        """All that happened before this moment has been told: how far the curves go when they run ahead."""
        self.curves.bin_of(t_s)

    # -- strikes --

    def _strike(self, until_s: float) -> None:
        """Count what is in hand of what was struck before a moment."""
        while self._to_strike and self._to_strike[0][0] < until_s:
            t_s, detail = self._to_strike.popleft()
            kind, named, _ = fault_words(detail)
            if (in_hand := self._in_hand(kind, named)) is not None:
                self._strikes.begin(t_s, detail, in_hand, self._lost)
        self._strike_at_s = self._to_strike[0][0] if self._to_strike else math.inf

    def _in_hand(self, kind: str, named: dict[str, str]) -> list[int] | None:
        """The tasks RUNNING on what is struck; None where nobody's hands are."""
        if kind in PROCESS_FAULTS:
            return self.crew.in_hand(int(named["worker"]))
        if kind in SERVER_FAULTS or kind in WORK_FAULTS:
            lanes = [lane for lane in self._lanes if lane.name == named.get("role", lane.name)]
            return list(chain.from_iterable(lane.running for lane in lanes))
        return None

    # -- events --

    def _say(self, t_s: float, kind: str, text: str, level: str) -> None:
        self._events.append((t_s, kind, text, level))

    def _say_fault(self, row: EventRow) -> None:
        kind, _, words = fault_words(row.detail)
        strikes = kind in PROCESS_FAULTS or kind in SERVER_FAULTS or kind in WORK_FAULTS
        self._say(row.t_s, "fault", words, "bad" if strikes else "info")

    def _new_events(self, t_s: float) -> list[dict[str, Any]]:
        """The events since the last frame; many of a kind are one."""
        for what, tasks in self._sums.items():
            kind, words, level = SUM_WORDS[what]
            named = ", ".join(map(str, tasks[:SEEN_TASKS])) + (", …" if len(tasks) > SEEN_TASKS else "")
            count = f"{len(tasks):,} tasks" if len(tasks) > 1 else "task"
            self._say(t_s, kind, f"{count} {words} ({named})" if len(tasks) > 1 else f"task {named} {words}", level)
        self._sums.clear()
        events, self._events = self._events[-FRAME_EVENTS_MAX:], []
        first, self._event_number = self._event_number + 1, self._event_number + len(events)
        return [
            {"n": number, "t": round(at_s, 3), "kind": kind, "text": text, "level": level}
            for number, (at_s, kind, text, level) in enumerate(events, first)
        ]

    # -- frames --

    def frame(
        self, t_s: float, phase: Phase, note: str = "", *, all_bins: bool = False, ahead: Telemetry | None = None
    ) -> dict[str, Any]:
        """Where all stands at a moment: plain data for JSON. `ahead` is another fold whose curves are told instead.

        Bins and events are those that are new since the last frame (`all_bins`: bins from 0); all else is whole.
        """
        self._strike(t_s - SETTLE_S if phase == "running" else math.inf)
        curves = self.curves if ahead is None else ahead.curves
        until_s = max(t_s, curves.reached_s) if ahead is not None or phase == "ended" else t_s
        self._busy = high_traffic(self._busy, self._in_flush, self._view)
        return {
            "side": self.side,
            "t": round(t_s, 3),
            "phase": phase,
            "note": note,
            "high_traffic": self._busy,
            "events_per_s": self._events_per_s(t_s),
            "counts": self.counts(),
            "queues": dict(zip(QUEUES, self._queues or self._pending_by_class(), strict=True)),
            "roles": [self._role_told(lane) for lane in self._lanes],
            "workers": self.crew.told(t_s),
            "admission": {"open": self._admission[3] if self._admission else True},
            "bins": curves.told(until_s, all_bins=all_bins, closed=phase == "ended"),
            "events": self._new_events(t_s),
            "strikes": self._strikes.told(),
            "record": "",
        }

    def counts(self) -> dict[str, int]:
        """How many tasks are where, and what has happened to them so far."""
        by_state = [sum(lane.count[code] for lane in self._lanes) for code in range(OUTSIDE)]
        submitted, total = sum(by_state), self._total
        arrived, held, rejected, _ = self._admission or (submitted, 0, 0, True)
        doubled = max(self._told_counts[1] if self._told_counts else 0, total["doubled"])
        names = ("pending", "running", "retry_wait", "completed", "dead", "cancelled")
        return {
            "arrived": arrived,
            "submitted": submitted,
            "held": held,
            "rejected": rejected,
            **dict(zip(names, by_state, strict=True)),
            "attempts": total["claims"] - total[Event.HANDED_BACK],
            "retries": total["retries"],
            "reclaimed": total[Event.LEASE_LAPSED],
            "stale_writes": total["stale_write"],
            "lost": self._lost,
            "doubled": doubled,
        }

    @property
    def _lost(self) -> int:
        """What the store says; without it nothing can be lost: a task that came in is counted where it is."""
        return self._told_counts[0] if self._told_counts else 0

    def _pending_by_class(self) -> list[int]:
        return [sum(len(lane.pending[level]) for lane in self._lanes) for level in range(len(QUEUES))]

    def _events_per_s(self, t_s: float) -> int:
        """Transitions in the last second; begins a new flush."""
        self._flushes.append((t_s, self._in_flush))
        self._in_flush = 0
        while self._flushes[0][0] <= t_s - RATE_WINDOW_S:
            self._flushes.popleft()
        return round(sum(count for _, count in self._flushes) / RATE_WINDOW_S)

    def _role_told(self, lane: Lane) -> dict[str, Any]:
        waiting = chain(*lane.pending, lane.retry_wait)
        return {
            "name": lane.name,
            "pending": lane.count[PENDING],
            "running": lane.count[RUNNING],
            "retry_wait": lane.count[RETRY_WAIT],
            "completed": lane.count[COMPLETED],
            "dead": lane.count[DEAD],
            "pending_cards": [self._card(task) for task in islice(waiting, self._view.pending_cards)],
            "running_cards": [self._card(task) for task in islice(lane.running, RUNNING_CARDS_MAX)],
            "finished_cards": [self._card(task) for task in lane.finished],
        }

    def _card(self, task: int) -> dict[str, Any]:
        return {
            "id": task,
            "p": self._priority[task],
            "s": NAMES[self._state[task]],
            "a": self._attempt[task],
            "v": self._version[task],
            "w": self._worker[task],
            "t": round(self._since[task], 3),
        }


ADMISSION_WORDS = {
    "admission_closed": ("admission closed: new tasks wait at the producer", "warn"),
    "admission_opened": ("admission open again", "good"),
}
SUM_WORDS = {
    "dead": ("dead", "dead-lettered", "bad"),
    str(Event.LEASE_LAPSED): ("note", "reclaimed: the lease lapsed", "warn"),
    str(Event.HANDED_BACK): ("note", "handed back", "info"),
    "requeued": ("note", "put back into Redis", "good"),
    "stale_write": ("check", "finished by a worker that had lost it: the late result was refused", "info"),
}
"""(kind, words, level) of what may happen to many tasks at once."""
