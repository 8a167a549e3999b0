"""The shadow's section: with a mesh, without one, and one look for all who watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lab.drift import Alarm
from lab.errors import LabError, Unavailable, UsageError
from lab.observed_watch import FIGURES, Look
from tests.ui.conftest import shown
from ui import shadow_view
from ui.shadow_watch import EVERY_S, MISSING_S, Watcher


def _look(state: Any = "agree", *alarms: Alarm, causes: tuple[str, ...] = ()) -> Look:
    figures = dict.fromkeys(FIGURES, 1.5)
    t_s = np.linspace(-119, 0, 60)
    names = ("Completed (1/s)", "Mean latency (s)", "Waiting tasks")
    curves = {name: (np.ones(60), np.ones(60)) for name in names}
    return Look(1_000.0, 120.0, state, alarms, figures, figures, 0.1, causes, (), curves, t_s)


def _page(monkeypatch: pytest.MonkeyPatch, begin: Callable[[], Callable[[], Look]]) -> AppTest:
    one = Watcher(begin)
    monkeypatch.setattr(shadow_view, "watcher", lambda: one)

    def page() -> None:
        from ui import shadow_view as view

        view.section()

    return shown(AppTest.from_function(page, default_timeout=30).run())


def _says(page: AppTest) -> str:
    return "\n".join(one.value for one in [*page.markdown, *page.caption, *page.warning, *page.code])


def test_it_shows_seen_and_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    page = _page(monkeypatch, lambda: _look)
    assert "Agrees" in _says(page) and "The mesh behaves as its model says" in _says(page).replace("\\", "")
    assert "| **Predicted** | 1.50/s | 1.50 s" in _says(page)


def test_an_alarm_says_what_and_why_and_shows_names_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    alarm = Alarm("work", "x slower", "[click](http://x): attempts take longer", 900.0, 1.1)
    page = _page(monkeypatch, lambda: lambda: _look("apart", alarm, causes=("worker <b>w</b> has been silent",)))
    said = _says(page)
    assert "Apart" in said and "The work itself has changed" in said
    assert "[click](" not in said and "<b>" not in said


def test_without_a_mesh_it_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin() -> Callable[[], Look]:
        raise Unavailable("no standing mesh was found: start one")

    page = _page(monkeypatch, begin)
    assert "No standing mesh runs here" in _says(page)
    assert "meshlab up" in _says(page)


def test_a_database_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> Look:
        raise Unavailable("PostgreSQL does not answer the shadow")

    assert "PostgreSQL does not answer" in _says(_page(monkeypatch, lambda: look)).replace("\\", "")


def test_switched_off_it_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    page = _page(monkeypatch, lambda: _look)
    page = shown(page.toggle(key="shadow-watch").set_value(False).run())
    assert "Not watching" in _says(page) and "Predicted" not in _says(page)


def test_everybody_gets_the_same_look_until_it_is_old() -> None:
    now, looks, begun = [0.0], list[Look](), [0]

    def begin() -> Callable[[], Look]:
        begun[0] += 1

        def look() -> Look:
            looks.append(_look())
            return looks[-1]

        return look

    waiting = list[Callable[[], None]]()
    one = Watcher(begin, clock=lambda: now[0], start=waiting.append)
    assert one.newest() is one.newest() is looks[0]
    now[0] = EVERY_S
    assert one.newest() is one.newest() is looks[0], "nobody waits for the next one"
    assert len(waiting) == 1
    waiting.pop()()
    assert one.newest() is looks[1]
    assert begun == [1]


def test_a_mesh_that_has_gone_is_looked_for_again_but_not_at_once() -> None:
    now, answers = [0.0], [UsageError("no standing mesh was found"), None]
    asked = [0]

    def begin() -> Callable[[], Look]:
        asked[0] += 1
        if (answer := answers[asked[0] - 1]) is not None:
            raise answer
        return _look

    one = Watcher(begin, clock=lambda: now[0])
    for at_s in (0.0, MISSING_S / 2):
        now[0] = at_s
        with pytest.raises(LabError):
            one.newest()
    assert asked == [1]
    now[0] = MISSING_S
    assert one.newest().state == "agree"
