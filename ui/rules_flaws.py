"""What a replay has shown, in a sentence or two. Every number is read off the two runs."""

from __future__ import annotations

from collections.abc import Callable

from lab import metrics
from lab.faults import RoleOutage
from lab.limits import MIB
from lab.rules import retry
from lab.rules.tasks import Event
from ui import text
from ui.rules_replay import Pair, Run


def verdict(key: str, pair: Pair) -> str:
    """What came of the flaw and of the cure (Markdown)."""
    return _VERDICTS[key](pair)


def _killed_worker(pair: Pair) -> str:
    flawed, cured = pair
    moves = cured.record.transitions
    back_s = moves.loc[moves["reason"] == Event.LEASE_LAPSED, "at_s"].max()
    killed_s = flawed.play.strikes[0].at_s
    return (
        f"The worker had **{text.plural(_lost(flawed), 'task')}** in hand when it was killed at {_moment(killed_s)}. "
        f"Published, nobody ever asks for them: {_completed(flawed)}, the others stay RUNNING for ever. "
        f"With leases they are taken back at {_moment(back_s)} and run again: **{_completed(cured)}**, "
        f"{text.count(_lost(cured))} lost."
    )


def _sleeping_slots(pair: Pair) -> str:
    flawed, cured = pair
    return (
        f"Published, slots **sleep {text.seconds(flawed.play.slot_s('asleep'))}** through backoffs while tasks wait: "
        f"of the good tasks 95 % are done within {_latency(flawed, 'p95')}. "
        f"Scheduled, slots sleep {text.seconds(cured.play.slot_s('asleep'))} and it is **{_latency(cured, 'p95')}**. "
        f"The {text.plural(cured.play.last['dead'], 'poison task')} fail for good either way."
    )


def _provider_away(pair: Pair) -> str:
    flawed, cured = pair
    rules = cured.scenario.rules
    waits = ", ".join(f"{retry.delay_s(k, rules.retry):g}" for k in range(1, rules.retry.max_retries + 1))
    away_s = next(fault.for_s for fault in cured.scenario.faults if isinstance(fault, RoleOutage))
    return (
        f"Every attempt that starts in the {_moment(away_s)} of the outage fails. Retried at once, "
        f"**{text.plural(_dead(flawed), 'task')}** spend all {rules.attempts_max} attempts in it and are dead letters. "
        f"With waits of {waits} s **{text.count(_dead(cured))}** do: {_completed(cured)}. The price: the slowest task "
        f"takes {_latency(cured, 'max')} instead of {_latency(flawed, 'max')}."
    )


def _queue_jumpers(pair: Pair) -> str:
    flawed, cured = pair
    return (
        f"Both meshes try the {text.plural(_dead(cured), 'poison task')} {cured.scenario.rules.attempts_max} times "
        f"each. Where retries jump the queue, a good task takes **{_latency(flawed, 'p50')}** (median); "
        f"where they join its back, **{_latency(cured, 'p50')}**."
    )


def _memory(pair: Pair) -> str:
    flawed, cured = pair
    limit_mib = cured.play.limit_mib
    ends = [_moment(run.play.end_s) for run in pair]
    delay = "the last task ends no later" if ends[0] == ends[1] else f"the work ends at {ends[1]} instead of {ends[0]}"
    pressure = cured.record.info["summary"]["backpressure"]
    return (
        f"Published, a process grows to **{text.size(_peak(flawed))}**, {_over(flawed)} over its limit of "
        f"{text.size(limit_mib * MIB)}. With gates (closed "
        f"{text.plural(pressure['closings'], 'time')}, {text.seconds(pressure['closed_s'])} in all) the peak is "
        f"**{text.size(_peak(cured))}**, {_over(cured)} over; {delay}."
    )


def _shutdown(pair: Pair) -> str:
    flawed, cured = pair
    back = cured.play.in_hand("handed back")
    grace = _moment(cured.scenario.rules.shutdown.grace_s)
    return (
        f"**{text.plural(_lost(flawed), 'task')}** were running in workers that were told to leave. Published, they "
        f"are forgotten: {_completed(flawed)}. By our rules {_lost(flawed) - back} of them end within the grace of "
        f"{grace} and {back} are handed back, the attempt uncounted: **{_completed(cured)}**."
    )


_VERDICTS: dict[str, Callable[[Pair], str]] = {
    "killed_worker": _killed_worker,
    "sleeping_slots": _sleeping_slots,
    "provider_away": _provider_away,
    "queue_jumpers": _queue_jumpers,
    "memory": _memory,
    "shutdown": _shutdown,
}


def _moment(moment_s: float) -> str:
    return f"{round(moment_s, 1):g} s"


def _lost(run: Run) -> int:
    return run.play.last["lost"]


def _dead(run: Run) -> int:
    return run.play.last["dead"]


def _completed(run: Run) -> str:
    done, tasks = run.play.last["completed"], len(run.record.tasks)
    return f"all {tasks} tasks are completed" if done == tasks else f"{done} of {tasks} tasks are completed"


def _latency(run: Run, point: str) -> str:
    return text.seconds(run.record.info["summary"]["latency_s"][point])


def _peak(run: Run) -> float:
    return float(metrics.summary(run.record)["rss_bytes"]["peak"])


def _over(run: Run) -> str:
    return f"{_peak(run) / MIB / run.play.limit_mib - 1:.0%}".replace("%", " %")
