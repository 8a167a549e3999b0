"""A dense table of the app's own: rows to choose, open, star and sort, with small curves and verdicts.

Streamlit's own table is a canvas: it knows neither links within the app nor stars, and a reader of screens sees nothing
in it. The browser's part is ui/assets/rows.js, which sets everything as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

import streamlit as st

from ui import text

Kind = Literal["text", "number", "when", "link", "engine", "dot", "verdict", "tags", "star", "curve"]
Tone = Literal["good", "bad", "warn", "quiet"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `width` is CSS; without one it takes what is left."""

    key: str
    label: str
    kind: Kind = "text"
    width: str = ""
    help: str = ""
    sortable: bool = False

    def json(self) -> dict[str, Any]:
        """As the browser's part takes it."""
        align = "right" if self.kind == "number" else ""
        return {**{name: getattr(self, name) for name in self.__slots__}, "align": align}


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its id, its name for people who cannot see it, and a value for each column, as its kind wants it."""

    id: str
    name: str
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """How the table is shown: `height` at most and `width` at least are CSS, `foot` is a line below it, `page` changes
    when other rows are shown.

    With `link` the foot has a button that copies the page's address; while rows are chosen it is called `link_chosen`
    and copies `href_chosen` followed by their ids.
    """

    label: str
    foot: str = ""
    height: str = "70vh"
    width: str = "760px"
    page: str = ""
    sort: tuple[str, bool] = ("", False)
    choosable: bool = True
    openable: bool = True
    current: str = ""
    link: str = ""
    link_chosen: str = ""
    href_chosen: str = ""


@dataclass(frozen=True, slots=True)
class Actions:
    """What a person can do. Each is called before the page is drawn anew."""

    opened: Callable[[str], None] | None = None
    starred: Callable[[str], None] | None = None
    tagged: Callable[[str], None] | None = None
    sorted: Callable[[str], None] | None = None


@dataclass(slots=True)
class Choice:
    """The rows that are chosen in one table, kept in the session under a key of its own."""

    key: str
    ids: list[str] = field(default_factory=list)
    turn: int = 0


def choice(key: str) -> Choice:
    """The rows that are chosen in the table called `key`."""
    kept: Choice = st.session_state.setdefault(f"{key}-choice", Choice(key))
    return kept


def forget(key: str) -> None:
    """Choose none."""
    kept = choice(key)
    kept.ids, kept.turn = [], kept.turn + 1


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    """The component, registered once a process."""
    assets = files("ui") / "assets"
    return st.components.v2.component(
        "meshlab_rows",
        html='<div class="rows"></div>',
        css=(assets / "rows.css").read_text("utf-8"),
        js=(assets / "rows.js").read_text("utf-8"),
    )


def show(key: str, columns: Sequence[Column], rows: Sequence[Row], look: Look, actions: Actions) -> None:
    """Draw the table. What is chosen in it is told by `choice(key)`."""
    kept = choice(key)
    data = {
        "columns": [column.json() for column in columns],
        "rows": [{"id": row.id, "name": row.name, "cells": row.cells} for row in rows],
        "chosen": kept.ids,
        "turn": kept.turn,
        "sort": {"key": look.sort[0], "down": look.sort[1]},
        "linkChosen": look.link_chosen,
        "hrefChosen": look.href_chosen,
        **{name: getattr(look, name) for name in ("label", "foot", "height", "width", "page", "choosable")},
        **{name: getattr(look, name) for name in ("openable", "current", "link")},
    }

    def chose() -> None:
        told = st.session_state[key].chosen
        kept.ids, kept.turn = [str(one) for one in told["ids"]], int(told["turn"])

    def said(name: str, action: Callable[[str], None] | None) -> Callable[[], None]:
        def call() -> None:
            if action is not None:
                action(str(st.session_state[key][name]))

        return call

    _component()(
        key=key,
        data=data,
        on_chosen_change=chose,
        on_opened_change=said("opened", actions.opened),
        on_starred_change=said("starred", actions.starred),
        on_tagged_change=said("tagged", actions.tagged),
        on_sorted_change=said("sorted", actions.sorted),
    )


def verdict(tone: Tone, icon: str, words: str, title: str = "") -> dict[str, str]:
    """The value of a cell of kind `verdict`."""
    return {"tone": tone, "icon": icon, "text": words, "title": title}


def engines(engine: str) -> list[tuple[str, str]]:
    """The value of a cell of kind `engine`."""
    each = ("sim", "live") if engine == "both" else (engine,)
    return [(one, text.ENGINE_WORDS.get(one, one)) for one in each]
