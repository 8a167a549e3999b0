"""Threads that compute share an interpreter, and processes share cores: processor sharing, worked out by hand; and
what comes of it in a run.
"""

from __future__ import annotations

from functools import partial

import pytest

from simulation.clock import Clock
from simulation.computing import Computing
from tests.simulation.conftest import Run

Comes = tuple[int, float, float]
"""Which process, when (s), and how much of the processor the thread needs (s)."""


def nothing() -> None:
    """Nobody waits for it."""


def ends_of(cores: int | None, threads: list[Comes]) -> list[float]:
    """When each thread is done."""
    clock = Clock()
    computing = Computing(clock, cores)
    crowds = [computing.crowd() for _ in range(1 + max(process for process, _, _ in threads))]
    ends = [0.0] * len(threads)

    def done(number: int) -> None:
        ends[number] = clock.now

    for number, (process, at_s, work_s) in enumerate(threads):
        clock.at(at_s, crowds[process].add, work_s, partial(done, number))
    clock.run()
    assert not any(crowd.busy for crowd in crowds)
    assert computing.share == 1.0
    return ends


@pytest.mark.parametrize(
    ("cores", "threads", "ends"),
    [
        # Alone: as long as it needs.
        pytest.param(None, [(0, 0, 10)], [10], id="one"),
        # Half each until the short one has its 4, at 8; then the long one, which has 4 too, gets its other 6 alone.
        pytest.param(None, [(0, 0, 10), (0, 0, 4)], [14, 8], id="two"),
        # The first has 2 when the second comes; both have 2 more at 6; the first then needs 6 alone.
        pytest.param(None, [(0, 0, 10), (0, 2, 2)], [12, 6], id="one comes later"),
        # A third each until 3; half each until 3 + 2 · 2; then alone for 3 more.
        pytest.param(None, [(0, 0, 1), (0, 0, 3), (0, 0, 6)], [3, 7, 10], id="three of different length"),
        # Equal ends are one moment.
        pytest.param(None, [(0, 0, 3), (0, 0, 3)], [6, 6], id="equal ends"),
        # A process that nothing computes in gives nothing away: the second thread begins from nothing.
        pytest.param(None, [(0, 0, 1), (0, 5, 2)], [1, 7], id="empty for a while"),
        pytest.param(None, [(0, 0, 0)], [0], id="no work"),
        # Processes do not share an interpreter.
        pytest.param(None, [(0, 0, 10), (1, 0, 4)], [10, 4], id="two processes"),
        pytest.param(2, [(0, 0, 10), (1, 0, 4)], [10, 4], id="two processes, two cores"),
        # Three on two cores get 2/3 each: 6 / (2/3) = 9.
        pytest.param(2, [(0, 0, 6), (1, 0, 6), (2, 0, 6)], [9, 9, 9], id="three processes, two cores"),
        # 2 / (2/3) = 3; the others have 2 by then, and a core each for their other 4.
        pytest.param(2, [(0, 0, 6), (1, 0, 6), (2, 0, 2)], [7, 7, 3], id="one of three is done"),
        # One core: 2 alone, then half each: the late one needs 1, so until 4; the first has 3 by then, and 1 to go.
        pytest.param(1, [(0, 0, 4), (1, 2, 1)], [5, 4], id="one core, one comes later"),
        # One core for two processes: 1/2 each, and in the first 1/4 a thread. At 4 the first two have 1 each and are
        # done, the third has 2; alone it gets its other 1.
        pytest.param(1, [(0, 0, 1), (0, 0, 1), (1, 0, 3)], [4, 4, 5], id="two threads beside one"),
    ],
)
def test_when_threads_are_done(cores: int | None, threads: list[Comes], ends: list[float]) -> None:
    assert ends_of(cores, threads) == pytest.approx(ends)


def test_equal_ends_are_told_in_the_order_in_which_they_came() -> None:
    clock, told = Clock(), list[str]()
    crowd = Computing(clock, None).crowd()
    for name in ("first", "second", "third"):
        crowd.add(1.0, partial(told.append, name))
    clock.run()
    assert (clock.now, told) == (pytest.approx(3.0), ["first", "second", "third"])


