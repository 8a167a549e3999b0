"""Each rule seen at work in virtual time, on meshes small enough to follow with a pencil."""

from __future__ import annotations

import pytest

from lab.rules.tasks import Event, State
from simulation import simulate


def _moves(record, task: int) -> list[tuple[str, float]]:
    rows = record.transitions[record.transitions["task"] == task]
    return [(str(to), at) for to, at in zip(rows["to"], rows["at_s"], strict=True)]


def test_a_killed_workers_task_is_reclaimed_after_its_lease_and_completed_once(build) -> None:
    """Claimed at 0, last heartbeat before the kill at 2: at 0 (every 10/3 s), so the lease ends at 10; the sweep at 10
    takes it back; the fresh process stands since 3; 5 s of work end at 15."""
    record = simulate(
        build(
            workload__roles__A__service={"dist": "constant", "mean_s": 5.0},
            faults=[{"kind": "kill_worker", "at_s": 2.0, "worker": 0}],
        )
    )
    assert _moves(record, 0) == [
        ("PENDING", 0.0), ("RUNNING", 0.0), ("PENDING", 10.0), ("RUNNING", 10.0), ("COMPLETED", 15.0),
    ]  # fmt: skip
    assert record.tasks["attempts"].tolist() == [2]
    assert record.info["checks"]["ok"]


def test_heartbeats_push_the_end_of_a_lease_forward(build) -> None:
    """Killed at 7: the last heartbeat was at 6.67, the lease ends at 16.67, the sweep at 17 takes it back."""
    record = simulate(
        build(
            workload__roles__A__service={"dist": "constant", "mean_s": 9.0},
            faults=[{"kind": "kill_worker", "at_s": 7.0, "worker": 0}],
        )
    )
    assert ("PENDING", 17.0) in _moves(record, 0)


def test_a_sweep_that_falls_on_the_end_of_a_lease_takes_the_claim_back(build) -> None:
    """Claimed at 5.8 with a lease of 5: it ends at 10.8 = 36 sweeps of 0.3, in floating point a little less."""
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 1, "at_s": 5.8},
            rules__lease={"length_s": 5.0, "sweep_s": 0.3},
            faults=[{"kind": "kill_worker", "at_s": 6.5, "worker": 0}],
        )
    )
    assert _moves(record, 0)[2:] == [("PENDING", 10.8), ("RUNNING", 10.8), ("COMPLETED", 12.8)]


def test_a_frozen_worker_that_wakes_up_too_late_is_refused_by_its_token(build) -> None:
    """Two workers; worker 0 freezes at 1 for 10.5 s. The sweep at 10 gives its task to worker 1; its own write at 11.5
    is stale.
    """
    record = simulate(
        build(mesh__workers=2, faults=[{"kind": "pause_worker", "at_s": 1.0, "worker": 0, "for_s": 10.5}]).override(
            {"workload.arrivals.count": 2}
        )
    )
    assert record.info["summary"]["tasks"]["stale_writes"] == 1
    assert (record.transitions["to"] == State.COMPLETED).sum() == 2
    assert record.info["checks"]["ok"]


def test_a_short_freeze_only_delays(build) -> None:
    record = simulate(build(faults=[{"kind": "pause_worker", "at_s": 1.0, "worker": 0, "for_s": 4.0}]))
    assert _moves(record, 0)[-1] == ("COMPLETED", 5.0)
    assert record.info["summary"]["tasks"]["reclaimed"] == 0


def test_sigterm_lets_work_finish_within_the_grace_and_hands_the_rest_back_uncounted(build) -> None:
    """Asked to leave at 1 with 2 s of grace: the 2 s task ends at 2; the 9 s task is handed back at 3, attempt not
    counted.
    """
    scenario = build(
        workload__roles={
            "LONG": {"service": {"dist": "constant", "mean_s": 9.0}},
            "SHORT": {"service": {"dist": "constant", "mean_s": 2.0}},
        },
        workload__mix="exact",
        workload__arrivals={"kind": "burst", "count": 2},
        mesh__slots=2,
        rules__shutdown__grace_s=2.0,
        faults=[{"kind": "stop_worker", "at_s": 1.0, "worker": 0}],
    )  # fmt: skip
    record = simulate(scenario)
    assert _moves(record, 1)[-1] == ("COMPLETED", 2.0)
    assert _moves(record, 0) == [
        ("PENDING", 0.0), ("RUNNING", 0.0), ("PENDING", 3.0), ("RUNNING", 4.0), ("COMPLETED", 13.0),
    ]  # fmt: skip
    assert record.tasks["attempts"].tolist() == [1, 1]
    assert record.info["checks"]["ok"]


