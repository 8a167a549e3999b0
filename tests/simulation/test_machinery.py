"""What the machinery costs: batches, event loops and a database that saturate. Small cases to the millisecond."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lab import profile
from lab.profile import Cost, Profile
from lab.record import Record
from simulation import simulate
from simulation.clock import Clock
from simulation.machinery import Ease, Late, Line, Machinery, Server
from tests.simulation.conftest import Build, Run


def test_a_server_works_first_come_first_served() -> None:
    """One server: three works of 2 s that come at 0 end at 2, 4, 6. Two servers: at 2, 2, 4."""
    one, two = Server(Clock()), Server(Clock(), 2)
    assert [one.book(2.0) for _ in range(3)] == [2.0, 4.0, 6.0]
    assert [two.book(2.0) for _ in range(3)] == [2.0, 2.0, 4.0]
    assert (one.busy_s, two.busy_s) == (6.0, 6.0)


def test_a_batch_is_whatever_has_gathered() -> None:
    """Fixed 1 s on the loop, and 0.1 s a task in the database, then 0.5 s for nobody.

    Tasks 1 and 2 come in one instant and go together: 1 + 0.2 + 0.5 = 1.7. Tasks 3, 4 and 5, which come meanwhile, go
    together after them: 1.7 + 1 + 0.3 + 0.5 = 3.5.
    """
    clock, done = Clock(), list[tuple[float, list[int]]]()
    machinery = Machinery(clock, Profile(measured="made up"))
    cost = Cost(loop_s=1.0, database_task_s=0.1, wait_s=0.5)
    line = machinery.line(machinery.producer, [cost], lambda batch: done.append((clock.now, batch)))
    assert line is not None
    for task, at_s in ((1, 0.0), (2, 0.0), (3, 0.4), (4, 0.4), (5, 1.1)):
        clock.at(at_s, line.add, [task])
    clock.run()
    assert done == [(pytest.approx(1.7), [1, 2]), (pytest.approx(3.5), [3, 4, 5])]


def test_what_costs_nothing_is_not_there() -> None:
    clock = Clock()
    ideal = profile.load("ideal")
    assert ideal.is_free
    assert not any(Profile(measured="", **one).is_free for one in ({"timer_tick_s": 0.1}, {"timer_late_s": [0.1]}))
    assert Machinery(clock, ideal).line(Server(clock), [ideal.fetch, ideal.claim], print) is None


def test_one_tasks_way_through_the_machinery(run: Run) -> None:
    """Submit 0.1, fetch 0.02, claim 0.03, work 2, settle 0.05: PENDING at 0.1, RUNNING at 0.15, done at 2.2."""
    costs = "{submit: {wait_s: 0.1}, fetch: {loop_s: 0.02}, claim: {database_s: 0.03}, settle: {wait_s: 0.05}}"
    record = run(costs[1:-1].replace("}, ", "}\n"))
    assert record.transitions["at_s"].tolist() == pytest.approx([0.1, 0.15, 2.2])


@pytest.mark.parametrize(
    ("costs", "busiest", "rate"),
    [
        # Each task takes 10 ms of the one database (claim 4, settle 6): at most 100 a second, whatever the 40 slots do.
        ("claim: {database_task_s: 0.004}\nsettle: {database_task_s: 0.006}", "database", 100.0),
        # Two of them: 200 a second.
        (
            "claim: {database_task_s: 0.004}\nsettle: {database_task_s: 0.006}\ndatabase_servers: 2",
            "database",
            200.0,
        ),
        # 10 ms of its worker's loop, two workers: 200 a second.
        ("fetch: {loop_task_s: 0.004}\nsettle: {loop_task_s: 0.006}", "worker_loop_max", 200.0),
        # 5 ms of the producer's loop: it commits no more than 200 a second.
        ("submit: {loop_task_s: 0.005}", "producer", 200.0),
    ],
)
def test_the_machinery_says_where_the_backend_tops_out(run: Run, costs: str, busiest: str, rate: float) -> None:
    """Offered: 1,000 tasks a second of 10 ms on 2 × 20 slots, which could do 4,000."""
    record = run(
        costs,
        workload__arrivals={"kind": "constant", "rate_per_s": 1_000, "count": 2_000},
        workload__roles__A__service={"dist": "constant", "mean_s": 0.01},
        mesh__workers=2,
        mesh__slots=20,
    )
    assert record.info["summary"]["throughput_per_s"] == pytest.approx(rate, rel=0.03)
    assert max(record.info["utilisation"], key=record.info["utilisation"].get) == busiest
    assert record.info["utilisation"][busiest] > 0.95
    assert record.info["checks"]["ok"], record.info["checks"]["failed"]


def test_batches_make_a_fixed_cost_bearable(run: Run) -> None:
    """A claim that costs 10 ms whatever it brings would allow 100 tasks a second one by one; in batches of up to 20 the
    worker does far more.
    """
    record = run(
        "claim: {wait_s: 0.01}",
        workload__arrivals={"kind": "burst", "count": 2_000},
        workload__roles__A__service={"dist": "constant", "mean_s": 0.01},
        mesh__slots=20,
    )
    assert record.info["summary"]["throughput_per_s"] == pytest.approx(20 / (0.01 + 0.01), rel=0.1)


# ---- cores, loops and interpreters -----------------------------------------------------------------------------------


def machinery_of(clock: Clock, seed: int = 0, **values: Any) -> Machinery:
    return Machinery(clock, Profile(measured="made up", **values), seed)


def test_loops_and_the_database_share_the_cores() -> None:
    """One core: 2 s of one loop, 2 s of another and 1 s of the database end at 2, 4 and 5; two cores: at 2, 2 and 3."""
    for cores, ends in ((1, [2.0, 4.0, 5.0]), (2, [2.0, 2.0, 3.0])):
        machinery = machinery_of(Clock(), cores=cores, database_servers=7)
        first, second = machinery.new_worker_loop(), machinery.new_worker_loop()
        assert [first.book(2.0), second.book(2.0), machinery.database.book(1.0)] == ends
    free = machinery_of(Clock(), database_servers=1)
    assert [free.new_worker_loop().book(2.0), free.producer.book(2.0), free.database.book(1.0)] == [2.0, 2.0, 1.0]


def test_a_loop_does_one_thing_at_a_time_however_many_cores_there_are() -> None:
    loop = machinery_of(Clock(), cores=8).new_worker_loop()
    assert [loop.book(2.0), loop.book(3.0)] == [2.0, 5.0]


def test_what_the_system_works_aside_holds_a_core_and_nobody_waits_for_it() -> None:
    """Half as much again beside each piece, on one core: 2 s end at 2, but the core is free at 3; then 1 s ends at 4,
    and it is free at 4.5.
    """
    machinery = machinery_of(Clock(), cores=1, aside_share=0.5)
    first, second, third = (machinery.new_worker_loop() for _ in range(3))
    assert [first.book(2.0), second.book(1.0), third.book(1.0)] == [2.0, 4.0, 5.5]
    assert machinery.cores is not None
    assert machinery.cores.busy_s == pytest.approx(1.5 * 4.0)


@pytest.mark.parametrize(
    ("threads", "wakes", "ends_s"),
    [
        (0, 3.0, 0.001),  # nobody to get it back from
        (1, 0.0, 0.001),  # does not sleep on its way
        (1, 1.0, 0.006),  # 5 ms for the thread, then its own 1
        (2, 1.5, 0.016),  # 1.5 times 5 ms for each of two
    ],
)
def test_a_loop_waits_for_the_interpreter(threads: int, wakes: float, ends_s: float) -> None:
    loop = machinery_of(Clock(), switch_s=0.005).new_worker_loop()
    for _ in range(threads):
        loop.crowd.add(1.0, lambda: None)
    assert loop.book(0.001, wakes) == pytest.approx(ends_s)


def test_health_reports_take_their_share_of_the_cores() -> None:
    machinery = machinery_of(Clock(), cores=1, heartbeat_s=0.25)
    machinery.beat()
    assert machinery.new_worker_loop().book(1.0) == 1.25
    machinery_of(Clock(), heartbeat_s=0.25).beat()  # where cores have no limit nobody is kept waiting


# ---- lines: marks, and what is late ----------------------------------------------------------------------------------


def through(clock: Clock, costs: list[Cost], *comes: tuple[float, int]) -> list[float]:
    """When the batches are through that tasks make which come at these moments."""
    machinery, done = machinery_of(clock), list[float]()
    line: Line[int] | None = machinery.line(machinery.reaper, costs, lambda _: done.append(clock.now))
    assert line is not None
    for at_s, task in comes:
        clock.at(at_s, line.add, [task])
    clock.run()
    return done


@pytest.mark.parametrize(
    ("costs", "seen"),
    [
        # The mark stands after the first cost: 1 s; all is done after 3.
        ([Cost(wait_s=1.0), Cost(wait_s=2.0)], [(1.0, "mark", [7]), (3.0, "done", [7])]),
        # A cost may have several stages (1 s on the loop, 0.5 for nobody): the mark stands after all of them.
        ([Cost(loop_s=1.0, wait_s=0.5), Cost(wait_s=2.0)], [(1.5, "mark", [7]), (3.5, "done", [7])]),
        # What costs nothing has no stage, yet its mark is passed: before the second cost, or at the end.
        ([Cost(), Cost(wait_s=2.0)], [(0.0, "mark", [7]), (2.0, "done", [7])]),
        ([Cost(wait_s=2.0), Cost()], [(2.0, "mark", [7]), (2.0, "done", [7])]),
    ],
)
def test_a_mark_is_passed_between_two_costs(costs: list[Cost], seen: list[Any]) -> None:
    clock, told = Clock(), list[Any]()

    def tell(what: str, batch: list[int]) -> None:
        told.append((clock.now, what, batch))

    machinery = machinery_of(clock)
    line = machinery.line(machinery.reaper, costs, partial(tell, "done"), marks={1: partial(tell, "mark")})
    assert line is not None
    line.add([7])
    clock.run()
    assert told == seen


def test_only_a_line_that_was_idle_must_be_woken() -> None:
    """1 s, and 0.5 more to wake. The task of 0 ends at 1.5; that of 0.4 follows in its steps and ends at 2.5; by 5
    everybody sleeps again: 6.5. `late_s` (0.25) is there each time.
    """
    for late_s, ends in (([], [1.5, 2.5, 6.5]), ([0.25], [1.75, 3.0, 6.75])):
        clock = Clock()
        cost = Cost(wait_s=1.0, woken_late_s=[0.5], late_s=late_s)
        assert through(clock, [cost], (0.0, 1), (0.4, 2), (5.0, 3)) == pytest.approx(ends)


def test_one_wakes_once_though_a_cost_has_three_stages() -> None:
    """Loop 1, woken 0.5, database 2, wait 4: 7.5."""
    cost = Cost(loop_s=1.0, database_s=2.0, wait_s=4.0, woken_late_s=[0.5])
    assert through(Clock(), [cost], (0.0, 1)) == [7.5]


def test_lateness_is_drawn_from_its_quantiles_and_each_with_the_same_chance() -> None:
    """10,000 draws of ten quantiles: 1,000 each, give or take 4 standard deviations of √(10,000 · 0.1 · 0.9) = 30."""
    clock = Clock()
    late = Late(12345, [0.1 * one for one in range(10)], Ease(clock, None, 0.0))
    drawn = np.rint(10 * np.array([late.draw() for _ in range(10_000)])).astype(int)
    assert np.abs(np.bincount(drawn, minlength=10) - 1_000).max() < 4 * 30


def test_draws_are_keyed_by_what_they_are_for() -> None:
    """What other workers draw, and how many of them there are, does not move those of w0; another seed does."""
    spread_s = [0.001 * one for one in range(100)]

    def drawn(seed: int, *others: str) -> list[float]:
        machinery = machinery_of(Clock(), seed)
        mine, rest = machinery.late("w0.1/timer", spread_s), [machinery.late(name, spread_s) for name in others]
        assert mine is not None
        found = []
        for number in range(1_000):
            found += [mine.draw(), mine.of(number)]
            for other in rest:
                assert other is not None
                other.draw()
        return found

    alone = drawn(1)
    assert drawn(1, "w1.1/timer", "w2.1/timer") == alone
    assert drawn(2) != alone
    assert machinery_of(Clock()).late("w0.1/timer", []) is None


def test_waits_shrink_while_the_cores_are_at_work() -> None:
    """Two cores, and 80 % of a wait is gone when both work. Nothing is worked until 0.1: all is left. 0.1 s of work in
    the 0.2 core-seconds until 0.2: half, so 1 − 0.8 · 0.5 = 0.6. Then 0.2 of 0.2: 0.2. A hundredth of a second later it
    is not asked anew. More than there is counts as all there is; and when nothing is worked any more, all is left.
    """
    clock, seen = Clock(), list[float]()
    cores = Server(clock, 2)
    ease, indifferent = Ease(clock, cores, 0.8), Ease(clock, cores, 0.0)

    def look(work_s: float) -> None:
        cores.book(work_s)
        seen.append(ease.factor())
        assert indifferent.factor() == 1.0

    for at_s, work_s in ((0.1, 0.0), (0.2, 0.1), (0.3, 0.2), (0.31, 5.0), (0.5, 0.0), (0.7, 0.0)):
        clock.at(at_s, look, work_s)
    clock.run()
    assert seen == pytest.approx([1.0, 0.6, 0.2, 0.2, 0.2, 1.0])
    assert Ease(clock, None, 0.8).factor() == 1.0


# ---- what a worker does not know yet ---------------------------------------------------------------------------------

SLOW = """
submit: {wait_s: 0.1}
fetch: {wait_s: 0.1}
claim: {loop_s: 0.05, wait_s: 0.05}
begin: {wait_s: 0.2}
settle: {wait_s: 0.1}
reply: {database_s: 0.1, wait_s: 0.2}
due: {wait_s: 0.1}
cores: 2
"""


def test_the_work_begins_when_the_claim_is_heard_and_the_slot_is_free_when_the_verdict_is(run: Run) -> None:
    """One slot, two tasks of 2 s, both PENDING at 0.1. RUNNING at 0.3 by the log, begun at 0.5, over at 2.5, verdict at
    2.6. Heard at 2.9: the next is RUNNING at 3.1 and has its verdict at 3.1 + 0.2 + 2 + 0.1 = 5.4.
    """
    record = run(SLOW, workload__arrivals={"kind": "burst", "count": 2})
    moves = record.transitions.sort_values(["task", "at_s"])
    assert moves["at_s"].tolist() == pytest.approx([0.1, 0.3, 2.6, 0.1, 3.1, 5.4])
    assert record.info["checks"]["ok"], record.info["checks"]["failed"]
    assert set(record.info["utilisation"]) == {"producer", "reaper", "cores", "worker_loop_max"}


MOMENTS = {
    "while it is claimed": 0.25,
    "claimed, not begun": 0.4,
    "at work": 1.5,
    "verdict, slot not free yet": 2.75,
    "next batch, not begun": 3.25,
}


@pytest.mark.parametrize(
    ("fault", "retry"),
    [
        ({"kind": "kill_worker"}, "scheduled"),
        ({"kind": "stop_worker"}, "in_slot"),
        ({"kind": "pause_worker", "for_s": 0.3}, "scheduled"),  # wakes up in time
        ({"kind": "pause_worker", "for_s": 4.0}, "in_slot"),  # its leases lapse meanwhile
        ({"kind": "cut_worker", "server": "postgres", "for_s": 0.3}, "scheduled"),
    ],
)
def test_nothing_is_lost_whenever_a_worker_dies_or_freezes(run: Run, fault: dict[str, Any], retry: str) -> None:
    """At each moment of a task's way, on one slow worker with two slots; three tasks that fail at first."""
    for moment, at_s in MOMENTS.items():
        record = run(
            SLOW,
            workload__arrivals={"kind": "burst", "count": 3},
            workload__roles__A__fail_first=1,
            mesh__slots=2,
            rules__retry__wait=retry,
            rules__lease={"length_s": 1.0, "sweep_s": 0.25},
            rules__health__restart_after_s=0.5,
            faults=[{**fault, "worker": 0, "at_s": at_s}],
        )
        assert record.info["checks"]["ok"], (moment, record.info["checks"]["failed"])
        assert set(record.tasks["state"].astype(str)) == {"COMPLETED"}, moment
        assert not record.info["stalled"], moment


