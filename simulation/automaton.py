"""The rulebook's state machine, learned while it is walked.

`lab.rules.tasks.transition` decides what becomes of a task. Its answer depends on a handful of facts (state, attempt,
token), so millions of tasks ask the same few hundred questions. Here every distinct set of facts is a `Standing`, and
every answer a `Step` from one to the next: the rulebook is asked once, and from then on the step is followed. Nothing
is decided in this file.
"""

from __future__ import annotations

from lab.moves import Step as StepRow
from lab.rules import retry
from lab.rules.retry import RetryRules
from lab.rules.tasks import TERMINAL, Accepted, Event, Refused, State, Task, transition

EVENTS = tuple(Event)
SUBMITTED = EVENTS.index(Event.SUBMITTED)
CLAIMED = EVENTS.index(Event.CLAIMED)
SUCCEEDED = EVENTS.index(Event.SUCCEEDED)
FAILED = EVENTS.index(Event.FAILED)
DUE = EVENTS.index(Event.DUE)
LEASE_LAPSED = EVENTS.index(Event.LEASE_LAPSED)
HANDED_BACK = EVENTS.index(Event.HANDED_BACK)
EXPIRED = EVENTS.index(Event.EXPIRED)
CANCELLED = EVENTS.index(Event.CANCELLED)
REDRIVEN = EVENTS.index(Event.REDRIVEN)
FAILED_FOR_GOOD = len(EVENTS)
"""A failure that may not be retried, whatever the attempts left (permanent, or no budget)."""


class Standing:
    """One distinct set of facts about a task, shared by all tasks that stand there."""

    __slots__ = ("attempt", "facts", "state", "token", "ways")

    def __init__(self, facts: Task | None) -> None:
        self.facts = facts
        self.state = facts.state if facts is not None else None
        self.attempt = facts.attempt if facts is not None else 0
        self.token = facts.token if facts is not None else 0
        self.ways: list[Step | None] = [None] * (FAILED_FOR_GOOD + 1)
        """By event: the step that it leads to, None while the rulebook has not been asked."""


class Step:
    """The rulebook's answer to one event in one standing. `to` is None if it refused."""

    __slots__ = ("answer", "count", "delay_s", "ends", "number", "pending", "retrying", "to", "waits")

    def __init__(self, before: Standing, answer: Accepted | Refused, to: Standing | None, number: int) -> None:
        self.answer, self.to, self.number = answer, to, number
        after = to.state if to is not None else before.state
        self.count = 0
        """How often it was taken."""
        self.pending = (after is State.PENDING) - (before.state is State.PENDING)
        self.retrying = (after is State.RETRY_WAIT) - (before.state is State.RETRY_WAIT)
        self.ends = (after in TERMINAL) - (before.state in TERMINAL)
        """Tasks in a final state after it, less before it."""
        self.waits = to is not None and after is State.RETRY_WAIT
        self.delay_s = answer.delay_s if isinstance(answer, Accepted) else 0.0


class Automaton:
    """All standings and steps that a run has met."""

    def __init__(self, rules: RetryRules) -> None:
        self.unknown = Standing(None)
        """Where a task stands that has not been submitted."""
        self.steps: list[Step] = []
        self.rows: list[StepRow] = []
        """What the audit log says of each step, by its number."""
        self._rules = rules
        self._standings: dict[Task, Standing] = {}

    def learn(self, standing: Standing, code: int) -> Step:
        """Ask the rulebook what an event means here, and remember the answer."""
        facts, event = standing.facts, Event.FAILED if code == FAILED_FOR_GOOD else EVENTS[code]
        token = facts.token if facts is not None else None
        answer = transition(facts, event, self._rules, token=token, may_retry=code != FAILED_FOR_GOOD)
        to = self._standing_of(answer.task) if isinstance(answer, Accepted) else None
        step = Step(standing, answer, to, len(self.rows))
        if isinstance(answer, Accepted):
            start = standing.state or ""
            self.steps.append(step)
            self.rows.append(StepRow(start, answer.task.state, answer.task.attempt, answer.task.token, answer.reason))
        standing.ways[code] = step
        return step

    def turn(self, rules: RetryRules) -> None:
        """From now on failures go by other rules: what the rulebook said of them is asked anew."""
        self._rules = rules
        for standing in self._standings.values():
            standing.ways[FAILED] = None

    def delay_s(self, standing: Standing, roll: float) -> float:
        """The backoff after a failure here with this draw for the jitter: the rulebook's own function of it."""
        facts = standing.facts
        assert facts is not None
        return retry.delay_s(facts.spent, self._rules, roll)

    def why_refused(self, standing: Standing, event: Event, token: int) -> Refused:
        """What the rulebook says to a worker whose claim is not the current one, or that comes too late."""
        answer = transition(standing.facts, event, self._rules, token=token)
        assert isinstance(answer, Refused), answer
        return answer

    def _standing_of(self, facts: Task) -> Standing:
        if facts not in self._standings:
            self._standings[facts] = Standing(facts)
        return self._standings[facts]
