"""The app's page as a user meets it, without a browser (Streamlit's AppTest)."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import limits
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.ui.conftest import saved, shown
from ui import compare_page, forms, jobs, knobs, library, load

ROOT = Path(__file__).resolve().parents[2]
MakeJob = Callable[..., str]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) :material/bolt: **x** $y$'


SCRIPT = """
import streamlit as st
from ui import shell
pages = {one: st.Page(one.path, title=one.title, default=one is shell.RUN) for one in shell.SCREENS}
st.navigation(list(pages.values())).run()
"""
"""The app with this page first: its home would be drawn for nothing in every test."""


def app(**query: str) -> AppTest:
    page = AppTest.from_string(SCRIPT, default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return shown(page.run())


def words(page: AppTest) -> str:
    """All that the page says."""
    kinds = (page.markdown, page.caption, page.error, page.warning, page.success, page.code, page.progress)
    said = [str(getattr(element, "value", "")) for kind in kinds for element in kind]
    said += [str(getattr(alert.proto, "title", "")) for kind in (page.error, page.warning) for alert in kind]
    return "\n".join([*said, *(element.label for element in page.button), *(element.text for element in page.progress)])


def drawn(page: AppTest) -> str:
    """All that the page says in HTML of its own."""
    return "\n".join(element.proto.body for element in page.get("html"))


def knob(page: AppTest, name: str) -> Any:
    return next(one for one in page.number_input if one.key.startswith(f"knob-{name}-"))


# ---- first sight -----------------------------------------------------------------------------------------------------


def test_the_first_page_offers_the_default_scenario(launched: list[list[str]]) -> None:
    page = app()
    assert page.selectbox(key="scenario").value == library.DEFAULT
    assert library.shipped()[library.DEFAULT].claim.split(":")[0] in words(page)
    assert page.button(key="first-run").label.startswith("Run sdlc\\-quick in both, about ")
    shown(page.selectbox(key="scenario").select("mm8").run())
    assert not page.button(key="run-sim").disabled
    assert "capacity" in words(page)
    assert not launched


@pytest.mark.parametrize("name", list(library.shipped()))
def test_every_shipped_scenario_has_knobs_and_a_load(name: str) -> None:
    scenario = library.load(library.shipped()[name].text, name)
    found = knobs.knobs(scenario)
    assert knobs.apply(scenario, found, {}) is scenario
    assert load.sentence(load.offered(scenario))


# ---- knobs and running -----------------------------------------------------------------------------------------------


def test_knobs_reach_the_job(launched: list[list[str]]) -> None:
    page = app()
    for name, value in (("workers", 2), ("slots", 7), ("failures", 20.0), ("retry_base", 0.25), ("rss_limit", 300.0)):
        knob(page, name).set_value(value)
    knob(page, "seed").set_value(99)
    knob(page, "tasks").set_value(11)
    shown(page.run())
    shown(page.button(key="run-live").click().run())
    command = launched[0]
    assert command[command.index("--engine") + 1] == "live"
    ran = Scenario.load(command[4])
    assert (ran.mesh.workers, ran.mesh.slots, ran.seed) == (2, 7, 99)
    assert {role.failure_rate for role in ran.workload.roles.values()} == {0.2}
    assert (ran.rules.retry.base_s, ran.rules.health.rss_limit_mib) == (0.25, 300.0)
    assert ran.workload.arrivals.count == 11  # type: ignore[union-attr]
    assert page.query_params["job"]


def test_reset_returns_to_the_scenario(launched: list[list[str]]) -> None:
    page = app()
    assert page.button(key="reset").disabled
    before = knob(page, "workers").value
    shown(knob(page, "workers").set_value(9).run())
    shown(page.button(key="reset").click().run())
    assert knob(page, "workers").value == before


def test_knobs_that_contradict_the_scenario_are_told(launched: list[list[str]]) -> None:
    page = AppTest.from_string(SCRIPT, default_timeout=60)
    page.session_state["own_yaml"] = (
        "workload: {arrivals: {kind: burst, count: 1}, roles: {A: {service: {dist: constant, mean_s: 1}}}}\n"
        "mesh: {workers: 3}\nfaults: [{kind: kill_worker, at_s: 1, worker: 2}]\n"
    )
    page.query_params["scenario"] = forms.OWN
    shown(page.run())
    shown(knob(page, "workers").set_value(2).run())
    assert "there is no worker 2" in words(page)
    assert page.button(key="run-sim").disabled


def test_more_workers_than_a_machine_can_start_run_in_the_model_only(launched: list[list[str]]) -> None:
    page = app()
    shown(knob(page, "workers").set_value(500).run())
    assert page.button(key="run-live").disabled and page.button(key="run-both").disabled
    assert not page.button(key="run-sim").disabled


def test_a_start_that_fails_is_told(launched: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(jobs, "spawn", refuse)
    page = app()
    shown(page.button(key="run-both").click().run())
    assert "no space left" in words(page)


# ---- a run on its way, and over --------------------------------------------------------------------------------------


def test_progress_and_cancel(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(jobs, "_process", lambda pid, folder: object())
    monkeypatch.setattr(jobs, "cancel", lambda job: cancelled.append(job.id) or True)
    job_id = make_job("running", engine="both", **{"done": 12, "total": 40, "fraction": 0.3, "eta_s": 7.2}, note="")
    status = jobs.jobs_dir() / job_id / "status.json"
    status.write_text(status.read_text().replace('"done"', '"engine": "live", "done"'))
    page = app(job=job_id)
    assert "**Live** (2 of 2) · 12 of 40 tasks · about 7 s left" in words(page)
    assert page.button(key="run-both").disabled
    shown(page.button(key="cancel").click().run())
    assert cancelled == [job_id]


def test_a_finished_comparison(make_job: MakeJob, model: Record, live: Record) -> None:
    page = app(job=make_job("done", [model, live]))
    assert "All 8 checks hold" in drawn(page) and "one run each" in words(page).lower()
    assert len(page.get("plotly_chart")) == 4
    table = page.dataframe[0].value
    assert list(table.columns) == ["Figure", "Model", "Live", "Difference"]
    assert table.set_index("Figure").loc["Latency, p50", "Difference"] == "−9.1 %"
    shown(page.get_by_key("layout").set_value("Side by side").run())
    assert len(page.get("plotly_chart")) == 7


@pytest.mark.parametrize("tab", [tab for tab in compare_page.TABS if tab != "overview"])
def test_every_tab_of_a_comparison(tab: str, make_job: MakeJob, model: Record, live: Record) -> None:
    page = app(job=make_job("done", [model, live]), tab=tab, task="37")
    assert page.get_by_key("tab").value == tab
    said = words(page)
    expected = {"latency": "Overhead", "tasks": "Task 37", "checks": "Nothing lost", "scenario": "same scenario"}
    assert expected[tab] in said


def test_one_run_alone(make_job: MakeJob, live: Record) -> None:
    page = app(job=make_job("done", [live], engine="live"))
    assert len(page.get("plotly_chart")) == 4
    assert list(page.dataframe[0].value.columns) == ["Figure", "Live"]
    page.query_params["tab"] = "tasks"
    assert "Slowest" in words(shown(page.run()))


def test_three_runs_and_a_pinned_baseline(runs: Path, model: Record, live: Record, scenario: Scenario) -> None:
    other = simulate(scenario.override({"mesh.workers": 1, "seed": 9}))
    names = [saved(record, runs).name for record in (model, live, other)]
    page = app(run=",".join(names))
    assert list(page.dataframe[0].value.columns) == [
        *("Figure", "Model · workers 2", "Model · workers 1", "Live"),
        *("Δ Model · workers 1", "Δ Live"),
    ]
    assert "different tasks" in words(page)
    page.query_params["baseline"] = names[1]
    assert "Δ Model · workers 2" in shown(page.run()).dataframe[0].value.columns
    page.query_params["tab"] = "scenario"
    assert "mesh.workers" in shown(page.run()).dataframe[0].value["Where"].tolist()


def test_replications_are_put_together_with_intervals(make_job: MakeJob, scenario: Scenario) -> None:
    several = [simulate(scenario.override({"seed": seed})) for seed in (3, 4, 5)]
    job_id = make_job("done", several, engine="sim")
    facts = jobs.jobs_dir() / job_id / "job.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "replications": 3}))
    page = app(job=job_id)
    figures = page.dataframe[0].value.set_index("Figure")
    assert list(figures.columns) == ["Model"]
    assert re.fullmatch(r"[\d.]+ s \([\d.]+ to [\d.]+ s\)", figures.loc["Latency, mean", "Model"])
    assert "3 replications" in words(page)
    shown(page.toggle(key="pool").set_value(False).run())
    assert list(page.dataframe[0].value.columns)[1:4] == ["Model · seed 3", "Model · seed 4", "Model · seed 5"]


def test_broken_checks_are_red_and_say_what_broke(make_job: MakeJob, model: Record) -> None:
    info = copy.deepcopy(model.info)
    lost = next(one for one in info["checks"]["details"] if one["name"] == "nothing_lost")
    lost.update(ok=False, found="5 tasks lost", tasks=[3, 14])
    page = app(job=make_job("done", [replace(model, info=info)], engine="sim"))
    assert "checks hold" not in drawn(page)
    assert "5 tasks lost" in page.error[0].value and "3, 14" in page.error[0].value


def test_a_failed_run_says_why_and_where_to_look(make_job: MakeJob) -> None:
    page = app(job=make_job("failed", message="redis cannot be reached\nset REDIS_ADDR", engine="live"))
    said = words(page)
    assert "Redis cannot be reached" in said and "set REDIS_ADDR" in said
    assert "log" in said and "Traceback" not in said


def test_a_cancelled_run(make_job: MakeJob, model: Record) -> None:
    assert "Nothing had been recorded yet" in words(app(job=make_job("cancelled")))
    stopped = replace(model, info={**model.info, "interrupted": True})
    page = app(job=make_job("cancelled", [stopped], engine="sim"))
    assert "stopped before its end" in words(page)
    assert "checks hold" not in drawn(page)


def test_a_run_that_died_is_told_honestly(make_job: MakeJob) -> None:
    page = app(job=make_job("running", log="MemoryError: out of memory\n"))
    assert "ended without a word" in words(page)
    assert "out of memory" in words(page)


@pytest.mark.parametrize("name", ["../../etc", HOSTILE])
def test_a_link_that_leads_nowhere(name: str, runs: Path) -> None:
    page = app(job=name)
    assert "here is no run" in words(page)
    del page.query_params["job"]
    page.query_params["run"] = f"{name},b"
    assert "here is no run" in words(shown(page.run()))


def test_more_runs_than_can_be_told_apart_are_refused(runs: Path) -> None:
    assert "at most" in words(app(run=",".join(f"r{n}" for n in range(limits.RUNS_COMPARED_MAX + 1))))


def test_recent_runs_can_be_opened_and_used_again(make_job: MakeJob, model: Record) -> None:
    job_id = make_job("done", [model], engine="sim")
    page = app()
    shown(page.button(key=f"open-{job_id}").click().run())
    assert page.query_params["job"] == job_id
    assert len(page.get("plotly_chart")) == 4
    shown(page.button(key="edit-again").click().run())
    assert page.selectbox(key="scenario").value == forms.OWN
    assert knob(page, "tasks").value == 40


def test_hostile_names_stay_text(make_job: MakeJob, model: Record) -> None:
    info = {**copy.deepcopy(model.info), "scenario_name": HOSTILE}
    info["scenario"]["name"] = HOSTILE
    info["checks"]["details"][0].update(ok=False, found=HOSTILE, claim=HOSTILE)
    plain = {**info, "run_id": f"{info['run_id']}-b", "scenario": {**info["scenario"], "name": "x"}}
    job_id = make_job("done", [replace(model, info=info), replace(model, info=plain)], engine="sim", name=HOSTILE)
    for page in (app(), *(app(job=job_id, tab=tab) for tab in ("overview", "tasks", "checks"))):
        said = words(page)
        assert "<img" not in said.replace("\\<img", "") + drawn(page)
        assert "[click](" not in said
        assert "$y$" not in said
        assert all(not element.proto.allow_html for element in page.markdown)
