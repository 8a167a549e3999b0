"""Real captures: Celery 5.7 on Redis with prefork workers, Procrastinate 3 on PostgreSQL. tests/data/observed/README.md
says how they were made.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab import fitting, fitting_handover, fitting_mesh, fitting_replay, observed
from lab.errors import UsageError
from lab.fitting_mesh import capacity
from lab.observed import Observed
from lab.scenario import Scenario
from simulation import simulate

DATA = Path(__file__).parents[1] / "data" / "observed"
ZONE_S = 5 * 3600.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """p-values are not asked here, and they are what takes the time."""
    monkeypatch.setattr(fitting, "BOOTSTRAPS", 1)


@pytest.fixture(scope="module")
def burst() -> Observed:
    return observed.read(DATA / "celery_burst.jsonl.gz")


@pytest.fixture(scope="module")
def lost_worker() -> Observed:
    return observed.read(DATA / "celery_lost_worker.jsonl.gz")


def _events(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _written(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(event) for event in events))
    return path


def test_service_times_are_what_the_workers_say(burst: Observed) -> None:
    """A success says its runtime; between started and succeeded the worker's main process adds less than 5 ms."""
    told = np.sort(
        [event["runtime"] for event in _events("celery_burst.jsonl.gz") if event["type"] == "task-succeeded"]
    )
    ended = burst.attempts[burst.attempts["outcome"] == "succeeded"]
    seen = np.sort((ended["finish_s"] - ended["start_s"]).to_numpy())
    assert len(seen) == len(told)
    assert np.abs(seen - told).max() < 0.005


def test_retries_keep_their_uuid_and_their_eta(burst: Observed) -> None:
    """charge retries after 1, 2, 4 s, mail after 0.5 s; the eta is written down before the failure is."""
    assert burst.backoffs["exact"].all()
    role = burst.backoffs["task"].map(burst.tasks["role"])
    for name, failure, ordered_s in (("charge", 1, 1.0), ("charge", 2, 2.0), ("mail", 1, 0.5)):
        mine = burst.backoffs[(role == f"shop_tasks_{name}") & (burst.backoffs["failure"] == failure)]
        assert mine["delay_s"].median() == pytest.approx(ordered_s, abs=0.02)
    words = fitting_mesh.retries(burst).words
    assert "Roles wait in their own ways after a first failure (shop_tasks_mail 0.49" in words
    assert "nobody was given up for their number" in words, (
        "reports fail for good at once: that bounds nobody's retries"
    )


def test_a_dump_with_tracebacks_says_the_same(burst: Observed) -> None:
    """The text holds the first seconds of the same capture; a traceback in it spans some twenty lines."""
    dumped = observed.read(DATA / "celery_burst.dump")
    assert not dumped.skipped
    assert (dumped.tasks["failures"] > 0).sum() > 3
    both = dumped.attempts.merge(dumped.tasks[["id"]], left_on="task", right_index=True)
    others = burst.attempts.merge(burst.tasks[["id"]], left_on="task", right_index=True)
    pairs = both[both["finish_s"].notna()].merge(others, on=["id", "attempt"], suffixes=("", "_json"))
    assert len(pairs) > 50
    assert (pairs["start_s"] - pairs["start_s_json"]).abs().max() < 2e-6
    assert pairs["outcome"].tolist() == pairs["outcome_json"].tolist()


def test_a_receiver_in_another_zone_is_set_right(lost_worker: Observed) -> None:
    """Worker two@b ran with TZ=America/New_York, and the receiver in UTC: it moved all its moments by five hours."""
    raw = [event for event in _events("celery_lost_worker.jsonl.gz") if event["hostname"] == "two@b"]
    assert all(event["local_received"] - event["timestamp"] > ZONE_S for event in raw)
    assert lost_worker.span_s < 60
    assert "moved by +5 h" in " ".join(lost_worker.notes)
    assert set(lost_worker.attempts["worker"]) == {"one@a", "two@b"}
    assert (lost_worker.wait_s() >= 0).all()


def test_a_killed_worker_frees_its_slots(lost_worker: Observed) -> None:
    """two@b was killed at 5.4 s and came back 10 s later; what it ran was never finished."""
    notes = " ".join(lost_worker.notes)
    assert "worker 'two@b' was last heard of at 5.4 s, a new one of its name came 10.0 s later" in notes
    assert "2 attempts ended with their worker" in notes
    lapsed = lost_worker.attempts[lost_worker.attempts["outcome"] == "lapsed"]
    assert lapsed["worker"].tolist() == ["two@b", "two@b"]
    assert lapsed["finish_s"].max() < 6
    assert (capacity(lost_worker).workers, capacity(lost_worker).slots) == (2, 2), "as they were started: -c 2 each"


def test_eta_expiry_and_revocation(lost_worker: Observed) -> None:
    """Tasks with a countdown of up to 3 s arrive when they are due; revoked ones are not in the trace."""
    notes = " ".join(lost_worker.notes)
    assert "17 tasks had an eta or a countdown" in notes
    assert "21 tasks were revoked, 8 of them as expired, 0 while they ran" in notes
    fitted = fitting.fit(lost_worker)
    assert len(fitted.trace()) == len(lost_worker.tasks) - 21
    assert any("21 tasks were revoked before they began" in note for note in fitted.notes)


