"""The Rules page without a browser: every view, every scenario, and the words that it makes of the rulebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab.flaws import FLAWS, Flaw
from lab.rules.explain import MODULES, explain, preset_rulebook, shown
from lab.rules.tasks import MOVES, State
from lab.scenario import Scenario
from ui import library, rules_latex, rules_meaning, rules_states, rules_table, rules_view

PAGE = Path(__file__).resolve().parents[2] / "pages" / "rules.py"
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) **x** $y$'


def page(view: str = "", **query: str) -> AppTest:
    test = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        test.query_params[name] = value
    if view:
        test.session_state["rules"] = view
    test.run()
    assert not test.exception, test.exception[0].message
    return test


def words(test: AppTest) -> str:
    said = [str(element.value) for kind in (test.markdown, test.caption, test.error, test.code) for element in kind]
    return "\n".join([*said, *(element.proto.body for element in test.get("html"))])


def test_the_first_view_plays_a_flaw() -> None:
    test = page()
    assert "tasks** in hand when it was killed" in words(test)
    assert test.get("bidi_component")


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.key)
def test_a_link_to_a_flaw_opens_it(flaw: Flaw) -> None:
    assert f"scenarios/flaws/{flaw.key}.yaml" in words(page(flaw=flaw.key))


def test_a_link_to_a_flaw_that_is_not_there_opens_the_first() -> None:
    assert f"scenarios/flaws/{FLAWS[0].key}.yaml" in words(page(flaw=HOSTILE))


def test_the_states_view_shows_the_whole_table() -> None:
    said = words(page(rules_view.STATES))
    assert all(str(state) in said for state in State)
    assert all(event in said for _, event in MOVES)


def test_the_diagram_has_every_arrow_of_the_rulebook() -> None:
    arrows = rules_states.arrows()
    for (start, event), move in MOVES.items():
        source = "start" if start is None else str(start)
        assert str(event) in arrows[source, str(move.to)]
        if move.when_spent is not None:
            assert any(words.startswith(str(event)) for words in arrows[source, str(move.when_spent)])
    for dark in (False, True):
        dot = rules_states.dot(dark=dark)
        assert all(f"{source} -> {target} " in dot for source, target in arrows)
        assert all(f"{state} [fillcolor=" in dot for state in State)


def test_a_link_with_a_scenario_shows_its_values_and_marks_what_differs() -> None:
    test = page(scenario="worker_crash")
    said = words(test)
    assert test.selectbox(key="scenario").value == "worker_crash"
    assert "with **3 values** set otherwise" in said
    assert said.count('<mark class="changed">') == 3
    assert f"preset: {shown(preset_rulebook('lab').lease.length_s)}" in said


def test_a_scenario_that_is_not_there_is_no_error() -> None:
    test = page(scenario=HOSTILE)
    assert not test.error
    assert test.selectbox(key="scenario").value == library.DEFAULT


def test_published_and_lab_stand_side_by_side() -> None:
    said = words(page(rules_view.SWITCHES))
    assert '<mark class="flawed">in_slot</mark>' in said
    assert '<mark class="flawed">pop_then_update</mark>' in said
    assert all(f"?flaw={flaw.key}" in said for flaw in FLAWS)


# ---- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(library.shipped()))
def test_every_scenario_has_a_meaning(name: str) -> None:
    file = library.shipped()[name]
    scenario = library.load(file.text, file.path.name)
    for group in MODULES:
        assert rules_meaning.meaning(group, scenario)


def a_scenario(role: str = "A", **rules: Any) -> Scenario:
    roles = {role: {"service": {"dist": "constant", "mean_s": 1}}}
    workload = {"arrivals": {"kind": "burst", "count": 3}, "roles": roles}
    return Scenario.from_data({"workload": workload, "mesh": {"workers": 4}, "rules": rules})


def test_the_meaning_is_the_rulebooks() -> None:
    lab, published = a_scenario(), a_scenario(preset="agent-mesh-published")
    assert "waits of 2, 4, 8, 16, 32 s, 62.0 s in all" in rules_meaning.meaning("retry", lab)
    assert "while a task waits, its slot sleeps" in rules_meaning.meaning("retry", published)
    assert "a crash is mended within 11.0 s" in rules_meaning.meaning("lease", lab)
    assert "what a dead worker held is never taken back" in rules_meaning.meaning("lease", published)
    assert "closes while 2 of 4 workers are closed" in rules_meaning.meaning("admission", lab)
    assert rules_meaning.meaning("admission", published) == ["always open"]
    assert "a gate closes at 512 MiB and opens again at 410 MiB" in rules_meaning.meaning("health", lab)


def test_a_role_by_which_tasks_are_routed_is_text() -> None:
    (said,) = rules_meaning.meaning("priority", a_scenario("a_b_", priority={"route_by": "role"}))
    assert said.startswith("a\\_b\\_ → ")


def test_every_formula_is_balanced_latex() -> None:
    formulas = [rule.formula for rule in explain(preset_rulebook("lab")) if rules_latex.is_formula(rule.formula)]
    assert len(formulas) > 10
    for formula in formulas:
        made = rules_latex.latex([formula])
        assert made.replace(r"\{", "").replace(r"\}", "").count("{") == made.replace(r"\{", "").count("}"), made
        assert not made.endswith("\\")
        assert "`" not in made


def test_latex_of_a_formula() -> None:
    made = rules_latex.latex(["wait = min(base_s · factor^k, cap_s)"])
    inside = r"\mathit{wait} = \min(\mathit{base\_s} \cdot  \mathit{factor}^{k}, \mathit{cap\_s})"
    assert inside in made


def test_cells_are_text() -> None:
    for cell in (
        rules_table.words(HOSTILE),
        rules_table.words(HOSTILE, strong=True),
        rules_table.code(HOSTILE),
        rules_table.mark(HOSTILE, "changed"),
        rules_table.link(HOSTILE, HOSTILE),
    ):
        assert "<img" not in cell
        assert 'onerror="' not in cell
