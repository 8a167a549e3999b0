"""What a live view is told: every number here can be added up from the transitions beside it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from lab.limits import FRAME_EVENTS_MAX, RUNNING_CARDS_MAX, TELEMETRY_BINS_MAX
from lab.limits import MIB as MIB_BYTES
from lab.metrics import summary
from lab.record import EventRow, Record, SampleRow
from lab.rules.priority import QUEUES
from lab.scenario import Scenario
from lab.telemetry import Moved, Phase, Side, Telemetry
from lab.telemetry_curves import BIN_S, Curves
from lab.workload import Plan
from simulation import simulate

P, R, W, C, D = "PENDING", "RUNNING", "RETRY_WAIT", "COMPLETED", "PERMANENT_FAILURE"
REASONS = {
    (None, P): "submitted",
    (P, R): "claimed",
    (R, C): "succeeded",
    (R, W): "failed",
    (R, D): "failed",
    (W, P): "due",
    (R, P): "lease lapsed",
    (D, P): "redriven",
}


def scenario(tasks: int = 100, *, priority: str = "1", **values: Any) -> Scenario:
    text = f"""
workload:
  arrivals: {{kind: burst, count: {tasks}}}
  roles: {{DEVELOPER: {{priority: {priority}, service: {{dist: constant, mean_s: 1}}}}}}
