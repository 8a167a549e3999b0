"""How fast the model is: against the textbook twin, under overload, with everything on, against Ciw and salabim, and
with a calibrated profile against an ideal one.

    .venv/bin/python benchmarks/speed.py                    # everything: about ten minutes, nearly all of it the twin's
    .venv/bin/python benchmarks/speed.py twin everything    # only these tables
    .venv/bin/python benchmarks/speed.py profile            # what a calibrated profile costs: half a minute
    .venv/bin/python benchmarks/speed.py --rounds 5

All in one run on one machine, every timing in a process of its own, the engines in turn; the table gives medians.
Equal results come first: before any time is taken the twin must have made the very same transitions, and the peers the
very same waits from the same draws, or the benchmark ends there. What is timed is the run itself, with its audit log
kept, in processor seconds; plan, record and checks are not in it (benchmarks/memory.py has those).

Ciw and salabim belong to the benchmark alone: `.venv/bin/uv pip install -r requirements/bench.txt`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "simulation")]

from lab import Scenario  # noqa: E402
from lab.draws import Floats  # noqa: E402
from lab.moves import Moves  # noqa: E402
from lab.workload import Plan  # noqa: E402

MMC = """
name: mm8
seed: 2
workload:
  arrivals: {kind: poisson, rate_per_s: 6.4, count: 1}
  roles: {A: {service: {dist: exponential, mean_s: 1.0}}}
mesh: {workers: 1, slots: 8}
profile: ideal
rules: {health: {report_s: 60.0}}
"""
"""M/M/8 at ρ 0.8. Reports once a minute: no peer has any.

