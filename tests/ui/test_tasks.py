"""Dead letters and audit without servers: one task's story, records as a desk, desks that are away, and the page."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from streamlit.testing.v1 import AppTest

from lab.errors import Unavailable, UsageError
from lab.limits import PAGE_TASKS_MAX
from lab.record import Record
from lab.scenario import Scenario
from live_backend.whereabouts import Api
from simulation import simulate
from tests.ui.conftest import shown
from ui import runs_library, tasks_desks, tasks_records, tasks_session, tasks_sources, tasks_timeline
from ui.tasks_desks import ALL, DEAD, Query, of_api, of_place, standing_api
from ui.tasks_story import Item, Page, Step, Story, segments, totals

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '<img src=x onerror="alert(1)"> [click](javascript:alert(2)) :material/bolt: **x** $y$'
DOOMED = """\
name: doomed
workload:
  arrivals: {kind: burst, count: 450}
  roles:
    A: {service: {dist: constant, mean_s: 1}}
    B: {service: {dist: constant, mean_s: 1}, failure_rate: 1}
  mix: exact
mesh: {workers: 50, slots: 10}
rules: {retry: {base_s: 0.5, max_retries: 1}}
profile: ideal
"""


def item(task_id: int = 7, state: str = "PERMANENT_FAILURE", **more: Any) -> Item:
    return Item(task_id, "A", 3, "agent_high", state, 2, "w0.1", **{"error": "boom", **more})


def story(now_s: float | None = None) -> Story:
    """Waits 1 s, fails after 2 s, backs off 0.5 s, waits 0.5 s, and dies after 1 s."""
    rows = [
        (10.0, "", "PENDING", "", 0, 0, "submitted"),
        (11.0, "PENDING", "RUNNING", "w0", 1, 1, "claimed"),
        (13.0, "RUNNING", "RETRY_WAIT", "w0", 1, 1, "failed"),
        (13.5, "RETRY_WAIT", "PENDING", "", 1, 1, "due"),
        (14.0, "PENDING", "RUNNING", "w1", 2, 2, "claimed"),
        (15.0, "RUNNING", "PERMANENT_FAILURE", "w1", 2, 2, "failed"),
    ]
    return Story(item(), tuple(Step(*row, 0.5 if row[2] == "RETRY_WAIT" else 0.0) for row in rows), now_s)


# ---- one task's story ------------------------------------------------------------------------------------------------


def test_segments_are_the_life_of_a_task() -> None:
    found = [(one.phase, one.begin_s, one.end_s, one.attempt, one.ended) for one in segments(story())]
    assert found == [
        ("waiting", 0.0, 1.0, 1, "claimed"),
        ("running", 1.0, 3.0, 1, "failed"),
        ("backoff", 3.0, 3.5, 1, "due"),
        ("waiting", 3.5, 4.0, 2, "claimed"),
        ("running", 4.0, 5.0, 2, "failed"),
    ]
    assert totals(list(segments(story()))) == {"waiting": 1.5, "running": 3.0, "backoff": 0.5}


def test_what_goes_on_lasts_until_now() -> None:
    living = replace(story(), steps=story().steps[:2], now_s=17.0, item=item(state="RUNNING"))
    assert [(one.phase, one.length_s, one.ended) for one in segments(living)][-1] == ("running", 6.0, "")
    assert not living.finished and replace(living, now_s=None).finished


@pytest.mark.parametrize("dark", [False, True])
def test_the_timeline_has_a_row_an_attempt_and_no_markup_of_strangers(dark: bool) -> None:
    told = story()
    hostile = replace(told, steps=tuple(replace(step, worker="<b>w</b>", reason="<i>x</i>") for step in told.steps))
    figure = tasks_timeline.figure(hostile, "live", dark)
    assert list(figure.layout.yaxis.categoryarray) == ["Attempt 1", "Attempt 2"]
    assert [len(trace.x) for trace in figure.data] == [2, 2, 1, 2]  # waiting, running, backing off, verdicts
    assert "<b>w" not in figure.to_json() and "<i>x" not in figure.to_json()
    assert tasks_timeline.figure(replace(told, steps=()), "sim", dark).data


# ---- records ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def doomed() -> Record:
    """450 tasks, of which the 225 of role B die on their second attempt."""
    return simulate(Scenario.parse(DOOMED))


@pytest.fixture
def folder(runs: Path, doomed: Record) -> Iterator[Path]:
    runs_library.library.cache_clear()
    yield replace(doomed, info={**doomed.info, "run_id": "x"}).save(runs / "x")
    runs_library.library.cache_clear()


def everything(desk: tasks_records.RecordDesk, **query: Any) -> list[Item]:
    """All pages of a query."""
    found: list[Item] = []
    cursor: int | None = None
    while True:
        page = desk.page(Query(**query, cursor=cursor))
        assert len(page.items) <= PAGE_TASKS_MAX
        found += page.items
        cursor = page.next
        if cursor is None:
            return found


def test_a_record_lists_its_dead_letters_page_by_page(folder: Path, doomed: Record) -> None:
    desk = tasks_records.load(folder)
    dead = doomed.tasks[doomed.tasks["state"] == "PERMANENT_FAILURE"]["id"].tolist()
    assert [one.id for one in everything(desk)] == dead and len(dead) == 225
    assert {(one.role, one.attempts, one.error) for one in everything(desk)} == {("B", 2, "failed on attempt 2")}
    assert desk.roles == ("A", "B") and everything(desk, role="A") == []
    assert everything(desk, words="LAPSED") == [] and len(everything(desk, words="attempt 2")) == 225
    assert [one.id for one in everything(desk, view=ALL)] == list(range(449, -1, -1))
    assert len(everything(desk, view="COMPLETED")) == 225 and everything(desk, view="RUNNING") == []


def test_a_record_tells_a_tasks_history(folder: Path, doomed: Record) -> None:
    desk = tasks_records.load(folder)
    first = everything(desk)[0].id
    told = desk.story(first)
    assert told is not None and told.finished
    log = doomed.transitions[doomed.transitions["task"] == first]
    assert [(step.at_s, step.end, step.token) for step in told.steps] == list(
        zip(log["at_s"], log["to"].astype(str), log["token"], strict=True)
    )
    assert totals(list(segments(told)))["backoff"] == pytest.approx(1.0)  # base 0.5 s · 2
    assert desk.story(10**17) is None
    for refused in (lambda: desk.redrive([1]), lambda: desk.discard([1])):
        with pytest.raises(UsageError, match="on record"):
            refused()


def test_a_record_that_has_gone_is_told(runs: Path) -> None:
    with pytest.raises(UsageError, match="choose another"):
        tasks_records.load(runs / "gone")


# ---- live desks that are away ----------------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which connections are taken and never answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield int(listening.getsockname()[1])


@pytest.fixture
def closed() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def desks(port: int) -> list[tasks_desks.LiveDesk]:
    place = {"dsn": f"host=127.0.0.1 port={port} user=x dbname=x", "schema": "s", "prefix": "p:"}
    return [
        of_place({**place, "redis_url": f"redis://127.0.0.1:{port}"}, None),
        of_api(Api(f"http://127.0.0.1:{port}")),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_servers_that_are_away_are_told_in_words(which: int, closed: int) -> None:
    with pytest.raises(Unavailable, match=r"PostgreSQL|does not answer"):
        desks(closed)[which].page(Query())


@pytest.mark.parametrize("which", [0, 1])
def test_servers_that_say_nothing_are_not_waited_for(which: int, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_desks, "DESK_ANSWER_S_MAX", 0.2)
    with pytest.raises(Unavailable, match="did not answer within"):
        desks(silent)[which].story(1)


def test_a_mesh_is_offered_where_somebody_said_that_there_is_one(tmp_path: Path, closed: int, silent: int) -> None:
    assert standing_api({"XDG_STATE_HOME": str(tmp_path)}) is None
    named = standing_api({"XDG_STATE_HOME": str(tmp_path), "MESHLAB_API": "http://elsewhere:1"})
    assert named is not None and named.url == "http://elsewhere:1"
    state = tmp_path / "meshlab" / "api.json"
    state.parent.mkdir()
    for port, is_there in ((closed, False), (silent, True)):
        state.write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "token": None, "pid": 1}))
        assert (standing_api({"XDG_STATE_HOME": str(tmp_path)}) is not None) is is_there


# ---- the page --------------------------------------------------------------------------------------------------------


@dataclass
class FakeDesk:
    """A live desk in memory."""

    items: list[Item]
    redrives: Literal["", "all", "any"] = "any"
    discards: bool = True
    source: str = "session"
    engine: Literal["sim", "live"] = "live"
    roles: tuple[str, ...] = ()
    away: bool = False
    done: list[tuple[str, Any]] = field(default_factory=list)

    def page(self, query: Query) -> Page:
        if self.away:
            raise Unavailable("PostgreSQL has no connection to give. Repeat the request later.")
        fits = [one for one in self.items if query.words in one.error and query.role in ("", one.role)]
        return Page(tuple(fits)) if query.view in (DEAD, ALL) else Page(())

    def story(self, task_id: int) -> Story | None:
        found = [one for one in self.items if one.id == task_id]
        return replace(story(), item=found[0], payload={"prompt": HOSTILE}) if found else None

    def redrive(self, ids: Sequence[int] | None) -> int | None:
        self.done.append(("redrive", ids))
        return None if ids is None else len(ids)

    def discard(self, ids: Sequence[int]) -> int:
        self.done.append(("discard", ids))
        return len(ids)


@pytest.fixture
def desk(runs: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDesk:
    """A session with three dead letters, and nothing else."""
    runs_library.library.cache_clear()
    fake = FakeDesk([item(7), item(8, error="timeout"), item(9)])
    place = {"dsn": "", "redis_url": "", "schema": "", "prefix": ""}
    monkeypatch.setattr(tasks_session, "place", lambda: place)
    monkeypatch.setattr(tasks_sources, "of_place", lambda at, redrive_all: fake)
    monkeypatch.setattr(tasks_sources, "standing_api", lambda: None)
    return fake


def app(**query: str) -> AppTest:
    page = AppTest.from_file(ROOT / "pages" / "tasks.py", default_timeout=60)
    for name, value in query.items():
        page.query_params[name] = value
    return shown(page.run())


def tables(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(element.proto.json) for element in page.get("bidi_component")]


def listed(page: AppTest) -> list[str]:
    return [row["id"] for row in tables(page)[0]["rows"]] if tables(page) else []


def words(page: AppTest) -> str:
    kinds = (page.markdown, page.caption, page.error, page.toast)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


@pytest.fixture
def nothing_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_sources, "standing_api", lambda: None)
    monkeypatch.setattr(tasks_session, "place", lambda: None)


def test_nothing_at_all(runs: Path, nothing_live: None) -> None:
    runs_library.library.cache_clear()
    page = app()
    assert "Nothing to look into yet" in words(page) and page.button(key="start-session")


def test_a_record_stays_usable_when_nothing_is_live(folder: Path, nothing_live: None) -> None:
    page = app()
    assert "Nothing is live now" in words(page) and len(listed(page)) == PAGE_TASKS_MAX
    assert not any(button.label.startswith(("Redrive", "Discard")) for button in page.button)
    shown(page.button(key="tasks-next").click().run())
    assert len(listed(page)) == 25
    shown(page.text_input(key="tasks-find").set_value("#5").run())
    assert "#### Task 5 " in words(page) and page.query_params["task"] == "5"
    assert tables(page)[1]["rows"][0]["cells"]["reason"] == "submitted"
    assert "There is no task 4711" in words(app(source="run:x", task="4711"))


@pytest.mark.parametrize("source", ["session", "mesh", "run:../../etc", HOSTILE])
def test_a_link_to_what_is_gone_shows_what_there_is(folder: Path, nothing_live: None, source: str) -> None:
    page = app(source=source, task="5")
    assert "shown instead" in words(page) and len(tables(page)) == 1


def test_dead_letters_are_redriven_and_discarded_when_told_twice(desk: FakeDesk) -> None:
    page = app()
    assert listed(page) == ["7", "8", "9"]
    page.session_state["tasks-table-choice"].ids = ["7", "9", "gone"]
    assert shown(page.run()).button(key="redrive").label == "Redrive 2"
    shown(page.button(key="redrive").click().run())
    assert "2 dead letters" in words(page) and desk.done == []
    shown(page.button(key="sure").click().run())
    assert desk.done == [("redrive", [7, 9])] and "2 dead letters redriven" in words(page)
    shown(page.text_input(key="tasks-words").set_value("timeout").run())
    assert listed(page) == ["8"]
    shown(page.button(key="discard").click().run())
    assert "error says" in words(page)
    shown(page.button(key="sure").click().run())
    assert desk.done[1:] == [("discard", [8])]


def test_a_session_redrives_all_together(desk: FakeDesk) -> None:
    desk.redrives = "all"
    page = app()
    page.session_state["tasks-table-choice"].ids = ["7"]
    shown(page.run().button(key="redrive").click().run())
    assert "3 dead letters" in words(page)
    shown(page.button(key="sure").click().run())
    assert desk.done == [("redrive", None)] and "in the model too" in words(page)


def test_a_place_that_is_away_says_so(desk: FakeDesk) -> None:
    desk.away = True
    page = app(task="7")
    assert "PostgreSQL has no connection to give" in words(page) and page.button(key="again") and not tables(page)


def test_hostile_texts_stay_text(desk: FakeDesk) -> None:
    desk.items = [replace(item(7), role=HOSTILE, error=HOSTILE, worker=HOSTILE, queue=HOSTILE)]
    page = app(task="7", source="session")
    said = words(page)
    assert "<img" not in said.replace("\\<img", "") and "[click](" not in said and "$y$" not in said
    assert all(not element.proto.allow_html for element in page.markdown)
    assert page.code[0].value == HOSTILE  # code is shown letter by letter
    assert tables(page)[0]["rows"][0]["cells"]["error"] == HOSTILE  # the table sets text


@pytest.mark.parametrize("task", ["", "x", "-1", "1e9", "9" * 40, "٣", HOSTILE])
def test_no_task_id_breaks_the_page(desk: FakeDesk, task: str) -> None:
    assert len(tables(app(task=task))) == 1
