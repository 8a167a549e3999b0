"""Random scenarios for the engine and its textbook twin: all rules, faults, profiles and arrivals that the twin covers.

Small ones, as Hypothesis shrinks them well: some forty tasks each. Where two things happen at one moment, the order is
anybody's choice and says nothing; so services are drawn from continuous distributions, moments and periods have odd
decimals, and what would fall together all the same is drawn apart (`without_ties`).
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Data = dict[str, Any]
Drawn = st.SearchStrategy[Any]

BUSY = "busy_profile.yaml"


@st.composite
def scenarios(draw: st.DrawFn) -> Data:
    """Plain data, for `Scenario.from_data` with this folder as its base."""
    workers = draw(st.integers(1, 4))
    names = draw(
        st.lists(any_of("ARCHITECT", "DEVELOPER", "QA_ENGINEER", "OTHER"), min_size=1, max_size=3, unique=True)
    )
    data = {
        "name": "twin",
        "seed": draw(st.integers(0, 1_000_000)),
        "workload": {"arrivals": draw(arrivals()), "roles": {name: draw(roles()) for name in names}},
        "mesh": {"workers": workers, "slots": draw(any_of(1, 2, 5))},
        "profile": draw(any_of("ideal", BUSY)),
        "rules": {**draw(rules()), "lease": draw(leases()), "retry": draw(retries())},
        "faults": [draw(faults(workers, names, number)) for number in range(draw(st.integers(0, 4)))],
    }
    without_ties(data)
    each_away_once(data)
    return data


def any_of(*values: Any) -> Drawn:
    return st.sampled_from(values)


def mapping(**values: Drawn) -> Drawn:
    return st.fixed_dictionaries(values)


def optional(**values: Drawn) -> Drawn:
    return st.fixed_dictionaries({}, optional=values)


def arrivals() -> Drawn:
    duration_s, spacing = any_of(1.0, 4.0), any_of("even", "poisson")
    step = mapping(duration_s=any_of(1.0, 2.0), rate_per_s=any_of(9.1, 25.37))
    return st.one_of(
        mapping(kind=any_of("poisson", "constant"), rate_per_s=any_of(3.7, 9.1, 31.37), duration_s=duration_s),
        mapping(kind=st.just("burst"), count=st.integers(10, 80), at_s=any_of(0.3, 1.7)),
        mapping(
            kind=st.just("ramp"),
            from_per_s=any_of(0.1, 20.37),
            to_per_s=any_of(18.73, 31.37),
            duration_s=duration_s,
            spacing=spacing,
        ),
        mapping(kind=st.just("steps"), steps=st.lists(step, min_size=1, max_size=3), spacing=spacing),
    )


def roles() -> Drawn:
    mean_s = any_of(0.1, 0.6)
    spread = mapping(dist=any_of("lognormal", "gamma", "pareto"), mean_s=mean_s, cv=any_of(0.5, 2.0))
    return mapping(
        share=any_of(1, 3),
        priority=any_of(3, 1, {5: 1, 2: 1, 1: 1}),
        service=st.one_of(mapping(dist=st.just("exponential"), mean_s=mean_s), spread),
        failure_rate=any_of(0.0, 0.2, 0.6, 1.0),
        fail_first=any_of(0, 1),
        permanent_share=any_of(0.0, 0.0, 0.3),
        memory_mib=any_of(0.0, 13.0, 61.0),
    )


def retries() -> Drawn:
    return optional(
        max_retries=any_of(0, 1, 3),
        base_s=any_of(0.0, 0.13, 0.41),
        factor=any_of(1.0, 2.0),
        cap_s=any_of(None, 0.5),
        jitter=any_of(0.0, 0.5),
        wait=any_of("scheduled", "in_slot"),
        position=any_of("back", "front"),
        budget=any_of(None, {}, {"ratio": 0.5, "burst": 1.0}),
        timeout_s=any_of(None, 0.70003),
    )


def leases() -> Drawn:
    """Sweeps never fall on reports, nor leases' ends on sweeps."""
    claim = any_of("leased", "leased", "pop_then_update")
    return mapping(length_s=any_of(1.0, 3.1, 10.0), sweep_s=any_of(0.30000012, 0.70000012), claim=claim)


