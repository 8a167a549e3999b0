"""What a run of the model shows up to a moment, without a record: for studies that make hundreds of runs."""

from __future__ import annotations

from typing import Final

from lab.progress import Stop
from lab.recovery import Flow
from lab.scenario import Scenario
from lab.workload import Plan
from simulation.engine import Model

LOOKS: Final = 100
"""How many times a run looks whether it has been stopped."""


def observe(scenario: Scenario, until_s: float, stop: Stop) -> Flow:
    """When tasks came, were tried and completed until `until_s` (seconds of the run); less if `stop` says so."""
    plan = Plan(scenario)
    model = Model(plan)
    over = model.clock.event()

    def end() -> None:
        if not over.triggered:
            over.succeed()

    def look() -> None:
        if stop():
            end()

    model.clock.call_after(until_s, end)
    model.clock.every(until_s / LOOKS, look)
    model.clock.run(until=over)
    return Flow.of(plan, model.moves())