def test_who_is_told_may_compute_again_at_once() -> None:
    """1 s, and then another one."""
    clock, ends = Clock(), list[float]()
    crowd = Computing(clock, 1).crowd()
    crowd.add(1.0, lambda: crowd.add(1.0, lambda: ends.append(clock.now)))
    clock.run()
    assert ends == [2.0]


@pytest.mark.parametrize(
    ("works_s", "others", "patience_s", "waits_s"),
    [
        # Nobody holds the interpreter.
        ([], 0, 0.005, 0.0),
        # Each of k threads holds it for its whole turn.
        ([1.0], 0, 0.005, 0.005),
        ([1.0, 1.0, 1.0], 0, 0.005, 0.015),
        # But none holds it once it is done: 1 + 2 ms are left of both.
        ([0.001, 0.002], 0, 0.005, 0.003),
        # On a single core that another process shares, what is left takes twice as long; a turn is a turn.
        ([0.001, 0.002], 1, 0.005, 0.006),
        ([1.0], 1, 0.005, 0.005),
    ],
)
def test_how_long_a_loop_waits_for_its_interpreter(
    works_s: list[float], others: int, patience_s: float, waits_s: float
) -> None:
    computing = Computing(Clock(), 1)
    crowd = computing.crowd()
    for work_s in works_s:
        crowd.add(work_s, nothing)
    for _ in range(others):
        computing.crowd().add(1.0, nothing)
    assert crowd.keeps_waiting_s(patience_s) == pytest.approx(waits_s)


def test_what_is_left_shrinks_while_time_passes() -> None:
    """Two threads of 10 ms: at 12 ms they have 6 each, and 8 together are left."""
    clock, seen = Clock(), list[float]()
    crowd = Computing(clock, None).crowd()
    for _ in range(2):
        crowd.add(0.010, nothing)
    clock.at(0.012, lambda: seen.append(crowd.keeps_waiting_s(1.0)))
    clock.run()
    assert seen == [pytest.approx(0.008)]


def test_threads_die_with_their_process() -> None:
    """One core, two processes: half each. At 2 one of them is killed; the other has 1 by then, and 3 to go alone."""
    clock, ends = Clock(), dict[str, float]()

    def done(name: str) -> None:
        ends[name] = clock.now

    computing = Computing(clock, 1)
    killed, other = computing.crowd(), computing.crowd()
    killed.add(10.0, partial(done, "killed"))
    other.add(4.0, partial(done, "other"))
    clock.at(2.0, killed.end)
    clock.run()
    assert ends == {"other": pytest.approx(5.0)}
    assert (killed.busy, computing.share) == (0, 1.0)
    killed.end()  # there is nobody left to end


# ---- work that computes, and memory that is filled -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpu_share", "workers", "slots", "cores", "ends"),
    [
        # Tasks of 2 s. Two in one process that compute all the time get half the interpreter each: 4 s.
        (1.0, 1, 2, "", [4.0, 4.0]),
        # Half the time: 1 s each is computed by 2.0, when the timer rings anyway.
        (0.5, 1, 2, "", [2.0, 2.0]),
        # Three quarters: 1.5 s each, by 3.0: it outlasts the service.
        (0.75, 1, 2, "", [3.0, 3.0]),
        # Processes of their own, on cores of their own; and on a single core.
        (1.0, 2, 1, "cores: 2", [2.0, 2.0]),
        (1.0, 2, 1, "cores: 1", [4.0, 4.0]),
        # Three processes on two cores: 2 / (2/3).
        (1.0, 3, 1, "cores: 2", [3.0, 3.0, 3.0]),
    ],
)
def test_work_that_computes_may_outlast_its_time(
    run: Run, cpu_share: float, workers: int, slots: int, cores: str, ends: list[float]
) -> None:
    record = run(
        cores,
        workload__arrivals={"kind": "burst", "count": len(ends)},
        workload__roles__A__cpu_share=cpu_share,
        mesh={"workers": workers, "slots": slots},
    )
    assert record.tasks["done_s"].tolist() == pytest.approx(ends)


