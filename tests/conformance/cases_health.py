"""Gates, admission, deadlines: DESIGN 3.5, and how long clients wait.

An idle worker process has some 70 to 110 MiB, so limits here lie at least 40 MiB from what decides.
"""

from __future__ import annotations

from lab.rules.tasks import Event, State
from tests.conformance.case import T, case
from tests.conformance.evidence import GRAIN_S, LATE_S, Seen, way

TWO_PLACES = {"workers": 2, "slots": 2}
ONE_FAT = (T(work_s=2.0, role="FAT"), *[T(at_s=1.3)] * 4, T(at_s=2.5))  # the last keeps the run up: the gate reopens
TIGHT = {"rss_limit_mib": 250.0, "report_s": 0.1}


def _closed_while_fat(seen: Seen) -> str:
    """The worker with the fat task; its gate was closed from before the small tasks came until the fat one had
    ended."""
    worker = seen.rows(0, Event.CLAIMED)[0].worker
    closed, opened = seen.noted("gate_closed"), seen.noted("gate_opened")
    assert [note.worker for note in closed] == [note.worker for note in opened] == [worker]
    assert closed[0].at_s < 1.3
    assert opened[0].at_s >= seen.at_s(0, Event.CLAIMED) + 2.0 - 0.1
    return worker


@case(*ONE_FAT, mesh=TWO_PLACES, rules={"health": {**TIGHT, "backpressure": True, "scope": "worker"}})
def a_worker_at_its_limit_takes_nothing_and_the_others_go_on(seen: Seen) -> None:
    """250 MiB over a limit of 250: the four small tasks go to the other worker, and nobody holds them back."""
    worker = _closed_while_fat(seen)
    assert all(seen.rows(task, Event.CLAIMED)[0].worker != worker for task in (1, 2, 3, 4))
    assert seen.noted("admission_closed") == []
    assert max(seen.at_s(task, Event.CLAIMED) for task in (1, 2, 3, 4)) < 2.0


@case(*ONE_FAT, mesh=TWO_PLACES, rules={"health": {**TIGHT, "scope": "fleet", "close_share": 0.5}})
def half_of_the_fleet_closed_closes_admission(seen: Seen) -> None:
    """1 of 2 ≥ 0.5: the producer keeps the small tasks until the gate has opened."""
    _closed_while_fat(seen)
    opened_s = seen.noted("gate_opened")[0].at_s
    assert all(seen.at_s(task, Event.SUBMITTED) >= opened_s - 0.05 for task in (1, 2, 3, 4))
    assert len(seen.noted("admission_closed")) == len(seen.noted("admission_opened")) == 1


@case(*ONE_FAT, mesh=TWO_PLACES, rules={"health": {**TIGHT, "scope": "fleet", "close_share": 0.6}})
def less_than_the_share_closed_leaves_admission_open(seen: Seen) -> None:
    """1 of 2 < 0.6."""
    _closed_while_fat(seen)
    assert seen.noted("admission_closed") == []
    assert max(seen.at_s(task, Event.SUBMITTED) for task in (1, 2, 3, 4)) < 2.0


@case(
    T(work_s=1.5, role="FAT"), T(at_s=0.9),
    mesh={"workers": 1, "slots": 2},
    rules={"health": {**TIGHT, "backpressure": False}},
)  # fmt: skip
def without_backpressure_no_gate_closes(seen: Seen) -> None:
    assert seen.noted("gate_closed") == []
    assert seen.at_s(1, Event.CLAIMED) < seen.at_s(0, Event.SUCCEEDED)


@case(
    T(work_s=1.5, role="FAT"), T(work_s=2.3, role="MIDDLING"), T(at_s=1.3),
    mesh={"workers": 1, "slots": 3},
    rules={"health": {"rss_limit_mib": 400.0, "resume_score": 0.6, "report_s": 0.1, "scope": "worker"}},
)  # fmt: skip
def a_gate_opens_at_the_resume_score_and_not_before(seen: Seen) -> None:
    """250 + 120 + idle > 400 closes it. When the fat task is gone, 120 + idle is some 200: a score of 0.5 < 0.6. Only
    when the other has ended too, it is some 0.8."""
    assert len(seen.noted("gate_closed")) == 1
    opened_s = seen.noted("gate_opened")[0].at_s
    assert opened_s >= seen.at_s(1, Event.SUCCEEDED) - 0.1
    assert seen.at_s(2, Event.CLAIMED) >= opened_s - 0.05


