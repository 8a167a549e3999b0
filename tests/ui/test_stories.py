"""Where the time of a task went: spans that add up to its latency, whatever happened to it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lab import figures, figures_tasks, stories
from lab.record import Record
from lab.scenario import Scenario
from lab.stories import Span
from simulation import simulate
from tests.ui.conftest import as_live

CRASH = {
    "workload": {
        "arrivals": {"kind": "constant", "rate_per_s": 20, "count": 100},
        "roles": {
            "A": {"service": {"dist": "constant", "mean_s": 0.2}, "failure_rate": 0.2},
            "B": {"service": {"dist": "constant", "mean_s": 0.1}},
        },
    },
    "mesh": {"workers": 2, "slots": 3},
    "rules": {"retry": {"base_s": 0.1}, "lease": {"length_s": 1.0, "sweep_s": 0.1}},
    "faults": [
        {"kind": "kill_worker", "at_s": 2, "worker": 0},
        {"kind": "slow_service", "at_s": 3, "for_s": 1, "factor": 2},
    ],
}


@pytest.fixture(scope="module")
def crash() -> Record:
    return simulate(Scenario.from_data(CRASH))


def test_spans_follow_one_another_and_add_up_to_the_latency(crash: Record) -> None:
    tasks = crash.tasks[crash.tasks["state"] == "COMPLETED"]
    told = stories.stories(crash, tasks["id"].tolist())
    for row in tasks.to_dict("records"):
        spans = told[row["id"]]
        assert spans[0].start_s == pytest.approx(row["arrival_s"])
        assert all(a.end_s == pytest.approx(b.start_s, abs=2e-6) for a, b in pairwise(spans))
        assert sum(stories.totals(spans).values()) == pytest.approx(row["done_s"] - row["arrival_s"], abs=1e-5)


def test_spans_know_service_backoff_and_lost_attempts(crash: Record) -> None:
    told = stories.stories(crash, crash.tasks["id"].tolist())
    spans = [span for one in told.values() for span in one]
    reclaimed = crash.info["summary"]["tasks"]["reclaimed"]
    assert reclaimed and sum(span.kind == "lost" for span in spans) == reclaimed
    assert all(span.length_s >= 1.0 for span in spans if span.kind == "lost")  # at least the lease
    backoff = {round(span.length_s, 6) for span in spans if span.kind == "backoff" and span.attempt == 1}
    assert backoff == {0.2}  # 0.1 s · 2
    lengths = {round(span.length_s, 3) for span in spans if span.kind == "service"}  # timers ring at whole ms
    assert lengths == {0.1, 0.2, 0.4}  # the last one while the service is slow


def test_the_parts_of_the_mean_add_up_to_it(crash: Record, model: Record) -> None:
    for record in (crash, model):
        assert sum(stories.mean_s(record).values()) == pytest.approx(record.info["summary"]["latency_s"]["mean"])


def test_pairs_begin_with_the_task_furthest_apart(model: Record) -> None:
    slow = as_live(model, 1.1)
    pairs = stories.paired_tasks(model, slow)
    longest = model.tasks.loc[pairs["id"].iloc[0]]
    assert longest["done_s"] == model.tasks["done_s"].max()  # all arrive at once, and all is a tenth slower
    assert pairs["difference_s"].abs().is_monotonic_decreasing
    ids = [int(pairs["id"].iloc[0])]
    assert "−" in stories.why(stories.stories(model, ids)[ids[0]], stories.stories(slow, ids)[ids[0]])


@pytest.mark.parametrize(
    ("a", "b", "made_of"),
    [
        (
            [Span("waiting", 1, 0, 3)],
            [Span("waiting", 1, 0, 1), Span("backoff", 1, 1, 1.5)],
            "waiting +2.00 s, backoff −0.500 s",
        ),
        ([Span("service", 1, 0, 1)], [Span("service", 1, 0, 1)], "less than 1.00 ms in any part"),
    ],
)
def test_what_made_the_difference(a: list[Span], b: list[Span], made_of: str) -> None:
    assert stories.why(a, b) == made_of


def test_many_tasks_are_thinned_and_the_worst_are_kept(model: Record) -> None:
    pairs = stories.paired_tasks(model, as_live(model, 1.1))
    many = pairs.loc[pairs.index.repeat(200)]
    some = figures_tasks.drawn(many)
    assert len(some) == figures_tasks.POINTS_MAX < len(many)
    assert some["id"].tolist()[: figures_tasks.WORST_KEPT] == many["id"].tolist()[: figures_tasks.WORST_KEPT]
    assert some["id"].iloc[-1] == many["id"].iloc[-1]


def test_figures_of_tasks(crash: Record) -> None:
    slow = as_live(crash, 1.2)
    pairs = stories.paired_tasks(crash, slow)
    chosen = int(pairs["id"].iloc[0])
    figure = figures_tasks.scatter(pairs, ["A", "B<b>"], ("Model", "<img>"), chosen)
    points = {trace.name: trace for trace in figure.data if trace.mode == "markers" and trace.showlegend is not False}
    assert points["A"].marker.color == figures.ROLE_COLOURS[0]
    assert len(points["A"].x) == (pairs["role"].astype(str) == "A").sum()
    assert "<img>" not in figure.to_json()
    told = {"Model": stories.stories(crash, [chosen])[chosen], "Live": stories.stories(slow, [chosen])[chosen]}
    looks = figures.styles([crash, slow], ["Model", "Live"])
    bars = [bar for bar in figures_tasks.story(told, 0.0, looks).data if bar.base is not None]
    assert sum(len(bar.base) for bar in bars) == sum(map(len, told.values()))
    assert {bar.marker.color for bar in bars} >= {figures.MODEL_COLOUR, figures.LIVE_COLOUR}
