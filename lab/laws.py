"""Which law of queueing theory fits a scenario, and what it predicts.

`fit` looks at the scenario alone. A law is exact, or holds nearly (the scenario has a part that the law leaves out, and
the law says which), or is only the nearest approximation because there is no closed form, or there is nothing to be
said. What stands between a scenario and the laws, and how it is thought away, is in `nearest.py`. docs/THEORY.md lists
the laws with their assumptions and sources; `theory.py` puts a run beside its law.

Two things make a law fit more often than its textbook form. The number of tasks in the mesh does not depend on the
order of service as long as no order looks at service times, so overall means hold for every priority rule where all
work is alike. And slots share their queues, so it does not matter to which worker they belong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from lab import queueing, transients
from lab.demand import Demand, demand, machinery
from lab.feedback import retried_mmc
from lab.impatience import erlang_a, fixed_patience
from lab.nearest import Obstacle, cuts, nearest
from lab.precision import RELAXATIONS_MIN
from lab.queueing import MMc, MMcK
from lab.scenario import Burst, Constant, Poisson, Scenario, Trace

WAIT, LATENCY = "queue_wait_s.mean", "latency_s.mean"
WAITING, REJECTED, LEFT = "waiting_share", "rejected_share", "left_share"
ATTEMPTS, DEAD = "attempts_mean", "dead_share"
MAKESPAN, THROUGHPUT = "makespan_s", "throughput_per_s"
TAILS: Final = {"p95": 0.95, "p99": 0.99}

STEPS_MAX: Final = 2_000
"""Tasks that the exact start-empty chain follows one by one: some 50 ms."""
SERVERS_MAX: Final = 20_000
"""Slots that the closed form of the start-empty mean is summed over: some 20 ms."""
TAIL_PLACES_MAX: Final = 5_000
"""Waiting places up to which percentiles of the wait are computed: some 20 ms."""
FORGOTTEN_RELAXATIONS: Final = 7.0
"""After so many relaxation times the closed form of the start-empty mean is right to a thousandth (e^−7)."""
POINTS, POINT_SERVERS_MAX = 64, 200_000
"""Tasks whose arrival rate is looked at where it changes, and how many servers that may sum over: some 20 ms."""
BURSTY_CV2 = 4.0
"""Gaps between arrivals that vary twice as much as their mean are no accident: the rate itself changes, and a formula
of two moments, which spreads the excess evenly over time, says little of it."""
NO_FORM = "no closed form: "
RETRIES_ARRIVE = "retries taken as arrivals"


Kind = Literal["exact", "nearly", "approximation", "none"]
Horizon = Literal["steady state", "whole run", "no chance"]
"""What the figures are: what runs come to in the long run; means over all runs of this very length; or plain arithmetic
from which no run may differ.
"""


@dataclass(frozen=True)
class Law:
    """What theory says of a scenario. `figures` are predictions by the path of the figure in a run's summary; shares
    of tasks and mean attempts, which the summary has not, under names of their own (`waiting_share`, `dead_share` …).
    """

    name: str
    """`M/M/8 (Erlang C)`; empty where nothing can be said."""
    kind: Kind
    reason: str
    """Why the law fits, or why there is no closed form."""
    figures: Mapping[str, float] = field(default_factory=dict)
    relaxation_s: float | None = None
    """Seconds in which the mesh forgets its past by a factor e; None where there is no steady state."""
    horizon: Horizon = "steady state"

    @property
    def exact(self) -> bool:
        """Whether the figures are those of the scenario itself. (How many attempts tasks make always is.)"""
        return self.kind == "exact"

    def nearly(self, why: str) -> Law:
        """The same law for a scenario that it does not quite fit, and why: it is no longer exact. What is only an
        approximation stays one.
        """
        if self.kind == "none":
            return self
        return replace(self, kind="nearly" if self.exact else self.kind, reason=f"{self.reason}; {why}")

    def without(self, met: Sequence[Obstacle]) -> Law:
        """The same law as an approximation for a scenario that these obstacles keep from it."""
        whys = [obstacle.why for obstacle in met]
        if self.kind in ("approximation", "none"):
            whys.append(self.reason.removeprefix(NO_FORM))
        reason = NO_FORM + "; ".join(whys)
        if self.kind == "none":
            return replace(self, reason=reason)
        return replace(
            self, name=", ".join([self.name, *(one.done for one in met)]), kind="approximation", reason=reason
        )


def fit(scenario: Scenario) -> Law:
    """The law for a scenario in the model. Costs at most some 50 ms, whatever the size of the run.

    Reads a trace's file. Raises ScenarioError if that does not hold what it should.
    """
    asked = demand(scenario)
    if isinstance(asked, str):
        return _nothing(asked)
    plain, met = nearest(asked)
    law = _fitting(plain)
    if met:
        law = law.without(met)
    law = _tempered(law, plain)
    return replace(law, figures={**law.figures, **_attempts(asked if law.kind == "none" else plain)})


def _fitting(asked: Demand) -> Law:
    """The law of the arrivals' kind, as if the machinery cost nothing and the run were long."""
    arrivals = asked.scenario.workload.arrivals
    if isinstance(arrivals, Burst):
        return _burst(asked)
    if isinstance(arrivals, Trace):
        return _traced(asked)
    if isinstance(arrivals, Poisson):
        return _poisson(asked)
    return _even(asked) if isinstance(arrivals, Constant) else _changing(asked)


