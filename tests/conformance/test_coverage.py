"""That no rule is without a case that feels it: rulebook and state table on one side, the cases on the other."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from lab.rules.base import Rules
from lab.rules.rulebook import Rulebook
from lab.rules.tasks import MOVES, Event, State
from simulation import simulate
from tests.conformance.case import Case
from tests.conformance.cases import CASES

NOT_IN_A_RECORD = {
    "admission.retry_after_s": "told to an HTTP client with its 429",
    "view": "what a browser paints",
}
"""Rules that no engine asks, so that nothing of them can be seen in a record."""
BY_AN_OPERATOR = {(State.PENDING, Event.CANCELLED), (State.RETRY_WAIT, Event.CANCELLED)}
"""No scenario cancels a task; test_refusals.py has these done by the stores themselves."""


class Rule(NamedTuple):
    """A rule that a case must set. `value` is one option of a switch; of other rules (None) any but the default will
    do. `instead` is what the case is then to be tried with.
    """

    path: str
    value: Any
    instead: Any


def _rules(path: str, group: type[Rules]) -> Iterator[Rule]:
    for name, field in group.model_fields.items():
        here = f"{path}.{name}" if path else name
        if any(here == known or here.startswith(f"{known}.") for known in NOT_IN_A_RECORD):
            continue
        options, part = _options(field), _part(field)
        for option in options:
            yield Rule(here, option, next(other for other in options if other != option))
        if not options and (part is None or field.default is None):
            yield Rule(here, None, field.default)
        if part is not None:
            yield from _rules(here, part)


def _options(field: FieldInfo) -> tuple[Any, ...]:
    """The values of a switch; nothing if the rule is none."""
    if field.annotation is bool:
        return (True, False)
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def _part(field: FieldInfo) -> type[Rules] | None:
    """The group of rules that a field holds (or may hold), if it is one."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Rules)), None)


RULES = list(_rules("", Rulebook))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.path}={'' if rule.value is None else rule.value}")
def test_every_rule_is_felt_by_a_case(rule: Rule, tmp_path: Path) -> None:
    """A case sets it, and fails in the model if that one value is another."""
    setting = [case for case in CASES if any(_sets(rule, *value) for value in case.values())]
    assert setting, f"no case sets {rule.path} to {'a value of its own' if rule.value is None else rule.value!r}"
    assert any(_fails_without(rule, case, tmp_path) for case in setting), (
        f"{', '.join(case.name for case in setting)}: holds with {rule.path} = {rule.instead!r} too"
    )


def _sets(rule: Rule, path: str, value: Any) -> bool:
    return path == rule.path and (value != rule.instead if rule.value is None else value == rule.value)


def _fails_without(rule: Rule, case: Case, folder: Path) -> bool:
    try:
        case.look_at(simulate(case.scenario(folder).override({f"rules.{rule.path}": rule.instead})))
    except AssertionError:
        return True
    return False


def test_every_move_of_the_state_table_is_made_by_a_case() -> None:
    """Both ends of a move, where it has two. Each case demands its moves of both engines."""
    wanted = {
        (str(start or ""), event, end)
        for (start, event), move in MOVES.items()
        for end in (move.to, move.when_spent)
        if end is not None and (start, event) not in BY_AN_OPERATOR
    }
    assert wanted == {edge for case in CASES for edge in case.edges}


def test_what_is_left_out_is_asked_by_no_engine(root: Path) -> None:
    """So that an exception above cannot hide a rule that has come to matter to a run: searched is all that a run of
    either engine loads, in a process of its own, as other tests load more."""
    run = "import live_backend.engine, live_backend.worker, simulation.engine, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", run], cwd=root, capture_output=True, text=True, check=True).stdout
    ours = [name for name in loaded.split() if name.startswith(("live_backend.", "simulation."))]
    paths = [root / f"{name.replace('.', '/')}.py" for name in ours]
    code = "\n".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())
    assert "class Worker" in code
    assert not re.search(r"\brules\.view\b|\brules import .*\bview\b|\badmission\.retry_after_s\b", code)


def test_names_are_given_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
