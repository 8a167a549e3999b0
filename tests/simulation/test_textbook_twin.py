"""The engine against its readable twin: both get the same plan, and must make the same transitions of every task.

Random scenarios of all that the twin covers (`random_scenarios.py`), always the same ones; a failing one is shrunk by
Hypothesis, and its message says how to replay it. Others: `MESHLAB_TWIN_EXAMPLES=5000 pytest
tests/simulation/test_textbook_twin.py`.
"""

from __future__ import annotations

import ast
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lab import Scenario
from lab.moves import Moves, TransitionRow
from lab.rules.priority import QUEUES
from lab.rules.tasks import TERMINAL, Event, State
from lab.workload import Plan
from simulation.engine import Model
from tests.simulation.random_scenarios import scenarios
from tests.simulation.textbook import Textbook
from tests.simulation.textbook_appendix import FullTextbook

HERE = Path(__file__).parent
SCENARIOS = HERE.parents[1] / "scenarios"
EXAMPLES = int(os.environ.get("MESHLAB_TWIN_EXAMPLES", "100"))
REPLAYED = os.environ.get("MESHLAB_TWIN_SCENARIO", "")
AFTER_S = 60.0
"""How much longer than the engine the twin may go on: what happens there is what the engine has missed."""

Histories = dict[int, list[TransitionRow]]