def _nothing(why: str) -> Law:
    return Law("", "none", f"{NO_FORM}{why}")


def _attempts(asked: Demand) -> dict[str, float]:
    """How many attempts tasks make: settled by the draws of the failures alone, whatever the queue does."""
    rules = asked.scenario.rules
    unsettled = (asked.repeats and rules.retry.budget is not None) or rules.deadline.wait_s is not None
    if unsettled or asked.scenario.faults or cuts(asked) or not any(part.attempts.fails[0] for part in asked.parts):
        return {}
    return {ATTEMPTS: asked.attempts_mean, DEAD: asked.dead_share}


def _tempered(law: Law, asked: Demand) -> Law:
    """An exact law holds only nearly where the scenario has what it leaves out."""
    left_out = machinery(asked.scenario)
    if left_out is not None:
        law = without_machinery(law, left_out)
    if law.horizon != "steady state":
        return law if asked.counted else law.nearly(f"chance decides how many come, here about {asked.count:,}")
    if law.relaxation_s is None or _lasts(asked, law.relaxation_s) >= RELAXATIONS_MIN:
        return law
    lasts = f"{_lasts(asked, law.relaxation_s):,.3g}"
    return law.nearly(f"the run starts empty and lasts {lasts} relaxation times, {RELAXATIONS_MIN:g} would do")


def without_machinery(law: Law, left_out: str) -> Law:
    """A law where the machinery takes time: every task waits a little, so the share that waits for a slot is no more
    to be seen. `left_out` says in words what it is that the law leaves out.
    """
    figures = {path: value for path, value in law.figures.items() if path != WAITING}
    return replace(law, figures=figures).nearly(f"it leaves out {left_out}")


def _lasts(asked: Demand, relaxation_s: float) -> float:
    """The length of the run in relaxation times."""
    return asked.count / asked.arrival_per_s / relaxation_s


# ---- the mesh's own features -----------------------------------------------------------------------------------------


def _in_order(asked: Demand) -> bool:
    """First come, first served: whatever the rule, if all tasks are of one class."""
    return len(asked.classes) == 1


def _strict(asked: Demand) -> bool:
    """Non-preemptive priorities from the moment of arrival; a producer that holds tasks does not know classes."""
    rules = asked.scenario.rules
    return rules.priority.order == "strict" and rules.admission.max_pending is None and not _in_order(asked)


def _latency(asked: Demand, wait_s: float) -> dict[str, float]:
    """The mean latency, where who completes is not a matter of who waits."""
    apart = len({part.attempts for part in asked.parts}) == 1 or _in_order(asked)
    if asked.dead_share == 1.0 or not (apart or asked.dead_share == 0.0):
        return {}
    return {LATENCY: asked.completed_latency_s(wait_s)}


def _tails(law: MMc | MMcK) -> dict[str, float]:
    return {f"queue_wait_s.{name}": law.wait_quantile_s(share) for name, share in TAILS.items()}


def _of_class(queue: str, point: str = "mean") -> str:
    return f"by_queue.{queue}.queue_wait_s.{point}"


def _relaxation_s(asked: Demand, arrival_cv2: float = 1.0) -> float:
    """That of M/M/c, longer for work that varies more; and no mesh forgets faster than its tasks end."""
    waiting_s = queueing.relaxation_s(asked.servers, 1.0 / asked.service_s, asked.load)
    return max(asked.service_s, waiting_s * max(1.0, (arrival_cv2 + asked.cv2) / 2.0))


