"""What stands between a scenario and the laws, and the nearest scenario without it.

Where a law does not fit because of faults, memory gates, timeouts and the like, `laws.fit` takes the law of the same
scenario with these thought away, or taken as something that formulas know, and calls it an approximation by a name that
says what was done. How far off it is nobody knows beforehand: that is what the run is for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from lab.demand import Demand, Part, backoff_means_s, values_s
from lab.distributions import service_times
from lab.scenario import Arrivals, Burst, Constant, Poisson

CUT_POINTS = 4_000
"""Quantiles of the service times from which the moments of cut ones are taken: right to about a thousandth."""
HALVINGS = 40
"""Of an interval from 0 to 1: more digits than any figure shows."""


class Obstacle(NamedTuple):
    """Something that no formula here covers."""

    stands: Callable[[Demand], bool]
    why: str
    """Why there is no closed form."""
    done: str
    """What is done about it, as it stands in the name of the approximation."""
    without: Callable[[Demand], Demand]


def nearest(asked: Demand) -> tuple[Demand, list[Obstacle]]:
    """The nearest demand that formulas may cover, and the obstacles that were taken away, in this order."""
    met = list[Obstacle]()
    for obstacle in OBSTACLES:
        if obstacle.stands(asked):
            met.append(obstacle)
            asked = obstacle.without(asked)
    return asked, met


def _ruled(asked: Demand, section: str, **values: Any) -> Demand:
    """The same with other values in a section of its rules."""
    rules = asked.scenario.rules
    changed = getattr(rules, section).model_copy(update=values)
    return replace(
        asked, scenario=asked.scenario.model_copy(update={"rules": rules.model_copy(update={section: changed})})
    )


def _arriving(asked: Demand, arrivals: Arrivals) -> Demand:
    workload = asked.scenario.workload.model_copy(update={"arrivals": arrivals})
    return replace(asked, scenario=asked.scenario.model_copy(update={"workload": workload}))


# ---- faults and memory -----------------------------------------------------------------------------------------------


def _struck(asked: Demand) -> bool:
    return bool(asked.scenario.faults)


def _without_faults(asked: Demand) -> Demand:
    return replace(asked, scenario=asked.scenario.model_copy(update={"faults": []}))


def _can_close(asked: Demand) -> bool:
    """Whether the tasks of a full process hold as much memory as it may."""
    health, workload = asked.scenario.rules.health, asked.scenario.workload
    memory_mib = max(role.memory_mib for role in workload.roles.values()) * asked.scenario.mesh.slots
    return health.backpressure and memory_mib >= health.rss_limit_mib


# ---- attempts --------------------------------------------------------------------------------------------------------


def cuts(asked: Demand) -> bool:
    """Whether `retry.timeout_s` can end an attempt."""
    timeout_s = asked.scenario.rules.retry.timeout_s
    return timeout_s is not None and any(part.cv2 > 0 or part.service_s > timeout_s for part in asked.parts)


def _cut(asked: Demand) -> Demand:
    """Attempts that end at the timeout at the latest, those that do not end by themselves as failures.

    A timeout is never permanent. So the share of failures that cannot be mended falls; where it differs by attempt
    (fail_first), that of the later attempts is taken.
    """
    parts = tuple(part for name in asked.scenario.workload.roles for part in _cut_parts(asked, name))
    return replace(_ruled(asked, "retry", timeout_s=None), parts=parts, memoryless=False)


def _cut_parts(asked: Demand, name: str) -> list[Part]:
    """The parts of a role, their work cut."""
    timeout_s = asked.scenario.rules.retry.timeout_s
    assert timeout_s is not None
    service = asked.scenario.workload.roles[name].service
    parts = [part for part in asked.parts if part.role == name]
    if asked.traced is not None:
        planned_s = asked.traced.service_s[asked.traced.role == name]
    else:
        quantiles = (np.arange(CUT_POINTS) + 0.5) / CUT_POINTS
        planned_s = service_times(service, quantiles, values_s(asked.scenario, name))
    worked_s = np.minimum(planned_s, timeout_s)
    late, mean_s = float((planned_s > timeout_s).mean()), float(worked_s.mean())
    cv2 = float(worked_s.var()) / mean_s**2 if worked_s.min() < worked_s.max() else 0.0
    return [replace(part, service_s=mean_s, cv2=cv2, attempts=part.attempts.or_late(late)) for part in parts]


def _budgeted(asked: Demand) -> Demand:
    """A budget of `ratio` retries a success, spent evenly: the same share of all failures is refused a retry. The full
    bucket at the start, and the chance by which it is empty or not, are left out.
    """
    budget = asked.scenario.rules.retry.budget
    assert budget is not None
    free = _ruled(asked, "retry", budget=None)
    if not _overspends(free, budget.ratio):
        return free
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _overspends(_granting(free, middle), budget.ratio) else (middle, high)
    return _granting(free, low)


def _overspends(asked: Demand, ratio: float) -> bool:
    """Whether more retries are made than the successes pay for."""
    return asked.attempts_mean - 1.0 > ratio * (1.0 - asked.dead_share)


def _granting(asked: Demand, share: float) -> Demand:
    """The same where only this share of the failures that may be retried is."""
    return replace(asked, parts=tuple(replace(part, attempts=part.attempts.granted(share)) for part in asked.parts))


def _sleeps(asked: Demand) -> bool:
    return asked.repeats and asked.scenario.rules.retry.wait == "in_slot"


def _prolonged(asked: Demand) -> Demand:
    """Slots that work through the backoff: service times as long as a slot is held."""
    backoffs_s = backoff_means_s(asked.scenario.rules.retry)
    parts = tuple(_held(part, backoffs_s) for part in asked.parts)
    alike = asked.alike and len({part.attempts for part in parts}) == 1
    return replace(asked, parts=parts, memoryless=asked.memoryless and not any(backoffs_s), alike=alike)


def _held(part: Part, backoffs_s: tuple[float, ...]) -> Part:
    """E[H] = E[S] + Σ r_k·b_k and E[H²] = E[S²] + Σ r_k·(2·E[S]·b_k + b_k²), r_k the share of all attempts that are a
    k-th one and are tried again.
    """
    work_s, mean_s = part.service_s, part.service_s
    square = work_s**2 * (1.0 + part.cv2)
    for made, backoff_s in zip(part.attempts.reached[1:], backoffs_s, strict=False):
        share = made / part.attempts.mean
        mean_s += share * backoff_s
        square += share * (2.0 * work_s * backoff_s + backoff_s**2)
    if mean_s == work_s:
        return part
    return replace(part, service_s=mean_s, cv2=square / mean_s**2 - 1.0, sleeps_s=backoffs_s)


# ---- queues with an end, and clients that leave ----------------------------------------------------------------------


def _limited(asked: Demand) -> bool:
    """Whether clients leave or tasks are refused."""
    return asked.scenario.rules.deadline.wait_s is not None or asked.places is not None


def _bounded_and_left(asked: Demand) -> bool:
    return asked.places is not None and asked.scenario.rules.deadline.wait_s is not None


def _refuses(asked: Demand) -> bool:
    return asked.places is not None and not isinstance(asked.scenario.workload.arrivals, Poisson)


def _leaves(asked: Demand) -> bool:
    return asked.scenario.rules.deadline.wait_s is not None and not isinstance(
        asked.scenario.workload.arrivals, Poisson
    )


def _even_and_limited(asked: Demand) -> bool:
    return _limited(asked) and isinstance(asked.scenario.workload.arrivals, Constant)


def _at_random(asked: Demand) -> Demand:
    arrivals = asked.scenario.workload.arrivals
    assert isinstance(arrivals, Constant)
    return _arriving(asked, Poisson(kind="poisson", rate_per_s=arrivals.rate_per_s, count=asked.count))


def _refuses_some_of_a_burst(asked: Demand) -> bool:
    return _refuses(asked) and isinstance(asked.scenario.workload.arrivals, Burst)


def _let_in(asked: Demand) -> Demand:
    """Only those tasks of a burst that are not refused."""
    arrivals = asked.scenario.workload.arrivals
    assert isinstance(arrivals, Burst)
    return _unbounded(_arriving(asked, arrivals.model_copy(update={"count": asked.places})))


def _unbounded(asked: Demand) -> Demand:
    return _ruled(asked, "admission", max_pending=None)


def _patient(asked: Demand) -> Demand:
    return _ruled(asked, "deadline", wait_s=None)


OBSTACLES: Final = (
    Obstacle(_struck, "faults strike", "faults left out", _without_faults),
    Obstacle(
        _can_close,
        "memory can close the gates",
        "memory gates left out",
        lambda asked: _ruled(asked, "health", backpressure=False),
    ),
    Obstacle(
        lambda asked: asked.scenario.rules.deadline.wastes,
        "work for clients that have left counts as failed",
        "deadlines left out",
        _patient,
    ),
    Obstacle(cuts, "attempts are cut at retry.timeout_s", "timeouts taken as short work that fails", _cut),
    Obstacle(
        lambda asked: asked.repeats and asked.scenario.rules.retry.budget is not None,
        "a budget refuses some of the retries",
        "the retry budget spent evenly",
        _budgeted,
    ),
    Obstacle(_sleeps, "slots sleep through the backoff", "backoff taken as work", _prolonged),
    Obstacle(
        _bounded_and_left, "admission is bounded and clients leave", "the bound of the queue left out", _unbounded
    ),
    Obstacle(
        _even_and_limited,
        "clients leave or are refused and the arrivals are not Poisson",
        "arrivals taken as Poisson",
        _at_random,
    ),
    Obstacle(_refuses_some_of_a_burst, "tasks of a burst are refused", "for those tasks that are not refused", _let_in),
    Obstacle(
        _refuses, "tasks are refused and the arrivals are not Poisson", "the bound of the queue left out", _unbounded
    ),
    Obstacle(_leaves, "clients leave and the arrivals are not Poisson", "deadlines left out", _patient),
)
"""In the order in which they are taken away: an earlier one may make a later one vanish."""