@settings(
    max_examples=EXAMPLES,
    derandomize="MESHLAB_TWIN_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=scenarios())
def test_the_engine_and_the_twin_make_the_same_transitions(
    data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    scenario = Scenario.from_data(data, base=HERE)
    if told := difference(*both(scenario)):
        # Hypothesis runs the smallest example last, so that is what the file holds in the end.
        path = tmp_path_factory.getbasetemp() / "twin.yaml"
        path.write_text(scenario.to_yaml(), "utf-8")
        replay = f"MESHLAB_TWIN_SCENARIO={path} pytest {os.path.relpath(__file__)} -k replayed"
        raise AssertionError(f"{told}\nreplay: {replay}\n\n{scenario.to_yaml()}")


@pytest.mark.skipif(not REPLAYED, reason="MESHLAB_TWIN_SCENARIO names no scenario file")
def test_a_replayed_scenario() -> None:
    text = Path(REPLAYED).read_text("utf-8")
    assert not (told := difference(*both(Scenario.parse(text, base=HERE, source=REPLAYED)))), told


@pytest.mark.parametrize("name", ["poison", "poison_published", "rankup_squad", "sdlc_stress_500", "sustained_750"])
def test_the_shipped_scenarios(name: str) -> None:
    """Those without ties whose order is anybody's choice (overload: two batches that end when a task comes). Where they
    would run with a measured profile, the twin gets one that is as simple as it is.
    """
    scenario = Scenario.load(SCENARIOS / f"{name}.yaml")
    profile = scenario.profile if scenario.profile == "ideal" else str(HERE / "plain_profile.yaml")
    assert not (told := difference(*both(scenario.override({"profile": profile})))), told


@pytest.mark.parametrize(
    ("workers", "last_start_s", "makespan_s"),
    [
        (3, [38.0, 52.0, 66.0], 68.0),  # 15 slots: ⌈500/15⌉ = 34 rounds of 2 s; 300 high are 20 rounds, 100 medium 6⅔
        (1, [118.0, 158.0, 198.0], 200.0),  # 5 slots: 100 rounds; 300/5 = 60, 100/5 = 20, 20 rounds
    ],
)
def test_the_twin_alone_drains_the_burst_of_500_as_published(
    workers: int, last_start_s: list[float], makespan_s: float
) -> None:
    plan = Plan(Scenario.load(SCENARIOS / "sdlc_stress_500.yaml").override({"mesh.workers": workers}))
    log = run(Textbook(plan), makespan_s + 1.0)
    starts = [[row.at_s for row in log if row.reason == Event.CLAIMED and plan.queue[row.task] == c] for c in (0, 1, 2)]
    assert [max(one) for one in starts] == last_start_s, QUEUES
    assert [row.at_s for row in log if row.to_state in TERMINAL][-1] == makespan_s
    assert sum(row.to_state is State.COMPLETED for row in log) == 500


def test_the_twin_alone_dead_letters_poison_at_74_s(build: Any) -> None:
    """Six attempts of 2 s, and waits of 2 + 4 + 8 + 16 + 32 s between them."""
    log = run(Textbook(Plan(build(workload__roles__A__failure_rate=1.0))), 80.0)
    assert (log[-1].to_state, log[-1].at_s, log[-1].attempt) == (State.PERMANENT_FAILURE, 74.0, 6)
    assert [row.delay_s for row in log if row.to_state is State.RETRY_WAIT] == [2.0, 4.0, 8.0, 16.0, 32.0]


def test_a_difference_is_seen_and_told(build: Any) -> None:
    ours, _ = both(build(workload__arrivals={"kind": "burst", "count": 3}))
    _, theirs = both(build(workload__arrivals={"kind": "burst", "count": 3}, mesh__slots=2))
    assert difference(ours, theirs).splitlines() == [
        "task 1 differs from its transition 2 on:",
        "  engine  2.000000 PENDING → RUNNING, claimed, w0.1, attempt 1, token 1, delay 0.0",
        "  twin    0.000000 PENDING → RUNNING, claimed, w0.1, attempt 1, token 1, delay 0.0",
    ]


def test_the_textbook_is_short_and_its_own() -> None:
    """At most 300 lines, and nothing of what it is a check of."""
    assert len((HERE / "textbook.py").read_text("utf-8").splitlines()) <= 300
    for name in ("textbook.py", "textbook_appendix.py"):
        tree = ast.walk(ast.parse((HERE / name).read_text("utf-8")))
        named = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
        tree = ast.walk(ast.parse((HERE / name).read_text("utf-8")))
        named += [node.module or "" for node in tree if isinstance(node, ast.ImportFrom)]
        assert not [module for module in named if module.split(".")[0] == "simulation"]


# -- running and comparing --


def both(scenario: Scenario) -> tuple[Histories, Histories]:
    """What becomes of each task in the engine and in the twin."""
    model = Model(Plan(scenario))
    model.run()
    end_s = model.clock.now
    return histories(rows(model.moves())), histories(run(FullTextbook(Plan(scenario)), end_s + AFTER_S))


def run(twin: Textbook, until_s: float) -> list[TransitionRow]:
    twin.env.run(until_s)
    return twin.log


def rows(moves: Moves) -> Iterator[TransitionRow]:
    """The engine's columns as rows."""
    delay_s = dict(zip(moves.delayed.tolist(), moves.delay_s.tolist(), strict=True))
    columns = (moves.task.tolist(), moves.at_s.tolist(), moves.step.tolist(), moves.worker.tolist())
    for number, (task, at_s, step, worker) in enumerate(zip(*columns, strict=True)):
        start, end, *facts = moves.steps[step]
        name, delayed_s = moves.workers[worker], delay_s.get(number, 0.0)
        yield TransitionRow(task, start, end, at_s, name, facts[0], facts[1], facts[2], delayed_s)


def histories(log: Iterable[TransitionRow]) -> Histories:
    """Task by task what happened to it, in order."""
    found: Histories = defaultdict(list)
    for row in log:
        found[row.task].append(row)
    return dict(found)


def difference(ours: Histories, theirs: Histories) -> str:
    """The earliest transition that differs, for people; nothing if none does."""
    found = []
    for task in ours.keys() | theirs.keys():
        pairs = list(zip_longest(ours.get(task, []), theirs.get(task, [])))
        number = next((number for number, pair in enumerate(pairs) if not same(*pair)), None)
        if number is not None:
            found.append((min(row.at_s for row in pairs[number] if row), task, number, pairs[number]))
    if not found:
        return ""
    _, task, number, (one, other) = min(found)
    return f"task {task} differs from its transition {number + 1} on:\n  engine  {shown(one)}\n  twin    {shown(other)}"


def same(one: TransitionRow | None, other: TransitionRow | None) -> bool:
    """Equal to the microsecond, to which both round what floats have added up in different order."""
    if one is None or other is None:
        return one is other
    close = all(abs(a - b) < 1.5e-6 for a, b in ((one.at_s, other.at_s), (one.delay_s, other.delay_s)))
    return close and one._replace(at_s=0.0, delay_s=0.0) == other._replace(at_s=0.0, delay_s=0.0)


def shown(row: TransitionRow | None) -> str:
    if row is None:
        return "nothing more"
    way = f"{row.from_state or 'nowhere'} → {row.to_state}, {row.reason}"
    claim = f"{row.worker or 'nobody'}, attempt {row.attempt}, token {row.token}"
    return f"{row.at_s:.6f} {way}, {claim}, delay {row.delay_s}"
