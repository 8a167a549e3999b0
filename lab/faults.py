"""Faults as data: what goes wrong in a run, and when, and what an operator does about it. One vocabulary for the model
and for the real thing.

A fault either strikes at a moment (`at_s`) or holds for a window: from `at_s` on, for `for_s`, the end not included.
What the windows mean for one attempt is decided by the functions at the end of this file, for both engines.
docs/FAULTS.md says what is to be expected of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from lab import limits
from lab.rules.base import Rules
from lab.rules.health import HealthRules
from lab.rules.retry import RetryRules

Moment = Annotated[float, Field(ge=0, le=limits.RUN_S_MAX, description="Seconds after the start of the run.")]
Length = Annotated[float, Field(gt=0, le=limits.RUN_S_MAX, description="How long it lasts, in seconds.")]
Position = Annotated[int, Field(ge=0, le=limits.WORKERS_MAX, description="Which worker, counted from 0.")]
Down = Annotated[float, Field(ge=0, le=3_600, description="How long it is away, in seconds.")]
Factor = Annotated[float, Field(gt=0, le=10_000, description="How many times as long.")]
Server = Literal["redis", "postgres"]
Knob = Literal["workers", "slots", "failure_rate", "retry_base_s", "rss_limit_mib"]


class Window(Rules):
    """A fault that holds for a time."""

    at_s: Moment
    for_s: Length

    def holds(self, moment_s: float) -> bool:
        """Whether a moment (seconds of the run) lies in the window."""
        return self.at_s <= moment_s < self.at_s + self.for_s


# ---- what strikes the processes --------------------------------------------------------------------------------------


class WorkerFault(Rules):
    """A fault that hits one worker process."""

    at_s: Moment
    worker: Position


class KillWorker(WorkerFault):
    """SIGKILL: the process is gone at once. It is replaced by the rule `health.restart_after_s`."""

    kind: Literal["kill_worker"]


class StopWorker(WorkerFault):
    """SIGTERM: the worker leaves by the rule of `shutdown`, and is replaced."""

    kind: Literal["stop_worker"]


class PauseWorker(WorkerFault):
    """SIGSTOP, and SIGCONT `for_s` later: a process that froze and woke up."""

    kind: Literal["pause_worker"]
    for_s: Length


class CutWorker(WorkerFault):
    """The worker process at this place cannot reach one of the servers for a time; it runs on.

    Without Redis it takes no tasks; without PostgreSQL it claims and settles nothing, and its leases are not renewed,
    so they may lapse. It goes on where it stopped when the time is over. A process that takes its place meanwhile is
    not cut off.
    """

    kind: Literal["cut_worker"]
    server: Server = Field(description="Which server it cannot reach.")
    for_s: Length


class PoisonTask(Rules):
    """A task that kills: every attempt of it that starts from `at_s` on kills its worker process (as SIGKILL does).

    It happens `after_s` into the work; an attempt that is over before that does no harm. Each death costs an attempt,
    so the task is dead-lettered in the end; whatever else ran in that process is reclaimed and loses an attempt too. A
    task id that never comes harms nobody.
    """

    kind: Literal["poison_task"]
    task: int = Field(
        ge=0, lt=limits.TASKS_MAX, description="Which task, by its id: tasks count from 0 as they arrive."
    )
    at_s: Moment = 0.0
    after_s: float = Field(0.0, ge=0, le=limits.SERVICE_S_MAX, description="How far into its work, in seconds.")


# ---- what strikes the servers ----------------------------------------------------------------------------------------


class RedisFlush(Rules):
    """Redis loses everything that it holds of this run."""

    kind: Literal["redis_flush"]
    at_s: Moment


LAST_SECOND_S = 1.0
"""What `everysec` may lose: Redis's own number."""


class RedisRestart(Rules):
    """Redis is killed, is away for `down_s`, and comes back with what it keeps.

    `keeps`: nothing (no persistence); all (every write was on disk); all_but_last_second (AOF with `everysec`: what was
    written in the second before the kill is gone). Nothing is lost by it: the store knows every task.
    """

    kind: Literal["redis_restart"]
    at_s: Moment
    down_s: Down = 0.5
    keeps: Literal["nothing", "all", "all_but_last_second"] = Field(
        "nothing", description="What it still knows when it is back."
    )


