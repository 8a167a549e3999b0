"""validate, schema, rules, compare, runs, doctor, help: what they print and how they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import terminal
from lab.rules.explain import markdown
from lab.scenario import json_schema

Meshlab = Callable[..., Any]


@pytest.fixture
def record(meshlab: Meshlab) -> dict[str, Any]:
    return dict(meshlab("run", "quick.yaml", "--json").json)


# ---- usage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["frobnicate"], ["run"], ["compare", "one"], ["runs", "export", "x"]])
def test_bad_usage_ends_with_2(meshlab: Meshlab, words: list[str]) -> None:
    answer = meshlab(*words)
    assert answer.status == 2
    assert "usage: meshlab" in answer.err


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["runs", "rm", "--help"], ["--version"]])
def test_help_ends_with_0(meshlab: Meshlab, words: list[str]) -> None:
    answer = meshlab(*words)
    assert answer.status == 0
    assert "meshlab" in answer.out
    assert "--status" not in answer.out


QUICK_COMMANDS = """
import sys, cli.main
for words in (["rules"], ["schema"], ["validate", "quick.yaml"], ["runs"], ["--help"]):
    assert cli.main.main(words) == 0, words
heavy = {"pandas", "simpy", "redis", "psycopg", "sqlalchemy", "pyarrow", "scipy", "streamlit", "plotly"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_the_small_commands_load_nothing_heavy(process: Callable[..., Any]) -> None:
    answer = process("-c", QUICK_COMMANDS)
    assert answer.status == 0, answer.err


# ---- validate and schema ---------------------------------------------------------------------------------------------


def test_validate_counts_what_is_good_and_locates_what_is_bad(meshlab: Meshlab, here: Path) -> None:
    (here / "bad.yaml").write_text("name: x\nseed: -1\nmesh: {wrokers: 2}\n")
    answer = meshlab("validate", "quick.yaml", "bad.yaml", "missing.yaml")
    assert answer.status == 2
    assert answer.out == "quick.yaml: ok (60 tasks, 1 role, 15 slots)\n"
    for told in ("bad.yaml:2:1: seed: ", "bad.yaml:3:8: mesh.wrokers: unknown key", "missing.yaml: cannot be read"):
        assert told in answer.err


def test_validate_reads_traces_and_empirical_times_too(meshlab: Meshlab, here: Path) -> None:
    (here / "t.csv").write_text("arrival_s\nsoon\n")
    text = (here / "quick.yaml").read_text()
    (here / "trace.yaml").write_text(text.replace("{kind: burst, count: 60}", "{kind: trace, path: t.csv}"))
    service = "{dist: empirical, path: t.csv, column: arrival_s}"
    (here / "empirical.yaml").write_text(text.replace("{dist: exponential, mean_s: 0.5}", service))
    for name in ("trace.yaml", "empirical.yaml"):
        answer = meshlab("validate", name)
        assert answer.status == 2
        assert "found 'soon' (line 2)" in answer.err


def test_what_a_file_says_cannot_steer_the_terminal(meshlab: Meshlab, here: Path) -> None:
    (here / "evil.yaml").write_text('name: "\\e[31mred"\nprofile: "\\e]0;title\\a"\n')
    for words in (["validate", "evil.yaml"], ["run", "evil.yaml"]):
        err = meshlab(*words).err
        assert "profile" in err
        assert "\x1b" not in err
        assert "\x07" not in err


def test_schema_is_the_json_schema(meshlab: Meshlab) -> None:
    assert meshlab("schema").json == json_schema()


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_rules_tell_value_unit_formula_and_reason(meshlab: Meshlab) -> None:
    answer = meshlab("rules")
    assert answer.status == 0
    for words in (
        "max_retries",
        "5",
        "base_s · factor^k",
        "Five retries, so six attempts",
        "retry:",
        "PERMANENT_FAILURE",
    ):
        assert words in answer.out


def test_rules_of_a_preset_as_json(meshlab: Meshlab) -> None:
    got = meshlab("rules", "--preset", "agent-mesh-published", "--json").json
    by_path = {rule["path"]: rule for rule in got["rules"]}
    assert got["preset"] == "agent-mesh-published"
    assert by_path["retry.wait"]["value"] == "in_slot"
    assert set(by_path["retry.base_s"]) == {"path", "value", "unit", "formula", "reason"}
    assert {"from": "PENDING", "event": "claimed", "to": "RUNNING"} in got["task_states"]


def test_rules_as_markdown_are_the_docs(meshlab: Meshlab) -> None:
    assert meshlab("rules", "--markdown").out == markdown()


# ---- compare ---------------------------------------------------------------------------------------------------------


def test_compare_takes_ids_beginnings_and_folders(meshlab: Meshlab, record: dict[str, Any]) -> None:
    second = meshlab("run", "quick.yaml", "--json", "--set", "mesh.workers=9").json
    human = meshlab("compare", record["run_id"], second["record"])
    assert human.status == 0
    assert "latency p50" in human.out
    got = meshlab("compare", record["run_id"][:-1], second["run_id"], "--json").json
    assert got["makespan_s"]["a"] == record["makespan_s"]
    assert got["makespan_s"]["error"] == pytest.approx(record["makespan_s"] / second["makespan_s"] - 1)


def test_what_cannot_be_compared_ends_with_2(meshlab: Meshlab, record: dict[str, Any]) -> None:
    other = meshlab("run", "quick.yaml", "--json", "--seed", "8").json
    assert meshlab("compare", record["run_id"], other["run_id"]).status == 2
    answer = meshlab("compare", record["run_id"], "nowhere")
    assert answer.status == 2
    assert "no such run" in answer.err


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["runs"], ["runs", "list"]])
def test_runs_are_listed(meshlab: Meshlab, record: dict[str, Any], words: list[str]) -> None:
    answer = meshlab(*words)
    head, line = answer.out.splitlines()
    assert head.split() == ["run", "engine", "scenario", "tasks", "p50", "checks", "age"]
    assert line.split()[:4] == [record["run_id"], "sim", "quick", "60"]
    assert "ok" in line


