"""What strikes messages (F34 to F36): submissions and verdicts that are repeated or late."""

from __future__ import annotations

import pytest

from lab.rules.tasks import Event
from tests.faults.scenes import because, counts, moves, noted, run, same_transitions, tasks_of


def test_f34_a_repeated_submission_is_the_task_that_it_was() -> None:
    """The last 40 submissions from before 4 s are repeated; some wait, some run, some are done, some are in a backoff.
    No task moves otherwise, or earlier, than without the fault."""
    record, calm = run("f34_duplicate_submission"), run("f34_duplicate_submission", faults=[])
    assert same_transitions(record, calm)
    repeated = record.tasks.loc[record.tasks["arrival_s"] < 4, "id"].tolist()[-40:]
    assert tasks_of(record, "duplicate_submission") == repeated
    assert len(repeated) == 40


def test_f34_a_submission_that_was_not_accepted_is_not_repeated() -> None:
    """With room for 2 pending tasks most of them are refused or held: those are nobody's tasks yet."""
    record = run("f34_duplicate_submission", rules__admission={"max_pending": 2, "on_closed": "reject"})
    rejected = set(tasks_of(record, "rejected"))
    last_40 = record.tasks.loc[record.tasks["arrival_s"] < 4, "id"].tolist()[-40:]
    assert tasks_of(record, "duplicate_submission") == [task for task in last_40 if task not in rejected]
    assert 0 < len(rejected & set(last_40)) < 40


def test_f35_a_verdict_that_arrives_twice_counts_once() -> None:
    """Each verdict, success or failure, of an attempt that ends from 2 to 6 s comes again: one event each, and the run
    is the same as without the fault."""
    record, calm = run("f35_duplicate_completion"), run("f35_duplicate_completion", faults=[])
    assert same_transitions(record, calm)
    verdicts = because(record, Event.SUCCEEDED, Event.FAILED)
    doubled = verdicts[verdicts["at_s"].between(2, 6, inclusive="left")]
    assert tasks_of(record, "duplicate_completion") == doubled["task"].tolist()
    assert set(doubled["reason"]) == {"succeeded", "failed"}
    assert counts(record, "stale_writes") == (0,)


@pytest.mark.parametrize(
    ("delay_s", "history", "stale_at_s"),
    [
        # In time: completed late by the delay. The lease, last renewed at 0, would lapse at 10 s.
        (4, [("COMPLETED", 6)], []),
        # Out of order: the verdict of the first attempt arrives at 11 s, while the second runs.
        (9, [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 12)], [11]),
        # It arrives at 22 s, when the task has long been completed by the second.
        (20, [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 12)], [22]),
    ],
)
def test_f36_a_late_verdict_counts_if_its_lease_holds_and_is_refused_if_not(
    delay_s: float, history: list[tuple[str, float]], stale_at_s: list[float]
) -> None:
    """The work of task 0 ends at 2 s; its verdict is under way for `delay_s`."""
    record = run("f36_late_verdict", faults__0__delay_s=delay_s)
    assert moves(record, 0)[2:] == history
    assert noted(record, "stale_write") == [("stale_write", at_s) for at_s in stale_at_s]
    assert counts(record, "completed", "reclaimed") == (4, len(stale_at_s))


def test_f36_the_slot_is_free_while_its_verdict_is_under_way() -> None:
    """Two tasks, one slot: the second runs from 2 to 4 s and is completed before the first, whose verdict needs 4 s."""
    record = run("f36_late_verdict", workload__arrivals={"kind": "burst", "count": 2}, faults__0__delay_s=4)
    assert [moves(record, task)[-1] for task in (0, 1)] == [("COMPLETED", 6), ("COMPLETED", 4)]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "pause_worker", "at_s": 5, "worker": 0, "for_s": 1},
        {"kind": "cut_worker", "at_s": 5, "worker": 0, "server": "redis", "for_s": 1},
        {"kind": "cut_worker", "at_s": 5, "worker": 0, "server": "postgres", "for_s": 1},
    ],
)
def test_f36_nobody_renews_the_lease_of_a_verdict_under_way(fault: dict[str, object]) -> None:
    """The worker has let go of the task: that it falls silent and is heard of again makes no difference."""
    late = {"at_s": 0, "kind": "delay_completion", "for_s": 3, "delay_s": 20}
    record = run("f36_late_verdict", faults=[late, fault])
    assert moves(record, 0)[2:] == [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 12)]
    assert noted(record, "stale_write") == [("stale_write", 22)]


def test_f36_a_late_failure_waits_for_its_whole_backoff() -> None:
    """Failed at 2 s, known at 8 s, so due at 8 + 4 s. The lease of the attempt, over at 10 s, has no say any more."""
    late = {"at_s": 0, "kind": "delay_completion", "for_s": 3, "delay_s": 6}
    changes = {"workload__arrivals": {"kind": "burst", "count": 1}, "workload__roles__A__fail_first": 1}
    record = run("f36_late_verdict", **changes, rules__retry__base_s=2, faults=[late])
    assert moves(record, 0)[2:] == [("RETRY_WAIT", 8), ("PENDING", 12), ("RUNNING", 12), ("COMPLETED", 14)]