The seed matters to the comparison alone: time comes in whole microseconds, and in some of these plans one task of
200,000 arrives in the very microsecond in which a slot becomes free. Which of the two comes first is then anybody's
choice, the engines choose differently, and a few dozen tasks behind it trade places.
"""
RETRIES: dict[str, Any] = {
    "workload.arrivals.rate_per_s": 5.760576,  # λ_eff = λ (1 − p^A) / (1 − p) is then 6.4: ρ 0.8 with the retries
    "workload.roles.A.priority": {3: 0.2, 2: 0.3, 1: 0.5},
    "workload.roles.A.failure_rate": 0.1,
    "rules.retry": {"base_s": 0.25, "max_retries": 3, "jitter": 1.0},
}
"""Three priorities, retries with jittered backoff, dead letters: the model of reference 4."""
OVERLOAD: dict[str, Any] = {**RETRIES, "workload.arrivals.rate_per_s": 5.760576 * 1.3 / 0.8}
EVERYTHING: dict[str, Any] = {
    **RETRIES,
    "profile": "data/everything.yaml",
    "workload.arrivals.rate_per_s": 46.0,
    "workload.roles.A.memory_mib": 2.0,
    "mesh": {"workers": 8, "slots": 8},
    "rules.health": {"report_s": 1.0},
    "rules.lease": {"length_s": 7.0},
    "faults": [
        {"kind": "kill_worker", "at_s": 60.5, "worker": 2},
        {"kind": "pause_worker", "at_s": 121.9, "worker": 5, "for_s": 15.0},
    ],
}
"""Leases that lapse and are taken back, reports, RSS, costs of the machinery on loops and database."""


class Case(NamedTuple):
    """What is run: a scenario by its overrides, and how many tasks of it."""

    overrides: dict[str, Any]
    tasks: int


WIDE: dict[str, Any] = {"mesh": {"workers": 4, "slots": 50}, "rules.health.report_s": 1.0}
LOADS: dict[str, Case] = {
    "poisson": Case({**WIDE, "workload.arrivals.rate_per_s": 160.0}, 20_000),
    "no-op": Case(
        {
            **WIDE,
            "workload.arrivals": {"kind": "burst"},
            "workload.roles.A.service": {"dist": "constant", "mean_s": 0.0},
        },
        10_000,
    ),
    "everything": Case(EVERYTHING, 20_000),
}
"""200 slots at 80 %; tasks that do nothing, at once; and faults, retries and memory."""
PROFILES = ("ideal", "shipped")

CASES = {
    "mm8": Case({}, 200_000),
    "retries": Case(RETRIES, 200_000),
    "overload 20,000": Case(OVERLOAD, 20_000),
    "overload 40,000": Case(OVERLOAD, 40_000),
    "overload 80,000": Case(OVERLOAD, 80_000),
    "everything": Case(EVERYTHING, 20_000),
    **{
        f"{load}, {profile}": Case({**case.overrides, "profile": profile}, case.tasks)
        for load, case in LOADS.items()
        for profile in PROFILES
    },
}


def plan_of(case: str) -> Plan:
    """The task plan, with the draws of first attempts made: drawing is not what is timed."""
    overrides, tasks = CASES[case]
    scenario = Scenario.parse(MMC, base=ROOT / "benchmarks")
    plan = Plan(scenario.override({**overrides, "workload.arrivals.count": tasks}))
    for attempt in (1, 2, 3):
        plan.columns(attempt)
    return plan


# ---- the engines: each takes a plan and returns what it did and the processor seconds that this took -----------------


def fast(plan: Plan) -> tuple[Moves, float]:
    """Our engine."""
    from simulation.engine import Model

    model = Model(plan)
    started = time.process_time()
    model.run()
    moves = model.moves()
    return moves, time.process_time() - started


def long_way(plan: Plan) -> tuple[Moves, float]:
    """Our engine without its express lane."""
    from simulation import express

    express.is_clear = lambda *_: False
    return fast(plan)


def twin(plan: Plan) -> tuple[Moves, float]:
    """The textbook twin. Its clocks tick for ever, so it is told when to end: when our engine has."""
    from textbook import Textbook

    ends_s = float(fast(plan)[0].at_s[-1])
    model = Textbook(plan)
    started = time.process_time()
    model.env.run(until=ends_s + 1e-3)
    spent_s = time.process_time() - started
    return Moves.of(model.log), spent_s


def ciw_waits(plan: Plan) -> tuple[Floats, float]:
    """Ciw on the same arrivals and service times. Returns waits by task."""
    import ciw

    gaps, work = np.diff(plan.arrival_s, prepend=0.0).tolist(), list(plan.column("service", 1))
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")])],
        service_distributions=[ciw.dists.Sequential(work)],
        number_of_servers=[8],
    )
    model = ciw.Simulation(network)
    started = time.process_time()
    model.simulate_until_max_customers(plan.count, method="Finish")
    spent_s = time.process_time() - started
    records = sorted((one.arrival_date, one.waiting_time) for one in model.get_all_records())
    return np.array([wait for _, wait in records]), spent_s


def salabim_waits(plan: Plan) -> tuple[Floats, float]:
    """salabim on the same arrivals and service times, in its faster mode (generators). Returns waits by task."""
    import salabim as sim

    sim.yieldless(False)
    environment = sim.Environment(trace=False, random_seed=None)
    slots = sim.Resource("slots", capacity=8)
    arrival_s, work_s, waits = plan.arrival_s.tolist(), list(plan.column("service", 1)), np.empty(plan.count)

    class Task(sim.Component):  # type: ignore[misc]
        def process(self, number):  # type: ignore[no-untyped-def]
            yield self.request(slots)
            waits[number] = environment.now() - arrival_s[number]
            yield self.hold(work_s[number])

    class Source(sim.Component):  # type: ignore[misc]
        def process(self):  # type: ignore[no-untyped-def]
            for number, at_s in enumerate(arrival_s):
                yield self.hold(till=at_s)
                Task(number=number)

    Source()
    started = time.process_time()
    environment.run()
    return waits, time.process_time() - started


ENGINES: dict[str, Callable[[Plan], tuple[Any, float]]] = {
    "fast": fast,
    "long way": long_way,
    "twin": twin,
    "ciw": ciw_waits,
    "salabim": salabim_waits,
}


def waits_of(moves: Moves, plan: Plan) -> Floats:
    """Seconds from arrival to first claim, by task."""
    frame = moves.frame()
    return (frame[frame["reason"] == "claimed"].groupby("task")["at_s"].min() - plan.arrival_s).to_numpy()


# ---- equal results first ---------------------------------------------------------------------------------------------


def demand_equal_transitions(case: str) -> None:
    """End here if the twin does not make the very same transitions as the engine, on both of its ways."""
    plan = plan_of(case)
    theirs = _by_task(twin(plan)[0])
    for name in ("fast", "long way"):
        mine = _by_task(_fresh(name, plan))
        if not mine.equals(theirs):
            raise SystemExit(f"{case}: the {name} engine and the twin differ; nothing was timed")
    print(f"{case}: {len(theirs):,} transitions, the same in the engine (both ways) and in the twin")


def _fresh(name: str, plan: Plan) -> Moves:
    from simulation import express

    clear = express.is_clear
    try:
        return ENGINES[name](plan)[0]  # type: ignore[no-any-return]
    finally:
        express.is_clear = clear


def _by_task(moves: Moves) -> pd.DataFrame:
    frame = moves.frame().sort_values(["task", "token"], kind="stable", ignore_index=True)
    return frame.astype({"worker": str, "from": str, "to": str, "reason": str})


def demand_equal_waits(peer: str) -> None:
    """End here if a peer's waits are not ours, to the microsecond."""
    plan = plan_of("mm8")
    worst_s = np.abs(waits_of(fast(plan)[0], plan) - ENGINES[peer](plan)[0]).max()
    if worst_s > 2e-6:
        raise SystemExit(f"mm8: waits in the engine and in {peer} differ by up to {worst_s:g} s; nothing was timed")
    print(f"mm8: {plan.count:,} waits, the same in the engine and in {peer} (to {worst_s:.1g} s)")


