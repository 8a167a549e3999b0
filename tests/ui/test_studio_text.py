"""A form's change of a YAML text: the one value, and nothing else of what its author wrote."""

from __future__ import annotations

import difflib
import random
from pathlib import Path
from typing import Any

import pytest

from lab import yaml_source
from lab.errors import UsageError
from ui import library, studio_roles, studio_state, studio_text

TEXT = """\
# The claim.
name: x   # a word
workload:
  # when
  arrivals: {kind: burst, count: 500}
  roles:
    A:   {share: 1, service: {dist: constant, mean_s: 2.0}}
    LONG: {share: 2, service: {dist: constant, mean_s: 1}}  # slow
mesh:
  workers: 3
  # each
  slots: 5
faults:
  - at_s: 1
    kind: redis_flush
  - {at_s: 2, kind: kill_worker, worker: 0}
"""


def changed(new: str) -> list[str]:
    """The lines that differ, as - and +."""
    lines = difflib.unified_diff(TEXT.splitlines(), new.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[0] in "+-" and not line.startswith(("+++", "---"))]


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (("mesh", "slots"), 7.0, ["-  slots: 5", "+  slots: 7"]),
        (("name",), "a: b", ["-name: x   # a word", "+name: 'a: b'   # a word"]),
        (("mesh", "more"), True, ["+  more: true"]),
        (("rules", "retry", "base_s"), 0.5, ["+rules: {retry: {base_s: 0.5}}"]),
        (("faults", 1, "worker"), 2, [f"-{TEXT.splitlines()[15]}", f"+{TEXT.splitlines()[15].replace('0}', '2}')}"]),
        (("faults", 0, "for_s"), 3, ["+    for_s: 3"]),
        (("workload", "roles", "LONG", "cv"), 2, None),
    ],
)
def test_one_value_is_put_and_the_rest_stays(path: yaml_source.Path, value: Any, lines: list[str] | None) -> None:
    new = studio_text.put(TEXT, path, value)
    assert studio_text._look(studio_text.read(new), path) == value
    if lines is not None:
        assert changed(new) == lines
    assert new.count("#") == TEXT.count("#")


def test_what_is_dropped_takes_its_empty_parents_along() -> None:
    assert changed(studio_text.drop(TEXT, ("workload", "arrivals", "kind")))[1] == "+  arrivals: {count: 500}"
    assert changed(studio_text.drop(TEXT, ("faults", 0))) == ["-  - at_s: 1", "-    kind: redis_flush"]
    once = studio_text.drop(TEXT, ("faults", 1))
    assert "faults" not in studio_text.read(studio_text.drop(once, ("faults", 0)))


def test_a_list_grows_and_a_key_is_renamed() -> None:
    fault = {"at_s": 3, "kind": "redis_flush"}
    assert changed(studio_text.append(TEXT, ("faults",), fault)) == ["+  - {at_s: 3, kind: redis_flush}"]
    made = studio_text.append("name: x\n", ("faults",), fault)
    assert made == "name: x\nfaults:\n  - {at_s: 3, kind: redis_flush}\n"
    new = studio_text.rename(TEXT, ("workload", "roles", "A"), "B")
    assert list(studio_text.read(new)["workload"]["roles"]) == ["B", "LONG"] and "# slow" in new
    with pytest.raises(UsageError, match="already"):
        studio_text.rename(TEXT, ("workload", "roles", "A"), "LONG")


@pytest.mark.parametrize("broken", ["", "a: [", "- 1\n", "a: 1\na: 2\n", "a: &x 1\nb: *x\n"])
def test_what_cannot_be_read_is_left_alone(broken: str) -> None:
    with pytest.raises(UsageError, match="until it is readable"):
        studio_text.put(broken, ("mesh", "workers"), 3)


def test_every_number_of_the_shipped_scenarios_can_be_changed_in_its_place() -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    choose = random.Random(seed)
    for one in choose.sample(list(library.every().values()), 6):
        numbers = [path for path, value in leaves(yaml_source.read(one.text).data) if type(value) in (int, float)]
        for path in choose.sample(numbers, min(4, len(numbers))):
            new = studio_text.put(one.text, path, 4_321)
            before, after = one.text.splitlines(), new.splitlines()
            assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, (one.name, path)


def leaves(data: Any, path: yaml_source.Path = ()) -> list[tuple[yaml_source.Path, Any]]:
    if not isinstance(data, dict | list):
        return [(path, data)]
    entries = data.items() if isinstance(data, dict) else enumerate(data)
    return [found for key, value in entries for found in leaves(value, (*path, key))]


# ---- tables ----------------------------------------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, Any]]:
    return [studio_roles._row(name, role) for name, role in studio_text.read(text)["workload"]["roles"].items()]


def test_a_table_writes_only_the_cells_that_were_changed() -> None:
    old = rows(TEXT)
    new = studio_roles.applied(old, {"edited_rows": {0: {"share": 3, "failure_rate": 0.1}, 1: {"Role": "SLOW"}}})
    text = studio_roles.written(TEXT, old, new)
    roles = studio_text.read(text)["workload"]["roles"]
    assert roles["A"] == {"share": 3, "service": {"dist": "constant", "mean_s": 2}, "failure_rate": 0.1}
    assert list(roles) == ["A", "SLOW"] and "# slow" in text and "# when" in text


def test_a_table_adds_and_removes_roles() -> None:
    old = rows(TEXT)
    added = {"Role": "NEW", "service": "lognormal", "cv": 0.5}
    new = studio_roles.applied(old, {"deleted_rows": [0], "added_rows": [added, {"share": 2}]})
    roles = studio_text.read(studio_roles.written(TEXT, old, new))["workload"]["roles"]
    assert list(roles) == ["LONG", "NEW"]
    assert roles["NEW"] == {"service": {"dist": "lognormal", "mean_s": 1, "cv": 0.5}}
    with pytest.raises(UsageError, match="at least one role"):
        studio_roles.written(TEXT, old, [])


def test_paths_of_a_drill_start_at_the_shipped_folder_when_it_becomes_ones_own() -> None:
    starved = library.every()["f42_starvation"]
    own = studio_state.rebased(starved.text, starved.folder)
    assert "path: data/starvation.csv" in own and own.count("#") == starved.text.count("#")
    assert library.load(own, "own").name == library.load(starved.text, "own", library.base("faults")).name
    assert studio_state.rebased("a: [", "faults") == "a: [" and Path(library.base("")) == library.FOLDER