def test_a_killed_process_gives_its_core_back(run: Run) -> None:
    """One core, two tasks of 4 s that compute: half each. One worker dies at 2; the other has 1 by then, and needs 3
    more alone.
    """
    record = run(
        "cores: 1",
        workload__arrivals={"kind": "burst", "count": 2},
        workload__roles__A__service={"dist": "constant", "mean_s": 4.0},
        workload__roles__A__cpu_share=1.0,
        mesh__workers=2,
        rules__lease={"length_s": 30.0, "sweep_s": 1.0},
        rules__health__restart_after_s=None,
        faults=[{"kind": "kill_worker", "worker": 0, "at_s": 2.0}],
    )
    assert record.tasks["done_s"].min() == pytest.approx(5.0)
    assert record.info["checks"]["ok"]


@pytest.mark.parametrize(
    ("workers", "pauses", "ends"),
    [
        # Alone: 4 s of work, and stopped for 3 of them.
        (1, [(1.0, 3.0)], [7.0]),
        # One core, half each: both have 1 at 2. While the first is stopped the other has the core, and gets its other 3
        # by 5; then the first gets its own 3.
        (2, [(2.0, 3.0)], [8.0, 5.0]),
        # Until 4 only: the other has 3 by then, and both share until it is done at 6; the first needs 2 more then.
        (2, [(2.0, 2.0)], [8.0, 6.0]),
        # Stopped once more while it is stopped: the first signal to go on counts.
        (1, [(1.0, 3.0), (2.0, 3.0)], [7.0]),
    ],
)
def test_the_threads_of_a_stopped_process_stand_still(
    run: Run, workers: int, pauses: list[tuple[float, float]], ends: list[float]
) -> None:
    """SIGSTOP stops all threads of a process, and the cores are the others' meanwhile."""
    record = run(
        "cores: 1",
        workload__arrivals={"kind": "burst", "count": workers},
        workload__roles__A__service={"dist": "constant", "mean_s": 4.0},
        workload__roles__A__cpu_share=1.0,
        mesh__workers=workers,
        rules__lease={"length_s": 30.0, "sweep_s": 1.0},
        faults=[{"kind": "pause_worker", "worker": 0, "at_s": at_s, "for_s": for_s} for at_s, for_s in pauses],
    )
    assert record.tasks["done_s"].tolist() == pytest.approx(ends)
    assert record.info["checks"]["ok"], record.info["checks"]["failed"]


def test_a_stopped_process_may_be_killed() -> None:
    """One core, half each. The first is stopped at 1, with 0.5 done, and killed at 2: the other has 0.5 + 1 by then,
    and its other 0.5 at 2.5. What is added to a stopped process waits too.
    """
    clock, ends = Clock(), list[float]()
    computing = Computing(clock, 1)
    stopped, other = computing.crowd(), computing.crowd()
    stopped.add(4.0, lambda: ends.append(-1.0))
    other.add(2.0, lambda: ends.append(clock.now))
    clock.at(1.0, stopped.freeze, True)
    clock.at(1.5, stopped.add, 1.0, nothing)
    clock.at(2.0, stopped.end)
    clock.run()
    assert ends == [pytest.approx(2.5)]
    assert computing.share == 1.0


@pytest.mark.parametrize(
    ("memory_mib", "costs", "done_s"),
    [
        # 4 MiB on the loop, 40 ms: the timer rings at 20, but the verdict needs the loop: 40 + 1.
        (4, "touch_s_per_mib: 0.01", 0.041),
        # 8 MiB in a thread, 80 ms: it outlasts the work.
        (8, "touch_s_per_mib: 0.01", 0.081),
        # Work of 20 ms and filling together: 1 MiB takes 10 of them.
        (1, "touch_s_per_mib: 0.01", 0.021),
        # To give 4 MiB back, once the loop is done with filling them, takes it 40 more: 80 + 1.
        (4, "touch_s_per_mib: 0.01, drop_s_per_mib: 0.01", 0.081),
        # In a thread until 80, then 80 of the loop, and 1.
        (8, "touch_s_per_mib: 0.01, drop_s_per_mib: 0.01", 0.161),
    ],
)
def test_memory_is_filled_on_the_loop_or_in_a_thread(run: Run, memory_mib: int, costs: str, done_s: float) -> None:
    record = run(
        f"settle: {{loop_s: 0.001}}\nmemory: {{{costs}}}",
        workload__roles__A__service={"dist": "constant", "mean_s": 0.02},
        workload__roles__A__memory_mib=memory_mib,
    )
    assert record.tasks["done_s"].tolist() == pytest.approx([done_s])
