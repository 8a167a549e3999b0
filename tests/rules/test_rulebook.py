"""The rulebook as a whole: closed, frozen, explained; presets; docs/RULES.md is not stale; rules read no clock."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import lab.rules
from lab.rules import Rulebook
from lab.rules.explain import MODULES, explain, markdown, preset_rulebook, shown
from lab.rules.presets import PRESETS

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted(Path(lab.rules.__path__[0]).glob("*.py"))


def test_rules_md_is_not_stale() -> None:
    kept = (ROOT / "docs" / "RULES.md").read_text(encoding="utf-8")
    assert kept == markdown(), "run: meshlab rules --markdown > docs/RULES.md"


def test_every_rule_has_a_reason_and_every_group_is_told() -> None:
    told = list(explain(Rulebook()))
    assert {rule.path.partition(".")[0] for rule in told} == set(MODULES)
    assert [rule.path for rule in told if len(rule.reason) < 20] == []
    groups = {name for name in Rulebook.model_fields if name != "preset"}
    assert groups == set(MODULES), "a new group of rules must be told by explain.py"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("retry.max_retries", 5),
        ("retry.base_s", 1.0),
        ("retry.budget", None),
        ("retry.budget.ratio", 0.1),
        ("retry.budget.burst", 10.0),
        ("retry.timeout_s", None),
        ("deadline.wait_s", None),
        ("deadline.spread", "fixed"),
        ("deadline.late", "cancel"),
        ("lease.length_s", 10.0),
        ("lease.sweep_s", 1.0),
        ("health.report_s", 1.0),
        ("health.rss_limit_mib", 512.0),
        ("health.resume_score", 0.2),
        ("health.recycle_after_s", 30.0),
        ("health.close_share", 0.5),
        ("admission.max_pending", None),
        ("shutdown.grace_s", 30.0),
        ("view.flush_s", 0.1),
        ("view.high_traffic_events", 50),
        ("priority.weights", (6, 3, 1)),
    ],
)
def test_defaults_are_the_designs(path: str, value: object) -> None:
    assert {rule.path: rule.value for rule in explain(Rulebook())}[path] == value


@pytest.mark.parametrize(
    ("preset", "path", "value"),
    [
        ("agent-mesh-published", "retry.wait", "in_slot"),
        ("agent-mesh-published", "lease.claim", "pop_then_update"),
        ("agent-mesh-published", "health.backpressure", False),
        ("agent-mesh-published", "health.report_s", 2.0),
        ("agent-mesh-published", "shutdown.on_term", "drop"),
        ("go-distributed-queue-published", "retry.max_retries", 3),
        ("go-distributed-queue-published", "retry.base_s", 0.0),
        ("go-distributed-queue-published", "retry.position", "front"),
    ],
)
def test_published_presets_hold_their_flaws(preset: str, path: str, value: object) -> None:
    assert {rule.path: rule.value for rule in explain(preset_rulebook(preset))}[path] == value


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_is_a_valid_rulebook(preset: str) -> None:
    assert preset_rulebook(preset).preset == preset


@pytest.mark.parametrize(
    "broken",
    [
        {"retry": {"max_retries": -1}},
        {"retry": {"max_retries": 2.5}},
        {"retry": {"max_retries": True}},
        {"retry": {"base_s": float("nan")}},
        {"retry": {"base_s": float("inf")}},
        {"retry": {"base_s": "1"}},
        {"retry": {"tries": 1}},
        {"retry": {"timeout_s": 0}},
        {"deadline": {"wait_s": 0}},
        {"deadline": {"late": "hide"}},
        {"lease": {"length_s": 0}},
        {"health": {"resume_score": 1.0}},
        {"priority": {"weights": [6, 3]}},
        {"priority": {"weights": [6, 3, 0]}},
        {"preset": "mine"},
    ],
)
def test_a_rule_out_of_its_bounds_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Rulebook.model_validate(broken)


def test_a_part_that_is_switched_on_is_told_with_its_own_values() -> None:
    told = {rule.path: rule.value for rule in explain(Rulebook.model_validate({"retry": {"budget": {"ratio": 0.5}}}))}
    assert (told["retry.budget"], told["retry.budget.ratio"], told["retry.budget.burst"]) == (True, 0.5, 10.0)


def test_a_rulebook_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Rulebook().retry.max_retries = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "off"), (True, "true"), (False, "false"), (2.0, "2"), (0.1, "0.1"), ((6, 3, 1), "6:3:1")]
)
def test_values_are_shown_as_people_write_them(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.name)
def test_rules_know_no_clock_no_chance_and_no_world(file: Path) -> None:
    """DESIGN.md 1.2: time, chance and identity are inputs of a rule."""
    forbidden = {"time", "datetime", "random", "uuid", "secrets", "os", "asyncio", "threading", "socket", "numpy"}
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & forbidden