mesh: {{workers: 2, slots: 4}}
rules: {{health: {{rss_limit_mib: 100}}}}
"""
    return Scenario.parse(text).override(values)


def watched(tasks: int = 100, side: Side = "model", **values: Any) -> Telemetry:
    return Telemetry(side, Plan(scenario(tasks, **values)))


def move(t_s: float, task: int, source: str | None, to: str, worker: str = "", attempt: int = 0) -> Moved:
    return Moved(t_s, task, source, to, worker, attempt, REASONS[source, to])


def submitted(t_s: float, tasks: Iterable[int]) -> list[Moved]:
    return [move(t_s, task, None, P) for task in tasks]


def done(task: int, claimed_s: float, done_s: float, worker: str = "w0.1") -> list[Moved]:
    return [move(claimed_s, task, P, R, worker, 1), move(done_s, task, R, C, worker, 1)]


def sample(t_s: float, worker: str, mib: float, gate: bool = True) -> SampleRow:
    return SampleRow(t_s, worker, mib * MIB_BYTES, 0.0, 0, gate, 0, 0, 0, 0, 0)


def note(t_s: float, kind: str, worker: str = "", task: int = -1, detail: str = "") -> EventRow:
    return EventRow(t_s, kind, worker, task, detail)


def frame(told: Telemetry, t_s: float, phase: Phase = "running", **more: Any) -> dict[str, Any]:
    """A frame, as it comes out of JSON."""
    return json.loads(json.dumps(told.frame(t_s, phase, **more)))  # type: ignore[no-any-return]


# ---- counts and cards ------------------------------------------------------------------------------------------------


def test_every_task_is_counted_where_it_is() -> None:
    told = watched(6)
    told.moves(submitted(0.0, range(6)))
    told.moves(done(0, 0.1, 1.1))  # completed
    told.moves([move(0.1, 1, P, R, "w0.1", 1), move(1.0, 1, R, W, "w0.1", 1)])  # waits for its retry
    told.moves([move(0.1, 2, P, R, "w1.1", 1), move(0.9, 2, R, P, "", 1)])  # its lease lapsed
    told.moves([move(0.1, 3, P, R, "w1.1", 1), move(0.8, 3, R, D, "w1.1", 1)])  # dead
    told.moves([move(0.2, 4, P, R, "w1.1", 1)])  # runs; task 5 is still pending
    told.admission(9, 2, 1, False)
    found = frame(told, 1.2)
    assert found["counts"] == {
        **{"arrived": 9, "submitted": 6, "held": 2, "rejected": 1},
        **{"pending": 2, "running": 1, "retry_wait": 1, "completed": 1, "dead": 1, "cancelled": 0},
        **{"attempts": 5, "retries": 1, "reclaimed": 1, "stale_writes": 0, "lost": 0, "doubled": 0},
    }
    assert found["admission"] == {"open": False}
    assert found["queues"] == dict(zip(QUEUES, (0, 0, 2), strict=True))  # priority 1 is the low class
    [lane] = found["roles"]
    assert [card["id"] for card in lane["pending_cards"]] == [5, 2, 1]  # the last waits for its retry
    assert [card["id"] for card in lane["running_cards"]] == [4]
    assert [card["id"] for card in lane["finished_cards"]] == [3, 0]  # the newest first, as it was told
    assert lane["pending_cards"][1] == {"id": 2, "p": 1, "s": P, "a": 1, "v": 3, "w": "", "t": 0.9}
    assert lane["finished_cards"][1] == {"id": 0, "p": 1, "s": C, "a": 1, "v": 3, "w": "w0.1", "t": 1.1}


def test_a_lane_shows_twenty_pending_and_fifteen_finished_cards_and_counts_the_rest() -> None:
    told = watched(200)
    told.moves(submitted(0.0, range(200)))
    for task in range(80):
        told.moves(done(task, 1.0, 2.0 + task / 100))
    told.moves(move(3.0, task, P, R, "w0.1", 1) for task in range(80, 80 + RUNNING_CARDS_MAX + 5))
    [lane] = frame(told, 3.0)["roles"]
    cards = [len(lane[name]) for name in ("pending_cards", "running_cards", "finished_cards")]
    assert cards == [20, RUNNING_CARDS_MAX, 15]
    assert (lane["pending"], lane["running"], lane["completed"]) == (200 - 80 - 35, 35, 80)
    assert [card["id"] for card in lane["finished_cards"]] == list(range(79, 64, -1))


def test_the_pending_cards_are_those_that_are_served_next() -> None:
    told = watched(40, priority="{5: 1, 1: 1}")
    told.moves(submitted(0.0, range(40)))
    [lane] = frame(told, 0.1)["roles"]
    levels = [card["p"] for card in lane["pending_cards"]]
    assert levels == sorted(levels, reverse=True)
    high = [task for task in range(40) if told.plan.priority[task] == 5]
    assert [card["id"] for card in lane["pending_cards"]][: len(high)] == high[:20]


def test_a_redriven_task_is_pending_again_and_no_finished_card_any_more() -> None:
    told = watched(1)
    told.moves(submitted(0.0, [0]))
    told.moves([move(0.1, 0, P, R, "w0.1", 1), move(0.2, 0, R, D, "w0.1", 1), move(0.3, 0, D, P, "", 1)])
    found = frame(told, 0.4)
    assert (found["counts"]["dead"], found["counts"]["pending"]) == (0, 1)
    assert found["roles"][0]["finished_cards"] == []
    assert found["roles"][0]["pending_cards"][0]["v"] == 4


# ---- what is told twice, or late -------------------------------------------------------------------------------------


def test_what_is_told_twice_changes_nothing() -> None:
    history = [*submitted(0.0, [0]), move(0.1, 0, P, R, "w0.1", 1), move(0.5, 0, R, P, "", 1)]
    history += [move(1.0, 0, P, R, "w1.1", 2), move(2.0, 0, R, C, "w1.1", 2)]
    once, twice = watched(1), watched(1)
    once.moves(history)
    for number in range(len(history)):
        twice.moves(history[: number + 1])  # everything so far, again and again
    assert frame(twice, 2.0) == frame(once, 2.0)


def test_an_older_transition_never_overwrites_a_newer_one() -> None:
    told = watched(1)
    told.moves([*submitted(0.0, [0]), *done(0, 0.1, 1.0)])
    before = frame(told, 1.5)["roles"]
    told.moves([move(0.1, 0, P, R, "w0.1", 1), *submitted(0.0, [0])])
    assert frame(told, 1.5)["roles"] == before


def test_neighbours_that_two_clocks_date_the_wrong_way_round_are_both_taken() -> None:
    told = watched(1)
    told.moves([*submitted(1.0, [0]), move(0.95, 0, P, R, "w0.1", 1), move(2.0, 0, R, C, "w0.1", 1)])
    counts = frame(told, 2.0)["counts"]
    assert (counts["attempts"], counts["completed"]) == (1, 1)


def test_a_gap_in_what_is_told_does_not_break_the_counts() -> None:
    told = watched(2)
    told.moves([move(1.0, 0, P, R, "w0.1", 1), move(2.0, 1, R, C, "w0.1", 1)])  # the beginnings were never told
    counts = frame(told, 2.0)["counts"]
    assert (counts["submitted"], counts["running"], counts["completed"], counts["pending"]) == (2, 1, 1, 0)


def test_a_second_completion_is_counted_and_the_same_one_told_twice_is_not() -> None:
    told = watched(2)
    told.moves(submitted(0.0, [0, 1]))
    told.moves([*done(0, 0.1, 1.0), *done(1, 0.1, 1.0), move(1.0, 0, R, C, "w0.1", 1)])
    assert frame(told, 1.0)["counts"]["doubled"] == 0
    told.moves([move(1.4, 1, R, C, "w1.1", 1)])
    found = frame(told, 1.5)
    assert (found["counts"]["doubled"], found["counts"]["completed"]) == (1, 2)
    assert [(e["kind"], e["level"], e["text"]) for e in found["events"]] == [
        ("check", "bad", "task 1 was completed twice")
    ]


def test_what_the_store_says_of_lost_and_doubled_tasks_counts() -> None:
    told = watched(3)
    told.moves(submitted(0.0, range(3)))
    told.verified(0, 0)
    assert frame(told, 1.0)["events"] == []
    told.verified(2, 1)
    told.verified(2, 1)
    found = frame(told, 2.0)
    assert (found["counts"]["lost"], found["counts"]["doubled"]) == (2, 1)
    assert [event["level"] for event in found["events"]] == ["bad", "bad"]


# ---- curves ----------------------------------------------------------------------------------------------------------


def test_each_bin_is_the_arithmetic_of_its_half_second() -> None:
    told = watched(4)
    told.moves(submitted(0.1, range(4)))
    told.moves([move(0.2, task, P, R, "w0.1", 1) for task in range(3)])
    told.moves([move(0.6, 0, R, C, "w0.1", 1), move(0.9, 1, R, C, "w0.1", 1)])  # 2 in bin 1: latencies 0.6 and 0.9
    told.moves([move(1.1, 2, R, W, "w0.1", 1), move(1.7, 2, W, P, "", 1)])  # a retry in bin 2, pending again in bin 3
    told.samples([sample(0.3, "w0.1", 40), sample(0.4, "w1.1", 10), sample(1.2, "w0.1", 50)])
    bins = frame(told, 2.1)["bins"]
    assert (bins["width_s"], bins["first"]) == (0.5, 0)
    assert bins["throughput"] == [0, 2 / 0.5, 0, 0, None]  # the last bin is still open
    assert bins["p50"] == [None, 0.75, 0.75, 0.75, None]  # of the last two seconds
    assert bins["p95"] == [None, *[pytest.approx(np.percentile([0.6, 0.9], 95), abs=1e-4)] * 3, None]
    assert bins["depth"] == [1, 1, 1, 2, 2]
    assert bins["retries"] == [0, 0, 1 / 0.5, 0, None]
    assert bins["rss"] == [50 * MIB_BYTES, 50 * MIB_BYTES, *[60 * MIB_BYTES] * 3]


def test_later_frames_bring_only_what_has_changed() -> None:
    told = watched(10)
    told.moves(submitted(0.0, range(10)))
    assert frame(told, 1.2)["bins"]["first"] == 0
    assert frame(told, 1.3)["bins"]["first"] == 2  # the open bin alone
    later = frame(told, 2.6)["bins"]
    assert (later["first"], later["depth"]) == (2, [10, 10, 10, 10])
    assert frame(told, 2.7, all_bins=True)["bins"]["first"] == 0


def test_what_comes_late_is_put_where_it_belongs_and_told_again() -> None:
    told = watched(10)
    told.moves(submitted(0.0, range(10)))
    told.moves([move(0.1, task, P, R, "w0.1", 1) for task in range(10)])
    frame(told, 3.0)
    told.moves([move(1.2, 0, R, C, "w0.1", 1)])  # told three seconds after it happened
    bins = frame(told, 3.1)["bins"]
    assert bins["first"] == 2
    assert bins["throughput"] == [2.0, 0, 0, 0, None]
    assert bins["p50"] == [1.2, 1.2, 1.2, 1.2, None]  # arrived at 0, done at 1.2; bins 2 to 5 end within two seconds


def test_at_the_end_all_bins_are_closed() -> None:
    told = watched(2)
    told.moves([*submitted(0.0, range(2)), *done(0, 0.1, 0.7), *done(1, 0.1, 1.2)])
    bins = frame(told, 1.0, "ended")["bins"]  # the last was done a moment after the clock stood still
    assert (bins["throughput"], bins["depth"]) == ([0, 2, 2], [0, 0, 0])


def test_held_tasks_count_in_the_depth() -> None:
    told = watched(10)
    told.moves(submitted(0.0, range(3)))
    told.admission(10, 7, 0, False)
    assert frame(told, 0.2)["bins"]["depth"] == [10]


def test_curves_in_any_order_are_those_in_order() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    moments = sorted(rng.uniform(0, 6) for _ in range(300))
    happened = [(t_s, rng.choice((1, -1)), rng.random()) for t_s in moments]
    ordered, shuffled = Curves(), Curves()
    for curves, rows in ((ordered, happened), (shuffled, rng.sample(happened, len(happened)))):
        for t_s, change, latency_s in rows:
            number = curves.bin_of(t_s)
            curves.pending(number, change)
            curves.completed(number, latency_s)
    assert ordered.told(7.0) == shuffled.told(7.0)


def test_a_run_longer_than_all_bins_goes_on_in_the_last() -> None:
    curves = Curves()
    curves.completed(curves.bin_of(1e9), 1.0)
    assert len(curves.told(1e9)["depth"]) == TELEMETRY_BINS_MAX


def test_curves_may_run_ahead_of_the_lanes() -> None:
    told, ahead = watched(10), watched(10)
    for one in (told, ahead):
        one.moves(submitted(0.0, range(10)))
    ahead.moves(done(0, 1.0, 20.0))
    ahead.reached(30.0)
    found = frame(told, 1.0, ahead=ahead)
    assert found["counts"]["completed"] == 0
    assert found["bins"]["throughput"][int(20 / BIN_S)] == 2.0
    assert len(found["bins"]["depth"]) == int(30 / BIN_S) + 1


# ---- high traffic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flushes", "lights"),
    [([50], [False]), ([51], [True]), ([51, 1, 50, 0, 50], [True, True, True, False, False])],
)
def test_high_traffic_mode_follows_the_rule(flushes: list[int], lights: list[bool]) -> None:
    told, sent, seen = watched(200), 0, []
    for number, events in enumerate(flushes):
        told.moves(submitted(number / 10, range(sent, sent + events)))
        sent += events
        seen.append(frame(told, number / 10 + 0.1)["high_traffic"])
    assert seen == lights


def test_events_a_second_are_those_of_the_last_second() -> None:
    told = watched(100)
    told.moves(submitted(0.0, range(60)))
    assert frame(told, 0.1)["events_per_s"] == 60
    told.moves(submitted(0.9, range(60, 65)))
    assert frame(told, 0.9)["events_per_s"] == 65
    assert frame(told, 1.2)["events_per_s"] == 5


# ---- workers ---------------------------------------------------------------------------------------------------------


def test_a_worker_is_shown_with_what_it_holds_its_memory_and_its_gate() -> None:
    told = watched(10)
    told.notes([note(0.0, "worker_started", "w0.1"), note(0.0, "worker_started", "w1.1")])
    told.moves([*submitted(0.0, range(10)), *(move(0.1, task, P, R, "w1.1", 1) for task in (3, 4))])
    told.samples([sample(0.2, "w0.1", 69), sample(0.2, "w1.1", 95, gate=False)])  # of 100 MiB: green, red
    first, second = frame(told, 0.5)["workers"]
    assert (first["id"], first["place"], first["slots"], first["band"], first["score"]) == ("w0.1", 0, 4, "green", 0.31)
    assert (second["tasks"], second["band"], second["score"], second["gate"]) == ([3, 4], "red", 0.05, False)
    assert (second["rss"], second["limit"]) == (95 * MIB_BYTES, 100 * MIB_BYTES)


def test_a_dead_worker_stays_in_sight_until_another_takes_its_place() -> None:
    told = watched(10)
    told.notes([note(0.0, "worker_started", "w0.1"), note(0.0, "worker_started", "w1.1")])
    told.samples([sample(0.1, "w0.1", 60), sample(0.1, "w1.1", 60)])
    told.notes([note(1.0, "worker_left", "w1.1", detail="killed by SIGKILL")])
    told.samples([sample(1.0, "w1.1", 60)])  # its last report was under way
    found = frame(told, 1.5)
    assert [(w["id"], w["alive"], w["rss"]) for w in found["workers"]] == [
        ("w0.1", True, 60 * MIB_BYTES),
        ("w1.1", False, 0),
    ]
    assert found["bins"]["rss"][-1] == 60 * MIB_BYTES
    told.notes([note(2.0, "worker_started", "w1.2")])
    assert [(w["id"], w["alive"]) for w in frame(told, 2.5)["workers"]] == [("w0.1", True), ("w1.2", True)]


def test_places_come_and_go_with_the_knob() -> None:
    told = watched(10)
    told.notes([note(0.0, "worker_started", f"w{place}.1") for place in range(2)])
    grown = scenario(10, faults=[{"kind": "change", "at_s": 1, "knob": "workers", "value": 1}])
    told.replan(Plan(grown))
    told.notes([note(2.0, "worker_left", "w1.1", detail="left")])
    assert [w["id"] for w in frame(told, 0.5)["workers"]] == ["w0.1", "w1.1"]
    assert [w["id"] for w in frame(told, 2.5)["workers"]] == ["w0.1"]


def test_live_queues_are_those_of_redis_and_the_models_those_of_its_store() -> None:
    for side, depth in (("live", 7), ("model", 10)):
        told = watched(10, side)  # type: ignore[arg-type]
        told.moves(submitted(0.0, range(10)))
        told.samples([SampleRow(0.1, "", 0.0, 0.0, 0, True, 0, 0, 7, 0, 0)])
        assert frame(told, 0.2)["queues"]["agent_low"] == depth


# ---- strikes and events ----------------------------------------------------------------------------------------------


def test_a_strike_counts_what_was_in_hand_and_what_became_of_it() -> None:
    told = watched(10)
    told.notes([note(0.0, "worker_started", "w0.1"), note(0.0, "worker_started", "w1.1")])
    told.moves([*submitted(0.0, range(10)), *(move(0.5, task, P, R, "w1.1", 1) for task in range(4))])
    told.moves([move(0.5, 9, P, R, "w0.1", 1)])
    told.notes([note(1.0, "fault", detail="kill_worker worker 1")])
    told.moves([move(0.9, 0, R, C, "w1.1", 1)])  # done just before it: three are in hand
    told.moves([move(4.0, task, R, P, "", 1) for task in (1, 2, 3)])
    told.moves([m for task in (1, 2) for m in (move(5, task, P, R, "w0.1", 2), move(6, task, R, C, "w0.1", 2))])
    [strike] = frame(told, 7.0)["strikes"]
    assert strike == {
        **{"n": 1, "t": 1.0, "what": "kill_worker worker 1", "in_hand": 3, "reclaimed": 3, "ended": 2},
        **{"lost": 0, "doubled": 0, "over": False},
    }
    told.moves([move(8, 3, P, R, "w0.1", 2), move(9, 3, R, C, "w0.1", 2)])
    assert frame(told, 9.5)["strikes"][0]["over"]
    told.verified(1, 0)
    told.moves([move(10, 3, R, C, "w1.1", 1)])
    assert frame(told, 11)["strikes"][0] | {"lost": 1, "doubled": 1} == frame(told, 11)["strikes"][0]


def test_a_server_is_struck_with_all_that_runs_and_a_turned_knob_strikes_nobody() -> None:
    told = watched(10)
    told.moves([*submitted(0.0, range(10)), *(move(0.5, task, P, R, f"w{task % 2}.1", 1) for task in range(6))])
    told.notes([note(1.0, "fault", detail="redis_flush"), note(1.0, "fault", detail="change slots to 8")])
    assert frame(told, 1.1)["strikes"] == []  # what happened until then may still be on its way
    found = frame(told, 1.5)
    assert [(strike["what"], strike["in_hand"]) for strike in found["strikes"]] == [("redis_flush", 6)]


def test_what_happens_is_said_once_and_in_sums() -> None:
    told = watched(100)
    told.moves([*submitted(0.0, range(9)), *(move(0.5, task, P, R, "w0.1", 1) for task in range(9))])
    told.moves([move(1.0, task, R, D, "w0.1", 1) for task in range(5)])
    told.moves([move(1.1, 7, R, P, "", 1)])
    told.notes([note(1.0, "fault", detail="change rss_limit_mib to 64"), note(1.0, "gate_closed", "w0.1")])
    told.notes([note(1.2, "admission_closed"), note(1.3, "stale_write", "w0.1", 7), note(1.3, "no such kind")])
    found = frame(told, 1.5)
    assert [(event["n"], event["kind"], event["text"]) for event in found["events"]] == [
        (1, "fault", "rss limit mib set to 64"),
        (2, "gate", "worker w0.1 closed its gate: memory"),
        (3, "gate", "admission closed: new tasks wait at the producer"),
        (4, "dead", "5 tasks dead-lettered (0, 1, 2, …)"),
        (5, "note", "task 7 reclaimed: the lease lapsed"),
        (6, "check", "task 7 finished by a worker that had lost it: the late result was refused"),
    ]
    assert found["counts"]["stale_writes"] == 1
    assert frame(told, 1.6)["events"] == []


def test_a_frame_has_a_bound_however_much_happens() -> None:
    told = watched(10)
    told.notes([note(1.0, "gate_closed", f"w{place}.1") for place in range(1_000)])
    assert len(frame(told, 2.0)["events"]) == FRAME_EVENTS_MAX


# ---- a whole run -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> Record:
    """A run with retries, dead letters, a kill and a wiped Redis."""
    text = """