# ---- timers ----------------------------------------------------------------------------------------------------------


def test_timers_ring_at_the_ticks_of_their_process(run: Run) -> None:
    """Ticks of 0.1 s, work of 2.03 s: twenty ticks after the one in which it began, so what is claimed in one tick ends
    together; each process counts from a moment of its own.
    """
    record = run(
        "timer_tick_s: 0.1",
        workload__arrivals={"kind": "poisson", "rate_per_s": 30, "duration_s": 10},
        workload__roles__A__service={"dist": "constant", "mean_s": 2.03},
        mesh={"workers": 2, "slots": 100},
    )
    moves = record.transitions.assign(worker=record.transitions["worker"].astype(str))
    claims = moves[moves["reason"].astype(str) == "claimed"].set_index("task")
    ends = moves[moves["reason"].astype(str) == "succeeded"].set_index("task")["at_s"]
    phases = set()
    for _, mine in claims.groupby("worker"):
        own_ends = ends[mine.index]
        ticks = (own_ends - own_ends.iloc[0]) / 0.1
        assert np.allclose(ticks, np.rint(ticks), atol=1e-4)  # the log tells microseconds
        phase_s = own_ends.iloc[0] % 0.1
        phases.add(round(phase_s, 4))
        began = np.floor((mine["at_s"] - phase_s) / 0.1 + 1e-5)
        assert np.allclose(own_ends, phase_s + (began + 20) * 0.1, atol=1e-5)
        assert len(own_ends.round(6).unique()) < len(own_ends)
    assert len(phases) == 2


