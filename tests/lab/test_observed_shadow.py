"""A shadow without a mesh: windows cut out of runs of the model, whole and broken, predicted and judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.observed_shadow import Paired, expected_fleet, predict
from lab.observed_watch import Look, Shadow, causes, figures
from lab.observed_window import LogRow, TaskFacts, Unmoved, Window, WorkerFacts
from lab.record import Record
from lab.rules.priority import QUEUES
from lab.scenario import Scenario
from simulation import simulate

MESH = """
name: standing
seed: 3
workload:
  arrivals: {kind: poisson, rate_per_s: 12, duration_s: 90}
  roles:
    A: {priority: {5: 1, 1: 1}, service: {dist: exponential, mean_s: 0.3}, failure_rate: 0.1}
    B: {priority: 2, service: {dist: gamma, mean_s: 0.3, cv: 0.5}}
mesh: {workers: 2, slots: 3}
rules: {retry: {base_s: 0.2}, lease: {length_s: 90}}
profile: ideal
"""
SPAN_S, EVERY_S = 30.0, 5.0
EPOCH_S = 1_000_000.0


def _run(**values: Any) -> Record:
    return simulate(Scenario.parse(MESH).override({path.replace("__", "."): value for path, value in values.items()}))


def _window(record: Record, end_s: float, span_s: float = SPAN_S, silent: dict[str, float] | None = None) -> Window:
    """What the audit log of a mesh that did what this record says would show at `end_s`."""
    start_s = end_s - span_s
    log, tasks = record.transitions, record.tasks
    log = log[log["at_s"] <= end_s]
    inside = log[log["at_s"] >= start_s]
    rows = [
        LogRow(int(task), str(start), str(end), EPOCH_S + at_s, str(worker), int(attempt), str(reason), delay_s)
        for task, start, end, at_s, worker, attempt, _, reason, delay_s in inside.itertuples(index=False)
    ]
    last = log[log["at_s"] < start_s].groupby("task").tail(1)
    still = last[~last["task"].isin(inside["task"]) & ~last["to"].isin(["COMPLETED", "PERMANENT_FAILURE"])]
    unmoved = [
        Unmoved(int(row.task), str(row.to), EPOCH_S + row.at_s, EPOCH_S + row.at_s + row.delay_s, str(row.worker))
        for row in still.itertuples()
    ]
    facts = {
        int(row.id): TaskFacts(str(row.role), int(row.priority), QUEUES.index(str(row.queue)))
        for row in tasks.itertuples()
    }
    quiet_s = [(silent or {}).get(f"w{place}.1", 0.1) for place in range(record.scenario.mesh.workers)]
    workers = [WorkerFacts(f"w{n}.1", "here", n, 3, EPOCH_S, silent_s, False) for n, silent_s in enumerate(quiet_s)]
    scenario = Scenario.parse(MESH)
    return Window(EPOCH_S + start_s, EPOCH_S + end_s, scenario, rows, facts, unmoved, workers)


def _watched(record: Record, ends_s: list[float], **silent: float) -> list[Look]:
    shadow = Shadow(simulate, EVERY_S)
    return [shadow.look(_window(record, end_s, silent=silent)) for end_s in ends_s]


ENDS_S = [30.0, 35.0, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0, 70.0]


def test_what_the_model_did_it_predicts_again() -> None:
    """A window from the first moment on: the same tasks, the same work, so the same waits; retries are where they were
    seen. Only their second attempts take the mean of all attempts' times.
    """
    paired = predict(_window(_run(), 30.0), simulate)
    assert paired is not None
    once = paired.seen_retries == 0
    apart = (paired.predicted_end_s - paired.seen_end_s)[once & (paired.seen_end_s < 30.0)]
    assert abs(apart.mean()) < 0.02
    assert paired.seen_retries.sum() == paired.predicted_retries[paired.predicted_end_s < 60].sum() > 0
    seen, predicted = figures(paired)
    for name in ("throughput_per_s", "latency_s.p50", "latency_s.p95", "queue_wait_s.p95"):
        assert predicted[name] == pytest.approx(seen[name], rel=0.1, abs=0.05), name


def test_a_window_in_the_middle_takes_over_what_was_open() -> None:
    record = _run(workload__arrivals__rate_per_s=24)
    paired = predict(_window(record, 60.0), simulate)
    assert paired is not None
    assert paired.is_backlog.sum() > 10, "an overloaded mesh has a backlog"
    assert (paired.predicted_claim_s[paired.is_backlog] <= 1e-9 + paired.seen_claim_s[paired.is_backlog] + 1.5).all()
    seen, predicted = figures(paired)
    assert predicted["depth"] == pytest.approx(seen["depth"], rel=0.15, abs=5)
    assert predicted["throughput_per_s"] == pytest.approx(seen["throughput_per_s"], rel=0.05)


@pytest.mark.parametrize("rate_per_s", [4, 12, 24])
def test_a_healthy_mesh_raises_no_alarm(rate_per_s: float) -> None:
    """Idle, busy and overloaded; service and failures are those of the scenario."""
    looks = _watched(_run(workload__arrivals__rate_per_s=rate_per_s), ENDS_S)
    assert [one.state for one in looks] == ["agree"] * len(looks), [one.words for one in looks]


def test_lost_capacity_is_the_meshs_fault() -> None:
    """One of two workers stands still from 40 s on: its tasks are stuck, the others wait."""
    pause = [{"kind": "pause_worker", "at_s": 40.0, "for_s": 100.0, "worker": 0}]
    looks = _watched(_run(faults=pause), ENDS_S[:-2], **{"w0.1": 8.0})
    states = [one.state for one in looks]
    assert states[:3] == ["agree"] * 3, "nothing has happened yet"
    assert states[-1] == "apart"
    assert {alarm.kind for alarm in looks[-1].alarms} == {"mesh"}
    assert "the mesh behaves otherwise than its rules" in looks[-1].words
    assert looks[-1].causes[0].startswith("worker w0.1 has been silent for 8.00 s and holds ")
    assert looks[-1].causes[1] == "1 of 2 workers are heard of: 3 slots are missing"


def test_slower_work_is_the_works_fault() -> None:
    """From 40 s on the provider takes twice as long. Tasks wait longer, as the model with the seen work says too."""
    slow = [{"kind": "slow_service", "at_s": 40.0, "for_s": 100.0, "factor": 2.5}]
    looks = _watched(_run(faults=slow, workload__arrivals__rate_per_s=7), [*ENDS_S, 75.0, 80.0, 85.0])
    assert looks[1].state == "agree"
    assert looks[-1].state == "apart"
    assert {alarm.kind for alarm in looks[-1].alarms} == {"work"}
    assert {"A slower", "B slower"} & {alarm.name for alarm in looks[-1].alarms}
    assert looks[-1].words.startswith("the work itself has changed: ")
    json.dumps(looks[-1].as_json(), allow_nan=False)


def test_more_failures_are_the_works_fault() -> None:
    outage = [{"kind": "role_outage", "at_s": 40.0, "for_s": 100.0, "role": "A", "share": 0.7}]
    looks = _watched(_run(faults=outage), ENDS_S)
    assert looks[1].state == "agree"
    assert "A failures" in [alarm.name for alarm in looks[-1].alarms]


def test_without_tasks_there_is_nothing_to_say() -> None:
    window = _window(_run(), 30.0)._replace(rows=[], unmoved=[])
    look = Shadow(simulate, EVERY_S).look(window)
    assert (look.state, look.words) == ("quiet", "too little traffic to tell")
    json.dumps(look.as_json(), allow_nan=False)


def test_the_fleet_is_what_was_published_or_more() -> None:
    window = _window(_run(), 30.0)
    fewer = window._replace(workers=window.workers[:1])
    more = window._replace(workers=[*window.workers, WorkerFacts("h-2.1", "there", 7, 9, EPOCH_S, 0.1, False)])
    left = window._replace(workers=[one._replace(left=True) for one in window.workers])
    assert expected_fleet(window, None, None) == (2, 3)
    assert expected_fleet(fewer, None, None) == (2, 3), "one that is missing is missed"
    assert expected_fleet(more, None, None) == (3, 5), "three workers of 3, 3 and 9 slots"
    assert expected_fleet(left, None, None) == (2, 3)
    assert expected_fleet(more, 4, 1) == (4, 1)


def test_a_replaced_process_is_not_silent() -> None:
    old = WorkerFacts("h-0.1", "here", 0, 3, EPOCH_S, 500.0, False)
    new = WorkerFacts("h-0.2", "here", 0, 3, EPOCH_S + 9, 0.2, False)
    window = _window(_run(), 30.0)._replace(workers=[old, new])
    assert window.manned() == [new]
    assert window.silent() == []


def test_idle_slots_beside_waiting_tasks_are_told() -> None:
    record = _run(workload__arrivals__rate_per_s=24)
    paired = predict(_window(record, 60.0), simulate)
    assert isinstance(paired, Paired)
    nobody = Paired(**{**paired.__dict__, "attempts": ()})
    assert any("6 of 6 slots are free" in cause for cause in causes(nobody, (), None, None))
