"""Routes of tasks: look, list, history, cancel, redrive. Submitting is in `submitting`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from lab.limits import PAGE_TASKS, PAGE_TASKS_MAX
from lab.rules.retry import RetryRules
from lab.rules.tasks import Refused, State
from live_backend.api import schemas
from live_backend.api.body import BIGINT_MAX
from live_backend.api.describing import described
from live_backend.api.problems import Problem, answer
from live_backend.api.services import services

router = APIRouter(tags=["tasks"])

TaskId = Annotated[int, Path(ge=1, le=BIGINT_MAX, description="As the submission's answer gave it.")]
RoleName = Annotated[str | None, Query(pattern=schemas.ROLE_PATTERN, description="Only this role's.")]
Action = Callable[[int, RetryRules], Awaitable[Refused | None]]
"""What `operating` does to one task."""
PageSize = Annotated[int, Query(ge=1, le=PAGE_TASKS_MAX, description="How many at most.")]


class Digits(Convertor[str]):
    """A task's id in a path. Kept as text: FastAPI checks its size and says so in a problem."""

    regex = "[0-9]{1,20}"

    def convert(self, value: str) -> str:
        """See starlette."""
        return value

    def to_string(self, value: str) -> str:
        """See starlette."""
        return value


register_url_convertor("digits", Digits())


@router.get(
    "/v1/tasks/{task_id:digits}",
    summary="A task",
    response_model=schemas.Task,
    responses=described(404, 422, 503),
)
async def show(request: Request, task_id: TaskId) -> Response:
    """Where it stands, what it carries, what came of it."""
    return answer(await _task(request, task_id))


@router.get("/v1/tasks", summary="Tasks, newest first", response_model=schemas.TaskList, responses=described(422, 503))
async def listing(
    request: Request,
    state: Annotated[State | None, Query(description="Only in this state.")] = None,
    role: RoleName = None,
    before: Annotated[int | None, Query(ge=1, le=BIGINT_MAX, description="The `next_before` of a page.")] = None,
    limit: PageSize = PAGE_TASKS,
) -> Response:
    """A page may be short, even empty, while `next_before` says that older tasks remain: a search for what is rare
    looks at a bounded number of tasks at a time.
    """
    tasks, next_before = await services(request.scope).reading.tasks(state, role, before, limit)
    return answer({"tasks": tasks, "next_before": next_before})


@router.get(
    "/v1/tasks/{task_id:digits}/transitions",
    summary="A task's history",
    response_model=schemas.TransitionList,
    responses=described(404, 422, 503),
)
async def transitions(request: Request, task_id: TaskId) -> Response:
    """Its rows of the audit log, oldest first."""
    found = await services(request.scope).reading.transitions(task_id)
    if not found:
        raise _unknown(task_id)
    return answer({"transitions": found})


@router.post(
    "/v1/tasks/{task_id:digits}:cancel",
    summary="Cancel a task",
    response_model=schemas.Task,
    responses=described(404, 409, 422, 503),
)
async def cancel(request: Request, task_id: TaskId) -> Response:
    """One that waits: PENDING or RETRY_WAIT. What runs is not stopped."""
    return await _acted(request, task_id, services(request.scope).operating.cancel)


@router.post(
    "/v1/tasks/{task_id:digits}:redrive",
    summary="Try a dead task again",
    response_model=schemas.Task,
    responses=described(404, 409, 422, 503),
)
async def redrive(request: Request, task_id: TaskId) -> Response:
    """PERMANENT_FAILURE → PENDING, with a fresh budget of retries."""
    return await _acted(request, task_id, services(request.scope).operating.redrive)


async def _acted(request: Request, task_id: int, act: Action) -> Response:
    try:
        refused = await act(task_id, services(request.scope).scenario.rules.retry)
    except LookupError:
        raise _unknown(task_id) from None
    if refused is None:
        return answer(await _task(request, task_id))
    detail = f"Task {task_id} was left as it is: {refused.reason}."
    raise Problem(409, detail, instance=f"/v1/tasks/{task_id}")


async def _task(request: Request, task_id: int) -> dict[str, Any]:
    found = await services(request.scope).reading.task(task_id)
    if found is None:
        raise _unknown(task_id)
    return found


def _unknown(task_id: int) -> Problem:
    return Problem(404, f"There is no task {task_id}. Its id is in the answer to its submission.")
