"""States, retries, budgets, dead letters: DESIGN 3.1 and 3.3."""

from __future__ import annotations

import pytest

from lab.rules.tasks import Event, State
from tests.conformance.case import ONE_SLOT, T, case
from tests.conformance.evidence import GRAIN_S, LATE_S, Seen, way

WORKED, FAILED = (State.RUNNING, Event.SUCCEEDED), (State.RUNNING, Event.FAILED)


@case(
    T(role="GOOD"), T(role="FLAKY"), T(role="HOPELESS"), T(role="FATAL"),
    rules={"retry": {"max_retries": 2, "base_s": 0.02, "factor": 2.0, "jitter": 0.0}},
    edges=[
        (None, Event.SUBMITTED, State.PENDING),
        (State.PENDING, Event.CLAIMED, State.RUNNING),
        (*WORKED, State.COMPLETED),
        (*FAILED, State.RETRY_WAIT),
        (State.RETRY_WAIT, Event.DUE, State.PENDING),
        (*FAILED, State.PERMANENT_FAILURE),
    ],
)  # fmt: skip
def the_ends_of_a_task(seen: Seen) -> None:
    """Two retries, so three attempts; a failure that no retry can mend is the last. Waits: 0.02·2, 0.02·4."""
    assert seen.path(0) == way("claimed succeeded")
    assert seen.path(1) == way("claimed failed due claimed succeeded")
    assert seen.path(2) == way("claimed failed due claimed failed due claimed failed!")
    assert seen.path(3) == way("claimed failed!")
    assert seen.delays_s(1) == pytest.approx([0.04])
    assert seen.delays_s(2) == pytest.approx([0.04, 0.08])
    assert all(waited >= 0.04 - GRAIN_S for waited in seen.waits_s(2))


@case(
    T(role="HOPELESS"), T(role="HOPELESS"),
    rules={"retry": {"max_retries": 3, "base_s": 0.01, "factor": 3.0, "cap_s": 0.05, "jitter": 0.5}},
)  # fmt: skip
def backoff_grows_is_capped_and_jittered(seen: Seen) -> None:
    """0.01·3 = 0.03; 0.09 and 0.27 are capped at 0.05; each × (1 + 0.5 · the plan's own draw), and never waited less
    than that."""
    for task in (0, 1):
        rolls = [seen.plan.jitter_roll(task, attempt) for attempt in (1, 2, 3)]
        due_s = [wait_s * (1 + 0.5 * roll) for wait_s, roll in zip((0.03, 0.05, 0.05), rolls, strict=True)]
        assert seen.delays_s(task) == pytest.approx(due_s, abs=1e-9)
        assert all(real >= due - GRAIN_S for real, due in zip(seen.waits_s(task), due_s, strict=True))
    assert seen.delays_s(0) != seen.delays_s(1)


@case(
    T(role="FLAKY"), T(),
    rules={"retry": {"base_s": 0.25, "factor": 2.0, "wait": "scheduled"}},
)  # fmt: skip
def a_scheduled_backoff_leaves_the_slot_free(seen: Seen) -> None:
    """One slot: task 1 is claimed while task 0 waits its 0.5 s."""
    assert seen.claims() == [0, 1, 0]
    assert seen.at_s(1, Event.CLAIMED) < seen.at_s(0, Event.DUE)
    assert seen.waits_s(0)[0] >= 0.5 - GRAIN_S


@case(
    T(role="FLAKY"), T(),
    rules={"retry": {"base_s": 0.25, "factor": 2.0, "wait": "in_slot"}},
)  # fmt: skip
def a_backoff_in_the_slot_keeps_it(seen: Seen) -> None:
    """The published way: task 1 is claimed only when task 0 has slept its 0.5 s; it was in the queue before, so it is
    first now."""
    assert seen.claims() == [0, 1, 0]
    assert seen.at_s(1, Event.CLAIMED) >= seen.at_s(0, Event.DUE)
    assert seen.waits_s(0)[0] >= 0.5 - GRAIN_S


FOUR_IN_LINE = (T(work_s=0.3, role="FLAKY"), T(work_s=0.3), T(work_s=0.3))


@case(*FOUR_IN_LINE, rules={"retry": {"base_s": 0.05, "factor": 1.0, "position": "back"}})
def a_retry_joins_the_back_of_its_class(seen: Seen) -> None:
    """Fails at 0.3, due at 0.35 while task 1 works until 0.6; task 2 has stood there longer."""
    assert seen.claims() == [0, 1, 2, 0]


@case(*FOUR_IN_LINE, rules={"retry": {"base_s": 0.05, "factor": 1.0, "position": "front"}})
def a_retry_may_jump_its_class(seen: Seen) -> None:
    assert seen.claims() == [0, 1, 0, 2]


