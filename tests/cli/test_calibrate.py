"""`meshlab calibrate` as a user calls it, with the model in the place of the live engine; and what is said where a
profile may not speak of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import live_backend
from cli import calibrate as command
from lab import calibration, calibration_probes, calibration_run
from lab import profile as profiles
from lab.calibration import OPERATIONS, Timing
from lab.calibration_age import fingerprint
from lab.calibration_run import Bench
from lab.profile import Profile
from lab.record import Record
from lab.scenario import Scenario
from simulation import simulate
from tests.cli.conftest import Answer, Meshlab
from tests.ui.conftest import as_live

SHORT: dict[str, dict[str, Any]] = {
    "light": {"workload__arrivals__until_s": 3.0},
    "busy": {"workload__arrivals__count": 60},  # over before any worker reports
    "computing": {"workload__arrivals__duration_s": 2},
    "holding": {"workload__arrivals__duration_s": 4},
    "check": {"workload__arrivals__duration_s": 1},
}
"""Probes that are judged by how well they fit are not needed here: these are few and short, and hardly fitted."""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESHLAB_PROFILES", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Quick to calibrate. Returns what was run live, as it happens."""
    texts = {name: text for name, (text, _) in calibration_run.PROBES.items()}
    probes = {texts[name]: calibration_probes.probe(texts[name], **values) for name, values in SHORT.items()}
    seen: list[str] = []

    def live(scenario: Scenario, **_: Any) -> Record:
        seen.append(scenario.name)
        return as_live(simulate(scenario, profile=profiles.load("shipped")))

    def bench(stop: Callable[[], bool]) -> Bench:
        timings = [Timing(name, batch, (0.002,), 0.0005, 0.0004) for name in OPERATIONS for batch in (1, 100)]
        return Bench(tuple(timings), 0.0003, 0.00004, 0.001, 2, fingerprint({}))

    monkeypatch.setattr(calibration_run, "ORDER", tuple(SHORT))
    monkeypatch.setattr(calibration_probes, "probe", lambda text: probes[text])
    monkeypatch.setattr(calibration, "PASSES", 0)
    monkeypatch.setattr(calibration, "WAKES", (0.0, 1.0))
    monkeypatch.setattr(live_backend, "run_live", live)
    monkeypatch.setattr(command, "_bench", bench)
    return seen


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Profile:
    """What a calibration has found, without one."""
    found = dated().model_copy(update={"fit": {"check": {"latency_s.p50": {"error": 0.01, "noise": 0.02}}}})
    monkeypatch.setattr(calibration_run, "calibrate", lambda *_: found)
    return found


def dated(**machine: Any) -> Profile:
    facts = {**fingerprint({}), **machine}
    return profiles.load("shipped").model_copy(update={"measured_at": datetime.now(UTC), "machine": facts})


# ---- measuring -------------------------------------------------------------------------------------------------------


def test_it_becomes_the_profile_of_this_machine(meshlab: Meshlab, ran: list[str], kept: Path, here: Path) -> None:
    answer = meshlab("calibrate", "--quiet", "--status", "status.json")
    assert answer.status == 0, answer.err
    assert ran == ["probe-light", "probe-busy", "probe-computing", "probe-holding", "probe-check"]
    assert f"kept in {kept / 'default.yaml'}" in answer.out
    for words in ("by meshlab calibrate, on", "a task more", "fitted to nothing", "a fresh worker claims after"):
        assert words in answer.out
    found = profiles.load("default")
    assert profiles.is_calibrated("default")
    assert (found.cores, found.timer_tick_s) == (2, 0.001)
    assert found.claim.loop_s == pytest.approx(0.0005, rel=0.01)
    status = json.loads((here / "status.json").read_text())
    assert (status["state"], status["exit_status"]) == ("done", 0)
    assert status["result"] == {"profile": str(kept / "default.yaml"), "fit": found.fit}
    assert "in doubt" not in answer.err

    both = meshlab("run", "quick.yaml", "--engine", "sim", "--json")
    assert (both.status, both.json["interrupted"]) == (0, False)
    assert "doubt" not in both.err and "ships" not in both.err
    assert "calibrate, on" in (Path(both.json["record"]) / "run.json").read_text()


