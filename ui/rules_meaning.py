"""What the values of a scenario come to, in its own numbers: the rulebook is asked, nothing is computed beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.rules import admission, lease, priority, retry, shutdown
from lab.scenario import Scenario
from ui import text

WAITS_SHOWN = 8


def meaning(group: str, scenario: Scenario) -> list[str]:
    """Sentences about a group of rules in this scenario (Markdown)."""
    return list(_MEANINGS[group](scenario)) if group in _MEANINGS else []


def _priority(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.priority
    if rules.route_by == "role":
        for role in scenario.workload.roles:
            queue = priority.QUEUES[priority.queue_class(priority.PRIORITY_DEFAULT, role, rules)]
            yield f"{text.escape(role)} → `{queue}`"
        return
    for place, queue in enumerate(priority.QUEUES):
        mine = [
            str(number)
            for number in range(priority.PRIORITY_MAX, priority.PRIORITY_MIN - 1, -1)
            if priority.queue_class(number, "", rules) == place
        ]
        yield f"priority {', '.join(mine)} → `{queue}`"


def _retry(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.retry
    waits = [retry.delay_s(k, rules) for k in range(1, rules.max_retries + 1)]
    shown = ", ".join(f"{wait:g}" for wait in waits[:WAITS_SHOWN]) + (", …" if len(waits) > WAITS_SHOWN else "")
    yield f"{text.plural(scenario.rules.attempts_max, 'attempt')} at most"
    if waits:
        least = "at least " if rules.jitter else ""
        yield f"waits of {least}{shown} s, {least}{text.seconds(sum(waits))} in all"
    if rules.wait == "in_slot":
        yield "while a task waits, its slot sleeps"


def _deadline(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.deadline
    if rules.wait_s is None:
        yield "clients wait for ever"
    else:
        yield f"clients wait {text.seconds(rules.wait_s)}{' on average' if rules.spread == 'exponential' else ''}"
        yield (
            "then their task leaves the queue" if rules.cancels else "then the work is done for nobody, and asked again"
        )


def _lease(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.lease
    if rules.reclaims:
        yield f"a worker renews its leases every {text.seconds(lease.renew_every_s(rules))}"
        yield f"a crash is mended within {text.seconds(rules.length_s + rules.sweep_s)}"
    else:
        yield "what a dead worker held is never taken back"


def _health(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.health
    if not rules.backpressure:
        yield "memory is reported, and nobody acts on it"
        return
    opens = rules.rss_limit_bytes * (1 - rules.resume_score)
    yield f"a gate closes at {text.size(rules.rss_limit_bytes)} and opens again at {text.size(opens)}"
    yield f"a worker that is closed for {text.seconds(rules.recycle_after_s)} is replaced"


def _admission(scenario: Scenario) -> Iterator[str]:
    rules, of_health, workers = scenario.rules.admission, scenario.rules.health, scenario.mesh.workers
    closed = (n for n in range(1, workers + 1) if not admission.is_open(n, workers, 0, of_health, rules))
    enough = next(closed, None)
    if enough is not None:
        yield f"closes while {enough} of {text.plural(workers, 'worker')} {'is' if enough == 1 else 'are'} closed"
    if rules.max_pending is not None:
        yield f"closes while {rules.max_pending:,} tasks wait"
    if enough is None and rules.max_pending is None:
        yield "always open"
    elif rules.on_closed == "hold":
        yield f"then the producer holds up to {text.plural(rules.hold_max, 'task')}"
    else:
        yield f"then tasks are refused and told to come again in {text.seconds(rules.retry_after_s)}"


def _shutdown(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.shutdown
    if shutdown.hands_back(rules):
        yield f"running tasks have {text.seconds(shutdown.grace_s(rules))} to end; the rest is handed back, uncounted"
    else:
        yield "what runs is forgotten"


def _view(scenario: Scenario) -> Iterator[str]:
    rules = scenario.rules.view
    yield f"{1 / rules.flush_s:g} paints a second"
    yield f"High Traffic Mode from {rules.high_traffic_events / rules.flush_s:g} events a second"


_MEANINGS: dict[str, Callable[[Scenario], Iterator[str]]] = {
    "priority": _priority,
    "retry": _retry,
    "deadline": _deadline,
    "lease": _lease,
    "health": _health,
    "admission": _admission,
    "shutdown": _shutdown,
    "view": _view,
}
