"""What strikes Redis and PostgreSQL (F18 to F25), and links to them (F9, F37, F53): each with the arithmetic of its
outcome. PostgreSQL is the authority and Redis an index that one sweep (every second) rebuilds, so work can be late and
never lost.
"""

from __future__ import annotations

import random

import pytest

from lab.faults import PostgresRestart
from lab.record import Record
from lab.rules.tasks import Event, State
from simulation import simulate
from tests.faults.scenes import all_completed, because, claims_of, counts, load, moves, noted, run, tasks_of


def test_f18_redis_forgets_its_last_second_and_one_sweep_puts_it_back() -> None:
    """Killed at 3.1 s: two slots have taken tasks 0 to 6 by then. Of 7 to 12, which wait, those of 2.25 to 3.0 s (9 to
    12) are younger than a second: forgotten. 13 (3.25 s) and 14 (3.5 s) come while it is away. The sweep at 4 s knows
    all six. Nobody claims between 3.1 and 3.6 s; then 7 is next, which was not forgotten."""
    record = run("f18_redis_forgets_a_second")
    assert sorted(tasks_of(record, "requeued")) == [9, 10, 11, 12, 13, 14]
    assert set(noted(record, "requeued")) == {("requeued", 4.0)}
    assert moves(record, 7)[1] == ("RUNNING", 3.6)
    assert not because(record, Event.CLAIMED)["at_s"].between(3.1, 3.6, inclusive="left").any()
    assert all_completed(record)
    assert set(record.tasks["attempts"]) == {1}


def test_f19_a_flushed_redis_is_rebuilt_by_the_next_sweep() -> None:
    """10 slots finish 10 tasks every 0.5 s. The flush at 2.25 s takes the 50 that wait; the slots that are free at 2.5
    s find nothing until the sweep at 3 s. Done at 100 / 10 · 0.5 + 0.5 = 5.5 s."""
    record = run("f19_redis_flushed")
    assert sorted(tasks_of(record, "requeued")) == list(range(50, 100))
    assert set(noted(record, "requeued")) == {("requeued", 3.0)}
    assert record.info["summary"]["makespan_s"] == 5.5
    assert all_completed(record)


def test_f19_without_the_sweep_a_flush_loses_what_waits() -> None:
    """The published claim has no sweep: the 50 tasks that waited stay PENDING for ever, and the check says so."""
    record = simulate(load("f19_redis_flushed", rules__lease__claim="pop_then_update"))
    assert record.info["checks"]["failed"] == ["nothing_lost"]
    assert record.tasks["state"].value_counts()[State.PENDING] == 50


def test_f20_while_redis_is_away_work_is_settled_and_submissions_are_kept() -> None:
    """Away from 10.5 to 40.5 s. What runs ends at 11 and 12 s as ever; tasks 11 to 40 are accepted in PostgreSQL and
    stand in no queue; the sweep at 41 s puts these 30 back, half a second after the return (the bound is 2 s). The
    backlog falls by 2 − 1 a second from then on, so the last of the 60 tasks is done at the latest at 60 + 30 / 2 s."""
    record = run("f20_redis_away")
    assert [moves(record, task)[-1] for task in (9, 10)] == [("COMPLETED", 11), ("COMPLETED", 12)]
    assert moves(record, 11)[:2] == [("PENDING", 11), ("RUNNING", 41)]
    assert not because(record, Event.CLAIMED)["at_s"].between(10.5, 41, inclusive="left").any()
    assert sorted(tasks_of(record, "requeued")) == list(range(11, 41))
    assert record.tasks["done_s"].max() <= 75
    assert all_completed(record)


@pytest.mark.parametrize(
    ("second", "resumed_s"),
    [
        ({"at_s": 20, "kind": "redis_flush"}, 41),
        ({"at_s": 20, "kind": "redis_restart", "down_s": 1}, 41),
        ({"at_s": 35, "kind": "redis_restart", "down_s": 10}, 46),  # away until 45 s, the sweep after that
    ],
)
def test_f20_a_redis_that_is_struck_while_it_is_away_is_not_back_sooner(
    second: dict[str, object], resumed_s: float
) -> None:
    record = run("f20_redis_away", faults=[*load("f20_redis_away").data["faults"], second])
    claimed_at_s = because(record, Event.CLAIMED)["at_s"]
    assert claimed_at_s[claimed_at_s > 10.5].min() == resumed_s


def test_f20_nothing_is_rebuilt_from_a_store_that_is_away() -> None:
    """The flush at 2.25 s, PostgreSQL away from 2 to 3.4 s: the sweep of 3 s finds no store, the one of 4 s does."""
    faults = [*load("f19_redis_flushed").data["faults"], {"at_s": 2, "kind": "postgres_restart", "down_s": 1.4}]
    record = run("f19_redis_flushed", faults=faults)
    assert set(noted(record, "requeued")) == {("requeued", 4.0)}