def test_json_is_one_object_and_a_name_is_a_name(meshlab: Meshlab, at_once: Profile, kept: Path) -> None:
    answer = meshlab("calibrate", "--name", "night", "--json", "--quiet")
    assert answer.status == 0
    assert answer.json["profile"] == str(kept / "night.yaml")
    assert answer.json["doubts"] == []
    assert answer.json["fit"] == at_once.fit
    assert profiles.load("night") == at_once
    assert not profiles.is_calibrated("default")
    shown = meshlab("calibrate", "--show", "--name", "night", "--json")
    assert shown.json == answer.json


@pytest.mark.usefixtures("at_once")
def test_out_writes_a_file_and_changes_nothing_else(meshlab: Meshlab, kept: Path, here: Path) -> None:
    answer = meshlab("calibrate", "--out", "mine.yaml", "--quiet")
    assert answer.status == 0
    assert "kept in mine.yaml" in answer.out
    assert profiles.load("mine.yaml", here).measured_at is not None
    assert not kept.exists()
    assert meshlab("run", "quick.yaml", "--set", "profile=mine.yaml").status == 0


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("--name", "ideal"), 2, "--name 'ideal'"),
        (("--name", "shipped"), 2, "--name 'shipped'"),
        (("--name", "../up"), 2, "--name '../up'"),
        (("--name", "two words"), 2, "--name 'two words'"),
        (("--out", "no/such/folder/x.yaml"), 2, "--out no/such/folder/x.yaml"),
        (("--out", "."), 2, "--out ."),
        (("--show", "--name", "nobody"), 2, "no such profile"),
        (("--frobnicate",), 2, "usage: meshlab"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_measured(
    meshlab: Meshlab, ran: list[str], words: tuple[str, ...], status: int, told: str
) -> None:
    answer = meshlab("calibrate", *words)
    assert (answer.status, answer.out) == (status, "")
    assert told in answer.err
    assert "our bug" not in answer.err
    assert ran == []


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(
    meshlab: Meshlab, ran: list[str], kept: Path, here: Path
) -> None:
    kept.write_text("in the way")
    answer = meshlab("calibrate", "--status", "status.json")
    assert (answer.status, ran) == (1, [])
    assert "profiles cannot be kept here" in answer.err
    assert json.loads((here / "status.json").read_text())["state"] == "failed"


def test_ctrl_c_keeps_what_was_there_before(
    meshlab: Meshlab, ran: list[str], monkeypatch: pytest.MonkeyPatch, kept: Path, here: Path
) -> None:
    profiles.save(Profile(measured="before"), "default")

    def live(scenario: Scenario, **_: Any) -> Record:
        record = simulate(scenario, profile=profiles.load("ideal"))
        record.info["interrupted"] = True
        return record

    monkeypatch.setattr(live_backend, "run_live", live)
    answer = meshlab("calibrate", "--status", "status.json", "--quiet")
    assert answer.status == 130
    assert "the profile that was there before is still in use" in answer.err
    assert profiles.load("default").measured == "before"
    status = json.loads((here / "status.json").read_text())
    assert (status["state"], status["exit_status"]) == ("cancelled", 130)
    assert [path.name for path in kept.iterdir()] == ["default.yaml"]


# ---- showing ---------------------------------------------------------------------------------------------------------


def test_show_measures_nothing(meshlab: Meshlab, ran: list[str]) -> None:
    answer = meshlab("calibrate", "--show")
    assert answer.status == 0
    assert "shipped.yaml" in answer.out
    assert ran == []
    ideal = meshlab("calibrate", "--show", "--name", "ideal")
    assert "in doubt: nobody has noted when" in ideal.err
    assert meshlab("calibrate", "--show", "--name", "ideal", "--json").json["claim"]["loop_s"] == 0.0


def test_a_hostile_profile_is_shown_as_text(meshlab: Meshlab, here: Path) -> None:
    (here / "bad.yaml").write_text(
        'measured: "\\e[2Jgone"\nmachine: {"\\e[31mcores": "\\e[0m"}\nmeasured_at: 2026-01-01T00:00:00Z\n'
    )
    shown = meshlab("calibrate", "--show", "--name", "bad.yaml")
    ran = meshlab("run", "quick.yaml", "--set", "profile=bad.yaml")
    assert (shown.status, ran.status) == (0, 0)
    assert "\x1b" not in shown.out + shown.err + ran.err
    assert "gone" in shown.out and "is in doubt" in ran.err


# ---- what other commands say -----------------------------------------------------------------------------------------


@pytest.fixture
def both(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """`meshlab run quick.yaml --engine …` without a real backend."""
    monkeypatch.setattr(live_backend, "run_live", lambda scenario, **_: as_live(simulate(scenario)))
    return lambda engine, *words: meshlab("run", "quick.yaml", "--engine", engine, "--json", "--quiet", *words)


@pytest.mark.parametrize(
    ("measured", "engine", "profile", "told"),
    [
        (None, "both", "default", "the model runs with the profile that ships, measured on another machine"),
        (None, "sim", "default", ""),
        (None, "both", "shipped", ""),
        (dated(), "both", "default", ""),
        (dated(cores=999), "both", "default", "the profile of this machine is in doubt: cores is"),
        (dated(cores=999), "sim", "default", "the profile of this machine is in doubt: cores is"),
        (dated(cores=999), "live", "default", ""),
    ],
)
def test_run_says_in_one_line_when_the_profile_is_in_doubt(
    both: Callable[..., Answer], measured: Profile | None, engine: str, profile: str, told: str
) -> None:
    if measured is not None:
        profiles.save(measured, "default")
    answer = both(engine, "--set", f"profile={profile}")
    assert answer.status == 0, answer.err
    assert isinstance(answer.json, dict)
    lines = [line for line in answer.err.splitlines() if "profile" in line]
    assert len(lines) == bool(told)
    assert told in answer.err
    assert "`meshlab calibrate`" in answer.err or not told


@pytest.mark.parametrize(
    ("measured", "ok", "found"),
    [
        (None, False, "the profile that ships"),
        (dated(), True, "default.yaml"),
        (dated(cores=999), False, "is in doubt: cores is"),
        (
            dated(**{"server redis": "1.0 (path)"}),
            False,
            "is in doubt: server redis is 7 (path) here and was 1.0 (path)",
        ),
    ],
)
def test_doctor_has_a_finding_of_the_profile(
    meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, measured: Profile | None, ok: bool, found: str
) -> None:
    from live_backend.servers import ServerFacts

    facts = [ServerFacts("redis", "path", "/x", "7"), ServerFacts("postgres", "path", "/x", "7")]
    monkeypatch.setattr("live_backend.servers.inspect", lambda: facts)
    if measured is not None:
        profiles.save(measured, "default")
    answer = meshlab("doctor", "--json")
    (finding,) = [one for one in answer.json["findings"] if one["name"] == "profile"]
    assert answer.status == 0
    assert (finding["ok"], finding["mend"]) == (ok, "" if ok else "meshlab calibrate")
    assert found in finding["found"]


def test_doctor_survives_a_profile_that_is_none(meshlab: Meshlab, monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    monkeypatch.setattr("live_backend.servers.inspect", lambda: [])
    kept.mkdir()
    (kept / "default.yaml").write_text("warp: 9\n")
    (finding,) = [one for one in meshlab("doctor", "--json").json["findings"] if one["name"] == "profile"]
    assert not finding["ok"] and "is not a profile" in finding["found"]
