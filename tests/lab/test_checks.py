"""Each check fails on a record that is broken in its way, and on no other; a good record passes all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lab import moves as log
from lab.checks import CLOCK_GRAIN_S, check, failures
from lab.record import EventRow, Record, TransitionRow
from lab.rules.tasks import State

Make = Callable[..., Record]
Rows = list[TransitionRow]

DONE = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
LATER = [(0.0, "submitted"), (1.0, "claimed"), (2.0, "succeeded")]
RETRIED = [
    (0.0, "submitted"),
    (0.0, "claimed"),
    (1.0, "failed"),
    (3.0, "due"),  # 1 + 2^1
    (3.0, "claimed"),
    (4.0, "failed"),
    (8.0, "due"),  # 4 + 2^2
    (8.0, "claimed"),
    (9.0, "succeeded"),
]
RECLAIMED = [(0.0, "submitted"), (0.0, "claimed"), (10.5, "lease lapsed"), (10.5, "claimed"), (11.5, "succeeded")]
HANDED_BACK = [(0.0, "submitted"), (0.0, "claimed"), (0.5, "handed back"), (0.5, "claimed"), (1.5, "succeeded")]
DEAD = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "dead")]
NO_RETRY = {"rules.retry.max_retries": 0}
REDRIVEN = [*DEAD, (5.0, "redriven"), (5.0, "claimed"), (6.0, "succeeded")]
CANCELLED = [(0.0, "submitted"), (1.0, "cancelled")]


@pytest.fixture(params=[7, log.CHUNK_ROWS], autouse=True)
def _chunk_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is read a stretch of rows at a time; no verdict may depend on where a stretch ends."""
    monkeypatch.setattr(log, "CHUNK_ROWS", request.param)


def failed(record: Record) -> list[str]:
    return [one.name for one in check(record) if not one.ok]


@pytest.mark.parametrize(
    ("histories", "settings"),
    [
        ([DONE], {}),
        ([DONE, LATER], {}),
        ([RETRIED], {}),
        ([RECLAIMED], {}),
        ([HANDED_BACK], {}),
        ([DEAD], NO_RETRY),
        ([REDRIVEN], NO_RETRY),
        ([CANCELLED], {}),
    ],
)
def test_a_good_record_passes_every_check(make: Make, histories: list[Any], settings: dict[str, Any]) -> None:
    record = make(*histories, settings=settings)
    assert failed(record) == []
    assert record.info["checks"]["ok"] is True
    assert len(record.info["checks"]["details"]) == 8
    assert list(failures(check(record))) == []


def test_a_lost_task_is_found(make: Make) -> None:
    record = make(DONE, LATER[:2])
    assert failed(record) == ["nothing_lost"]
    (line,) = failures(check(record))
    assert "1 tasks lost" in line
    assert "(for example 1)" in line


def test_a_task_that_was_never_admitted_is_lost_too(make: Make) -> None:
    assert failed(make(DONE, [])) == ["nothing_lost"]


def test_an_interrupted_run_is_not_judged_by_what_is_left(make: Make) -> None:
    assert failed(make(DONE, LATER[:2], [], interrupted=True)) == []


def test_a_second_completion_is_found(make: Make) -> None:
    def twice(rows: Rows) -> Rows:
        return [*rows, rows[-1]._replace(at_s=2.0, from_state=State.RUNNING)]

    assert set(failed(make(DONE, edit=twice))) == {"completed_once", "legal_transitions"}


def test_a_completion_after_a_cancel_is_illegal(make: Make) -> None:
    def revived(rows: Rows) -> Rows:
        last = rows[-1]
        return [*rows, last._replace(from_state=State.CANCELLED, to_state=State.COMPLETED, at_s=2.0)]

    assert "legal_transitions" in failed(make(CANCELLED, edit=revived))


def test_a_gap_in_a_history_is_illegal(make: Make) -> None:
    """Each row is legal by itself, but the task was never claimed."""
    assert "legal_transitions" in failed(make(RETRIED, edit=lambda rows: [*rows[:4], *rows[5:]]))


