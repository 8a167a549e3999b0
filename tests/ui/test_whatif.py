"""The page What-if as a user meets it, without a browser: six cards, an answer, values, the real thing as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import whatif, whatif_live
from lab.record import Record
from lab.scenario import Scenario
from lab.whatif import CARDS, Asked
from simulation import simulate
from tests.ui.conftest import as_live, shown
from ui import jobs, long_jobs, studio_saved, text, whatif_deck, whatif_model

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
# A small one.
name: small
workload:
  arrivals: {kind: burst, count: 12}
  roles: {DEV: {service: {dist: exponential, mean_s: 0.2}, failure_rate: 0.1}}
mesh: {workers: 3, slots: 1}
profile: ideal
"""
Open = Callable[..., AppTest]


@pytest.fixture
def opened(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Open:
    """opened(card=[…], text=…): the page on a scenario of the user's own."""
    monkeypatch.setattr(whatif_model, "REPLICATIONS_MAX", 2)

    def open_(*cards: str, content: str = SMALL, **query: str) -> AppTest:
        folder = studio_saved.folder()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_text(content)
        page = AppTest.from_file(ROOT / "app.py", default_timeout=60)
        page.switch_page("pages/whatif.py")
        for name, value in {"scenario": "mine", **query}.items():
            page.query_params[name] = value
        if cards:
            page.query_params["card"] = list(cards)
        return shown(page.run())

    return open_


def words(page: AppTest) -> str:
    return "\n".join(element.value for element in (*page.markdown, *page.caption, *page.warning, *page.info))


def plain(page: AppTest) -> str:
    """The same without the marks that keep Markdown from reading it."""
    return words(page).replace("\\", "")


def chosen(page: AppTest) -> list[str]:
    """The cards in the address."""
    found = page.query_params.get("card", [])
    return [found] if isinstance(found, str) else list(found)


def test_six_cards_with_what_comes_of_them(opened: Open) -> None:
    page = opened()
    cards = [button for button in page.button if str(button.key).startswith("ask-")]
    assert [str(button.key).removeprefix("ask-") for button in cards] == list(CARDS)
    assert all("-badge[" in button.label for button in cards)
    assert "Choose a card to see what it does" in words(page)
    assert "Provider 2× slower" in plain(page) and "Latency p99" in plain(page)


def test_one_click_shows_the_answer_and_a_second_takes_it_away(opened: Open) -> None:
    page = shown(opened().button(key="ask-redis-away").click().run())
    assert chosen(page) == ["redis-away"]
    assert "#### Latency p99" in words(page) and "Redis is back" in words(page)
    assert len(page.get("plotly_chart")) == 3
    assert any("redis_restart" in code.value for code in page.code)
    assert next(button.label for button in page.button if button.key == "whatif-live").startswith("Run it live · about")
    page = shown(page.button(key="ask-traffic").click().run())
    assert chosen(page) == ["traffic"]
    page = shown(page.button(key="ask-traffic").click().run())
    assert chosen(page) == []


def test_cards_add_up_where_asked(opened: Open) -> None:
    page = opened("failures:10")
    page = shown(page.toggle(key="whatif-combine").set_value(True).run())
    page = shown(page.button(key="ask-redis-away").click().run())
    assert chosen(page) == ["failures:10", "redis-away"]
    page = shown(page.button(key="ask-failures").click().run())
    assert chosen(page) == ["redis-away"]


def test_values_are_turned_and_stand_in_the_address(opened: Open) -> None:
    page = opened("failures", "lose-workers")
    assert {control.label for control in page.button_group} == {"Failures", "Workers that die"}
    page = shown(page.button_group(key="whatif-value-failures").set_value("10").run())
    assert chosen(page) == ["failures:10", "lose-workers"]
    assert "10 times as many attempts fail" in plain(page)
    assert "20%" in opened("failures:20%").button_group(key="whatif-value-failures").options


def test_two_policies_side_by_side(opened: Open) -> None:
    page = opened("policy")
    page = shown(page.selectbox(key="whatif-policy-b").select("in-slot").run())
    assert chosen(page) == ["policy:as-written,in-slot"]
    assert "with as-written and" in plain(page)


def test_what_does_not_apply_says_why(opened: Open) -> None:
    alone = SMALL.replace("workers: 3", "workers: 1").replace(", failure_rate: 0.1", "")
    page = opened(content=alone)
    buttons = {str(button.key): button for button in page.button}
    assert buttons["ask-lose-workers"].disabled and buttons["ask-policy"].disabled
    assert "nobody would be left to work" in plain(page)
    page = opened("lose-workers", content=alone)
    assert "nobody would be left to work" in page.warning[0].value
    assert "DEV: real" not in words(page)


@pytest.mark.parametrize("card", ["hope", "failures:<img src=x>", "provider-slow:2,[x](y)", "policy:{a: 1}"])
def test_a_hostile_address_is_told_in_words(card: str, opened: Open) -> None:
    page = opened(card)
    assert not page.error or "<img" not in page.error[0].value
    assert "[x](y)" not in words(page)


def test_a_scenario_with_problems_or_too_many_tasks(opened: Open) -> None:
    assert "problems" in opened(content=SMALL.replace("count: 12", "count: -1")).error[0].value
    page = opened("traffic", content=SMALL.replace("count: 12", "count: 1_000_000".replace("_", "")))
    assert "meshlab whatif" in page.info[0].value and not page.get("plotly_chart")
    assert [button.label for button in page.button if button.key == "whatif-live"] == ["Run it live"]


def test_runs_are_shared_and_depend_on_what_they_ran_with() -> None:
    scenario = Scenario.parse(SMALL)
    world = whatif_model.World.of(scenario, 2)
    assert whatif_model.runs(world) is whatif_model.runs(whatif_model.World.of(scenario, 2))
    assert whatif_model.World.of(scenario.override({"profile": "shipped"}), 2).costs != world.costs


# ---- live ------------------------------------------------------------------------------------------------------------


def test_the_real_thing_is_a_job_outside_of_the_page(opened: Open, launched: list[list[str]], runs: Path) -> None:
    page = shown(opened("failures:10", "redis-away").button(key="whatif-live").click().run())
    job = long_jobs.read(str(page.query_params["job"]))
    assert launched[0][4:] == [
        *(
            str(job.folder / "scenario.yaml"),
            "--live",
            "--replications",
            "1",
            "--quiet",
            "--out",
            str(job.folder / "answer.json"),
        ),
        *("--card", "failures:10", "--card", "redis-away", "--status", str(job.folder / "status.json")),
    ]
    assert Scenario.load(job.folder / "scenario.yaml").name == "small"
    assert job.title == "small: what if, live"


def finished(runs: Path, live: Any) -> str:
    """A job that is done, with this for its live answer."""
    job_id = long_jobs.start("whatif", "small: what if, live", [], {}, lambda command, log: 4_000_000)
    folder = jobs.jobs_dir() / job_id
    (folder / "answer.json").write_text(json.dumps({"live": live}))
    (folder / "status.json").write_text(json.dumps({"state": "done"}))
    return job_id


def beside(runs: Path, scenario: Scenario) -> whatif_live.Beside:
    """Model and stand-ins for the real thing, before and after, kept."""

    def live(one: Scenario, **_: Any) -> Record:
        return as_live(simulate(one), 1.1)

    def save(record: Record) -> Record:
        record.save(runs / str(record.info["run_id"]))
        return record

    question = whatif.question(scenario, [Asked("failures", "2")])
    return whatif_live.run({"model": simulate, "live": live}, question, save)


def test_what_the_real_thing_says(opened: Open, runs: Path) -> None:
    found = beside(runs, Scenario.parse(SMALL))
    page = opened("failures:2", job=finished(runs, found.as_json()))
    assert "Live, latency p99 goes from" in plain(page)
    assert len(page.get("plotly_chart")) == 6
    assert "Live before" in words(page)
    assert next(button.label for button in page.button if button.key == "whatif-live").startswith("Run it live again")
    for folder in runs.glob("*-live-*"):
        (folder / "run.json").unlink()
    page = opened("failures:2", job=finished(runs, found.as_json()))
    assert "records of these runs have been deleted" in words(page)


def test_where_the_real_thing_cannot_say(opened: Open, runs: Path) -> None:
    page = opened("redis-away", job=finished(runs, {"possible": False, "why": "it uses <your> servers"}))
    assert text.escape("it uses <your> servers") in words(page)
    page = opened("redis-away", job="20260101-000000-abc.whatif")
    assert "there is no job" in page.error[0].value.replace("\\", "").lower()
    own = SMALL.replace("failure_rate: 0.1", "handler: {python: 'os:getcwd'}")
    page = opened("provider-slow", content=own)
    assert "real work of yours" in plain(page)
    assert not [button for button in page.button if button.key == "whatif-live"]


def test_titles_do_not_break_between_number_and_unit() -> None:
    assert whatif_deck._unbroken("Redis is away for 30 s") == "Redis is away for 30\u00a0s"
