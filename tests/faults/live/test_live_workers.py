"""Workers that die at the worst moments, whose clocks are wrong, who are deaf; and what must become of their tasks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lab.rules.tasks import Event, State
from live_backend import run_live
from tests.faults.live.striking import because, counts, kill_workers, noted, sound
from tests.live.helpers import eventually

pytestmark = pytest.mark.live


class Gate:
    """What the work of a run waits for (`agents.gated`): however slow the machine, nothing ends before it is opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> None:
        """Let all work end, also what begins later."""
        (self._folder / "open").touch()

    @property
    def began(self) -> int:
        """Attempts whose work has begun: their workers know that they have won them."""
        return len(list(self._folder.glob("began-*")))

    @property
    def passed(self) -> int:
        """Attempts whose work has ended."""
        return len(list(self._folder.glob("passed-*")))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The gate of the runs that this test starts."""
    monkeypatch.setenv("MESHLAB_TEST_GATE", str(tmp_path))
    return Gate(tmp_path)


def _gated(agent: str) -> dict[str, object]:
    return {"service": {"dist": "constant", "mean_s": 0.1}, "handler": {"python": f"tests.faults.live.agents:{agent}"}}


def test_f02_killed_between_taking_an_id_and_claiming_it(between, outside, build, start, gate) -> None:
    """Eight slots become free, as their verdicts are under way; their workers take ids for those free when they
    ask, cannot reach PostgreSQL to claim them, and are killed. The sweep finds those tasks on the lists of the dead,
    and no attempt of theirs is used up."""
    late = {"kind": "delay_completion", "at_s": 0.0, "for_s": 600.0, "delay_s": 0.05}
    run = start(build(workload__arrivals__count=40, workload__roles__A=_gated("gated"), faults=[late]))
    eventually(lambda: gate.began == 8 and not outside.taken())
    between.postgres.pause()
    gate.open()
    taken = eventually(outside.taken)
    assert kill_workers() == 2
    between.postgres.cut()  # the claims that waited in the proxy are gone with their connections
    between.postgres.heal()
    record = run.record()
    sound(record)
    requeued = noted(record, "requeued")["task"]
    assert len(requeued) >= taken > 0
    assert set(record.tasks.loc[requeued, "attempts"]) == {1}


def test_f03_killed_after_the_work_and_before_its_verdict(between, outside, build, start, gate) -> None:
    """The work of all eight is done, and PostgreSQL does not hear of it before their workers die: done twice, completed
    once."""
    run = start(build(workload__arrivals__count=8, workload__roles__A=_gated("gated")))
    eventually(lambda: gate.began == 8)
    between.postgres.pause()
    gate.open()
    eventually(lambda: gate.passed == 8)
    assert kill_workers() == 2
    between.postgres.cut()
    between.postgres.heal()
    record = run.record()
    sound(record)
    assert counts(record, "attempts", "reclaimed", "completed") == (16, 8, 8)


def test_f04_killed_after_its_verdict_and_before_redis_heard_of_it(between, outside, build, start, gate) -> None:
    """Eight first attempts have failed, and PostgreSQL knows; the schedule of retries, which is in Redis, does not, and
    the workers are dead. The sweep finds the retries, and no attempt is made twice."""
    role = _gated("gated_and_failing_first")
    run = start(build(workload__arrivals__count=24, workload__roles__A=role, rules__retry__base_s=0.5))
    eventually(lambda: gate.began == 8)
    between.redis.pause()
    gate.open()
    eventually(lambda: outside.moved_to(State.RETRY_WAIT) == 8)
    assert kill_workers() == 2
    between.redis.cut()
    between.redis.heal()
    record = run.record()
    sound(record)
    assert set(record.tasks["attempts"]) == {2}
    assert counts(record, "reclaimed") == (0,)


def test_f08_work_that_burns_the_processor_keeps_its_lease(servers, build) -> None:
    """2 s at full load under a lease of 1.2 s: heartbeats come from beside the work."""
    record = run_live(
        build(
            mesh={"workers": 2, "slots": 1},
            workload__arrivals__count=2,
            workload__roles__A={"service": {"dist": "constant", "mean_s": 2.0}, "cpu_share": 1.0},
            rules__lease__length_s=1.2,
        )
    )
    sound(record)
    assert counts(record, "attempts", "reclaimed") == (2, 0)


IMPATIENT = """\
import lab.limits
lab.limits.REDIS_ANSWER_S_MAX = lab.limits.STATEMENT_S_MAX = lab.limits.CONNECT_S_MAX = 1.0
"""


@pytest.mark.parametrize("server", ["redis", "postgres"])
def test_f09_connections_that_died_without_a_word(
    between, build, start, started_with, monkeypatch, server: str
) -> None:
    """Half-open: nobody closes them and nothing ever comes. Whoever waits on one must give it up and connect anew. The
    bounds that say when are 20 times as long outside of this test."""
    started_with(IMPATIENT)
    for bound in ("broker.REDIS_ANSWER_S_MAX", "database.STATEMENT_S_MAX", "database.CONNECT_S_MAX"):
        monkeypatch.setattr(f"live_backend.{bound}", 1.0)
    run = start(build(workload__arrivals={"kind": "constant", "rate_per_s": 30, "duration_s": 4}))
    eventually(lambda: run.done >= 20)
    getattr(between, server).forget()
    sound(run.record(40.0))


def test_f10_f11_the_whole_fleet_dies_at_once_and_its_successors_are_others(servers, build, start) -> None:
    run = start(
        build(workload__arrivals__count=120, workload__roles__A__service__mean_s=0.2, mesh={"workers": 3, "slots": 4})
    )
    for done in (12, 60):
        eventually(lambda done=done: run.done >= done)
        assert kill_workers() == 3
    record = run.record()
    sound(record)
    assert counts(record, "reclaimed") > (0,)
    claimed_by = set(because(record, Event.CLAIMED)["worker"])
    assert claimed_by == {f"w{place}.{life}" for place in range(3) for life in (1, 2, 3)}
    started = noted(record, "worker_started")["worker"].tolist()
    assert len(started) == len(set(started)) == 9


def test_f13_what_is_no_task_is_dropped_and_harms_nobody(servers, outside, build, start) -> None:
    """Words, a number that no task has, one that no column holds, at both ends of every queue: the workers live."""
    run = start(build(workload__arrivals__count=120, workload__roles__A__priority={5: 1, 2: 1, 1: 1}))
    eventually(lambda: outside.states()[State.COMPLETED] >= 8)
    outside.litter("no number", "", "-1", str(10**9), str(10**30), b"\x80")
    record = run.record()
    sound(record)
    assert noted(record, "worker_left")["detail"].tolist() == ["exit 0", "exit 0"]


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_f17_a_herd_comes_back_at_once_unless_there_is_jitter(servers, build, jitter: float) -> None:
    """24 tasks fail in the same moment and wait 0.2 · 2 = 0.4 s: all as long, or each up to half as long again."""
    record = run_live(
        build(
            workload__arrivals__count=24,
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.05}, "fail_first": 1},
            mesh={"workers": 2, "slots": 12},
            rules__retry={"base_s": 0.2, "jitter": jitter},
        )
    )
    sound(record)
    failed, due = because(record, Event.FAILED), because(record, Event.DUE).set_index("task")["at_s"]
    waited_s = due[failed["task"]].to_numpy() - failed["at_s"].to_numpy()
    assert (waited_s >= failed["delay_s"].to_numpy() - 2e-6).all()
    assert failed["delay_s"].between(0.4, 0.4 * (1 + jitter)).all()
    assert failed["delay_s"].nunique() == (24 if jitter else 1)


SKEWED = """\
# The clock of each process is wrong by another of these.
import os, time
true = time.time
for place, (off_s, rate) in enumerate({skews!r}):
    try:
        os.close(os.open(os.path.join({folder!r}, f"clock-{{place}}"), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        continue
    since = true()
    time.time = lambda: true() + off_s + (true() - since) * rate
    time.time_ns = lambda: int(time.time() * 1e9)
    break
"""


def test_f33_clocks_of_workers_are_minutes_off_and_drift(servers, build, tmp_path: Path, started_with) -> None:
    """One two minutes ahead, one two minutes behind, one that runs three times as fast, one that steps back. Nothing is
    taken back or retried early, since only the store's clock is asked: nothing is reclaimed at all."""
    skews = [(120.0, 0.0), (-120.0, 0.0), (0.0, 2.0), (-30.0, -0.5)]
    started_with(SKEWED.format(skews=skews, folder=str(tmp_path)))
    scenario = build(
        mesh__workers=4,
        workload__arrivals__count=120,
        workload__roles__A={"service": {"dist": "constant", "mean_s": 0.2}, "fail_first": 1},
        rules__retry__base_s=0.3,
    )
    record = run_live(scenario)
    sound(record)
    assert sorted(path.name for path in tmp_path.glob("clock-*")) == [f"clock-{place}" for place in range(4)]
    assert counts(record, "attempts", "reclaimed", "stale_writes") == (240, 0, 0)


@pytest.mark.parametrize("off_s", [-120.0, 120.0])
def test_f33_the_reapers_clock_is_two_minutes_off(servers, build, monkeypatch, off_s: float) -> None:
    """Behind, it sees no retry that is due, and the sweep finds them in the store. Ahead, it sees them at once, and the
    store refuses until they are."""
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + off_s)
    record = run_live(
        build(
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.05}, "fail_first": 1},
            rules__retry__base_s=0.3,
        )
    )
    sound(record)
    assert counts(record, "attempts", "retries", "reclaimed") == (120, 60, 0)


