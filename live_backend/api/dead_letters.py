"""Routes of the dead letters: list, redrive, discard."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from lab.limits import FINDINGS_MAX, LETTERS_AT_ONCE_MAX, PAGE_TASKS
from live_backend.api import body, schemas
from live_backend.api.body import BIGINT_MAX
from live_backend.api.describing import described, request_body
from live_backend.api.problems import answer, from_pydantic, invalid
from live_backend.api.services import services
from live_backend.api.tasks import PageSize, RoleName

router = APIRouter(tags=["dead letters"])


@router.get(
    "/v1/dead-letters",
    summary="Dead letters, oldest first",
    response_model=schemas.DeadLetterList,
    responses=described(422, 503),
)
async def listing(
    request: Request,
    role: RoleName = None,
    after: Annotated[int, Query(ge=0, le=BIGINT_MAX, description="The `next_after` of a page.")] = 0,
    limit: PageSize = PAGE_TASKS,
) -> Response:
    """Tasks that were given up, each with its last error, without those that an operator has put aside."""
    letters = await services(request.scope).reading.dead_letters(role, after, limit)
    return answer({"tasks": letters, "next_after": letters[-1]["id"] if len(letters) == limit else None})


@router.post(
    "/v1/dead-letters:redrive",
    summary="Try dead tasks again",
    description=f"At most {LETTERS_AT_ONCE_MAX} at a time: repeat it until the list is empty. Ids that are not dead "
    "are left as they are, and are not in the answer.",
    response_model=schemas.TaskIds,
    responses=described(400, 408, 413, 415, 422, 503),
    openapi_extra=request_body(schemas.LetterChoice),
)
async def redrive(request: Request) -> Response:
    choice = await _choice(request)
    at = services(request.scope)
    rules = at.scenario.rules.retry
    return answer({"tasks": await at.operating.redrive_letters(choice.ids or None, choice.role or None, rules)})


@router.post(
    "/v1/dead-letters:discard",
    summary="Put dead letters aside",
    description=f"Their tasks stay as they are, and are listed no more. At most {LETTERS_AT_ONCE_MAX} at a time.",
    response_model=schemas.TaskIds,
    responses=described(400, 408, 413, 415, 422, 503),
    openapi_extra=request_body(schemas.LetterChoice),
)
async def discard(request: Request) -> Response:
    choice = await _choice(request)
    operating = services(request.scope).operating
    return answer({"tasks": await operating.discard_letters(choice.ids or None, choice.role or None)})


async def _choice(request: Request) -> schemas.LetterChoice:
    value = body.parse(await body.read(request.scope, request.receive))
    try:
        return schemas.LetterChoice.model_validate(value)
    except ValidationError as error:
        raise invalid(from_pydantic(error.errors(include_url=False)[:FINDINGS_MAX])) from None