def test_a_late_timer_is_late_for_all_that_ends_in_its_tick(run: Run) -> None:
    costs = "timer_tick_s: 0.1\ntimer_late_s: [0.0, 0.01, 0.02, 0.03]"
    values = {"workload__arrivals": {"kind": "burst", "count": 50}, "mesh__slots": 50}
    record = run(costs, **values)
    assert record.tasks["done_s"].nunique() == 1
    assert run("timer_tick_s: 0.1", **values).tasks["done_s"].max() <= record.tasks["done_s"].min()


def test_timers_without_ticks_are_late_one_by_one(run: Run) -> None:
    """asyncio's own loop: work of 2 s ends at 2.01 or 2.03, and of fifty tasks not all at one of them."""
    values = {"workload__arrivals": {"kind": "burst", "count": 50}, "mesh__slots": 50}
    record = run("timer_late_s: [0.01, 0.03]", **values)
    assert set(record.tasks["done_s"].round(6)) == {2.01, 2.03}


def test_no_work_rings_no_timer(run: Run) -> None:
    values = {"workload__roles__A__service": {"dist": "constant", "mean_s": 0.0}}
    assert run("timer_tick_s: 0.1", **values).tasks["done_s"].tolist() == [0.0]


# ---- all of it together ----------------------------------------------------------------------------------------------