@pytest.mark.parametrize(("claim", "ok"), [("leased", True), ("pop_then_update", False)])
def test_wiped_queues_are_rebuilt_from_the_store_only_under_leases(build, claim: str, ok: bool) -> None:
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 20},
            rules__lease__claim=claim,
            faults=[{"kind": "redis_flush", "at_s": 3.0}],
        )
    )
    assert record.info["checks"]["ok"] is ok
    assert (record.tasks["state"] == State.COMPLETED).all() == ok


@pytest.mark.parametrize("redis_flush_at_s", [None, 7.0])
def test_a_slot_that_was_frozen_asleep_finds_its_task_gone(build, redis_flush_at_s: float | None) -> None:
    """in_slot backoff: failed at 2, asleep until 4, frozen from 3 to 23. The sweep at 10 returns the task, worker 1
    runs it from 10 to 12, it fails again and sleeps there until 16; the first sleeper wakes at 23 and must not shorten
    anybody's backoff."""
    faults = [{"kind": "pause_worker", "at_s": 3.0, "worker": 0, "for_s": 20.0}]
    if redis_flush_at_s is not None:
        faults.append({"kind": "redis_flush", "at_s": redis_flush_at_s})
    record = simulate(
        build(mesh__workers=2, workload__roles__A__fail_first=3, rules__retry__wait="in_slot", faults=faults)
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    assert record.tasks["attempts"].tolist() == [4]


def test_store_outage_stops_claims_and_verdicts_but_loses_nothing(build) -> None:
    """Work ends at 2 in an outage from 1 to 4: the verdict is written at 4, and the next task starts then."""
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 2},
            faults=[{"kind": "postgres_restart", "at_s": 1.0, "down_s": 3.0}],
        )
    )  # fmt: skip
    assert _moves(record, 0)[-1] == ("COMPLETED", 4.0)
    assert _moves(record, 1)[1:] == [("RUNNING", 4.0), ("COMPLETED", 6.0)]


def test_slow_service_stretches_what_starts_in_its_window(build) -> None:
    """2 s tasks one after another; from 2 to 4 everything takes three times as long: 0–2, 2–8, 8–10."""
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 3},
            faults=[{"kind": "slow_service", "at_s": 2.0, "for_s": 2.0, "factor": 3.0}],
        )
    )
    assert record.tasks["done_s"].tolist() == [2.0, 8.0, 10.0]


def test_a_gate_closes_at_the_limit_and_opens_at_the_resume_score(build) -> None:
    """Two tasks of 300 MiB in one worker of 512 MiB: over the limit at the report at 0, closed; both end at 2; the
    report at 2 opens.
    """
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 3},
            workload__roles__A__memory_mib=300.0,
            workload__roles__A__service={"dist": "constant", "mean_s": 1.5},
            mesh__slots=2,
        )
    )
    gates = record.events[record.events["kind"].str.startswith("gate")]
    assert gates[["kind", "t_s"]].values.tolist() == [["gate_closed", 0.0], ["gate_opened", 2.0]]
    assert _moves(record, 2)[1] == ("RUNNING", 2.0)


def test_full_fleet_pressure_closes_admission_and_held_tasks_come_in_later(build) -> None:
    scenario = build(
        workload__arrivals={"kind": "constant", "rate_per_s": 2, "duration_s": 4},
        workload__roles__A__memory_mib=300.0,
        workload__roles__A__service={"dist": "constant", "mean_s": 1.7},
        mesh__slots=2,
    )
    record = simulate(scenario)
    assert record.info["summary"]["backpressure"]["closings"] >= 1
    assert (record.tasks["state"] == State.COMPLETED).all()
    assert record.info["checks"]["ok"]


