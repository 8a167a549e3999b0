"""The intake by itself: what no test over HTTP can bring about at the right moment."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from lab.errors import Unavailable
from live_backend.broker import Broker
from live_backend.intake import Intake, Submission


def test_a_key_that_is_pruned_between_two_statements_is_no_end_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The insert met the key, and the question for its task does not any more."""

    async def no_rows(*_: Any) -> list[Any]:
        return []

    async def story() -> None:
        intake = Intake("postgresql://nobody@127.0.0.1:1/nowhere", cast(Broker, None))
        monkeypatch.setattr(intake._database, "rows", no_rows)
        with pytest.raises(Unavailable, match="submit again under the same keys"):
            await intake._told_apart([Submission("A", 3, 0, key="pruned")], [7], set())

    asyncio.run(story())
