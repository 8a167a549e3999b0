"""Where no law fits: what is thought away, what the nearest approximation then says, and what it is called."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from lab import demand, laws
from lab.feedback import Attempts
from lab.impatience import fixed_patience
from lab.laws import Law, fit
from lab.queueing import MMc, MMcK, allen_cunneen_s
from lab.scenario import Scenario

SHIPPED = Path(__file__).parents[2] / "scenarios"
BASE = {
    "name": "nearest",
    "workload": {
        "arrivals": {"kind": "poisson", "rate_per_s": 6.4, "count": 1_000_000},
        "roles": {"A": {"service": {"dist": "exponential", "mean_s": 1.0}}},
    },
    "mesh": {"workers": 2, "slots": 4},
    "profile": "ideal",
}
SERVICE, ARRIVALS, FAILURES = "workload.roles.A.service", "workload.arrivals", "workload.roles.A.failure_rate"
CONSTANT = {"dist": "constant", "mean_s": 1.0}
KILL = {"at_s": 1.0, "kind": "kill_worker", "worker": 0}
ERLANG_C = "M/M/8 (Erlang C)"


def changed(changes: dict[str, Any]) -> Law:
    """The law of an M/M/8 at ρ .8, changed here and there."""
    return fit(Scenario.from_data(BASE).override(changes))


def steps(*steps: tuple[float, float], spacing: str = "even") -> dict[str, Any]:
    """Steps of (duration_s, rate_per_s)."""
    each = [{"duration_s": duration_s, "rate_per_s": rate} for duration_s, rate in steps]
    return {"kind": "steps", "spacing": spacing, "steps": each}


# ---- obstacle by obstacle --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"faults": [KILL]}, f"{ERLANG_C}, faults left out", "faults strike"),
        ({"workload.roles.A.memory_mib": 200}, f"{ERLANG_C}, memory gates left out", "memory can close the gates"),
        ({"rules.deadline": {"wait_s": 1.0, "late": "fail"}}, f"{ERLANG_C}, deadlines left out", "counts as failed"),
        (
            {"rules.retry.timeout_s": 3.0},
            "M/G/8 (Allen-Cunneen), timeouts taken as short work that fails",
            "cut at retry.timeout_s",
        ),
        (
            {FAILURES: 0.1, "rules.retry": {"wait": "in_slot", "base_s": 0.1}},
            "M/G/8 (Allen-Cunneen), backoff taken as work",
            "slots sleep",
        ),
        (
            {FAILURES: 0.1, "rules.retry.budget": {}},
            "M/M/8 with retries (product form), the retry budget spent evenly",
            "budget",
        ),
        (
            {FAILURES: 0.1, "rules.deadline": {"wait_s": 1.0}},
            "M/M/8+D, retries taken as arrivals",
            "clients leave and failures are retried",
        ),
        (
            {FAILURES: 0.1, "rules.admission": {"max_pending": 8, "on_closed": "reject"}},
            "M/M/8/16, retries taken as arrivals",
            "admission is bounded and failures are retried",
        ),
        (
            {"rules.admission": {"max_pending": 8, "on_closed": "reject"}, "rules.deadline": {"wait_s": 1.0}},
            "M/M/8+D, the bound of the queue left out",
            "admission is bounded and clients leave",
        ),
        (
            {
                ARRIVALS: {"kind": "constant", "rate_per_s": 6.4, "count": 100_000},
                "rules.deadline": {"wait_s": 1.0},
            },
            "M/M/8+D, arrivals taken as Poisson",
            "the arrivals are not Poisson",
        ),
        (
            {
                ARRIVALS: {"kind": "burst", "count": 50},
                "rules.admission": {"max_pending": 5, "on_closed": "reject"},
            },
            "burst of 5, exponential service, for those tasks that are not refused",
            "tasks of a burst are refused",
        ),
        (
            {ARRIVALS: {"kind": "burst", "count": 50}, "rules.deadline": {"wait_s": 1.0}},
            "burst of 50, exponential service, deadlines left out",
            "clients leave and the arrivals are not Poisson",
        ),
        (
            {ARRIVALS: steps((100.0, 9.0)), "rules.admission": {"max_pending": 5, "on_closed": "reject"}},
            "fluid of 8 slots, the bound of the queue left out",
            "tasks are refused and the arrivals are not Poisson",
        ),
        (
            {ARRIVALS: {"kind": "burst", "count": 50}, FAILURES: 0.1},
            "burst of 50 with retries",
            "a burst whose failures are retried",
        ),
        (
            {ARRIVALS: {"kind": "ramp", "from_per_s": 1, "to_per_s": 5, "duration_s": 100}},
            "pointwise stationary G/G/8",
            "the arrival rate changes; at its height the work needs 62% of the slots",
        ),
        ({ARRIVALS: steps((100.0, 9.0))}, "fluid of 8 slots", "needs 112% of the slots"),
        (
            {"faults": [KILL], FAILURES: 0.1, "rules.retry.budget": {}},
            "M/M/8 with retries (product form), faults left out, the retry budget spent evenly",
            "faults strike; a budget refuses some of the retries",
        ),
    ],
)
def test_what_is_thought_away_is_named(changes: dict[str, Any], name: str, why: str) -> None:
    law = changed(changes)
    assert (law.kind, law.name) == ("approximation", name)
    assert law.reason.startswith("no closed form: ")
    assert why in law.reason
    assert law.reason.count("no closed form") == 1
    assert law.figures


def test_what_is_thought_away_leaves_the_figures_of_the_law() -> None:
    for changes in ({"faults": [KILL]}, {"workload.roles.A.memory_mib": 200}):
        assert changed(changes).figures == changed({}).figures


def test_an_approximation_tells_what_else_it_leaves_out() -> None:
    law = changed({"faults": [KILL], "profile": "default", "workload.arrivals.count": 20_000, SERVICE: CONSTANT})
    assert law.kind == "approximation"
    assert "it leaves out what the machinery costs (profile default" in law.reason
    assert "the run starts empty and lasts 279 relaxation times" in law.reason


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_a_timeout_shortens_work_and_fails_it() -> None:
    """Exponential work of 1 s cut at 2 s: 1 − e^−2 = .864665 s; E[min²] = 2·(1 − 3·e^−2) = 1.187988, cv² .588962. A
    share of e^−2 = .135335 is late, so six attempts make (1 − .135335^6) / .864665 = 1.156511.
    """
    law = changed({"rules.retry.timeout_s": 2.0, "workload.arrivals.rate_per_s": 5.0})
    gaps = 1.0
    expected_s = allen_cunneen_s(5.0 * 1.156511, 0.864665, 8, 0.588962, gaps)
    assert law.figures["attempts_mean"] == pytest.approx(1.156511, rel=1e-3)
    assert law.figures["queue_wait_s.mean"] == pytest.approx(expected_s, rel=5e-3)


def test_a_timeout_below_constant_work_fails_all_of_it() -> None:
    law = changed({"rules.retry": {"timeout_s": 0.5, "max_retries": 1}, SERVICE: CONSTANT})
    assert (law.figures["attempts_mean"], law.figures["dead_share"]) == (2.0, 1.0)


def test_being_late_can_be_mended_and_failing_for_good_cannot() -> None:
    """A fifth late, a tenth of the rest fails, half of these for good: .2 + .08 fail, of which .04 / .28 for good."""
    late = Attempts((0.1, 0.1), permanent_share=0.5).or_late(0.2)
    assert late.fails == pytest.approx((0.28, 0.28))
    assert late.permanent_share == pytest.approx(0.04 / 0.28)


def test_a_slot_that_sleeps_works_longer() -> None:
    """One retry, half of the attempts fail, 1 s of work and 2 s of backoff: tasks make 1.5 attempts, of which a third
    is held for 3 s (a first that fails), two thirds for 1 s: 5/3 s, E[H²] = (9 + 2) / 3, cv² 11/3 · 9/25 − 1 = .32.
    Completed are half after 1 s of work and a quarter after 1 + 2 + 1 s: (½·(w + 1) + ¼·(2w + 4)) / ¾ = (4/3)·w + 2.
    """
    retry = {"wait": "in_slot", "base_s": 1.0, "factor": 2.0, "max_retries": 1}
    law = changed({"rules.retry": retry, FAILURES: 0.5, SERVICE: CONSTANT, "workload.arrivals.rate_per_s": 2.0})
    wait_s = allen_cunneen_s(3.0, 5 / 3, 8, 0.32)
    assert law.figures["queue_wait_s.mean"] == pytest.approx(wait_s)
    assert law.figures["latency_s.mean"] == pytest.approx(4 / 3 * wait_s + 2)


def test_a_budget_is_spent_evenly() -> None:
    """A tenth of a retry for each success, a fifth of the attempts fail: retries .1·.8·(1 + r), r = .08 / .92."""
    law = changed({FAILURES: 0.2, "rules.retry": {"budget": {"ratio": 0.1}, "max_retries": 100}})
    assert law.figures["attempts_mean"] == pytest.approx(1 + 0.08 / 0.92)
    assert law.figures["dead_share"] == pytest.approx(1 - 0.8 / 0.92)


def test_a_budget_that_is_never_spent_changes_nothing() -> None:
    rare = {FAILURES: 0.01}
    assert changed({**rare, "rules.retry.budget": {}}).figures == changed(rare).figures


def test_retries_taken_as_arrivals() -> None:
    """Two attempts, a quarter fails: 1.25 · 6.4 = 8 attempts a second. Who leaves does so at the first try, or having
    stayed and failed at the second: l + ¼·(1 − l)·l.
    """
    retried = {FAILURES: 0.25, "rules.retry.max_retries": 1}
    left = fixed_patience(8.0, 1.0, 8, 1.0)
    leaving = changed({**retried, "rules.deadline": {"wait_s": 1.0}}).figures
    tries = left.left_share * (1.0 + 0.25 * (1.0 - left.left_share))
    assert leaving["left_share"] == pytest.approx(tries)
    assert leaving["queue_wait_s.mean"] == pytest.approx(left.served_wait_s)
    bounded = changed({**retried, "rules.admission": {"max_pending": 8, "on_closed": "reject"}}).figures
    assert bounded["rejected_share"] == pytest.approx(MMcK(8.0, 1.0, 8, 16).refused_share)


def test_a_burst_with_retries_ends_with_its_work_or_its_backoffs() -> None:
    """16 tasks on 8 slots of 1 s, each failing once: the first attempts wait 0 and 1 s. All the work takes 32 / 8 = 4
    s; a task that fails takes 1 + 2·base + 1 s, which is 4 at base 1 and 22 at base 10.
    """
    for base_s, makespan_s in ((0.1, 4.0), (1.0, 4.0), (10.0, 22.0)):
        law = changed(
            {
                ARRIVALS: {"kind": "burst", "count": 16},
                SERVICE: CONSTANT,
                "workload.roles.A.fail_first": 1,
                "rules.retry.base_s": base_s,
            }
        )
        assert law.figures["queue_wait_s.mean"] == 0.5
        assert law.figures["makespan_s"] == pytest.approx(makespan_s)


def test_the_longest_chain_of_retries() -> None:
    """One task of 1 s that fails with chance ½, one retry after 2 s: 1 + ½·(2 + 1) s."""
    law = changed({ARRIVALS: {"kind": "burst", "count": 1}, FAILURES: 0.5, "rules.retry.max_retries": 1})
    assert law.figures["makespan_s"] == pytest.approx(2.5)


def test_the_published_overload_as_a_fluid() -> None:
    """20/s for 60 s on 10 slots of 1 s, then 5/s for 150 s: the wait rises to 60 s and falls to 0 in 120 s, so
    (20·60·30 + 5·120·30) / 1,950 on average, and the last task is done a second after the end.
    """
    figures = fit(Scenario.load(SHIPPED / "faults" / "f41_overload.yaml")).figures
    assert figures["queue_wait_s.mean"] == pytest.approx(54_000 / 1_950, rel=1e-4)
    assert figures["makespan_s"] == pytest.approx(211.0)


def test_a_slow_change_is_a_row_of_steady_states() -> None:
    """100 s at 4/s and 100 s at 6/s: two fifths of the tasks meet the one, three fifths the other."""
    law = changed({ARRIVALS: steps((100.0, 4.0), (100.0, 6.0), spacing="poisson")})
    expected_s = 0.4 * MMc(4.0, 1.0, 8).mean_wait_s + 0.6 * MMc(6.0, 1.0, 8).mean_wait_s
    assert law.figures["queue_wait_s.mean"] == pytest.approx(expected_s, rel=0.02)  # 64 tasks stand for all


# ---- files -----------------------------------------------------------------------------------------------------------


def traced(folder: Path, arrivals_s: list[float], changes: dict[str, Any]) -> Law:
    (folder / "trace.csv").write_text("arrival_s\n" + "".join(f"{at_s}\n" for at_s in arrivals_s))
    return fit(
        Scenario.from_data(BASE, base=folder).override({**changes, ARRIVALS: {"kind": "trace", "path": "trace.csv"}})
    )


def test_a_calm_trace_is_judged_by_two_moments(tmp_path: Path) -> None:
    """Gaps of .1 and .2 s in turn, 500 of each: λ 1000/150, ca² = .05² / .15² = 1/9. Service is drawn from the plan."""
    arrivals_s = [0.15 * gap + (0.05 if gap % 2 else 0.0) for gap in range(1001)]
    law = traced(tmp_path, arrivals_s, {SERVICE: CONSTANT})
    gaps_cv2 = 1 / 9
    assert law.name == "G/G/8 (Allen-Cunneen)"
    assert "whose gaps have a cv² of 0.111" in law.reason
    assert law.figures["queue_wait_s.mean"] == pytest.approx(allen_cunneen_s(1000 / 150, 1.0, 8, 0.0, gaps_cv2))


def test_a_bursty_trace_is_followed_task_by_task(tmp_path: Path) -> None:
    """40 tasks at 0 and one at 1,000 s: gaps of 0 but for one, cv² 39. On one server of 8 times the speed the k-th of
    the 40 waits k/8 s: (0 + … + 39) / 8 / 41.
    """
    law = traced(tmp_path, [0.0] * 40 + [1000.0], {SERVICE: CONSTANT})
    assert law.name == "the trace on one server as fast as 8"
    assert "bursts decide" in law.reason
    assert law.figures["queue_wait_s.mean"] == pytest.approx(39 * 40 / 2 / 8 / 41)
    assert law.figures["makespan_s"] == pytest.approx(1001.0)


def test_a_trace_of_one_moment_is_a_burst(tmp_path: Path) -> None:
    law = traced(tmp_path, [3.0] * 16, {SERVICE: CONSTANT})
    assert (law.kind, law.name) == ("exact", "burst of 16, constant service")
    assert law.figures["queue_wait_s.mean"] == 0.5


def test_service_times_from_a_file_have_its_moments(tmp_path: Path) -> None:
    """Half 0.5 s, half 1.5 s: mean 1, cv² .25."""
    (tmp_path / "work.csv").write_text("service_s\n0.5\n1.5\n")
    service = {"dist": "empirical", "path": "work.csv"}
    law = fit(Scenario.from_data(BASE, base=tmp_path).override({SERVICE: service}))
    assert law.name == "M/G/8 (Allen-Cunneen)"
    assert law.figures["queue_wait_s.mean"] == pytest.approx(allen_cunneen_s(6.4, 1.0, 8, 0.25))


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "FILE_BYTES_MAX", 19)
    law = traced(tmp_path, [1.0, 2.0, 3.0], {})
    assert law.kind == "none"
    assert law.reason == "no closed form: trace.csv has more than 19 bytes, too many to be read for a law"


def test_a_file_that_has_gone_is_no_reason_to_lose_a_run(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("arrival_s\n1\n2\n")
    scenario = Scenario.from_data(BASE, base=tmp_path).override({ARRIVALS: {"kind": "trace", "path": "trace.csv"}})
    (tmp_path / "trace.csv").unlink()
    assert fit(scenario).reason.endswith("trace.csv is gone")


# ---- all that is shipped ---------------------------------------------------------------------------------------------

REASON_ALONE = {"command_center": "bursts on top of a rate, as somebody at the controls would have them"}
"""Shipped scenarios of which theory says nothing but why, and why that is well."""


def shipped() -> list[Path]:
    return sorted(path for path in SHIPPED.rglob("*.yaml") if "data" not in path.parts)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_scenario_has_a_law_or_an_approximation(path: Path) -> None:
    law = fit(Scenario.load(path))
    assert law.reason
    if path.stem in REASON_ALONE:
        assert law.kind == "none", f"{path.stem} has a law now: take it off the list"
        return
    assert law.kind in ("exact", "nearly", "approximation"), law.reason
    assert law.name
    assert laws.WAIT in law.figures or laws.MAKESPAN in law.figures
    assert all(math.isfinite(value) and value >= 0.0 for value in law.figures.values())
