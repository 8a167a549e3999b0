"""The hot path: tasks come in over HTTP.

`POST /v1/tasks` is an ASGI function of its own, without FastAPI's machinery around it; FastAPI only describes it. One
request's way: read → parse → validate → admission → intake (which commits many requests at once) → answer.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from lab.limits import FINDINGS_MAX
from lab.rules.priority import PRIORITY_DEFAULT, QUEUES, queue_class
from lab.rules.tasks import State
from lab.scenario import Scenario
from live_backend.api import body, door
from live_backend.api.describing import DirectRoute, described, request_body
from live_backend.api.problems import Finding, Problem, answer, from_pydantic, invalid, shown
from live_backend.api.schemas import BatchReceipt, BatchRequest, Receipt, TaskRequest
from live_backend.api.services import Services, services
from live_backend.intake import IntakeFull, Submission
from live_backend.intake import Receipt as Accepted

KEY_HEADER = b"idempotency-key"
Model = TypeVar("Model", bound=BaseModel)


class Wanted(NamedTuple):
    """A request that passed, and what the intake is asked."""

    priority: int
    submission: Submission


async def submit_one(scope: Scope, receive: Receive, send: Send) -> None:
    """Submit a task. It is committed when the answer comes.

    With an idempotency key (in the body or in the header `Idempotency-Key`) it may be sent as often as need be: the
    same task comes back.
    """
    at = services(scope)
    request = _validated(TaskRequest, body.parse(await body.read(scope, receive)))
    wanted = _wanted(request, _key(scope, request), at.scenario, "")
    [receipt] = await _taken_in(at, [wanted])
    if receipt.status == "conflict":
        raise _conflict(wanted, receipt)
    document = {
        "id": receipt.id,
        "state": State.PENDING,
        "status": receipt.status,
        "role": request.role,
        "priority": wanted.priority,
        "queue": QUEUES[wanted.submission.queue],
    }
    created = receipt.status == "created"
    response = answer(document, 201 if created else 200, {"Location": f"/v1/tasks/{receipt.id}"})
    await response(scope, receive, send)


async def submit_batch(scope: Scope, receive: Receive, send: Send) -> None:
    """Submit up to 1,000 tasks. All are accepted and committed, or none is.

    An invalid task refuses the batch, with its index in the error. A key that belongs to another task is no error of
    the batch: its entry says `conflict`, and names that task.
    """
    at = services(scope)
    batch = _validated(BatchRequest, body.parse(await body.read(scope, receive)))
    if door.header(scope, KEY_HEADER):
        raise _misplaced_key()
    scenario = at.scenario
    wanted = [
        _wanted(request, request.idempotency_key, scenario, f"tasks[{index}].")
        for index, request in enumerate(batch.tasks)
    ]
    receipts = await _taken_in(at, wanted)
    await answer({"tasks": [{"id": one.id, "status": one.status} for one in receipts]})(scope, receive, send)


def _validated(model: type[Model], value: Any) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)[:FINDINGS_MAX]
        raise invalid(from_pydantic(errors)) from None


def _key(scope: Scope, request: TaskRequest) -> str | None:
    """The idempotency key, wherever it stands. Both places must agree."""
    values = door.header(scope, KEY_HEADER)
    if not values:
        return request.idempotency_key
    key = values[0]
    if len(values) > 1 or request.idempotency_key not in (None, key):
        found = shown([*values, request.idempotency_key])
        raise invalid([Finding("idempotency_key", found, "one key, in the body or in the header Idempotency-Key")])
    if request.idempotency_key is None:
        _validated(TaskRequest, {"role": request.role, "idempotency_key": key})
    return key


def _wanted(request: TaskRequest, key: str | None, scenario: Scenario, place: str) -> Wanted:
    """What the intake is asked for a request. Raises Problem: 422."""
    role = scenario.workload.roles.get(request.role)
    if role is None:
        roles = ", ".join(sorted(scenario.workload.roles))
        raise invalid([Finding(f"{place}role", shown(request.role), f"the roles of this mesh: {roles}")])
    priority = request.priority
    if priority is None:
        priority = role.priority if isinstance(role.priority, int) else PRIORITY_DEFAULT
    text, encoded = None, b"null"
    if request.payload is not None:
        text, encoded = body.payload_text(request.payload, f"{place}payload")
    digest = sha256(b'{"payload":%b,"priority":%d,"role":"%b"}' % (encoded, priority, request.role.encode())).digest()
    queue = queue_class(priority, request.role, scenario.rules.priority)
    return Wanted(priority, Submission(request.role, priority, queue, text, key, digest))


async def _taken_in(at: Services, wanted: list[Wanted]) -> list[Accepted]:
    """Ask admission, then commit. Raises Problem 429; Unavailable."""
    count = len(wanted)
    if reason := at.gauge.closed(count):
        at.metrics.submissions.labels("refused").inc(count)
        rules = at.scenario.rules.admission
        raise _full(reason, rules.retry_after_s)
    accepted = 0
    at.gauge.enter(count)
    try:
        receipts = list(await at.intake.submit([one.submission for one in wanted]))
        accepted = sum(receipt.status == "created" for receipt in receipts)
    except IntakeFull as error:
        at.metrics.submissions.labels("refused").inc(count)
        raise _full(str(error), at.scenario.rules.admission.retry_after_s) from None
    finally:
        at.gauge.leave(count, accepted)
    for receipt in receipts:
        at.metrics.submissions.labels(receipt.status).inc()
    return receipts


def _full(reason: str, retry_after_s: float) -> Problem:
    detail = f"Admission is closed: {reason}. Nothing was accepted; keep the task and send it again."
    return Problem(429, detail, retry_after_s=retry_after_s)


def _conflict(wanted: Wanted, receipt: Accepted) -> Problem:
    detail = (
        f"The idempotency key {shown(wanted.submission.key)} belongs to task {receipt.id}, which was sent with another "
        "role, priority or payload. Use another key for another task."
    )
    return Problem(409, detail, instance=f"/v1/tasks/{receipt.id}")


def _misplaced_key() -> Problem:
    return invalid([Finding("Idempotency-Key", "a header", "a key in each task: one header cannot name them all")])


def add_routes(app: FastAPI) -> None:
    """Put both before all other routes: they are asked for most."""
    one = DirectRoute(
        "/v1/tasks",
        submit_one,
        methods=["POST"],
        tags=["tasks"],
        summary="Submit a task",
        status_code=201,
        response_model=Receipt,
        responses=described(200, 400, 408, 409, 413, 415, 422, 429, 503, known=Receipt),
        openapi_extra=request_body(TaskRequest),
    )
    several = DirectRoute(
        "/v1/tasks:batch",
        submit_batch,
        methods=["POST"],
        tags=["tasks"],
        summary="Submit up to 1,000 tasks at once",
        response_model=BatchReceipt,
        responses=described(400, 408, 413, 415, 422, 429, 503),
        openapi_extra=request_body(BatchRequest),
    )
    app.router.routes[:0] = [one, several]
