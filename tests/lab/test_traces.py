"""Traces: CSV and Parquet, renamed columns, limits; and errors that say which file, which line, which path."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lab.errors import ScenarioError
from lab.scenario import Scenario
from lab.workload import Plan

TEXT = """\
workload:
  arrivals: {kind: trace, path: PATH}
  roles:
    A: {priority: 3, service: {dist: constant, mean_s: 1}}
    B: {priority: 1, service: {dist: constant, mean_s: 2}}
"""
ROWS = {"arrival_s": [2.0, 0.5, 1.0], "service_s": [0.2, 0.5, 0.1], "role": ["A", "B", "A"], "priority": [5, 1, 2]}


def plan(tmp_path: Path, arrivals: str = "{kind: trace, path: PATH}", name: str = "t.csv") -> Plan:
    text = TEXT.replace("{kind: trace, path: PATH}", arrivals).replace("PATH", name)
    return Plan(Scenario.parse(text, base=tmp_path))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_trace_is_played_in_order_of_arrival(tmp_path: Path, form: str) -> None:
    getattr(pd.DataFrame(ROWS), f"to_{form}")(tmp_path / f"t.{form}", index=False)
    made = plan(tmp_path, name=f"t.{form}")
    assert made.arrival_s.tolist() == [0.5, 1.0, 2.0]
    assert made.column("service", 1).tolist() == [0.5, 0.1, 0.2]
    assert [made.role_names[index] for index in made.role] == ["B", "A", "A"]
    assert made.priority.tolist() == [1, 2, 5]


def test_columns_may_be_called_otherwise_and_scaled(tmp_path: Path) -> None:
    pd.DataFrame({"when": [0, 10], "tokens": [100, 50]}).to_csv(tmp_path / "t.csv", index=False)
    columns = "{arrival_s: when, service_s: tokens}"
    made = plan(tmp_path, f"{{kind: trace, path: PATH, columns: {columns}, time_factor: 0.1, service_factor: 0.02}}")
    assert made.arrival_s.tolist() == [0.0, 1.0]  # 10 · 0.1
    assert made.column("service", 1).tolist() == [2.0, 1.0]  # 100 · 0.02, 50 · 0.02


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "t.csv", index=False)
    assert plan(tmp_path, "{kind: trace, path: PATH, limit: 2}").arrival_s.tolist() == [0.5, 2.0]


def test_without_service_roles_or_priorities_they_are_drawn(tmp_path: Path) -> None:
    pd.DataFrame({"arrival_s": range(50)}).to_csv(tmp_path / "t.csv", index=False)
    made = plan(tmp_path)
    assert set(made.role.tolist()) == {0, 1}
    assert set(made.column("service", 1)) == {1.0, 2.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("arrival_s\n0\nsoon\n", "arrival_s must be a number of at least 0, found 'soon' (line 3)"),
        ("arrival_s\n0\n-1\n", "found '-1' (line 3)"),
        ("arrival_s\nnan\n", "found 'nan' (line 2)"),
        ("arrival_s\ninf\n", "found 'inf' (line 2)"),
        ("arrival_s,service_s\n0,\n", "service_s must be a number of at least 0, found '' (line 2)"),
        ("arrival_s,priority\n0,3\n1,6\n", "priority must be a whole number 1 to 5, found 6 (line 3)"),
        ("arrival_s,role\n0,A\n1,C\n", "role 'C' is not in the scenario; it has A, B (line 3)"),
        ("when\n0\n", "has no column 'arrival_s'; it has when"),
        ("arrival_s,role\n0,A\n1\n", "line 3 has 1 values, the header has 2"),
        ("arrival_s\n", "holds no rows"),
        ("", "no"),
    ],
)
def test_a_bad_trace_says_which_line_and_what(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ScenarioError) as caught:
        plan(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "t.csv") in str(caught.value)
    assert "workload.arrivals.path" in str(caught.value)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("content", [b"\xff\xfe\x80\x81", b"PAR1" + bytes(20) + b"PAR1", bytes(64)])
def test_a_file_of_another_kind_is_a_scenario_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScenarioError):
        plan(tmp_path, name=name)


def test_a_renamed_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ScenarioError, match="has no column 'when'"):
        plan(tmp_path, "{kind: trace, path: PATH, columns: {arrival_s: when}}")


def test_empirical_service_times_are_those_of_the_file(tmp_path: Path) -> None:
    pd.DataFrame({"ms": [100, 300, 200]}).to_csv(tmp_path / "s.csv", index=False)
    text = TEXT.replace("{kind: trace, path: PATH}", "{kind: burst, count: 300}")
    text = text.replace("{dist: constant, mean_s: 1}", "{dist: empirical, path: s.csv, column: ms, factor: 0.001}")
    made = Plan(Scenario.parse(text, base=tmp_path))
    times = [time for time, role in zip(made.column("service", 1), made.role, strict=True) if role == 0]
    assert set(times) == {0.1, 0.2, 0.3}
    with pytest.raises(ScenarioError, match=r"has no column 'sec'"):
        Plan(Scenario.parse(text.replace("column: ms", "column: sec"), base=tmp_path)).column("service", 1)


def test_a_traced_role_brings_its_own_priorities(tmp_path: Path) -> None:
    """The role comes from the file, its priority from the scenario: never the one that was dealt to another role."""
    (tmp_path / "t.csv").write_text("arrival_s,role\n0,A\n1,B\n2,A\n3,B\n")
    text = """
    workload:
      arrivals: {kind: trace, path: t.csv}
      roles:
        A: {priority: 5, service: {dist: constant, mean_s: 1}}
        B: {priority: 1, service: {dist: constant, mean_s: 1}}
    """
    made = Plan(Scenario.parse(text, base=tmp_path))
    assert made.priority.tolist() == [5, 1, 5, 1]