def test_the_same_run_from_the_same_seed_with_everything_that_a_profile_has(build: Build) -> None:
    """tests/simulation/calibrated_profile.yaml has every kind of cost that a calibration finds."""
    scenario = build(
        profile=str(Path(__file__).with_name("calibrated_profile.yaml")),
        workload__arrivals={"kind": "poisson", "rate_per_s": 60, "duration_s": 5},
        workload__roles={
            "A": {"service": {"dist": "exponential", "mean_s": 0.05}, "failure_rate": 0.1, "memory_mib": 8},
            "B": {"service": {"dist": "exponential", "mean_s": 0.02}, "cpu_share": 0.5, "fail_first": 1},
        },
        mesh={"workers": 3, "slots": 4},
        faults=[{"kind": "kill_worker", "worker": 1, "at_s": 2.0}],
    )
    first, second = simulate(scenario), simulate(scenario)
    other = simulate(scenario.override({"seed": scenario.seed + 1}))
    assert moves_of(first) == moves_of(second) != moves_of(other)
    for record in (first, other):
        assert record.info["checks"]["ok"], record.info["checks"]["failed"]
        assert set(record.tasks["state"].astype(str)) <= {"COMPLETED", "PERMANENT_FAILURE"}
        assert 0 < record.info["utilisation"]["cores"] < 1


