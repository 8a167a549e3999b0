"""Same rules, shown: every rule's case through the model and through the live engine, judged by the same assertions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simulation import simulate
from tests.conformance.case import Case
from tests.conformance.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each_case
def test_the_model_keeps_the_rule(case: Case, tmp_path: Path) -> None:
    case.look_at(simulate(case.scenario(tmp_path)))


@pytest.mark.live
@each_case
def test_the_live_engine_keeps_the_rule(case: Case, live: Callable[[Case], None]) -> None:
    live(case)
