"""Leases, reclaims, stale writes, leaving workers: DESIGN 3.4 and 3.6, and the published way without any of it."""

from __future__ import annotations

from lab.rules.tasks import Event, State
from tests.conformance.case import T, case
from tests.conformance.evidence import GRAIN_S, LATE_S, Seen, way


@case(
    T(work_s=0.3), T(work_s=0.1),
    rules={
        "lease": {"length_s": 0.5, "sweep_s": 0.1, "claim": "leased"},
        "retry": {"max_retries": 1},
        "health": {"restart_after_s": 0.1},
    },
    faults=[{"kind": "poison_task", "task": 0, "after_s": 0.1}],
    edges=[
        (State.RUNNING, Event.LEASE_LAPSED, State.PENDING),
        (State.RUNNING, Event.LEASE_LAPSED, State.PERMANENT_FAILURE),
    ],
)  # fmt: skip
def a_task_that_kills_its_worker_is_reclaimed_until_it_is_spent(seen: Seen) -> None:
    """Each death costs it one of two attempts, 0.5 s of lease and at most 0.1 s until the next sweep; somebody else
    then does the other task. A dead process is replaced after 0.1 s, and not before."""
    assert seen.path(0) == way("claimed lapsed claimed lapsed!")
    assert seen.path(1) == way("claimed succeeded")
    for number in (0, 1):
        held_s = seen.at_s(0, Event.LEASE_LAPSED, number) - seen.at_s(0, Event.CLAIMED, number)
        assert 0.5 - GRAIN_S <= held_s <= 0.1 + 0.5 + 0.1 + LATE_S
    left = {note.worker: note.at_s for note in seen.noted("worker_left")}
    came = {note.worker: note.at_s for note in seen.noted("worker_started")}
    assert came["w0.2"] - left["w0.1"] >= 0.1 - GRAIN_S
    assert all(came[row.worker] <= row.at_s for row in seen.rows(0, Event.CLAIMED))


@case(
    T(work_s=1.7),
    rules={"lease": {"length_s": 0.9, "sweep_s": 0.1}},
    faults=[{"kind": "pause_worker", "at_s": 0.35, "worker": 0, "for_s": 0.3}],
)
def heartbeats_keep_a_claim_that_outlasts_its_lease(seen: Seen) -> None:
    """1.7 s of work under a lease of 0.9 s, renewed every 0.3 s, and in time also after a freeze of 0.3 s."""
    assert seen.path(0) == way("claimed succeeded")


@case(
    T(work_s=0.6, role="GOOD"), T(work_s=0.6, role="FLAKY"), T(at_s=2.3),
    mesh={"workers": 1, "slots": 2},
    rules={"preset": "lab", "lease": {"length_s": 0.7, "sweep_s": 1.5}},
    faults=[{"kind": "delay_completion", "at_s": 0.0, "for_s": 1.0, "delay_s": 1.2}],
)  # fmt: skip
def a_verdict_that_comes_after_its_lease_is_refused(seen: Seen) -> None:
    """Both end at 0.6 and let go; their verdicts are under way until 1.8. The leases lapse by 1.3, but nobody looks
    before the first sweep, at 1.5. Then each is done again, until 2.1; meanwhile the old tokens' success and failure
    arrive and change nothing."""
    assert seen.path(0) == seen.path(1) == way("claimed lapsed claimed succeeded")
    assert seen.at_s(0, Event.LEASE_LAPSED) >= 1.5 - 0.1  # a sweeper may have set out a little before the run
    assert sorted(note.task for note in seen.noted("stale_write")) == [0, 1]
    assert seen.counts["stale_writes"] == 2


@case(
    T(work_s=0.9), *[T(at_s=0.05)] * 4,
    rules={"lease": {"claim": "leased", "sweep_s": 0.2}},
    faults=[{"kind": "redis_flush", "at_s": 0.6}],
)  # fmt: skip
def queues_that_were_wiped_are_rebuilt_in_their_order(seen: Seen) -> None:
    assert sorted(note.task for note in seen.noted("requeued")) == [1, 2, 3, 4]
    assert seen.claims() == [0, 1, 2, 3, 4]
    assert all(seen.path(task) == way("claimed succeeded") for task in range(5))


@case(
    T(work_s=0.5), T(work_s=1.3),
    mesh={"workers": 1, "slots": 2},
    rules={"shutdown": {"on_term": "finish", "grace_s": 0.5}, "health": {"restart_after_s": 0.1}},
    faults=[{"kind": "stop_worker", "at_s": 0.3, "worker": 0}],
    edges=[(State.RUNNING, Event.HANDED_BACK, State.PENDING)],
)  # fmt: skip
def a_worker_that_is_asked_to_leave_finishes_or_hands_back(seen: Seen) -> None:
    """Asked at 0.3 with 0.5 s of grace: what ends at 0.5 is done; what would end at 1.3 goes back at 0.8, the attempt
    uncounted, and starts anew elsewhere."""
    assert seen.path(0) == way("claimed succeeded")
    assert seen.path(1) == way("claimed handed-back claimed succeeded")
    assert 0.8 - 0.01 <= seen.at_s(1, Event.HANDED_BACK) < 0.8 + LATE_S
    assert [row.move.attempt for row in seen.rows(1, Event.CLAIMED)] == [1, 1]
    assert [row.worker for row in seen.rows(1, Event.CLAIMED)] == ["w0.1", "w0.2"]


@case(
    T(work_s=0.3), T(work_s=1.2), T(work_s=1.2),
    mesh={"workers": 2, "slots": 1},
    rules={
        "preset": "agent-mesh-published",
        "lease": {"claim": "pop_then_update", "length_s": 0.5, "sweep_s": 0.1},
        "shutdown": {"on_term": "drop"},
        "health": {"restart_after_s": None, "report_s": 0.1},
    },
    faults=[
        {"kind": "poison_task", "task": 0, "after_s": 0.1},
        {"kind": "stop_worker", "at_s": 0.6, "worker": 0},
        {"kind": "stop_worker", "at_s": 0.6, "worker": 1},
    ],
    breaks=["nothing_lost"],
)  # fmt: skip
def the_published_mesh_forgets_what_its_workers_held(seen: Seen) -> None:
    """One worker dies of task 0 at 0.1, the other is asked to leave at 0.6 in the middle of task 1 and drops it. No
    lease brings either back, and nobody replaces the workers, so task 2 waits for ever."""
    assert seen.path(0) == seen.path(1) == way("claimed")
    assert seen.path(2) == way("")
    assert seen.states == ["RUNNING", "RUNNING", "PENDING"]
    assert {note.worker for note in seen.noted("worker_started")} == {"w0.1", "w1.1"}
    assert seen.record.info["stalled"]


@case(
    T(role="FLAKY"), T(),
    rules={"preset": "agent-mesh-published", "retry": {"base_s": 0.2}, "health": {"report_s": 0.1}},
)  # fmt: skip
def the_published_mesh_sleeps_through_its_backoff(seen: Seen) -> None:
    """`wait: in_slot` comes with the preset: 0.2·2 s in the only slot while task 1 waits."""
    assert seen.at_s(1, Event.CLAIMED) >= seen.at_s(0, Event.DUE)
    assert seen.waits_s(0)[0] >= 0.4 - GRAIN_S
