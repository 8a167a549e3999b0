"""The page Sweep, as a user meets it: the form, a sweep on its way, its result, what went wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import record as records
from lab import sweep
from lab.scenario import Scenario
from lab.sweep_result import Sweep
from simulation import simulate
from tests.ui.conftest import TEXT, shown
from ui import jobs, library, sweep_form

PAGE = str(Path(__file__).resolve().parents[2] / "pages" / "sweep.py")
GRID = {"mesh.workers": [1, 2], "mesh.slots": [1, 2]}
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) **x**'


@pytest.fixture(scope="module")
def found() -> Sweep:
    return sweep(simulate, Scenario.parse(TEXT), GRID, replications=2, cores=1)


@pytest.fixture
def make_sweep(runs: Path) -> Callable[..., str]:
    """Write a job's folder as the runner and the command would."""

    def make(found: Sweep | None, state: str = "done", title: str = "small: 4 points × 2", **status: Any) -> str:
        job_id = f"20260110-000000-{records.nonce()}.sweep"
        folder = jobs.jobs_dir() / job_id
        folder.mkdir(parents=True)
        out = folder / sweep_form.RESULT
        words = [str(folder / "scenario.yaml"), "--grid=mesh.workers=1,2", "--out", str(out), "--quiet"]
        facts = {"kind": "sweep", "title": title, "words": words, "started_at": records.now().isoformat()}
        records.write_json(folder / "job.json", {**facts, "pid": None, "started_s": time.time() - 60})
        records.write_json(folder / "status.json", {"state": state, **status})
        if found is not None:
            found.save(out)
        return job_id

    return make


def page(**query: str) -> AppTest:
    app = AppTest.from_file(PAGE, default_timeout=30)
    for name, value in query.items():
        app.query_params[name] = value
    return app


def _asked(app: AppTest, name: str) -> str:
    """What stands in the address."""
    found: Any = app.query_params[name]
    return str(found if isinstance(found, str) else found[0])


def test_the_form_says_how_many_runs_and_starts_them(runs: Path, launched: list[list[str]]) -> None:
    app = shown(page().run())
    assert "Which knob moves what" in app.markdown[0].value
    assert [box.value for box in app.selectbox][:3] == [library.DEFAULT, "mesh.workers", "mesh.slots"]
    app.text_input[0].set_value("1..3")
    app.text_input[1].set_value("2,4")
    app.number_input(key="sweep-replications").set_value(4)
    app = shown(app.run())
    assert app.button(key="sweep-run").label == "Start 24 runs"
    shown(app.button(key="sweep-run").click().run())
    (command,) = launched
    folder = Path(command[command.index("--out") + 1]).parent
    assert command[3] == "sweep" and command[4] == str(folder / "scenario.yaml")
    assert command[5:9] == ["--grid=mesh.workers=1..3", "--grid=mesh.slots=2,4", "--replications", "4"]
    assert command[-2:] == ["--status", str(folder / "status.json")]
    assert Scenario.load(folder / "scenario.yaml").name == "sdlc-quick"
    assert _asked(app, "job") == folder.name


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("", "the values are missing"),
        ("0,1", "point 0 (mesh.workers=0, mesh.slots=2): mesh.workers: must be greater than or equal to 1 (found 0)"),
        ("1..2001", "10,005 points are more than the 2,000 that the app runs"),
        ("3..1", "a span goes up"),
    ],
)
def test_what_cannot_be_run_is_told_and_the_button_waits(values: str, why: str, runs: Path) -> None:
    app = page().run()
    app.text_input[0].set_value(values)
    app = shown(app.run())
    assert app.button(key="sweep-run").disabled and app.button(key="sweep-first").disabled
    assert why in app.code[0].value


def test_a_path_twice_and_none_at_all_are_told(runs: Path) -> None:
    app = page().run()
    second = app.selectbox[2]
    app = shown(second.set_value("mesh.workers").run())
    assert "mesh.workers is varied twice" in app.code[0].value
    for box in app.selectbox[1:3]:
        box.set_value(None)
    app = shown(app.run())
    assert "Choose at least one path to vary." in app.code[0].value


