"""The library of runs: what it lists, finds, keeps and deletes; and its page as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lab import run_notes
from lab.errors import UsageError
from lab.limits import TAGS_MAX
from lab.record import Record
from lab.run_notes import Notes
from tests.ui.conftest import shown
from ui import jobs, runs_actions, runs_library
from ui.runs_library import Entry, Library, Search
from ui.runs_table import Choice

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) :material/bolt: **x** $y$'
NOW = datetime(2026, 1, 10, tzinfo=UTC)
MakeJob = Callable[..., str]


def put(model: Record, runs: Path, run_id: str, notes: Notes = run_notes.NONE, **info: Any) -> Path:
    """A record on disk under this id."""
    mine = Record(model.info | {"run_id": run_id} | info, model.tasks, model.transitions, model.samples, model.events)
    folder = mine.save(runs / run_id)
    if notes != run_notes.NONE:
        run_notes.write(folder, notes)
    return folder


@pytest.fixture
def library(runs: Path, model: Record) -> Iterator[Library]:
    """Three runs: of the model with a note, of the real thing with a broken check, and one that was stopped."""
    put(model, runs, "a", Notes(("paper", "slow disk"), "Why so slow?", True), started_at="2026-01-09T00:00:00+00:00")
    broken = {**model.info["checks"], "ok": False, "failed": ["nothing_lost"]}
    put(model, runs, "b", engine="live", checks=broken, scenario_name="Other", started_at="2026-01-02T00:00:00+00:00")
    put(model, runs, "c", interrupted=True, started_at="2025-06-01T00:00:00+00:00")
    yield runs_library.library(jobs.runs_dir())
    runs_library.library.cache_clear()


def ids(library: Library, **search: Any) -> str:
    return "".join(entry.id for entry in library.look()[0] if Search(**search).fits(entry, NOW))


# ---- searching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, "abc"),
        ({"words": "OTHER"}, "b"),
        ({"words": "slow paper"}, "a"),
        ({"words": "small why"}, "a"),
        ({"words": "no such thing"}, ""),
        ({"engine": "live"}, "b"),
        ({"verdict": "ok"}, "a"),
        ({"verdict": "broken"}, "b"),
        ({"verdict": "interrupted"}, "c"),
        ({"since": "week"}, "a"),
        ({"since": "month"}, "ab"),
        ({"tags": ("PAPER", "slow disk")}, "a"),
        ({"tags": ("paper", "other")}, ""),
        ({"starred": True}, "a"),
        ({"engine": "sim", "since": "month"}, "a"),
    ],
)
def test_every_part_of_a_search_narrows_it(library: Library, search: dict[str, Any], found: str) -> None:
    assert ids(library, **search) == found


def test_sorting_is_stable_and_takes_any_order(library: Library) -> None:
    entries, _ = library.look()
    assert [one.id for one in runs_library.ordered(entries, "started_at")] == ["c", "b", "a"]
    assert [one.id for one in runs_library.ordered(entries, "scenario")] == ["b", "a", "c"]
    assert [one.id for one in runs_library.ordered(entries, "-tasks")] == ["a", "b", "c"]
    assert [one.id for one in runs_library.ordered(entries, "nonsense")] == ["c", "b", "a"]


def test_the_curve_is_read_once(library: Library) -> None:
    entry = library.look()[0][0]
    first = library.curve(entry)
    assert sum(first) == entry.tasks == 40
    (entry.folder / "tasks.parquet").unlink()
    assert library.curve(entry) is first


# ---- jobs ------------------------------------------------------------------------------------------------------------


def test_jobs_at_work_are_apart_and_failed_ones_listed(
    make_job: MakeJob, model: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = make_job("failed", engine="live", message="no Redis\nsecond line")
    busy = make_job("running", [model], engine="both")
    real = jobs._process
    monkeypatch.setattr(jobs, "_process", lambda pid, folder: object() if folder.name == busy else real(pid, folder))
    entries, active = Library(jobs.runs_dir()).look()
    assert [job.id for job in active] == [busy]
    assert [(one.id, one.verdict, one.note, one.line) for one in entries] == [(failed, "failed", "no Redis", None)]
    record = next(one for one in Library(jobs.runs_dir())._index.lines())
    gone, [refused] = runs_library.delete([runs_library._of_line(record, None)])
    assert not gone and "still going on" in refused and record.folder.is_dir()
    assert runs_library.delete([entry for entry in entries if entry.id == failed]) == ([failed], [])
    assert list(jobs.recent()) == [busy]


def test_twins_know_each_other_and_their_job_goes_with_them(make_job: MakeJob, model: Record, live: Record) -> None:
    job_id = make_job("done", [model, live])
    entries, _ = Library(jobs.runs_dir()).look()
    assert {one.id: one.twin for one in entries} == dict(
        zip(*[[e.id for e in entries], [e.id for e in entries][::-1]], strict=True)
    )
    runs_library.delete(entries[:1])
    assert list(jobs.recent()) == [job_id]
    runs_library.delete(entries[1:])
    assert list(jobs.recent()) == []


# ---- deleting and annotating -----------------------------------------------------------------------------------------


def test_only_records_of_the_library_are_deleted(library: Library, runs: Path, tmp_path: Path, model: Record) -> None:
    outside = put(model, tmp_path / "elsewhere", "x")
    (runs / "linked").symlink_to(outside)
    (runs / "b" / "thesis.txt").write_text("mine")
    entries = {one.id: one for one in library.look()[0]}
    gone, refused = runs_library.delete(entries.values())
    assert sorted(gone) == ["a", "c"]
    assert (
        len(refused) == 2 and any("thesis.txt" in one for one in refused) and any("by hand" in one for one in refused)
    )
    assert (outside / "run.json").is_file() and (runs / "b" / "thesis.txt").is_file()
    assert runs_library.delete([entries["a"]]) == (["a"], [])  # another tab was quicker


def test_annotating_many_is_all_or_nothing(library: Library) -> None:
    entries, _ = library.look()
    runs_library.annotate(entries, ["new"], ["PAPER"], None)
    assert [(one.tags, one.note) for one in library.look()[0]] == [
        (("slow disk", "new"), "Why so slow?"),
        (("new",), ""),
        (("new",), ""),
    ]
    with pytest.raises(UsageError, match="at most"):
        runs_library.annotate(entries, [str(number) for number in range(TAGS_MAX - 1)], [], None)
    assert runs_library.known_tags(library.look()[0]) == ["new", "slow disk"]


# ---- the page --------------------------------------------------------------------------------------------------------


def app(**query: str | list[str]) -> AppTest:
    page = AppTest.from_file(ROOT / "pages" / "library.py", default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return shown(page.run())


def table(page: AppTest) -> dict[str, Any]:
    [element] = page.get("bidi_component")
    found: dict[str, Any] = json.loads(element.proto.json)
    return found


def listed(page: AppTest) -> list[str]:
    return [row["id"] for row in table(page)["rows"]] if page.get("bidi_component") else []


def choose(page: AppTest, *chosen: str) -> AppTest:
    page.session_state["runs-table-choice"] = Choice("runs-table", list(chosen), 1)
    return shown(page.run())


def words(page: AppTest) -> str:
    return "\n".join(
        str(element.value) for kind in (page.markdown, page.caption, page.error, page.toast) for element in kind
    )


def test_an_empty_library_says_what_to_do(runs: Path) -> None:
    runs_library.library.cache_clear()
    page = app()
    assert "No runs yet" in words(page)
    assert [button.label for button in page.button] == ["Run your first scenario"]


def test_the_page_lists_searches_and_offers(library: Library) -> None:
    page = app()
    assert listed(page) == ["a", "b", "c"]
    first, second, third = (row["cells"] for row in table(page)["rows"])
    assert (first["tasks"], first["tags"], first["star"]) == ("40", ["paper", "slow disk"], True)
    assert first["scenario"] == {"text": "small", "sub": "Why so slow?", "href": "run?run=a"}
    assert (second["engine"], second["verdict"]["text"]) == ([["live", "Live"]], "Checks broken")
    assert "nothing lost" in second["verdict"]["title"] and third["verdict"]["text"] == "Stopped early"
    shown(page.text_input(key="q").set_value("other").run())
    assert listed(page) == ["b"]
    shown(page.text_input(key="q").set_value("nowhere").run())
    shown(page.button(key="clear-filters").click().run())
    assert listed(page) == ["a", "b", "c"]


def test_a_link_to_a_search_opens_it(library: Library) -> None:
    assert listed(app(by="Live")) == ["b"]
    assert listed(app(tag="paper", verdict="Checks hold", sort="-tasks")) == ["a"]
    assert "No run fits" in words(app(tag="nobody's"))
    page = app(sort="scenario")
    assert listed(page) == ["b", "a", "c"] and table(page)["sort"] == {"key": "scenario", "down": False}


def test_what_is_chosen_can_be_compared_and_deleted(library: Library, runs: Path) -> None:
    page = choose(app(), "a", "c", "gone")
    assert "**2 chosen**" in words(page) and page.button(key="compare").label == "Compare 2"
    shown(page.button(key="delete").click().run())
    assert "2 runs" in words(page) and "cannot be undone" in words(page)
    shown(page.button(key="delete-sure").click().run())
    assert listed(page) == ["b"] and not (runs / "a").exists()
    assert "2 runs deleted" in words(page)


def test_tags_and_note_of_one_run(library: Library) -> None:
    page = choose(app(), "b")
    shown(page.button(key="annotate").click().run())
    page.text_area(key="notes-text").set_value("a note")
    shown(page.button(key="save-notes").click().run())
    assert run_notes.read(library.look()[0][1].folder) == Notes((), "a note", False)


def test_too_many_are_not_compared(runs: Path, model: Record) -> None:
    runs_library.library.cache_clear()
    many = [put(model, runs, f"r{number}").name for number in range(runs_actions.COMPARED_MAX + 1)]
    assert choose(app(), *many).button(key="compare").disabled


def test_an_archive_comes_in_by_the_page(library: Library, runs: Path) -> None:
    data = runs_library.archive([one for one in library.look()[0] if one.id == "a"])
    runs_library.delete([one for one in library.look()[0] if one.id == "a"])
    page = app()
    # The digest of this stand-in is the model's, so it is a valid record.
    shown(page.file_uploader(key="import-0").set_value(("a.zip", data, "application/zip")).run())
    assert "1 run imported" in words(page) and "a" in listed(page)
    page.file_uploader(key="import-1").set_value(("b.zip", b"no zip", "application/zip"))
    assert "is no zip archive" in words(shown(page.run()))


def test_hostile_names_stay_text(runs: Path, model: Record, make_job: MakeJob) -> None:
    runs_library.library.cache_clear()
    put(model, runs, "x", Notes((HOSTILE[:30],), HOSTILE), scenario_name=HOSTILE)
    make_job("failed", name=HOSTILE, message=HOSTILE)
    page = choose(app(), "x")
    shown(page.button(key="delete").click().run())
    said = words(page)
    assert "<img" not in said.replace("\\<img", "") and "[click](" not in said and "$y$" not in said
    assert all(not element.proto.allow_html for element in page.markdown)


def test_a_run_under_way_is_shown_first(make_job: MakeJob, model: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_library.library.cache_clear()
    cancelled: list[str] = []
    monkeypatch.setattr(jobs, "_process", lambda pid, folder: object())
    monkeypatch.setattr(jobs, "cancel", lambda job: cancelled.append(job.id) or True)
    job_id = make_job("running", engine="sim", done=12, total=40, fraction=0.3)
    page = app()
    assert "small" in page.get("progress")[0].proto.text
    shown(page.button(key=f"cancel-{job_id}").click().run())
    assert cancelled == [job_id]


def test_a_day_is_not_a_week() -> None:
    yesterday = Entry("a", {}, "s", "sim", (NOW - timedelta(days=2)).isoformat(), "ok")
    assert not Search(since="day").fits(yesterday, NOW) and Search(since="week").fits(yesterday, NOW)
    assert not Search(since="day").fits(Entry("a", {}, "s", "sim", "not a moment", "ok"), NOW)