def rules() -> Drawn:
    return optional(
        priority=optional(
            order=any_of("strict", "aging", "weighted"),
            aging_s=any_of(0.7, 4.0),
            weights=any_of([6, 3, 1], [1, 1, 1]),
            route_by=any_of("priority", "role"),
        ),
        health=optional(
            backpressure=st.booleans(),
            report_s=any_of(0.5, 1.0),
            rss_limit_mib=any_of(130.0, 270.0),
            resume_score=any_of(0.2, 0.45),
            recycle_after_s=any_of(0.8, 2.3),
            restart_after_s=any_of(0.0, 0.4, 1.0, None),
            scope=any_of("fleet", "worker"),
            close_share=any_of(0.5, 1.0),
        ),
        admission=optional(
            max_pending=any_of(None, 2, 10), on_closed=any_of("hold", "reject"), hold_max=any_of(0, 3, 1000)
        ),
        deadline=optional(
            wait_s=any_of(None, 0.30003, 1.50003),
            spread=any_of("fixed", "exponential"),
            late=any_of("cancel", "fail"),
        ),
        shutdown=optional(grace_s=any_of(0.0, 0.4, 30.0), on_term=any_of("finish", "drop")),
    )


@st.composite
def faults(draw: st.DrawFn, workers: int, names: list[str], number: int) -> Data:
    """Moments in tenths of a second, a hundredth and a bit further for each fault: no two at one moment."""
    at_s = draw(st.integers(0, 80)) / 10 + 0.0100000137 * (number + 1)
    for_s, down_s, worker = any_of(0.5003, 2.0003, 5.0003), any_of(0.2003, 1.5003), st.integers(0, workers - 1)
    factor = any_of(0.6180339, 3.1415927)
    of_kind = st.one_of(
        mapping(kind=any_of("kill_worker", "stop_worker"), worker=worker),
        mapping(kind=st.just("pause_worker"), worker=worker, for_s=for_s),
        mapping(kind=st.just("redis_flush")),
        mapping(kind=st.just("poison_task"), task=st.integers(0, 9), after_s=any_of(0.01000071, 0.30000071)),
        mapping(kind=st.just("duplicate_submission"), tasks=any_of(1, 5)),
        mapping(kind=st.just("duplicate_completion"), for_s=for_s),
        mapping(kind=st.just("role_outage"), role=any_of(*names), for_s=for_s, share=any_of(0.5, 1.0)),
        mapping(kind=any_of("redis_restart", "postgres_restart"), down_s=down_s),
        mapping(kind=st.just("slow_service"), for_s=for_s, factor=factor),
        mapping(kind=st.just("slow_worker"), worker=worker, for_s=for_s, factor=factor),
    )
    return {"at_s": at_s, **draw(of_kind)}


def without_ties(data: Data) -> None:
    """Draw apart what would fall together: two things at one moment whose order is anybody's choice."""
    retry, kinds = data["rules"]["retry"], {fault["kind"] for fault in data["faults"]}
    deadline, admission = data["rules"].get("deadline", {}), data["rules"].get("admission", {})
    if admission.get("max_pending") or (deadline.get("wait_s") and deadline.get("late", "cancel") == "cancel"):
        data["profile"] = BUSY  # where claims cost nothing, what a claim lets in or finds gone meets the next claim
    if admission.get("max_pending"):
        retry["timeout_s"] = None  # works of one length, let in by each other's claims, go in lockstep
    if data["profile"] == BUSY or "postgres_restart" in kinds:
        retry["jitter"] = 0.5  # what was settled together would be due together
    if retry.get("wait") == "in_slot" and retry.get("base_s") == 0.0:
        retry["base_s"] = 0.07  # a backoff of no time: over now, or after what else happens now?


def each_away_once(data: Data) -> None:
    """PostgreSQL does not go away while it is away, nor does a worker freeze while it is frozen."""
    once: dict[tuple[Any, ...], Data] = {}
    for number, fault in enumerate(data["faults"]):
        away = fault["kind"] in ("pause_worker", "postgres_restart")
        once.setdefault((fault["kind"], fault.get("worker")) if away else (number,), fault)
    data["faults"] = list(once.values())
