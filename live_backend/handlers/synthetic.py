"""The work of a role without a handler in the standing mesh: as long, as heavy and as unreliable as the scenario says.

A run's tasks are drawn beforehand (`lab.workload.Plan`); those of a standing mesh come from outside. Their draws have
the same keys (seed, purpose, attempt, task), so the same task of the same scenario is the same work.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from lab import draws, traces
from lab.distributions import service_times
from lab.draws import Floats
from lab.limits import MIB, SERVICE_S_MAX
from lab.rules import retry
from lab.scenario import ConstantService, EmpiricalService, Role, Scenario
from lab.workload import Outcome
from live_backend import work
from live_backend.handlers.callables import timed_out
from live_backend.jobs import Failed, Job, Permanent

_stream = lru_cache(maxsize=1_024)(draws.stream)


class Synthetic:
    """One role's work."""

    def __init__(self, name: str, role: Role, scenario: Scenario, pool: ThreadPoolExecutor) -> None:
        self._role, self._seed, self._pool = role, scenario.seed, pool
        self._rules, self._memory_bytes = scenario.rules.retry, int(role.memory_mib * MIB)
        self._values = _values(name, role, scenario)
        # Once before the work begins: the first draw may load SciPy, which takes a third of a second.
        service_times(role.service, np.array([0.5]), self._values)
        fails = role.failure_rate > 0 or role.fail_first > 0
        self.is_nothing = role.service == ConstantService(dist="constant", mean_s=0.0) and not (
            fails or self._memory_bytes
        )
        """Whether there is nothing to do at all, whichever task it is."""

    async def do(self, job: Job) -> None:
        """Work. Raises Failed or Permanent, as drawn."""
        planned_s = self._service_s(job)
        work_s = retry.cut(planned_s, self._rules)
        await work.spend(work_s, work_s * self._role.cpu_share, self._memory_bytes, self._pool)
        if work_s < planned_s:
            raise timed_out(work_s)
        outcome = self._outcome(job, work_s)
        if outcome.failed:
            kind = Permanent if outcome.permanent else Failed
            raise kind(f"synthetic failure of role {job.role}, as its scenario says")

    def _outcome(self, job: Job, work_s: float) -> Outcome:
        role = self._role
        failed = job.attempt <= role.fail_first or self._happens("fails", role.failure_rate, job)
        return Outcome(work_s, failed, failed and self._happens("permanent", role.permanent_share, job))

    def _service_s(self, job: Job) -> float:
        """How long this attempt works, in whole microseconds as in a plan."""
        service = self._role.service
        if isinstance(service, ConstantService):
            return round(service.mean_s * 1e6) / 1e6
        seconds = service_times(service, np.array([self._roll("service", job)]), self._values)
        return round(float(seconds[0]) * 1e6) / 1e6

    def _happens(self, purpose: str, share: float, job: Job) -> bool:
        return share >= 1.0 or (share > 0.0 and self._roll(purpose, job) < share)

    def _roll(self, purpose: str, job: Job) -> float:
        return draws.uniform(_stream(self._seed, purpose, job.attempt), job.id)


def _values(name: str, role: Role, scenario: Scenario) -> Floats | None:
    """The sorted seconds of an empirical distribution."""
    if not isinstance(role.service, EmpiricalService):
        return None
    table = traces.read(scenario.base / role.service.path, f"workload.roles.{name}.service.path")
    return np.sort(table.numbers(role.service.column, role.service.factor, SERVICE_S_MAX))
