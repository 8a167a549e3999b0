"""What people do at the controls, as data of the scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab import limits
from lab.errors import UsageError
from lab.faults import knob_range
from lab.scenario import Scenario, Schedule
from lab.workload import Plan
from ui.mesh.commands import Chaos, StressWish, Turn, parse
from ui.mesh.script import LEAD_S, SPANS, Script

ROOT = Path(__file__).parents[2]
BASE = Scenario.load(ROOT / "scenarios" / "command_center.yaml")


def wish(**values: Any) -> StressWish:
    return StressWish(**values)


def chaos(what: str, **more: Any) -> Chaos:
    command = parse({"do": "chaos", "what": what, **more})
    assert isinstance(command, Chaos)
    return command


def turn(knob: str, value: float) -> Turn:
    command = parse({"do": "knob", "knob": knob, "value": value})
    assert isinstance(command, Turn)
    return command


def test_a_session_begins_with_the_trickle_of_its_scenario_and_what_was_pressed() -> None:
    script = Script.opening(BASE, wish(count=500))
    assert script.entries == ({"at_s": 0.0, "rate_per_s": 10.0}, {"at_s": 0.0, "count": 500})
    assert script.faults == ()  # the scenario's own are for those who run it as it is
    plan = Plan(script.scenario)
    assert int((plan.arrival_s == 0).sum()) >= 500
    assert script.knobs == {
        **{"rate": 10, "workers": 3, "slots": 8},
        **{"failure_rate": 0.05, "retry_base_s": 0.5, "rss_limit_mib": 256},
    }


def test_any_scenario_can_be_played_whatever_its_arrivals() -> None:
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        base = Scenario.load(path)
        if base.workload.arrivals.kind != "trace":
            assert isinstance(Script.opening(base, wish()).scenario.workload.arrivals, Schedule), path.name


def test_a_scenario_that_brings_nothing_by_itself_needs_a_press() -> None:
    quiet = BASE.override({"workload.arrivals.entries": [{"at_s": 3, "count": 5}]})
    with pytest.raises(UsageError, match="no task would ever come"):
        Script.opening(quiet)
    assert Script.opening(quiet, wish(count=1)).scenario


@pytest.mark.parametrize(
    ("button", "fault"),
    [
        (chaos("kill_worker", worker=2), {"kind": "kill_worker", "worker": 2}),
        (chaos("pause_worker"), {"kind": "pause_worker", "worker": 0, "for_s": 3.0}),
        (chaos("pause_worker", worker=1, for_s=5), {"kind": "pause_worker", "worker": 1, "for_s": 5}),
        (chaos("slow_provider"), {"kind": "slow_service", "for_s": 10.0, "factor": 3.0}),
        (chaos("fail_role"), {"kind": "role_outage", "role": "ARCHITECT", "for_s": 10.0}),
        (chaos("fail_role", role="DEVELOPER"), {"kind": "role_outage", "role": "DEVELOPER", "for_s": 10.0}),
        (chaos("wipe_redis"), {"kind": "redis_flush"}),
        (chaos("restart_postgres"), {"kind": "postgres_restart"}),
    ],
)
def test_every_button_is_a_fault_a_moment_ahead(button: Chaos, fault: dict[str, Any]) -> None:
    script = Script.opening(BASE).after_chaos(button, 7.0)
    assert script.faults == ({"at_s": 7.0 + LEAD_S, **fault},)


def test_stress_is_a_burst_or_a_held_rate_that_goes_back_to_the_knobs() -> None:
    script = Script.opening(BASE)
    script = script.after_stress(wish(count=300), 1.0)
    script = script.after_stress(wish(mode="hold", rate_per_s=80.0), 2.0)
    script = script.after_turn(turn("rate", 25), 3.0)  # heard of when the stress is over
    script = script.after_stress(wish(on=False, mode="hold"), 4.0)
    assert script.entries[1:] == (
        {"at_s": 1.6, "count": 300},
        {"at_s": 2.6, "rate_per_s": 80.0},
        {"at_s": 4.6, "rate_per_s": 25},
    )
    assert not script.stress.on and script.scenario
    held = script.after_stress(wish(mode="hold", rate_per_s=80.0), 5.0).after_stress(wish(count=9), 6.0)
    assert held.entries[-2:] == ({"at_s": 6.6, "rate_per_s": 25}, {"at_s": 6.6, "count": 9})


def test_two_turns_at_the_same_moment_are_two_moments() -> None:
    script = Script.opening(BASE).after_turn(turn("slots", 4), 1.0).after_turn(turn("slots", 5), 1.0)
    assert [fault["at_s"] for fault in script.faults] == [1.6, 1.601]
    assert script.scenario


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda s: s.after_chaos(chaos("kill_worker", worker=3), 1), "no worker 3: the mesh has 0 to 2"),
        (lambda s: s.after_chaos(chaos("fail_role", role="<b>x</b>"), 1), "no role '<b>x</b>'"),
        (lambda s: s.after_turn(turn("workers", 13), 1), "workers goes from 1 to 12"),
        (lambda s: s.after_turn(turn("workers", 2.5), 1), "whole number"),
        (lambda s: s.after_stress(wish(), limits.SESSION_S_MAX), "Stop it, and start another"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_and_changes_nothing(refused: Any, words: str) -> None:
    script = Script.opening(BASE)
    with pytest.raises(UsageError, match=words):
        refused(script)
    assert script == Script.opening(BASE)


def test_a_worker_that_a_knob_has_added_can_be_killed() -> None:
    script = Script.opening(BASE).after_turn(turn("workers", 5), 1.0)
    assert script.after_chaos(chaos("kill_worker", worker=4), 1.0).scenario


def test_a_higher_rate_ends_the_session_earlier_so_that_the_plan_stays_small() -> None:
    script = Script.opening(BASE)
    assert script.until_s == limits.SESSION_S_MAX
    script = script.after_stress(wish(mode="hold", rate_per_s=2_000.0), 9.4)
    assert script.until_s == pytest.approx(10 + (limits.SESSION_TASKS_MAX - 100) / 2_000)
    assert Plan(script.scenario).count == pytest.approx(limits.SESSION_TASKS_MAX, rel=0.02)
    assert script.after_stress(wish(on=False), 20.0).until_s == limits.SESSION_S_MAX


def test_a_session_has_a_bound_of_actions() -> None:
    script = Script.opening(BASE)
    for number in range(limits.SESSION_ACTIONS_MAX - 1):
        script = Script(
            BASE,
            script.knobs,
            script.entries,
            (*script.faults, {"kind": "redis_flush", "at_s": number / 10}),
            last_s=number / 10,
        )
    assert len(script.yaml.encode()) < limits.SCENARIO_BYTES_MAX
    with pytest.raises(UsageError, match="900 actions"):
        script.after_redrive(200.0)


def test_a_session_is_a_scenario_file() -> None:
    script = Script.opening(BASE, wish()).after_turn(turn("failure_rate", 0.2), 2).after_chaos(chaos("wipe_redis"), 3)
    again = Scenario.parse(script.yaml)
    assert again.data == script.scenario.data
    assert script.yaml.startswith("# A session of the command center")


@pytest.mark.parametrize("knob", [knob for knob in SPANS if knob != "rate"])
def test_every_slider_stays_within_what_a_knob_may_be(knob: Any) -> None:
    low, high, step = SPANS[knob]
    assert knob_range(knob).holds(low) and knob_range(knob).holds(high) and 0 < step < high - low
    script = Script.opening(BASE)
    assert low <= script.knobs[knob] <= high
    for value in (low, high):
        assert script.after_turn(turn(knob, value), 1.0).knobs[knob] == value


def test_a_slider_is_wider_where_the_scenario_begins_outside() -> None:
    large = BASE.override({"mesh.slots": 150, "workload.arrivals": {"kind": "poisson", "rate_per_s": 750, "count": 9}})
    script = Script.opening(large)
    assert (script.spans["slots"].high, script.spans["rate"].high, script.spans["workers"].high) == (150, 750, 12)
    assert script.after_turn(turn("slots", 150), 1.0).scenario


@settings(max_examples=25, deadline=None, print_blob=True)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 5),
            st.one_of(
                st.builds(wish, on=st.booleans(), mode=st.sampled_from(["burst", "hold"]), count=st.integers(1, 50)),
                st.sampled_from([turn("rate", 30), turn("workers", 6), turn("slots", 2), chaos("wipe_redis")]),
            ),
        ),
        max_size=8,
    )
)
def test_whatever_is_done_the_past_stays_what_it_was(steps: list[tuple[float, Any]]) -> None:
    script, now_s = Script.opening(BASE, wish(count=20)), 0.0
    for wait_s, done in steps:
        now_s += wait_s
        before, plan = script, Plan(script.scenario)
        if isinstance(done, StressWish):
            script = script.after_stress(done, now_s)
        else:
            script = script.after_turn(done, now_s) if isinstance(done, Turn) else script.after_chaos(done, now_s)
        grown, from_s = Plan(script.scenario), now_s + LEAD_S
        past = int((plan.arrival_s < from_s).sum())
        assert grown.arrival_s[:past].tolist() == plan.arrival_s[:past].tolist()
        assert grown.role[:past].tolist() == plan.role[:past].tolist()
        assert script.entries[: len(before.entries)] == before.entries


def test_commands_are_a_closed_schema() -> None:
    for wrong in (
        *([], None, "stop", 7, {"do": "explode"}, {"do": "stop", "now": True}, {"do": "knob", "knob": "rate"}),
        *({"do": "knob", "knob": "name", "value": 1}, {"do": "knob", "knob": "rate", "value": "1"}),
        *({"do": "stress", "count": 0}, {"do": "stress", "count": 10**9}, {"do": "stress", "rate_per_s": -1}),
        *({"do": "chaos", "what": "rm -rf"}, {"do": "chaos", "what": "kill_worker", "worker": -1}),
        *({"do": "pace", "speed": 2}, {"do": "knob", "knob": "rate", "value": float("nan")}),
    ):
        with pytest.raises(UsageError, match="Nothing was done"):
            parse(wrong)
