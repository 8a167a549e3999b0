"""The HTML report: one file that fetches nothing and in which nothing of a stranger's becomes HTML."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

from lab import report_svg
from lab.record import Record
from lab.report import report
from lab.scenario import Scenario
from simulation import simulate

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
            "In short",
            "Headline figures",
            "−9.1 %",
            "All 8 checks hold",
            "Nothing lost",
            "Theory",
            "Task by task",
            "The story of task",
            "2 of 39 rules differ from the defaults",
            "Profile of the model",
            "The p99 of Model is 9.1 % shorter than that of Live",
        ),
        *("DEVELOPER", "base_s", str(model.info["run_id"])),
    ):
        assert said in page
    assert page.count("Plotly.newPlot(") == page.count('<svg class="static"') == 8


def test_it_fetches_nothing(page: str) -> None:
    tags = Tags(page).seen
    assert not [attrs for _, attrs in tags if "src" in attrs or not (attrs.get("href") or "#").startswith("#")]
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


def test_every_line_of_the_contents_leads_to_a_section(page: str) -> None:
    tags = Tags(page).seen
    leads = [str(attrs["href"])[1:] for tag, attrs in tags if tag == "a"]
    assert leads == [attrs["id"] for tag, attrs in tags if tag == "section"]
    assert len(leads) == 11


def test_rules_that_differ_are_marked_and_all_are_there(page: str) -> None:
    assert "<code>retry.base_s</code></td><td><b>0.1</b> s</td><td>1</td>" in page
    assert page.count("<code>lease.length_s</code>") == 1
    assert page.count("<code>retry.base_s</code>") == 2  # among those that differ, and among all


def test_replications_and_a_broken_check(model: Record, scenario: Scenario) -> None:
    runs = [model, simulate(scenario.override({"seed": 4}))]
    runs[1].info["checks"]["details"][0].update(ok=False, found="3 tasks are gone", tasks=[1, 2, 3])
    shown = report(runs, pool=True, title="A <title>", command="meshlab report a b")
    assert "<h1>A &lt;title&gt;</h1>" in shown and "meshlab report a b" in shown
    assert "<b>✗ 3 tasks are gone</b> For example task 1, 2, 3." in shown
    assert "Model, 2 runs, on average" in shown and "Student" not in shown.split("<section")[0]


@pytest.mark.parametrize(
    ("measured_at", "told"),
    [
        ("2026-01-01T00:00:00+00:00", "31 days"),
        ("2026-01-31T10:00:00Z", "14 hours"),
        ("2026-01-31T23:59:00", "less than two hours"),
        (None, "not recorded"),
    ],
)
def test_the_age_of_the_profile(measured_at: str | None, told: str, model: Record) -> None:
    info = {**model.info, "started_at": "2026-02-01T00:00:00+00:00"}
    info["profile"] = {**info["profile"], "measured_at": measured_at}
    assert f"<td>{told}</td>" in report([replace(model, info=info)])


# ---- still pictures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (3, 3, [3]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert report_svg.ticks(low, high) == pytest.approx(expected)


def test_a_gap_in_a_line_stays_a_gap() -> None:
    x, y = [0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 2.0, math.nan, 2.0, 1.0]
    figure = go.Figure(go.Scatter(x=x, y=y, mode="lines", name="<b>a</b> & b", line={"color": "#0072B2"}))
    drawn = report_svg.svg(figure)
    assert [path.count("L") for path in re.findall(r'<path d="([^"]*)"', drawn)] == [1, 1]
    assert "a &amp; b" in drawn and "nan" not in drawn
    ElementTree.fromstring(drawn)


def test_every_figure_has_a_picture_that_is_xml(page: str) -> None:
    for drawn in re.findall(r"<svg class=\"static\".*?</svg>", page, flags=re.S):
        ElementTree.fromstring(drawn)
    assert report_svg.svg(go.Figure()) == ""