def test_what_stood_twice_counts_once(burst: Observed, tmp_path: Path) -> None:
    """Two receivers wrote into one file, each with its own moment of reception, and lines out of order."""
    events = _events("celery_burst.jsonl.gz")
    again = [{**event, "local_received": event["local_received"] + 0.01} for event in events]
    seen = observed.read(_written(tmp_path / "twice.jsonl", [*reversed(again), *events]))
    assert seen.attempts.equals(burst.attempts)
    assert any(note == f"{len(events):,} events stood there twice and counted once" for note in seen.notes)


def test_events_that_never_came_are_said_or_made_up_for(burst: Observed, tmp_path: Path) -> None:
    """Without task-sent arrivals are receptions; without task-started a success has its runtime and a failure has
    nothing; of an end that is lost the slot is free again at last.
    """
    events = _events("celery_burst.jsonl.gz")
    unsent = [event for event in events if event["type"] != "task-sent"]
    seen = observed.read(_written(tmp_path / "unsent.jsonl", unsent))
    assert any("there is no task-sent" in note for note in seen.notes)
    unstarted = [event for event in events if event["type"] != "task-started"]
    with pytest.raises(UsageError, match="nobody saw this task start, and no runtime is given"):
        observed.read(_written(tmp_path / "unstarted.jsonl", unstarted))
    seen = observed.read(tmp_path / "unstarted.jsonl", skip_bad=True)
    failed = sum(event["type"] in ("task-failed", "task-retried") for event in events)
    assert len(seen.skipped) == failed
    assert any("left out, " in note and "task-retried: nobody saw" in note for note in seen.notes)
    lost = [event for number, event in enumerate(events) if event["type"] != "task-succeeded" or number % 20]
    assert capacity(observed.read(_written(tmp_path / "lost.jsonl", lost))).slots <= 6, "4, and a few that linger"


def test_what_a_queue_takes_between_tasks(burst: Observed) -> None:
    """Celery's prefork pool takes the next task after some 1.3 ms; the model then does, and waits as that queue did."""
    found = fitting_handover.fit(burst, 1, 4)
    assert 0.001 < float(np.median(fitting_handover.gaps_s(burst, 1, 4))) < 0.002
    assert found.profile("x") is not None


def test_gaps_by_hand() -> None:
    """One slot. a arrives at 0 and starts at 0.1: 0.1. b is ready at 1 but the slot is freed at 2; it starts at 2.3:
    0.3. c arrives at 9 and starts at 9.05: 0.05. a's retry was due at 4 and starts at 4.2: 0.2.
    """
    rows = observed.rows_of(
        {
            "id": ["a", "a", "b", "c"],
            "role": ["A"] * 4,
            "priority": [0] * 4,
            "enqueue_at": [0.0, 0.0, 1.0, 9.0],
            "start_at": [0.1, 4.2, 2.3, 9.05],
            "finish_at": [2.0, 4.5, 3.0, 9.5],
            "outcome": ["retried", "succeeded", "succeeded", "succeeded"],
            "attempt": [1, 2, 1, 1],
            "worker": ["w"] * 4,
            "delay_s": [2.0, np.nan, np.nan, np.nan],
        }
    )
    seen = observed.assembled(observed.Reading(rows, [], [], {}), "by hand", "table")
    assert sorted(fitting_handover.gaps_s(seen, 1, 1).tolist()) == pytest.approx([0.05, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", ["celery_burst.jsonl.gz", "procrastinate.csv"])
def test_the_model_waits_as_the_real_queue_did(name: str, tmp_path: Path) -> None:
    """With every task's own service time and failures: two real queues, nothing about waits was fitted."""
    fitted = fitting.fit(observed.read(DATA / name))
    scenario = Scenario.load(fitted.write(tmp_path))
    exact = fitting_replay.as_seen(fitted.seen, scenario)
    again = observed.read(simulate(exact).save(tmp_path / "run"))
    for share in (0.5, 0.95):
        seen_s = float(np.quantile(fitted.seen.wait_s(), share))
        assert float(np.quantile(again.wait_s(), share)) == pytest.approx(seen_s, rel=0.15, abs=0.01)
    assert again.tasks["failures"].sum() == pytest.approx(fitted.seen.tasks["failures"].sum(), abs=5)


def test_procrastinate_by_its_own_tables() -> None:
    seen = observed.read(DATA / "procrastinate.csv")
    assert capacity(seen).slots == 4, "as it was started"
    assert seen.tasks["state"].value_counts().to_dict() == {"completed": 433, "cancelled": 6, "failed": 4}
    backoffs = seen.backoffs.groupby("failure")["delay_s"].min()
    assert backoffs.to_dict() == pytest.approx({1: 2.0, 2: 4.0}, abs=0.02), "exponential_wait=2"