# ---- Poisson arrivals ------------------------------------------------------------------------------------------------


def _poisson(asked: Demand) -> Law:
    if asked.scenario.rules.deadline.cancels:
        return _impatient(asked)
    room = asked.places
    if room is not None and room - asked.servers <= queueing.PLACES_MAX:
        return _finite(asked, room)
    if asked.load >= 1.0:
        followed = asked.memoryless and not asked.repeats and asked.count <= STEPS_MAX
        return _from_empty(asked, None) if followed else _overloaded(asked)
    if asked.memoryless:
        return _retried(asked) if asked.repeats else _erlang(asked)
    if asked.servers == 1 and not asked.repeats and (asked.alike or _in_order(asked) or _strict(asked)):
        return _single(asked)
    if asked.constant and not asked.repeats:
        return _crommelin(asked)
    return _approximate(asked)


def _erlang(asked: Demand) -> Law:
    """M/M/c in any order; by class where the order is strict; from empty where the run is short."""
    relaxation_s = _relaxation_s(asked)
    lasts = _lasts(asked, relaxation_s)
    settled = lasts >= FORGOTTEN_RELAXATIONS and asked.servers <= SERVERS_MAX
    if lasts < RELAXATIONS_MIN and (asked.count <= STEPS_MAX or settled):
        return _from_empty(asked, relaxation_s)
    law = MMc(asked.arrival_per_s, asked.service_s, asked.servers)
    figures = {WAIT: law.mean_wait_s, WAITING: law.wait_chance, **_latency(asked, law.mean_wait_s)}
    if _in_order(asked):
        figures |= _tails(law)
        if asked.dead_share == 0.0:
            figures |= {f"latency_s.{name}": law.latency_quantile_s(share) for name, share in TAILS.items()}
        reason = "Poisson arrivals, exponential service, first come first served"
        return Law(f"M/M/{asked.servers} (Erlang C)", "exact", reason, figures, relaxation_s)
    if not _strict(asked):
        reason = "Poisson arrivals, exponential service; means over all classes do not depend on their order"
        return Law(f"M/M/{asked.servers} (Erlang C)", "exact", reason, figures, relaxation_s)
    reason = "Poisson arrivals, exponential service, strict non-preemptive priorities"
    return Law(
        f"M/M/{asked.servers} with priorities (Cobham)", "exact", reason, {**figures, **_cobham(asked)}, relaxation_s
    )


def _cobham(asked: Demand) -> dict[str, float]:
    rates = [asked.arrival_per_s * sum(part.share for part in parts) for parts in asked.classes.values()]
    waits = queueing.cobham_s(rates, asked.service_s, asked.servers)
    figures = {_of_class(queue): wait_s for queue, wait_s in zip(asked.classes, waits, strict=True)}
    first = next(iter(asked.classes))
    for name, share in TAILS.items():
        quantile_s = queueing.first_class_quantile_s(rates, asked.service_s, asked.servers, share)
        figures[_of_class(first, name)] = quantile_s
    return figures


def _from_empty(asked: Demand, relaxation_s: float | None) -> Law:
    """The first n tasks of an M/M/c: step by step if they are few, else by the closed form."""
    queue = (asked.arrival_per_s, asked.service_s, asked.servers, asked.count)
    waits = transients.first_waits(*queue) if asked.count <= STEPS_MAX else transients.later_waits(*queue)
    return Law(
        f"M/M/{asked.servers}, started empty",
        "exact",
        f"Poisson arrivals, exponential service, no steady state yet: the first {asked.count:,} tasks",
        {WAIT: waits.mean_s, WAITING: waits.chance, **_latency(asked, waits.mean_s)},
        relaxation_s,
        "whole run",
    )


def _retried(asked: Demand) -> Law:
    """The network of a queue and a backoff."""
    law = retried_mmc(asked.arrival_per_s, asked.service_s, asked.servers, asked.attempts_mean)
    figures = {WAIT: law.mean_wait_s, WAITING: law.wait_chance, **_latency(asked, law.mean_wait_s)}
    name, relaxation_s = f"M/M/{asked.servers} with retries (product form)", _relaxation_s(asked)
    if not _in_order(asked):
        why = "no closed form: failures are retried and classes have priorities"
        return Law(name, "approximation", why, figures, relaxation_s)
    if asked.scenario.rules.retry.position == "front":
        return Law(name, "approximation", "no closed form: retries jump the queue", figures, relaxation_s)
    reason = "Poisson arrivals, exponential service, first come first served, backoff outside the slots"
    return Law(name, "exact", reason, {**figures, **_tails(law)}, relaxation_s)


