"""The knobs of a modelled mesh, turned while it runs: what a `change` fault means here.

The failure rate is not among them: which attempts fail is the plan's to say (`lab.workload.Plan.outcome`).
"""

from __future__ import annotations

from lab.faults import Change
from lab.workload import Plan
from simulation.faults import Faults
from simulation.fleet import Fleet
from simulation.health import Health
from simulation.store import Store


class Knobs:
    """Turns each knob at its moment. `lab.changes` says the same of a whole scenario; a test holds them together."""

    def __init__(self, plan: Plan, store: Store, fleet: Fleet, health: Health, faults: Faults) -> None:
        self._rules = plan.scenario.rules
        self._store, self._fleet, self._health, self._faults = store, fleet, health, faults

    def turn(self, change: Change) -> None:
        """From now on it is as the change says."""
        match change.knob:
            case "workers":
                for worker in self._fleet.turn_places(int(change.value)):
                    self._faults.stop(worker)
            case "slots":
                self._fleet.turn_slots(int(change.value))
            case "retry_base_s":
                self._store.automaton.turn(self._rules.retry.model_copy(update={"base_s": change.value}))
            case "rss_limit_mib":
                self._health.turn(self._rules.health.model_copy(update={"rss_limit_mib": change.value}))
            case "failure_rate":
                pass  # in the plan: attempts that start from now on fail more often, or less
