"""The page Plan: the form, what it starts, and a plan as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cli.main import parser
from lab.planning import Candidates, Objectives, plan
from lab.scenario import Scenario
from simulation import simulate
from tests.ui.conftest import shown
from ui import long_jobs, plan_live

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2))'


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """A plan of thirty tasks of a second."""
    text = """\
name: thirty
workload:
  arrivals: {kind: burst, count: 30}
  roles: {A: {service: {dist: constant, mean_s: 1.0}}}
profile: ideal
"""
    found = plan(simulate, Scenario.parse(text), Objectives(p99_s=4), Candidates(slots=[5]), replications=2, cores=1)
    return found.as_json()


def planned(runs: Path, answer: dict[str, Any] | None, **status: Any) -> str:
    """The folder of a plan that has ended."""
    words = ["{folder}/scenario.yaml", "--p99", "4", "--slots", "5", "--quiet", "--out", "{folder}/plan.json"]
    name = long_jobs.start("plan", "Plan: thirty", words, {"scenario.yaml": "name: thirty\n"}, lambda *_: 0)
    folder = long_jobs.read(name).folder
    if answer is not None:
        (folder / "plan.json").write_text(json.dumps(answer))
        (folder / "winner.yaml").write_text("name: thirty\n")
    (folder / "status.json").write_text(json.dumps({"state": "done", **status}))
    return name


def drawn(**query: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "pages" / "plan.py"), default_timeout=30)
    for name, value in query.items():
        page.query_params[name] = value
    return page.run()


def words(page: AppTest) -> str:
    return " ".join(one.value for one in [*page.markdown, *page.caption, *page.info, *page.success, *page.error])


def test_one_press_starts_the_plan_that_the_form_says(runs: Path, launched: list[list[str]]) -> None:
    page = shown(drawn())
    assert "How many workers do I need" in words(page)
    page.number_input(key="plan-p99-sdlc-quick").set_value(8.0)
    page.number_input(key="plan-dead-max-sdlc-quick").set_value(0.1)
    page.text_input(key="plan-workers").set_value("1..8")
    page.run()
    shown(page.button(key="plan-start").click().run())
    (command,) = launched
    options = parser().parse_args(command[command.index("plan") :])
    assert (options.p99, options.dead_max, options.workers) == (8.0, pytest.approx(0.001), range(1, 9))
    assert (options.cost_worker, options.cost_slot) == (1.0, 0.0) and options.out.endswith("plan.json")
    assert Path(options.scenario).is_file()


def test_a_form_that_says_nothing_starts_nothing(runs: Path, launched: list[list[str]]) -> None:
    page = shown(drawn())
    page.number_input(key="plan-p99-sdlc-quick").set_value(0.0)
    assert "objective" in words(shown(page.run())) and page.button(key="plan-start").disabled
    page.number_input(key="plan-p99-sdlc-quick").set_value(8.0)
    page.text_input(key="plan-slots").set_value("many")
    assert "1\\.\\.32" in words(shown(page.run())) and page.button(key="plan-start").disabled


def test_a_plan_is_the_mesh_its_figures_and_every_candidate(runs: Path, answer: dict[str, Any]) -> None:
    page = shown(drawn(job=planned(runs, answer)))
    assert "2 workers × 5 slots" in words(page) and "meets the objectives" in words(page)
    cards = " ".join(one.proto.body for one in page.get("html"))
    assert "3.00 s" in cards and "exact" in cards and "Margin to the cliff" in cards
    assert len(page.get("plotly_chart")) == 1
    assert list(page.dataframe[0].value[""]).count("★ winner") == 1
    assert page.button(key="plan-live").label == "Confirm live"


def test_no_mesh_and_no_answer_are_told(runs: Path, answer: dict[str, Any]) -> None:
    hopeless = {**answer, "winner": None, "found": False, "margin": None, "words": [f"None {HOSTILE}", "b", "c", "d"]}
    page = shown(drawn(job=planned(runs, hopeless)))
    assert "No mesh meets the objectives" in words(page) and "\\<img" in words(page)
    assert not [one for one in page.button if one.key == "plan-live"]
    assert "left no answer" in words(shown(drawn(job=planned(runs, None))))
    assert "there is no job" in words(shown(drawn(job="gone.plan"))).replace("There", "there")


def test_confirming_starts_the_same_plan_with_the_winner_alone(
    runs: Path, answer: dict[str, Any], launched: list[list[str]]
) -> None:
    page = shown(drawn(job=planned(runs, answer)))
    shown(page.button(key="plan-live").click().run())
    (command,) = launched
    options = parser().parse_args(command[command.index("plan") :])
    assert (options.workers, options.slots, options.policies) == ([2], [5], "as-written")
    assert options.confirm and options.no_margin and options.p99 == 4.0
    assert page.query_params[plan_live.LIVE]


@pytest.mark.parametrize(
    ("confirmation", "said"),
    [
        ({"done": True, "ok": True, "words": ["Confirmed.", "p99 fine."], "record": "runs/x"}, "Confirmed"),
        ({"done": True, "ok": False, "words": ["NOT confirmed.", "p99 late."], "record": None}, "p99 late"),
        ({"done": False, "ok": None, "words": ["Not confirmed live: too large."], "record": None}, "too large"),
        (None, "did not meet"),
    ],
)
def test_what_the_live_run_said(
    runs: Path,
    answer: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    confirmation: dict[str, Any] | None,
    said: str,
) -> None:
    links: list[Any] = []
    monkeypatch.setattr("streamlit.page_link", lambda *_, **more: links.append(more["query_params"]))
    live = planned(runs, {**answer, "confirmation": confirmation})
    page = shown(drawn(job=planned(runs, answer), live=live))
    everything = words(page) + " ".join(one.value for one in page.warning)
    assert said in everything
    assert links == ([{"run": "x"}] if confirmation and confirmation["record"] else [])
