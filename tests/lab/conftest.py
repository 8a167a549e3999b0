"""Small records, built by hand from a history a line a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from lab.outcome import judge
from lab.record import EventRow, Record, SampleRow, TransitionRow, assemble
from lab.rules.tasks import Event, State
from lab.scenario import Scenario
from lab.workload import Plan

TEXT = """\
name: by-hand
workload:
  arrivals: {kind: burst, count: COUNT}
  roles:
    A: {priority: PRIORITY, service: {dist: constant, mean_s: 1}}
"""
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
TO = {
    "submitted": State.PENDING,
    "claimed": State.RUNNING,
    "succeeded": State.COMPLETED,
    "failed": State.RETRY_WAIT,
    "dead": State.PERMANENT_FAILURE,
    "due": State.PENDING,
    "lease lapsed": State.PENDING,
    "handed back": State.PENDING,
    "cancelled": State.CANCELLED,
    "redriven": State.PENDING,
}
History = list[tuple[float, str]]
Make = Callable[..., Record]


def rows_of(task: int, history: History) -> Iterable[TransitionRow]:
    """The audit rows of a task from (moment, event) pairs; `dead` is a failure with no attempt left."""
    state, attempt, token = "", 0, 0
    for at_s, word in history:
        attempt += (word == "claimed") - (word == "handed back")
        token += word == "claimed"
        event = Event.FAILED if word == "dead" else Event(word)
        delay_s = 2.0**attempt if word == "failed" else 0.0
        yield TransitionRow(task, state, TO[word], at_s, "w0", attempt, token, event, delay_s)
        state = TO[word]


@pytest.fixture
def make() -> Make:
    """make(histories…, settings=…, edit=…): a judged record. `edit` may change the rows before assembly."""

    def built(
        *histories: History,
        settings: dict[str, Any] | None = None,
        priority: str = "3",
        edit: Callable[[list[TransitionRow]], list[TransitionRow]] = list,
        samples: Iterable[SampleRow] = (),
        events: Iterable[EventRow] = (),
        engine: str = "sim",
        run_id: str = "by-hand",
        **facts: Any,
    ) -> Record:
        text = TEXT.replace("COUNT", str(len(histories))).replace("PRIORITY", priority)
        plan = Plan(Scenario.parse(text).override(settings or {}))
        rows = [row for task, history in enumerate(histories) for row in rows_of(task, history)]
        record = assemble(
            plan, engine, edit(rows), samples, events, run_id=run_id, started_at=STARTED_AT, wall_s=1.0, facts=facts
        )
        return judge(record)

    return built
