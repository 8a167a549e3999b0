"""The clock is a `simpy.Environment`: SimPy's own kind of programs run on it as they run on SimPy's, alone or beside a
model, and a model that is looked at, stopped or stepped through makes the same transitions as one that is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from simpy.core import EmptySchedule, StopSimulation

from lab import Scenario
from lab.faults import KillWorker
from lab.rules.lease import LeaseRules
from lab.rules.tasks import State
from lab.workload import Plan
from simulation import express, simulate
from simulation.automaton import CANCELLED
from simulation.clock import NEVER, Call, Clock
from simulation.engine import Model
from simulation.store import NOBODY
from tests.simulation.conftest import Build

Process = Generator[simpy.Event, Any, Any]
Log = list[tuple[float, str]]


# ---- the same programs on both ---------------------------------------------------------------------------------------


def shares_a_resource(env: simpy.Environment, log: Log) -> None:
    """Three cars and a pump; one of them gives up after 4 s (SimPy's bank renege)."""
    pump = simpy.Resource(env, capacity=1)

    def car(name: str, patience_s: float) -> Process:
        with pump.request() as turn:
            got = yield turn | env.timeout(patience_s)
            log.append((env.now, f"{name} {'served' if turn in got else 'gone'}"))
            if turn in got:
                yield env.timeout(5)

    for name, patience_s in (("a", 1), ("b", 4), ("c", 9)):
        env.process(car(name, patience_s))


def is_interrupted(env: simpy.Environment, log: Log) -> None:
    """A machine that breaks down twice while it works, with a repairman who is taken from other work (SimPy's shop)."""
    repairman = simpy.PreemptiveResource(env, capacity=1)

    def machine() -> Process:
        left_s = 10.0
        while left_s > 0:
            started_s = env.now
            try:
                yield env.timeout(left_s)
                left_s = 0.0
            except simpy.Interrupt as broken:
                left_s -= env.now - started_s
                log.append((env.now, f"{broken.cause}"))
                with repairman.request(priority=1) as turn:
                    yield turn
                    yield env.timeout(2)
        log.append((env.now, "made"))

    def other_work() -> Process:
        while True:
            with repairman.request(priority=2) as turn:
                yield turn
                try:
                    yield env.timeout(3)
                except simpy.Interrupt:
                    log.append((env.now, "called away"))

    def breaks(process: simpy.Process) -> Process:
        for number in (1, 2):
            yield env.timeout(3)
            process.interrupt(f"break {number}")

    env.process(other_work())
    env.process(breaks(env.process(machine())))


def hands_things_over(env: simpy.Environment, log: Log) -> None:
    """A store of two places, a container, and a wait for all of several events."""
    store, tank = simpy.Store(env, capacity=2), simpy.Container(env, capacity=10, init=1)

    def producer() -> Process:
        for item in range(4):
            yield store.put(item)
            yield tank.put(2)
            log.append((env.now, f"put {item}"))

    def consumer() -> Process:
        while True:
            yield env.timeout(1.5)
            item, _ = (yield env.all_of([store.get(), tank.get(3)])).values()
            log.append((env.now, f"got {item}"))

    env.process(producer())
    env.process(consumer())


def meets_at_one_moment(env: simpy.Environment, log: Log) -> None:
    """Whatever is due at one moment happens in the order in which it was scheduled; urgent things come first."""

    def writes(name: str) -> Process:
        log.append((env.now, f"{name} begins"))
        yield env.timeout(1)
        log.append((env.now, name))
        env.process(writes(f"{name}'")) if len(name) < 3 else None
        yield env.timeout(0)
        log.append((env.now, f"{name} again"))

    for name in "ab":
        env.process(writes(name))


@pytest.mark.parametrize("until", [None, 7.0, 100.0])
@pytest.mark.parametrize("program", [shares_a_resource, is_interrupted, hands_things_over, meets_at_one_moment])
def test_simpys_programs_run_as_they_run_on_simpy(
    program: Callable[[simpy.Environment, Log], None], until: float | None
) -> None:
    logs, ends = [], []
    for env in (simpy.Environment(), Clock()):
        log: Log = []
        program(env, log)
        env.run(until=until if until is not None else 30)
        logs.append(log)
        ends.append(env.now)
    assert logs[0] == logs[1] != []
    assert ends[0] == ends[1]


# ---- beside a model --------------------------------------------------------------------------------------------------

CROWD = {
    "workload.arrivals": {"kind": "constant", "rate_per_s": 4, "count": 80},
    "workload.roles.A": {"service": {"dist": "constant", "mean_s": 0.5}, "failure_rate": 0.3},
    "rules.retry": {"base_s": 0.25, "max_retries": 2},
    "mesh": {"workers": 2, "slots": 1},
}
"""Two slots, arrivals and ends at the same round moments, retries, dead letters: over after some 27 s."""


CALIBRATED = str(Path(__file__).with_name("calibrated_profile.yaml"))


@pytest.fixture(params=["by the express lane", "the long way", "with machinery that takes its time"])
def crowd(build: Build, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Model]:
    """Models of the same crowd."""
    if request.param == "the long way":
        monkeypatch.setattr(express, "is_clear", lambda plan, profile: False)
    costs = {"profile": CALIBRATED} if request.param == "with machinery that takes its time" else {}
    return lambda: Model(Plan(build().override({**CROWD, **costs})))


def alone(crowd: Callable[[], Model]) -> Model:
    model = crowd()
    model.run()
    assert not model.stalled
    return model


def assert_same_moves(one: Model, other: Model) -> None:
    assert one.transitions().astype(str).equals(other.transitions().astype(str))


def test_a_process_that_only_looks_changes_nothing(crowd: Callable[[], Model]) -> None:
    model, depths = crowd(), []

    def look() -> Process:
        while True:
            depths.append(sum(model.queues.depths()))
            yield model.clock.timeout(1)

    model.clock.process(look())
    model.run()
    assert max(depths) > 5
    assert_same_moves(model, alone(crowd))


def test_processes_with_resources_and_interrupts_of_their_own_change_nothing(crowd: Callable[[], Model]) -> None:
    model, log = crowd(), Log()
    for program in (shares_a_resource, is_interrupted, hands_things_over):
        program(model.clock, log)
    model.run()
    assert ("made" in dict(map(reversed, log))) and log == sorted(log, key=lambda entry: entry[0])  # type: ignore[arg-type]
    assert_same_moves(model, alone(crowd))


@pytest.mark.parametrize("until_s", [0.1, 0.5, 5.0, 5.05, 12.25])
def test_a_run_can_be_stopped_before_a_moment_and_goes_on(crowd: Callable[[], Model], until_s: float) -> None:
    """What happens at that very moment has not happened: at 5 s a task arrives, others end, and a report is due."""
    model = crowd()
    model.clock.run(until=until_s)
    assert model.clock.now == until_s
    assert model.producer.arrived == np.ceil(until_s * 4)  # the one of until_s itself is not among them
    assert model.store.moved_at_s < until_s
    model.run()
    assert_same_moves(model, alone(crowd))


def test_a_run_can_be_stopped_again_and_again(crowd: Callable[[], Model]) -> None:
    model = crowd()
    for until_s in np.arange(0.25, 60, 0.25).tolist():
        model.clock.run(until=until_s)
    assert_same_moves(model, alone(crowd))


def test_a_run_until_a_moment_after_the_models_end_reaches_that_moment(crowd: Callable[[], Model]) -> None:
    """As in SimPy: what a user wants to see an hour later happens, and a mesh that has come to rest has not stalled."""
    model, seen = crowd(), list[float]()

    def later() -> Process:
        yield model.clock.timeout(3600)
        seen.append(model.clock.now)

    model.clock.process(later())
    model.clock.run(until=4000)
    assert (model.clock.now, seen, model.stalled) == (4000, [3600], False)
    assert_same_moves(model, alone(crowd))


def test_a_run_until_an_event_returns_its_value(crowd: Callable[[], Model]) -> None:
    model = crowd()

    def half_done() -> Process:
        while model.store.ended < 40:
            yield model.clock.timeout(0.1)
        return model.clock.now

    process = model.clock.process(half_done())
    assert model.clock.run(until=process) == model.clock.now
    assert model.store.ended == 40
    assert model.clock.run(until=process) == process.value  # it has happened already
    model.run()
    assert_same_moves(model, alone(crowd))


def test_a_run_until_an_event_that_cannot_happen_says_so(crowd: Callable[[], Model]) -> None:
    model = crowd()
    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        model.clock.run(until=model.clock.event())
    assert model.store.ended == 80


def test_a_moment_that_has_passed_is_refused(crowd: Callable[[], Model]) -> None:
    model = crowd()
    model.clock.run(until=3)
    for until_s in (3, 1.5):
        with pytest.raises(ValueError, match=r"it is 3(\.0)? s already"):
            model.clock.run(until=until_s)


def test_a_run_until_nothing_in_particular_ends_with_the_model(crowd: Callable[[], Model]) -> None:
    model = crowd()
    model.clock.run()
    assert model.clock.now == model.store.moved_at_s
    assert_same_moves(model, alone(crowd))


def test_a_run_can_be_stepped_through_and_peek_tells_each_moment(crowd: Callable[[], Model]) -> None:
    model = crowd()
    with pytest.raises(StopSimulation):  # every task has ended
        while True:
            next_s = model.clock.peek()
            model.clock.step()
            assert model.clock.now == next_s
    assert_same_moves(model, alone(crowd))


def test_a_failure_in_a_users_process_reaches_the_caller(crowd: Callable[[], Model]) -> None:
    """With its own traceback, at its moment; the model can go on from there."""
    model = crowd()

    def fails() -> Process:
        yield model.clock.timeout(2.5)
        raise LookupError("my own mistake")

    model.clock.process(fails())
    with pytest.raises(LookupError, match="my own mistake") as caught:
        model.run()
    assert caught.traceback[-1].name == "fails"
    assert model.clock.now == 2.5
    model.run()
    assert_same_moves(model, alone(crowd))


def test_a_failure_that_another_process_handles_reaches_nobody(crowd: Callable[[], Model]) -> None:
    model, heard = crowd(), list[str]()

    def fails() -> Process:
        yield model.clock.timeout(2.5)
        raise LookupError("my own mistake")

    def handles() -> Process:
        try:
            yield model.clock.process(fails())
        except LookupError as error:
            heard.append(str(error))

    model.clock.process(handles())
    model.run()
    assert heard == ["my own mistake"]


def test_a_users_process_may_kill_and_cancel(crowd: Callable[[], Model]) -> None:
    """At 5.1 s worker 0 dies with the task that it runs, and everything that waits is cancelled."""
    model = crowd()
    lost, cancelled = list[int](), list[int]()

    def interfere() -> Process:
        yield model.clock.timeout(5.1)
        lost.extend(slot.task for slot in model.fleet.workers[0].held())
        model.faults.strike(KillWorker(kind="kill_worker", at_s=model.clock.now, worker=0))
        tasks = range(model.plan.count)
        cancelled.extend(task for task in tasks if model.store.move(task, CANCELLED, NOBODY).to is not None)

    model.clock.process(interfere())
    model.run()
    states = [standing.state for standing in model.store.standings]
    assert len(lost) == 1 and len(cancelled) > 5
    assert model.store.standings[lost[0]].token >= 2
    assert [task for task, state in enumerate(states) if state is State.CANCELLED] == cancelled
    assert None not in states and State.RUNNING not in states


def test_arrivals_come_before_ordinary_events_of_their_moment_and_after_urgent_ones(build: Build) -> None:
    """A task comes at 1 s. What is ordinary at 1 s finds it there, although it was scheduled long before; what SimPy
    calls urgent (interrupts, the beginning of a process, `until`) does not."""
    model = Model(Plan(build(workload__arrivals={"kind": "burst", "count": 1, "at_s": 1.0})))
    seen: list[tuple[Any, int]] = []

    def look(event: simpy.Event) -> None:
        seen.append((event.value, model.producer.arrived))

    for name, priority in (("ordinary", simpy.events.NORMAL), ("urgent", simpy.events.URGENT)):
        event = model.clock.event()
        event._ok, event._value = True, name
        event.callbacks.append(look)
        model.clock.schedule(event, priority, delay=1.0)
    model.clock.run(until=1.5)
    assert seen == [("urgent", 0), ("ordinary", 1)]


# ---- what the model asks of it ---------------------------------------------------------------------------------------


def test_calls_happen_in_the_order_of_their_moments_and_then_of_their_scheduling() -> None:
    clock, log = Clock(), Log()

    def write(name: str) -> None:
        log.append((clock.now, name))

    clock.call_after(2.0, write, "after 2, first")
    clock.call_after(1.0, write, "after 1")
    clock.call_after(2.0, write, "after 2, second")
    clock.put_first(Call(write, ("before all else at 2",)), 2.0)
    clock.later(0.0, write, "now")
    clock.at(-1.0, write, "long past, so now")
    clock.at(2.0, write, "at 2")
    clock.every(1.5, lambda: write("every 1.5"))
    clock.run(until=3.5)
    assert log == [
        (0.0, "now"), (0.0, "long past, so now"), (0.0, "every 1.5"), (1.0, "after 1"), (1.5, "every 1.5"),
        (2.0, "before all else at 2"), (2.0, "after 2, first"), (2.0, "after 2, second"), (2.0, "at 2"),
        (3.0, "every 1.5"),
    ]  # fmt: skip


def test_fed_moments_are_taken_in_between() -> None:
    clock, log = Clock(), Log()
    moments = iter([1.0, 1.0, 3.0, NEVER])

    def fed() -> float:
        log.append((clock.now, "fed"))
        return next(moments)

    clock.feed(0.5, fed)
    clock.call_after(1.0, lambda: log.append((clock.now, "called")))
    assert clock.peek() == 0.5
    clock.run()
    assert log == [(0.5, "fed"), (1.0, "fed"), (1.0, "fed"), (1.0, "called"), (3.0, "fed")]
    assert clock.peek() == NEVER
    with pytest.raises(EmptySchedule):
        clock.step()


@pytest.mark.parametrize(
    ("sweep_s", "not_before_s", "next_s"),
    [
        (1.0, 0.0, 0.0),
        (1.0, 0.1, 1.0),
        (1.0, 10.0, 10.0),
        (1.0, 10.0 + 1e-12, 10.0 + 1e-12),  # less than the grain of the moments: the same sweep, and never before it
        (0.3, 10.8, 10.8),  # 36 · 0.3, which is a little less in floating point
        (0.7, 2.2, 2.8),
    ],
)
def test_sweeps_are_whole_multiples_and_never_early(sweep_s: float, not_before_s: float, next_s: float) -> None:
    found_s = Clock().next_sweep(not_before_s, LeaseRules(sweep_s=sweep_s))
    assert found_s == pytest.approx(next_s, abs=1e-9)
    assert found_s >= not_before_s


# ---- what the documentation shows ------------------------------------------------------------------------------------


def test_extend_gets_the_model_before_anything_has_happened(build: Build) -> None:
    seen: list[tuple[float, int]] = []
    record = simulate(build(), extend=lambda model: seen.append((model.clock.now, model.producer.arrived)))
    assert seen == [(0.0, 0)]
    assert record.info["checks"]["ok"]


def test_the_examples_of_extending_md_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(root)
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "EXTENDING.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/EXTENDING.md", "exec"), {"__name__": "example"})
    first, *rest = capsys.readouterr().out.splitlines()
    ok, reclaimed, deepest = first.split()
    assert (ok, int(reclaimed) > 0, int(deepest) > 0) == ("True", True, True)
    transitions = len(simulate(Scenario.load(root / "scenarios" / "poison.yaml")).moves)
    assert rest == ["5.0 5 slots busy, next event at 5.0", f"{transitions} transitions"]
