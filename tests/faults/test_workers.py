"""What strikes worker processes (F1 to F14, F38 to F40): each with the arithmetic of its outcome. Unless said, a lease
is 10 s, renewed every 10/3 s from the start of its worker on, sweeps are every second, and a dead process is replaced
after a second.
"""

from __future__ import annotations

import pytest

from lab import metrics
from lab.rules.tasks import Event, State
from simulation import simulate
from tests.faults.scenes import all_completed, because, claims_of, counts, load, moves, noted, run


def test_f01_a_killed_workers_tasks_are_reclaimed_within_a_lease_and_a_sweep() -> None:
    """Killed at 2 s, last heartbeat at 0: leases until 10 s, the sweep at 10 s, 5 s of work: done at 15 s.

    The bound is kill + lease + sweep = 2 + 10 + 1 = 13 s.
    """
    record = run("f01_worker_killed")
    crashed = [("PENDING", 0), ("RUNNING", 0), ("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 15)]
    assert [moves(record, task) for task in (0, 2)] == [crashed] * 2
    assert [moves(record, task)[-1] for task in (1, 3)] == [("COMPLETED", 5)] * 2
    assert record.tasks["attempts"].tolist() == [2, 1, 2, 1]
    assert counts(record, "reclaimed", "stale_writes") == (2, 0)


def test_f01_what_a_killed_worker_ran_is_lost_under_the_published_claim() -> None:
    """`pop_then_update` reclaims nothing: its two tasks run for ever, and the check says so."""
    record = simulate(load("f01_worker_killed", rules__lease__claim="pop_then_update"))
    assert record.info["checks"]["failed"] == ["nothing_lost"]
    assert record.info["stalled"]
    assert record.tasks["state"].tolist() == [State.RUNNING, State.COMPLETED] * 2


def test_f02_a_task_that_was_taken_and_not_claimed_is_put_back_uncounted() -> None:
    """Taken at 0, the claim due at 1 s, killed at 0.5 s. 10 s after it was taken nobody speaks for it: back at 10 s;
    taken, claimed at 11 s, worked on until 13 s, settled at 14 s: the first attempt, since the other never began."""
    record = run("f02_killed_before_the_claim")
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 11), ("COMPLETED", 14)]
    assert noted(record, "requeued") == [("requeued", 10)]
    assert counts(record, "attempts", "reclaimed") == (1, 0)


def test_f03_work_whose_verdict_was_not_written_is_done_twice_and_completed_once() -> None:
    """Claimed at 1 s, worked until 3 s, killed at 3.5 s, half a second before the verdict. Last heartbeat at 3.33 s:
    lease until 13.33 s, sweep at 14 s, claimed at 15 s, worked until 17 s, settled at 18 s."""
    record = run("f03_killed_before_the_verdict")
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 1), ("PENDING", 14), ("RUNNING", 15), ("COMPLETED", 18)]
    assert counts(record, "attempts", "reclaimed", "completed") == (2, 1, 1)


def test_f05_a_worker_told_to_leave_ends_what_it_runs_and_takes_nothing_more() -> None:
    """At 2.25 s worker 0 holds the tasks of 1.0 s (until 2.5 s) and of 2.0 s (until 3.5 s). It leaves at 3.5 s, a fresh
    process stands at 4.5 s. Meanwhile two slots are left: the tasks of 3.5 and 4.0 s wait until 4.0 and 4.5 s."""
    record = run("f05_sigterm")
    assert claims_of(record, "w0.1") == [(0, 0.0), (2, 1.0), (4, 2.0)]
    assert noted(record, "worker_left", "worker_started")[2:] == [("worker_left", 3.5), ("worker_started", 4.5)]
    assert set(record.tasks["attempts"]) == {1}
    assert metrics.latency_s(record.tasks).tolist() == [*[1.5] * 7, 2.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("on_term", "history", "attempts"),
    [
        # Handed back at 1 + 0.5 s, uncounted; a fresh process at 2.5 s, 9 s of work.
        ("finish", [("PENDING", 1.5), ("RUNNING", 2.5), ("COMPLETED", 11.5)], 1),
        # Dropped at 1 s, which is a crash: the lease of 0 s lapses at 10 s, and the attempt counts.
        ("drop", [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 19)], 2),
    ],
)
def test_f06_what_the_grace_does_not_allow_is_handed_back_or_dropped(
    on_term: str, history: list[tuple[str, float]], attempts: int
) -> None:
    """A second SIGTERM at 1.2 s changes nothing: the worker is leaving already."""
    record = run("f06_grace_over", rules__shutdown__on_term=on_term)
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 0), *history]
    assert record.tasks["attempts"].tolist() == [attempts]
    assert noted(record, "worker_left") == [("worker_left", 1.5 if on_term == "finish" else 1.0)]