def test_a_token_that_stands_still_is_found(make: Make) -> None:
    def same_token(rows: Rows) -> Rows:
        return [row._replace(token=1) if row.token == 2 else row for row in rows]

    assert failed(make(RECLAIMED, edit=same_token)) == ["tokens_rise"]


def test_a_token_that_jumps_is_found(make: Make) -> None:
    assert failed(make(DONE, edit=lambda rows: [rows[0], *(row._replace(token=2) for row in rows[1:])])) == [
        "tokens_rise"
    ]


def test_one_attempt_too_many_is_found(make: Make) -> None:
    # 2 retries allowed, so 3 attempts; RETRIED makes 3 and passes, with 1 allowed it fails.
    assert failed(make(RETRIED, settings={"rules.retry.max_retries": 2})) == []
    assert failed(make(RETRIED, settings={"rules.retry.max_retries": 1})) == ["attempts_bounded"]


@pytest.mark.parametrize(
    ("moved", "by_s", "short"),
    [
        (3, -0.001, True),  # due at 2.999: 1.999 s after the first failure
        (6, -0.001, True),  # the second wait is 4 s
        (3, -1e-6, False),  # two roundings to a microsecond may differ
        (3, 0.0, False),
    ],
)
def test_a_retry_before_its_time_is_found(make: Make, moved: int, by_s: float, short: bool) -> None:
    def sooner(rows: Rows) -> Rows:
        changed = list(rows)
        changed[moved] = rows[moved]._replace(at_s=rows[moved].at_s + by_s)
        return changed

    assert failed(make(RETRIED, edit=sooner)) == (["backoff_kept"] if short else [])


def test_the_backoff_floor_is_the_rulebooks_not_the_logs(make: Make) -> None:
    """The log may claim any delay: what counts is base_s · factor^k."""
    assert failed(make(RETRIED, settings={"rules.retry.base_s": 1.5})) == ["backoff_kept"]


def test_a_task_passed_by_a_later_one_is_found(make: Make) -> None:
    first = [(0.0, "submitted"), (3.0, "claimed"), (4.0, "succeeded")]
    second = [(1.0, "submitted"), (2.0, "claimed"), (3.0, "succeeded")]
    record = make(first, second)
    assert failed(record) == ["priority_order"]
    assert next(one.tasks for one in check(record) if not one.ok) == (0,)


@pytest.mark.parametrize(("order", "expected"), [("strict", ["priority_order"]), ("weighted", []), ("aging", [])])
def test_only_strict_order_forbids_a_lower_class_before_a_higher(make: Make, order: str, expected: list[str]) -> None:
    """Two roles would need two plans: here task 0 is high and task 1 low by an exact mix of priorities."""
    high_waits = [(0.0, "submitted"), (3.0, "claimed"), (4.0, "succeeded")]
    low_runs = [(0.0, "submitted"), (2.0, "claimed"), (3.0, "succeeded")]
    settings = {"workload.mix": "exact", "rules.priority.order": order}
    record = make(high_waits, low_runs, settings=settings, priority="{5: 1, 1: 1}")
    assert record.tasks["queue"].tolist() == ["agent_high", "agent_low"]
    assert failed(record) == expected


def test_the_engines_slack_is_allowed_for(make: Make) -> None:
    first = [(0.0, "submitted"), (2.02, "claimed"), (4.0, "succeeded")]
    second = [(0.0, "submitted"), (0.01, "claimed"), (3.0, "succeeded")]
    third = [(0.5, "submitted"), (2.0, "claimed"), (3.0, "succeeded")]
    assert failed(make(first, second, third)) == ["priority_order"]
    assert failed(make(first, second, third, order_slack_s=0.05)) == []


Wait = tuple[float, float, int]
"""Since when, until when (the claim), and in which class (0 high, 1 medium, 2 low) a task waited."""


def passed_tasks(waits: list[Wait], *, strict: bool, slack_s: float) -> list[int]:
    """By the definition: who waited from before the wait, or the claim if it is of a lower class, of another one until
    after that one's claim. Every pair of tasks is looked at.
    """
    found = []
    for number, (since_s, until_s, level) in enumerate(waits):
        for other_since_s, other_until_s, other_level in waits:
            same, lower = other_level == level, strict and other_level > level
            behind_s = other_since_s if same else other_until_s
            if (same or lower) and behind_s > since_s + slack_s and other_until_s < until_s - slack_s:
                found.append(number)
                break
    return found


