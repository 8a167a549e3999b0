"""What goes wrong with the work, the messages and the links of workers: poison, outages, slow workers, repeated and
late messages, partitions. After each the checks judge the whole history."""

from __future__ import annotations

import pytest

from lab.errors import UsageError
from lab.rules.tasks import Event, State
from lab.scenario import Scenario
from live_backend import run_live, striker
from live_backend.cuts import Cuts

live = pytest.mark.live


def _all_completed(record) -> None:
    assert record.info["checks"]["ok"], record.info["checks"]
    assert (record.tasks["state"] == State.COMPLETED).all(), record.tasks["state"].value_counts()


def _noted(record, kind: str):
    return record.events[record.events["kind"] == kind]


@live
def test_f12_a_poison_task_kills_three_workers_and_ends_among_the_dead_letters(servers, build) -> None:
    record = run_live(
        build(
            mesh={"workers": 2, "slots": 1},
            workload__arrivals__count=30,
            rules__retry={"base_s": 0.02, "max_retries": 2},
            rules__lease={"length_s": 0.5, "sweep_s": 0.1},
            faults=[{"kind": "poison_task", "task": 5, "after_s": 0.02}],
        )
    )
    assert record.info["checks"]["ok"], record.info["checks"]
    assert record.tasks.loc[5, ["state", "attempts"]].tolist() == [State.PERMANENT_FAILURE, 3]
    others = record.tasks.drop(index=5)
    assert (others["state"] == State.COMPLETED).all()
    assert (others["attempts"] == 1).all()
    assert (record.events["detail"] == "killed by SIGKILL").sum() == 3


@live
def test_a_role_that_is_out_fails_what_starts_meanwhile_and_nothing_else(servers, build) -> None:
    service = {"service": {"dist": "constant", "mean_s": 0.05}}
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 60, "duration_s": 2.4},
            workload__roles={"A": service, "B": service},
            faults=[{"kind": "role_outage", "role": "A", "at_s": 0.8, "for_s": 0.8}],
        )
    )
    _all_completed(record)
    moves = record.transitions.sort_values("task", kind="stable", ignore_index=True)
    moves["then"] = moves.groupby("task")["reason"].shift(-1).astype(str)
    moves["role"] = record.tasks["role"].astype(str).to_numpy()[moves["task"]]
    claims = moves[moves["reason"] == Event.CLAIMED]
    assert set(claims.loc[claims["role"] == "B", "then"]) == {"succeeded"}
    # Work starts a moment after its claim, so claims within 0.1 s of the window's ends are not judged.
    mine = claims[claims["role"] == "A"]
    assert set(mine.loc[mine["at_s"].between(0.8, 1.5), "then"]) == {"failed"}
    assert set(mine.loc[~mine["at_s"].between(0.7, 1.6), "then"]) == {"succeeded"}


@live
def test_f38_a_slow_worker_slows_only_what_it_does_itself(servers, build) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 30, "duration_s": 1.5},
            faults=[{"kind": "slow_worker", "worker": 0, "at_s": 0, "for_s": 60, "factor": 6}],
        )
    )
    _all_completed(record)
    worked_s = record.tasks["done_s"] - record.tasks["first_claim_s"]
    slow = record.tasks["worker"] == "w0.1"
    assert worked_s[slow].min() >= 0.3  # 0.05 · 6
    assert worked_s[~slow].median() < worked_s[slow].min()


@live
def test_f34_f35_what_is_said_twice_changes_nothing(servers, build) -> None:
    record = run_live(
        build(
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.1}, "fail_first": 1},
            faults=[
                {"kind": "duplicate_submission", "at_s": 0.3, "tasks": 20},
                {"kind": "duplicate_completion", "at_s": 0.0, "for_s": 60.0},
            ],
        )
    )
    _all_completed(record)
    counts = record.info["summary"]["tasks"]
    assert (counts["submitted"], counts["attempts"], counts["retries"]) == (60, 120, 60)
    assert _noted(record, "duplicate_submission")["task"].tolist() == list(range(40, 60))
    assert len(_noted(record, "duplicate_completion")) == 120
    assert counts["stale_writes"] == 0