def _impatient(asked: Demand) -> Law:
    """Clients that leave. With exponential patience the number of tasks is the same in any order of service."""
    rules = asked.scenario.rules.deadline
    assert rules.wait_s is not None
    exponential = rules.spread == "exponential"
    patience, letter = (erlang_a, "M (Erlang-A)") if exponential else (fixed_patience, "D")
    try:
        found = patience(asked.attempt_per_s, asked.service_s, asked.servers, rules.wait_s)
    except ValueError as error:
        return _nothing(str(error))
    figures = {LEFT: asked.left_share(found.left_share), WAITING: found.wait_chance}
    if _in_order(asked):
        figures |= {WAIT: found.served_wait_s, **_latency(asked, found.served_wait_s)}
    name, relaxation_s = f"M/M/{asked.servers}+{letter}", max(asked.service_s, rules.wait_s)
    if asked.repeats:
        why = "no closed form: clients leave and failures are retried"
        return Law(f"{name}, {RETRIES_ARRIVE}", "approximation", why, figures, relaxation_s)
    if not asked.memoryless:
        why = "no closed form: clients leave and service times are not exponential"
        return Law(name, "approximation", why, figures, relaxation_s)
    if not (exponential or _in_order(asked)):
        why = "no closed form: clients leave after a fixed time and classes have priorities"
        return Law(name, "approximation", why, figures, relaxation_s)
    spread = "exponential" if exponential else "fixed"
    reason = f"Poisson arrivals, exponential service, clients that leave the queue after a {spread} patience"
    return Law(name, "exact", reason, figures, relaxation_s)


def _finite(asked: Demand, room: int) -> Law:
    law = MMcK(asked.attempt_per_s, asked.service_s, asked.servers, room)
    figures = {REJECTED: law.refused_share, WAIT: law.mean_wait_s, WAITING: law.wait_chance}
    figures |= _latency(asked, law.mean_wait_s)
    name, relaxation_s = f"M/M/{asked.servers}/{room}", max(asked.service_s, law.relaxation_s)
    if asked.repeats:
        why = "no closed form: admission is bounded and failures are retried"
        return Law(f"{name}, {RETRIES_ARRIVE}", "approximation", why, figures, relaxation_s)
    if not asked.memoryless:
        why = "no closed form: the queue is bounded and service times are not exponential"
        return Law(name, "approximation", why, figures, relaxation_s)
    reason = f"Poisson arrivals, exponential service, {room - asked.servers:,} waiting places"
    figures |= _tails(law) if _in_order(asked) and room - asked.servers <= TAIL_PLACES_MAX else {}
    return Law(name, "exact", reason, figures, relaxation_s)


def _single(asked: Demand) -> Law:
    """One slot: any service times, and priorities too."""
    relaxation_s, letter = _relaxation_s(asked), "D" if asked.constant else "G"
    arrivals = f"Poisson arrivals, one slot, service with cv² {asked.cv2:.4g}"
    if not _strict(asked):
        wait_s = queueing.pollaczek_khinchine_s(asked.arrival_per_s, asked.service_s, asked.cv2)
        figures = {WAIT: wait_s, WAITING: asked.load, **_latency(asked, wait_s)}
        return Law(f"M/{letter}/1 (Pollaczek-Khinchine)", "exact", arrivals, figures, relaxation_s)
    shares, services, spreads = [], [], []
    for parts in asked.classes.values():
        share = sum(part.share for part in parts)
        mean_s = sum(part.share * part.service_s for part in parts) / share
        square = sum(part.share * part.service_s**2 * (1.0 + part.cv2) for part in parts) / share
        shares.append(share)
        services.append(mean_s)
        spreads.append(square / mean_s**2 - 1.0 if mean_s else 0.0)
    waits = queueing.mg1_priority_s([asked.arrival_per_s * share for share in shares], services, spreads)
    wait_s = sum(share * wait for share, wait in zip(shares, waits, strict=True))
    figures = {WAIT: wait_s, WAITING: asked.load, **_latency(asked, wait_s)}
    figures |= {_of_class(queue): wait for queue, wait in zip(asked.classes, waits, strict=True)}
    reason = f"{arrivals}, strict non-preemptive priorities"
    return Law(f"M/{letter}/1 with priorities (Cobham)", "exact", reason, figures, relaxation_s)


