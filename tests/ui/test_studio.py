"""The studio as a user meets it, without a browser: all scenarios, one of them, its forms, saving."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lab import limits
from lab.errors import UsageError
from lab.scenario import Scenario
from tests.ui.conftest import shown
from ui import editor, library, palette, studio_diff, studio_previews, studio_saved, studio_schema, studio_state

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) :material/bolt: **x** $y$'
SMALL = """\
# A claim.
name: small  # short
workload:
  arrivals: {kind: burst, count: 12}  # few
  roles:
    A: {service: {dist: exponential, mean_s: 0.2}}
mesh: {workers: 2, slots: 2}
"""


def app(text: str | None = None, view: str = "", **query: str) -> AppTest:
    page = AppTest.from_file(ROOT / "app.py", default_timeout=60)
    page.switch_page("pages/studio.py")
    for name, value in query.items():
        page.query_params[name] = value
    if text is not None:
        page.session_state[studio_state.DRAFTS] = {"small": studio_state.Draft("small", text, text, own=True)}
        page.query_params["scenario"] = "small"
    if view:
        page.session_state["studio-view"] = view
    return shown(page.run())


def words(page: AppTest) -> str:
    """All that the page says."""
    kinds = (page.markdown, page.caption, page.error, page.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def draft(page: AppTest, name: str = "small") -> studio_state.Draft:
    found: studio_state.Draft = page.session_state[studio_state.DRAFTS][name]
    return found


# ---- all scenarios ---------------------------------------------------------------------------------------------------


def test_the_gallery_shows_every_idea_and_one_of_ones_own(launched: list[list[str]]) -> None:
    studio_saved.save("mine", f"# {HOSTILE}\n{SMALL}")
    studio_saved.save("broken", "name: [")
    page = app()
    keys = [button.key or "" for button in page.button]
    cards = {key.removeprefix("studio-open-") for key in keys if key.startswith("studio-open-")}
    assert cards == {one.name for one in library.every().values() if one.group != library.DRILLS}
    said = words(page)
    assert "needs mending" in said and "\\<img" in said and "<img" not in said.replace("\\<img", "")
    assert page.button(key="studio-run-broken").disabled
    page.button(key="studio-run-mine").click()
    shown(page.run())
    assert "--engine" in launched[0] and launched[0][launched[0].index("--engine") + 1] == "both"


def test_every_shipped_scenario_has_a_group_that_a_person_would_look_into() -> None:
    assert not [one.name for one in library.shipped().values() if one.group == library.MORE]
    named = [name for names in library.GROUPS.values() for name in names]
    assert len(named) == len(set(named)) and set(named) <= set(library.every())


def test_a_link_to_nothing_says_so(runs: Path) -> None:
    page = app(scenario=HOSTILE)
    assert "There is no scenario" in page.error[0].value and "<img" not in words(page).replace("\\<img", "")
    page.button(key="studio-lost").click()
    assert "#### Scenarios" in words(shown(page.run()))


# ---- one scenario ----------------------------------------------------------------------------------------------------


def test_a_shipped_scenario_is_previewed_by_the_model(runs: Path) -> None:
    page = app(scenario=library.DEFAULT)
    assert "500 of 500 completed" in words(page) and "ships with the lab" in words(page)
    assert not page.button(key="studio-run-both").disabled


def test_a_form_writes_its_value_and_keeps_the_comments(runs: Path) -> None:
    page = app(SMALL, "Form")
    page.number_input(key="studio-small-mesh.workers").set_value(5)
    page = shown(page.run())
    assert draft(page).text == SMALL.replace("workers: 2", "workers: 5") and draft(page).revision == 2
    assert page.number_input(key="studio-small-mesh.workers").value == 5
    page.selectbox(key="studio-small-arrivals-kind").set_value("poisson")
    page = shown(page.run())
    assert "arrivals: {kind: poisson, rate_per_s: 10, count: 12}  # few" in draft(page).text
    page.number_input(key="studio-small-workload.arrivals.duration_s").set_value(4.0)
    page.number_input(key="studio-small-rules.retry.base_s").set_value(0.5)
    page = shown(page.run())
    assert "arrivals: {kind: poisson, rate_per_s: 10, duration_s: 4}  # few" in draft(page).text
    assert draft(page).text.endswith("rules: {retry: {base_s: 0.5}}\n")
    page.button(key="studio-small-add-fault").click()
    page = shown(page.run())
    assert "\nfaults:\n  - {at_s: 5, kind: " in draft(page).text
    assert draft(page).checked().scenario is not None


def test_what_is_wrong_is_listed_with_its_line(runs: Path) -> None:
    page = app(SMALL + f"mesch: {HOSTILE!r}\nseed: x\n")
    said = words(page)
    assert "2 problems to mend" in said and "line 8" in said and "did you mean 'mesh'" in said
    assert "<img" not in said.replace("\\<img", "")
    assert page.button(key="studio-run-both").disabled
    page = app("a: [", "Form")
    assert "1 problem to mend" in words(page) and "forms come back" in words(page)


def test_it_is_compared_value_by_value(runs: Path) -> None:
    page = app(SMALL, "Compare")
    page.selectbox(key="studio-small-compare").set_value(library.DEFAULT)
    page = shown(page.run())
    found = {row["Value"]: row["Here"] for row in page.dataframe[0].value.to_dict("records")}
    assert found["mesh.workers"] == "2" and found["workload.roles.A.service.dist"] == "exponential"
    assert "+mesh: {workers: 2, slots: 2}" in page.code[0].value


def test_it_is_saved_renamed_duplicated_and_deleted(runs: Path) -> None:
    studio_saved.save("small", SMALL)
    page = app(SMALL, "Compare")
    for ask, answer in (("studio-rename", "../evil"), ("studio-name-ok", "")):
        page.button(key=ask).click()
        page = shown(page.run())
        if answer:
            page.text_input(key="studio-name").set_value(answer)
    assert "cannot be a scenario's name" in words(page).replace("\\", "")
    page.text_input(key="studio-name").set_value("other")
    page.button(key="studio-name-ok").click()
    page = shown(page.run())
    assert [one.stem for one in studio_saved.files()] == ["other"] and page.query_params["scenario"] == "other"
    page.button(key="studio-duplicate").click()
    page = shown(page.run())
    assert [one.stem for one in studio_saved.files()] == ["other", "other-copy"]
    page.button(key="studio-delete").click()
    page = shown(page.run())
    page.button(key="studio-delete-ok").click()
    page = shown(page.run())
    assert [one.stem for one in studio_saved.files()] == ["other"] and "#### Scenarios" in words(page)
    assert not list(runs.glob("*.yaml"))


# ---- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", ".x", "x.yaml", "con", "NEW", "ä", "x" * 81, "x\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str, runs: Path) -> None:
    with pytest.raises(UsageError, match="cannot be a scenario's name"):
        studio_saved.save(name, SMALL)
    assert studio_saved.NAME.fullmatch(studio_saved.free_name(name, frozenset()))


def test_saving_is_bounded_and_hides_nothing_that_ships(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="already"):
        studio_saved.save(library.DEFAULT, SMALL, frozenset(library.shipped()))
    with pytest.raises(UsageError, match="larger than"):
        studio_saved.save("x", "x" * (limits.SCENARIO_BYTES_MAX + 1))
    studio_saved.save("x", SMALL)
    with pytest.raises(UsageError, match="already"):
        studio_saved.save("x", SMALL)
    monkeypatch.setattr(limits, "SAVED_SCENARIOS_MAX", 1)
    with pytest.raises(UsageError, match="delete some"):
        studio_saved.save("y", SMALL)
    studio_saved.save("x", "a: 1\n", over=True)
    assert library.saved()["x"].text == "a: 1\n"


def test_an_edit_counts_only_on_top_of_what_it_was_typed_on() -> None:
    here = studio_state.Draft("small", SMALL, SMALL, revision=2, serial=10)
    for wrong in (("small", 1, 11), ("other", 2, 11), ("small", 2, 10)):
        studio_state.adopt(here, editor.Edit("typed", wrong[1], wrong[0], wrong[2]))
        assert here.text == SMALL
    studio_state.adopt(here, editor.Edit("typed", 2, "small", 11))
    assert (here.text, here.revision, here.edited) == ("typed", 2, True)


def test_previews_show_what_will_come() -> None:
    arrivals = "{kind: steps, steps: [{duration_s: 2, rate_per_s: 10}, {duration_s: 2, rate_per_s: 30}]}"
    preview = studio_previews.preview(Scenario.parse(SMALL.replace("{kind: burst, count: 12}", arrivals)))
    states, rates, service = (chart.figure for chart in preview.charts)
    assert preview.said.startswith("The model: 80 of 80 completed")
    rate = dict(zip(rates.data[0].x, rates.data[0].y, strict=True))
    assert rate[min(rate, key=lambda s: abs(s - 1))] == pytest.approx(10, rel=0.5)
    assert rate[min(rate, key=lambda s: abs(s - 3))] == pytest.approx(30, rel=0.5)
    # Exponential, mean 0.2 s: the density at 0 is 1 / 0.2 = 5, and the area nearly 1.
    line = service.data[0]
    assert line.y[0] == pytest.approx(5, rel=0.02)
    area = sum((b - a) * (c + d) / 2 for a, b, c, d in zip(line.x, line.x[1:], line.y, line.y[1:], strict=False))
    assert area == pytest.approx(1, abs=0.02)
    assert [trace.name for trace in states.data][-1] == "completed" and states.data[-1].y[-1] == 80
    large = studio_previews.preview(Scenario.parse(SMALL.replace("count: 12", "count: 4000")))
    assert [chart.name for chart in large.charts] == ["arrivals", "service"] and "Press Model" in large.said


def test_every_key_of_the_schema_has_a_kind_and_a_meaning() -> None:
    fields = [one for shape in studio_schema.shapes().values() for one in shape.fields.values()]
    assert {one.name for one in fields if one.kind == "other"} <= {
        *("priority", "columns", "headers_from_env", "weights", "shares", "classes"),
    }, [one.name for one in fields if one.kind == "other"]
    silent = {one.name for one in fields if not one.doc and one.kind not in ("group", "choice")}
    assert silent <= {"name"}, silent


def test_differences_count_presets_and_defaults_in() -> None:
    here = studio_diff.values(SMALL, "")
    there = studio_diff.values(SMALL + "rules: {preset: agent-mesh-published}\n", "")
    found = {one.path: (one.here, one.there) for one in studio_diff.differences(here, there)}
    assert found["rules.retry.wait"] == ("scheduled", "in_slot") and found["rules.health.backpressure"][1] == "false"
    assert not studio_diff.differences(here, studio_diff.values(SMALL + "rules: {retry: {base_s: 1}}\n", ""))


def test_the_colours_are_those_of_the_figures() -> None:
    from lab import figures

    assert (figures.MODEL_COLOUR, figures.LIVE_COLOUR) == (palette.MODEL, palette.LIVE)
    assert palette.role_colour(7) == palette.ROLES[1] and palette.shade("#FF8000", 0.5) == "rgba(255,128,0,0.5)"