def test_f06_nothing_is_handed_back_to_a_store_that_is_away() -> None:
    """The grace is over at 1.5 s, PostgreSQL is away from 1.3 to 4.3 s: the task is back at 4.3 s, and done at 13.3."""
    faults = [*load("f06_grace_over").data["faults"], {"kind": "postgres_restart", "at_s": 1.3, "down_s": 3}]
    record = run("f06_grace_over", faults=faults)
    assert moves(record, 0)[2:] == [("PENDING", 4.3), ("RUNNING", 4.3), ("COMPLETED", 13.3)]
    assert record.tasks["attempts"].tolist() == [1]


def test_f06_a_worker_that_is_cut_off_cannot_hand_back() -> None:
    """Cut from PostgreSQL at 0.5 s, last heartbeat at 0: what it cannot say at 1.5 s the sweep finds out at 10 s."""
    cut = {"kind": "cut_worker", "at_s": 0.5, "worker": 0, "server": "postgres", "for_s": 60}
    record = run("f06_grace_over", faults=[*load("f06_grace_over").data["faults"], cut])
    assert moves(record, 0)[2:] == [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 19)]
    assert record.tasks["attempts"].tolist() == [2]


def test_f07_a_zombies_verdict_is_refused_by_its_token() -> None:
    """Frozen from 1 s on, lease until 10 s: worker 1 does the task from 10 to 12 s. The zombie speaks at 11.5 s."""
    record = run("f07_frozen_worker")
    assert moves(record, 0)[2:] == [("PENDING", 10), ("RUNNING", 10), ("COMPLETED", 12)]
    assert claims_of(record, "w1.1") == [(1, 0), (0, 10)]
    assert noted(record, "stale_write") == [("stale_write", 11.5)]
    assert counts(record, "completed", "reclaimed") == (2, 1)


@pytest.mark.parametrize(
    ("for_s", "done_s"),
    [(0.5, 2.0), (4.0, 5.0), (8.5, 9.5)],  # its 2 s of work go on by the wall clock: done at 2 s, or on waking
)
def test_f07_a_freeze_that_is_shorter_than_the_lease_only_delays(for_s: float, done_s: float) -> None:
    record = run("f07_frozen_worker", faults__0__for_s=for_s)
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 0), ("COMPLETED", done_s)]
    assert counts(record, "reclaimed", "stale_writes") == (0, 0)


def test_f07_a_heart_beats_at_once_when_its_process_wakes_up() -> None:
    """Frozen from 1 to 9 s, killed at 9.5 s: the heartbeats of 3.33 and 6.67 s were never sent, the one of 9 s was. So
    the lease lapses at 19 s, not at 16.67 s."""
    faults = [
        {"kind": "pause_worker", "at_s": 1, "worker": 0, "for_s": 8},
        {"kind": "kill_worker", "at_s": 9.5, "worker": 0},
    ]
    record = run("f07_frozen_worker", workload__roles__A__service__mean_s=12, faults=faults)
    assert moves(record, 0)[2:] == [("PENDING", 19), ("RUNNING", 19), ("COMPLETED", 31)]


def test_f08_work_that_burns_the_processor_keeps_its_lease() -> None:
    """24 s at full load under a lease of 3 s: heartbeats come from beside the work, so nobody takes it back."""
    record = run("f08_busy_loop")
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 0), ("COMPLETED", 24)]
    assert record.samples["cpu"].max() == 1.0


