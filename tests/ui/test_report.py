"""The HTML report: one file that fetches nothing and in which nothing of a stranger's becomes HTML."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from lab.record import Record
from lab.report import report

HOSTILE = '<img src=x onerror="alert(1)"></pre><script>alert(2)</script>'


class Tags(HTMLParser):
    """The tags and attributes of a page, and the text of its script elements by their number."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(model: Record, live: Record) -> str:
    return report([model, live])


def test_it_holds_all_that_was_found(page: str, model: Record) -> None:
    for said in (
        *(
            "Headline figures",
            "−9.1 %",
            "All 8 checks hold",
            "Nothing lost",
            "Theory",
            "Task by task",
            "The story of task",
        ),
        *("DEVELOPER", "base_s", str(model.info["run_id"])),
    ):
        assert said in page
    assert page.count("Plotly.newPlot(") == 8


def test_it_fetches_nothing(page: str) -> None:
    tags = Tags(page).seen
    assert not [attrs for _, attrs in tags if "src" in attrs or "href" in attrs]
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed", "base", "form")]
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)\s*=\s*[\"']?https?:", re.sub(r"<script.*?</script>", "", page, flags=re.S))


def test_hostile_names_stay_text(model: Record) -> None:
    info = {**copy.deepcopy(model.info), "scenario_name": HOSTILE}
    info["scenario"]["name"] = HOSTILE
    roles = info["scenario"]["workload"]["roles"]
    roles[HOSTILE] = roles["DEVELOPER"]
    info["checks"]["details"][0].update(ok=False, found=HOSTILE, claim=HOSTILE)
    info["theory"] = {**info["theory"], "reason": HOSTILE} if info["theory"] else None
    page = report([replace(model, info=info), replace(model, info={**info, "scenario_name": "b"})])
    tags = [tag for tag, _ in Tags(page).seen]
    assert "img" not in tags
    assert "<script>alert" not in page
    assert "Checks broken" in page


def test_one_run_alone(live: Record) -> None:
    page = report([live])
    assert "Task by task" not in page and page.count("Plotly.newPlot(") == 6