def _crommelin(asked: Demand) -> Law:
    found = queueing.md_c(asked.arrival_per_s, asked.service_s, asked.servers)
    figures = {WAIT: found.mean_s, WAITING: found.chance, **_latency(asked, found.mean_s)}
    reason = "Poisson arrivals, constant service"
    return Law(f"M/D/{asked.servers} (Crommelin)", "exact", reason, figures, _relaxation_s(asked))


def _approximate(asked: Demand, arrival_cv2: float = 1.0) -> Law:
    """Allen-Cunneen, by class too where the order is strict."""
    first = 1.0 / asked.attempts_mean
    gaps_cv2 = first * arrival_cv2 + 1.0 - first  # a mixture of the arrivals and of retries, which come at random
    wait_s = queueing.allen_cunneen_s(asked.attempt_per_s, asked.service_s, asked.servers, asked.cv2, gaps_cv2)
    figures = {WAIT: wait_s, **_latency(asked, wait_s)}
    if _strict(asked) and not asked.repeats and asked.alike:
        spread = (arrival_cv2 + asked.cv2) / 2.0
        figures |= {path: spread * wait for path, wait in _cobham(asked).items() if path.endswith("mean")}
    letter = {0.0: "D", 1.0: "M"}.get(arrival_cv2, "G")
    name = f"{letter}/G/{asked.servers} (Allen-Cunneen)"
    return Law(name, "approximation", f"no closed form: {_why_none(asked)}", figures, _relaxation_s(asked, arrival_cv2))


def _why_none(asked: Demand) -> str:
    arrivals = asked.scenario.workload.arrivals
    if asked.traced is not None:
        return f"the arrivals are a trace, whose gaps have a cv² of {asked.traced.gaps_cv2:.3g}"
    if isinstance(arrivals, Constant):
        return "evenly spaced arrivals, and service times or retries that vary"
    if asked.repeats:
        return "failures are retried and service times are not exponential"
    if not asked.alike:
        return "the roles' service times differ"
    return "several slots, and service times that are neither exponential nor constant"


def _overloaded(asked: Demand) -> Law:
    """More work than slots: no steady state, but a fluid."""
    fluid = transients.overload(asked.count, asked.arrival_per_s, asked.work_s, asked.servers)
    figures = {MAKESPAN: fluid.makespan_s, THROUGHPUT: asked.count * (1.0 - asked.dead_share) / fluid.makespan_s}
    if not asked.repeats:
        figures |= {WAIT: fluid.mean_wait_s, **_latency(asked, fluid.mean_wait_s)}
    why = f"no steady state: the work needs {asked.load:.0%} of the slots"
    return Law(f"fluid of {asked.servers} slots", "approximation", why, figures, horizon="whole run")


# ---- other arrivals --------------------------------------------------------------------------------------------------


def _even(asked: Demand) -> Law:
    """Tasks that come like clockwork."""
    if asked.constant and not asked.repeats:
        found = transients.even_constant(asked.count, asked.arrival_per_s, asked.service_s, asked.servers)
        figures = {WAIT: found.mean_wait_s, MAKESPAN: found.makespan_s, **_latency(asked, found.mean_wait_s)}
        reason = "even arrivals, constant service: plain arithmetic"
        return Law(f"D/D/{asked.servers}", "exact", reason, figures, horizon="no chance")
    return _overloaded(asked) if asked.load >= 1.0 else _approximate(asked, arrival_cv2=0.0)


def _burst(asked: Demand) -> Law:
    """All tasks at once: the time to drain."""
    burst = (asked.count, asked.service_s, asked.servers)
    if asked.repeats:
        return _retried_burst(asked)
    if asked.constant:
        drain = transients.burst_constant(*burst)
        figures = {WAIT: drain.mean_wait_s}
        for name, share in TAILS.items():
            figures[f"queue_wait_s.{name}"] = transients.burst_wait_quantile_s(*burst, share)
        figures |= {MAKESPAN: drain.makespan_s, **_latency(asked, drain.mean_wait_s)}
        reason = f"plain arithmetic: {-(-asked.count // asked.servers):,} rounds of {asked.servers:,} slots"
        return Law(f"burst of {asked.count:,}, constant service", "exact", reason, figures, horizon="no chance")
    drain = transients.burst_exponential(*burst)
    figures = {WAIT: drain.mean_wait_s, MAKESPAN: drain.makespan_s, **_latency(asked, drain.mean_wait_s)}
    name = f"burst of {asked.count:,}, exponential service"
    if asked.memoryless:
        return Law(name, "exact", "a pure death process, on average over all chance", figures, horizon="whole run")
    why = "no closed form: a burst whose service times are neither constant nor the same exponential"
    return Law(name, "approximation", why, figures, horizon="whole run")


