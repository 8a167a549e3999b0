"""Small scenarios for the model, built from a few words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Scenario

Build = Callable[..., Scenario]


@pytest.fixture
def build() -> Build:
    """A scenario of one role on an ideal mesh, with whatever is laid over it by dotted path."""

    def scenario(**values: object) -> Scenario:
        data = {
            "name": "test",
            "workload": {
                "arrivals": {"kind": "burst", "count": 1},
                "roles": {"A": {"service": {"dist": "constant", "mean_s": 2.0}}},
            },
            "mesh": {"workers": 1, "slots": 1},
            "profile": "ideal",
        }
        return Scenario.from_data(data).override({path.replace("__", "."): value for path, value in values.items()})

    return scenario