def test_no_runs_yet_is_said(meshlab: Meshlab) -> None:
    answer = meshlab("runs")
    assert (answer.status, answer.out) == (0, "no records in runs yet; `meshlab run SCENARIO` makes one\n")
    assert meshlab("runs", "list", "--json").json == {"folder": "runs", "runs": []}


def test_a_run_is_shown(meshlab: Meshlab, record: dict[str, Any]) -> None:
    answer = meshlab("runs", "show", record["run_id"][:-2])
    for words in (record["run_id"], "latency_s.p95", "ok  nothing_lost: 60 tasks accounted for"):
        assert words in answer.out
    assert meshlab("runs", "show", record["run_id"], "--json").json["summary"]["tasks"] == record["tasks"]


def test_removing_asks_and_takes_no_silence_for_a_yes(
    meshlab: Meshlab, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = meshlab("runs", "rm", record["run_id"])
    assert answer.status == 2
    assert "--yes" in answer.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: "")
    assert meshlab("runs", "rm", record["run_id"]).status == 1
    assert Path(record["record"]).exists()
    monkeypatch.setattr("builtins.input", lambda: "y")
    assert meshlab("runs", "rm", record["run_id"]).status == 0
    assert not Path(record["record"]).exists()


def test_only_records_are_removed(meshlab: Meshlab, here: Path, record: dict[str, Any]) -> None:
    assert meshlab("runs", "rm", "--yes", str(here)).status == 2
    (Path(record["record"]) / "mine.txt").write_text("")
    assert meshlab("runs", "rm", "--yes", record["run_id"]).status == 2
    assert (here / "quick.yaml").exists()
    assert Path(record["record"]).exists()


@pytest.mark.parametrize(("to", "form"), [("out", "csv"), ("out.zip", "parquet")])
def test_runs_are_exported(meshlab: Meshlab, here: Path, record: dict[str, Any], to: str, form: str) -> None:
    answer = meshlab("runs", "export", record["run_id"], "--to", to, "--format", form)
    assert answer.status == 0
    assert (here / answer.out.strip()).exists()
    assert meshlab("runs", "export", record["run_id"], "--to", to).status == 2  # never overwritten


# ---- doctor ----------------------------------------------------------------------------------------------------------


def facts(**changes: Any) -> Any:
    from live_backend.servers import ServerFacts

    good = {
        "kind": "redis",
        "source": "path",
        "where": "/r",
        "version": "7",
        "limits": {},
        "problem": None,
        "mend": None,
    }
    return ServerFacts(**{**good, **changes})


def test_doctor_says_what_can_run(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live_backend.servers.inspect", lambda: [facts(), facts(kind="postgres", version="18")])
    answer = meshlab("doctor", "--json")
    assert (answer.status, answer.json["can_run"]) == (0, {"model": True, "live": True})
    assert {one["name"] for one in answer.json["findings"]} >= {
        "python",
        "cores",
        "memory",
        "disk",
        "redis",
        "postgres",
    }
    assert "live: can run" in meshlab("doctor").out


def test_doctor_says_how_to_mend_what_is_missing(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = facts(problem="no Redis is here", mend="apt-get install redis-server", version=None)
    monkeypatch.setattr("live_backend.servers.inspect", lambda: [missing])
    answer = meshlab("doctor")
    assert answer.status == 1
    for words in ("no Redis is here", "to mend it: apt-get install redis-server", "live: cannot run", "model: can run"):
        assert words in answer.out


# ---- colours ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tty", "no_color", "term", "coloured"),
    [(True, "", "xterm", True), (True, "1", "xterm", False), (True, "", "dumb", False), (False, "", "xterm", False)],
)
def test_colours_only_where_they_are_seen_and_wanted(
    monkeypatch: pytest.MonkeyPatch, tty: bool, no_color: str, term: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout.isatty", lambda: tty)
    assert (terminal.painted("x", terminal.RED) != "x") is coloured


@pytest.mark.parametrize(
    ("value_s", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (400_000, "4 d")],
)
def test_lengths_of_time_are_told_as_people_say_them(value_s: float, text: str) -> None:
    assert terminal.lasting(value_s) == text
