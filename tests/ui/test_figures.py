"""The figures: right curves, bounded size, units, colours that also differ by dash, words where there is no data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly import graph_objects as go

from lab import figures, metrics
from lab.compare import compare
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from ui import palette

BUILDERS: list[Callable[..., go.Figure]] = [
    figures.throughput,
    figures.queue_depth,
    figures.latency_ecdf,
    figures.latency_histogram,
    figures.rss,
]


def main_lines(figure: go.Figure) -> dict[str, Any]:
    return {line.name: line for line in figure.data if line.showlegend}


@pytest.mark.parametrize("build", BUILDERS)
def test_both_runs_with_units_colours_and_dashes(build: Callable[..., go.Figure], model: Record, live: Record) -> None:
    figure = build([model, live], ["sim", "live"])
    lines = main_lines(figure)
    assert {"Model", "Live"} <= set(lines)
    assert (lines["Model"].line.color, lines["Model"].line.dash) == ("#0072B2", "dash")
    assert (lines["Live"].line.color, lines["Live"].line.dash) == ("#D55E00", "solid")
    assert "(s)" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text


@pytest.mark.parametrize("build", BUILDERS)
def test_one_run_alone(build: Callable[..., go.Figure], live: Record) -> None:
    assert set(main_lines(build([live], ["Live"]))) == {"Live"}


@pytest.mark.parametrize("build", BUILDERS)
def test_no_data_is_said_and_not_drawn(build: Callable[..., go.Figure], model: Record) -> None:
    empty = replace(
        model,
        tasks=model.tasks.assign(state="PENDING"),
        transitions=model.transitions.iloc[:0],
        samples=model.samples.iloc[:0],
    )
    figure = build([empty], ["Model"])
    assert not figure.data
    assert figure.layout.annotations[0].text.endswith(".")


def test_queue_depth_is_the_audit_log(model: Record) -> None:
    line = main_lines(figures.queue_depth([model], ["Model"]))["Model"]
    x, y = metrics.depth_curve(model)
    assert line.line.shape == "hv"
    assert np.array_equal(line.x[1:], x)
    assert np.array_equal(line.y[1:], y)


def test_ecdf_ends_at_the_longest_latency(model: Record) -> None:
    line = main_lines(figures.latency_ecdf([model], ["Model"]))["Model"]
    assert line.y[-1] == 1.0
    assert line.x[-1] == pytest.approx(metrics.summary(model)["latency_s"]["max"])


def test_histograms_share_their_bins_and_count_every_task(model: Record, live: Record) -> None:
    lines = main_lines(figures.latency_histogram([model, live], ["Model", "Live"]))
    assert np.array_equal(lines["Model"].x, lines["Live"].x)
    assert lines["Model"].y.sum() == len(metrics.completed(model))


def test_throughput_integrates_to_the_completed_tasks(model: Record) -> None:
    line = main_lines(figures.throughput([model], ["Model"]))["Model"]
    assert (np.diff(line.x) * line.y[:-1]).sum() == pytest.approx(len(metrics.completed(model)))


@pytest.mark.parametrize(
    ("end_s", "width"), [(0.5, 0.02), (3, 0.2), (15, 1), (300, 1), (301, 2), (3_600, 20), (86_400, 500)]
)
def test_bins_fit_the_run(end_s: float, width: float, model: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "end_s", lambda _: end_s)
    assert figures.bin_width_s([model]) == pytest.approx(width)


def test_thinning_keeps_peaks_and_ends() -> None:
    x = np.arange(1_000_000.0)
    y = np.zeros(1_000_000)
    y[123_456], y[654_321] = 7.0, -3.0
    few_x, few_y = figures.thin(x, y)
    assert len(few_x) <= figures.POINTS_MAX
    assert (few_x[0], few_x[-1], few_y.max(), few_y.min()) == (0.0, 999_999.0, 7.0, -3.0)
    assert (np.diff(few_x) > 0).all()


def test_many_tasks_stay_small() -> None:
    arrivals = {"kind": "poisson", "rate_per_s": 50, "count": 20_000}
    role = {"service": {"dist": "exponential", "mean_s": 0.1}}
    record = simulate(Scenario.from_data({"workload": {"arrivals": arrivals, "roles": {"A": role}}}))
    figure = figures.overlay([record], ["Model"])
    assert all(len(line.x) <= figures.POINTS_MAX for line in figure.data)
    assert len(figure.to_json()) < 400_000


def test_overlay_names_each_run_once(model: Record, live: Record) -> None:
    figure = figures.overlay([model, live], ["sim", "live"])
    assert sorted(line.name for line in figure.data if line.showlegend) == ["Live", "Model"]
    assert len({line.xaxis for line in figure.data}) == 4


def test_comparison_draws_it(model: Record, live: Record) -> None:
    assert isinstance(compare(model, live).figure(), go.Figure)


def test_two_runs_of_one_engine_differ(model: Record) -> None:
    lines = main_lines(figures.throughput([model, model], ["a", "b"]))
    assert lines["a"].line.color != lines["b"].line.color
    assert lines["a"].line.dash != lines["b"].line.dash


def test_apart_shares_axes_and_keeps_only_its_own_lines(model: Record, live: Record) -> None:
    left, right = figures.apart(figures.queue_depth([model, live], ["Model", "Live"]), ["Model", "Live"])
    assert (list(main_lines(left)), list(main_lines(right))) == (["Model"], ["Live"])
    assert left.layout.xaxis.range == right.layout.xaxis.range
    assert left.layout.yaxis.range == right.layout.yaxis.range


def test_the_app_has_the_same_colours() -> None:
    for engine in ("sim", "live"):
        for dark in (False, True):
            assert figures.ENGINE_COLOURS[engine, dark] == palette.engine_colour(engine, dark)
    assert tuple(palette.role_colour(index) for index in range(len(figures.ROLE_COLOURS))) == figures.ROLE_COLOURS


def test_replications_share_a_look_and_a_word(model: Record, live: Record) -> None:
    figure = figures.throughput([model, model, live], ["Model", "Model", "Live"], dark=True)
    assert sorted(line.name for line in figure.data if line.showlegend) == ["Live", "Model"]
    models = [line for line in figure.data if line.name == "Model"]
    assert {line.line.color for line in models} == {figures.MODEL_COLOUR_DARK}
    assert [line.opacity for line in models] == [figures.REPLICATION_OPACITY, None]  # the faint one lies below


def test_a_further_run_of_an_engine_has_a_colour_of_its_own(model: Record, live: Record) -> None:
    looks = figures.styles([model, model, live, live], list("abcd"))
    assert [looks[0].colour, looks[2].colour] == [figures.MODEL_COLOUR, figures.LIVE_COLOUR]
    assert len({look.colour for look in looks}) == len({look.dash for look in looks}) == 4


def test_a_label_from_a_stranger_is_text(model: Record) -> None:
    figure = figures.throughput([model], ['<a href="javascript:alert(1)">x</a>'])
    assert "<a" not in figure.data[0].name


def test_fleet_max_follows_the_largest_worker_that_still_reports(model: Record) -> None:
    rows = [(0, "a", 10), (0, "b", 90), (1, "a", 20), (1, "b", 80), (2, "a", 30), (3, "a", 40), (4, "a", 50)]
    samples = pd.DataFrame(rows, columns=["t_s", "worker", "rss_bytes"])
    t_s, size = figures.fleet_max(replace(model, samples=samples))
    assert dict(zip(t_s, size, strict=True)) == {0: 90, 1: 90, 2: 80, 3: 40, 4: 50}


def test_the_limit_is_drawn_only_where_it_is_near(model: Record) -> None:
    def with_limit(mib: float) -> Record:
        rulebook = {**model.info["rulebook"], "health": {**model.info["rulebook"]["health"], "rss_limit_mib": mib}}
        return replace(model, info={**model.info, "rulebook": rulebook})

    assert "RSS limit" in main_lines(figures.rss([with_limit(100)], ["Model"]))
    assert "RSS limit" not in main_lines(figures.rss([with_limit(100_000)], ["Model"]))