workload:
  arrivals: {kind: poisson, rate_per_s: 30, duration_s: 20}
  roles:
    ARCHITECT: {service: {dist: lognormal, mean_s: 0.4, cv: 0.5}, failure_rate: 0.3, permanent_share: 0.2}
    DEVELOPER: {service: {dist: lognormal, mean_s: 0.2, cv: 0.5}, failure_rate: 0.1}
mesh: {workers: 3, slots: 4}
rules: {lease: {length_s: 2}, retry: {base_s: 0.2}, health: {report_s: 0.25}}
faults: [{kind: kill_worker, at_s: 5, worker: 1}, {kind: redis_flush, at_s: 9}]
"""
    return simulate(Scenario.parse(text))


def told_in_steps(record: Record, step_s: float) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The last frame of a run that was told step by step, and its curves put together as a reader does."""
    told = Telemetry("model", Plan(record.scenario))
    table = record.transitions
    columns = (table[name].astype(str).tolist() for name in ("from", "to", "worker", "reason"))
    sources, ends, workers, reasons = columns
    numbers = zip(table["at_s"].tolist(), table["task"].tolist(), table["attempt"].tolist(), strict=True)
    moves = [
        Moved(at_s, task, source or None, to, worker, attempt, reason)
        for (at_s, task, attempt), source, to, worker, reason in zip(
            numbers, sources, ends, workers, reasons, strict=True
        )
    ]
    notes = [EventRow(*row) for row in record.events.itertuples(index=False)]
    samples = [SampleRow(*row) for row in record.samples.itertuples(index=False)]
    curves: dict[str, list[Any]] = {}
    last_s, t_s, found = -1.0, 0.0, dict[str, Any]()
    end_s = moves[-1].t_s + 3
    while t_s < end_s:
        told.notes(row for row in notes if last_s < row.t_s <= t_s)
        told.moves(row for row in moves if last_s < row.t_s <= t_s)
        told.samples(row for row in samples if last_s < row.t_s <= t_s)
        found = frame(told, t_s)
        bins = found["bins"]
        for name in ("throughput", "p50", "p95", "depth", "rss", "retries"):
            curves[name] = [*curves.get(name, [])[: bins["first"]], *bins[name]]
        last_s, t_s = t_s, t_s + step_s
    return found, curves


