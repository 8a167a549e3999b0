"""Knobs that are turned while a run goes on: workers, slots, failure rate, backoff, memory limit."""

from __future__ import annotations

import asyncio

import pytest

from lab.errors import LabError
from lab.rules.tasks import Event, State
from lab.workload import Plan
from live_backend import run_live
from live_backend.knobs import Knobs, Turns
from live_backend.producer import Producer

LAG_S = 0.6
"""How much later than its claim an attempt may start on a busy machine."""


def _turn(knob: str, *turns: tuple[float, float]) -> list[dict[str, object]]:
    return [{"kind": "change", "at_s": at_s, "knob": knob, "value": value} for at_s, value in turns]


def _most_at_once(record, first_s: float, last_s: float) -> int:
    """The most tasks that one worker ran at the same time, of those claimed between two moments."""
    moves = record.transitions
    claims = moves[(moves["reason"] == Event.CLAIMED) & moves["at_s"].between(first_s, last_s)]
    ends = moves[moves["from"] == State.RUNNING].set_index(["task", "attempt"])["at_s"]
    most = 0
    for _, mine in claims.groupby("worker", observed=True):
        done_s = ends[list(zip(mine["task"], mine["attempt"], strict=True))].to_numpy()
        most = max([most, *(int(((mine["at_s"] <= at_s) & (done_s > at_s)).sum()) for at_s in mine["at_s"])])
    return most


@pytest.mark.live
def test_all_five_knobs_are_turned_in_one_run_and_each_does_what_it_says(servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 60, "duration_s": 4.5},
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.06}},
            mesh={"workers": 2, "slots": 1},
            rules__retry__base_s=0.02,
            faults=[
                *_turn("slots", (0.8, 6)),
                *_turn("retry_base_s", (0.8, 0.1)),
                *_turn("failure_rate", (1.5, 1.0), (2.7, 0.0)),
                *_turn("workers", (1.0, 4), (3.0, 1)),
                *_turn("rss_limit_mib", (3.2, 1), (4.2, 4096)),
            ],
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()
    moves, events = record.transitions, record.events

    assert _most_at_once(record, 0.0, 0.8) == 1
    assert 1 < _most_at_once(record, 0.8, 5.0) <= 6

    failed = moves[moves["reason"] == Event.FAILED]
    assert {round(delay_s / 0.1) for delay_s in failed["delay_s"]} <= {2, 4, 8, 16, 32}
    started = moves[moves["reason"] == Event.CLAIMED].set_index(["task", "attempt"])["at_s"]
    begun_s = started[list(zip(failed["task"], failed["attempt"], strict=True))]
    assert begun_s.between(1.5 - LAG_S, 2.7).all()
    in_the_midst = set(started[started.between(1.5, 2.7 - LAG_S)].index)
    assert in_the_midst
    assert in_the_midst <= set(zip(failed["task"], failed["attempt"], strict=True))

    left = events[(events["kind"] == "worker_left") & events["worker"].isin(["w1.1", "w2.1", "w3.1"])]
    assert len(left) == 3
    assert set(left["detail"]) <= {"exit 0", "killed by SIGTERM"}  # the latter, if it was still loading its code
    assert (left["t_s"] >= 3.0).all()
    begun = set(events.loc[events["kind"] == "worker_started", "worker"])
    assert {"w0.1", "w1.1"} <= begun <= {"w0.1", "w1.1", "w2.1", "w3.1"}  # a busy machine: they leave unbegun

    gates = events[(events["worker"] == "w0.1") & events["kind"].isin(["gate_closed", "gate_opened"])]
    assert gates["kind"].tolist() == ["gate_closed", "gate_opened"]
    assert gates["t_s"].tolist()[0] >= 3.2
    assert gates["t_s"].tolist()[1] >= 4.2


def test_knobs_are_bound_at_their_moments_and_anew_when_the_scenario_has_grown(build) -> None:
    async def bound() -> list[int]:
        found: list[int] = []
        loop = asyncio.get_running_loop()
        begun, done = loop.time(), asyncio.Event()

        def bind(knobs: Knobs) -> None:
            found.append(knobs.slots)
            if knobs.slots == 9:
                done.set()

        turns = Turns(lambda: loop.time() - begun + 1.0, bind)
        turns.follow(build(faults=_turn("slots", (0.5, 7), (1.02, 8))))
        turns.follow(build(faults=_turn("slots", (0.5, 7), (1.04, 9))))  # the turn to 8 has been taken back
        await asyncio.wait_for(done.wait(), 10)
        return found

    assert asyncio.run(bound()) == [7, 7, 9]


def test_a_run_whose_knobs_nobody_turns_binds_nothing(build) -> None:
    async def bound() -> list[Knobs]:
        found: list[Knobs] = []
        Turns(lambda: 5.0, found.append).follow(build())
        return found

    assert asyncio.run(bound()) == []


def test_growth_that_would_move_what_has_come_is_refused(build) -> None:
    def plan(*entries: dict[str, float]) -> Plan:
        return Plan(build(workload__arrivals={"kind": "schedule", "until_s": 60.0, "entries": list(entries)}))

    now_s = 1.0
    producer = Producer(plan({"at_s": 0.0, "rate_per_s": 10.0}), None, None, None, lambda: now_s)  # type: ignore[arg-type]
    producer.may_grow = True
    producer.expect_growth(0.55)
    assert len(producer._admitted(now_s)) == 6  # 0.0 to 0.5: what comes later waits for the new plan
    producer.follow(plan({"at_s": 0.0, "rate_per_s": 10.0}, {"at_s": 0.55, "count": 3}))
    assert len(producer._admitted(now_s)) == 3 + 5
    with pytest.raises(LabError, match="too late"):
        producer.follow(plan({"at_s": 0.0, "rate_per_s": 10.0}, {"at_s": 0.3, "rate_per_s": 0.0}))
