"""The retry budget, the time limit of an attempt, and failures that no retry can mend."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.rules import retry
from lab.rules.retry import RetryBudget, RetryRules
from lab.rules.tasks import Accepted, Event, Refused, State, Task, transition

OFF = RetryRules()
DEFAULT = RetryRules(budget=RetryBudget())


def bucket(**values: float) -> RetryRules:
    """Retry rules with such a budget."""
    return RetryRules(budget=RetryBudget(**values))


def test_a_bucket_starts_full() -> None:
    assert retry.budget_start(DEFAULT) == 10.0
    assert retry.budget_start(bucket(burst=3.5)) == 3.5
    assert retry.budget_start(OFF) == math.inf


@pytest.mark.parametrize(
    ("rules", "tokens", "after"),
    [
        (DEFAULT, 0.0, 0.1),  # + 0.1
        (DEFAULT, 9.9, 10.0),  # + 0.1: just full
        (DEFAULT, 9.95, 10.0),  # never over the brim
        (DEFAULT, 10.0, 10.0),
        (bucket(ratio=0.0), 4.0, 4.0),  # nothing comes back
        (bucket(ratio=2.0, burst=5.0), 2.0, 4.0),  # two retries for each success
        (OFF, math.inf, math.inf),
    ],
)
def test_a_success_adds_the_ratio_up_to_the_burst(rules: RetryRules, tokens: float, after: float) -> None:
    assert retry.after_success(tokens, rules) == after


@pytest.mark.parametrize(
    ("rules", "tokens", "left", "granted"),
    [
        (DEFAULT, 10.0, 9.0, True),
        (DEFAULT, 1.0, 0.0, True),  # the last whole token
        (DEFAULT, 0.999999, 0.999999, False),  # less than one: refused, and nothing taken
        (DEFAULT, 0.0, 0.0, False),
        (bucket(burst=0.5), 0.5, 0.5, False),  # a bucket that never holds a whole one: no retries at all
        (OFF, math.inf, math.inf, True),
    ],
)
def test_a_retry_takes_one_token(rules: RetryRules, tokens: float, left: float, granted: bool) -> None:
    assert retry.take_retry(tokens, rules) == (left, granted)


@pytest.mark.parametrize(("ratio", "successes"), [(0.1, 10), (0.2, 5), (0.3, 4), (1.0, 1), (0.001, 1000)])
def test_so_many_successes_pay_for_one_retry(ratio: float, successes: int) -> None:
    """⌈1 / ratio⌉ of them, exactly: ten times 0.1 is one, although floats add up to 0.9999999999999999."""
    tokens, rules = 0.0, bucket(ratio=ratio)
    for _ in range(successes):
        assert not retry.take_retry(tokens, rules)[1]
        tokens = retry.after_success(tokens, rules)
    assert retry.take_retry(tokens, rules)[1]


@given(
    ratio=st.floats(0, 2),
    burst=st.floats(0, 20),
    happened=st.lists(st.booleans(), max_size=300),
)
def test_retries_are_at_most_the_burst_and_the_ratio_of_successes(
    ratio: float, burst: float, happened: list[bool]
) -> None:
    rules = bucket(ratio=ratio, burst=burst)
    tokens, granted, successes = retry.budget_start(rules), 0, 0
    for succeeded in happened:
        if succeeded:
            tokens, successes = retry.after_success(tokens, rules), successes + 1
        else:
            tokens, once_more = retry.take_retry(tokens, rules)
            granted += once_more
        assert 0.0 <= tokens <= burst
        assert granted <= burst + ratio * successes + 1e-6


@pytest.mark.parametrize(
    ("tokens", "attempts", "permanent", "left", "granted"),
    [
        (2.0, 1, False, 1.0, True),
        (2.0, 5, False, 1.0, True),
        (2.0, 6, False, 2.0, False),  # the sixth was the last one anyway: it takes no token
        (2.0, 1, True, 2.0, False),  # nor does one that no retry can mend
        (0.0, 1, False, 0.0, False),
    ],
)
def test_which_failures_ask_the_budget(
    tokens: float, attempts: int, permanent: bool, left: float, granted: bool
) -> None:
    assert retry.after_failure(tokens, attempts, permanent, DEFAULT) == (left, granted)


@pytest.mark.parametrize(
    ("attempt", "may_retry", "to", "delay_s"),
    [
        (1, True, State.RETRY_WAIT, 2.0),  # 1 · 2^1
        (1, False, State.PERMANENT_FAILURE, 0.0),
        (5, False, State.PERMANENT_FAILURE, 0.0),
        (6, True, State.PERMANENT_FAILURE, 0.0),  # spent: no word of the budget brings it back
    ],
)
def test_a_failure_that_may_not_be_retried_is_permanent(
    attempt: int, may_retry: bool, to: State, delay_s: float
) -> None:
    running = Task(State.RUNNING, attempt=attempt, token=attempt)
    verdict = transition(running, Event.FAILED, OFF, token=attempt, may_retry=may_retry)
    assert verdict == Accepted(running._replace(state=to), "failed", delay_s)


@pytest.mark.parametrize("event", [event for event in Event if event is not Event.FAILED])
@pytest.mark.parametrize("state", [None, *State])
def test_may_retry_speaks_of_failures_only(state: State | None, event: Event) -> None:
    """A crash that is reclaimed is no answer of the task's: it is never held against the budget."""
    task = None if state is None else Task(state, attempt=1, token=1)
    assert transition(task, event, OFF, token=1, may_retry=False) == transition(task, event, OFF, token=1)


def test_an_old_token_is_stale_whatever_the_budget_says() -> None:
    verdict = transition(Task(State.RUNNING, attempt=2, token=2), Event.FAILED, OFF, token=1, may_retry=False)
    assert isinstance(verdict, Refused)
    assert verdict.stale


@pytest.mark.parametrize(
    ("timeout_s", "work_s", "cut_s"),
    [(None, 1e6, 1e6), (2.0, 1.0, 1.0), (2.0, 2.0, 2.0), (2.0, 2.000001, 2.0), (0.5, 1e6, 0.5)],
)
def test_an_attempt_is_cut_at_its_time_limit(timeout_s: float | None, work_s: float, cut_s: float) -> None:
    assert retry.cut(work_s, RetryRules(timeout_s=timeout_s)) == cut_s


@pytest.mark.parametrize(
    "broken", [{"ratio": -0.1}, {"burst": -1}, {"ratio": float("inf")}, {"ratio": "0.1"}, {"tokens": 1}]
)
def test_a_budget_out_of_its_bounds_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="budget"):
        RetryRules.model_validate({"budget": broken})
