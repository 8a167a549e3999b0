"""An agent to try the live backend with: it waits as if for its model, and answers in JSON. No model is called.

Put your own in its place: any module that the worker can import, any function that takes a `Job`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from live_backend.jobs import Job, Permanent

THINKS_S = 0.2
"""How long the agent waits for the model that it does not have."""


async def agent(job: Job) -> dict[str, Any]:
    """Answer the payload's `question`, or its absence. A question that is no text is beyond any retry."""
    payload = job.payload if isinstance(job.payload, dict) else {}
    question = payload.get("question", "nothing")
    if not isinstance(question, str):
        raise Permanent(f"question must be text, not {type(question).__name__}")
    await asyncio.sleep(THINKS_S)
    return {"answer": f"You asked: {question}", "words": len(question.split()), "attempt": job.attempt}


def count_words(job: Job) -> int:
    """An ordinary function: the number of words in the payload."""
    return len(str(job.payload or "").split())
