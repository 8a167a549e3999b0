"""Which points a sweep visits, what people write for them, and what is refused before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.errors import ScenarioError, UsageError
from lab.limits import SWEEP_POINTS_MAX
from lab.scenario import Scenario
from lab.sweep_design import Design, Range, design, range_of, values

SCENARIO = Scenario.parse(
    """\
name: small
seed: 5
workload:
  arrivals: {kind: burst, count: 4}
  roles: {A: {service: {dist: constant, mean_s: 1.0}}}
faults: [{at_s: 1, kind: kill_worker, worker: 0}]
"""
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,2,4", [1, 2, 4]),
        ("1..4", [1, 2, 3, 4]),
        ("2..10:4", [2, 6, 10]),
        ("1..3,8", [1, 2, 3, 8]),
        # Decimal steps: 0.1 + 0.1 + 0.1 would be 0.30000000000000004.
        ("0.1..0.4:0.1", [0.1, 0.2, 0.3, 0.4]),
        ("0..1:0.5", [0.0, 0.5, 1.0]),
        ("-1..1", [-1, 0, 1]),
        ("strict,aging", ["strict", "aging"]),
        ("true, null", [True, None]),
        ("{dist: constant, mean_s: 2}, {dist: gamma, mean_s: 2, cv: 1}",
         [{"dist": "constant", "mean_s": 2}, {"dist": "gamma", "mean_s": 2, "cv": 1}]),
        ("'1..4'", [1, 2, 3, 4]),
    ],
)  # fmt: skip
def test_values_are_yaml_with_spans(text: str, found: list[Any]) -> None:
    assert values(text) == found
    assert [type(value) for value in values(text)] == [type(value) for value in found]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "values are missing"),
        ("1,,2", "cannot be read"),
        ("[1", "cannot be read"),
        ("&a 1, *a", "cannot be read"),
        ("4..1", "goes up from the lower value"),
        ("1..4:0", "a step above 0"),
        ("0.1..0.9", "needs a step, as in 0.1..0.9:0.1"),
        ("1..9:log", "needs a step"),
        ("1..99999999", "99,999,999 values"),
    ],
)
def test_values_that_cannot_be_read_are_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        values(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.1..10", Range(0.1, 10.0, "real")),
        ("1..8:int", Range(1.0, 8.0, "int")),
        ("1e-3..1:log", Range(0.001, 1.0, "log")),
    ],
)
def test_ranges(text: str, found: Range) -> None:
    assert range_of(text) == found


@pytest.mark.parametrize("text", ["", "1", "2..1", "1..1", "0..1:log", "0.5..2:int", "1..2:0.5", "a..b", "1..1e999"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        range_of(text)


def test_a_value_at_a_share_of_its_range() -> None:
    # 2 + 0.25 · 8 = 4; 1 to 4 has four whole numbers, a quarter of the range each; 0.1 · 100^0.5 = 1.
    assert Range(2, 10).at(0.25) == 4.0
    assert [Range(1, 4, "int").at(share) for share in (0, 0.24, 0.25, 0.5, 0.999)] == [1, 1, 2, 3, 4]
    assert Range(0.1, 10, "log").at(0.5) == 1.0
    assert Range(0, 1).at(1 / 3) == 0.333333


def test_a_grid_has_every_combination_in_order() -> None:
    found = design(SCENARIO, {"mesh.workers": [1, 2], "faults[0].at_s": [1, 2, 3]}, replications=2)
    assert [tuple(point.values()) for point in found.points] == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    assert found.paths == ("mesh.workers", "faults.0.at_s")
    assert (found.runs, found.method, found.sampled) == (12, "Grid 2 × 3", False)
    assert found.at(5).mesh.workers == 2 and found.at(5).faults[0].at_s == 3


def test_a_latin_hypercube_has_one_point_in_each_strip_of_each_range() -> None:
    ranges = {"mesh.workers": Range(1, 10, "int"), "workload.roles.A.service.mean_s": Range(0.0, 1.0)}
    found = design(SCENARIO, ranges=ranges, samples=10)
    assert sorted(point["mesh.workers"] for point in found.points) == list(range(1, 11))
    strips = sorted(int(point["workload.roles.A.service.mean_s"] * 10) for point in found.points)
    assert strips == list(range(10))
    assert found.sampled


def test_samples_follow_the_seed_and_stay_in_their_range() -> None:
    ranges = {"mesh.slots": Range(2, 4, "int")}
    for sampling in ("latin", "random"):
        first, again = (design(SCENARIO, ranges=ranges, samples=30, sampling=sampling).points for _ in range(2))  # type: ignore[arg-type]
        other = design(SCENARIO.override({"seed": 6}), ranges=ranges, samples=30, sampling=sampling).points  # type: ignore[arg-type]
        assert first == again != other
        assert {point["mesh.slots"] for point in first} == {2, 3, 4}


def test_grid_and_samples_together_give_each_sample_at_each_combination() -> None:
    found = design(SCENARIO, {"mesh.workers": [1, 2]}, ranges={"mesh.slots": Range(1, 9, "int")}, samples=3)
    slots = [point["mesh.slots"] for point in found.points]
    assert [point["mesh.workers"] for point in found.points] == [1, 1, 1, 2, 2, 2]
    assert slots[:3] == slots[3:]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "needs a path to vary"),
        ({"grid": {"seed": [1, 2]}}, "seed: is that of the replications"),
        ({"grid": {"mesh": [{}], "mesh.workers": [1]}}, "mesh.workers: lies inside mesh"),
        ({"grid": {"mesh.workers": []}}, "there is no value to try"),
        ({"grid": {"mesh.workers": [1]}, "ranges": {"mesh[workers]": Range(1, 2)}, "samples": 2}, "keep one of them"),
        ({"ranges": {"mesh.slots": Range(1, 2)}}, "number of samples is missing"),
        ({"grid": {"mesh.slots": [1]}, "samples": 3}, "no range to draw them from"),
        ({"grid": [{"mesh.slots": 1}, {"mesh.workers": 1}]}, "must all set the same paths"),
        ({"grid": {"mesh.slots": range(1_000), "mesh.workers": range(1_000)}}, "1,000,000 points; at most 100,000"),
        ({"grid": {"mesh.slots": range(1_000)}, "replications": 1_000}, "1,000,000 runs"),
        ({"grid": {"mesh.slots": [1]}, "replications": 0}, "1 to 200,000 are allowed"),
    ],
)
def test_designs_that_make_no_sense_are_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        design(SCENARIO, **asked)


def test_seeds_beyond_the_last_one_are_refused() -> None:
    last = SCENARIO.override({"seed": 2**63 - 2})
    design(last, {"mesh.slots": [1]}, replications=2)
    with pytest.raises(ScenarioError, match="seed"):
        design(last, {"mesh.slots": [1]}, replications=3)


def test_the_largest_design_is_made() -> None:
    assert len(design(SCENARIO, {"mesh.slots": range(1, SWEEP_POINTS_MAX + 1)}).points) == SWEEP_POINTS_MAX


def test_all_that_is_wrong_is_told_at_once_each_thing_with_its_first_point() -> None:
    asked = design(SCENARIO, {"mesh.workers": [0, 1, "x"], "rules.retry.bas_s": [1, 2]})
    with pytest.raises(UsageError) as refusal:
        asked.check()
    assert str(refusal.value).splitlines() == [
        "point 0 (mesh.workers=0, rules.retry.bas_s=1): mesh.workers: must be greater than or equal to 1 (found 0)",
        "point 0 (mesh.workers=0, rules.retry.bas_s=1): rules.retry.bas_s: unknown key 'bas_s'; did you mean 'base_s'?",
        "point 4 (mesh.workers=x, rules.retry.bas_s=1): mesh.workers: must be a valid integer (found 'x')",
    ]


def test_a_path_that_leads_nowhere_and_values_that_contradict_are_refused() -> None:
    with pytest.raises(UsageError, match=r"point 0 \(faults.3.at_s=1\): faults.3.at_s: there is no 3 here"):
        design(SCENARIO, {"faults[3].at_s": [1]}).check()
    with pytest.raises(UsageError, match=r"point 1 .*there is no worker 2; mesh.workers allows 0 to 1"):
        design(SCENARIO.override({"faults.0.worker": 2}), {"mesh.workers": [3, 2]}).check()


def test_long_lists_of_problems_are_cut() -> None:
    with pytest.raises(UsageError, match=r"and 10 more$"):
        design(SCENARIO, {"mesh.workers": [-n for n in range(30)]}).check()


def test_the_digest_follows_all_that_decides_the_rows(tmp_path: Path) -> None:
    text = SCENARIO.to_yaml().replace("profile: default", "")
    (tmp_path / "costs.yaml").write_text("measured: once\n")

    def made(**changes: Any) -> Design:
        scenario = Scenario.parse(text, base=tmp_path).override({"profile": "costs.yaml", **changes.pop("set", {})})
        return design(scenario, changes.pop("grid", {"mesh.workers": [1, 2]}), **changes)

    first = made().digest
    assert made().digest == first
    others = [made(set={"seed": 9}), made(grid={"mesh.workers": [1, 3]}), made(replications=2)]
    (tmp_path / "costs.yaml").write_text("measured: again\n")
    others.append(made())
    assert len({first, *(one.digest for one in others)}) == 5