def moves_of(record: Record) -> str:
    return str(pd.util.hash_pandas_object(record.transitions.astype(str)).sum())


# ---- when the producer and the samples hear of the fleet -------------------------------------------------------------


def test_workers_report_in_a_rhythm_of_their_own(run: Run) -> None:
    """Every second; the last time before the start was 0.3 s ago, so next at 0.7."""
    values = {"rules__health__report_s": 1.0, "workload__roles__A__service": {"dist": "constant", "mean_s": 3.0}}
    assert run("report_lead_s: 0.3", **values).samples["t_s"].drop_duplicates().tolist() == pytest.approx(
        [0.7, 1.7, 2.7]
    )
    assert run("", **values).samples["t_s"].drop_duplicates().tolist()[:3] == [0.0, 1.0, 2.0]


def test_held_tasks_come_in_when_the_producer_looks(run: Run) -> None:
    """At most one may wait; one slot, works of 0.7 s that end at 0.7, 1.4 and so on. Without looks each claim lets the
    next in at once; with a look every 0.5 s the next one comes in at a multiple of it.
    """
    values = {
        "workload__arrivals": {"kind": "burst", "count": 5},
        "workload__roles__A__service": {"dist": "constant", "mean_s": 0.7},
        "rules__admission": {"max_pending": 1},
    }
    for costs, step_s in (("", 0.7), ("look_s: 0.5", 0.5)):
        moves = run(costs, **values).transitions
        came = moves[moves["reason"].astype(str) == "submitted"]["at_s"].to_numpy()
        assert np.allclose(came / step_s, np.rint(came / step_s), atol=1e-5)
        assert len(came) == 5
        assert came.max() > 0
