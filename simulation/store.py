"""The model's PostgreSQL: the one place that says what state a task is in, and the audit log of how it got there."""

from __future__ import annotations

from lab.record import EventRow, TransitionRow
from lab.rules.retry import RetryRules
from lab.rules.tasks import TERMINAL, Accepted, Event, Refused, State, Task, transition
from simulation.clock import Clock


class Store:
    """Tasks by id, moved only by the rulebook. `up_at_s` is when it answers again, if it is down."""

    def __init__(self, clock: Clock, tasks: int, rules: RetryRules) -> None:
        self.tasks: list[Task | None] = [None] * tasks
        self.since_s: list[float] = [0.0] * tasks
        self.log: list[TransitionRow] = []
        self.notes: list[EventRow] = []
        self.pending = self.retrying = self.open = self.ended = 0
        self.up_at_s = 0.0
        self._clock, self._rules = clock, rules

    def apply(
        self, task: int, event: Event, worker: str = "", *, token: int | None = None, roll: float = 0.0
    ) -> Accepted | Refused:
        """Let the rulebook decide what becomes of the task, and write down what it said."""
        before = self.tasks[task]
        verdict = transition(before, event, self._rules, token=token, roll=roll)
        if isinstance(verdict, Refused):
            if verdict.stale:
                self.note("stale_write", worker, task, verdict.reason)
            return verdict
        after, now_s = verdict.task, self._clock.now
        self.tasks[task], self.since_s[task] = after, now_s
        self._count(before.state if before else None, after.state)
        start = before.state if before else ""
        row = TransitionRow(task, start, after.state, now_s, worker, after.attempt, after.token, event, verdict.delay_s)
        self.log.append(row)
        return verdict

    def note(self, kind: str, worker: str = "", task: int = -1, detail: str = "") -> None:
        """Write down something that happened to the mesh rather than to a task's state."""
        self.notes.append(EventRow(self._clock.now, kind, worker, task, detail))

    def waiting(self) -> list[int]:
        """The pending tasks, those that have waited longest first: what queues are rebuilt from."""
        pending = [number for number, task in enumerate(self.tasks) if task and task.state is State.PENDING]
        return sorted(pending, key=lambda number: self.since_s[number])

    def _count(self, before: State | None, after: State) -> None:
        self.pending += (after is State.PENDING) - (before is State.PENDING)
        self.retrying += (after is State.RETRY_WAIT) - (before is State.RETRY_WAIT)
        self.open += (before is None or before in TERMINAL) - (after in TERMINAL)
        self.ended += (after in TERMINAL) - (before is not None and before in TERMINAL)
