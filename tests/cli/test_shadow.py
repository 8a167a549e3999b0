"""`meshlab shadow` without a mesh, and how it tells what a mesh does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli import shadow
from lab.drift import Alarm
from lab.errors import Unavailable
from lab.observed_watch import FIGURES, Look
from tests.cli.conftest import Meshlab

Looks = Callable[..., None]


def _look(state: Any, *alarms: Alarm) -> Look:
    figures = dict.fromkeys(FIGURES, 1.5)
    causes = ("a cause",) if alarms else ()
    return Look(1_000.0, 120.0, state, alarms, figures, figures, 0.25, causes, (), {}, np.zeros(0))


SLOWER = Alarm("mesh", "mesh slower", "tasks take longer", 990.0, 1.2)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """looks(one, …): what the mesh shows."""

    def given(*found: Look) -> None:
        def made(*_: object) -> Iterator[Look]:
            return iter(found)

        monkeypatch.setattr(shadow, "_looks", made)

    return given


def test_without_a_mesh_it_says_what_to_do(meshlab: Meshlab, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(here))
    monkeypatch.delenv("DB_DSN", raising=False)
    said = meshlab("shadow", "--once", "--status", "status.json")
    assert said.status == 1
    assert "start one with `meshlab up`" in said.err
    assert json.loads((here / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(("state", "status"), [("agree", 0), ("quiet", 0), ("apart", 3)])
def test_one_look_ends_with_its_verdict(meshlab: Meshlab, looks: Looks, state: str, status: int) -> None:
    looks(_look(state, *([SLOWER] if state == "apart" else [])))
    said = meshlab("shadow", "--once", "--json")
    assert said.status == status
    assert (said.json["state"], said.json["figures"]["depth"]) == (state, {"seen": 1.5, "predicted": 1.5})


def test_a_line_a_look_and_causes_when_alarms_change(meshlab: Meshlab, looks: Looks, here: Path) -> None:
    looks(_look("agree"), _look("apart", SLOWER), _look("apart", SLOWER))
    said = meshlab("shadow", "--out", "looks.jsonl")
    assert said.status == 0
    lines = said.out.splitlines()
    assert lines[0] == "the last 2 min, seen | predicted"
    assert "p95 1.50 s | 1.50 s" in lines[1] and lines[1].endswith("apart +0.2  agrees")
    assert lines[2].endswith("APART: mesh slower for 10.0 s")
    assert "the mesh behaves otherwise than its rules" in lines[3]
    assert lines[4].strip() == "a cause"
    assert len(lines) == 6, "the same alarm is not explained again"
    states = [json.loads(line)["state"] for line in (here / "looks.jsonl").read_text().splitlines()]
    assert states == ["agree", "apart", "apart"]


def test_a_database_that_is_away_for_a_while_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([Unavailable("PostgreSQL does not answer"), _look("agree")])
    stopped = False

    def look() -> Look:
        nonlocal stopped
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        stopped = True
        return answer

    from cli.main import parser

    options = parser().parse_args(["shadow", "--every", "0.2"])
    assert [one.state for one in shadow._looking(options, lambda: stopped, look)] == ["agree"]
    assert "PostgreSQL does not answer" in capsys.readouterr().err
    options = parser().parse_args(["shadow", "--once"])
    with pytest.raises(StopIteration):
        next(shadow._looking(options, lambda: True, look))


@pytest.mark.parametrize("words", [("--window", "1"), ("--window", "nan"), ("--every", "0"), ("--every", "soon")])
def test_spans_have_bounds(meshlab: Meshlab, words: tuple[str, ...]) -> None:
    said = meshlab("shadow", *words)
    assert said.status == 2 and "seconds" in said.err
