"""Faults as data: what goes wrong in a run, and when. One vocabulary for the model and for the real thing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from lab import limits
from lab.rules.base import Rules

Moment = Annotated[float, Field(ge=0, le=limits.RUN_S_MAX, description="Seconds after the start of the run.")]
Length = Annotated[float, Field(gt=0, le=limits.RUN_S_MAX, description="How long it lasts, in seconds.")]
Position = Annotated[int, Field(ge=0, le=limits.WORKERS_MAX, description="Which worker, counted from 0.")]


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


class RedisFlush(Rules):
    """Redis loses everything that it holds of this run."""

    kind: Literal["redis_flush"]
    at_s: Moment


class RedisRestart(Rules):
    """Redis is killed, is away for `down_s`, and comes back empty."""

    kind: Literal["redis_restart"]
    at_s: Moment
    down_s: float = Field(0.5, ge=0, le=3_600, description="How long it is away, in seconds.")


class PostgresRestart(Rules):
    """PostgreSQL is stopped at once, is away for `down_s`, and recovers."""

    kind: Literal["postgres_restart"]
    at_s: Moment
    down_s: float = Field(0.5, ge=0, le=3_600, description="How long it is away, in seconds.")


class SlowService(Rules):
    """Work that starts in this window takes `factor` times as long, as when a model provider slows down."""

    kind: Literal["slow_service"]
    at_s: Moment
    for_s: Length
    factor: float = Field(gt=0, le=10_000, description="How many times as long.")


Fault = Annotated[
    KillWorker | StopWorker | PauseWorker | RedisFlush | RedisRestart | PostgresRestart | SlowService,
    Field(discriminator="kind"),
]


def service_factor(faults: Sequence[Fault], started_s: float) -> float:
    """By how much work that starts at `started_s` (seconds of the run) is stretched; overlapping windows multiply."""
    factor = 1.0
    for fault in faults:
        if isinstance(fault, SlowService) and fault.at_s <= started_s < fault.at_s + fault.for_s:
            factor *= fault.factor
    return factor