def test_a_worker_that_stays_closed_is_replaced_by_a_fresh_process(build) -> None:
    """A 100 s task of 600 MiB keeps the gate closed; after 30 s the worker is to leave when done, and a new one serves
    the rest.
    """
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 2},
            workload__roles__A__memory_mib=600.0,
            workload__roles__A__service={"dist": "constant", "mean_s": 100.0},
        )
    )
    assert record.tasks["worker"].tolist() == ["w0.1", "w0.2"]


@pytest.mark.parametrize(("policy", "rejected", "completed"), [("hold", 0, 10), ("reject", 5, 5)])
def test_queue_depth_closes_admission(build, policy: str, rejected: int, completed: int) -> None:
    """A burst of 10 with room for 5 pending: the others are held until there is room, or refused."""
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 10},
            rules__admission__max_pending=5,
            rules__admission__on_closed=policy,
        )
    )
    counts = record.info["summary"]["tasks"]
    assert (counts["rejected"], counts["completed"]) == (rejected, completed)


def test_front_retries_jump_their_class_and_back_retries_do_not(build) -> None:
    order = {}
    for position in ("front", "back"):
        record = simulate(
            build(
                workload__arrivals={"kind": "burst", "count": 3},
                workload__roles__A__fail_first=1,
                rules__retry={"base_s": 0.0, "position": position},
            )
        )
        claims = record.transitions[record.transitions["reason"] == Event.CLAIMED]
        order[position] = claims["task"].tolist()
    assert order == {"front": [0, 0, 1, 1, 2, 2], "back": [0, 1, 2, 0, 1, 2]}


@pytest.mark.parametrize(
    ("order", "served"),
    [
        ("strict", "HHHHHHHHMMMMLLLL"),
        ("weighted", "HMHHMHLHMHHMHLLL"),  # the rota 0 1 0 0 1 0 2 0 1 0, an empty class passed over
    ],
)
def test_order_between_classes(build, order: str, served: str) -> None:
    record = simulate(
        build(
            workload__arrivals={"kind": "burst", "count": 16},
            workload__roles__A__priority={5: 2, 2: 1, 1: 1},
            workload__mix="exact",
            rules__priority__order=order,
        )
    )
    letters = dict(
        zip(
            record.tasks["id"],
            record.tasks["queue"].map({"agent_high": "H", "agent_medium": "M", "agent_low": "L"}),
            strict=True,
        )
    )
    claims = record.transitions[record.transitions["reason"] == Event.CLAIMED]
    assert "".join(letters[task] for task in claims["task"]) == served


def test_aging_lets_a_low_task_pass_fresh_high_ones(build) -> None:
    """High tasks come every 2 s and fill the slot for ever; under strict order the low one waits for all, under aging
    for 2 × 6 s.
    """
    start = {}
    for order in ("strict", "aging"):
        scenario = build(
            workload__arrivals={"kind": "constant", "rate_per_s": 0.5, "count": 40},
            workload__roles={
                "HIGH": {"share": 39, "priority": 5, "service": {"dist": "constant", "mean_s": 2.1}},
                "LOW": {"share": 1, "priority": 1, "service": {"dist": "constant", "mean_s": 2.1}},
            },
            workload__mix="exact",
            rules__priority={"order": order, "aging_s": 6.0},
        )
        tasks = simulate(scenario).tasks
        low = tasks[tasks["role"] == "LOW"].iloc[0]
        start[order] = low["first_claim_s"] - low["arrival_s"]
    assert start["aging"] < 16.0 < start["strict"]


def test_a_mesh_that_can_never_drain_ends_and_says_so(build) -> None:
    record = simulate(
        build(rules__health__restart_after_s=None, faults=[{"kind": "kill_worker", "at_s": 1.0, "worker": 0}])
    )
    assert record.info["stalled"]
    assert record.info["checks"]["failed"] == ["nothing_lost"]


def test_stopping_early_leaves_a_record_that_says_so(build) -> None:
    record = simulate(build(workload__arrivals={"kind": "burst", "count": 100_000}), stop=lambda: True)
    assert record.info["interrupted"]
    assert 0 < record.info["summary"]["tasks"]["completed"] < 100_000
