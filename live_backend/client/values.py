"""What the API takes and answers, as typed values. Moments are aware datetimes in UTC."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, Self

from lab.errors import UsageError
from lab.rules.tasks import TERMINAL, State

Status = Literal["created", "existing", "conflict"]


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task to be submitted. `payload` is any JSON value; without `priority` the role's own counts."""

    role: str
    payload: Any = None
    priority: int | None = None
    key: str | None = None
    """The idempotency key: the same key with the same request is the same task, however often it is submitted."""

    def to_json(self) -> str:
        """The request as the API takes it. Raises UsageError if the payload is no JSON."""
        content: dict[str, Any] = {"role": self.role}
        if self.priority is not None:
            content["priority"] = self.priority
        if self.payload is not None:
            content["payload"] = self.payload
        if self.key is not None:
            content["idempotency_key"] = self.key
        try:
            return json.dumps(content, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the payload of a task for {self.role} is no JSON: {error}; nothing was sent") from error


@dataclass(frozen=True, slots=True)
class Receipt:
    """A submission that is on record. `existing`: the key was known with the same request. `conflict` (in batches
    only; alone it is an error): the key was known with another request, and nothing was submitted.
    """

    id: int
    status: Status
    key: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """That a task failed for good, and when an operator put it aside."""

    at: datetime
    discarded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it stands. Lists leave out `payload` and `result`."""

    id: int
    role: str
    priority: int
    queue: str
    state: State
    attempt: int
    token: int
    worker: str | None
    changed_at: datetime
    due_at: datetime | None
    lease_until: datetime | None
    payload: Any
    result: Any
    error: str | None
    dead_letter: DeadLetter | None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in TERMINAL

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From the API's object."""
        dead = data.get("dead_letter")
        values: dict[str, Any] = {name: data.get(name) for name in _names(cls)}
        values |= {name: moment(data.get(name)) for name in ("changed_at", "due_at", "lease_until")}
        values["state"] = State(data["state"])
        values["dead_letter"] = (
            DeadLetter(datetime.fromisoformat(dead["at"]), moment(dead.get("discarded_at"))) if dead else None
        )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the audit log. `from_state` is None for a submission."""

    task: int
    from_state: State | None
    to_state: State
    at: datetime
    worker: str | None
    attempt: int
    token: int
    reason: str
    delay_s: float

    @classmethod
    def of(cls, data: dict[str, Any], task: int) -> Self:
        """From the API's object, or from the data of an event."""
        return cls(
            task=task,
            from_state=State(data["from"]) if data["from"] else None,
            to_state=State(data["to"]),
            at=datetime.fromisoformat(data["at"]),
            worker=data["worker"] or None,
            attempt=data["attempt"],
            token=data["token"],
            reason=data["reason"],
            delay_s=data["delay_s"] or 0.0,
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """A Redis list and its length."""

    name: str
    depth: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The queues, the unfinished tasks by state, and whether tasks are admitted (if not, why)."""

    queues: tuple[Queue, ...]
    states: dict[State, int]
    admission_open: bool
    admission_reason: str | None

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From the API's object."""
        return cls(
            queues=tuple(Queue(one["name"], one["depth"]) for one in data["queues"]),
            states={State(name): count for name, count in data["states"].items()},
            admission_open=data["admission"]["open"],
            admission_reason=data["admission"].get("reason"),
        )


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process, as it last reported itself."""

    id: str
    place: int
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    rss_bytes: int
    cpu: float
    active: int
    slots: int
    gate: Any
    score: float
    band: str
    alive: bool

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """From the API's object."""
        values = {name: data[name] for name in _names(cls)}
        values |= {name: datetime.fromisoformat(data[name]) for name in ("started_at", "seen_at")}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Event:
    """A frame of the event stream.

    `transition`: a task changed. `missed`: this reader was too slow, `data` says what it missed. `reset`: the id to go
    on from is too old, so the state has to be read anew.
    """

    id: str
    kind: str
    role: str | None
    transition: Transition | None
    data: dict[str, Any]

    @classmethod
    def of(cls, event_id: str, kind: str, data: dict[str, Any]) -> Self:
        """From a frame of the stream."""
        transition = Transition.of(data, data["task"]) if kind == "transition" else None
        return cls(event_id, kind, data.get("role"), transition, data)


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 moment, or None."""
    return datetime.fromisoformat(text) if text else None


def _names(cls: type[Any]) -> list[str]:
    return [field.name for field in fields(cls)]
