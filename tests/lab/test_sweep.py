"""A sweep's rows, its journal, its file, its tables and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from lab import Scenario, statistics, sweep
from lab.errors import Interrupted, UsageError
from lab.paired import ab
from lab.progress import Progress
from lab.record import Record
from lab.sweep import Range, run
from lab.sweep_design import design
from lab.sweep_journal import Journal, beside
from lab.sweep_result import Sweep
from lab.sweep_words import figure_of, path_words
from simulation import simulate

SCENARIO = Scenario.parse(
    """\
name: forty
seed: 5
workload:
  arrivals: {kind: poisson, rate_per_s: 4, count: 40}
  roles: {A: {service: {dist: exponential, mean_s: 1.0}, failure_rate: 0.1}}
mesh: {workers: 2, slots: 2}
rules: {retry: {base_s: 0.1}}
profile: ideal
"""
)
GRID: dict[str, list[Any]] = {"mesh.workers": [1, 2, 4], "rules.priority.order": ["strict", "aging"]}


@pytest.fixture(scope="module")
def found() -> Sweep:
    return sweep(simulate, SCENARIO, GRID, replications=3, cores=1)


def broken(scenario: Scenario, **watch: Any) -> Record:
    """An engine that two workers are too many for, and that breaks a check on four."""
    if scenario.mesh.workers == 2:
        raise UsageError("two are too many")
    if scenario.mesh.workers == 3:
        raise ZeroDivisionError("three")
    record = simulate(scenario, **watch)
    if scenario.mesh.workers == 4:
        record.info["checks"] |= {"ok": False, "failed": ["nothing_lost"]}
    return record


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_a_row_a_run_with_the_figures_that_the_run_has_by_itself(found: Sweep) -> None:
    assert len(found.frame) == 3 * 2 * 3 and found.complete
    row = found.frame[(found.frame["point"] == 3) & (found.frame["replication"] == 2)].iloc[0]
    assert (row["mesh.workers"], row["rules.priority.order"], row["seed"]) == (2, "aging", 7)
    alone = simulate(SCENARIO.override({"mesh.workers": 2, "rules.priority.order": "aging", "seed": 7}))
    summary = alone.info["summary"]
    assert row["throughput_per_s"] == summary["throughput_per_s"]
    assert row["latency_s.p99"] == summary["latency_s"]["p99"]
    assert row["tasks.retries"] == summary["tasks"]["retries"]
    assert row["by_queue.agent_high.queue_wait_s.p95"] == summary["by_queue"]["agent_high"]["queue_wait_s"]["p95"]
    assert row["utilisation.database"] == alone.info["utilisation"]["database"]
    assert (row["digest"], bool(row["checks_ok"])) == (alone.info["digest"], True)


def test_the_number_of_cores_changes_nothing(found: Sweep) -> None:
    many = sweep(simulate, SCENARIO, GRID, replications=3, cores=2)
    pd.testing.assert_frame_equal(many.frame.drop(columns="wall_s"), found.frame.drop(columns="wall_s"))


def test_every_replication_of_a_point_comes_after_the_one_before_of_all_points() -> None:
    seen: list[tuple[int, int]] = []

    def noted(scenario: Scenario, **watch: Any) -> Record:
        seen.append((scenario.mesh.workers, scenario.seed))
        return simulate(scenario, **watch)

    sweep(noted, SCENARIO, {"mesh.workers": [1, 2]}, replications=2, cores=1)
    assert seen == [(1, 5), (2, 5), (1, 6), (2, 6)]


def test_a_point_that_fails_is_a_row_with_its_error() -> None:
    one = sweep(broken, SCENARIO, {"mesh.workers": [1, 2, 3, 4]}, replications=2, cores=1)
    assert one.complete
    assert list(one.failed["point"]) == [1, 1, 2, 2]
    assert list(one.failed["error"]) == ["two are too many"] * 2 + ["ZeroDivisionError: three"] * 2
    assert list(one.broken["point"]) == [3, 3] and set(one.broken["checks_failed"]) == {"nothing_lost"}
    table = one.table("latency_s.mean")
    assert table["runs"].tolist() == [2, 0, 0, 2] and math.isnan(table.loc[1, "mean"])
    assert isinstance(one.figure(), go.Figure)


def test_a_sweep_in_which_all_runs_fail_is_still_a_table(tmp_path: Path) -> None:
    one = sweep(broken, SCENARIO, {"mesh.workers": [2]}, replications=1, cores=1, out=tmp_path / "a.parquet")
    assert one.figures == [] and list(Sweep.load(tmp_path / "a.parquet").frame["error"]) == ["two are too many"]
    with pytest.raises(UsageError, match="there is no figure"):
        one.table()


def test_a_wrong_point_is_refused_before_the_first_run() -> None:
    def never_called(_: Scenario, **__: Any) -> Record:
        raise AssertionError("it ran")

    with pytest.raises(UsageError, match=r"point 1 .* mesh\.workers"):
        sweep(never_called, SCENARIO, {"mesh.workers": [1, 0]}, cores=1)


# ---- the journal -----------------------------------------------------------------------------------------------------


def stopped_after(runs: int) -> Callable[[], bool]:
    looks = iter(range(1_000))
    return lambda: next(looks) > runs


def test_stopped_it_keeps_what_was_run_and_goes_on_from_there(found: Sweep, tmp_path: Path) -> None:
    asked, out = design(SCENARIO, GRID, replications=3), tmp_path / "sub" / "a.parquet"
    count: list[int] = []

    def stop() -> bool:
        return len(beside(out).read_bytes().splitlines()) > 9 if beside(out).exists() else False

    first = run(simulate, asked, out, cores=1, stop=stop)
    assert len(first.frame) == 9 and not first.complete and beside(out).exists()
    assert Sweep.load(out).frame.equals(first.frame)
    # A crash in the middle of a line: the torn row is run again.
    beside(out).write_bytes(beside(out).read_bytes()[:-40])
    told: list[Progress] = []

    def counted(scenario: Scenario, **watch: Any) -> Record:
        count.append(scenario.seed)
        return simulate(scenario, **watch)

    whole = run(counted, asked, out, resume=True, cores=1, on_progress=told.append)
    assert len(count) == 18 - 8
    assert (told[-1].done, told[-1].total) == (10, 10) and told[-1].note == "runs of 6 points, and 8 runs from before"
    assert whole.complete and not beside(out).exists()
    pd.testing.assert_frame_equal(whole.frame.drop(columns="wall_s"), found.frame.drop(columns="wall_s"))


def test_two_sweeps_never_write_into_one_journal(tmp_path: Path) -> None:
    path, asked = tmp_path / "a.journal", design(SCENARIO, {"mesh.workers": [1, 2]})
    with Journal(path, asked, resume=False) as first:
        first.add({"point": 0, "replication": 0})
        for resume in (False, True):
            with pytest.raises(UsageError, match="another sweep is writing here"):
                Journal(path, asked, resume=resume)
        first.add({"point": 1, "replication": 0})
    with Journal(path, asked, resume=True) as later:
        assert len(later.rows) == 2, "who was refused has touched nothing"


def test_a_journal_is_taken_up_only_when_asked_and_only_by_its_own_sweep(tmp_path: Path) -> None:
    asked, path = design(SCENARIO, {"mesh.workers": [1, 2]}), beside(tmp_path / "a.parquet")
    with Journal(path, asked, resume=False) as journal:
        journal.add({"point": 0, "replication": 0, "error": None})
    with pytest.raises(UsageError, match="holds 1 runs of a sweep that was not finished; go on with it by --resume"):
        Journal(path, asked, resume=False)
    with pytest.raises(UsageError, match="is of another sweep"):
        Journal(path, design(SCENARIO, {"mesh.workers": [1, 3]}), resume=True)
    with Journal(path, asked, resume=True) as journal:
        assert list(journal.rows) == [(0, 0)]
    assert path.exists()


def test_a_journal_without_rows_stands_in_nobodys_way(tmp_path: Path) -> None:
    path = beside(tmp_path / "a.parquet")
    with Journal(path, design(SCENARIO, {"mesh.workers": [1]}), resume=False):
        left = path.read_bytes()
    assert not path.exists()
    path.write_bytes(left)
    with Journal(path, design(SCENARIO, {"mesh.workers": [2]}), resume=False) as journal:
        journal.add({"point": 0, "replication": 0})
    assert len(path.read_bytes().splitlines()) == 2 and path.read_bytes() != left


@pytest.mark.parametrize("content", [b"nonsense\n", b'{"kind": "a letter"}\n', b"[1]\n"])
def test_what_is_no_journal_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = beside(tmp_path / "a.parquet")
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no journal of a sweep"):
        Journal(path, design(SCENARIO, {"mesh.workers": [1]}), resume=True)
    assert path.read_bytes() == content


def test_a_journal_that_was_torn_in_its_first_line_begins_anew(tmp_path: Path) -> None:
    path = beside(tmp_path / "a.parquet")
    path.write_bytes(b'{"kind": "agent-me')
    with Journal(path, design(SCENARIO, {"mesh.workers": [1]}), resume=True) as journal:
        assert journal.rows == {}
        assert json.loads(path.read_bytes())["runs"] == 1


def test_stopped_before_the_first_run_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="forty: stopped before the first of 5 runs was done"):
        sweep(simulate, SCENARIO, {"mesh.workers": [1]}, cores=1, stop=lambda: True)


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_file_is_tidy_and_says_where_it_comes_from(found: Sweep, tmp_path: Path) -> None:
    path = found.save(tmp_path / "a.parquet")
    again = Sweep.load(path)
    assert again.frame.equals(found.frame) and again.about == found.about
    plain = pq.read_table(path)  # as any other program reads it
    assert plain.num_rows == 18 and {"point", "replication", "seed", "mesh.workers"} <= set(plain.column_names)
    about = json.loads(plain.schema.metadata[b"agent-mesh-lab.sweep"])
    assert Scenario.parse(about["scenario"]).data == SCENARIO.data
    assert (about["paths"], about["method"], about["points"]) == (list(GRID), "Grid 3 × 2", 6)
    assert about["versions"]["numpy"] == np.__version__


def test_values_of_any_kind_are_kept(tmp_path: Path) -> None:
    grid: dict[str, list[Any]] = {
        "workload.roles.A.service": [{"dist": "constant", "mean_s": 1}, {"dist": "gamma", "mean_s": 1, "cv": 2}],
        "rules.retry.cap_s": [None, 3],
        "rules.retry.factor": [1, 1.5],
    }
    path = tmp_path / "a.parquet"
    one = sweep(simulate, SCENARIO, grid, replications=1, cores=1, out=path)
    assert json.loads(one.points.loc[7, "workload.roles.A.service"]) == grid["workload.roles.A.service"][1]
    assert one.points["rules.retry.cap_s"].tolist() == ["null"] * 2 + ["3"] * 2 + ["null"] * 2 + ["3"] * 2
    assert one.points["rules.retry.factor"].tolist() == [1.0, 1.5] * 4
    assert Sweep.load(path).frame.equals(one.frame)
    assert isinstance(one.figure(), go.Figure)


def test_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    for one in (path, tmp_path / "none.parquet"):
        with pytest.raises(UsageError, match="is no result of a sweep"):
            Sweep.load(one)


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_means_and_intervals_are_those_of_the_statistics(found: Sweep) -> None:
    table = found.table("latency_s.mean")
    for point, rows in found.frame.groupby("point"):
        known = statistics.of_runs(rows["latency_s.mean"].tolist())
        assert known.ci95 is not None
        assert table.loc[point, "mean"] == pytest.approx(known.value)
        assert (table.loc[point, "low"], table.loc[point, "high"]) == pytest.approx(known.ci95)


def test_differences_are_those_of_pairs_and_narrower_than_chance_would_have_them(found: Sweep) -> None:
    row = found.table("throughput_per_s", baseline=2).loc[4]
    two, four = (SCENARIO.override({"mesh.workers": workers}) for workers in (2, 4))
    known = ab(simulate, two, four, 3, cores=1).figures["throughput_per_s"]
    assert row["difference"] == pytest.approx(known["difference"])
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(known["ci95"])
    assert row["variance_reduction"] == pytest.approx(known["variance_reduction"], rel=1e-2)
    assert row["variance_reduction"] > 1


def test_pairs_without_both_runs_do_not_count() -> None:
    """Values 1, 3 and 2, 4, 9 by hand: the pairs (1, 2), (3, 4) differ by 1 each, so by 1 ± 0."""
    rows = [(0, 0, 1.0), (0, 1, 3.0), (1, 0, 2.0), (1, 1, 4.0), (1, 2, 9.0)]
    asked = design(SCENARIO, {"mesh.workers": [1, 2]}, replications=3)
    made = [{"point": point, "replication": number, "seed": 5 + number, "x": value} for point, number, value in rows]
    row = Sweep.of(asked, made, {}).table("x").loc[1]
    assert (row["mean"], row["runs"]) == (5.0, 3)
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (1.0, 1.0, 1.0)


def test_one_run_of_each_point_has_no_interval() -> None:
    table = sweep(simulate, SCENARIO, {"mesh.workers": [1, 2]}, replications=1, cores=1).table()
    assert table[["low", "high", "difference_low", "variance_reduction"]].isna().all(axis=None)


def test_what_is_not_there_is_told(found: Sweep) -> None:
    with pytest.raises(UsageError, match=r"there is no figure 'latency'; there are tasks\.submitted"):
        found.table("latency")
    with pytest.raises(UsageError, match="there is no point 9; the sweep has 0 to 5"):
        found.table(baseline=9)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_the_figure_suits_the_design(found: Sweep) -> None:
    one = sweep(simulate, SCENARIO, {"mesh.workers": [1, 2]}, replications=2, cores=1)
    drawn = sweep(simulate, SCENARIO, ranges={"mesh.workers": Range(1, 8, "int")}, samples=5, replications=1, cores=1)
    kinds = [{type(trace).__name__ for trace in sweep_.figure().data} for sweep_ in (one, found, drawn)]
    assert kinds == [{"Scatter"}, {"Heatmap"}, {"Parcoords"}]


def test_a_heat_map_holds_the_means_in_their_cells(found: Sweep) -> None:
    figure = found.heat_map("mesh.workers", "rules.priority.order", "rss_bytes.peak")
    heat, table = figure.data[0], found.table("rss_bytes.peak")
    assert (list(heat.x), list(heat.y)) == (["1", "2", "4"], ["strict", "aging"])
    assert np.array(heat.z) == pytest.approx(table["mean"].to_numpy().reshape(3, 2).T / 2**20)
    assert figure.layout.coloraxis.colorbar.title.text == "RSS, largest worker (MiB)"
    assert figure.layout.xaxis.title.text == "workers"


def test_colours_go_by_the_logarithm_where_values_spread_far() -> None:
    """One worker is overloaded: from 1 to 8 workers the mean latency falls by far more than ten times."""
    slow = SCENARIO.override({"workload.arrivals.count": 400, "mesh.slots": 1})
    one = sweep(simulate, slow, {"mesh.workers": [1, 8], "mesh.slots": [1, 2]}, replications=1, cores=1)
    figure, table = one.figure("latency_s.mean"), one.table("latency_s.mean")
    assert figure.data[0].z[0][0] == pytest.approx(math.log10(table.loc[0, "mean"]))
    bar = figure.layout.coloraxis.colorbar
    assert [10**tick for tick in bar.tickvals] == pytest.approx([float(text) for text in bar.ticktext])


def test_lines_have_a_band_and_a_name_each(found: Sweep) -> None:
    figure = found.lines("mesh.workers", "latency_s.p50")
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "priority order strict",
        "priority order aging",
    ]
    assert [trace.fill for trace in figure.data] == ["toself", None, "toself", None]
    assert figure.layout.yaxis.title.text == "Latency, p50 (s)"


def test_small_multiples_share_their_colours_and_hostile_values_are_shown_as_text(tmp_path: Path) -> None:
    (tmp_path / "<b>x").write_text("measured: once\n")
    scenario = Scenario.parse(SCENARIO.to_yaml(), base=tmp_path)
    grid = {"mesh.workers": [1, 2], "mesh.slots": [1, 2], "profile": ["ideal", "<b>x"]}
    figure = sweep(simulate, scenario, grid, replications=1, cores=1).figure()
    assert [trace.coloraxis for trace in figure.data] == ["coloraxis", "coloraxis"]
    assert [note.text for note in figure.layout.annotations] == ["profile ideal", "profile &lt;b&gt;x"]


@pytest.mark.parametrize(
    ("path", "label", "unit"),
    [
        ("latency_s.p95", "Latency, p95", "s"),
        ("queue_wait_s.p50", "Queue wait, p50", "s"),
        ("rss_bytes.mean", "RSS, mean", "bytes"),
        ("by_queue.agent_low.latency_s.p95", "Latency, p95, low priority", "s"),
        ("gates.closings", "Gates, closings", ""),
        ("utilisation.database", "Utilisation, database", ""),
    ],
)
def test_every_figure_has_a_name_and_a_unit(path: str, label: str, unit: str) -> None:
    assert figure_of(path)[1:3] == (label, unit)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("mesh.workers", "workers"),
        ("rules.retry.base_s", "retry base (s)"),
        ("workload.arrivals.rate_per_s", "arrivals rate (1/s)"),
        ("workload.roles.DEV.failure_rate", "DEV failure rate"),
        ("rules.health.rss_limit_mib", "health rss limit (MiB)"),
        ("faults.0.at_s", "faults at (s)"),
        ("profile", "profile"),
    ],
)
def test_every_path_has_words(path: str, words: str) -> None:
    assert path_words(path) == words
