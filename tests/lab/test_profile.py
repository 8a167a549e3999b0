"""Profiles of the machinery: which one a name means, what is refused, and that a file says what was measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab import profile as profiles
from lab.errors import Unavailable, UsageError
from lab.profile import Cost, MemoryCosts, Profile

MEASURED = Profile(
    measured="2026-01-02 by hand: “naïve” names, too",
    measured_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    machine={"cores": 2, "processor": "A: b #c", "server redis": "7.0 (path)"},
    fit={"check": {"latency_s.p50": {"error": -0.01, "noise": 0.02}}},
    cores=2,
    timer_late_s=[0.0, 1e-05, 0.1],
    submit=Cost(loop_s=1e-05, woken_late_s=[0.25]),
    memory=MemoryCosts(base_mib=70.5),
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has calibrated nothing yet."""
    monkeypatch.setenv("MESHLAB_PROFILES", str(tmp_path / "kept"))
    return tmp_path / "kept"


# ---- names -----------------------------------------------------------------------------------------------------------


def test_default_is_what_ships_until_this_machine_is_measured(kept: Path) -> None:
    assert profiles.load("default") == profiles.load("shipped")
    assert not profiles.is_calibrated("default")
    assert profiles.save(MEASURED, "default") == kept / "default.yaml"
    assert profiles.load("default") == MEASURED != profiles.load("shipped")
    assert profiles.is_calibrated("default")
    assert not any(map(profiles.is_calibrated, ("ideal", "shipped")))


def test_names_are_those_built_in_and_those_kept_here() -> None:
    assert profiles.names() == ["default", "ideal", "shipped"]
    for name in ("quiet-night", "default", "a1"):
        profiles.save(MEASURED, name)
    assert profiles.names() == ["default", "ideal", "shipped", "a1", "quiet-night"]
    assert profiles.load("quiet-night") == MEASURED


