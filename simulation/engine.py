"""Run a scenario in virtual time: build the mesh, let it happen, hand over the record."""

from __future__ import annotations

import time
from collections.abc import Iterator

import simpy

from lab import profile as profiles
from lab import record as records
from lab.limits import PROGRESS_S
from lab.outcome import judge
from lab.patience import patience_s
from lab.progress import OnProgress, Progress, Stop, ignore, never
from lab.record import EventRow, Record, SampleRow, TransitionRow
from lab.scenario import Scenario
from lab.workload import Plan
from simulation.caretaker import Caretaker
from simulation.clock import Clock
from simulation.fleet import Fleet
from simulation.producer import Producer
from simulation.queues import Queues
from simulation.store import Store

EVENTS_PER_LOOK = 5_000
"""How many SimPy events pass between two looks at the wall clock (progress, cancel): a few hundredths of a second."""


def simulate(scenario: Scenario, *, on_progress: OnProgress = ignore, stop: Stop = never) -> Record:
    """The record of `scenario` in the model. The same scenario and seed give the same record in any process.

    `on_progress` is called a few times a second; when `stop` returns True the run ends early and its record says so.
    """
    started_at, started = records.now(), time.perf_counter()
    model = Model(Plan(scenario))
    interrupted = model.run(on_progress, stop)
    record = records.assemble(
        model.plan,
        "sim",
        model.transitions(),
        model.samples(),
        model.events(),
        run_id=records.new_run_id(scenario, "sim", started_at, records.nonce()),
        started_at=started_at,
        wall_s=time.perf_counter() - started,
        facts={
            "interrupted": interrupted,
            "stalled": model.stalled,
            "profile": model.profile.model_dump(),
            "order_slack_s": model.profile.claim_s,
        },
    )
    return judge(record)


class Model:
    """A mesh in virtual time. `clock` is a SimPy environment: a user's own processes may be added before it runs."""

    def __init__(self, plan: Plan) -> None:
        rules = plan.scenario.rules
        self.plan = plan
        self.profile = profiles.load(plan.scenario.profile, plan.scenario.base)
        self.clock = Clock()
        self.store = Store(self.clock, plan.count, rules.retry)
        self.queues = Queues(self.clock, rules.priority, plan.queue, self.store.since_s)
        self.fleet = Fleet(self.clock, plan, self.profile, self.store, self.queues)
        self.producer = Producer(self.clock, plan, self.profile, self.store, self.fleet)
        self.fleet.on_claimed = self.producer.room_made
        self.producer.start()
        self.caretaker = Caretaker(self.clock, plan, self.store, self.queues, self.fleet, self.producer)
        self.stalled = False
        self._patience_s = patience_s(rules)

    def run(self, on_progress: OnProgress = ignore, stop: Stop = never) -> bool:
        """Let it happen until every task has ended or none can move any more. Returns True if it was stopped before."""
        started = told = time.perf_counter()
        try:
            while not self._over():
                for _ in range(EVENTS_PER_LOOK):
                    self.clock.step()
                    if self._over():
                        break
                wall = time.perf_counter()
                if wall - told >= PROGRESS_S:
                    told = wall
                    on_progress(self._progress(wall - started))
                if stop():
                    return True
        except simpy.core.EmptySchedule:
            self.stalled = True
        on_progress(self._progress(time.perf_counter() - started))
        return False

    def transitions(self) -> Iterator[TransitionRow]:
        """The audit log, moments in whole microseconds."""
        return (row._replace(at_s=round(row.at_s, 6)) for row in self.store.log)

    def samples(self) -> Iterator[SampleRow]:
        """Memory, load and queue depths over time."""
        return (row._replace(t_s=round(row.t_s, 6)) for row in self.caretaker.samples)

    def events(self) -> Iterator[EventRow]:
        """Faults, gates, workers coming and going."""
        return (row._replace(t_s=round(row.t_s, 6)) for row in self.store.notes)

    def _over(self) -> bool:
        if self.producer.done and self.store.open == 0:
            return True
        self.stalled = self.clock.expected == 0 and self.clock.now >= self._last_moved_s + self._patience_s
        return self.stalled

    @property
    def _last_moved_s(self) -> float:
        return self.store.log[-1].at_s if self.store.log else float(self.plan.arrival_s[-1])

    def _progress(self, wall_s: float) -> Progress:
        ended = self.store.ended + self.producer.rejected
        return Progress("sim", ended, self.plan.count, self.clock.now, wall_s)