def test_a_whole_run_told_in_steps_adds_up_to_its_record(busy: Record) -> None:
    found, curves = told_in_steps(busy, 0.1)
    counts, figures = found["counts"], summary(busy)["tasks"]
    for name in ("submitted", "completed", "dead", "attempts", "retries", "reclaimed", "stale_writes"):
        assert counts[name] == figures[name], name
    assert (counts["pending"], counts["running"], counts["lost"], counts["doubled"]) == (0, 0, 0, 0)
    done_s = busy.tasks.loc[busy.tasks["state"] == C, "done_s"]
    per_bin = np.bincount((done_s / BIN_S).astype(int), minlength=len(curves["throughput"])) / BIN_S
    assert curves["throughput"][:-1] == pytest.approx(per_bin[: len(curves["throughput"]) - 1].tolist())
    assert sum(curves["retries"][:-1]) * BIN_S == figures["retries"]
    strikes = {strike["what"]: strike for strike in found["strikes"]}
    assert strikes["kill_worker worker 1"]["in_hand"] == strikes["kill_worker worker 1"]["reclaimed"] > 0
    assert all(strike["over"] and strike["lost"] == strike["doubled"] == 0 for strike in strikes.values())


def test_however_it_is_cut_into_steps_the_curves_are_the_same(busy: Record) -> None:
    fine, coarse = (told_in_steps(busy, step_s)[1] for step_s in (0.1, 1.0))
    for name in ("throughput", "depth", "retries", "p50"):
        length = min(len(fine[name]), len(coarse[name])) - 1
        assert fine[name][:length] == coarse[name][:length], name
