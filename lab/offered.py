"""The load that a scenario offers to its mesh: how busy the slots are, and how long the mesh remembers.

Read off a finished run, because how many attempts a task takes follows from many rules (retries, budgets, deadlines)
and from nothing simpler than having run them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.demand import moments
from lab.queueing import relaxation_s
from lab.record import Record
from lab.scenario import Constant, EmpiricalService, Poisson, Scenario


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the slots, the machinery's own costs left out."""

    slots: int
    held_s: float
    """Seconds that an attempt holds its slot, on average."""
    busy: float
    """ρ: the share of the slots that would be busy if there were enough of them."""
    variability: float
    """(ca² + cs²) / 2 of the gaps between arrivals and of the work: 1 for M/M/c, 1/2 for M/D/c."""

    @property
    def relaxation_s(self) -> float:
        """Seconds in which the mesh forgets its past by a factor e.

        That of the M/M/c of this load, times the variability where it is more than 1 (a queue in heavy traffic forgets
        in proportion to it: Whitt, Management Science 35, 1989), and never less than the work of one attempt.
        """
        return max(relaxation_s(self.slots, 1 / self.held_s, self.busy) * max(1.0, self.variability), self.held_s)


def offered(record: Record, scenario: Scenario) -> Load | None:
    """The load of a run whose tasks come at one rate; None if they do not, or if nothing was ever worked on.

    The rate and the work of each role are the scenario's, the number of attempts is the record's; so is the work where
    the scenario does not say it (it comes from a file, or a timeout cuts it).
    """
    arrivals = scenario.workload.arrivals
    attempts = int(record.tasks["attempts"].sum())
    if not isinstance(arrivals, Poisson | Constant) or attempts == 0:
        return None
    mean_s, mean_square = _work(record, scenario)
    if mean_s == 0:
        return None
    held_s = mean_s
    if scenario.rules.retry.wait == "in_slot":
        held_s += float(record.tasks["backoff_s"].sum()) / attempts
    slots = scenario.mesh.workers * scenario.mesh.slots
    attempts_per_s = arrivals.rate_per_s * attempts / len(record.tasks)
    of_gaps = 1.0 if isinstance(arrivals, Poisson) else 0.0
    of_work = max(0.0, mean_square / mean_s**2 - 1)
    return Load(slots, held_s, attempts_per_s * held_s / slots, (of_gaps + of_work) / 2)


def _work(record: Record, scenario: Scenario) -> tuple[float, float]:
    """Mean (s) and mean square (s²) of the work of an attempt, each role counted by its attempts."""
    tasks = record.tasks
    by_role = tasks["attempts"].groupby(tasks["role"], observed=True).sum()
    services = [scenario.workload.roles[str(name)].service for name in by_role.index]
    if scenario.rules.retry.timeout_s is not None or any(isinstance(one, EmpiricalService) for one in services):
        worked = tasks[tasks["attempts"] > 0]
        each = (worked["service_s"] / worked["attempts"]).to_numpy(dtype=np.float64)
        return float(each.mean()), float((each**2).mean())
    mean_s, cv2 = np.array([moments(service) for service in services]).T
    weights = by_role.to_numpy()
    return float(np.average(mean_s, weights=weights)), float(np.average(mean_s**2 * (1 + cv2), weights=weights))