def test_f10_a_fleet_that_dies_at_once_is_recovered_without_a_stampede() -> None:
    """At 12 s the tasks of 11.0 to 12.0 s are running: 11. Last heartbeat at 10 s, so each lease lapses 10 s after its
    claim: at 21 to 22 s, within 12 + lease + sweep = 23 s. 15 slots of 1 s cannot claim more than 15 in any second,
    which is 1.5 times the 10 that come: no stampede beyond twice the steady rate."""
    record = run("f10_fleet_restart")
    lapses = because(record, Event.LEASE_LAPSED)
    assert sorted(lapses["task"]) == list(range(110, 121))
    assert lapses["at_s"].between(21, 22).all()
    assert all_completed(record)
    claimed_at_s = because(record, Event.CLAIMED)["at_s"].to_numpy()
    within_1_s = claimed_at_s.searchsorted(claimed_at_s + 1.0 - 1e-6) - range(len(claimed_at_s))
    assert within_1_s.max() == 15 <= 2 * 10


def test_f11_a_process_that_takes_a_dead_ones_place_is_somebody_else() -> None:
    """w0.1 dies at 2 s, its lease lapses at 10 s although w0.2 has stood there since 3 s. w0.2 claims at 10 s, after
    its heartbeat at 9.67 s, and dies at 12 s: until 20 s. w0.3 does it from 20 to 25 s."""
    record = run("f11_same_place_again")
    assert [claims_of(record, f"w0.{life}") for life in (1, 2, 3)] == [[(0, 0)], [(0, 10)], [(0, 20)]]
    assert moves(record, 0)[-1] == ("COMPLETED", 25)
    assert record.tasks["attempts"].tolist() == [3]


