"""What strikes the work itself (F15 to F17, F43): failures that a retry mends, that none can mend, that come all at
once; and waits that are longer than a lease. The k-th retry comes 2^k s after the failure, five of them at most.
"""

from __future__ import annotations

import numpy as np
import pytest

from lab.rules.tasks import Event, State
from tests.faults.scenes import because, counts, load, moves, run

TASKS = 1000
"""In the herd."""


def test_f15_transient_errors_cost_exactly_their_backoffs() -> None:
    """a attempts of 0.1 s and the backoffs between them: done at 0.1 a + 2 + 4 + … + 2^(a − 1) = 0.1 a + 2^a − 2."""
    tasks = run("f15_transient_errors").tasks
    attempts = tasks["attempts"].to_numpy()
    assert tasks["done_s"].to_numpy() == pytest.approx(0.1 * attempts + 2.0**attempts - 2, abs=1e-5)
    assert set(tasks.loc[tasks["state"] == State.PERMANENT_FAILURE, "attempts"]) <= {6}


def test_f15_transient_errors_kill_as_few_tasks_as_they_should() -> None:
    """Of 2,000 tasks 0.3^6 = 0.000729 die, 1.5 of them, and a Poisson of that mean passes 8 in 4 of 100,000 cases. Mean
    attempts (1 − 0.3^6) / 0.7 = 1.4275, with a standard error of √0.612 / √2000 = 0.0175; four of them."""
    record = run("f15_transient_errors")
    dead, attempts = counts(record, "dead", "attempts")
    assert dead <= 8, f"seed {record.scenario.seed}"
    assert attempts / 2000 == pytest.approx((1 - 0.3**6) / 0.7, abs=4 * 0.0175), f"seed {record.scenario.seed}"


def test_f16_a_permanent_error_is_a_dead_letter_at_once() -> None:
    """All start at 0 and end at 1 s. The broken half is dead then, after one attempt and without a backoff."""
    record = run("f16_permanent_errors")
    for role, state in {"BROKEN": State.PERMANENT_FAILURE, "GOOD": State.COMPLETED}.items():
        mine = record.tasks[record.tasks["role"] == role]
        assert [set(mine[column]) for column in ("state", "attempts", "done_s")] == [{state}, {1}, {1.0}]
    assert counts(record, "retries", "dead") == (0, 10)


def test_f16_without_the_rule_the_same_errors_are_tried_six_times() -> None:
    """6 · 1 s + 62 s of backoff: dead at 68 s, and 50 retries for nothing."""
    record = run("f16_permanent_errors", workload__roles__BROKEN__permanent_share=0)
    dead = record.tasks[record.tasks["state"] == State.PERMANENT_FAILURE]
    assert (set(dead["attempts"]), set(dead["done_s"])) == ({6}, {68.0})
    assert counts(record, "retries", "dead") == (50, 10)


def test_f17_a_herd_without_jitter_comes_back_in_single_instants() -> None:
    """All 1,000 fail at 0.1 s. The k-th wave is due at 0.1 k + 2 + 4 + … + 2^k = 0.1 k + 2^(k + 1) − 2 s."""
    at_s, waves = np.unique(because(run("f17_herd"), Event.DUE)["at_s"], return_counts=True)
    assert at_s == pytest.approx([2.1, 6.2, 14.3, 30.4, 62.5], abs=1e-5)
    assert waves.tolist() == [TASKS] * 5


@pytest.mark.parametrize(
    ("jitter", "bin_s", "first", "second"),
    [
        # Wave 1 is spread evenly over 2 j seconds: in each bin of b seconds are N b / (2 j) retries.
        # Wave 2 is the sum of two even spreads, 2 j and 4 j: its plateau has N b / (4 j) in a bin.
        (0.1, 0.02, 100, 50),
        (0.5, 0.05, 50, 25),
        (1.0, 0.1, 50, 25),
    ],
)
def test_f17_jitter_lowers_the_peak_as_predicted(jitter: float, bin_s: float, first: float, second: float) -> None:
    """Peaks within 4.5 standard deviations of a Poisson count (of some 60 bins one passes that once in 5,000 runs)."""
    record = run("f17_herd", rules__retry__jitter=jitter)
    due_at_s = because(record, Event.DUE)["at_s"].to_numpy()
    starts_s = {2.1: (2 * jitter, first), 6.2: (6 * jitter, second)}
    for start_s, (width_s, predicted) in starts_s.items():
        assert predicted == pytest.approx(TASKS * bin_s / {2.1: 2 * jitter, 6.2: 4 * jitter}[start_s])
        bins = start_s + bin_s * np.arange(round(width_s / bin_s) + 1)
        peak = np.histogram(due_at_s, bins)[0].max()
        assert abs(peak - predicted) <= 4.5 * predicted**0.5, f"seed {record.scenario.seed}: wave of {start_s} s"
        assert peak < TASKS / 5


@pytest.mark.parametrize("wait", ["scheduled", "in_slot"])
def test_f43_a_backoff_of_six_leases_is_waited_for_and_delivered_once(wait: str) -> None:
    """Failed at 2 s, due 60 s later. In the schedule it holds no lease; in a slot its lease is renewed. Either way
    nobody takes it back, and there are two claims."""
    record = run("f43_long_backoff", rules__retry__wait=wait)
    assert moves(record, 0) == [
        ("PENDING", 0), ("RUNNING", 0), ("RETRY_WAIT", 2), ("PENDING", 62), ("RUNNING", 62), ("COMPLETED", 64),
    ]  # fmt: skip
    assert counts(record, "attempts", "reclaimed", "retries") == (2, 0, 1)


@pytest.mark.parametrize(("at_s", "worker"), [(30, 0), (30, 1), (61.9, 0)])
def test_f43_a_scheduled_backoff_does_not_care_which_worker_dies(at_s: float, worker: int) -> None:
    faults = [{"kind": "kill_worker", "at_s": at_s, "worker": worker}]
    assert moves(run("f43_long_backoff", faults=faults), 0)[-1] == ("COMPLETED", 64)


def test_f43_a_backoff_that_was_slept_through_in_a_killed_slot_ends_by_its_schedule() -> None:
    """Killed at 30 s, asleep until 62 s: the sweep at 62 s finds that nobody will put it back, and does."""
    assert load("f43_long_backoff").rules.lease.length_s < 32
    faults = [{"kind": "kill_worker", "at_s": 30, "worker": 0}]
    record = run("f43_long_backoff", rules__retry__wait="in_slot", faults=faults)
    assert moves(record, 0)[2:] == [("RETRY_WAIT", 2), ("PENDING", 62), ("RUNNING", 62), ("COMPLETED", 64)]