def test_f24_a_failover_that_loses_a_second_is_mended_by_one_sweep() -> None:
    """As F18, but it is back at once: only what is younger than a second at 3.1 s is forgotten."""
    record = run("f24_redis_failover")
    assert sorted(tasks_of(record, "requeued")) == [9, 10, 11, 12]
    assert set(noted(record, "requeued")) == {("requeued", 4.0)}
    assert all_completed(record)


def test_f25_postgres_restarts_delay_transitions_and_change_no_outcome() -> None:
    """Eight restarts of half a second. Nothing is written while it is away, nothing is taken back (0.5 s is less than a
    lease), and every task has the end and the attempts that it has without any restart."""
    record, calm = run("f25_postgres_restarts"), run("f25_postgres_restarts", faults=[])
    for fault in record.scenario.faults:
        assert isinstance(fault, PostgresRestart)
        away = record.transitions["at_s"].between(fault.at_s, fault.at_s + fault.down_s, inclusive="neither")
        assert not away.any()
    assert counts(record, "reclaimed", "stale_writes") == (0, 0)
    assert counts(calm, "retries")[0] > 0 < counts(calm, "dead")[0]
    outcome = ["state", "attempts", "service_s", "backoff_s"]
    assert record.tasks[outcome].equals(calm.tasks[outcome])


def test_f37_a_worker_cut_off_from_postgres_completes_nothing() -> None:
    """Cut off from 1 to 11.5 s, last heartbeat at 0. Its task, done at 2 s, lapses at 10 s and goes to the back; the
    other worker does 1 to 6 until 12 s and then this one: completed at 14 s. The verdict of 11.5 s is refused."""
    record = run("f37_cut_from_postgres")
    assert moves(record, 0) == [("PENDING", 0), ("RUNNING", 0), ("PENDING", 10), ("RUNNING", 12), ("COMPLETED", 14)]
    assert claims_of(record, "w0.1") == [(0, 0), (7, 11.5)]
    assert claims_of(record, "w1.1")[:6] == [(task, 2 * task - 2) for task in range(1, 7)]
    assert noted(record, "stale_write") == [("stale_write", 11.5)]
    assert counts(record, "reclaimed", "completed") == (1, 8)


def test_f09_f37_a_worker_cut_off_from_redis_takes_nothing_and_settles_what_it_runs() -> None:
    """Deaf, but its heart beats: the task that it runs is completed at 2 s as ever, the other worker does 1 to 6, and
    it takes 7 when it hears again at 11.5 s."""
    record = run("f37_cut_from_redis")
    assert moves(record, 0)[-1] == ("COMPLETED", 2)
    assert claims_of(record, "w0.1") == [(0, 0), (7, 11.5)]
    assert claims_of(record, "w1.1") == [(task, 2 * task - 2) for task in range(1, 7)]
    assert counts(record, "reclaimed", "stale_writes", "completed") == (0, 0, 8)


def drains_within_s(record: Record) -> float:
    """By when a swizzled mesh must be done: a lease and a sweep after the last link is healed, all that was not done by
    then is in the queues or running; 20 slots of 0.5 s do 40 a second, and 20 a second come until 20 s."""
    healed_s = max(fault.at_s + fault.for_s for fault in record.scenario.faults if fault.kind == "cut_worker")
    left = int((record.tasks["done_s"] > healed_s).sum())
    return float(max(healed_s, 20.0) + 3 + 1 + left / (40 - 20))


def test_f53_a_mesh_whose_links_are_all_cut_and_healed_in_turn_drains() -> None:
    record = run("f53_swizzle")
    assert all_completed(record)
    assert record.tasks["done_s"].max() <= drains_within_s(record)
    assert counts(record, "reclaimed")[0] > 0


@pytest.mark.parametrize("seed", range(8))
def test_f53_any_order_of_cuts_and_heals_will_do(seed: int) -> None:
    """Replay one with `pytest "tests/faults/test_servers.py" -k "any_order and [SEED]"`."""
    draw = random.Random(seed)
    links = [(worker, server) for worker in range(4) for server in ("redis", "postgres")]
    faults = [
        {"kind": "cut_worker", "at_s": draw.uniform(1, 8), "worker": w, "server": s, "for_s": draw.uniform(1, 12)}
        for w, s in links
    ]
    record = run("f53_swizzle", faults=faults)
    assert all_completed(record), f"seed {seed}"
    assert record.tasks["done_s"].max() <= drains_within_s(record), f"seed {seed}"
