"""Every call of the API as a value: what is sent, what the answer means, and whether it may be sent twice. Both clients
send these, so that they cannot differ.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from lab.limits import CLIENT_BATCH_BYTES_MAX, LIVE_BATCH_TASKS_MAX
from live_backend.client.values import Overview, Receipt, Task, TaskRequest, Transition, Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `read` turns the JSON of a good answer into a value."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    repeatable: bool = True
    """Whether sending it twice has the effect of sending it once."""


def submit(request: TaskRequest, *, make_key: bool) -> Call[Receipt]:
    """One task."""
    keyed = _keyed(request, make_key)

    def read(answer: Any) -> Receipt:
        return Receipt(answer["id"], answer["status"], keyed.key)

    return Call("POST", "/v1/tasks", read, body=keyed.to_json(), repeatable=keyed.key is not None)


def submit_batch(requests: Sequence[TaskRequest], *, make_key: bool) -> Iterator[Call[list[Receipt]]]:
    """Many tasks, in as few requests as the API's bounds allow."""
    batch: list[tuple[TaskRequest, str]] = []
    size = 0
    for request in requests:
        keyed = _keyed(request, make_key)
        text = keyed.to_json()
        if batch and (len(batch) == LIVE_BATCH_TASKS_MAX or size + len(text) > CLIENT_BATCH_BYTES_MAX):
            yield _batch(batch)
            batch, size = [], 0
        batch.append((keyed, text))
        size += len(text) + 1
    if batch:
        yield _batch(batch)


def _batch(batch: list[tuple[TaskRequest, str]]) -> Call[list[Receipt]]:
    keys = [request.key for request, _ in batch]

    def read(answer: Any) -> list[Receipt]:
        return [Receipt(one["id"], one["status"], key) for one, key in zip(answer["tasks"], keys, strict=True)]

    body = '{"tasks":[' + ",".join(text for _, text in batch) + "]}"
    return Call("POST", "/v1/tasks:batch", read, body=body, repeatable=None not in keys)


def _keyed(request: TaskRequest, make_key: bool) -> TaskRequest:
    return replace(request, key=uuid.uuid4().hex) if request.key is None and make_key else request


def task(task_id: int) -> Call[Task]:
    """One task, whole."""
    return Call("GET", f"/v1/tasks/{task_id:d}", Task.of)


def tasks(
    *, state: str | None = None, role: str | None = None, before: int | None = None, limit: int | None = None
) -> Call[tuple[list[Task], int | None]]:
    """A page of tasks, newest first, and the id that the next page begins before."""
    params = _given(state=state, role=role, before=before, limit=limit)
    return Call("GET", "/v1/tasks", lambda answer: (_tasks(answer), answer["next_before"]), params)


def transitions(task_id: int) -> Call[list[Transition]]:
    """The audit log of a task."""
    path = f"/v1/tasks/{task_id:d}/transitions"
    return Call("GET", path, lambda answer: [Transition.of(one, task_id) for one in answer["transitions"]])


def operate(task_id: int, action: str) -> Call[Task]:
    """Cancel or redrive a task. Said twice, the second is refused, so it is not repeated blindly."""
    return Call("POST", f"/v1/tasks/{task_id:d}:{action}", Task.of, body="{}", repeatable=False)


def dead_letters(
    *, role: str | None = None, after: int | None = None, limit: int | None = None
) -> Call[tuple[list[Task], int | None]]:
    """A page of dead letters, oldest first, and the id that the next page begins after."""
    params = _given(role=role, after=after, limit=limit)
    return Call("GET", "/v1/dead-letters", lambda answer: (_tasks(answer), answer["next_after"]), params)


def dead_letters_action(action: str, ids: Sequence[int] | None, role: str | None, everything: bool) -> Call[list[int]]:
    """Redrive or discard dead letters: those of these ids, of a role, or all. Who is no dead letter is left out, so
    that it may be said twice; but what the first answer would have listed, the second does not.
    """
    chosen: dict[str, Any] = {"ids": list(ids)} if ids is not None else {"role": role} if role else {}
    if everything:
        chosen["all"] = True
    return Call(
        "POST", f"/v1/dead-letters:{action}", lambda answer: answer["tasks"], body=json.dumps(chosen), repeatable=False
    )


def overview() -> Call[Overview]:
    """The queues, the states, admission."""
    return Call("GET", "/v1/queues", Overview.of)


def workers() -> Call[list[Worker]]:
    """The worker processes."""
    return Call("GET", "/v1/workers", lambda answer: [Worker.of(one) for one in answer["workers"]])


def _tasks(answer: Any) -> list[Task]:
    return [Task.of(one) for one in answer["tasks"]]


def _given(**params: object) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}
