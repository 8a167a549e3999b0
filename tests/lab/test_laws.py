"""Which law fits which scenario, and how a run is put beside its law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lab import laws, theory
from lab.laws import Law, fit
from lab.queueing import MMc, pollaczek_khinchine_s
from lab.record import EventRow
from lab.scenario import Scenario

EXPONENTIAL = {"dist": "exponential", "mean_s": 1.0}
CONSTANT = {"dist": "constant", "mean_s": 1.0}
THREE_CLASSES = {3: 0.2, 2: 0.3, 1: 0.5}
BASE = {
    "name": "law",
    "workload": {
        "arrivals": {"kind": "poisson", "rate_per_s": 6.4, "count": 1_000_000},
        "roles": {"A": {"service": EXPONENTIAL}},
    },
    "mesh": {"workers": 2, "slots": 4},
    "profile": "ideal",
}
SERVICE, PRIORITY, ARRIVALS = "workload.roles.A.service", "workload.roles.A.priority", "workload.arrivals"
FAILURES, COUNT, SLOTS = "workload.roles.A.failure_rate", "workload.arrivals.count", "mesh.slots"


def scenario(**changes: Any) -> Scenario:
    """An M/M/8 at ρ .8 for a million tasks, changed here and there."""
    return Scenario.from_data(BASE).override({path.replace("__", "."): value for path, value in changes.items()})


def changed(changes: dict[str, Any]) -> Law:
    return fit(Scenario.from_data(BASE).override(changes))


def burst(count: int) -> dict[str, Any]:
    return {"kind": "burst", "count": count}


def constant_arrivals(rate_per_s: float) -> dict[str, Any]:
    return {"kind": "constant", "rate_per_s": rate_per_s, "count": 1_000}


# ---- which law -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "M/M/8 (Erlang C)"),
        ({SERVICE: {"dist": "gamma", "mean_s": 1.0, "cv": 1.0}}, "M/M/8 (Erlang C)"),  # gamma of cv 1 is exponential
        ({FAILURES: 0.2, "rules.retry.max_retries": 0}, "M/M/8 (Erlang C)"),  # nothing is tried again
        ({PRIORITY: THREE_CLASSES}, "M/M/8 with priorities (Cobham)"),
        ({PRIORITY: {5: 1, 4: 1, 3: 1}}, "M/M/8 (Erlang C)"),  # three priorities, one class
        ({PRIORITY: THREE_CLASSES, "rules.priority.order": "aging"}, "M/M/8 (Erlang C)"),
        ({PRIORITY: THREE_CLASSES, "rules.priority.order": "weighted"}, "M/M/8 (Erlang C)"),
        ({COUNT: 2_000}, "M/M/8, started empty"),
        ({COUNT: 2_000, "workload.arrivals.rate_per_s": 12.0}, "M/M/8, started empty"),  # overloaded, still exact
        ({FAILURES: 0.1}, "M/M/8 with retries (product form)"),
        ({"rules.admission": {"max_pending": 8, "on_closed": "reject"}}, "M/M/8/16"),
        ({"rules.admission": {"max_pending": 8, "hold_max": 4}}, "M/M/8/20"),
        ({"rules.admission": {"max_pending": 8, "hold_max": 9_999_999}}, "M/M/8 (Erlang C)"),  # nobody is ever refused
        ({"rules.deadline": {"wait_s": 2.0, "spread": "exponential"}}, "M/M/8+M (Erlang-A)"),
        ({"rules.deadline": {"wait_s": 2.0}}, "M/M/8+D"),
        ({SERVICE: CONSTANT}, "M/D/8 (Crommelin)"),
        ({SERVICE: CONSTANT, "rules.retry.timeout_s": 1.0}, "M/D/8 (Crommelin)"),  # the timeout never strikes
        ({SERVICE: {"dist": "gamma", "mean_s": 0.2, "cv": 0.5}, "mesh.workers": 1, SLOTS: 1}, None),  # ρ 1.28
        (
            {SERVICE: {"dist": "gamma", "mean_s": 0.1, "cv": 0.5}, "mesh.workers": 1, SLOTS: 1},
            "M/G/1 (Pollaczek-Khinchine)",
        ),
        ({SERVICE: {"dist": "constant", "mean_s": 0.1}, "mesh.workers": 1, SLOTS: 1}, "M/D/1 (Pollaczek-Khinchine)"),
        (
            {SERVICE: {"dist": "constant", "mean_s": 0.1}, "mesh.workers": 1, SLOTS: 1, PRIORITY: THREE_CLASSES},
            "M/D/1 with priorities (Cobham)",
        ),
        ({ARRIVALS: burst(500), SERVICE: CONSTANT}, "burst of 500, constant service"),
        ({ARRIVALS: burst(500)}, "burst of 500, exponential service"),
        ({ARRIVALS: constant_arrivals(6.0), SERVICE: CONSTANT}, "D/D/8"),
    ],
)
def test_a_law_that_is_exact(changes: dict[str, Any], name: str | None) -> None:
    law = changed(changes)
    assert (law.exact, law.name) == ((True, name) if name else (False, "fluid of 1 slots")), law.reason


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({SERVICE: {"dist": "lognormal", "mean_s": 1.0, "cv": 1.0}}, "M/G/8 (Allen-Cunneen)", "neither exponential"),
        ({SERVICE: CONSTANT, FAILURES: 0.1}, "M/G/8 (Allen-Cunneen)", "failures are retried"),
        ({ARRIVALS: constant_arrivals(6.0)}, "D/G/8 (Allen-Cunneen)", "evenly spaced arrivals"),
        ({ARRIVALS: constant_arrivals(9.0)}, "fluid of 8 slots", "112% of the slots"),
        ({"workload.arrivals.rate_per_s": 9.0}, "fluid of 8 slots", "no steady state"),
        ({FAILURES: 0.1, PRIORITY: THREE_CLASSES}, "M/M/8 with retries (product form)", "classes have priorities"),
        ({FAILURES: 0.1, "rules.retry.position": "front"}, "M/M/8 with retries (product form)", "jump the queue"),
        ({SERVICE: CONSTANT, "rules.deadline": {"wait_s": 1.0}}, "M/M/8+D", "not exponential"),
        ({PRIORITY: THREE_CLASSES, "rules.deadline": {"wait_s": 1.0}}, "M/M/8+D", "classes have priorities"),
        ({SERVICE: CONSTANT, "rules.admission": {"max_pending": 8, "on_closed": "reject"}}, "M/M/8/16", "bounded"),
        ({ARRIVALS: burst(50), SERVICE: {"dist": "gamma", "mean_s": 1.0, "cv": 2.0}}, None, "a burst whose service"),
    ],
)
def test_no_closed_form_but_an_approximation(changes: dict[str, Any], name: str | None, why: str) -> None:
    law = changed(changes)
    assert law.kind == "approximation"
    assert law.name == (name or "burst of 50, exponential service")
    assert why in law.reason
    assert law.figures


ROLE_B = {"A": {"service": EXPONENTIAL}, "B": {"service": {"dist": "exponential", "mean_s": 0.2}}}


def test_roles_whose_work_differs_are_no_mmc() -> None:
    law = fit(scenario(workload__roles=ROLE_B))
    assert (law.kind, law.name) == ("approximation", "M/G/8 (Allen-Cunneen)")
    assert "the roles' service times differ" in law.reason


def test_nothing_to_be_said_of_waits() -> None:
    law = changed({SERVICE: {"dist": "constant", "mean_s": 0.0}})
    assert (law.kind, law.name, law.reason) == ("none", "", "no closed form: the work takes no time")
    assert not law.figures


def test_memory_that_cannot_fill_a_process_does_not_matter() -> None:
    """Four slots of 100 MiB under a limit of 512; and without backpressure any memory."""
    assert fit(scenario(workload__roles__A__memory_mib=100)).exact
    assert fit(scenario(workload__roles__A__memory_mib=200, rules__health__backpressure=False)).exact


# ---- nearly ----------------------------------------------------------------------------------------------------------


def test_the_machinery_makes_a_law_hold_nearly_and_says_what_it_costs() -> None:
    law = fit(scenario(profile="default"))
    assert (law.kind, law.name) == ("nearly", "M/M/8 (Erlang C)")
    assert "profile default" in law.reason
    assert "ms a task" in law.reason
    assert laws.WAITING not in law.figures, "with machinery every task waits a little"


def test_a_short_run_is_told_so() -> None:
    """M/D/8 has no law of the start here: 2,000 tasks are 28 relaxation times (λτ = ρ/(1 − √ρ)² = 71.8)."""
    law = fit(scenario(workload__roles__A__service=CONSTANT, workload__arrivals__count=2_000))
    assert law.kind == "nearly"
    assert "lasts 27.9 relaxation times" in law.reason


def test_a_start_that_cannot_be_followed_falls_back_on_the_steady_state() -> None:
    """ρ .99: λτ = .99/(1 − √.99)² = 39,402 tasks, so 3,000 are too many for the chain and too few for the closed form,
    which would say that they wait less than nothing.
    """
    law = fit(scenario(workload__arrivals__rate_per_s=7.92, workload__arrivals__count=3_000))
    assert (law.kind, law.name) == ("nearly", "M/M/8 (Erlang C)")
    assert "lasts 0.0761 relaxation times" in law.reason


def test_a_start_of_uncertain_length_holds_nearly() -> None:
    arrivals = {"kind": "poisson", "rate_per_s": 6.4, "duration_s": 300.0}
    law = fit(scenario(workload__arrivals=arrivals))
    assert (law.kind, law.name) == ("nearly", "M/M/8, started empty")
    assert "about 1,920" in law.reason


# ---- what it predicts ------------------------------------------------------------------------------------------------


def test_the_figures_of_erlang_c() -> None:
    """Reference 5.1: M/M/8 at ρ .8."""
    figures = fit(scenario()).figures
    assert figures["queue_wait_s.mean"] == pytest.approx(0.286028, abs=5e-7)
    assert figures["waiting_share"] == pytest.approx(0.457645, abs=5e-7)
    assert figures["queue_wait_s.p95"] == pytest.approx(1.3838, abs=5e-5)
    assert figures["queue_wait_s.p99"] == pytest.approx(2.3897, abs=5e-5)
    assert figures["latency_s.mean"] == pytest.approx(1.286028, abs=5e-7)


def test_the_figures_of_cobham() -> None:
    """Reference 5.4, row 1, with the p99 of the first class."""
    figures = fit(scenario(workload__roles__A__priority=THREE_CLASSES)).figures
    waits = [figures[f"by_queue.{queue}.queue_wait_s.mean"] for queue in ("agent_high", "agent_medium", "agent_low")]
    assert waits == pytest.approx([0.068102, 0.113503, 0.476713], abs=5e-7)
    assert figures["by_queue.agent_high.queue_wait_s.p99"] == pytest.approx(0.5690, abs=5e-5)
    assert figures["queue_wait_s.mean"] == pytest.approx(0.286028, abs=5e-7)


def test_classes_follow_the_routing() -> None:
    """By role, an ARCHITECT is of the high class and a QA_ENGINEER of the low one, whatever their priority."""
    roles = {name: {"service": EXPONENTIAL, "priority": 3} for name in ("ARCHITECT", "QA_ENGINEER")}
    by_role = fit(scenario(workload__roles=roles, rules__priority__route_by="role"))
    assert "by_queue.agent_low.queue_wait_s.mean" in by_role.figures
    assert fit(scenario(workload__roles=roles)).name == "M/M/8 (Erlang C)"


def test_retries_load_the_mesh_and_wait_their_backoff() -> None:
    """p .3, five attempts: 1.4251 attempts and .00243 dead (reference 5.5). λ = .8·8/1.4251 makes ρ .8, so each attempt
    waits .286028 s. Backoff .1·2^k·(1 + ½·½): .25, .5, 1, 2 s. Of the completed (1 − .3^5 = .99757):
    Σ .7·.3^(k−1)·(k·1.286028 + b_1 + … + b_(k−1)).
    """
    law = changed(
        {
            "workload.arrivals.rate_per_s": 6.4 / 1.4251,
            FAILURES: 0.3,
            "rules.retry": {"max_retries": 4, "base_s": 0.1, "jitter": 0.5},
        }
    )
    waited_s = (0.0, 0.25, 0.75, 1.75, 3.75)
    shares = [0.7 * 0.3 ** (k - 1) for k in range(1, 6)]
    latency_s = sum(s * (k * 1.2860281 + w) for k, (s, w) in enumerate(zip(shares, waited_s, strict=True), start=1))
    assert law.exact
    assert law.figures["attempts_mean"] == pytest.approx(1.4251)
    assert law.figures["dead_share"] == pytest.approx(0.00243)
    assert law.figures["queue_wait_s.mean"] == pytest.approx(0.286028, abs=5e-7)
    assert law.figures["latency_s.mean"] == pytest.approx(latency_s / 0.99757, rel=1e-6)


def test_attempts_are_known_even_where_waits_are_not() -> None:
    """The published queue: 25 % failures, four attempts, retries to the front: 1.328125 attempts, one in 256 dead."""
    law = changed({FAILURES: 0.25, "rules.retry.max_retries": 3, ARRIVALS: burst(500)})
    assert law.kind == "approximation"
    figures = {path: law.figures[path] for path in (laws.ATTEMPTS, laws.DEAD)}
    assert figures == pytest.approx({"attempts_mean": 1.328125, "dead_share": 1 / 256})


def test_first_failures_for_certain() -> None:
    """fail_first 1 of three attempts: then 1 − ¼² … attempts 1 + 1 + ¼ = 2.25, dead ¼·¼."""
    law = changed({FAILURES: 0.25, "workload.roles.A.fail_first": 1, "rules.retry.max_retries": 2})
    assert (law.figures["attempts_mean"], law.figures["dead_share"]) == pytest.approx((2.25, 0.0625))


def test_room_is_slots_and_pending_tasks() -> None:
    """Admission closes while PENDING ≥ max_pending, and what runs is not PENDING: 8 + 8 places; reference 5.2."""
    law = changed({"rules.admission": {"max_pending": 8, "on_closed": "reject"}})
    assert law.figures["rejected_share"] == pytest.approx(0.01636097, abs=5e-9)
    assert law.figures["queue_wait_s.mean"] == pytest.approx(0.174672, abs=5e-7)


def test_clients_that_leave() -> None:
    """Reference 5.6, row 1 (θ .5): .049438 leave. And the served waited .090920 s: .098876 s is of all."""
    law = changed({"rules.deadline": {"wait_s": 2.0, "spread": "exponential"}})
    assert law.figures["left_share"] == pytest.approx(0.049438, abs=5e-7)
    assert law.figures["queue_wait_s.mean"] == pytest.approx(0.090920, abs=5e-7)


def test_one_slot_with_roles_of_their_own() -> None:
    """Half constant .5 s, half exponential 1.5 s at .6/s: E[S] 1, E[S²] (.25 + 2·2.25)/2 = 2.375, cv² 1.375."""
    roles = {
        "A": {"service": {"dist": "constant", "mean_s": 0.5}},
        "B": {"service": {"dist": "exponential", "mean_s": 1.5}},
    }
    changes = {"workload.roles": roles, "mesh": {"workers": 1, "slots": 1}, "workload.arrivals.rate_per_s": 0.6}
    law = changed(changes)
    assert law.exact
    assert law.figures["queue_wait_s.mean"] == pytest.approx(pollaczek_khinchine_s(0.6, 1.0, 1.375))
    assert law.figures["waiting_share"] == pytest.approx(0.6)


def test_the_published_burst() -> None:
    """500 tasks of 2 s on 15 slots: 68 s."""
    law = changed(
        {ARRIVALS: burst(500), SERVICE: {"dist": "constant", "mean_s": 2.0}, "mesh": {"workers": 3, SLOTS[5:]: 5}}
    )
    assert law.figures["makespan_s"] == 68.0
    assert law.figures["queue_wait_s.p99"] == pytest.approx(64.02)


def test_a_large_mesh_is_fitted_too() -> None:
    """A million slots: formulas that count servers one by one must not overflow, and a short run takes the chain."""
    law = changed({"mesh": {"workers": 1_000, "slots": 1_000}, "workload.arrivals.rate_per_s": 999_000.0, COUNT: 2_000})
    assert law.figures["queue_wait_s.mean"] == pytest.approx(0.0, abs=1e-12)


# ---- beside a run ----------------------------------------------------------------------------------------------------


def test_a_burst_by_hand_beside_its_law(make) -> None:
    """Three tasks of 1 s on 15 slots: nobody waits, all done after 1 s; the law and the run say the same."""
    history = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
    beside = make(history, history, history, settings={"profile": "ideal"}).info["theory"]
    assert (beside["law"], beside["kind"], beside["note"]) == ("burst of 3, constant service", "exact", None)
    assert beside["figures"]["queue_wait_s.mean"] == {"law": 0.0, "simulated": 0.0, "stderr": None, "z": None}
    assert beside["figures"]["makespan_s"]["simulated"] == beside["figures"]["makespan_s"]["law"] == 1.0


def test_a_live_run_is_called_live_and_held_nearly(make) -> None:
    history = [(0.0, "submitted"), (0.1, "claimed"), (1.2, "succeeded")]
    beside = make(history, settings={"profile": "ideal"}, engine="live").info["theory"]
    assert beside["kind"] == "nearly"
    assert "the real machinery" in beside["reason"]
    assert beside["figures"]["queue_wait_s.mean"]["live"] == pytest.approx(0.1)


def test_gates_that_closed_are_left_out_of_the_law(make) -> None:
    history = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
    closed = EventRow(0.5, "gate_closed", "w0", -1, "")
    beside = make(history, settings={"profile": "ideal"}, events=[closed]).info["theory"]
    assert beside["kind"] == "nearly"
    assert "gates closed 1 times" in beside["reason"]


def test_a_run_that_was_cut_short_has_no_law(make) -> None:
    assert make([(0.0, "submitted")], interrupted=True).info["theory"] is None


def waiting(waits_s: list[float], arrivals_s: float = 1.0) -> list[list[tuple[float, str]]]:
    """Histories of tasks that come one by one, wait so long, and work for a second."""
    return [
        [(i * arrivals_s, "submitted"), (i * arrivals_s + wait, "claimed"), (i * arrivals_s + wait + 1.0, "succeeded")]
        for i, wait in enumerate(waits_s)
    ]


def test_the_standard_error_is_that_of_twenty_batches(make) -> None:
    """400 tasks, whose waits are 0 in the even batches of twenty and 1 s in the odd ones: batch means 0, 1, 0, 1 …, so
    the mean is ½ and its standard error √(20·¼/19)/√20 = ½/√19. At λ 1/s, work .1 s and one slot, ρ is .1 and the run
    lasts 399 s of .214 s relaxation each, more than 500.
    """
    waits = [float(task // 20 % 2) for task in range(400)]
    settings = {
        "profile": "ideal",
        "mesh": {"workers": 1, "slots": 1},
        "workload.arrivals": {"kind": "poisson", "rate_per_s": 1.0, "count": 400},
        "workload.roles.A.service": {"dist": "exponential", "mean_s": 0.1},
    }
    record = make(*waiting(waits), settings=settings)
    record.tasks["arrival_s"] = np.arange(400.0)
    found = theory.beside(record)
    assert found is not None
    figure = found["figures"]["waiting_share"]
    assert (found["law"], found["note"]) == ("M/M/1 (Erlang C)", None)
    assert (figure["law"], figure["simulated"]) == pytest.approx((0.1, 0.5))
    assert figure["stderr"] == pytest.approx(0.5 / math.sqrt(19), abs=1e-9)
    assert figure["z"] == pytest.approx(0.4 / (0.5 / math.sqrt(19)), abs=1e-3)
    # A percentile is judged by the tasks beyond the law's: the law says 1 % wait longer than ln(.1/.01)/(10 − 1) s.
    p99 = found["figures"]["queue_wait_s.p99"]
    assert p99["law"] == pytest.approx(math.log(10) / 9)
    assert p99["z"] == pytest.approx((0.5 - 0.01) / (0.5 / math.sqrt(19)), abs=1e-3)


def test_a_short_run_bears_no_z_and_says_so(make) -> None:
    settings = {
        "profile": "ideal",
        "workload.arrivals": {"kind": "poisson", "rate_per_s": 1.0, "count": 30},
        "workload.roles.A.service": {"dist": "exponential", "mean_s": 0.5},
    }
    found = make(*waiting([0.0] * 30), settings=settings).info["theory"]
    assert found["figures"]["queue_wait_s.mean"]["z"] is None
    assert "too few to tell" in found["note"]


def test_attempts_are_judged_task_by_task(make) -> None:
    """100 tasks of which 10 fail once, at a failure rate of .1 and two attempts: 1.1 attempts, and by the law .01 dead
    with a standard error of √(.01·.99/100).
    """
    fine = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "succeeded")]
    once = [(0.0, "submitted"), (0.0, "claimed"), (1.0, "failed"), (3.0, "due"), (3.0, "claimed"), (4.0, "succeeded")]
    settings = {"profile": "ideal", FAILURES: 0.1, "rules.retry.max_retries": 1}
    figures = make(*[fine] * 90, *[once] * 10, settings=settings).info["theory"]["figures"]
    assert figures["attempts_mean"]["law"] == pytest.approx(1.1)
    assert figures["attempts_mean"]["z"] == pytest.approx(0.0)
    assert figures["attempts_mean"]["stderr"] == pytest.approx(math.sqrt(0.1 * 0.9 / 99), abs=1e-9)
    assert figures["dead_share"]["z"] == pytest.approx(-0.01 / math.sqrt(0.01 * 0.99 / 100), abs=1e-3)


def test_replications_bear_a_z_whatever_their_length() -> None:
    """Three runs with waiting shares .4, .5, .6: ½ ± .1/√3. The mean wait and its interval are the merged result's:
    half width 4.302653 is one standard error at two degrees of freedom.
    """

    def run(share: float) -> dict[str, Any]:
        figures = {
            "waiting_share": {"law": 0.4, "simulated": share, "stderr": None, "z": None},
            "queue_wait_s.mean": {"law": 1.0, "simulated": 9.9, "stderr": None, "z": None},
        }
        return {"law": "M/M/1", "kind": "exact", "note": "too short", "figures": figures}

    merged = {"queue_wait_s": {"mean": 3.0, "mean_ci95": [3.0 - 4.302653, 3.0 + 4.302653]}}
    found = theory.of_replications([run(0.4), run(0.5), run(0.6)], merged)
    assert found is not None
    assert found["note"] is None
    shares = found["figures"]["waiting_share"]
    assert (shares["simulated"], shares["z"]) == pytest.approx((0.5, 0.1 / (0.1 / math.sqrt(3))), abs=1e-3)
    waits = found["figures"]["queue_wait_s.mean"]
    assert (waits["simulated"], waits["stderr"], waits["z"]) == pytest.approx((3.0, 1.0, 2.0), abs=1e-5)


def test_one_replication_is_a_run() -> None:
    one = {"law": "M/M/1", "note": None, "figures": {}}
    assert theory.of_replications([one], {}) == one
    assert theory.of_replications([None], {}) is None


def test_the_mean_wait_of_the_law_is_that_of_its_formula() -> None:
    """And the slots of several workers are one pool."""
    assert fit(scenario(mesh={"workers": 8, "slots": 1})).figures == fit(scenario()).figures
    assert fit(scenario()).figures[laws.WAIT] == MMc(6.4, 1.0, 8).mean_wait_s
