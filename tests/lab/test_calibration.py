"""Calibration: costs from timings, waits from steps, and a profile that predicts what it was not fitted to.

The model with a profile that nobody tells the calibration stands in for the machine: what it should find is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import calibration, calibration_run, metrics
from lab import calibration_probes as probes
from lab import profile as profiles
from lab.calibration import OPERATIONS, Measured, Straight, Timing, profile_of
from lab.calibration_run import Bench, calibrate
from lab.calibration_steps import quantiles_s, steps_of, turnarounds
from lab.errors import Interrupted
from lab.limits import MIB
from lab.profile import Cost, Profile
from lab.progress import Progress, ignore, never
from lab.record import EventRow, Record, SampleRow
from lab.scenario import Scenario
from lab.workload import Plan
from simulation import simulate

Make = Callable[..., Record]
MACHINE = profiles.load(str(Path(__file__).parents[1] / "simulation" / "calibrated_profile.yaml"))


# ---- a line through points -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "fixed_s", "task_s"),
    [
        ([(1, 1.1), (10, 2.0), (100, 11.0)], 1.0, 0.1),  # points on a line
        ([(1, 3.0), (5, 3.0)], 3.0, 0.0),
        ([(1, 2.0), (4, 8.0)], 0.0, 2.0),
        # A line through these falls: a task costs at least nothing, and f is the least of (f/2 − 1)² + (f/1 − 1)²:
        # f (1/4 + 1) = 1/2 + 1.
        ([(1, 2.0), (10, 1.0)], 1.2, 0.0),
        # Through these it would start below 0: t is the least of (t/1 − 1)² + (10 t/20 − 1)²: t (1 + 1/4) = 1 + 1/2.
        ([(1, 1.0), (10, 20.0)], 0.0, 1.2),
        # In proportion: 1 off at 400 counts as little as a hundredth at 4. (f/3 − 1)² + (f/6 − 1)² + … with t = 0.
        ([(1, 3.0), (1, 6.0)], 3.6, 0.0),
    ],
)
def test_a_straight_cost(points: list[tuple[int, float]], fixed_s: float, task_s: float) -> None:
    found = Straight.through(points)
    if len({batch for batch, _ in points}) == 1:  # nobody can tell the parts of a single size
        assert found.fixed_s + found.task_s == pytest.approx(fixed_s)
    else:
        assert (found.fixed_s, found.task_s) == pytest.approx((fixed_s, task_s), abs=1e-9)


def test_what_took_no_time_costs_nothing() -> None:
    found = Straight.through([(1, 0.0), (400, 0.0)])
    assert 0 <= found.fixed_s + 400 * found.task_s < 1e-6


# ---- steps of a record -----------------------------------------------------------------------------------------------

RETRIED = [
    (0.1, "submitted"), (0.3, "claimed"), (1.5, "failed"), (3.6, "due"), (3.9, "claimed"), (5.0, "succeeded"),
]  # fmt: skip
PLAIN = [(0.2, "submitted"), (0.4, "claimed"), (1.6, "succeeded")]
RECLAIMED = [(0.2, "submitted"), (0.3, "claimed"), (10.5, "lease lapsed"), (11.0, "claimed"), (12.5, "succeeded")]


def plan_of(record: Record) -> Plan:
    return Plan(Scenario.from_data(record.info["scenario"]))


def test_steps_of_a_record(make: Make) -> None:
    """All arrive at 0; work takes 1 s; the backoff of the first attempt is 2 s. After a lapsed lease a task has waited
    for its slot, so that claim tells nothing of the machinery.
    """
    record = make(RETRIED, PLAIN, RECLAIMED)
    steps = {name: took.round(9).tolist() for name, took in steps_of(record, plan_of(record)).items()}
    del steps["again"]
    assert steps == {
        "submit": [0.1, 0.2, 0.2],
        "intake": [0.2, 0.3, 0.2, 0.1],  # 0.3 − 0.1, 3.9 − 3.6; 0.4 − 0.2; 0.3 − 0.2
        "settle": [0.2, 0.1, 0.2, 0.5],  # 1.2, 1.1; 1.2; 1.5, less 1 each
        "due": [0.1],  # 3.6 − 1.5 − 2
    }


def test_a_verdict_makes_room_for_a_claim(make: Make) -> None:
    """Two slots: the first verdict (1.0) makes room for the third claim (1.2), the second (1.3) for the fourth (1.6);
    after the others there is nothing left to claim. A single slot: every claim after the first follows a verdict.
    """
    ways = [(0.0, 1.0), (0.0, 1.3), (1.2, 2.3), (1.6, 2.7)]
    two = make(*([(0.0, "submitted"), (a, "claimed"), (b, "succeeded")] for a, b in ways), settings={"mesh.slots": 2})
    assert turnarounds(two) == pytest.approx([0.2, 0.3])
    ways = [(0.0, 1.0), (1.1, 2.1), (2.4, 3.4)]
    one = make(*([(0.0, "submitted"), (a, "claimed"), (b, "succeeded")] for a, b in ways), settings={"mesh.slots": 1})
    assert turnarounds(one) == pytest.approx([0.1, 0.3])
    assert len(turnarounds(make(PLAIN))) == 0


def test_quantiles_stand_in_the_middle_of_their_parts() -> None:
    """Four of 0, 1, 2, 3, 4: at 1/8, 3/8, 5/8 and 7/8 of the way from 0 to 4."""
    assert quantiles_s(np.arange(5.0), 4) == pytest.approx([0.5, 1.5, 2.5, 3.5])
    straggler = np.array([*np.zeros(999), 60.0])
    assert quantiles_s(straggler, 101).max() == 0.0


# ---- memory, and a process that starts -------------------------------------------------------------------------------


def report(t_s: float, worker: str, rss_mib: float, active: int = 0, cpu: float = 0.0) -> SampleRow:
    return SampleRow(t_s, worker, int(rss_mib * MIB), cpu, active, True, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("left_mib", "found_mib"), [(1.5, 1.5), (0.05, 0.0)])
def test_what_a_process_weighs_and_what_tasks_leave_behind(make: Make, left_mib: float, found_mib: float) -> None:
    """Base 70 MiB. Tasks hold 20 and leave 1.5, so RSS is 70 at first, 90 with one at work, 71.5 after it, 91.5 with
    the next, 73 after both. Less than a twentieth of the 20 is none.

    The first process is gone at 4.0, its heir is there half a second later by the rule and claims at 5.25: it took
    0.75 s to start.
    """
    way = [(0.0, "submitted"), (1.0, "claimed"), (2.0, "succeeded")]
    way_2 = [(0.0, "submitted"), (2.1, "claimed"), (3.0, "succeeded")]
    way_3 = [(0.0, "submitted"), (5.25, "claimed"), (6.25, "succeeded")]
    rss = [(0.5, 0, 0), (1.5, 1, 0), (2.05, 0, 1), (2.5, 1, 1), (3.5, 0, 2)]
    holding = make(
        way,
        way_2,
        way_3,
        settings={"workload.roles.A.memory_mib": 20, "rules.health.restart_after_s": 0.5},
        edit=lambda rows: [row._replace(worker="w0.2" if row.at_s > 4 else "w0.1" if row.at_s else "") for row in rows],
        samples=[report(t_s, "w0.1", 70 + 20 * active + left_mib * ended, active) for t_s, active, ended in rss],
        events=[EventRow(4.0, "worker_left", "w0.1", -1, "killed")],
    )
    idle = [report(0.25 * beat, "w0.1", 70.0, cpu=0.04) for beat in range(1, 5)]
    late = make(way, settings={"rules.health.report_s": 0.25, "workload.arrivals.at_s": 1.5}, samples=idle)
    found = memory_of(late, holding)
    assert found.memory.base_mib == 70.0
    assert found.memory.garbage_per_task_mib == pytest.approx(found_mib, abs=1e-3)
    assert (found.memory.touch_s_per_mib, found.memory.drop_s_per_mib) == (0.0003, 0.00004)
    assert found.worker_start_s == pytest.approx(0.75)
    assert found.heartbeat_s == pytest.approx(0.04 * 0.25)  # 4 % of a core, four times a second


def memory_of(light: Record, holding: Record) -> Profile:
    measured = Measured((), 0.0003, 0.00004, {"light": [light], "busy": [light], "holding": [holding]})
    return calibration._with_memory(Profile(measured="by hand"), measured)


@pytest.mark.parametrize(("seeds", "noise"), [([16], None), ([16, 16], 0.0), ([16, 17, 18], "spread")])
def test_how_far_a_machine_is_from_itself(seeds: list[int], noise: float | str | None) -> None:
    """Of one run nobody knows. Of several: from the least to the most, as a share of their mean."""
    runs = [on(MACHINE, probes.probe(probes.CHECK, seed=seed, workload__arrivals__duration_s=1)) for seed in seeds]
    p50 = [metrics.summary(one)["latency_s"]["p50"] for one in runs]
    found = calibration._off(runs, runs[0])["latency_s.p50"]
    assert found["error"] == pytest.approx(p50[0] / np.mean(p50) - 1, abs=1e-4)
    spread = (max(p50) - min(p50)) / np.mean(p50)
    assert found.get("noise") == (pytest.approx(spread, abs=1e-4) if noise == "spread" else noise)


@pytest.mark.parametrize(("closes_at_s", "given_back_mib"), [(1.0, 13.0), (None, 0.0)])
def test_what_a_process_gives_back_when_its_gate_closes(
    make: Make, closes_at_s: float | None, given_back_mib: float
) -> None:
    """Base 89 MiB, tasks of 40. At 1 s one is there, 129, and the gate closes: from then on 116 with one, 76 with none,
    so that 13 of the 89 were slack. At 1.8 s the next is half filled, 96: one report in three, the median does not
    hear of it. A gate that never closes gives nothing back.
    """
    rss = [(0.5, 89, 0), (1.0, 129, 1), (1.2, 116, 1), (1.4, 76, 0), (1.8, 96, 1)]
    closing = make(
        [(0.0, "submitted"), (0.9, "claimed"), (1.9, "succeeded")],
        settings={"workload.roles.A.memory_mib": 40},
        samples=[report(t_s, "w0.1", mib, active) for t_s, mib, active in rss],
        events=[EventRow(closes_at_s, "gate_closed", "w0.1", -1, "")] if closes_at_s else [],
    )
    assert calibration._slack_bytes([closing], 89.0 * MIB) == given_back_mib * MIB


# ---- a machine that is known -----------------------------------------------------------------------------------------

SIZES: dict[str, dict[str, Any]] = {  # the same probes, as short as they can be and still tell something
    "light": {"workload__arrivals__until_s": 5.0},
    "busy": {"workload__arrivals__count": 400},
    "drain": {"workload__arrivals__count": 1_500},
    "crowd": {"workload__arrivals__count": 2_000},
    "brisk": {"workload__arrivals__duration_s": 1},
    "computing": {},
    "holding": {},
    "closing": {},
    "check": {"workload__arrivals__duration_s": 4},
}
UNSEEN = """
name: unseen
description: No probe is like it. Bursty, of two roles, three workers, failures.
seed: 99
workload:
  arrivals: {kind: poisson, rate_per_s: 150, duration_s: 5}
  roles:
    A: {service: {dist: exponential, mean_s: 0.04}, failure_rate: 0.1}
    B: {service: {dist: constant, mean_s: 0.09}}