def test_f12_a_poison_pill_is_dead_after_six_attempts_and_the_others_are_as_fast_as_ever() -> None:
    """Six deaths, each costing at most 3 neighbours an attempt: 18 of 2,999 tasks, which is under 1 %. So the p99 of
    the others is that of a run without poison: 0.5 s, since 10 of 20 slots are enough."""
    record = run("f12_poison_pill")
    poison, others = record.tasks.loc[100], record.tasks.drop(index=100)
    assert (poison["state"], poison["attempts"]) == (State.PERMANENT_FAILURE, 6)
    assert because(record, Event.LEASE_LAPSED)["to"].tolist().count(State.PERMANENT_FAILURE) == 1
    assert len(noted(record, "worker_left")) == 6
    assert (others["state"] == State.COMPLETED).all()
    assert 0 < (others["attempts"] - 1).sum() <= 18
    clean = run("f12_poison_pill", faults=[])
    p99_s = [(tasks["done_s"] - tasks["arrival_s"]).quantile(0.99) for tasks in (others, clean.tasks)]
    assert p99_s == pytest.approx([0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("after_s", "completed"),
    [(0.0, False), (0.25, False), (0.5, False), (0.5001, True)],  # work of 0.5 s is over before 0.5001 s
)
def test_f12_poison_kills_up_to_the_very_end_of_the_work(after_s: float, completed: bool) -> None:
    record = run("f12_poison_pill", workload__arrivals={"kind": "burst", "count": 101}, faults__0__after_s=after_s)
    assert (record.tasks["state"][100] == State.COMPLETED) == completed


def test_f12_poison_that_strikes_a_frozen_process_kills_it_when_it_wakes() -> None:
    """Taken at 0, deadly at 0.25 s, frozen from 0.1 to 0.6 s: dead at 0.6 s, with its work done or not."""
    faults = [
        {"kind": "poison_task", "task": 0, "after_s": 0.25},
        {"kind": "pause_worker", "at_s": 0.1, "worker": 0, "for_s": 0.5},
    ]
    record = run("f12_poison_pill", workload__arrivals={"kind": "burst", "count": 1}, faults=faults)
    assert noted(record, "worker_left")[0] == ("worker_left", 0.6)
    assert record.tasks["state"].tolist() == [State.PERMANENT_FAILURE]


def test_f14_an_attempt_that_hangs_is_cut_and_its_slot_is_free() -> None:
    """Started at 0, when all work takes 1,000 times as long; cut at 5 s, the backoff until 7 s, 2 s of work: 9 s. Its
    slot serves the other task from 5 to 7 s."""
    record = run("f14_hang")
    assert moves(record, 0)[1:] == [
        ("RUNNING", 0), ("RETRY_WAIT", 5), ("PENDING", 7), ("RUNNING", 7), ("COMPLETED", 9),
    ]  # fmt: skip
    assert moves(record, 1)[1:] == [("RUNNING", 5), ("COMPLETED", 7)]
    assert record.tasks["service_s"].tolist() == [5 + 2, 2]  # what was worked, not what was asked for


def test_f14_what_hangs_every_time_is_dead_after_six_timeouts() -> None:
    """6 · 5 s of hanging and 2 + 4 + 8 + 16 + 32 s of backoff: 92 s."""
    record = run("f14_hang", workload__arrivals__count=1, faults__0__for_s=1000)
    assert moves(record, 0)[-1] == ("PERMANENT_FAILURE", 92)
    assert record.tasks["attempts"].tolist() == [6]


def test_f38_a_slow_worker_gets_as_much_less_work_as_it_is_slower() -> None:
    """22 tasks of 1 s. In 20 s worker 1 does 20, and worker 0, for which each takes 10 s, does 2. Its leases of 3 s are
    renewed: nothing is reclaimed. The others' latency is what it would be beside no slow worker at all."""
    record = run("f38_slow_worker")
    assert record.tasks["worker"].value_counts().to_dict() == {"w1.1": 20, "w0.1": 2}
    mine = record.tasks["worker"] == "w0.1"
    worked_s = record.tasks["done_s"] - record.tasks["first_claim_s"]
    assert (set(worked_s[mine]), set(worked_s[~mine])) == ({10.0}, {1.0})
    assert record.info["summary"]["makespan_s"] == 20.0
    assert counts(record, "reclaimed", "stale_writes") == (0, 0)


def test_f39_a_process_whose_memory_never_falls_is_replaced_and_does_not_flap() -> None:
    """100 MiB and 20 for each task that ended: 200 MiB, the limit, after the fifth, at 5 s. The gate closes at the
    report of 5 s (the sixth task has just been taken, and ends at 6 s) and never opens; ten seconds later, at 15 s, a
    fresh process takes the seventh. It closes in turn at 20 s; the twelfth ends at 21 s. One closing for each process.
    """
    record = run("f39_memory_never_falls")
    assert noted(record, "gate_closed", "gate_opened", "worker_recycled", "worker_started") == [
        ("worker_started", 0), ("gate_closed", 5), ("worker_recycled", 15), ("worker_started", 15), ("gate_closed", 20),
    ]  # fmt: skip
    assert claims_of(record, "w0.1") == [(task, task) for task in range(6)]
    assert claims_of(record, "w0.2") == [(task, task + 9) for task in range(6, 12)]
    rss_mib = metrics.rss_curves(record)["w0.1"][1] / 2**20
    assert rss_mib[:8].tolist() == [100, 120, 140, 160, 180, 200, 220, 220]


def test_f40_a_worker_that_misses_three_reports_counts_as_closed() -> None:
    """Last report at 4 s, so silent for three reports at 7 s: half of the fleet, and admission closes. It wakes at
    20.5 s and reports at 21 s. The tasks of 8 to 20 s are held meanwhile and come in at 21 s."""
    record = run("f40_missing_reports")
    assert noted(record, "admission_closed", "admission_opened") == [("admission_closed", 7), ("admission_opened", 21)]
    submitted_at_s = because(record, Event.SUBMITTED)["at_s"].tolist()
    assert submitted_at_s == [0, 2, 4, 6, *[21] * 7, 22, 24, 26, 28]
    # The task of 4 s is worker 0's; its lease lapses at 14 s, worker 1 does it, and at 20.5 s it is too late.
    assert moves(record, 2)[2:] == [("PENDING", 14), ("RUNNING", 14), ("COMPLETED", 15)]
    assert noted(record, "stale_write") == [("stale_write", 20.5)]
    assert all_completed(record)
