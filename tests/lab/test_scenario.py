"""The scenario that is in order: defaults, presets laid under it, overrides, round trips, the schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from lab.errors import ScenarioError, UsageError
from lab.scenario import Scenario, json_schema

MINIMAL = """\
workload:
  arrivals: {kind: burst, count: 5}
  roles:
    DEV: {service: {dist: constant, mean_s: 1.0}}
"""
PRESET = """\
rules: {preset: PRESET}
workload:
  arrivals: {kind: burst, count: 5}
  roles:
    DEV:
    OPS: {service: {dist: constant, mean_s: 9.0}}
"""
SHIPPED = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


@pytest.fixture
def scenario() -> Scenario:
    return Scenario.parse(MINIMAL)


def test_what_is_left_out_has_the_designs_default(scenario: Scenario) -> None:
    role = scenario.workload.roles["DEV"]
    assert (scenario.mesh.workers, scenario.mesh.slots, scenario.profile) == (3, 5, "default")
    assert (role.share, role.priority, role.failure_rate, role.memory_mib) == (1.0, 3, 0.0, 0.0)
    assert scenario.rules.preset == "lab"


@pytest.mark.parametrize(
    ("preset", "mean_s", "failure_rate"),
    [
        ("agent-mesh-published", 2.0, 0.0),
        ("go-distributed-queue-published", 1.0, 0.25),
    ],
)
def test_a_preset_lies_under_the_scenario(preset: str, mean_s: float, failure_rate: float) -> None:
    scenario = Scenario.parse(PRESET.replace("PRESET", preset))
    roles = scenario.workload.roles
    assert roles["DEV"].service.mean_s == mean_s  # type: ignore[union-attr]
    assert roles["OPS"].service.mean_s == 9.0  # type: ignore[union-attr]  # the scenario's own word wins
    assert roles["OPS"].failure_rate == failure_rate
    assert scenario.rules.lease.claim == "pop_then_update"


def test_a_scenario_overrides_single_values_of_its_preset() -> None:
    text = PRESET.replace("{preset: PRESET}", "{preset: agent-mesh-published, retry: {base_s: 0.5}}")
    rules = Scenario.parse(text).rules
    assert (rules.retry.base_s, rules.retry.wait) == (0.5, "in_slot")


@pytest.mark.parametrize(
    ("path", "value"),
    [("mesh.workers", 8), ("rules.retry.base_s", 0.1), ("workload.arrivals.count", 9), ("seed", 3)],
)
def test_an_override_replaces_one_value_and_leaves_the_original(scenario: Scenario, path: str, value: object) -> None:
    changed: object = scenario.override({path: value})
    for part in path.split("."):
        changed = getattr(changed, part)
    assert changed == value
    assert scenario.data == Scenario.parse(MINIMAL).data


def test_an_override_reaches_into_lists_and_weights(scenario: Scenario) -> None:
    faulty = scenario.override({"faults": [{"kind": "redis_flush", "at_s": 1}]})
    assert faulty.override({"faults.0.at_s": 4}).faults[0].at_s == 4
    assert faulty.override({"faults[0].at_s": 5}).faults[0].at_s == 5
    weighted = scenario.override({"workload.roles.DEV.priority": {5: 1}})
    again = weighted.override({"workload.roles.DEV.priority.1": 2})
    assert again.workload.roles["DEV"].priority == {5: 1.0, 1: 2.0}


@pytest.mark.parametrize("path", ["faults.7", "faults.x", "mesh.workers.deeper.still", "²", "9" * 5_000, ""])
def test_an_override_that_leads_nowhere_is_a_usage_error(scenario: Scenario, path: str) -> None:
    with pytest.raises(UsageError):
        scenario.override({"faults": []}).override({path: 1})


def test_an_override_that_breaks_the_scenario_is_told_with_its_path(scenario: Scenario) -> None:
    with pytest.raises(ScenarioError, match=r"mesh\.workers: must be") as caught:
        scenario.override({"mesh.workers": 0})
    assert "with mesh.workers set" in str(caught.value)


def test_data_and_yaml_and_json_build_the_same_scenario() -> None:
    scenario = Scenario.parse(MINIMAL.replace("{service", "{priority: {5: 2, 1: 1}, service"))
    again = [
        Scenario.from_data(scenario.data),
        Scenario.parse(scenario.to_yaml()),
        Scenario.from_data(json.loads(json.dumps(scenario.data))),  # JSON's keys are always text
    ]
    assert [one.model_dump() for one in again] == [scenario.model_dump()] * 3


def test_files_are_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s\n0\n1\n")
    (tmp_path / "s.yaml").write_text(MINIMAL.replace("{kind: burst, count: 5}", "{kind: trace, path: t.csv}"))
    assert Scenario.load(tmp_path / "s.yaml").base == tmp_path


def test_the_schema_is_a_json_schema_and_takes_what_the_loader_takes(scenario: Scenario) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(scenario.data)
    assert not validator.is_valid({**scenario.data, "sede": 7})
    assert not validator.is_valid({**scenario.data, "mesh": {"workers": 0}})
    assert not validator.is_valid({})


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_scenario_is_in_order_and_states_its_claim(path: Path) -> None:
    assert Scenario.load(path).name
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_an_override_leaves_the_callers_values_alone() -> None:
    """A value that is laid in and then changed by a deeper path is a copy: the caller may use it again."""
    mesh = {"workers": 2, "slots": 3}
    scenario = Scenario.parse(MINIMAL).override({"mesh": mesh, "mesh.slots": 7})
    assert (scenario.mesh.slots, mesh["slots"]) == (7, 3)