mesh: {workers: 3, slots: 4}
rules: {retry: {base_s: 0.05}}
"""


def timings_of(machine: Profile) -> Iterator[Timing]:
    """What one would time on it, by batch size. It knows the producer's database work as one sum: a third of it is the
    row's, the rest the push's.
    """
    own = {name: getattr(machine, name) for name in OPERATIONS}
    none = Cost()
    servers = {"submit": machine.push, "push": machine.push, "fetch": machine.fetch}
    servers |= {"claim": machine.begin, "settle": machine.reply}
    part = {"submit": 1 / 3, "push": 2 / 3}
    for name in OPERATIONS:
        for batch in (1, 5, 20, 100, 400):
            mine, theirs = own[name], servers.get(name, none)
            server_s = part.get(name, 1.0) * (theirs.database_s + batch * theirs.database_task_s)
            own_s = mine.loop_s + batch * mine.loop_task_s
            yield Timing(name, batch, (own_s + server_s,), own_s, server_s)


def bench_of(machine: Profile) -> Bench:
    facts = {"processor": "the model", "cores": machine.cores}
    memory, cores = machine.memory, machine.cores or 1
    tick_s = machine.timer_tick_s
    return Bench(tuple(timings_of(machine)), memory.touch_s_per_mib, memory.drop_s_per_mib, tick_s, cores, facts)


def model(scenario: Scenario, profile: Profile) -> Record:
    return simulate(scenario, profile=profile)


def on(machine: Profile, scenario: Scenario, **_: Any) -> Record:
    return simulate(scenario, profile=machine)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short probes in the place of the real ones, and fewer answers tried."""
    monkeypatch.setattr(calibration, "WAKES", (0.0, 1.0, 2.0, 4.0))
    texts = {text: partial(probes.probe, text, **SIZES[name]) for name, (text, _) in calibration_run.PROBES.items()}
    monkeypatch.setattr(probes, "probe", lambda text: texts[text]())
    monkeypatch.setattr(calibration_run, "ORDER", tuple(calibration_run.PROBES))