@live
@pytest.mark.parametrize(("delay_s", "in_time"), [(0.3, True), (2.5, False)])
def test_a_verdict_that_comes_after_its_lease_is_refused(servers, build, delay_s: float, in_time: bool) -> None:
    """Nobody renews the lease of 1 s while a verdict is under way, so one of 2.5 s finds its task in other hands."""
    record = run_live(
        build(
            workload__roles__A__service__mean_s=0.3,
            workload__arrivals__count=100,  # four seconds of work: the run outlasts the verdicts
            faults=[{"kind": "delay_completion", "at_s": 0.0, "for_s": 0.55, "delay_s": delay_s}],
        )
    )
    _all_completed(record)
    counts = record.info["summary"]["tasks"]
    assert (counts["reclaimed"] == 0) == in_time
    assert counts["stale_writes"] == counts["reclaimed"]
    if in_time:  # the slots were free meanwhile: more tasks are under way or running than there are slots
        changes = record.transitions["to"].eq("RUNNING").astype(int) - record.transitions["from"].eq("RUNNING")
        assert changes.cumsum().max() > 8


@live
@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_f37_a_worker_that_is_cut_off_claims_nothing_and_comes_back(servers, build, server: str) -> None:
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 40, "duration_s": 4},
            faults=[{"kind": "cut_worker", "worker": 0, "server": server, "at_s": 1.0, "for_s": 2.0}],
        )
    )
    _all_completed(record)
    claims = record.transitions[record.transitions["reason"] == Event.CLAIMED]
    cut_off = claims["at_s"].between(1.1, 3.0)  # what was on its way when the cut came may still arrive
    assert set(claims.loc[cut_off, "worker"]) == {"w1.1"}
    assert "w0.1" in set(claims.loc[claims["at_s"] > 3.0, "worker"])
    assert set(_noted(record, "fault")["detail"]) == {f"cut_worker worker 0 server {server}"}


@live
@pytest.mark.parametrize(("keeps", "forgets"), [("nothing", True), ("all", False), ("all_but_last_second", True)])
def test_f18_redis_comes_back_with_what_it_keeps(own_servers, build, keeps: str, forgets: bool) -> None:
    """More tasks come than are served, so there is a queue to lose, and the last second of it as well."""
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 120, "duration_s": 1.5},
            workload__roles__A__service__mean_s=0.1,
            faults=[{"kind": "redis_restart", "at_s": 1.6, "down_s": 0.3, "keeps": keeps}],
        )
    )
    _all_completed(record)
    assert (len(_noted(record, "requeued")) > 0) == forgets


# ---- without servers -------------------------------------------------------------------------------------------------

TEXT = """\
workload:
  arrivals: {kind: burst, count: 5}
  roles: {A: {service: {dist: constant, mean_s: 1}}}
faults:
  - {kind: cut_worker, worker: 1, server: redis, at_s: 10, for_s: 5}
  - {kind: cut_worker, worker: 1, server: postgres, at_s: 12, for_s: 5}
"""


@pytest.mark.parametrize(
    ("place", "came_s", "now_s", "redis", "postgres"),
    [
        (1, 0.0, 9.9, True, True),
        (1, 0.0, 10.0, False, True),
        (1, 0.0, 12.0, False, False),
        (1, 0.0, 15.0, True, False),
        (1, 0.0, 17.0, True, True),
        (0, 0.0, 12.0, True, True),  # another worker
        (1, 11.0, 12.0, True, False),  # a process that came when Redis was out of reach already: it reaches it
    ],
)
def test_who_is_cut_off_from_what(place: int, came_s: float, now_s: float, redis: bool, postgres: bool) -> None:
    clock = [came_s]
    cuts = Cuts(Scenario.parse(TEXT).faults, place, lambda: clock[0])
    assert cuts.reachable("redis")  # before it knows of the run
    cuts.start()
    clock[0] = now_s
    assert (cuts.reachable("redis"), cuts.reachable("postgres")) == (redis, postgres)


def test_a_fault_that_cannot_be_struck_is_refused_and_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(striker, "STRUCK_BY_WORKERS", ())
    with pytest.raises(UsageError, match=r"faults\[0\].*cut_worker.*--engine sim"):
        run_live(Scenario.parse(TEXT))


def test_every_kind_is_struck_by_somebody() -> None:
    from lab.faults import Fault

    kinds = Fault.__origin__.__args__  # type: ignore[attr-defined]
    assert set(kinds) == {*striker.STRUCK_HERE, *striker.STRUCK_BY_WORKERS}
