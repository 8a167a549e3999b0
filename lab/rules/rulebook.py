"""All rules in one typed, frozen object. A scenario carries one; both engines ask nothing else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lab.rules.admission import AdmissionRules
from lab.rules.base import Rules
from lab.rules.deadline import DeadlineRules
from lab.rules.health import HealthRules
from lab.rules.lease import LeaseRules
from lab.rules.priority import PriorityRules
from lab.rules.retry import RetryRules
from lab.rules.shutdown import ShutdownRules
from lab.rules.view import ViewRules

PresetName = Literal["lab", "agent-mesh-published", "go-distributed-queue-published"]


class Rulebook(Rules):
    """The values of every rule. `preset` names the set that the values started from."""

    preset: PresetName = Field("lab", description="The named set of values that this rulebook starts from.")
    priority: PriorityRules = PriorityRules()
    retry: RetryRules = RetryRules()
    deadline: DeadlineRules = DeadlineRules()
    lease: LeaseRules = LeaseRules()
    health: HealthRules = HealthRules()
    admission: AdmissionRules = AdmissionRules()
    shutdown: ShutdownRules = ShutdownRules()
    view: ViewRules = ViewRules()

    @property
    def attempts_max(self) -> int:
        """The most executions a task may have before an operator steps in."""
        return self.retry.max_retries + 1
