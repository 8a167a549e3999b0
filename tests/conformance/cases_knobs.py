"""Knobs that are turned while the mesh runs (`change`), and arrivals that somebody continues (`schedule`)."""

from __future__ import annotations

from typing import Any

import pytest

from lab.rules.tasks import Event
from tests.conformance.case import T, case
from tests.conformance.evidence import GRAIN_S, Seen, way


def turn(at_s: float, knob: str, value: float) -> dict[str, Any]:
    return {"kind": "change", "at_s": at_s, "knob": knob, "value": value}


def workers_of(seen: Seen, *tasks: int) -> set[str]:
    return {seen.rows(task, Event.CLAIMED)[0].worker for task in tasks}


@case(*[T(work_s=0.8)] * 6, rules={}, faults=[turn(0.2, "workers", 2)])
def a_worker_that_is_added_takes_its_share(seen: Seen) -> None:
    """Alone the first would work for 4.8 s: the second has that long to start."""
    assert workers_of(seen, *range(6)) == {"w0.1", "w1.1"}
    second = min(task for task in range(6) if workers_of(seen, task) == {"w1.1"})
    assert seen.at_s(second, Event.CLAIMED) >= 0.2


@case(
    T(work_s=0.6), T(work_s=0.6), T(at_s=0.3), T(at_s=1.0), T(at_s=1.8),
    mesh={"workers": 2, "slots": 1},
    rules={"health": {"restart_after_s": 0.1}},
    faults=[turn(0.2, "workers", 1)],
)  # fmt: skip
def the_last_worker_finishes_and_is_not_replaced(seen: Seen) -> None:
    """Both are at work when there should be one only: the last ends what it does, takes nothing more, and leaves."""
    assert workers_of(seen, 0, 1) == {"w0.1", "w1.1"}
    assert workers_of(seen, 2, 3, 4) == {"w0.1"}
    assert seen.noted("worker_left")[0].worker == "w1.1"  # live, the other one leaves too, when the run is over
    assert {note.worker for note in seen.noted("worker_started")} == {"w0.1", "w1.1"}
    assert all(seen.path(task) == way("claimed succeeded") for task in range(5))


@case(*[T(work_s=0.9)] * 3, rules={}, faults=[turn(0.3, "slots", 3)])
def more_slots_are_used_at_once(seen: Seen) -> None:
    """One slot until 0.3, three from then on: the others need not wait for the first, which ends at 0.9."""
    for task in (1, 2):
        assert 0.3 - GRAIN_S <= seen.at_s(task, Event.CLAIMED) < seen.at_s(0, Event.SUCCEEDED)


@case(
    *[T(work_s=0.8)] * 3, T(at_s=0.1, work_s=0.2), T(at_s=0.1, work_s=0.2),
    mesh={"workers": 1, "slots": 3},
    rules={},
    faults=[turn(0.4, "slots", 1)],
)  # fmt: skip
def fewer_slots_take_nothing_until_enough_are_free(seen: Seen) -> None:
    """Three run on to 0.8; of the other two the second waits for the first."""
    assert max(seen.at_s(task, Event.CLAIMED) for task in range(3)) < 0.4
    assert seen.at_s(3, Event.CLAIMED) >= max(seen.at_s(task, Event.SUCCEEDED) for task in range(3)) - 0.05
    assert seen.at_s(4, Event.CLAIMED) >= seen.at_s(3, Event.SUCCEEDED)


@case(
    T(), T(at_s=0.6), T(at_s=1.2),
    rules={"retry": {"base_s": 0.5}},
    faults=[turn(0.3, "failure_rate", 1.0), turn(0.9, "failure_rate", 0.0)],
)  # fmt: skip
def what_starts_fails_by_the_rate_of_that_moment(seen: Seen) -> None:
    """Only the second starts while all fail; it is tried again 1 s later, when none does."""
    assert seen.path(0) == seen.path(2) == way("claimed succeeded")
    assert seen.path(1) == way("claimed failed due claimed succeeded")


@case(
    T(role="FLAKY"), T(at_s=0.8, role="FLAKY"),
    rules={"retry": {"base_s": 0.1}},
    faults=[turn(0.4, "retry_base_s", 0.3)],
)  # fmt: skip
def a_backoff_has_the_base_of_its_failures_moment(seen: Seen) -> None:
    """0.1 · 2 before, 0.3 · 2 after."""
    assert seen.delays_s(0) == pytest.approx([0.2])
    assert seen.delays_s(1) == pytest.approx([0.6])
    assert seen.waits_s(1)[0] >= 0.6 - GRAIN_S


@case(
    T(work_s=1.5, role="FAT"), T(at_s=0.3), T(at_s=1.1),
    mesh={"workers": 1, "slots": 2},
    rules={"health": {"rss_limit_mib": 2000.0, "resume_score": 0.2, "report_s": 0.1, "scope": "worker"}},
    faults=[turn(0.6, "rss_limit_mib", 250.0)],
)  # fmt: skip
def a_gate_is_judged_by_the_limit_of_the_moment(seen: Seen) -> None:
    """250 MiB and an idle process are healthy below 2,000 MiB, and too much for 250: from then on nothing is taken."""
    assert seen.at_s(1, Event.CLAIMED) < 0.6
    assert len(seen.noted("gate_closed")) == 1
    assert seen.noted("gate_closed")[0].at_s >= 0.6
    assert seen.at_s(2, Event.CLAIMED) >= seen.at_s(0, Event.SUCCEEDED) - 0.1


@case(
    rules={},
    mesh={"workers": 1, "slots": 5},
    arrivals={
        "kind": "schedule",
        "until_s": 1.5,
        "entries": [
            {"at_s": 0, "count": 3},
            {"at_s": 0.4, "rate_per_s": 5},
            {"at_s": 0.9, "rate_per_s": 0},
            {"at_s": 1.0, "count": 2},
        ],
    },
)
def tasks_come_by_the_schedule(seen: Seen) -> None:
    """Three at once; one every 0.2 s from 0.4 to 0.9; two at once. None comes before its moment."""
    arrivals_s = [0, 0, 0, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert seen.plan.arrival_s.tolist() == pytest.approx(arrivals_s)
    assert all(seen.at_s(task, Event.SUBMITTED) >= at_s - GRAIN_S for task, at_s in enumerate(arrivals_s))
    assert all(seen.path(task) == way("claimed succeeded") for task in range(8))
