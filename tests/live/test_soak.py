"""The soak: what it plans, what it counts, and a short one on a real mesh, which must end sound."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import soak as cli_soak
from cli.main import main, parser
from lab.progress import Progress
from lab.rules.lease import LeaseRules
from live_backend import soak
from live_backend.nemesis import Blow, kinds_for, plan
from live_backend.soak import Report, Settings
from live_backend.soak_load import Sent
from live_backend.soak_report import (
    SETTLED_S,
    Reclaim,
    Spread,
    _doubled,
    _exposed,
    _lost,
    _reclaim,
    bound_s,
    reclaim_figures,
    undisturbed,
)

SEED = 27
"""Its plan is short and strikes every kind of target."""
LEASE = LeaseRules(length_s=3.0, sweep_s=0.5)


def blow(at: float, until: float, target: Any = "worker", **more: Any) -> Blow:
    """A fault that lasted from then to then."""
    return Blow("test", target, until - at, 0.0, at=at, until=until, **more)


# ---- the plan --------------------------------------------------------------------------------------------------------


def test_the_same_seed_plans_the_same_faults() -> None:
    assert plan(1, 600.0, 3.0) == plan(1, 600.0, 3.0)
    assert plan(1, 600.0, 3.0) != plan(2, 600.0, 3.0)


def test_faults_come_as_often_as_asked_and_each_lasts_as_its_kind_does() -> None:
    """A Poisson stream of rate 1/every with twins: 36,000 s / 10 s × 1.15 = 4,140, give or take 4 deviations of 70."""
    planned, kinds = plan(3, 36_000.0, 3.0), kinds_for(3.0)
    assert abs(len(planned) - 4_140) < 280
    assert {one.kind for one in planned} == set(kinds)
    for one in planned:
        least, most = kinds[one.kind].hold_s
        assert least <= one.hold_s <= most
        assert 0.0 <= one.pick < 1.0
    assert [one.at_s for one in planned] == sorted(one.at_s for one in planned)


def test_freezes_are_shorter_and_longer_than_the_lease() -> None:
    kinds = kinds_for(3.0)
    assert kinds["freeze a worker within its lease"].hold_s[1] < 3.0 < kinds["freeze a worker past its lease"].hold_s[0]


# ---- what is counted -------------------------------------------------------------------------------------------------


def test_lost_is_whoever_was_promised_and_has_not_come_to_an_end() -> None:
    states = {1: "COMPLETED", 2: "PENDING", 3: "PERMANENT_FAILURE", 4: "RUNNING"}
    assert _lost(states, [1, 2, 3, 9]) == [2, 9]


def test_doubled_is_whatever_exists_or_was_completed_more_than_once() -> None:
    keys = [("a", 1), ("b", 2), ("c", 2)]

    def execute(query: bytes, values: dict[str, Any]) -> Any:
        rows = keys if b"submission_key" in query else [(3,)]
        return SimpleNamespace(fetchall=lambda: rows)

    connection: Any = SimpleNamespace(execute=execute)
    found = _doubled(connection, {1: "COMPLETED", 2: "COMPLETED", 3: "COMPLETED"}, {"a": 1, "b": 1, "z": 5})
    assert found == [
        "task 3 was completed twice",
        "task 3 has no key",
        "b stands for 2, not for 1",
        "z stands for None, not for 5",
        "task 2 has 2 keys",
    ]


def test_exposed_are_those_under_way_while_a_fault_lasted() -> None:
    spans = [(1, 0.0, 9.9), (2, 0.0, 10.0), (3, 11.0, None), (4, 12.1, 13.0), (5, 12.5, 13.0)]
    assert _exposed(spans, {}, [blow(10.0, 12.0)]) == 2
    assert _exposed(spans, {5: 11.9}, [blow(10.0, 12.0)]) == 3, "its client sent it while the fault lasted"
    assert _exposed(spans, {}, [blow(10.0, 10.0), blow(12.6, 12.7)]) == 4, "one that is exposed twice counts once"
    assert _exposed(spans, {}, []) == 0


def test_a_reclaim_counts_from_the_silence_or_from_the_claim_if_that_came_later() -> None:
    first, second = blow(100.0, 101.0), blow(100.5, 104.0)
    silences = [(one.at, one.until) for one in (first, second)]
    assert _reclaim(1, "w", 99.0, 103.5, silences, [first]) == Reclaim(1, "w", 103.5, 3.5, "none", True)
    assert _reclaim(1, "w", 100.2, 103.5, silences, [first]).waited_s == pytest.approx(3.3)
    later = _reclaim(1, "w", 102.0, 106.0, [silences[0]], [first])
    assert later.waited_s == 4.0
    assert not later.explained, "the worker was well again when it claimed this one"


def test_a_reclaim_during_an_outage_of_postgres_is_told_apart() -> None:
    blows = [blow(100.0, 100.0), blow(101.0, 105.0, "postgres"), blow(102.0, 103.0, "reaper")]
    found = _reclaim(1, "w", 99.0, 105.5, [(100.0, 100.0)], blows)
    assert (found.disturbed_by, found.waited_s) == ("postgres", 1.5)
    assert _reclaim(1, "w", 99.0, 104.0, [(100.0, 100.0)], [blows[0], blows[2]]).disturbed_by == "reaper"
    assert _reclaim(1, "w", 99.0, 105.5, [], blows).explained, "its lease could not be renewed"


def test_reclaims_beyond_the_bound_are_shown() -> None:
    assert bound_s(LEASE) == 4.5
    found = [
        Reclaim(1, "w", 110.0, 4.0, "none", True),
        Reclaim(2, "w", 111.0, 4.6, "none", True),
        Reclaim(3, "w", 112.0, 1.0, "postgres", False),
    ]
    figures = reclaim_figures(found, LEASE, began_at=100.0)
    assert (figures["late"], figures["unexplained"]) == (1, [3])
    assert [(one["task"], one["lapsed_at"]) for one in figures["late_examples"]] == [(2, 11.0)]
    assert figures["by_disturbance"]["none"] == {"count": 2, "p50_s": 4.3, "p99_s": 4.594, "max_s": 4.6}
    assert figures["by_disturbance"]["reaper"] == {"count": 0, "p50_s": None, "p99_s": None, "max_s": None}


def test_only_what_no_fault_touched_is_undisturbed() -> None:
    requests = [
        Sent(9.0, 9.5),
        Sent(9.0, 10.5),
        Sent(11.0 + SETTLED_S, 11.1 + SETTLED_S),
        Sent(12.1 + SETTLED_S, 13.1 + SETTLED_S),
    ]
    assert undisturbed(requests, [blow(10.0, 12.0)]) == Spread(2, 0.75, 0.995, 1.0)
    assert undisturbed([], []) == Spread(0)


def test_a_process_that_ends_as_no_nemesis_ends_it_is_a_finding() -> None:
    for text in (
        "worker 0: exit 70; another takes its place in 0.1 s",
        "api: killed by SIGSEGV; another",
        "reaper: exit 1",
    ):
        assert soak.OWN_END.search(text), text
    for text in ("worker 0: killed by SIGKILL; another", "worker 1: exit 0; another", "api: killed by SIGTERM"):
        assert not soak.OWN_END.search(text), text


# ---- the command -----------------------------------------------------------------------------------------------------

FIGURES: dict[str, Any] = {
    "sound": True,
    "interrupted": False,
    "minutes": 10.0,
    "rate_per_s": {"asked": 400.0, "sustained": 399.0},
    "tasks": {"acknowledged": 240_000, "exposed": 61_000, "lost": 0, "doubled": 0, "held_back": 0},
    "faults": {"total": 2, "lasted_s": 3.5, "by_kind": {"kill Redis": 2}},
    "retries": 5,
    "reclaims": 3,
    "stale_writes": 1,
    "reclaim": reclaim_figures([Reclaim(1, "w", 110.0, 4.0, "none", True)], LEASE, 0.0),
    "submit_undisturbed": {"count": 10, "p50_s": 0.01, "p99_s": 0.02, "max_s": 0.03},
    "drain_s": 3.2,
    "checks": {"passed": 11, "failed": []},
    "examples": {"lost": [], "doubled": []},
    "processes_that_ended_by_themselves": [],
    "strange_answers": {},
    "command": "meshlab soak --minutes 10 --seed 1",
    "machine": {"cores": 2, "system": "Linux", "architecture": "x86_64"},
    "versions": {"python": "3.11", "redis": "7.0", "postgres": "16.1"},
}
LOST: dict[str, Any] = {
    **FIGURES,
    "sound": False,
    "tasks": {**FIGURES["tasks"], "lost": 2},
    "examples": {"lost": [7, 8], "doubled": []},
    "checks": {"passed": 10, "failed": [{"name": "nothing_lost", "found": "2 tasks", "tasks": [7, 8]}]},
}


def test_the_report_says_what_counts() -> None:
    text = "\n".join(cli_soak.lines(FIGURES))
    for part in (
        "240,000 tasks",
        "61,000 tasks to 2 faults",
        "kill Redis",
        "bound 4.5 s",
        "4.000 s",
        "0.020 s",
        "seed 1",
    ):
        assert part in text
    assert "lost: 7, 8" in cli_soak.lines(LOST)
    assert any("nothing_lost: 2 tasks" in line for line in cli_soak.lines(LOST))


@pytest.mark.parametrize(
    ("figures", "status"),
    [(FIGURES, 0), (LOST, 3), ({**FIGURES, "interrupted": True}, 130), ({**LOST, "interrupted": True}, 3)],
)
def test_the_exit_status_says_whether_it_was_sound(
    figures: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    asked: list[Settings] = []

    def fake(settings: Settings, *_: object) -> Report:
        asked.append(settings)
        return Report(figures)

    monkeypatch.setattr(soak, "soak", fake)
    out = tmp_path / "report.json"
    assert main(["soak", "--minutes", "0.5", "--seed", "9", "--json", "--quiet", "--out", str(out)]) == status
    printed = capsys.readouterr()
    assert json.loads(printed.out) == figures == json.loads(out.read_text())
    assert printed.err == ""
    assert asked == [Settings(0.5, 500, 2, 100, 9, 10)]
    assert main(asked[0].command.split()[1:]) == status
    assert asked[1] == asked[0], "the command that the report shows repeats it"


@pytest.mark.parametrize("words", [["--minutes", "0"], ["--minutes", "x"], [], ["--minutes", "1", "--rate", "0"]])
def test_impossible_soaks_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["soak", *words])


def test_a_report_that_could_not_be_written_is_refused_before_the_soak(tmp_path: Path, capsys: Any) -> None:
    assert main(["soak", "--minutes", "1", "--out", str(tmp_path / "no" / "such.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


# ---- a real one ------------------------------------------------------------------------------------------------------


@pytest.mark.live
def test_a_short_soak_ends_sound() -> None:
    """A fault every second or so, for twelve seconds."""
    settings = Settings(minutes=0.2, rate_per_s=100, workers=2, slots=50, seed=SEED, every_s=1.0)
    assert {kinds_for(3.0)[one.kind].target for one in plan(SEED, settings.length_s, 3.0, 1.0)} == {
        "worker",
        "api",
        "reaper",
        "redis",
        "postgres",
    }
    seen: list[Progress] = []
    told: list[str] = []
    report = soak.soak(settings, seen.append, lambda: False, told.append)
    figures = report.figures
    findings = {name: figures[name] for name in ("tasks", "checks", "examples", "strange_answers", "faults")}
    assert report.is_sound, findings
    assert figures["drain_s"] is not None, findings
    tasks = figures["tasks"]
    assert tasks["acknowledged"] == tasks["sent"] > 0
    assert tasks["unanswered"] == 0
    assert 0 < tasks["exposed"] <= sum(tasks["by_state"].values())
    assert not figures["processes_that_ended_by_themselves"]
    assert figures["faults"]["total"] >= 3
    assert seen[-1].done == tasks["acknowledged"]
    json.dumps(figures, allow_nan=False)


@pytest.mark.live
def test_a_soak_that_is_interrupted_reports_what_it_has() -> None:
    settings = Settings(minutes=5.0, rate_per_s=50, workers=1, slots=20, seed=1, every_s=600.0)
    seen: list[Progress] = []
    report = soak.soak(settings, seen.append, lambda: bool(seen) and seen[-1].done >= 20, lambda text: None)
    assert report.was_interrupted
    assert report.is_sound
    assert report.figures["minutes"] < 5.0
    assert report.figures["tasks"]["acknowledged"] >= 20
    assert not report.figures["faults"]["total"]
