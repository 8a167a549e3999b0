"""The model's side of a session: commands and steps in this process, with a clock of the test's own; and for real."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab import Scenario
from lab.errors import ScenarioError, UsageError
from lab.limits import SESSION_AHEAD_S_MAX, SESSION_DRAIN_S_MAX
from lab.record import Record
from lab.telemetry import Telemetry
from lab.workload import Plan
from simulation import simulate
from simulation.session import Session
from simulation.tail import Tail, Watched

Data = dict[str, Any]
Frame = dict[str, Any]
EPOCH_S = 1_000_000.0
STEP_S = 0.1
BASE: Data = {
    "name": "growing",
    "seed": 7,
    "workload": {
        "arrivals": {
            "kind": "schedule",
            "until_s": 600,
            "spacing": "poisson",
            "entries": [{"at_s": 0, "rate_per_s": 10}],
        },
        "roles": {
            "ARCHITECT": {"service": {"dist": "lognormal", "mean_s": 0.6, "cv": 0.5}, "failure_rate": 0.1},
            "DEVELOPER": {"service": {"dist": "constant", "mean_s": 0.4}, "memory_mib": 8},
        },
    },
    "mesh": {"workers": 3, "slots": 4},
    "rules": {"retry": {"base_s": 0.25}, "lease": {"length_s": 2, "sweep_s": 0.5}},
    "faults": [],
}


class Driven:
    """A session and its clock. What somebody does is added to the scenario and told, as the app does it."""

    def __init__(self, runs: Path, **more: Any) -> None:
        self.session, self.t_s = Session(), 0.0
        self.scenario = copy.deepcopy(BASE) | more
        self.frames: list[Frame] = []
        self.say({"do": "start", "scenario": self.scenario, "base": str(runs), "runs": str(runs)})
        self.say({"do": "go", "epoch_s": EPOCH_S})

    def say(self, command: Data) -> None:
        self.session.hear(json.loads(json.dumps(command)), EPOCH_S + self.t_s)

    def do(self, *faults: Data, entries: tuple[Data, ...] = (), ahead_s: float = 0.5) -> None:
        """At so long from now."""
        at_s = round(self.t_s + ahead_s, 6)
        self.scenario["faults"] = [*self.scenario["faults"], *({"at_s": at_s, **fault} for fault in faults)]
        self.scenario["workload"]["arrivals"]["entries"].extend({"at_s": at_s, **entry} for entry in entries)
        self.say({"do": "grow", "scenario": self.scenario, "from_s": at_s})

    def run(self, for_s: float) -> Frame:
        """Let time pass, a frame at each step; the model gets the time that it needs."""
        for _ in range(round(for_s / STEP_S)):
            self.t_s += STEP_S
            self.settle()
        return self.frames[-1]

    def settle(self) -> None:
        self.session.step(EPOCH_S + self.t_s)
        while self.session.busy:
            self.session.step(EPOCH_S + self.t_s)
        self.frames.append(json.loads(json.dumps(self.session.frame(), allow_nan=False)))

    def stop(self) -> Frame:
        self.say({"do": "stop"})
        while not self.session.over:
            self.run(STEP_S)
        return self.frames[-1]


@pytest.fixture
def driven(tmp_path: Path) -> Driven:
    return Driven(tmp_path)


def whole(scenario: Data, t_s: float) -> dict[str, int]:
    """What a model that was never interrupted counts at a moment."""
    watched = Watched(Plan(Scenario.from_data(scenario)))
    watched.go_on(t_s, float("inf"))
    tail = Tail(Telemetry("model", watched.plan))
    tail.follow(watched, t_s, float("inf"))
    tail.admit(watched.plan)
    return tail.telemetry.counts()


# ---- in step with the wall clock -------------------------------------------------------------------------------------


def test_before_it_goes_it_is_ready_and_stands_at_0(tmp_path: Path) -> None:
    session = Session()
    assert session.frame() == {"side": "model", "t": 0.0, "phase": "starting", "note": "", "record": ""}
    session.hear({"do": "start", "scenario": BASE, "base": str(tmp_path), "runs": str(tmp_path)}, EPOCH_S)
    session.step(EPOCH_S)
    frame = session.frame()
    assert (frame["phase"], frame["t"], frame["counts"]["arrived"]) == ("ready", 0.0, 0)
    session.hear({"do": "go", "epoch_s": EPOCH_S + 5}, EPOCH_S)  # it may be told ahead of time
    session.step(EPOCH_S + 2)
    assert session.frame()["t"] == 0.0


def test_what_is_shown_is_what_the_model_does(driven: Driven) -> None:
    frame = driven.run(5)
    assert (frame["side"], frame["phase"], frame["t"]) == ("model", "running", 5.0)
    assert frame["counts"] == whole(driven.scenario, 5.0)
    assert frame["counts"]["completed"] > 20
    assert [role["name"] for role in frame["roles"]] == ["ARCHITECT", "DEVELOPER"]
    assert [worker["id"] for worker in frame["workers"]] == ["w0.1", "w1.1", "w2.1"]


def test_what_somebody_does_happens_at_its_moment_and_the_past_stays(driven: Driven) -> None:
    driven.run(3)
    driven.do({"kind": "kill_worker", "worker": 1}, entries=({"count": 200},))
    before = driven.run(0.4)
    assert (before["counts"]["pending"] < 20, len(before["workers"])) == (True, 3)
    after = driven.run(0.4)
    assert after["counts"]["pending"] > 100
    assert [strike["what"] for strike in after["strikes"]] == ["kill_worker worker 1"]
    driven.do({"kind": "change", "knob": "workers", "value": 5}, {"kind": "change", "knob": "slots", "value": 8})
    end = driven.run(20)
    assert end["counts"] == whole(driven.scenario, driven.t_s)
    assert [len(end["workers"]), end["workers"][0]["slots"], end["counts"]["lost"]] == [5, 8, 0]
    (strike,) = end["strikes"]
    assert strike["over"]
    assert strike["in_hand"] == strike["reclaimed"] == strike["ended"] > 0
    versions = [{card["id"]: card["v"] for card in _cards(frame)} for frame in driven.frames]
    for earlier, later in pairwise(versions):
        assert all(later[task] >= version for task, version in earlier.items() if task in later)


def _cards(frame: Frame) -> list[Data]:
    kinds = ("pending_cards", "running_cards", "finished_cards")
    return [card for role in frame["roles"] for kind in kinds for card in role[kind]]


def test_several_changes_at_once_are_one(driven: Driven) -> None:
    driven.run(2)
    for slots in (5, 6, 7):
        driven.do({"kind": "change", "knob": "slots", "value": slots}, ahead_s=0.3 + slots / 100)
    assert driven.run(2)["counts"] == whole(driven.scenario, driven.t_s)


def test_a_knob_that_is_turned_on_and_on_is_seen_to_act(driven: Driven) -> None:
    """The next turn comes while the model is still catching up with the one before."""
    driven.run(3)
    moving = driven.session._moving
    for slots in (5, 6, 7, 8):
        driven.do({"kind": "change", "knob": "slots", "value": slots})
        moving.bring(driven.t_s, -1.0)  # some of the way
        driven.t_s += STEP_S
    driven.settle()
    assert driven.frames[-1]["t"] == pytest.approx(driven.t_s, abs=0.001)
    assert driven.run(2)["counts"] == whole(driven.scenario, driven.t_s)
    assert driven.frames[-1]["workers"][0]["slots"] == 8


def test_a_change_that_is_told_late_is_told_all_the_same(driven: Driven) -> None:
    """Half a second after its moment: what has been shown meanwhile was not so, and is told again."""
    driven.run(3)
    driven.do({"kind": "kill_worker", "worker": 1}, entries=({"count": 60},), ahead_s=-0.5)
    soon = driven.run(0.2)
    assert soon["counts"]["arrived"] == whole(driven.scenario, driven.t_s)["arrived"]
    assert [strike["what"] for strike in soon["strikes"]] == ["kill_worker worker 1"]
    end = driven.run(15)
    told, true = end["counts"], whole(driven.scenario, driven.t_s)
    names = ("arrived", "submitted", "pending", "running", "completed", "dead", "lost", "doubled")
    assert {name: told[name] for name in names} == {name: true[name] for name in names}
    events = [event["text"] for frame in driven.frames for event in frame["events"]]
    assert sum("killed" in text for text in events) == 2  # the fault, and the process that is gone
    assert sum("w0.1 started" in text for text in events) == 1


def test_while_it_catches_up_it_shows_what_is_known_and_says_why(driven: Driven) -> None:
    """With no time to work in, the lanes stand still at the moment of the change, and go on once there is time."""
    driven.run(3)
    driven.do(entries=({"count": 50},))
    driven.t_s += 2
    driven.session._moving.bring(driven.t_s, -1.0)  # the deadline has passed
    frame = driven.session.frame()
    assert frame["note"] == "replaying the session with your change"
    assert frame["t"] <= 3.5
    assert driven.session.busy
    driven.settle()
    assert (driven.frames[-1]["t"], driven.frames[-1]["note"]) == (5.0, "")
    assert driven.frames[-1]["counts"] == whole(driven.scenario, 5.0)


def test_told_in_one_go_or_step_by_step_it_is_the_same_story(tmp_path: Path) -> None:
    """A replay tells seconds at a time. What a killed worker held, and what it had reported until then, is the same."""
    faults = [{"at_s": 4.5, "kind": "kill_worker", "worker": 0}]
    plan = Plan(Scenario.from_data(BASE | {"faults": faults}, base=tmp_path))
    watched = Watched(plan)
    watched.go_on(9.0, time.perf_counter() + 60)

    def told(step_s: float) -> Frame:
        telemetry = Telemetry("model", plan)
        tail = Tail(telemetry)
        for step in range(1, round(9.0 / step_s) + 1):
            tail.follow(watched, step * step_s, time.perf_counter() + 60)
        return telemetry.frame(9.0, "running", all_bins=True)

    whole, small = told(9.0), told(0.1)
    assert whole["strikes"] == small["strikes"] and whole["strikes"][0]["in_hand"] > 0
    assert whole["bins"] == small["bins"] and min(filter(None, whole["bins"]["rss"][2:9])) > 0
    assert whole["workers"] == small["workers"]


def test_what_the_model_has_not_reached_is_not_told(tmp_path: Path) -> None:
    """It has come to 4 s: of what happened until 9 s not all has been told then, and of that until 4 s all has."""
    plan = Plan(Scenario.from_data(BASE, base=tmp_path))
    watched, tail = Watched(plan), Tail(Telemetry("model", plan))
    watched.go_on(4.0, time.perf_counter() + 60)
    assert not tail.follow(watched, 9.0, time.perf_counter() + 60)
    assert tail.told_s == 4.0 and tail.follow(watched, 4.0, time.perf_counter() + 60)


def test_idle_it_does_next_to_nothing(driven: Driven) -> None:
    """Everything has ended at 10; what happens after that are reports, one a second."""
    driven.do(entries=({"rate_per_s": 0},))
    driven.run(10)
    clock = driven.session._moving._watched.model.clock
    before = next(clock._eid)
    driven.run(10)
    assert next(clock._eid) - before < 100
    assert not driven.session.busy


# ---- ahead of it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pace", "ahead_s"), [(1, 0), (4, 6), (16, 30), (None, SESSION_AHEAD_S_MAX)])
def test_curves_run_ahead_by_the_pace_and_lanes_do_not(driven: Driven, pace: int | None, ahead_s: float) -> None:
    """Of the 2 s since, the model has made 2 · pace."""
    driven.run(2)
    driven.say({"do": "pace", "speed": pace})
    frame = driven.run(2)
    assert frame["t"] == 4.0
    assert frame["counts"] == whole(driven.scenario, 4.0)
    last_bin = frame["bins"]["first"] + len(frame["bins"]["depth"]) - 1
    assert last_bin == pytest.approx((4 + ahead_s) / 0.5, abs=1)


def test_a_change_bends_the_curves_ahead_from_its_moment_on(driven: Driven) -> None:
    driven.run(2)
    driven.say({"do": "pace", "speed": None})
    flat = driven.run(1)
    driven.do(entries=({"count": 300},))
    bent = driven.run(0.1)
    assert bent["bins"]["first"] == 0  # the whole curve is told anew
    assert bent["bins"]["depth"][int(4 / 0.5)] > 200
    assert bent["counts"]["pending"] < 50  # it has not happened yet
    assert max(flat["bins"]["depth"]) < 50
    driven.say({"do": "pace", "speed": 1})
    back = driven.run(0.5)
    assert back["bins"]["first"] + len(back["bins"]["depth"]) - 1 == int(back["t"] / 0.5)


def test_it_never_runs_past_the_end_of_the_schedule(tmp_path: Path) -> None:
    short = copy.deepcopy(BASE["workload"])
    short["arrivals"]["until_s"] = 20
    driven = Driven(tmp_path, workload=short)
    driven.say({"do": "pace", "speed": None})
    bins = driven.run(1)["bins"]
    assert bins["first"] + len(bins["depth"]) - 1 <= 20 / 0.5


# ---- its end ---------------------------------------------------------------------------------------------------------


def test_a_stopped_session_drains_and_leaves_a_record_that_anybody_can_make(driven: Driven) -> None:
    driven.run(2)
    driven.do({"kind": "change", "knob": "failure_rate", "value": 0.3}, entries=({"count": 60},))
    driven.run(2)
    driven.do({"kind": "kill_worker", "worker": 0}, ahead_s=100)  # will never come
    frame = driven.stop()
    assert (frame["phase"], frame["note"]) == ("ended", "")
    record = Record.load(frame["record"])
    assert record.info["checks"]["ok"]
    assert not record.info["interrupted"]
    assert record.scenario.workload.arrivals.until_s == 4.0
    assert [fault.kind for fault in record.scenario.faults] == ["change"]
    assert simulate(record.scenario).info["digest"] == record.info["digest"]
    summary = record.info["summary"]["tasks"]
    told = {name: frame["counts"][name] for name in ("submitted", "completed", "dead", "attempts", "retries")}
    assert told == {name: summary[name] for name in told}
    assert summary["completed"] + summary["dead"] == summary["submitted"] > 60


def test_what_does_not_drain_in_time_is_interrupted(tmp_path: Path) -> None:
    slow = copy.deepcopy(BASE["workload"])
    slow["roles"] = {"A": {"service": {"dist": "constant", "mean_s": 60}}}
    driven = Driven(tmp_path, workload=slow)
    driven.run(2)
    frame = driven.stop()
    assert driven.t_s == pytest.approx(2 + SESSION_DRAIN_S_MAX, abs=0.3)
    record = Record.load(frame["record"])
    assert record.info["interrupted"]
    assert record.transitions["at_s"].max() < 12
    assert record.info["checks"]["ok"]


def test_a_session_that_is_stopped_before_anything_came_saves_nothing(tmp_path: Path) -> None:
    session = Session()
    session.hear({"do": "start", "scenario": BASE, "base": str(tmp_path), "runs": str(tmp_path)}, EPOCH_S)
    session.hear({"do": "stop"}, EPOCH_S)
    assert session.over
    assert session.frame()["note"] == "no task had come, so there is nothing to save"
    assert list(tmp_path.iterdir()) == []


# ---- what it refuses -------------------------------------------------------------------------------------------------

BURST: Data = {"name": "x", "workload": {**BASE["workload"], "arrivals": {"kind": "burst", "count": 1}}}


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ({"do": "fly"}, UsageError, "'fly' is no command"),
        ({"do": "pace", "speed": 3}, UsageError, "one of 1, 4, 16 and null"),
        ({"do": "start", "scenario": BASE, "base": ".", "runs": "."}, UsageError, "'start' is no command now"),
        ({"do": "grow", "scenario": BURST, "from_s": 1}, UsageError, "kind schedule"),
        ({"do": "grow", "scenario": {"name": "x"}, "from_s": 1}, ScenarioError, "'workload' is missing"),
        ({"do": "grow", "scenario": BASE | {"seed": -1}, "from_s": 1}, ScenarioError, "seed: must be greater"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    driven: Driven, command: Data, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        driven.say(command)


def test_the_first_command_is_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the first command must be start"):
        Session().hear({"do": "go", "epoch_s": 1}, 1)


# ---- the process -----------------------------------------------------------------------------------------------------


def started(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "simulation.session"]
    pipes: Data = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, **pipes)


def test_the_process_serves_a_session_and_leaves_a_record(root: Path, tmp_path: Path) -> None:
    with started(root) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def say(command: Data) -> None:
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()

        frames = (json.loads(line) for line in process.stdout)
        burst = copy.deepcopy(BASE)
        burst["workload"]["arrivals"]["entries"] = [{"at_s": 0, "count": 12}]
        say({"do": "start", "scenario": burst, "base": str(tmp_path), "runs": str(tmp_path)})
        next(frame for frame in frames if frame["phase"] == "ready")
        say({"do": "go", "epoch_s": time.time() - 30})  # what was to come since is there at once
        frame = next(frame for frame in frames if frame.get("counts", {}).get("completed") == 12)
        assert frame["phase"] == "running"
        say({"do": "stop"})
        *_, last = frames
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (last["phase"], last["counts"]["completed"]) == ("ended", 12)
    assert Record.load(last["record"]).info["checks"]["ok"]


def test_the_process_says_why_it_failed(root: Path) -> None:
    with started(root) as process:
        out, err = process.communicate("no JSON\n")
    last = json.loads(out.splitlines()[-1])
    assert (last["phase"], process.returncode, err) == ("failed", 1, "")
    assert "a command of the app is not one" in last["note"]


def test_the_process_ends_with_its_input_and_saves_nothing(root: Path, tmp_path: Path) -> None:
    start = {"do": "start", "scenario": BASE, "base": str(tmp_path), "runs": str(tmp_path)}
    with started(root) as process:
        _, err = process.communicate(json.dumps(start) + "\n" + json.dumps({"do": "go", "epoch_s": time.time()}) + "\n")
    assert (process.returncode, err, os.listdir(tmp_path)) == (0, "", [])
