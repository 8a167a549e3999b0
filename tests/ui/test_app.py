"""The app's page as a user meets it, without a browser (Streamlit's AppTest)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab.record import Record
from lab.scenario import Scenario
from ui import forms, jobs, library

ROOT = Path(__file__).resolve().parents[2]
MakeJob = Callable[..., str]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) :material/bolt: **x** $y$'


@pytest.fixture
def launched(runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been started."""
    commands: list[list[str]] = []

    def launch(command: list[str], log: Path) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(jobs, "spawn", launch)
    return commands


def app(**query: str) -> AppTest:
    page = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return shown(page.run())


def shown(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].message
    return page


def words(page: AppTest) -> str:
    """All that the page says."""
    kinds = (page.markdown, page.caption, page.error, page.warning, page.success, page.code, page.metric, page.progress)
    said = [str(getattr(element, "value", "")) for kind in kinds for element in kind]
    said += [str(getattr(alert.proto, "title", "")) for kind in (page.error, page.warning) for alert in kind]
    return "\n".join([*said, *(element.label for element in page.button), *(element.text for element in page.progress)])


def own(page: AppTest, content: str) -> AppTest:
    page.session_state["own_yaml"] = content
    page.session_state["scenario"] = forms.OWN
    page.session_state["view"] = forms.SCENARIO
    return shown(page.run())


def knob(page: AppTest, name: str) -> Any:
    return next(one for one in page.number_input if one.key.startswith(f"knob-{name}-"))


# ---- first sight -----------------------------------------------------------------------------------------------------


def test_the_first_page_offers_the_default_scenario(launched: list[list[str]]) -> None:
    page = app()
    assert page.selectbox(key="scenario").value == library.DEFAULT
    assert library.shipped()[library.DEFAULT].claim.split(":")[0] in words(page)
    assert page.button(key="first-run").label.startswith("Run sdlc\\-quick in both, about ")
    assert not launched


@pytest.mark.parametrize("name", list(library.shipped()))
def test_every_shipped_scenario_can_be_chosen(name: str, launched: list[list[str]]) -> None:
    page = app()
    shown(page.selectbox(key="scenario").select(name).run())
    assert not page.button(key="run-sim").disabled
    assert "capacity" in words(page)


def test_all_views_open(launched: list[list[str]], make_job: MakeJob, model: Record) -> None:
    make_job("done", [model], engine="sim")
    page = app()
    for view in forms.VIEWS:
        page.session_state["view"] = view
        shown(page.run())


# ---- own YAML --------------------------------------------------------------------------------------------------------


def test_bad_yaml_is_told_with_its_places_all_at_once(launched: list[list[str]]) -> None:
    page = own(app(), "name: x\nworkload:\n  arrivals: {kind: burst, count: 0}\n  roles: {A: {}}\nmesh: {workres: 2}\n")
    said = page.code[-1].value
    assert "your-scenario.yaml:3:27: workload.arrivals.count: " in said
    assert "your-scenario.yaml:5:8: mesh.workres: unknown key 'workres'; did you mean 'workers'?" in said
    assert "workload.roles.A" in said
    assert all(page.button(key=f"run-{engine}").disabled for engine in jobs.ENGINES)


@pytest.mark.parametrize("content", ["", "   ", "a: [", "- 1", "&a [*a]", "\x00", "name: 'x", "x" * 300_000])
def test_no_text_breaks_the_page(content: str, launched: list[list[str]]) -> None:
    page = own(app(), content)
    assert page.button(key="run-both").disabled


def test_good_yaml_runs(launched: list[list[str]], scenario: Scenario) -> None:
    page = own(app(), scenario.to_yaml())
    assert "ready to run" in words(page)
    shown(page.button(key="run-sim").click().run())
    assert Scenario.load(launched[0][4]).data == scenario.data


