"""What a worker does with a task that it has claimed: the planned work of a run, or the user's work of a standing mesh.

Both answer with what the rulebook needs to judge the attempt, and know nothing of stores and queues.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from lab import draws, faults
from lab.rules import deadline
from lab.scenario import Scenario
from lab.workload import Plan
from live_backend import work
from live_backend.store import Claim, patience_s
from live_backend.workshop import Failed, Job, Permanent, Workshop


class Ended(NamedTuple):
    """How an attempt ended. `result` is JSON; `late_s` and `twice` are faults of the message that says so."""

    failed: bool = False
    permanent: bool = False
    result: str | None = None
    error: str | None = None
    late_s: float = 0.0
    twice: bool = False


DONE = Ended()


class Work(Protocol):
    """The work of a mesh."""

    async def start(self) -> None:
        """Get ready, before the first task. Raises UsageError for work that cannot be done here."""

    async def do(self, claim: Claim) -> Ended:
        """Work on a claimed task. A cancellation passes through."""

    def jitter_roll(self, task: int, attempt: int) -> float:
        """The draw for the jitter of the backoff after that attempt, in [0, 1)."""

    def patience_s(self, task: int, attempt: int) -> float | None:
        """How long the client waits for that attempt to start; None: for ever."""

    async def close(self) -> None:
        """The end."""


class PlannedWork:
    """The tasks of a run, as its plan has them. Roles with a handler do real work; the plan says when it comes."""

    def __init__(self, plan: Plan, place: int, run_s: Callable[[], float], schema: str) -> None:
        self._place, self._run_s = place, run_s
        self._stale_from_s = math.inf
        self._grown = asyncio.Event()
        self.follow(plan)
        self._pool = ThreadPoolExecutor(min(32, plan.scenario.mesh.slots), thread_name_prefix="work")
        self._wastes = plan.scenario.rules.deadline.wastes
        self._offered = OfferedWork(plan.scenario, f"{schema}-") if _has_handlers(plan.scenario) else None

    def follow(self, plan: Plan) -> None:
        """From now on the tasks are those of this plan: the same as before, and more."""
        plan.column("service", 1)  # before it is needed: the first draw may load SciPy, a third of a second
        self._plan, self._faults = plan, plan.scenario.faults
        self._stale_from_s = math.inf
        waited_for, self._grown = self._grown, asyncio.Event()
        waited_for.set()

    def expect_growth(self, from_s: float) -> None:
        """The plan is stale from a moment of the run on: attempts that start then wait for the next `follow`."""
        self._stale_from_s = from_s

    async def start(self) -> None:
        """See Work."""
        if self._offered:
            await self._offered.start()

    async def do(self, claim: Claim) -> Ended:
        """See Work."""
        started_s = self._run_s()
        while started_s >= self._stale_from_s or claim.id >= self._plan.count:
            await self._grown.wait()
            started_s = self._run_s()
        ended = await self._worked(claim, started_s)
        if self._faults:
            ended_s = self._run_s()
            late_s = faults.completion_delay_s(self._faults, ended_s)
            ended = ended._replace(late_s=late_s, twice=faults.is_delivered_twice(self._faults, ended_s))
        if self._wastes and deadline.has_left(claim.waited_s, self._plan.patience_s(claim.id, claim.task.attempt)):
            return ended._replace(failed=True)
        return ended

    async def _worked(self, claim: Claim, started_s: float) -> Ended:
        """The work itself: the handler's, or as planned. A poisonous task ends this process on the way."""
        task, plan = claim.id, self._plan
        kills_after_s = faults.kills_after_s(self._faults, task, started_s)
        if self._offered and self._offered.workshop.handles(claim.role):
            with _dying(kills_after_s):
                return await self._offered.do(claim)
        outcome = plan.outcome(task, claim.task.attempt, started_s, self._place)
        await work.do(plan, task, min(outcome.work_s, kills_after_s), self._pool)
        if kills_after_s <= outcome.work_s:
            _die()
        return DONE if not outcome.failed else Ended(failed=True, permanent=outcome.permanent)

    def jitter_roll(self, task: int, attempt: int) -> float:
        """See Work."""
        return self._plan.jitter_roll(task, attempt)

    def patience_s(self, task: int, attempt: int) -> float | None:
        """See Work."""
        return patience_s(self._plan, task, attempt)

    async def close(self) -> None:
        """See Work."""
        if self._offered:
            await self._offered.close()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _dying(after_s: float) -> Iterator[None]:
    """A block in which this process dies after so long, if it is still in it."""
    if after_s == math.inf:
        yield
        return
    death = asyncio.get_running_loop().call_later(after_s, _die)
    try:
        yield
    finally:
        death.cancel()


class OfferedWork:
    """Tasks that clients submit, done by the handlers of their roles."""

    def __init__(self, scenario: Scenario, key_scope: str = "") -> None:
        self.workshop = Workshop(scenario, key_scope=key_scope)
        self._seed = scenario.seed

    async def start(self) -> None:
        """See Work."""
        await self.workshop.start()

    async def do(self, claim: Claim) -> Ended:
        """See Work."""
        job = Job(claim.id, claim.role, claim.priority, claim.task.attempt, claim.task.token, claim.payload)
        try:
            result = await self.workshop.do(job)
        except Permanent as error:
            return Ended(failed=True, permanent=True, error=str(error))
        except Failed as error:
            return Ended(failed=True, error=str(error))
        return DONE if result is None else Ended(result=result)

    def jitter_roll(self, task: int, attempt: int) -> float:
        """See Work."""
        return draws.uniform(draws.stream(self._seed, "jitter", attempt), task)

    def patience_s(self, task: int, attempt: int) -> float | None:
        """See Work. Clients of a standing mesh wait for ever; they may cancel."""
        return None

    async def close(self) -> None:
        """See Work."""
        await self.workshop.close()


def _has_handlers(scenario: Scenario) -> bool:
    return any(role.handler is not None for role in scenario.workload.roles.values())
