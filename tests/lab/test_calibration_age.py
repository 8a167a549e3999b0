"""Whether a profile speaks of this machine, and the one line that says that it may not."""

from __future__ import annotations

import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab import calibration_age, calibration_probes
from lab import profile as profiles
from lab.calibration_age import AGE_DAYS_MAX, doubts, fingerprint, warning
from lab.errors import UsageError
from lab.profile import Profile
from lab.workload import Plan

SERVERS = {"redis": "7.0 (path)", "postgres": "15 (bundled)"}
MEASURED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
A_DAY_LATER = MEASURED_AT + timedelta(days=1)


def profile_of(**machine: Any) -> Profile:
    return Profile(measured="here", measured_at=MEASURED_AT, machine={**fingerprint(SERVERS), **machine})


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLAB_PROFILES", str(tmp_path / "kept"))


def test_a_fingerprint_has_what_matters_and_does_not_name_the_machine() -> None:
    here = fingerprint(SERVERS)
    assert here["server redis"] == "7.0 (path)"
    assert here["cores"] >= 1
    assert {"system", "architecture", "processor", "python", "library asyncpg", "library uvloop"} <= set(here)
    assert platform.node() not in map(str, here.values())


@pytest.mark.parametrize(
    ("machine", "age", "words"),
    [
        ({}, timedelta(days=1), []),
        ({}, timedelta(days=AGE_DAYS_MAX), []),
        ({}, timedelta(days=31), ["it was measured 31 days ago"]),
        ({}, timedelta(days=-2), []),  # a clock that was wrong
        ({"cores": 999}, timedelta(days=1), ["cores is {cores} here and was 999 then"]),
        ({"library redis": "0.1"}, timedelta(days=1), ["library redis is {library redis} here and was 0.1 then"]),
        ({"accelerator": "one"}, timedelta(days=1), ["accelerator is not there here and was one then"]),
        (
            {"cores": 999, "python": "2.7"},
            timedelta(days=400),
            [
                "cores is {cores} here and was 999 then",
                "python is {python} here and was 2.7 then",
                "it was measured 400 days ago",
            ],
        ),
    ],
)
def test_doubts(machine: dict[str, Any], age: timedelta, words: list[str]) -> None:
    here = fingerprint(SERVERS)
    assert doubts(profile_of(**machine), SERVERS, MEASURED_AT + age) == [one.format_map(here) for one in words]


def test_servers_are_compared_only_where_they_are_known() -> None:
    other = {**SERVERS, "redis": "8.0 (path)"}
    assert doubts(profile_of(), None, A_DAY_LATER) == []
    assert doubts(profile_of(), other, A_DAY_LATER) == ["server redis is 8.0 (path) here and was 7.0 (path) then"]


def test_what_nobody_has_dated_is_in_doubt() -> None:
    assert doubts(Profile(measured="once")) == ["nobody has noted when and on which machine it was measured"]


# ---- the one line ----------------------------------------------------------------------------------------------------


def fresh(**machine: Any) -> Profile:
    return profile_of(**machine).model_copy(update={"measured_at": datetime.now(UTC)})


def test_the_profile_that_ships_is_told_beside_a_real_backend_only() -> None:
    told = warning("default")
    assert told is not None
    assert told.startswith(
        "the model runs with the profile that ships, measured on another machine: `meshlab calibrate`"
    )
    assert warning("default", beside_live=False) is None


def test_a_measured_profile_is_told_when_it_is_in_doubt(tmp_path: Path) -> None:
    profiles.save(fresh(), "default")
    assert warning("default") is None
    profiles.save(fresh(cores=999, python="2.7"), "default")
    cores = fingerprint({})["cores"]
    line = f"the profile of this machine is in doubt: cores is {cores} here and was 999 then; run `meshlab calibrate`"
    assert warning("default") == warning("default", beside_live=False) == line
    profiles.save(fresh(cores=999), "night")
    (tmp_path / "mine.yaml").write_text(profiles.as_yaml(fresh(cores=999)))
    assert str(warning("night")).startswith("the profile 'night' is in doubt: cores")
    assert str(warning("mine.yaml", tmp_path)).startswith("the profile 'mine.yaml' is in doubt: cores")


def test_who_asks_for_costs_that_were_made_up_gets_them_unsaid(tmp_path: Path) -> None:
    (tmp_path / "costs.yaml").write_text("measured: made up\n")
    assert [warning(name, tmp_path) for name in ("ideal", "shipped", "costs.yaml")] == [None, None, None]
    profiles.save(Profile(measured="by hand, in the place of a measured one"), "default")
    assert str(warning("default")).startswith("the profile of this machine is in doubt: nobody has noted")


def test_what_the_servers_are_counts_where_it_is_known() -> None:
    profiles.save(fresh(), "default")
    assert warning("default", servers=SERVERS) is None
    assert "server redis" in str(warning("default", servers={**SERVERS, "redis": "8"}))


def test_a_profile_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no such profile"):
        warning("nobody")


def test_a_machine_without_proc_has_a_processor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nowhere(type(Path())):  # type: ignore[misc]
        def read_text(self, *_: Any, **__: Any) -> str:
            raise FileNotFoundError

    monkeypatch.setattr(calibration_age, "Path", Nowhere)
    assert fingerprint({})["processor"] == (platform.processor() or "unknown")


# ---- the probes ------------------------------------------------------------------------------------------------------


def test_probes_are_scenarios_that_take_two_minutes_at_most() -> None:
    """The last arrival and the work of the last task; calibration_run.PROBES says how long they take for real."""
    from lab.calibration_run import FITTING_S, ORDER, PROBES, TIMING_S

    assert set(ORDER) == set(PROBES)
    assert TIMING_S + FITTING_S + sum(PROBES[name][1] for name in ORDER) <= 120.0
    names = set()
    for text, takes_s in PROBES.values():
        plan = Plan(calibration_probes.probe(text))
        names.add(plan.scenario.name)
        assert plan.scenario.profile == "ideal"
        assert float(plan.arrival_s[-1]) < takes_s
    assert len(names) == len(PROBES)


def test_a_probe_takes_other_values_by_their_paths() -> None:
    found = calibration_probes.probe(
        calibration_probes.CHECK, "shipped", mesh__workers=7, workload__arrivals__rate_per_s=9
    )
    assert (found.profile, found.mesh.workers) == ("shipped", 7)
    assert found.workload.arrivals.rate_per_s == 9