# ---- timing ----------------------------------------------------------------------------------------------------------


def seconds(engine: str, case: str) -> float:
    """Processor seconds of one run in a fresh process."""
    command = [sys.executable, __file__, "--one", engine, case]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def medians(engines: list[str], case: str, rounds: int) -> dict[str, float]:
    """The engines in turn, so that a slow minute of the machine strikes all of them."""
    taken: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            taken[engine].append(seconds(engine, case))
    return {engine: statistics.median(spent) for engine, spent in taken.items()}


def table(case: str, spent: dict[str, float], base: str) -> None:
    """One line an engine: tasks a second, and how many times the base's."""
    tasks = CASES[case].tasks
    print(f"\n{case}: {tasks:,} tasks\n{'engine':12}{'seconds':>10}{'tasks/s':>12}{'× ' + base:>12}")
    for engine, s in spent.items():
        print(f"{engine:12}{s:10.3f}{tasks / s:12,.0f}{spent[base] / s:12.2f}")


def against_the_twin(rounds: int) -> None:
    """Three priorities, retries, dead letters, records kept."""
    demand_equal_transitions("retries")
    table("retries", medians(["twin", "long way", "fast"], "retries", rounds), "twin")


def under_overload(rounds: int) -> None:
    """ρ 1.3: does the time grow with the tasks, or with their square?"""
    sizes = [case for case in CASES if case.startswith("overload")]
    demand_equal_transitions(sizes[0])
    found = {case: medians(["twin", "fast"], case, 1 if case == sizes[-1] else rounds) for case in sizes}
    print(f"\noverload, ρ 1.3\n{'tasks':>8}{'twin s':>10}{'fast s':>10}{'fast µs/task':>14}{'× twin':>10}")
    for case, spent in found.items():
        tasks, ratio = CASES[case].tasks, spent["twin"] / spent["fast"]
        print(f"{tasks:8,}{spent['twin']:10.2f}{spent['fast']:10.3f}{1e6 * spent['fast'] / tasks:14.2f}{ratio:10.0f}")


def with_everything(rounds: int) -> None:
    """Leases, health, RSS, machinery."""
    demand_equal_transitions("everything")
    table("everything", medians(["twin", "fast"], "everything", rounds), "twin")


def with_a_profile(rounds: int) -> None:
    """Machinery that costs nothing, and what a calibration finds: `shipped` is one."""
    print(
        f"\nprofiles\n{'load':12}{'tasks':>8}" + "".join(f"{name + ', tasks/s':>19}" for name in PROFILES) + f"{'×':>8}"
    )
    for load, (_, tasks) in LOADS.items():
        taken = {name: list[float]() for name in PROFILES}
        for _ in range(rounds):
            for name in PROFILES:
                taken[name].append(seconds("fast", f"{load}, {name}"))
        spent = [statistics.median(taken[name]) for name in PROFILES]
        print(f"{load:12}{tasks:8,}" + "".join(f"{tasks / s:19,.0f}" for s in spent) + f"{spent[1] / spent[0]:8.1f}")


def against_peers(rounds: int) -> None:
    """M/M/8, which all of them can express."""
    peers = [peer for peer in ("ciw", "salabim") if find_spec(peer)]
    if not peers:
        print("\npeers: skipped; neither Ciw nor salabim is here: .venv/bin/uv pip install -r requirements/bench.txt")
        return
    for peer in peers:
        demand_equal_waits(peer)
    spent = medians(["fast", *peers], "mm8", rounds)
    table("mm8", spent, peers[0])


TABLES = {
    "twin": against_the_twin,
    "overload": under_overload,
    "everything": with_everything,
    "profile": with_a_profile,
    "peers": against_peers,
}


def main() -> None:
    """The tables that were asked for."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("tables", nargs="*", choices=[[], *TABLES], help="which tables; all of them if none is named")
    options.add_argument("--rounds", type=int, default=3, help="timings of each; the median counts")
    options.add_argument("--one", nargs=2, metavar=("ENGINE", "CASE"), help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.one:
        engine, case = asked.one
        print(json.dumps(ENGINES[engine](plan_of(case))[1]))
        return
    for name in asked.tables or TABLES:
        TABLES[name](asked.rounds)


if __name__ == "__main__":
    main()