def test_a_path_is_a_path_and_starts_where_its_scenario_lies(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("measured: elsewhere\ncores: 7\n")
    assert profiles.load("other.yaml", tmp_path).cores == 7
    assert profiles.load(str(tmp_path / "other.yaml")).cores == 7
    assert not profiles.is_calibrated(str(tmp_path / "other.yaml"))


def test_a_measured_name_goes_before_a_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("measured: a file\n")
    assert profiles.load("mine", tmp_path).measured == "a file"
    profiles.save(MEASURED, "mine")
    assert profiles.load("mine", tmp_path) == MEASURED


def test_no_file_takes_the_place_of_what_is_built_in(kept: Path) -> None:
    kept.mkdir()
    for name in ("ideal", "shipped"):
        (kept / f"{name}.yaml").write_text("measured: a lie\n")
        assert profiles.load(name).measured != "a lie"


def test_where_profiles_are_kept(monkeypatch: pytest.MonkeyPatch, kept: Path, tmp_path: Path) -> None:
    assert profiles.folder() == kept
    monkeypatch.delenv("MESHLAB_PROFILES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert profiles.folder() == tmp_path / "data" / "meshlab" / "profiles"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert profiles.folder() == tmp_path / "home" / ".local" / "share" / "meshlab" / "profiles"


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nobody", "no/where.yaml", "x" * 300, "two words", "."])
def test_a_name_of_nothing_lists_what_there_is(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are: default, ideal, shipped"):
        profiles.load(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "empty"),
        ("measured: [", "YAML syntax"),
        ("measured: x\nmeasured: y", "twice"),
        ("just words", "valid dictionary"),
        ("cores: 2", "measured: Field required"),
        ("measured: x\nwarp: 9", "warp: Extra inputs"),
        ("measured: x\nclaim: {loop_s: -1}", "claim.loop_s: Input should be greater"),
        ("measured: x\nclaim: {loop_s: .nan}", "claim.loop_s"),
        ("measured: x\ncores: 0", "cores: Input should be greater"),
        ("measured: x\nswitch_s: soon", "switch_s: Input should be a valid number"),
        (f"measured: x\ntimer_late_s: {[0.0] * 1_002}", "timer_late_s: List should have at most 1001 items"),
        ("measured: x\nmemory: {garbage_share: 1.5}", "memory.garbage_share: Input should be less"),
        ("#" * 2_000_000, "larger than"),
    ],
)
def test_a_file_that_is_no_profile_says_where(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.yaml") as raised:
        profiles.load("bad.yaml", tmp_path)
    assert wrong in str(raised.value)


@pytest.mark.parametrize("content", [b"measured: \xff\xfe", b"\x00\x01\x02"])
def test_a_file_that_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(UsageError, match="is not a profile"):
        profiles.load("bad.yaml", tmp_path)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a profile"):
        profiles.load("a\0b")


@pytest.mark.parametrize("name", ["ideal", "shipped", "", "-x", "a/b", "../up", "a b", "a.yaml", "x" * 65, "a\n", "é"])
def test_save_refuses_names_and_writes_nothing(name: str, kept: Path) -> None:
    with pytest.raises(UsageError, match="--name"):
        profiles.save(MEASURED, name)
    assert not kept.exists()


def test_a_folder_that_cannot_be_is_said_to_be(kept: Path) -> None:
    kept.write_text("a file stands where the folder should be")
    with pytest.raises(Unavailable, match="MESHLAB_PROFILES"):
        profiles.save(MEASURED, "mine")


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ideal", "shipped"])
def test_a_profile_comes_back_from_its_text_as_it_was(name: str, tmp_path: Path) -> None:
    for found in (profiles.load(name), MEASURED):
        (tmp_path / "copy.yaml").write_text(profiles.as_yaml(found), encoding="utf-8")
        assert profiles.load("copy.yaml", tmp_path) == found


def test_a_record_can_hold_it() -> None:
    """As run.json does."""
    assert Profile.model_validate_json(MEASURED.model_dump_json()) == MEASURED


def test_a_changed_file_is_read_again(kept: Path) -> None:
    """Even when it has kept its size or its time, but not both."""
    path = profiles.save(MEASURED, "mine")
    assert profiles.load("mine") is profiles.load("mine")
    profiles.save(MEASURED.model_copy(update={"cores": 64}), "mine")
    assert profiles.load("mine").cores == 64
    text, seen = path.read_text(), path.stat()
    path.write_text(text.replace("cores: 64", "cores: 65"))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns + 1_000_000))
    assert profiles.load("mine").cores == 65
    assert [one.name for one in kept.iterdir()] == ["mine.yaml"]


# ---- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cost", "alone_s"),
    [
        (Cost(), 0.0),
        # 1 + 0.2 on the loop, 2 + 0.4 in the database, 8 for nobody.
        (Cost(loop_s=1.0, loop_task_s=0.2, database_s=2.0, database_task_s=0.4, wait_s=8.0), 11.6),
        # On average 0.2 late, and 0.5 more to wake, which on an idle machine it always must.
        (Cost(wait_s=1.0, late_s=[0.1, 0.2, 0.3], woken_late_s=[0.0, 1.0]), 1.7),
    ],
)
def test_what_a_batch_of_one_takes_on_an_idle_machine(cost: Cost, alone_s: float) -> None:
    assert cost.alone_s == pytest.approx(alone_s)


@pytest.mark.parametrize(
    ("values", "free"),
    [
        ({}, True),
        ({"cores": 2, "memory": MemoryCosts(base_mib=70.0), "worker_start_s": 1.0}, True),  # takes no time of a task
        ({"due": Cost(wait_s=0.1)}, False),
        ({"reply": Cost(late_s=[0.0, 0.1])}, False),
        ({"memory": MemoryCosts(garbage_per_task_mib=1.0)}, False),
        ({"timer_tick_s": 0.001}, False),
    ],
)
def test_whether_a_profile_is_free(values: dict[str, object], free: bool) -> None:
    assert Profile.model_validate({"measured": "by hand", **values}).is_free is free


def test_memory_in_bytes() -> None:
    costs = MemoryCosts(base_mib=2.0, garbage_per_task_mib=0.5, collect_at_mib=4.0)
    assert (costs.base_bytes, costs.garbage_per_task_bytes, costs.collect_at_bytes) == (2**21, 2**19, 2**22)