class PostgresRestart(Rules):
    """PostgreSQL is stopped at once, is away for `down_s`, and recovers."""

    kind: Literal["postgres_restart"]
    at_s: Moment
    down_s: Down = 0.5


# ---- what strikes the work -------------------------------------------------------------------------------------------


class SlowService(Window):
    """Work that starts in this window takes `factor` times as long, as when a model provider slows down."""

    kind: Literal["slow_service"]
    factor: Factor


class SlowWorker(Window):
    """The same for the work of one worker only: a gray failure, slow but alive."""

    kind: Literal["slow_worker"]
    worker: Position
    factor: Factor


class RoleOutage(Window):
    """Attempts of a role that start in this window fail, after having worked as long as planned: its model is down.

    `share` of them do, by a draw of each attempt's own. No such failure is permanent: a retry may mend it.
    """

    kind: Literal["role_outage"]
    role: str = Field(min_length=1, max_length=64, description="Which role, by its name in the workload.")
    share: float = Field(1.0, gt=0, le=1, description="Share of those attempts that fail.")


# ---- what strikes the messages ---------------------------------------------------------------------------------------


class DuplicateSubmission(Rules):
    """The client repeats its last `tasks` submissions from before `at_s`: it did not hear the answer.

    A submission is idempotent by its id, so nothing changes; each repetition of an accepted task is noted as an event
    `duplicate_submission`. A task that was refused, or is not accepted yet, is not repeated.
    """

    kind: Literal["duplicate_submission"]
    at_s: Moment
    tasks: int = Field(1, ge=1, le=limits.TASKS_MAX, description="How many submissions are repeated.")


class DuplicateCompletion(Window):
    """Verdicts (success or failure) of attempts that end in this window are delivered twice.

    The second delivery, right after the first, is refused and noted as an event `duplicate_completion`.
    """

    kind: Literal["duplicate_completion"]


class DelayCompletion(Window):
    """Verdicts (success or failure) of attempts that end in this window are under way for `delay_s`.

    The worker has let go: its slot is free and it renews the lease no more. If the lease lapses first, the task is
    taken back, and the late verdict is refused as a stale write.
    """

    kind: Literal["delay_completion"]
    delay_s: float = Field(gt=0, le=limits.RUN_S_MAX, description="How long a verdict is under way, in seconds.")


# ---- what an operator does -------------------------------------------------------------------------------------------


class Redrive(Rules):
    """An operator puts every task that is dead at that moment back into its queue; its retry count restarts.

    They join the back of their queues in the order of their ids and wait from then on. What dies later stays dead. The
    run does not end before it has happened.
    """

    kind: Literal["redrive"]
    at_s: Moment
    role: str | None = Field(
        None, min_length=1, max_length=64, description="Only the tasks of this role, by its name in the workload."
    )


class Change(Rules):
    """An operator turns a knob of the mesh; it stays so until the next change of the same knob.

    workers: places are added at the end, or the last ones leave by the rule of `shutdown` and are not replaced. slots:
    those of every worker; what runs goes on, and nothing is taken while as many run. failure_rate: of all roles, for
    attempts that start from then on, by the same draws. retry_base_s: for failures from then on. rss_limit_mib: for
    reports from then on.
    """

    kind: Literal["change"]
    at_s: Moment
    knob: Knob = Field(description="What is turned: the scenario's value of that name until then.")
    value: float = Field(description="What it is from then on; with the unit and the bounds of the scenario's own.")

    @field_validator("value")
    @classmethod
    def _within_bounds(cls, value: float, others: ValidationInfo) -> float:
        knob = others.data.get("knob")
        if knob is not None and not (allowed := knob_range(knob)).holds(value):
            raise ValueError(f"{knob} must be {allowed}, and {value:g} is not")
        return value