def figures_of(record: Record) -> dict[str, float]:
    told = metrics.summary(record)
    return {
        "throughput": told["throughput_per_s"],
        **{point: told["latency_s"][point] for point in ("p50", "p95", "p99")},
    }


@pytest.mark.usefixtures("quick")
def test_it_predicts_what_it_was_not_fitted_to() -> None:
    seen: list[Progress] = []
    found = calibrate(lambda: bench_of(MACHINE), partial(on, MACHINE), model, seen.append, never)

    truth, told = (figures_of(model(Scenario.parse(UNSEEN), one)) for one in (MACHINE, found))
    off = {name: told[name] / truth[name] - 1 for name in truth}
    free = figures_of(model(Scenario.parse(UNSEEN), profiles.load("ideal")))
    assert max(map(abs, off.values())) < 0.03, off
    assert abs(free["p50"] / truth["p50"] - 1) > 0.045, "a scenario on which the machinery does not show tests nothing"

    assert found.submit.loop_s == pytest.approx(MACHINE.submit.loop_s, rel=1e-3)
    assert found.begin.database_task_s == pytest.approx(MACHINE.begin.database_task_s, rel=1e-3)
    assert found.claim.loop_task_s == pytest.approx(MACHINE.claim.loop_task_s, abs=2e-6)
    assert found.aside_share == pytest.approx(MACHINE.aside_share, abs=0.05)
    assert (found.claim.wakes, found.settle.wakes) == (MACHINE.claim.wakes, MACHINE.settle.wakes)
    assert found.memory.base_mib == MACHINE.memory.base_mib
    assert found.worker_start_s == pytest.approx(MACHINE.worker_start_s, abs=0.12)  # up to a tenth until a task comes
    assert (found.cores, found.timer_tick_s) == (2, 0.001)
    assert found.measured_at is not None and "the model, 2 cores" in found.measured
    assert set(found.fit) == set(calibration_run.PROBES)
    assert abs(found.fit["check"]["latency_s.p50"]["error"]) < 0.04
    assert "noise" not in found.fit["check"]["latency_s.p50"]  # of one repeat nobody knows

    fractions = [one.fraction for one in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0 < fractions[-1] < 1.0
    assert [one.note for one in seen][:2] == ["timing the operations", "probe 1 of 9: light"]
    assert seen[-1].note == "fitting"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("after", [1, 3])
def test_who_stops_it_gets_no_profile(after: int) -> None:
    """Ctrl-C during a probe."""
    ran: list[str] = []

    def run_live(scenario: Scenario, stop: Callable[[], bool]) -> Record:
        ran.append(scenario.name)
        return model(scenario, MACHINE)

    with pytest.raises(Interrupted, match="still in use"):
        calibrate(lambda: bench_of(MACHINE), run_live, model, ignore, lambda: len(ran) >= after)
    assert len(ran) == after


@pytest.mark.usefixtures("quick")
def test_a_probe_that_says_that_it_was_interrupted_ends_it() -> None:
    def run_live(scenario: Scenario, **_: Any) -> Record:
        record = model(scenario, MACHINE)
        return replace(record, info={**record.info, "interrupted": True})

    with pytest.raises(Interrupted):
        calibrate(lambda: bench_of(MACHINE), run_live, model, ignore, never)


@pytest.mark.usefixtures("quick")
def test_it_can_be_stopped_while_it_fits() -> None:
    tried: list[str] = []

    def counting(scenario: Scenario, profile: Profile) -> Record:
        tried.append(scenario.name)
        return model(scenario, profile)

    with pytest.raises(Interrupted):
        calibrate(lambda: bench_of(MACHINE), partial(on, MACHINE), counting, ignore, lambda: len(tried) >= 2)
    assert len(tried) == 2


def test_where_the_servers_are_out_of_sight_half_of_what_is_left_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim of 5 ms, 1 of them ours: 2 are the database's, whatever the size of the batch."""
    timings = [Timing(name, batch, (0.004, 0.005, 0.009), 0.001, None) for name in OPERATIONS for batch in (1, 100)]
    machine = Profile(measured="nothing is late", cores=2)
    needed = {"light": probes.LIGHT, "busy": probes.BUSY, "holding": probes.HOLDING, "computing": probes.COMPUTING}
    live = {name: [model(probes.probe(text, **SIZES[name]), machine)] for name, text in needed.items()}
    monkeypatch.setattr(calibration, "PASSES", 0)
    monkeypatch.setattr(calibration, "WAKES", (0.0,))
    found = profile_of(Measured(tuple(timings), 0.0, 0.0, live, cores=2), model, "by hand")
    assert found.claim.loop_s == pytest.approx(0.001)
    assert found.begin.database_s == pytest.approx(0.002)
    assert found.begin.database_task_s == pytest.approx(0.0, abs=1e-9)
