"""Clients that leave, retries that cost, attempts that are cut, failures that stay: the rules of deadline and retry on
real servers. Waits are read off the audit log, whose times are the store's own, so they are judged exactly."""

from __future__ import annotations

import pandas as pd
import pytest

from lab.rules.tasks import Event, State
from lab.workload import Plan
from live_backend import run_live

pytestmark = pytest.mark.live

CLOCK_GRAIN_S = 1e-6


def waits(record) -> pd.DataFrame:
    """Each stay in PENDING: how long it was (`waited_s`), how it ended (`reason`), and how the attempt did (`then`)."""
    moves = record.transitions.sort_values("task", kind="stable", ignore_index=True)
    by_task = moves.groupby("task")
    moves["waited_s"] = moves["at_s"] - by_task["at_s"].shift()
    moves["then"] = by_task["reason"].shift(-1).astype(str)
    return moves[moves["from"] == State.PENDING]


def test_a_task_whose_client_has_left_is_cancelled_and_never_claimed(servers, build) -> None:
    """200 tasks at once, 160 a second at most, clients that wait half a second: some are served, the others leave."""
    record = run_live(build(workload__arrivals__count=200, rules__deadline__wait_s=0.5))
    assert record.info["checks"]["ok"], record.info["checks"]
    stays = waits(record)
    served, left = (stays[stays["reason"] == event] for event in (Event.CLAIMED, Event.EXPIRED))
    assert len(served) + len(left) == 200
    assert len(served) > 0
    assert len(left) > 0
    assert served["waited_s"].max() < 0.5
    assert left["waited_s"].min() >= 0.5 - CLOCK_GRAIN_S
    assert set(record.tasks.loc[left["task"], "state"]) == {State.CANCELLED}


def test_a_client_waits_anew_for_every_try_and_not_through_the_backoff(servers, build) -> None:
    """A backoff of 0.6 s, patience of 0.5 s: nobody leaves, because in RETRY_WAIT nobody waits for a slot."""
    record = run_live(
        build(
            workload__arrivals__count=8,  # a slot for each
            workload__roles__A__fail_first=1,
            rules__retry__base_s=0.3,  # 0.3 · 2^1
            rules__deadline__wait_s=0.5,
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    assert (record.tasks["state"] == State.COMPLETED).all()
    assert (record.tasks["attempts"] == 2).all()


def test_late_work_that_nobody_is_told_of_is_done_and_counts_as_failed(servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals__count=100,
            rules__retry={"base_s": 0.02, "max_retries": 2},
            rules__deadline={"wait_s": 0.3, "late": "fail"},
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    stays = waits(record)
    assert set(stays["reason"]) == {Event.CLAIMED}
    late = stays["waited_s"] >= 0.3
    assert 0 < late.sum() < len(stays)
    assert (stays["then"] == late.map({True: "failed", False: "succeeded"})).all()


def test_a_retry_budget_lets_so_many_retries_through_and_no_more(servers, build) -> None:
    """Everything fails, nothing fills the bucket: three retries, and every other failure is permanent at once."""
    record = run_live(
        build(
            mesh={"workers": 1, "slots": 4},
            workload__arrivals__count=40,
            workload__roles__A__failure_rate=1.0,
            rules__retry={"base_s": 0.02, "budget": {"ratio": 0.0, "burst": 3}},
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    counts = record.info["summary"]["tasks"]
    assert (counts["dead"], counts["retries"], counts["attempts"]) == (40, 3, 43)


def test_successes_fill_the_budget_again(servers, build) -> None:
    """One slot; three tasks in four succeed and bring half a token each: the one failure in four can always pay."""
    record = run_live(
        build(
            mesh={"workers": 1, "slots": 1},
            workload__mix="exact",
            workload__arrivals={"kind": "constant", "rate_per_s": 12, "count": 36},
            workload__roles={
                "GOOD": {"share": 3, "service": {"dist": "constant", "mean_s": 0.01}},
                "BAD": {"share": 1, "service": {"dist": "constant", "mean_s": 0.01}, "fail_first": 1},
            },
            rules__retry={"base_s": 0.01, "budget": {"ratio": 0.5, "burst": 2}},
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    counts = record.info["summary"]["tasks"]
    assert (counts["completed"], counts["retries"]) == (36, 9)


def test_attempts_are_cut_and_failures_stay_as_the_plan_says(servers, build) -> None:
    """A time limit of the mean service time, half of the role's own failures beyond mending: task by task."""
    scenario = build(
        workload__roles__A={
            "service": {"dist": "exponential", "mean_s": 0.1},
            "failure_rate": 0.3,
            "permanent_share": 0.5,
        },
        rules__retry={"base_s": 0.01, "max_retries": 3, "timeout_s": 0.1},
    )
    record = run_live(scenario)
    assert record.info["checks"]["ok"], record.info["checks"]
    found = zip(record.tasks["attempts"], record.tasks["state"], strict=True)
    assert list(found) == [as_planned(Plan(scenario), task) for task in range(60)]


def as_planned(plan: Plan, task: int) -> tuple[int, str]:
    """The number of attempts of a task and the state that it ends in, read off the plan alone."""
    for attempt in range(1, 5):
        outcome = plan.outcome(task, attempt, 0.0, 0)
        if not outcome.failed:
            return attempt, State.COMPLETED
        if outcome.permanent:
            return attempt, State.PERMANENT_FAILURE
    return 4, State.PERMANENT_FAILURE