def test_f40_a_worker_that_reports_no_more_counts_as_closed(servers, build) -> None:
    """One of two is frozen for longer than three reports of 0.1 s: half of the fleet, and admission closes until it
    wakes up."""
    record = run_live(
        build(
            workload__arrivals={"kind": "constant", "rate_per_s": 30, "duration_s": 3},
            faults=[{"kind": "pause_worker", "at_s": 0.8, "worker": 0, "for_s": 1.5}],
        )
    )
    sound(record)
    gates = record.events[record.events["kind"].isin(["admission_closed", "admission_opened"])]
    assert gates["kind"].tolist()[:2] == ["admission_closed", "admission_opened"]
    closed_s, opened_s = gates["t_s"].tolist()[:2]
    assert closed_s >= 0.8 + 0.2  # the last report came up to 0.1 s before the freeze
    assert opened_s >= 0.8 + 1.5


def test_f43_a_backoff_longer_than_the_lease_holds_no_lease(servers, build) -> None:
    """Leases of 0.5 s, a backoff of 2 s: nothing to reclaim meanwhile, two claims each."""
    record = run_live(
        build(
            workload__arrivals__count=10,
            workload__roles__A={"service": {"dist": "constant", "mean_s": 0.05}, "fail_first": 1},
            rules__retry__base_s=1.0,
            rules__lease={"length_s": 0.5, "sweep_s": 0.1},
        )
    )
    sound(record)
    assert counts(record, "attempts", "reclaimed") == (20, 0)
    assert len(because(record, Event.CLAIMED)) == 20
