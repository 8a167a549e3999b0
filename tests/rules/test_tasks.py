"""The state machine: every (state, event) pair, legal and illegal; tokens; attempts; redrive."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.rules.retry import RetryRules
from lab.rules.tasks import LEGAL_STEPS, MOVES, TERMINAL, Accepted, Event, Refused, State, Task, transition

RETRY = RetryRules()

# The table of DESIGN.md 3.1, written out again here by hand, so that an edit of MOVES alone fails.
# (from, event): (to, to when no attempt is left)
TABLE: dict[tuple[State | None, Event], tuple[State, State | None]] = {
    (None, Event.SUBMITTED): (State.PENDING, None),
    (State.PENDING, Event.CLAIMED): (State.RUNNING, None),
    (State.PENDING, Event.CANCELLED): (State.CANCELLED, None),
    (State.PENDING, Event.EXPIRED): (State.CANCELLED, None),
    (State.RUNNING, Event.SUCCEEDED): (State.COMPLETED, None),
    (State.RUNNING, Event.FAILED): (State.RETRY_WAIT, State.PERMANENT_FAILURE),
    (State.RUNNING, Event.LEASE_LAPSED): (State.PENDING, State.PERMANENT_FAILURE),
    (State.RUNNING, Event.HANDED_BACK): (State.PENDING, None),
    (State.RETRY_WAIT, Event.DUE): (State.PENDING, None),
    (State.RETRY_WAIT, Event.CANCELLED): (State.CANCELLED, None),
    (State.PERMANENT_FAILURE, Event.REDRIVEN): (State.PENDING, None),
}
PAIRS = list(product([None, *State], Event))


def task(state: State | None, attempt: int = 1, token: int = 1, forgiven: int = 0) -> Task | None:
    return None if state is None else Task(state, attempt, token, forgiven)


def accepted(before: Task | None, event: Event, *, token: int | None = None, rules: RetryRules = RETRY) -> Accepted:
    verdict = transition(before, event, rules, token=before.token if token is None and before else token)
    assert isinstance(verdict, Accepted), verdict
    return verdict


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_every_pair_is_accepted_or_refused_as_the_table_says(state: State | None, event: Event) -> None:
    verdict = transition(task(state), event, RETRY, token=1)
    if (state, event) in TABLE:
        assert isinstance(verdict, Accepted)
        assert verdict.task.state is TABLE[state, event][0]
        assert verdict.reason == event
    else:
        assert isinstance(verdict, Refused)
        assert not verdict.stale
        assert str(event) in verdict.reason


@pytest.mark.parametrize(("state", "event"), [pair for pair, (_, spent) in TABLE.items() if spent])
def test_the_sixth_attempt_is_the_last(state: State, event: Event) -> None:
    assert accepted(Task(state, attempt=5, token=5), event).task.state is TABLE[state, event][0]
    assert accepted(Task(state, attempt=6, token=6), event).task.state is TABLE[state, event][1]


def test_the_machines_table_is_the_designs() -> None:
    assert {pair: (move.to, move.when_spent) for pair, move in MOVES.items()} == TABLE
    ends = {(start, end) for (start, _), pair in TABLE.items() for end in pair if end}
    assert ends == LEGAL_STEPS
    assert {State.COMPLETED, State.PERMANENT_FAILURE, State.CANCELLED} == TERMINAL


def test_a_claim_raises_attempt_and_token_by_one() -> None:
    claimed = accepted(Task(State.PENDING, attempt=2, token=4), Event.CLAIMED).task
    assert claimed == Task(State.RUNNING, attempt=3, token=5)


@pytest.mark.parametrize("event", [Event.SUCCEEDED, Event.FAILED, Event.HANDED_BACK])
@pytest.mark.parametrize("token", [None, 0, 2, 4])
@pytest.mark.parametrize("state", list(State))
def test_a_stale_token_is_refused_and_says_so(event: Event, token: int | None, state: State) -> None:
    verdict = transition(Task(state, attempt=3, token=3), event, RETRY, token=token)
    assert isinstance(verdict, Refused)
    assert verdict.stale


@pytest.mark.parametrize(
    "event", [Event.CLAIMED, Event.DUE, Event.LEASE_LAPSED, Event.CANCELLED, Event.EXPIRED, Event.REDRIVEN]
)
def test_only_a_workers_own_reports_need_its_token(event: Event) -> None:
    state = next(start for start, known in TABLE if known is event)
    assert isinstance(transition(task(state), event, RETRY, token=99), Accepted)


def test_a_reclaim_counts_as_an_attempt() -> None:
    lapsed = accepted(Task(State.RUNNING, attempt=1, token=1), Event.LEASE_LAPSED).task
    assert lapsed == Task(State.PENDING, attempt=1, token=1)
    again = accepted(lapsed, Event.CLAIMED).task
    assert (again.attempt, again.token) == (2, 2)
    # Failing now is the second failure, so the wait is 1 · 2^2 = 4 s, not 2 s.
    assert accepted(again, Event.FAILED).delay_s == 4.0


def test_a_task_that_kills_its_worker_every_time_is_dead_lettered() -> None:
    one: Task | None = None
    one = accepted(one, Event.SUBMITTED).task
    for _ in range(6):
        assert one.state is State.PENDING
        one = accepted(accepted(one, Event.CLAIMED).task, Event.LEASE_LAPSED).task
    assert one == Task(State.PERMANENT_FAILURE, attempt=6, token=6)


def test_a_hand_back_does_not_count_but_its_token_is_spent() -> None:
    back = accepted(Task(State.RUNNING, attempt=3, token=5), Event.HANDED_BACK).task
    assert back == Task(State.PENDING, attempt=2, token=5)
    assert accepted(back, Event.CLAIMED).task == Task(State.RUNNING, attempt=3, token=6)


def test_a_redrive_starts_the_retry_count_again() -> None:
    dead = Task(State.PERMANENT_FAILURE, attempt=6, token=6)
    redriven = accepted(dead, Event.REDRIVEN).task
    assert redriven == Task(State.PENDING, attempt=6, token=6, forgiven=6)
    first = accepted(accepted(redriven, Event.CLAIMED).task, Event.FAILED)
    assert first.task.state is State.RETRY_WAIT
    assert first.delay_s == 2.0  # 1 · 2^1: the first failure of the new life
    last = accepted(Task(State.RUNNING, attempt=12, token=12, forgiven=6), Event.FAILED)
    assert last.task.state is State.PERMANENT_FAILURE  # 12 − 6 = 6 attempts used


@pytest.mark.parametrize(("attempt", "delay_s"), [(1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 32.0)])
def test_a_failure_waits_by_the_retry_rule(attempt: int, delay_s: float) -> None:
    assert accepted(Task(State.RUNNING, attempt=attempt, token=attempt), Event.FAILED).delay_s == delay_s


@given(events=st.lists(st.tuples(st.sampled_from(list(Event)), st.integers(-1, 1)), max_size=60))
def test_no_history_breaks_the_invariants(events: list[tuple[Event, int]]) -> None:
    """Whatever is thrown at a task: tokens never fall, terminal states hold, at most 6 attempts count."""
    one: Task | None = None
    for event, off in events:
        before = one
        verdict = transition(one, event, RETRY, token=(one.token + off) if one else None)
        if isinstance(verdict, Refused):
            assert one == before
            continue
        one = verdict.task
        assert (before.state if before else None, one.state) in LEGAL_STEPS
        assert one.token - (before.token if before else 0) == (event is Event.CLAIMED)
        assert one.spent <= RETRY.max_retries + 1
        assert before is None or before.state not in (State.COMPLETED, State.CANCELLED)
