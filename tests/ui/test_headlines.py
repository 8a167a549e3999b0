"""Runs side by side: which columns, what they are called, how far apart, and where an interval comes from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab import headlines, paired
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.ui.conftest import as_live


@pytest.fixture(scope="module")
def long() -> Record:
    """Enough tasks for batches, and nothing that goes wrong."""
    role = {"A": {"service": {"dist": "exponential", "mean_s": 0.1}}}
    arrivals = {"kind": "poisson", "rate_per_s": 30, "count": 400}
    return simulate(Scenario.from_data({"workload": {"arrivals": arrivals, "roles": role}}))


def told(*records: Record, pool: bool = False) -> list[str]:
    return [column.label for column in headlines.columns(records, pool=pool)]


def again(record: Record, **scenario: Any) -> Record:
    """The same record as if its scenario had been another one."""
    data = {**record.info["scenario"], **scenario}
    return replace(record, info={**record.info, "scenario": data, "seed": data.get("seed", record.info["seed"])})


def test_labels_say_what_tells_runs_apart_and_no_more(model: Record, live: Record) -> None:
    assert told(live, model) == ["Model", "Live"]
    assert told(model, again(model, name="b"), live) == ["Model · small", "Model · b", "Live"]
    assert told(model, again(model, seed=4)) == ["Model · seed 3", "Model · seed 4"]
    wide = again(model, mesh={"workers": 9, "slots": 2})
    assert told(model, wide, again(wide, seed=4)) == [
        *("Model · workers 2", "Model · workers 9 · seed 3", "Model · workers 9 · seed 4"),
    ]
    assert told(model, model) == ["Model · #1", "Model · #2"]


def test_only_runs_that_differ_in_their_seed_are_put_together(model: Record, live: Record) -> None:
    other = again(model, seed=4)
    assert told(model, other, live, pool=True) == ["Model", "Live"]
    assert headlines.replicated([model, other]) and not headlines.replicated([model, live])
    assert told(model, again(other, mesh={"workers": 1}), pool=True) == ["Model · workers 2", "Model · workers 1"]
    assert told(model, model, pool=True) == ["Model · #1", "Model · #2"]  # the same draws twice are no sample


def test_of_two_long_runs_the_interval_is_that_of_the_paired_batches(long: Record) -> None:
    slow = as_live(long, 1.5)
    first, second = headlines.columns([long, slow])
    found = headlines.against(second, first)
    expected = paired.of_records(slow, long).figures["latency_s.mean"]
    apart = found.differences["latency_s.mean"]
    assert (apart.value, list(apart.ci95 or ())) == (expected["difference"], expected["ci95"])
    low, high = apart.relative_ci95 or (0.0, 0.0)
    assert low <= (apart.relative or 0.0) <= high
    assert found.differences["makespan_s"].ci95 is None
    assert "one run each, so they say nothing of other seeds" in found.method


def test_where_there_is_no_interval_it_says_why(model: Record, live: Record, long: Record) -> None:
    def why(a: Record, b: Record) -> str:
        first, second = headlines.columns([a, b])
        return headlines.against(first, second).method

    assert "fewer than the 200 tasks" in why(model, live)
    assert "different tasks" in why(again(model), again(long, seed=3))
    assert "other seeds" in why(model, again(live, seed=8))


def test_replications_have_intervals_and_are_paired_by_seed(scenario: Scenario) -> None:
    models = [simulate(scenario.override({"seed": seed})) for seed in (1, 2, 3)]
    columns = headlines.columns([*models, *(as_live(one, 1.1) for one in models)], pool=True)
    assert [column.seeds for column in columns] == [[1, 2, 3], [1, 2, 3]]
    low, high = columns[0].ci95("throughput_per_s") or (0.0, 0.0)
    assert low < (columns[0].value("throughput_per_s") or 0.0) < high
    found = headlines.against(columns[1], columns[0])
    assert found.differences["throughput_per_s"].ci95 and "3 pairs of replications" in found.method


def test_a_difference_from_nothing_is_known_only_if_it_is_none() -> None:
    assert headlines.Difference(0.0, 0.0).relative == 0.0
    assert headlines.Difference(1.0, 0.0).relative is None
    assert headlines.Difference(-1.0, 4.0, (-2.0, 0.0)).relative_ci95 == (-0.5, 0.0)


def test_the_usual_baseline_is_the_real_thing(model: Record, live: Record) -> None:
    assert headlines.default_baseline(headlines.columns([model, live])) == 1
    assert headlines.default_baseline(headlines.columns([model, model, live])) == 0
