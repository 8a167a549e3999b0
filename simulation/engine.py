"""Run a scenario in virtual time: build the mesh, let it happen, hand over the record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import pandas as pd
from simpy.core import EmptySchedule, StopSimulation

from lab import profile as profiles
from lab import record as records
from lab.limits import PROGRESS_S
from lab.moves import Moves
from lab.outcome import judge
from lab.patience import patience_s
from lab.profile import Profile
from lab.progress import OnProgress, Progress, Stop, ignore, never, noting
from lab.record import EventRow, Record
from lab.scenario import Scenario
from lab.workload import Plan
from simulation import express
from simulation.clock import Clock
from simulation.faults import Faults
from simulation.fleet import Fleet
from simulation.health import Health
from simulation.knobs import Knobs
from simulation.leases import Leases
from simulation.machinery import Machinery
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.store import Store

EVENTS_PER_LOOK = 50_000
"""How many events pass between two looks at the wall clock (progress, cancel): a few hundredths of a second."""


def simulate(
    scenario: Scenario,
    *,
    on_progress: OnProgress = ignore,
    stop: Stop = never,
    extend: Callable[[Model], object] | None = None,
    until_s: float = math.inf,
    profile: Profile | None = None,
) -> Record:
    """The record of `scenario` in the model. The same scenario and seed give the same record in any process.

    `on_progress` is called a few times a second; when `stop` returns True the run ends early and its record says so.
    What has not ended at `until_s` (seconds of the run) stays as it is, and the record says that it was interrupted.
    `profile` takes the place of the one that the scenario names.
    `extend` gets the model before anything has happened, and may add SimPy processes of its own (docs/EXTENDING.md).
    """
    started_at, started = records.now(), time.perf_counter()
    model = Model(Plan(scenario), profile)
    if extend is not None:
        extend(model)
    interrupted = model.run(on_progress, stop, until_s)
    facts = {
        "interrupted": interrupted,
        "stalled": model.stalled,
        "profile": model.profile.model_dump(mode="json"),
        "order_slack_s": round(model.fleet.claim_lag_s + model.fleet.push_lag_s, 6),
        "utilisation": model.machinery.utilisation(model.clock.now),
    }
    on_step = noting(on_progress, model.progress(time.perf_counter() - started))
    plan, moves, samples, events = model.plan, model.moves(), model.health.samples.frame(), list(model.events())
    del model  # its lists of tasks need not lie beside the record
    record = records.assemble(
        plan,
        "sim",
        moves,
        samples,
        events,
        run_id=records.new_run_id(scenario, "sim", started_at, records.nonce()),
        started_at=started_at,
        wall_s=time.perf_counter() - started,
        facts=facts,
        on_step=on_step,
    )
    return judge(record, on_step)


class Model:
    """A mesh in virtual time. `clock` is a SimPy environment: a user's own processes may be added to it, before the
    run and while `clock.run(until=…)` has stopped it.
    """

    def __init__(self, plan: Plan, profile: Profile | None = None) -> None:
        rules = plan.scenario.rules
        self.plan = plan
        self.profile = profile or profiles.load(plan.scenario.profile, plan.scenario.base)
        self.clock = Clock()
        self.store = Store(self.clock, plan.count, rules.retry)
        self.queues = Queues(self.clock, rules.priority, plan.queue, self.store.since_s)
        self.machinery = Machinery(self.clock, self.profile, plan.scenario.seed)
        self.fleet = Fleet(self.clock, plan, self.profile, self.machinery, self.store, self.queues)
        self.producer = Producer(self.clock, plan, self.profile, self.machinery, self.store, self.fleet)
        self.leases = Leases(self.clock, plan, self.store, self.queues, self.fleet)
        self.faults = Faults(self.clock, plan, self.store, self.queues, self.fleet, self.leases, self.producer)
        heart = self.machinery.beat, self.profile.report_lead_s, self.profile.look_s
        self.health = Health(self.clock, plan, self.store, self.queues, self.fleet, self.producer, *heart)
        self.faults.turn = Knobs(plan, self.store, self.fleet, self.health, self.faults).turn
        if express.is_clear(plan, self.profile):
            lane = (self.clock, plan, self.store, self.queues, self.fleet, self.producer)
            self.faults.before_strike = express.lay(*lane)
        self.stalled = False
        self._is_cut = False
        self._patience_s = patience_s(rules)
        self.clock.every(rules.health.report_s, self._look_for_a_stall)

    def run(self, on_progress: OnProgress = ignore, stop: Stop = never, until_s: float = math.inf) -> bool:
        """Let it happen until every task has ended or none can move any more. Returns True if it was stopped before, or
        has come to `until_s`.
        """
        started = told = time.perf_counter()
        if until_s < math.inf:
            self.clock.at(until_s, self._cut)
        try:
            while True:
                self.clock.advance(EVENTS_PER_LOOK)
                wall = time.perf_counter()
                if wall - told >= PROGRESS_S:
                    told = wall
                    on_progress(self.progress(wall - started))
                if stop():
                    return True
        except EmptySchedule:
            self.stalled = True
        except StopSimulation:
            pass  # every task has ended, or a stall was noticed
        on_progress(self.progress(time.perf_counter() - started))
        return self._is_cut

    def _cut(self) -> None:
        """Nobody waits for what has not ended yet."""
        self._is_cut = self.store.ended != self.store.stop_when
        self.clock.stop()

    def moves(self) -> Moves:
        """The audit log. The model is not to be run on afterwards."""
        return self.store.moves()

    def transitions(self) -> pd.DataFrame:
        """The same as a table, a row a transition. The model is not to be run on afterwards."""
        return self.moves().frame()

    def events(self) -> Iterator[EventRow]:
        """Faults, gates, workers coming and going."""
        return (row._replace(t_s=round(row.t_s, 6)) for row in self.store.notes)

    def _look_for_a_stall(self) -> None:
        """When nothing has moved for longer than any rule could take to move it, and nothing is to come, it is over."""
        last_s = self.store.moved_at_s or float(self.plan.arrival_s[-1])
        if self.clock.now >= last_s + self._patience_s and self.clock.idle:
            self.stalled = self.store.ended != self.store.stop_when
            self.clock.stop()

    def progress(self, wall_s: float) -> Progress:
        """How far the run has come, `wall_s` after its start by the wall clock."""
        ended = self.store.ended + self.producer.rejected
        return Progress("sim", ended, self.plan.count, self.clock.now, wall_s)
