"""What goes in and what comes out, as pydantic models. Requests are validated by them and are closed: a field that is
not named here is refused, those that the server owns (state, attempt, token …) among them. Answers are described by
them; tests hold the routes to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from lab.limits import API_BATCH_TASKS_MAX, KEY_CHARS_MAX, PAYLOAD_BYTES_MAX
from lab.rules.priority import DEAD_LETTERS, PRIORITY_MAX, PRIORITY_MIN, QUEUES
from lab.rules.tasks import State
from live_backend.api.body import BIGINT_MAX

KEY_PATTERN = rf"^[!-~]([ -~]{{0,{KEY_CHARS_MAX - 2}}}[!-~])?$"
ROLE_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
"""As scenarios have it."""


def integral(value: Any) -> Any:
    """JSON knows one kind of number: 3.0 is the integer 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[int, Field(ge=1, le=BIGINT_MAX), BeforeValidator(integral)]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Priority = Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX), BeforeValidator(integral)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_CHARS_MAX, pattern=KEY_PATTERN)]


class Request(BaseModel):
    """A closed object."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TaskRequest(Request):
    """A task to be done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"role": "DEVELOPER", "payload": {"ticket": 4711}},
                {"role": "ARCHITECT", "priority": 5, "idempotency_key": "order-17-plan"},
            ]
        }
    )

    role: str = Field(min_length=1, max_length=64, description="Who shall do it: a role of the mesh's scenario.")
    priority: Priority | None = Field(None, description="5 is served first. Default: the role's own, else 3.")
    payload: Any = Field(
        None, description=f"Any JSON of at most {PAYLOAD_BYTES_MAX // 1024} KiB; the role's handler gets it."
    )
    idempotency_key: Key | None = Field(
        None, description="The same key with the same task is one task, however often it is sent. Visible ASCII."
    )


class BatchRequest(Request):
    """Tasks that are accepted or refused together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tasks": [{"role": "DEVELOPER"}, {"role": "QA_ENGINEER", "priority": 1}]}]}
    )

    tasks: list[TaskRequest] = Field(min_length=1, max_length=API_BATCH_TASKS_MAX)


class LetterChoice(Request):
    """Which dead letters: exactly one of the three."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ids": [1000017]}, {"role": "DEVELOPER"}, {"all": True}],
            "oneOf": [{"required": ["ids"]}, {"required": ["role"]}, {"required": ["all"]}],
        }
    )

    ids: list[Id] = Field(default=[], min_length=1, max_length=API_BATCH_TASKS_MAX)
    role: str = Field(default="", pattern=ROLE_PATTERN)
    all: Literal[True] = True

    @model_validator(mode="after")
    def _one(self) -> LetterChoice:
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of ids, role and all")
        return self


class Receipt(BaseModel):
    """A task that was accepted: it is committed, and will be done or end among the dead letters."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": 1000017,
                    "state": "PENDING",
                    "status": "created",
                    "role": "DEVELOPER",
                    "priority": 3,
                    "queue": "agent_high",
                }
            ]
        }
    )

    id: Id
    state: Literal["PENDING"]
    status: Literal["created", "existing"]
    role: str
    priority: Priority
    queue: Literal[QUEUES]  # type: ignore[valid-type]


class BatchEntry(BaseModel):
    """What became of one task of a batch. conflict: its key belongs to the other task named here."""

    id: Id
    status: Literal["created", "existing", "conflict"]


class BatchReceipt(BaseModel):
    """In the order of the request."""

    tasks: list[BatchEntry]


class DeadLetter(BaseModel):
    """When a task was given up, and when an operator put the letter aside."""

    at: Moment
    discarded_at: Moment | None


class TaskRow(BaseModel):
    """Where a task stands."""

    id: Id
    role: str
    priority: Priority
    queue: Literal[QUEUES]  # type: ignore[valid-type]
    state: State
    attempt: int = Field(description="Executions so far.")
    token: int = Field(description="Claims so far; only the newest may write.")
    worker: str | None
    changed_at: Moment
    due_at: Moment | None = Field(description="RETRY_WAIT: when it may be tried again.")
    lease_until: Moment | None = Field(description="RUNNING: until when its worker has it unless it renews.")
    error: str | None = Field(description="What the newest failed attempt said.")
    dead_letter: DeadLetter | None


class Task(TaskRow):
    """A task with what it carries."""

    payload: JsonValue
    result: JsonValue


class TaskList(BaseModel):
    """A page, newest first. `next_before` null: there is no more."""

    tasks: list[TaskRow]
    next_before: Id | None


class DeadLetterList(BaseModel):
    """A page, oldest first. `next_after` null: there is no more."""

    tasks: list[TaskRow]
    next_after: Id | None


class Transition(BaseModel):
    """A row of the audit log. `from` is null for the submission."""

    from_state: State | None = Field(alias="from")
    to: State
    at: Moment
    worker: str | None
    attempt: int
    token: int
    reason: str
    delay_s: float


class TransitionList(BaseModel):
    """A task's history, oldest first."""

    transitions: list[Transition]


class TaskIds(BaseModel):
    """The tasks that it happened to."""

    tasks: list[Id]


class Queue(BaseModel):
    """`depth` null: Redis does not answer."""

    name: Literal[(*QUEUES, DEAD_LETTERS)]  # type: ignore[valid-type]
    depth: int | None


class Admission(BaseModel):
    """Whether new tasks are taken; `reason` says why not."""

    open: bool
    reason: str | None


class Queues(BaseModel):
    """How much waits where."""

    queues: list[Queue]
    states: dict[Literal["PENDING", "RUNNING", "RETRY_WAIT"], int]
    admission: Admission


class Worker(BaseModel):
    """A worker process. `place` is its number in the mesh; `gate` false: it takes no task; `score` 1 − RSS / limit."""

    id: str
    place: int
    host: str
    pid: int
    started_at: Moment
    seen_at: Moment
    rss_bytes: int
    cpu: float
    active: int
    slots: int
    gate: bool
    score: float
    band: Literal["green", "yellow", "red"]
    alive: bool


class Workers(BaseModel):
    """Those heard of lately."""

    workers: list[Worker]


class Health(BaseModel):
    """`ok` if all three are; `detail` says what is not."""

    status: Literal["ok", "unavailable"]
    postgres: bool
    redis: bool
    reaper: bool
    detail: str | None


class Found(BaseModel):
    """One thing wrong with a request."""

    path: str
    found: str
    allowed: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "priority: found 9, allowed: 1 to 5. Correct it and send it again.",
                    "errors": [{"path": "priority", "found": "9", "allowed": "1 to 5"}],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[Found] | None = None