@case(
    *[T(role="HOPELESS")] * 20,
    mesh={"workers": 1, "slots": 4},
    rules={"retry": {"base_s": 0.01, "budget": {"ratio": 0.0, "burst": 3.0}}},
)
def an_empty_budget_makes_failures_permanent(seen: Seen) -> None:
    """Nothing fills the bucket: of all failures three are retried, and each of those attempts fails for good."""
    assert (seen.counts["dead"], seen.counts["retries"], seen.counts["attempts"]) == (20, 3, 23)


@case(
    T(role="FLAKY"), T(at_s=0.3), T(at_s=0.3), T(at_s=0.3), T(at_s=0.7, role="FLAKY"), T(at_s=0.7, role="FLAKY"),
    rules={"retry": {"base_s": 0.02, "budget": {"ratio": 0.5, "burst": 1.0}}},
)  # fmt: skip
def successes_fill_the_budget_up_to_its_burst(seen: Seen) -> None:
    """One token at first, and task 0's retry takes it. Its success and three others bring 4 · 0.5 = 2, but the bucket
    holds 1: task 4's failure is paid, and task 5's, right after it, is not."""
    assert seen.path(0) == seen.path(4) == way("claimed failed due claimed succeeded")
    assert seen.path(5) == way("claimed failed!")


@case(
    T(work_s=1.0), T(work_s=0.02),
    mesh={"workers": 1, "slots": 2},
    rules={"retry": {"timeout_s": 0.1, "max_retries": 1, "base_s": 0.01}},
)  # fmt: skip
def an_attempt_past_its_time_is_cut_and_has_failed(seen: Seen) -> None:
    """1 s of work, cut at 0.1 s, twice: as long as the limit and not as the work."""
    assert seen.path(0) == way("claimed failed due claimed failed!")
    assert seen.path(1) == way("claimed succeeded")
    for number in (0, 1):
        worked_s = seen.at_s(0, Event.FAILED, number) - seen.at_s(0, Event.CLAIMED, number)
        assert worked_s >= 0.1 - GRAIN_S
    assert seen.rows(0)[-1].at_s < 1.0 + LATE_S


@case(
    T(role="A"), T(role="B"),
    roles={"A": {"fail_first": 3}, "B": {"fail_first": 3}},
    rules={"retry": {"max_retries": 1, "base_s": 0.02, "factor": 3.0}},
    faults=[{"kind": "redrive", "at_s": 0.8, "role": "A"}],
    edges=[(State.PERMANENT_FAILURE, Event.REDRIVEN, State.PENDING)],
)  # fmt: skip
def an_operator_redrives_the_dead_of_a_role(seen: Seen) -> None:
    """Dead after two attempts; the redrive forgives them, so the third failure is a first one again (0.02·3, not
    0.02·27) and may be retried; the token goes on rising."""
    dies = "claimed failed due claimed failed!"
    assert seen.path(0) == way(f"{dies} redriven claimed failed due claimed succeeded")
    assert seen.path(1) == way(dies)
    assert seen.delays_s(0) == pytest.approx([0.06, 0.06])
    assert seen.at_s(0, Event.REDRIVEN) >= 0.8 - 0.01


@case(
    *[T()] * 4, T(at_s=0.6),
    rules={"preset": "go-distributed-queue-published"},
    faults=[
        {"kind": "duplicate_completion", "at_s": 0.0, "for_s": 0.5},
        {"kind": "duplicate_submission", "at_s": 0.4, "tasks": 2},
    ],
    roles={"GOOD": {"failure_rate": 0.0}},
)  # fmt: skip
def what_is_said_twice_counts_once(seen: Seen) -> None:
    """Four verdicts delivered twice, two tasks submitted twice: noted as refused, and no task moves for it."""
    assert all(seen.path(task) == way("claimed succeeded") for task in range(5))
    assert sorted(note.task for note in seen.noted("duplicate_completion")) == [0, 1, 2, 3]
    assert [note.task for note in seen.noted("duplicate_submission")] == [2, 3]


@case(
    T(work_s=0.2, role="DIES", priority=3), T(work_s=0.2), T(work_s=0.2, role="FAT"), T(at_s=0.1, role="HEALS"),
    roles={"DIES": {"fail_first": 4}, "HEALS": {"fail_first": 3}, "GOOD": {"failure_rate": 0.0},
           "FAT": {"failure_rate": 0.0, "memory_mib": 250.0}},
    mesh=ONE_SLOT,
    rules={"preset": "go-distributed-queue-published", "health": {"rss_limit_mib": 200.0, "report_s": 0.05}},
)  # fmt: skip
def the_published_queue_retries_three_times_at_once(seen: Seen) -> None:
    """Three retries without a wait, so dead after the fourth attempt; memory past the limit closes no gate."""
    assert seen.path(0) == way("claimed failed due claimed failed due claimed failed due claimed failed!")
    assert seen.path(3) == way("claimed failed due claimed failed due claimed failed due claimed succeeded")
    assert seen.delays_s(0) == [0.0, 0.0, 0.0]
    assert seen.noted("gate_closed") == []
    assert seen.record.samples["rss_bytes"].max() > seen.rules.health.rss_limit_bytes