@case(
    T(work_s=2.0, role="FAT"), T(at_s=1.4),
    mesh={"workers": 1, "slots": 2},
    rules={"health": {**TIGHT, "recycle_after_s": 0.3, "scope": "worker"}},
)  # fmt: skip
def a_worker_that_stays_closed_is_replaced_when_it_has_finished(seen: Seen) -> None:
    """Closed, and still so 0.3 s later: it finishes what it holds, and a fresh process does the rest."""
    recycled = seen.noted("worker_recycled")
    assert [note.worker for note in recycled] == ["w0.1"]
    assert recycled[0].at_s - seen.noted("gate_closed")[0].at_s >= 0.3 - 0.05
    assert seen.path(0) == seen.path(1) == way("claimed succeeded")
    assert [seen.rows(task, Event.CLAIMED)[0].worker for task in (0, 1)] == ["w0.1", "w0.2"]


@case(
    T(), T(at_s=1.1),
    rules={"health": {"report_s": 0.1, "scope": "fleet"}, "admission": {"on_closed": "hold"}},
    faults=[{"kind": "pause_worker", "at_s": 0.4, "worker": 0, "for_s": 1.2}],
)  # fmt: skip
def three_missing_reports_count_as_closed(seen: Seen) -> None:
    """Silent from 0.4 to 1.6: closed 0.3 s later, so what arrives at 1.1 is held until the worker is heard of again."""
    assert len(seen.noted("admission_closed")) >= 1
    assert seen.at_s(1, Event.SUBMITTED) >= 1.6 - 0.05


EIGHT = (T(work_s=0.1),) * 8


@case(*EIGHT, rules={"admission": {"max_pending": 3, "on_closed": "hold", "hold_max": 2}})
def a_full_queue_holds_what_it_may_and_refuses_the_rest(seen: Seen) -> None:
    """Eight at once: three come in, two are held and come in later, three are refused. Never more than three wait."""
    assert (seen.counts["completed"], seen.counts["rejected"]) == (5, 3)
    assert sorted(note.task for note in seen.noted("rejected")) == [5, 6, 7]
    assert seen.claims() == [0, 1, 2, 3, 4]
    assert seen.most_pending() == 3


@case(*EIGHT, rules={"admission": {"max_pending": 3, "on_closed": "reject"}})
def a_full_queue_may_refuse_at_once(seen: Seen) -> None:
    assert (seen.counts["completed"], seen.counts["rejected"]) == (3, 5)
    assert seen.states[3:] == ["REJECTED"] * 5


LINE = (T(work_s=0.8), T(at_s=0.1), T(at_s=0.7, role="FLAKY"))


@case(
    *LINE,
    rules={"deadline": {"wait_s": 0.4, "late": "cancel", "spread": "fixed"}, "retry": {"base_s": 0.25}},
    edges=[(State.PENDING, Event.EXPIRED, State.CANCELLED)],
)
def a_task_whose_client_has_left_is_cancelled(seen: Seen) -> None:
    """The slot is free at 0.8. Task 1's client leaves at 0.5; task 2's is served after 0.1 s, and does not leave
    in the 0.5 s of backoff, in which nobody waits for a slot."""
    assert seen.path(1) == way("left")
    assert 0.4 - GRAIN_S <= seen.pending_s(1)[0][0] < 0.7
    assert seen.path(2) == way("claimed failed due claimed succeeded")


@case(
    *LINE,
    rules={"deadline": {"wait_s": 0.4, "late": "fail"}, "retry": {"base_s": 0.25}},
)
def late_work_may_be_done_in_vain(seen: Seen) -> None:
    """Task 1 has waited 0.7 s when it starts: done, and failed; its client asks again and is served in time."""
    assert seen.path(1) == way("claimed failed due claimed succeeded")
    assert seen.pending_s(1)[0][0] >= 0.4
    assert seen.path(2) == way("claimed failed due claimed succeeded")


@case(
    T(work_s=0.6), *[T()] * 12,
    rules={"deadline": {"wait_s": 0.4, "spread": "exponential"}},
)  # fmt: skip
def people_give_up_one_by_one(seen: Seen) -> None:
    """Each has a patience of its own, drawn by the plan: who is cancelled waited as long, who is served waited less."""
    for task in range(13):
        (waited_s, ended), *_ = seen.pending_s(task)
        patience_s = seen.plan.patience_s(task, 1)
        if ended is Event.EXPIRED:
            assert patience_s - GRAIN_S <= waited_s <= patience_s + LATE_S
        else:
            assert waited_s < patience_s + GRAIN_S
    impatient = {task for task in range(1, 13) if seen.plan.patience_s(task, 1) < 0.4}
    patient = {task for task in range(1, 13) if seen.plan.patience_s(task, 1) > 0.6 + 1.0}
    cancelled = {task for task, state in enumerate(seen.states) if state == State.CANCELLED}
    assert impatient
    assert impatient <= cancelled <= set(range(1, 13)) - patient