def test_edit_a_copy_of_a_shipped_one(launched: list[list[str]]) -> None:
    page = app()
    page.session_state["view"] = forms.SCENARIO
    page.run()
    shown(page.button(key="edit-copy").click().run())
    assert page.text_area(key="own_yaml").value == library.shipped()[library.DEFAULT].text
    assert page.selectbox(key="scenario").value == forms.OWN


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
    page = app()
    shown(page.selectbox(key="scenario").select("worker_crash").run())
    faults = library.load(library.shipped()["worker_crash"].text, "x").faults
    assert faults
    own(
        page,
        "workload: {arrivals: {kind: burst, count: 1}, roles: {A: {service: {dist: constant, mean_s: 1}}}}\n"
        "mesh: {workers: 3}\nfaults: [{kind: kill_worker, at_s: 1, worker: 2}]\n",
    )
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
    assert "All 8 checks hold" in page.success[0].value
    assert len(page.get("plotly_chart")) == 4
    table = page.dataframe[0].value
    assert list(table.columns) == ["Figure", "Model", "Live", "Difference"]
    assert len(page.metric) == 4
    shown(page.get_by_key("layout").set_value("Side by side").run())
    assert len(page.get("plotly_chart")) == 8


@pytest.mark.parametrize("engine", ["sim", "live"])
def test_one_engine_alone(engine: str, make_job: MakeJob, model: Record, live: Record) -> None:
    page = app(job=make_job("done", [model if engine == "sim" else live], engine=engine))
    assert len(page.get("plotly_chart")) == 4
    assert list(page.dataframe[0].value.columns) == ["Figure", {"sim": "Model", "live": "Live"}[engine]]


def test_broken_checks_are_red_and_say_what_broke(make_job: MakeJob, model: Record) -> None:
    info = copy.deepcopy(model.info)
    lost = next(one for one in info["checks"]["details"] if one["name"] == "nothing_lost")
    lost.update(ok=False, found="5 tasks lost", tasks=[3, 14])
    page = app(job=make_job("done", [replace(model, info=info)], engine="sim"))
    assert not page.success
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
    assert not page.success


def test_a_run_that_died_is_told_honestly(make_job: MakeJob) -> None:
    page = app(job=make_job("running", log="MemoryError: out of memory\n"))
    assert "ended without a word" in words(page)
    assert "out of memory" in words(page)


def test_records_of_the_command_line_open_too(runs: Path, model: Record, live: Record) -> None:
    names = [replace(record).save(runs / f"from-cli-{record.engine}").name for record in (model, live)]
    assert len(app(run=names[0]).get("plotly_chart")) == 4
    assert "Difference" in app(run=",".join(names)).dataframe[0].value.columns


@pytest.mark.parametrize("name", ["nothing", "../../etc", HOSTILE, ""])
def test_a_link_that_leads_nowhere(name: str, runs: Path) -> None:
    assert "here is no run" in words(app(job=name)) or not name
    assert "here is no run" in words(app(run=name)) or not name


def test_recent_runs_can_be_opened(make_job: MakeJob, model: Record) -> None:
    job_id = make_job("done", [model], engine="sim")
    page = app()
    page.session_state["view"] = forms.RECENT
    page.run()
    shown(page.button(key=f"open-{job_id}").click().run())
    assert page.query_params["job"] == job_id
    assert len(page.get("plotly_chart")) == 4


def test_hostile_names_stay_text(make_job: MakeJob, model: Record) -> None:
    info = {**copy.deepcopy(model.info), "scenario_name": HOSTILE}
    info["checks"]["details"][0].update(ok=False, found=HOSTILE, claim=HOSTILE)
    job_id = make_job("done", [replace(model, info=info)], engine="sim", name=HOSTILE)
    page = app(job=job_id)
    page.session_state["view"] = forms.RECENT
    listed = shown(page.run())
    for said in (words(app(job=job_id)), words(listed)):
        assert "<img" not in said.replace("\\<img", "")
        assert "[click](" not in said
        assert "$y$" not in said
    assert all(not element.proto.allow_html for element in listed.markdown)
