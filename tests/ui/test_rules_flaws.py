"""The flaws that the Rules page replays: each pair differs in its switches alone, and shows what it claims."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from lab.faults import KillWorker
from lab.flaws import FLAWS, Flaw, switches, told_by
from lab.rules.presets import PRESETS
from lab.scenario import Scenario
from simulation import simulate
from ui import rules_flaws, rules_play, rules_replay
from ui.rules_replay import Pair, Run

each = pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: flaw.key)


def pair_of(key: str) -> Pair:
    return rules_replay.run(key)


@each
def test_a_pair_differs_in_its_switches_alone(flaw: Flaw) -> None:
    flawed, cured = flaw.pair()
    ours, theirs = flaw.values("lab"), flaw.values(flaw.preset)
    assert all(ours[switch] != theirs[switch] for switch in flaw.switches)
    assert flawed.override({f"rules.{switch}": value for switch, value in ours.items()}).data == cured.data
    assert flawed.data != cured.data


@each
def test_all_tasks_are_somewhere_at_every_moment(flaw: Flaw) -> None:
    for run in pair_of(flaw.key):
        tasks = len(run.record.tasks)
        counts = [sum(step.counts) for step in run.play.steps]
        assert counts == sorted(counts)
        assert counts[-1] == tasks
        assert all(count >= 0 for step in run.play.steps for count in step.counts)
        assert run.play.last["completed"] == run.record.info["summary"]["tasks"]["completed"]
        assert run.play.last["dead"] == run.record.info["summary"]["tasks"]["dead"]


@each
def test_a_slot_holds_one_task_at_a_time(flaw: Flaw) -> None:
    for run in pair_of(flaw.key):
        play = run.play
        until: dict[int, float] = {}
        for bar in sorted(play.bars, key=lambda one: one.begin_s):
            assert bar.lane < play.places * play.slots
            assert until.get(bar.lane, 0.0) <= bar.begin_s + 1e-6, bar
            assert bar.begin_s <= bar.end_s <= play.end_s
            until[bar.lane] = bar.end_s
        attempts = sum(bar.fate != "asleep" for bar in play.bars)
        back = play.in_hand("handed back")  # a claim, but no attempt that counts
        assert attempts == run.record.info["summary"]["tasks"]["attempts"] + back


@each
def test_the_flaw_hurts_and_the_cure_mends(flaw: Flaw) -> None:
    flawed, cured = pair_of(flaw.key)
    assert cured.record.info["checks"]["ok"]
    assert cured.play.last["lost"] == 0
    assert WORSE[flaw.key](flawed, cured)


def _median(run: Run) -> float:
    return float(run.record.info["summary"]["latency_s"]["p50"])


def _beyond_mib(run: Run) -> float:
    """By how much all reports together lie above the limit: a peak alone is a matter of when one looks."""
    return sum(max(0.0, mib - run.play.limit_mib) for curve in run.play.rss_mib.values() for _, mib in curve)


WORSE: dict[str, Callable[[Run, Run], bool]] = {
    "killed_worker": lambda flawed, cured: flawed.play.last["lost"] > 0,
    "shutdown": lambda flawed, cured: flawed.play.last["lost"] > cured.play.in_hand("handed back") > 0,
    "provider_away": lambda flawed, cured: flawed.play.last["dead"] > cured.play.last["dead"],
    "sleeping_slots": lambda flawed, cured: flawed.play.slot_s("asleep") > cured.play.slot_s("asleep"),
    "queue_jumpers": lambda flawed, cured: _median(flawed) > 1.5 * _median(cured),
    "memory": lambda flawed, cured: _beyond_mib(flawed) > 1.5 * _beyond_mib(cured),
}


def test_what_was_lost_is_what_the_record_leaves_running() -> None:
    for key in ("killed_worker", "shutdown"):
        flawed = pair_of(key).flawed
        assert flawed.play.last["lost"] == int((flawed.record.tasks["state"] == "RUNNING").sum())
        assert "nothing_lost" in flawed.record.info["checks"]["failed"]


@each
def test_the_verdict_says_the_runs_own_numbers(flaw: Flaw) -> None:
    pair = pair_of(flaw.key)
    said = rules_flaws.verdict(flaw.key, pair)
    assert "None" not in said
    assert "nan" not in said
    if flaw.key in ("killed_worker", "shutdown"):
        assert f"**{pair.flawed.play.last['lost']} tasks**" in said
    if flaw.key == "killed_worker":
        killed_s = next(fault.at_s for fault in pair.cured.scenario.faults if isinstance(fault, KillWorker))
        assert f"killed at {killed_s:g} s" in said


def test_the_verdict_follows_another_run() -> None:
    """Other tasks, other numbers: nothing in the sentence is typed in."""
    flawed, cured = rules_replay.find("killed_worker").pair()
    more = {"workload.arrivals.count": 60, "faults.0.at_s": 4.5}
    runs = [scenario.override(more) for scenario in (flawed, cured)]
    pair = Pair(*(rules_replay._run(scenario) for scenario in runs))
    said = rules_flaws.verdict("killed_worker", pair)
    assert "killed at 4.5 s" in said
    assert "all 60 tasks" in said
    numbers = set(re.findall(r"\d+", said))
    assert str(pair.flawed.play.last["lost"]) in numbers


def test_every_switch_of_the_published_presets_is_listed() -> None:
    def paths(rules: object, before: str = "") -> list[str]:
        if not isinstance(rules, dict):
            return [before]
        return [path for key, value in rules.items() for path in paths(value, f"{before}.{key}".lstrip("."))]

    set_by_presets = {path for preset in PRESETS.values() for path in paths(preset.get("rules", {})) if path}
    assert set(switches()) == set_by_presets
    assert {switch for flaw in FLAWS for switch in flaw.switches} <= set_by_presets


def test_tasks_that_outlive_their_process_are_drawn_until_it_died() -> None:
    flawed = pair_of("killed_worker").flawed
    killed_s = flawed.play.strikes[0].at_s
    assert {bar.end_s for bar in flawed.play.bars if bar.fate == "lost"} == {killed_s}
    gone = [span for span in flawed.play.spans if span.kind == "gone"]
    assert [(span.place, span.begin_s) for span in gone] == [(0, killed_s)]


def test_a_run_without_faults_and_memory_plays_too() -> None:
    roles = {"A": {"service": {"dist": "constant", "mean_s": 1}}}
    workload = {"arrivals": {"kind": "burst", "count": 3}, "roles": roles}
    scenario = Scenario.from_data({"workload": workload, "mesh": {"workers": 1, "slots": 2}})
    play = rules_play.play(scenario, simulate(scenario))
    assert (play.strikes, play.spans, play.rss_mib) == ([], [], {})
    assert play.last["completed"] == 3


def test_the_data_for_the_browser_is_small_and_plain() -> None:
    for flaw in FLAWS:
        data = rules_replay.data(flaw, pair_of(flaw.key))
        fates = {bar[3] for side in data["sides"] for bar in side["bars"]}
        assert fates <= {name for name, _ in data["legend"]}
        assert fates <= set(data["colours"])
        assert len(json.dumps(data)) < 32_768


def test_values_are_those_of_the_presets() -> None:
    flaw = rules_replay.find("sleeping_slots")
    assert flaw.values(flaw.preset) == {"retry.wait": told_by(flaw.preset)["retry.wait"].value}
    assert flaw.values(flaw.preset) != flaw.values("lab")
