"""What the what-if cards do to a scenario: pure functions, a scenario and the card's value in, changes out.

What a value means is said at each function, and shown to people by `lab.whatif_cards.CARDS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from lab import metastability, traces, units, yaml_source
from lab.changes import workers_at
from lab.errors import UsageError
from lab.rules.retry import RetryRules
from lab.scenario import Burst, Constant, EmpiricalService, Poisson, Scenario, Service, Trace
from lab.traffic import ARRIVALS, times
from lab.traffic import changes as more_traffic
from lab.workload import Plan

SLOWER: Final = 2.0
MORE_FAILURES: Final = 5.0
FAILURES_WHERE_NONE: Final = 0.05
"""Of the attempts, where a scenario has no failures that could be multiplied."""
MORE_TRAFFIC: Final = 2.0
WORKERS_LOST: Final = 1 / 3
REDIS_AWAY_S: Final = 30.0
GRAIN_S: Final = 0.001
"""A place can only be struck while the mesh has it: workers die this long before their places are given up."""
POLICIES_TO_TRY: Final = ("scheduled", "jitter", "budget")
"""Policy B where none is named: the first of these that is not what the scenario has already."""
AS_WRITTEN: Final = "as-written"


class DoesNotApply(UsageError):
    """The card means nothing for this scenario; says why."""


@dataclass(frozen=True)
class Effect:
    """What a card does to a scenario: values by dotted path, as `Scenario.override` takes them."""

    title: str
    words: str
    """One sentence on what has changed."""
    changes: Mapping[str, Any]
    changes_before: Mapping[str, Any] = field(default_factory=dict)
    """What is laid over the "before" side too: policy A of an A/B question, and nothing else."""
    names: tuple[str, str] | None = None
    """What the two sides are called, if not before and after."""
    window_s: tuple[float, float | None] | None = None
    """From when until when (seconds of the run) it holds; None: the whole run, or for good."""
    over: str = ""
    """What happens at its end, in a few words: Redis is back."""
    live_hindrance: str = ""
    """Why the real thing cannot be treated so, if it cannot."""


def _number(value: str, least: float, words: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least < number < math.inf:
        raise UsageError(f"{value!r} is not {words}")
    return number


def middle_s(scenario: Scenario) -> float:
    """The middle of the arrivals, in seconds of the run; of tasks that come faster than they can be worked off, the
    middle of the time that all slots need for them, so that something is under way then.
    """
    plan = Plan(scenario)
    first_s, last_s = float(plan.arrival_s[0]), float(plan.arrival_s[-1])
    work_s = float(np.sum(np.asarray(plan.column("service", 1))))
    length_s = max(last_s - first_s, work_s / (scenario.mesh.workers * scenario.mesh.slots))
    return round(first_s + length_s / 2, 3)


def _with_faults(scenario: Scenario, *faults: Mapping[str, Any]) -> dict[str, Any]:
    return {"faults": [*(scenario.data.get("faults") or []), *faults]}


# ---- the provider ----------------------------------------------------------------------------------------------------


def provider_slow(scenario: Scenario, value: str) -> Effect:
    """Work takes `FACTOR` times as long: of all roles, or of the ROLE after a comma."""
    text, _, only = (part.strip() for part in value.partition(","))
    factor = _number(text, 0, "how many times as long: say 2, or 3,ROLE") if text else SLOWER
    roles = scenario.workload.roles
    if only and only not in roles:
        raise UsageError(f"there is no role {only!r}; choose from {', '.join(roles)}")
    chosen = [only] if only else list(roles)
    handlers = [name for name in chosen if roles[name].handler is not None]
    changes = _slower_trace(scenario, factor, only)
    if changes is None:
        services = {name: roles[name].service for name in chosen}
        if not any(getattr(one, "mean_s", 1.0) for one in services.values()):
            raise DoesNotApply("no work is done in this scenario (every service time is 0), so none can be slower")
        changes = {f"workload.roles.{name}.service": _slower(one, factor) for name, one in services.items()}
    whose = f"of {only}" if only else "of every role"
    return Effect(
        title=f"Provider {factor:g}× slower" + (f" for {only}" if only else ""),
        words=f"Every attempt {whose} works {factor:g} times as long, from the first task to the last.",
        changes=changes,
        live_hindrance=f"{', '.join(handlers)}: real work of yours, which only its provider can slow"
        if handlers
        else "",
    )


def _slower(service: Service, factor: float) -> dict[str, Any]:
    written = service.model_dump(mode="json", exclude_unset=True)
    if isinstance(service, EmpiricalService):
        return {**written, "factor": times(service.factor, factor)}
    return {**written, "mean_s": times(service.mean_s, factor)}


def _slower_trace(scenario: Scenario, factor: float, only: str) -> dict[str, Any] | None:
    """The change where the trace itself says how long each task works; None where the roles say it."""
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, Trace):
        return None
    renamed = {str(ours): theirs for ours, theirs in arrivals.columns.items()}
    if "service_s" not in traces.read(scenario.base / arrivals.path, "workload.arrivals.path", renamed, 1):
        return None
    if only:
        raise DoesNotApply(f"the trace says how long each task works, whatever its role: leave {only} out")
    return {"workload.arrivals.service_factor": times(arrivals.service_factor, factor)}


# ---- failures --------------------------------------------------------------------------------------------------------


def failures(scenario: Scenario, value: str) -> Effect:
    """`FACTOR` times as many attempts fail, at most all; or `SHARE%` of them."""
    roles = scenario.workload.roles
    rates = {name: role.failure_rate for name, role in roles.items()}
    if value.endswith("%"):
        share = _number(value.removesuffix("%"), 0, "a share above 0 %") / 100
        found = dict.fromkeys(rates, min(1.0, share))
        words = f"{percent(share)} of the attempts of every role fail."
        title = f"{percent(share)} of the attempts fail"
    elif not any(rates.values()):
        found = dict.fromkeys(rates, FAILURES_WHERE_NONE)
        title = f"{percent(FAILURES_WHERE_NONE)} of the attempts fail"
        words = f"No failures are written in this scenario; now {percent(FAILURES_WHERE_NONE)} of the attempts fail."
    else:
        factor = (
            _number(value, 0, "how many times as many: say 5; or a share of the attempts: 20%")
            if value
            else (MORE_FAILURES)
        )
        found = {name: min(1.0, times(rate, factor)) for name, rate in rates.items() if rate}
        title = f"Failures × {factor:g}"
        told = _turns([(rates[name], rate) for name, rate in found.items()])
        words = f"{factor:g} times as many attempts fail: {told}."
    changes = {f"workload.roles.{name}.failure_rate": rate for name, rate in found.items() if rate != rates[name]}
    if not changes:
        raise DoesNotApply("that is how many fail already")
    handlers = [name for name in found if roles[name].handler is not None]
    hindrance = f"{', '.join(handlers)}: real work of yours, which fails when it fails" if handlers else ""
    return Effect(title, words, changes, live_hindrance=hindrance)


def percent(share: float) -> str:
    """A share of the attempts: 5 %."""
    return f"{100 * share:.3g} %"


def _turns(turns: Sequence[tuple[float, float]]) -> str:
    """2 % → 10 %, each once."""
    return ", ".join(dict.fromkeys(f"{percent(before)} → {percent(after)}" for before, after in turns))


# ---- traffic ---------------------------------------------------------------------------------------------------------


def traffic(scenario: Scenario, value: str) -> Effect:
    """`FACTOR` times the tasks in the same time; of a trace, the same tasks in a FACTOR-th of the time."""
    factor = _number(value, 0, "how many times as many tasks: say 2") if value else MORE_TRAFFIC
    found = more_traffic(scenario, factor)
    words = f"{factor:g} times as many tasks come in the same time"
    match scenario.workload.arrivals:
        case Burst(count=count):
            words = f"{factor:g} times as many tasks come at once: {count:,} → {found[f'{ARRIVALS}.count']:,}"
        case Constant(rate_per_s=rate_per_s) | Poisson(rate_per_s=rate_per_s):
            words += f": {units.rate(rate_per_s)} → {units.rate(found[f'{ARRIVALS}.rate_per_s'])}"
        case Trace():
            words = f"The tasks of the trace come {factor:g} times as fast: the same tasks in 1/{factor:g} of the time"
    return Effect(f"Traffic × {factor:g}", f"{words}.", found)


# ---- workers and servers ---------------------------------------------------------------------------------------------


def lose_workers(scenario: Scenario, value: str) -> Effect:
    """Workers are killed at the middle of the arrivals and stay away: a share of them, rounded up, or so many."""
    at_s = middle_s(scenario)
    workers = workers_at(scenario, at_s)
    share = _part(value) if value else WORKERS_LOST
    lost = int(share) if share >= 1 else math.ceil(share * workers - 1e-9)
    if lost >= workers:
        raise DoesNotApply(
            f"{units.plural(lost, 'worker')} of {workers} would die, and nobody would be left to work; "
            "give it more workers, or ask for fewer deaths"
        )
    kept = workers - lost
    killed = [{"at_s": at_s, "kind": "kill_worker", "worker": place} for place in range(kept, workers)]
    # With the places gone too, nobody replaces them; `health.restart_after_s: null` would also forbid to replace those
    # that the scenario's own faults kill.
    gone = {"at_s": round(at_s + GRAIN_S, 3), "kind": "change", "knob": "workers", "value": kept}
    return Effect(
        title=f"{lost} of {workers} workers die",
        words=f"At {units.seconds(at_s)} {lost} of {units.plural(workers, 'worker')} are killed with what they hold, "
        "and are not replaced.",
        changes=_with_faults(scenario, *killed, gone),
        window_s=(at_s, None),
    )


def _part(value: str) -> float:
    """1/3, 0.5, 50 % are shares; 2 is a number of workers."""
    words = "a share of the workers (1/3, 50%) or a number of them (2)"
    above, slash, below = value.partition("/")
    if value.endswith("%"):
        share = _number(value.removesuffix("%"), 0, words) / 100
    elif slash:
        share = _number(above, 0, words) / _number(below, 0, words)
    else:
        share = _number(value, 0, words)
    if share > 1 and share != int(share):
        raise UsageError(f"{value!r} is not {words}")
    return share


def redis_away(scenario: Scenario, value: str) -> Effect:
    """Redis is killed at the middle of the arrivals, is away for so many seconds, and comes back with nothing."""
    away_s = _number(value, 0, "for how many seconds: say 30") if value else REDIS_AWAY_S
    at_s = middle_s(scenario)
    return Effect(
        title=f"Redis away for {away_s:g} s",
        words=f"At {units.seconds(at_s)} Redis is killed, is away for {away_s:g} s, and comes back empty.",
        changes=_with_faults(scenario, {"at_s": at_s, "kind": "redis_restart", "down_s": away_s}),
        window_s=(at_s, at_s + away_s),
        over="Redis is back",
    )


# ---- retry policies --------------------------------------------------------------------------------------------------


def policy(scenario: Scenario, value: str) -> Effect:
    """Retry policy A or B: names of `lab.metastability.POLICIES`, or values of `rules.retry` as {…}; B alone: A is as
    written.
    """
    found = yaml_source.read(f"[{value}]")
    if found.problems:
        raise UsageError(
            f"write names or values, as in scheduled,jitter or {{base_s: 0.5}}: {found.problems[0].message}"
        )
    chosen = found.data or [_something_else(scenario)]
    if len(chosen) > 2:
        raise UsageError("give one policy, or two to choose from: policy:scheduled,jitter")
    *first, last = [_policy(one) for one in chosen]
    a = first[0] if first else metastability.POLICIES[AS_WRITTEN]
    if _rules(scenario, a) == _rules(scenario, last):
        raise DoesNotApply(f"{a.name} and {last.name} are the same rules in this scenario; choose another policy")
    if not _can_fail(scenario):
        raise DoesNotApply(
            "nothing fails in this scenario, so no policy ever retries; combine it with the card failures"
        )
    return Effect(
        title=f"Retry policy: {a.name} or {last.name}",
        words=f"{a.name}: {a.words}. {last.name}: {last.words}.",
        changes=dict(last.settings),
        changes_before=dict(a.settings),
        names=(a.name, last.name),
    )


def _policy(chosen: Any) -> metastability.Policy:
    if isinstance(chosen, dict):
        unknown = [name for name in chosen if name not in RetryRules.model_fields]
        if unknown:
            raise UsageError(f"rules.retry has no {unknown[0]!r}; it has {', '.join(RetryRules.model_fields)}")
        words = ", ".join(f"{name} {value}" for name, value in chosen.items())
        return metastability.Policy(
            words, f"rules.retry with {words}", {f"rules.retry.{k}": v for k, v in chosen.items()}
        )
    if chosen not in metastability.POLICIES:
        raise UsageError(
            f"there is no policy {chosen!r}; choose from {', '.join(metastability.POLICIES)}, or give {{…}}"
        )
    return metastability.POLICIES[chosen]


def _something_else(scenario: Scenario) -> str:
    """The first of POLICIES_TO_TRY that changes the rules."""
    plain = metastability.POLICIES[AS_WRITTEN]
    mine = _rules(scenario, plain)
    return next((n for n in POLICIES_TO_TRY if _rules(scenario, metastability.POLICIES[n]) != mine), AS_WRITTEN)


def _rules(scenario: Scenario, chosen: metastability.Policy) -> tuple[Any, ...]:
    """What a policy comes to. Where no client ever leaves, what becomes of late ones makes no difference."""
    rules = scenario.override(chosen.settings).rules if chosen.settings else scenario.rules
    return rules.retry, rules.deadline if rules.deadline.wait_s is not None else None


def _can_fail(scenario: Scenario) -> bool:
    """Whether any attempt may fail, as far as the scenario tells."""
    roles = scenario.workload.roles.values()
    rules = scenario.rules
    fails = any(role.failure_rate or role.fail_first or role.handler is not None for role in roles)
    struck = any(fault.kind in ("role_outage", "change", "poison_task") for fault in scenario.faults)
    late = rules.deadline.wait_s is not None or rules.retry.timeout_s is not None
    return fails or struck or late
