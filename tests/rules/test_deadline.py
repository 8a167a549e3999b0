"""The deadline rule: how long clients wait, and that a task whose client has left can only leave the queue."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.rules.deadline import DeadlineRules, has_left, patience_s
from lab.rules.retry import RetryRules
from lab.rules.tasks import Accepted, Event, State, Task, transition


@pytest.mark.parametrize(
    ("rules", "roll", "wait_s"),
    [
        (DeadlineRules(), 0.5, math.inf),  # off: for ever
        (DeadlineRules(spread="exponential"), 0.5, math.inf),  # off is off, whatever the spread
        (DeadlineRules(wait_s=3.0), 0.001, 3.0),  # fixed: the roll says nothing
        (DeadlineRules(wait_s=3.0, spread="exponential"), math.exp(-1), 3.0),  # −3 · ln(1/e) = 3
        (DeadlineRules(wait_s=3.0, spread="exponential"), 0.5, 3.0 * math.log(2)),  # the median: 3 · ln 2 = 2.079
        (DeadlineRules(wait_s=3.0, spread="exponential"), math.exp(-4), 12.0),  # −3 · ln(e⁻⁴) = 12
    ],
)
def test_how_long_a_client_waits(rules: DeadlineRules, roll: float, wait_s: float) -> None:
    assert patience_s(rules, roll) == pytest.approx(wait_s, rel=1e-12)


def test_exponential_patience_has_the_mean_that_it_is_given() -> None:
    rules = DeadlineRules(wait_s=5.0, spread="exponential")
    rolls = (np.arange(100_000) + 0.5) / 100_000  # evenly spread: the mean is the distribution's own
    assert np.mean([patience_s(rules, roll) for roll in rolls.tolist()]) == pytest.approx(5.0, rel=1e-3)


@pytest.mark.parametrize(
    ("waited_s", "patience", "left"),
    [(0.0, 1.0, False), (0.999999, 1.0, False), (1.0, 1.0, True), (1.000001, 1.0, True), (1e9, math.inf, False)],
)
def test_a_client_leaves_at_its_patience_and_not_before(waited_s: float, patience: float, left: bool) -> None:
    assert has_left(waited_s, patience) is left


@pytest.mark.parametrize(
    ("rules", "cancels", "wastes"),
    [
        (DeadlineRules(), False, False),
        (DeadlineRules(late="fail"), False, False),  # off is off
        (DeadlineRules(wait_s=1.0), True, False),
        (DeadlineRules(wait_s=1.0, late="fail"), False, True),
    ],
)
def test_a_late_task_is_cancelled_or_done_for_nobody(rules: DeadlineRules, cancels: bool, wastes: bool) -> None:
    assert (rules.cancels, rules.wastes) == (cancels, wastes)


@pytest.mark.parametrize("state", [None, *State])
def test_only_a_task_that_waits_in_its_queue_can_lose_its_client(state: State | None) -> None:
    before = None if state is None else Task(state, attempt=2, token=3)
    verdict = transition(before, Event.EXPIRED, RetryRules())
    if state is State.PENDING:
        assert verdict == Accepted(Task(State.CANCELLED, attempt=2, token=3), "client left")
    else:
        assert not isinstance(verdict, Accepted)
