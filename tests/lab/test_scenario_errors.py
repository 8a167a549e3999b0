"""What is wrong with a scenario is told at once, each with its line and path, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import limits
from lab.errors import Problem, ScenarioError
from lab.scenario import Scenario

GOOD = """\
name: good
seed: 7
workload:
  arrivals: {kind: burst, count: 5}
  roles:
    DEV:
      share: 1
      priority: 3
      service: {dist: constant, mean_s: 1.0}
mesh:
  workers: 2
  slots: 2
rules:
  retry:
    base_s: 1.0
faults:
  - {kind: kill_worker, at_s: 1, worker: 0}
"""


def problems(text: str, base: Path | str = ".") -> list[Problem]:
    with pytest.raises(ScenarioError) as caught:
        Scenario.parse(text, base=base, source="s.yaml")
    return caught.value.problems


def test_the_good_scenario_is_good() -> None:
    assert Scenario.parse(GOOD).mesh.workers == 2


# what is replaced, by what, then the line, the path and a piece of the message of the problem that must be found
BROKEN = [
    ("seed: 7", "seed: -1", 2, "seed", "greater than or equal to 0"),
    ("seed: 7", "seed: seven", 2, "seed", "found 'seven'"),
    ("seed: 7", "seed: 7.5", 2, "seed", "found 7.5"),
    ("seed: 7", "seed: {}", 2, "seed", "found {}"),
    ("seed: 7", "seed: true", 2, "seed", "found True"),
    ("seed: 7", "seed: 99999999999999999999", 2, "seed", "9223372036854775807"),
    ("seed: 7", "sede: 7", 2, "sede", "did you mean 'seed'?"),
    ("seed: 7", "zzz: 7", 2, "zzz", "allowed here: description, faults"),
    ("name: good", "name: ''", 1, "name", "at least 1 character"),
    ("name: good", "name: ../evil", 1, "name", "pattern"),
    ("name: good", "name: " + "x" * 81, 1, "name", "at most 80 characters"),
    ("name: good", 'name: "a\\ud800"', 1, "name", "unicode"),
    ("count: 5", "count: 0", 4, "workload.arrivals.count", "greater than or equal to 1"),
    ("count: 5", "count: 5000001", 4, "workload.arrivals.count", "5000000"),
    ("count: 5", "count: '5'", 4, "workload.arrivals.count", "found '5'"),
    ("count: 5", "count: [5]", 4, "workload.arrivals.count", "found [5]"),
    ("count: 5", "cuont: 5", 4, "workload.arrivals.count", "missing"),
    ("count: 5", "cuont: 5", 4, "workload.arrivals.cuont", "did you mean 'count'?"),
    ("kind: burst", "kind: brust", 4, "workload.arrivals", "unknown 'kind' 'brust'; allowed: burst, constant"),
    ("kind: burst, ", "", 4, "workload.arrivals", "'kind' is missing"),
    ("{kind: burst, count: 5}", "burst", 4, "workload.arrivals", "mapping"),
    ("{kind: burst, count: 5}", "{kind: poisson, rate_per_s: 1}", 4, "workload.arrivals", "either duration_s or count"),
    (
        "{kind: burst, count: 5}",
        "{kind: constant, rate_per_s: 1, count: 1, duration_s: 1}",
        4,
        "workload.arrivals",
        "not both",
    ),
    (
        "{kind: burst, count: 5}",
        "{kind: constant, rate_per_s: 1e6, duration_s: 1e6}",
        4,
        "workload.arrivals",
        "at most 5,000,000",
    ),
    (
        "{kind: burst, count: 5}",
        "{kind: ramp, from_per_s: 0, to_per_s: 0, duration_s: 9}",
        4,
        "workload.arrivals",
        "no task would ever come",
    ),
    ("{kind: burst, count: 5}", "{kind: steps, steps: []}", 4, "workload.arrivals.steps", "at least 1 item"),
    ("{kind: burst, count: 5}", "{kind: trace, path: no.csv}", 4, "workload.arrivals.path", "there is no file"),
    (
        "{kind: burst, count: 5}",
        "{kind: trace, path: " + "x" * 400 + "}",
        4,
        "workload.arrivals.path",
        "cannot be read",
    ),
    ("{kind: burst, count: 5}", '{kind: trace, path: "a\\0b"}', 4, "workload.arrivals.path", ""),
    ("    DEV:", "    9DEV:", 6, "workload.roles.9DEV", "pattern"),
    ("    DEV:", '    "²":', 6, "workload.roles.²", "pattern"),
    ("share: 1", "share: 0", 7, "workload.roles.DEV.share", "greater than 0"),
    ("share: 1", "share: .nan", 7, "workload.roles.DEV.share", "finite"),
    ("share: 1", "share: .inf", 7, "workload.roles.DEV.share", "finite"),
    ("share: 1", "shares: 1", 7, "workload.roles.DEV.shares", "did you mean 'share'?"),
    ("priority: 3", "priority: 6", 8, "workload.roles.DEV.priority", "less than or equal to 5"),
    ("priority: 3", "priority: {6: 1}", 8, "workload.roles.DEV.priority[6]", "less than or equal to 5"),
    ("priority: 3", "priority: {5: -1}", 8, "workload.roles.DEV.priority[5]", "greater than or equal to 0"),
    ("priority: 3", "priority: {5: 0}", 6, "workload.roles.DEV", "at least one weight above 0"),
    ("priority: 3", "priority: high", 8, "workload.roles.DEV.priority", "found 'high'"),
    ("dist: constant", "dist: normal", 9, "workload.roles.DEV.service", "unknown 'dist' 'normal'"),
    ("mean_s: 1.0", "mean_s: -1", 9, "workload.roles.DEV.service.mean_s", "greater than or equal to 0"),
    ("mean_s: 1.0", "mean_s: .nan", 9, "workload.roles.DEV.service.mean_s", "finite"),
    ("mean_s: 1.0", "mean: 1.0", 9, "workload.roles.DEV.service.mean_s", "missing"),
    ("mean_s: 1.0", "mean_s: 1, cv: 2", 9, "workload.roles.DEV.service.cv", "unknown key 'cv'"),
    ("workers: 2", "workers: 0", 11, "mesh.workers", "greater than or equal to 1"),
    ("workers: 2", "workers: 1e400", 11, "mesh.workers", "integer"),
    ("workers: 2", "workers: 9999\n  slots: 9999", 13, "mesh.slots", "stands here twice"),
    ("slots: 2", "slots: 90000000", 12, "mesh.slots", "100000"),
    ("mesh:\n  workers: 2\n  slots: 2", "mesh: 3", 10, "mesh", "mapping"),
    ("mesh:\n  workers: 2\n  slots: 2", "mesh:\n  workers: 9000\n  slots: 900", 10, "mesh", "at most 1,000,000"),
    ("base_s: 1.0", "base: 1.0", 15, "rules.retry.base", "did you mean 'base_s'?"),
    ("base_s: 1.0", "base_s: 1e9", 15, "rules.retry.base_s", "86400"),
    ("base_s: 1.0", "budget: {ratoi: 1}", 15, "rules.retry.budget.ratoi", "did you mean 'ratio'?"),
    ("base_s: 1.0", "budget: true", 15, "rules.retry.budget", "must be a mapping (found True)"),
    ("base_s: 1.0", "timeout_s: 0", 15, "rules.retry.timeout_s", "greater than 0"),
    ("base_s: 1.0", "wait: later", 15, "rules.retry.wait", "'scheduled' or 'in_slot'"),
    ("rules:", "rules:\n  preset: mine", 14, "rules.preset", "go-distributed-queue-published"),
    ("rules:", "rules:\n  preset: [lab]", 14, "rules.preset", "found ['lab']"),
    ("rules:", "rules:\n  preset: {lab: 1}", 14, "rules.preset", "found {'lab': 1}"),
    ("worker: 0", "worker: 2", 17, "faults[0].worker", "mesh.workers allows 0 to 1"),
    ("worker: 0", "worker: true", 17, "faults[0].worker", "integer"),
    ("at_s: 1", "at_s: -1", 17, "faults[0].at_s", "greater than or equal to 0"),
    ("kind: kill_worker", "kind: kill_wroker", 17, "faults[0]", "unknown 'kind' 'kill_wroker'"),
    ("seed: 7", "profile: nowhere", 2, "profile", "no such profile"),
    ("seed: 7", "profile: /dev/null", 2, "profile", "not a profile"),
    ("seed: 7", 'profile: "a\\0b"', 2, "profile", "not a profile"),
    ("seed: 7", "<<: {seed: 7}", 2, "<<", "unknown key '<<'"),
    ("seed: 7", "seed: &a 7", 2, "", "anchor &a"),
    ("seed: 7", "seed: !!int 7", 2, "", "tag"),
]


@pytest.mark.parametrize(("old", "new", "line", "path", "message"), BROKEN, ids=[f"{b[3]}-{b[1][:30]}" for b in BROKEN])
def test_each_mistake_is_told_with_its_line_and_path(old: str, new: str, line: int, path: str, message: str) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    matching = [one for one in found if one.path == path and message in one.message]
    assert matching, [one.located("s.yaml") for one in found]
    assert matching[0].line == line, matching[0].located("s.yaml")
    assert matching[0].located("s.yaml").startswith(f"s.yaml:{line}:")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = GOOD.replace("seed: 7", "seed: -7").replace("share: 1", "shar: 1").replace("workers: 2", "workers: many")
    text = text.replace("base_s: 1.0", "base_s: -1").replace("worker: 0", "worker: 9")
    found = problems(text)
    assert [(one.line, one.path) for one in found] == [
        (2, "seed"),
        (7, "workload.roles.DEV.shar"),
        (11, "mesh.workers"),
        (15, "rules.retry.base_s"),
    ]
    # With `workers` mended the fault's contradiction is told beside the schema's problems.
    assert (17, "faults[0].worker") in [(one.line, one.path) for one in problems(text.replace("many", "2"))]


@pytest.mark.parametrize("text", ["[]", "3", "just words", "null", "- a\n- b"])
def test_a_scenario_is_a_mapping(text: str) -> None:
    assert "a scenario is a mapping" in problems(text)[0].message


def test_a_scenario_needs_a_workload() -> None:
    assert [(one.path, one.message) for one in problems("name: x")] == [("workload", "'workload' is missing")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"a" * (limits.SCENARIO_BYTES_MAX + 1), "larger than 256 KiB"),
        (b"", "empty"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message) as caught:
        Scenario.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "", "x" * 300])
def test_a_file_that_cannot_be_read_is_a_scenario_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        Scenario.load(tmp_path / name)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert Scenario.load(path).name == "good"


def test_the_error_travels_between_processes() -> None:
    import pickle

    error = ScenarioError("s.yaml", [Problem("a", "b", 1, 2)])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == (str(error), error.problems)


WORDS = [
    "name",
    "seed",
    "workload",
    "arrivals",
    "roles",
    "kind",
    "burst",
    "count",
    "service",
    "preset",
    "faults",
    "²",
    "0",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=25,
)


@given(text=st.text(max_size=200) | st.text(alphabet="abkind: -\n[]{},&*!'\"#|>0123", max_size=200))
def test_no_text_raises_anything_but_a_scenario_error(text: str) -> None:
    try:
        Scenario.parse(text)
    except ScenarioError as error:
        assert error.problems
        assert str(error)


@given(content=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_scenario_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError):
        Scenario.load(path)


@given(where=st.sampled_from(["workload", "mesh", "rules", "faults", "profile", "name"]), value=DATA)
def test_no_value_anywhere_raises_anything_but_a_scenario_error(where: str, value: object) -> None:
    data = {**Scenario.parse(GOOD).data, where: value}
    try:
        Scenario.from_data(data)
    except ScenarioError as error:
        assert error.problems


@given(path=st.text(max_size=30) | st.lists(st.sampled_from(WORDS), max_size=6).map(".".join), value=DATA)
def test_no_override_raises_anything_but_a_usage_error(path: str, value: object) -> None:
    from lab.errors import UsageError

    try:
        Scenario.parse(GOOD).override({path: value})
    except UsageError as error:
        assert str(error)