def _retried_burst(asked: Demand) -> Law:
    """The first attempts drain as a burst of their own where retries queue behind them. The end comes when all the work
    is done, or when the task that fails most often has waited out its backoffs, whichever is later.
    """
    behind = asked.scenario.rules.retry.position == "back"
    drain = transients.burst_constant if asked.parts[0].cv2 == 0.0 and asked.alike else transients.burst_exponential
    held_s = asked.first_s if behind else asked.work_s
    makespan_s = max(asked.count * asked.work_s / asked.servers, asked.longest_s)
    figures = {WAIT: drain(asked.count, held_s, asked.servers).mean_wait_s, MAKESPAN: makespan_s}
    why = "no closed form: a burst whose failures are retried"
    return Law(f"burst of {asked.count:,} with retries", "approximation", why, figures, horizon="whole run")


def _traced(asked: Demand) -> Law:
    """Two moments, or where those say little the file's own tasks on one fast server."""
    assert asked.traced is not None
    gaps_cv2 = asked.traced.gaps_cv2
    if asked.load < 1.0 and gaps_cv2 <= BURSTY_CV2:
        return _approximate(asked, gaps_cv2)
    service_s = asked.traced.service_s * (asked.work_s / float(asked.traced.service_s.mean()))
    found = transients.as_one_server(asked.traced.arrival_s, service_s, asked.servers)
    figures = {WAIT: found.mean_wait_s, MAKESPAN: found.makespan_s, **_latency(asked, found.mean_wait_s)}
    why = f"{NO_FORM}{_why_none(asked)}"
    if gaps_cv2 > BURSTY_CV2:
        why += ": bursts decide, and no formula of moments sees them"
    name = f"the trace on one server as fast as {asked.servers:,}"
    return Law(name, "approximation", why, figures, horizon="whole run")


def _changing(asked: Demand) -> Law:
    """A rate that changes: a fluid where it passes what the slots can do, else each moment as if it lasted for ever."""
    if not any(stretch.tasks for stretch in asked.stretches):
        return _nothing("no task comes")
    fluid = transients.fluid(asked.stretches, asked.work_s, asked.servers)
    makespan_s = fluid.makespan_s + asked.service_s
    figures = {MAKESPAN: makespan_s, THROUGHPUT: asked.count * (1.0 - asked.dead_share) / makespan_s}
    peak_per_s = max(max(stretch.from_per_s, stretch.to_per_s) for stretch in asked.stretches)
    peak = peak_per_s * asked.work_s / asked.servers
    why = f"{NO_FORM}the arrival rate changes; at its height the work needs {peak:.0%} of the slots"
    if peak >= 1.0:
        figures |= {WAIT: fluid.mean_wait_s, **_latency(asked, fluid.mean_wait_s)}
        return Law(f"fluid of {asked.servers:,} slots", "approximation", why, figures, horizon="whole run")
    wait_s = _pointwise_s(asked)
    figures |= {WAIT: wait_s, **_latency(asked, wait_s)}
    return Law(f"pointwise stationary G/G/{asked.servers}", "approximation", why, figures, horizon="whole run")


def _pointwise_s(asked: Demand) -> float:
    """Mean wait if every task met the steady state of its moment's rate. (Green and Kolesar, Management Science 37,
    1991: near the truth where the rate changes slowly, too high where its height does not last.)
    """
    gaps_cv2 = 0.0 if asked.counted else 1.0
    points = max(2, min(POINTS, POINT_SERVERS_MAX // asked.servers))
    rates = [rate * asked.attempts_mean for rate in transients.rates_met(asked.stretches, points)]
    waits = [
        queueing.allen_cunneen_s(rate, asked.service_s, asked.servers, asked.cv2, gaps_cv2) if rate else 0.0
        for rate in rates
    ]
    return sum(waits) / len(waits)