@pytest.mark.parametrize("slack_s", [0.0, 0.5])
@pytest.mark.parametrize("order", ["strict", "weighted"])
@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_judged_as_by_looking_at_every_pair(make: Make, seed: int, order: str, slack_s: float) -> None:
    draw = random.Random(seed)
    begun = [draw.randrange(40) / 4 for _ in range(60)]
    # Mostly in order, with ties; one in eight waits longer than it should.
    claims = [since_s + 1.0 + draw.choice([0.0] * 6 + [0.25, 3.0]) for since_s in begun]
    settings = {"workload.mix": "exact", "rules.priority.order": order}
    histories = [
        [(since_s, "submitted"), (until_s, "claimed"), (until_s + 1.0, "succeeded")]
        for since_s, until_s in zip(begun, claims, strict=True)
    ]
    record = make(*histories, settings=settings, priority="{5: 1, 2: 1, 1: 1}", order_slack_s=slack_s)
    waits = list(zip(begun, claims, record.tasks["queue"].cat.codes.tolist(), strict=True))
    expected = passed_tasks(waits, strict=order == "strict", slack_s=slack_s + CLOCK_GRAIN_S)
    verdict = next(one for one in check(record) if one.name == "priority_order")
    assert (verdict.ok, verdict.tasks) == (not expected, tuple(expected[:5])), f"seed {seed}"
    if expected:
        assert verdict.found.startswith(f"{len(expected)} tasks "), f"seed {seed}"


def test_tasks_put_back_and_retries_at_the_front_are_not_judged_by_order(make: Make) -> None:
    first = [(0.0, "submitted"), (3.0, "claimed"), (4.0, "succeeded")]
    second = [(1.0, "submitted"), (2.0, "claimed"), (3.0, "succeeded")]
    assert failed(make(first, second, events=[EventRow(1.5, "requeued", "", 0, "")])) == []
    # The retried task waits from 3 to 9 while task 1 comes at 4 and is claimed at 5.
    passed = [*RETRIED[:4], (9.0, "claimed"), (10.0, "succeeded")]
    later = [(4.0, "submitted"), (5.0, "claimed"), (6.0, "succeeded")]
    assert failed(make(passed, later)) == ["priority_order"]
    assert failed(make(passed, later, settings={"rules.retry.position": "front"})) == []


def test_the_backoff_after_a_redrive_is_that_of_the_first_failure(make: Make) -> None:
    """max_retries 1: after the redrive at 10 the failure at 11 is the first again, so 2 s are enough; 1.9 s are not."""
    dead = [*RETRIED[:5], (4.0, "dead"), (10.0, "redriven"), (10.0, "claimed"), (11.0, "failed")]
    settings = {"rules.retry.max_retries": 1}
    for due_s, expected in ((13.0, []), (12.9, ["backoff_kept"])):
        history = [*dead, (due_s, "due"), (due_s, "claimed"), (14.0, "succeeded")]
        assert failed(make(DONE, history, settings=settings)) == expected


def test_a_claim_of_a_task_that_is_held_is_found(make: Make) -> None:
    def stolen(rows: Rows) -> Rows:
        taken = rows[1]._replace(from_state=State.RUNNING, at_s=0.5, token=2, attempt=2, worker="w1")
        return [*rows[:2], taken, rows[2]._replace(token=2, attempt=2)]

    assert set(failed(make(DONE, edit=stolen))) == {"leases_apart", "legal_transitions"}


@pytest.mark.parametrize(("at_s", "expected"), [(9.9, ["leases_apart"]), (10.0, [])])
def test_a_lease_taken_back_too_early_is_found(make: Make, at_s: float, expected: list[str]) -> None:
    early = [(0.0, "submitted"), (0.0, "claimed"), (at_s, "lease lapsed"), (10.5, "claimed"), (11.5, "succeeded")]
    assert failed(make(early)) == expected
