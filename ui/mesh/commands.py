"""What a browser may ask for: the commands of the command center, as a closed schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lab import limits
from lab.errors import UsageError
from lab.faults import Length
from lab.rules.base import Rules

Count = Annotated[int, Field(ge=1, le=limits.SESSION_BURST_TASKS_MAX)]
Rate = Annotated[float, Field(ge=0, le=limits.SESSION_RATE_PER_S_MAX)]
Knob = Literal["rate", "workers", "slots", "failure_rate", "retry_base_s", "rss_limit_mib"]
What = Literal["kill_worker", "pause_worker", "slow_provider", "fail_role", "wipe_redis", "restart_postgres"]

BURST_TASKS, HOLD_PER_S = 500, 50.0
"""The published stress: 500 tasks at once. The held rate is just above what the shipped mesh can do."""
PAUSE_S = 3.0
"""As long as the shipped mesh's leases: some of the worker's tasks lapse, and its late results are refused."""
SLOW_S, SLOW_FACTOR, OUTAGE_S = 10.0, 3.0, 10.0
"""Long enough to be seen in every curve, short enough to watch the mesh recover."""


class StressWish(Rules):
    """Live stress mode: so many tasks at once, or a rate that is held; `on` False: back to the knob's rate."""

    on: bool = True
    mode: Literal["burst", "hold"] = "burst"
    count: Count = BURST_TASKS
    rate_per_s: Rate = HOLD_PER_S


class Opening(Rules):
    """What happens as soon as a session runs."""

    stress: StressWish | None = None


class Start(Rules):
    """Begin a session of a shipped scenario; `live` False: the model alone."""

    do: Literal["start"]
    scenario: str | None = Field(None, min_length=1, max_length=limits.NAME_CHARS_MAX)
    live: bool = True
    first: Opening | None = None


class Stop(Rules):
    """End the session and save it."""

    do: Literal["stop"]


class Stress(StressWish):
    """See StressWish; begins a session if there is none."""

    do: Literal["stress"]

    @property
    def wish(self) -> StressWish:
        """What is asked for."""
        return StressWish(**self.model_dump(exclude={"do"}))


class Turn(Rules):
    """Turn a knob."""

    do: Literal["knob"]
    knob: Knob
    value: float


class Chaos(Rules):
    """Break something. What is left out is chosen: worker 0, the first role, the times above."""

    do: Literal["chaos"]
    what: What
    worker: int | None = Field(None, ge=0, lt=limits.WORKERS_MAX)
    role: str | None = Field(None, min_length=1, max_length=64)
    for_s: Length | None = None
    factor: float | None = Field(None, gt=0, le=100)


class Pace(Rules):
    """How fast the model goes: in step with the wall clock (1), faster, or at once (null)."""

    do: Literal["pace"]
    speed: Literal[1, 4, 16] | None


class RedriveAll(Rules):
    """Put every dead task back into its queue."""

    do: Literal["redrive"]


Command = Annotated[Start | Stop | Stress | Turn | Chaos | Pace | RedriveAll, Field(discriminator="do")]
COMMANDS: TypeAdapter[Command] = TypeAdapter(Command)


def parse(data: Any) -> Command:
    """The command in plain data. Raises UsageError that says what is wrong with it."""
    try:
        return COMMANDS.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the command"
        raise UsageError(f"{where}: {first['msg']}. Nothing was done.") from error