def test_every_shipped_scenario_has_suggestions_that_can_be_run(runs: Path) -> None:
    from lab import sweep_design

    for name, file in library.shipped().items():
        scenario = library.load(file.text, name, library.base(file.folder))
        for path, (label, values) in sweep_form.suggestions(scenario).items():
            assert label
            if values:
                sweep_design.design(scenario, {path: sweep_design.values(values)}).check()


def test_a_result_is_drawn_and_tabled(found: Sweep, make_sweep: Callable[..., str]) -> None:
    app = shown(page(job=make_sweep(found)).run())
    assert r"small\: 4 points × 2" in app.markdown[0].value
    assert "Grid 2 × 2 over workers, slots" in next(one.value for one in app.caption if "Grid" in one.value)
    table = app.dataframe[0].value
    interval = ("95 % from", "to")
    assert list(table.columns) == ["workers", "slots", "Latency, p95 (s)", *interval, "Δ", "Δ 95 % from", "Δ to"]
    assert table["Latency, p95 (s)"].tolist() == pytest.approx(found.table()["mean"].tolist(), rel=1e-3)
    assert table["Δ"].tolist()[0] == 0
    app.selectbox(key="sweep-figure").set_value("throughput_per_s")
    app.selectbox(key="sweep-baseline").set_value(3)
    app = shown(app.run())
    assert _asked(app, "figure") == "throughput_per_s"
    assert app.dataframe[0].value["Δ"].tolist()[3] == 0
    assert "meshlab sweep small.yaml --grid=mesh.workers=1,2" in app.code[0].value


def test_earlier_sweeps_are_listed_and_hostile_names_are_text(found: Sweep, make_sweep: Callable[..., str]) -> None:
    job_id = make_sweep(found, title=HOSTILE)
    app = shown(page().run())
    (line,) = [one.value for one in app.markdown if "Done" in one.value]
    assert r"\<img" in line and r"\[click\]\(javascript" in line and r"\*\*x" in line
    app = shown(app.button(key=f"open-{job_id}").click().run())
    assert _asked(app, "job") == job_id and len(app.dataframe) == 1


def test_a_cancelled_sweep_shows_what_it_has_and_goes_on(
    found: Sweep, make_sweep: Callable[..., str], launched: list[list[str]]
) -> None:
    half = Sweep(found.frame.head(4), found.about)
    job_id = make_sweep(half, "cancelled", message="stopped after 4 of 8 runs")
    app = shown(page(job=job_id).run())
    assert "was cancelled" in app.warning[0].value and len(app.dataframe[0].value) == 2
    shown(app.button(key="go-on").click().run())
    (command,) = launched
    old = jobs.jobs_dir() / job_id
    assert command[-3] == "--resume" and str(old / sweep_form.RESULT) in command
    other = _asked(app, "job")
    assert other != job_id
    found.save(old / sweep_form.RESULT)
    records.write_json(jobs.jobs_dir() / other / "status.json", {"state": "done"})
    app = shown(page(job=other).run())
    assert len(app.dataframe[0].value) == 4 and not app.warning


def test_failures_are_told_in_words(found: Sweep, make_sweep: Callable[..., str]) -> None:
    app = shown(page(job=make_sweep(None, "failed", message="no room\nmake some")).run())
    assert "failed" in app.error[0].value + str(app.error[0].proto) and not app.dataframe
    frame = found.frame.copy()
    frame.loc[[0, 1], "error"] = "two are too many"
    frame.loc[[2, 3], "checks_failed"] = "nothing_lost"
    app = shown(page(job=make_sweep(Sweep(frame, found.about))).run())
    assert [one.value for one in app.error] == ["**2 runs broke a check**", "**2 runs came to no figures**"]
    assert "point 0 (mesh.workers=1, mesh.slots=1): two are too many" in app.code[1].value
    app = shown(page(job="nonsense.sweep").run())
    assert "There is no job" in str(app.error[0].value)


def test_a_result_that_is_no_sweep_is_no_crash(make_sweep: Callable[..., str]) -> None:
    job_id = make_sweep(None)
    (jobs.jobs_dir() / job_id / sweep_form.RESULT).write_text(json.dumps({"a": 1}))
    app = shown(page(job=job_id).run())
    assert "result of a sweep" in app.error[0].value
