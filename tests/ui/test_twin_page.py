"""The page Twin as a user meets it: before the first test, while one runs, its results, one scenario of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import twin
from lab.errors import UsageError
from lab.record import Record, write_json
from lab.scenario import Scenario
from lab.twin_matrix import Case
from simulation import simulate
from tests.ui.conftest import as_live, shown
from ui import jobs, long_jobs, twin_results

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<img src=x onerror="alert(1)"> **x** $y$'


@pytest.fixture(scope="session")
def tested(scenario: Scenario, model: Record) -> dict[str, Any]:
    """The results of a test of two scenarios; the machine is a tenth slower than the model."""

    def live(one: Scenario, **watched: Any) -> Record:
        return as_live(simulate(one, **watched), 1.1)

    other = scenario.override({"name": "other", "workload.arrivals.count": 30})
    cases = [Case("small", "Forty tasks.", scenario), Case("other", HOSTILE, other)]
    return twin.run(simulate, live, cases, 2).data


@pytest.fixture
def page(runs: Path) -> AppTest:
    return AppTest.from_file(str(ROOT / "pages" / "twin.py"), default_timeout=30)


def put(data: dict[str, Any] | None, state: str = "done", kind: str = "twin") -> str:
    """A job of that kind, with these results."""
    job_id = long_jobs.start(kind, "Full test of the model", [], launch=lambda command, log: 0)
    folder = jobs.jobs_dir() / job_id
    write_json(folder / "status.json", {"state": state, "fraction": 0.5, "done": 5, "total": 10, "records": []})
    if data is not None:
        write_json(folder / "results.json", data)
    return job_id


def words(page: AppTest) -> str:
    """Everything that is written on the page."""
    kinds = ("markdown", "caption", "warning", "success", "error", "info")
    return "\n".join(str(getattr(one, "value", "")) for kind in kinds for one in page.get(kind))


def test_before_the_first_test_it_says_what_to_do(page: AppTest) -> None:
    shown(page.run())
    assert "How far may the model be trusted?" in words(page)
    assert [button.key for button in page.button] == ["calibrate", "quick", "full"]


@pytest.mark.parametrize(
    ("button", "command"), [("quick", ["twin", "--quick"]), ("full", ["twin"]), ("calibrate", ["calibrate"])]
)
def test_a_button_starts_the_command(page: AppTest, launched: list[list[str]], button: str, command: list[str]) -> None:
    shown(page.run())
    shown(page.button(key=button).click().run())
    (asked,) = launched
    assert asked[3 : 3 + len(command)] == command
    if button != "calibrate":
        assert asked[asked.index("--out") + 1] == str(jobs.jobs_dir() / str(page.query_params["job"]))


def test_the_results(page: AppTest, tested: dict[str, Any]) -> None:
    put(tested)
    shown(page.run())
    assert "missed" in words(page)
    html = "\n".join(str(one.proto.body) for one in page.get("html"))
    assert "small" in html
    assert "data:image/svg+xml" in html
    assert "<img src=x" not in html
    assert {"open-small", "open-other"} <= {button.key for button in page.button}
    assert page.get("plotly_chart")


def test_a_scenario_can_be_opened_and_left(page: AppTest, tested: dict[str, Any]) -> None:
    put(tested)
    shown(page.run())
    shown(page.button(key="open-other").click().run())
    assert page.query_params["scenario"] == "other"
    assert "The tasks that are furthest apart" in words(page)
    assert "too fast" in words(page)
    assert len(page.get("plotly_chart")) == 4
    assert "<img" not in words(page).replace("\\<img", "")
    shown(page.button(key="twin-later").click().run())
    assert page.query_params["scenario"] == "small"
    shown(page.button(key="twin-back").click().run())
    assert "scenario" not in page.query_params


def test_a_test_that_runs_is_followed_above_the_results_so_far(page: AppTest, tested: dict[str, Any]) -> None:
    part = {**tested, "complete": False}
    put(part, state="running")
    shown(page.run())
    assert "this is a part of the verdict" in words(page)
    assert any(button.label == "Cancel" for button in page.button)
    assert page.button(key="quick").disabled


def test_while_the_next_test_starts_the_last_results_stay(page: AppTest, tested: dict[str, Any]) -> None:
    put(tested)
    put(None, state="starting")
    shown(page.run())
    assert "small" in "\n".join(str(one.proto.body) for one in page.get("html"))


def test_a_link_that_leads_nowhere_is_said(page: AppTest) -> None:
    page.query_params["job"] = "20260101-000000-abcdef.twin"
    shown(page.run())
    assert "There is no job" in words(page).replace("\\", "")


def test_results_that_are_damaged_are_said(page: AppTest, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(UsageError, match="no results of a prediction test"):
        twin_results.read(tmp_path / "results.json")
    job_id = put(None)
    (jobs.jobs_dir() / job_id / "results.json").write_text("{half")
    shown(page.run())
    assert "run the test again" in words(page)


def test_what_the_model_knows_of_the_machine(page: AppTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MESHLAB_PROFILES", str(tmp_path / "profiles"))
    shown(page.run())
    assert "not measured on this machine" in words(page)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "default.yaml").write_text("measured: here by me\n")
    shown(page.run())
    assert "calibrated here" in words(page)
    assert "here by me" in words(page)
    assert "It may be out of date" in words(page)
    (tmp_path / "profiles" / "default.yaml").write_text("nonsense: 1\n")
    shown(page.run())
    assert "cannot be read" in words(page)


def test_how_well_a_profile_fits_its_probes() -> None:
    fit = {"light": {"latency_s.p50": {"error": 0.5}}, "check": {"latency_s.p50": {"error": -0.03}}}
    assert twin_results.fit_words(fit) == ". Its error on a probe that it was not fitted to: p50 −3.0 %."
    assert twin_results.fit_words({}) == ""


def test_the_verdict_in_words(tested: dict[str, Any]) -> None:
    good, said, wrong = twin_results.verdict(tested)
    assert not good
    assert said.startswith("4 of 6 aims missed: Throughput, Latency p50")
    assert wrong
    assert twin_results.verdict({**tested, "summary": {"figures": {}, "missed": [], "broken": []}})[0]