class KnobRange(NamedTuple):
    """The values that a knob may have."""

    low: float
    high: float
    above: bool = False
    """Whether `low` itself is excluded."""
    whole: bool = False
    """Whether only whole numbers are meant."""

    def holds(self, value: float) -> bool:
        """Whether a knob may have this value."""
        if self.whole and value != int(value):
            return False
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        span = f"above {self.low:g}, up to {self.high:,.10g}" if self.above else f"{self.low:g} to {self.high:,.10g}"
        return f"a whole number from {span}" if self.whole else span


def knob_range(knob: Knob) -> KnobRange:
    """What the scenario's own field of that name allows."""
    if knob == "workers":
        return KnobRange(1, limits.WORKERS_MAX, whole=True)
    if knob == "slots":
        return KnobRange(1, limits.SLOTS_MAX, whole=True)
    if knob == "failure_rate":
        return KnobRange(0.0, 1.0)
    field = RetryRules.model_fields["base_s"] if knob == "retry_base_s" else HealthRules.model_fields["rss_limit_mib"]
    bounds = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    return KnobRange(bounds["gt" if "gt" in bounds else "ge"], bounds["le"], above="gt" in bounds)


Fault = Annotated[
    KillWorker
    | StopWorker
    | PauseWorker
    | CutWorker
    | PoisonTask
    | RedisFlush
    | RedisRestart
    | PostgresRestart
    | SlowService
    | SlowWorker
    | RoleOutage
    | DuplicateSubmission
    | DuplicateCompletion
    | DelayCompletion
    | Redrive
    | Change,
    Field(discriminator="kind"),
]


def told(fault: Fault) -> str:
    """The fault in a few words, as both engines note it: `kill_worker worker 0`, `redis_flush`, `change slots to 8`."""
    if isinstance(fault, Change):
        return f"{fault.kind} {fault.knob} to {fault.value:g}"
    named = ((name, getattr(fault, name, None)) for name in ("worker", "server", "role", "task"))
    return " ".join([fault.kind, *(f"{name} {value}" for name, value in named if value is not None)])


# ---- what they mean for one attempt ----------------------------------------------------------------------------------


def service_factor(faults: Sequence[Fault], started_s: float, worker: int | None = None) -> float:
    """By how much work that starts at `started_s` (seconds of the run) is stretched; overlapping windows multiply.

    `worker` is the place of the worker that does it, counted from 0; None: a place that no slow_worker fault strikes.
    """
    factor = 1.0
    for fault in faults:
        if isinstance(fault, SlowWorker) and fault.worker != worker:
            continue
        if isinstance(fault, SlowService | SlowWorker) and fault.holds(started_s):
            factor *= fault.factor
    return factor


def outage_share(faults: Sequence[Fault], started_s: float, role: str) -> float:
    """The share of the attempts of a role starting at `started_s` that an outage fails; of several, the largest."""
    outages = (fault for fault in faults if isinstance(fault, RoleOutage) and fault.role == role)
    return max((outage.share for outage in outages if outage.holds(started_s)), default=0.0)


def kills_after_s(faults: Sequence[Fault], task: int, started_s: float) -> float:
    """How far into its work (seconds) an attempt starting at `started_s` kills its worker; infinite if it does not."""
    poisons = (fault for fault in faults if isinstance(fault, PoisonTask) and fault.task == task)
    return min((poison.after_s for poison in poisons if poison.at_s <= started_s), default=math.inf)


def completion_delay_s(faults: Sequence[Fault], ended_s: float) -> float:
    """How long the verdict of an attempt that ends at `ended_s` is under way, in seconds; of several, the longest."""
    delays = (fault for fault in faults if isinstance(fault, DelayCompletion) and fault.holds(ended_s))
    return max((delay.delay_s for delay in delays), default=0.0)


def is_delivered_twice(faults: Sequence[Fault], ended_s: float) -> bool:
    """Whether the verdict of an attempt that ends at `ended_s` arrives twice."""
    return any(isinstance(fault, DuplicateCompletion) and fault.holds(ended_s) for fault in faults)
