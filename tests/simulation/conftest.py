"""Small scenarios for the model, built from a few words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Scenario
from lab.record import Record
from simulation import simulate

Build = Callable[..., Scenario]
Run = Callable[..., Record]


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


@pytest.fixture
def run(build: Build, tmp_path: Path) -> Run:
    """run(costs, …): the record of such a scenario with a profile of these costs (YAML)."""

    def ran(costs: str, **values: object) -> Record:
        path = tmp_path / "costs.yaml"
        path.write_text(f"measured: made up\n{costs}\n")
        return simulate(build(profile=str(path), **values))

    return ran
