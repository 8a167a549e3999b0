"""A profile from measurements: what each operation costs, what it waits for, and how well the model then fits.

Costs of processor are measured directly, operation by operation and batch by batch (`Timing`). What is left of a step
on a real run (timers, commits, wake-ups) is taken from its distribution there: the model runs the same probe, and what
it lacks at each quantile is added, until both agree. Engines come as arguments, because `lab` imports none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from lab import metrics
from lab.calibration_steps import ENDED, quantiles_s, steps_of
from lab.draws import Floats
from lab.limits import MIB, PROGRESS_S
from lab.profile import Cost, MemoryCosts, Profile
from lab.record import Record
from lab.scenario import Scenario
from lab.workload import Plan

OPERATIONS: Final = ("submit", "push", "fetch", "claim", "settle")
QUANTILES: Final = 101
ROUNDS: Final = 3
"""Rounds of adding what the model lacks: each leaves a fraction of what the one before left."""
PASSES: Final = 2
HALVINGS: Final = 8
LOOP_WORK_S_MAX: Final = 0.0001
"""No machine spends more on one task outside the operations."""
ASIDE_SHARE_MAX: Final = 2.0
WAKES: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""What is tried for how often a loop must get the interpreter back."""
LEFT_SHARE_MIN: Final = 0.05
"""A process grows by a few MiB with its first tasks and then stays; what every task leaves must be more than that."""
SWITCH_S: Final = 0.005
"""CPython's default switch interval (sys.getswitchinterval)."""

Simulate = Callable[[Scenario, Profile], Record]
"""The model with that profile."""


@dataclass(frozen=True)
class Timing:
    """One operation, `repeats` times with batches of `batch` tasks.

    `walls_s`: how long each took; `own_s`: processor time of the process that asked, and `server_s` of the servers, on
    average. `server_s` is None where they run elsewhere.
    """

    operation: str
    batch: int
    walls_s: tuple[float, ...]
    own_s: float
    server_s: float | None


@dataclass(frozen=True)
class Straight:
    """A cost by batch size: `fixed_s` a batch, `task_s` a task."""

    fixed_s: float
    task_s: float

    @classmethod
    def through(cls, points: Sequence[tuple[int, float]]) -> Straight:
        """The line that is off by the least in proportion, neither part below 0."""
        from scipy.optimize import nnls

        batches = np.array([batch for batch, _ in points], dtype=float)
        seconds = np.array([max(took_s, 1e-9) for _, took_s in points])
        (fixed, task), _ = nnls(np.column_stack([1 / seconds, batches / seconds]), np.ones(len(points)))
        return cls(float(fixed), float(task))


@dataclass(frozen=True)
class Measured:
    """All that a calibration has seen. `live` holds the records of the probes by name."""

    timings: tuple[Timing, ...]
    fill_s_per_mib: float
    drop_s_per_mib: float
    live: Mapping[str, Sequence[Record]]
    machine: Mapping[str, Any] = field(default_factory=dict)
    cores: int = 1
    timer_tick_s: float = 0.0


def profile_of(measured: Measured, simulate: Simulate, name: str) -> Profile:
    """The profile that makes the model do on the probes what the machine did."""
    timed = _of_timings(measured, name)
    profile, loop_work = _with_memory(timed, measured), partial(_loop_work, timed)
    for _ in range(PASSES):  # each shifts a little what the other saw
        profile = _with_waits(profile, measured, simulate)
        profile = _solved(profile, measured, "drain", _drain_s, loop_work, LOOP_WORK_S_MAX, simulate)
        profile = _solved(profile, measured, "crowd", _drain_s, _work_aside, ASIDE_SHARE_MAX, simulate)
        profile = _solved(profile, measured, "brisk", _latency_s, _asleep, 1.0, simulate)
    profile = _with_wakes(profile, measured, simulate)
    found = profile.model_copy(update={"fit": _fit(profile, measured, simulate)})
    return Profile.model_validate(found.model_dump())  # copies are not checked, and what is kept must load again


# ---- processor time, measured directly -------------------------------------------------------------------------------


def _of_timings(measured: Measured, name: str) -> Profile:
    """Costs of processor only; nothing waits yet."""
    own = {one: _line(measured, one, "own_s") for one in OPERATIONS}
    servers = {one: _line(measured, one, "server_s") for one in OPERATIONS}
    after_commit = Straight(  # a row is PENDING by the clock of its statement: its commit and its push come after
        servers["submit"].fixed_s + servers["push"].fixed_s, servers["submit"].task_s + servers["push"].task_s
    )
    return Profile(
        measured=name,
        machine=dict(measured.machine),
        cores=measured.cores,
        switch_s=SWITCH_S,
        look_s=PROGRESS_S,
        submit=_cost(own["submit"], None),
        push=_cost(own["push"], after_commit),
        fetch=_cost(own["fetch"], servers["fetch"]),
        claim=_cost(own["claim"], None),
        begin=_cost(Straight(0.0, 0.0), servers["claim"]),
        timer_tick_s=measured.timer_tick_s,
        settle=_cost(own["settle"], None),
        reply=_cost(Straight(0.0, 0.0), servers["settle"]),
        due=_cost(own["settle"], servers["settle"]),
    )


def _line(measured: Measured, operation: str, part: str) -> Straight:
    seen = [one for one in measured.timings if one.operation == operation]
    return Straight.through([(one.batch, _part_s(one, part)) for one in seen])


def _part_s(timing: Timing, part: str) -> float:
    """Where the servers are out of sight, what the asker did not do is held to be half theirs."""
    if part == "server_s" and timing.server_s is None:
        return max(0.0, float(np.median(timing.walls_s)) - timing.own_s) / 2
    return float(getattr(timing, part))


def _cost(own: Straight, servers: Straight | None) -> Cost:
    servers = servers or Straight(0.0, 0.0)
    parts = {"loop_s": own.fixed_s, "loop_task_s": own.task_s}
    parts |= {"database_s": servers.fixed_s, "database_task_s": servers.task_s}
    return Cost.model_validate({key: round(value, 9) for key, value in parts.items()})


# ---- memory, and a process that starts -------------------------------------------------------------------------------


def _with_memory(profile: Profile, measured: Measured) -> Profile:
    """RSS of a process, what of a task's memory stays, and what a fresh process takes to start."""
    (light, *_), (holding, *_) = measured.live["light"], measured.live["holding"]
    base_bytes = float(np.median(_reports(light)["rss_bytes"]))
    left_mib, slack_bytes = _left_mib(holding, base_bytes), _slack_bytes(measured.live.get("closing", ()), base_bytes)
    memory = MemoryCosts(
        base_mib=round((base_bytes - slack_bytes) / MIB, 2),
        slack_mib=round(slack_bytes / MIB, 2),
        garbage_per_task_mib=left_mib,
        touch_s_per_mib=round(measured.fill_s_per_mib, 7),
        drop_s_per_mib=round(measured.drop_s_per_mib, 7),
    )
    found = {
        "worker_start_s": round(_start_s(holding), 4),
        "heartbeat_s": round(_heartbeat_s(light), 6),
        "report_lead_s": round(_report_lead_s([*measured.live["busy"], *measured.live.get("check", ())]), 4),
    }
    return profile.model_copy(update={"memory": memory, **found})


def _slack_bytes(records: Sequence[Record], base_bytes: float) -> float:
    """What a worker gave back of its own when its gate first closed; 0 if no gate did. The median of many reports: in
    some of them a task's memory is only half filled.
    """
    own: list[float] = []
    for record in records:
        closed, seen = record.events[record.events["kind"] == "gate_closed"]["t_s"], _reports(record)
        if len(closed):
            later = seen[seen["t_s"] > closed.min()]
            own += list(later["rss_bytes"] - later["active"] * _held_mib(record) * MIB)
    return max(0.0, base_bytes - float(np.median(own))) if own else 0.0


def _held_mib(record: Record) -> float:
    """What a task of the probe holds."""
    return float(max(role["memory_mib"] for role in record.info["scenario"]["workload"]["roles"].values()))


def _left_mib(record: Record, base_bytes: float) -> float:
    """What each task leaves in the process that nobody gives back, in MiB: RSS as a base, what running tasks hold, and
    a part for every task that has ended. Less than LEFT_SHARE_MIN of what a task holds is none.
    """
    from scipy.optimize import nnls

    held_mib = _held_mib(record)
    moves, rows, grown = record.transitions, [], []
    for worker, seen in _reports(record).groupby("worker", observed=True):
        mine = moves[moves["worker"].astype(str) == str(worker)]
        ended_s = np.sort(mine["at_s"][mine["reason"].astype(str).isin(ENDED)].to_numpy())
        rows += list(zip(seen["active"] * held_mib, np.searchsorted(ended_s, seen["t_s"]), strict=True))
        grown += list((seen["rss_bytes"] - base_bytes) / MIB)
    (_, left), _ = nnls(np.array(rows, dtype=float), np.maximum(0.0, grown))
    return round(float(left), 4) if left > LEFT_SHARE_MIN * held_mib else 0.0


def _reports(record: Record) -> Any:
    return record.samples[record.samples["worker"].astype(str) != ""]


def _start_s(record: Record) -> float:
    """From the end of the killed process to the first claim of the one that took its place."""
    events = record.events
    left = events[(events["kind"] == "worker_left")]["t_s"]
    claims = record.transitions[record.transitions["worker"].astype(str) == "w0.2"]["at_s"]
    restart_s = Scenario.from_data(record.info["scenario"]).rules.health.restart_after_s or 0.0
    return max(0.0, float(claims.min()) - float(left.min()) - restart_s) if len(left) and len(claims) else 0.0


def _report_lead_s(records: Sequence[Record]) -> float:
    """How long before the start the workers reported last, by their reports' rhythm: not the same in every run."""
    leads_s: list[float] = []
    for record in records:
        report_s = Scenario.from_data(record.info["scenario"]).rules.health.report_s
        leads_s += list(-_reports(record)["t_s"] % report_s)
    return float(np.median(leads_s)) if leads_s else 0.0


def _heartbeat_s(record: Record) -> float:
    """Processor time between two reports of a worker that has nothing to do."""
    first_s = float(record.tasks["arrival_s"].min())
    idle = _reports(record)
    idle = idle[(idle["t_s"] < first_s) & (idle["t_s"] > 0)]
    report_s = Scenario.from_data(record.info["scenario"]).rules.health.report_s
    return float(idle["cpu"].mean()) * report_s if len(idle) else 0.0


# ---- what a loop does beside its operations --------------------------------------------------------------------------


def _solved(
    profile: Profile,
    measured: Measured,
    probe: str,
    figure_of: Callable[[Record], float],
    apply: Callable[[Profile, float], Profile],
    most: float,
    simulate: Simulate,
) -> Profile:
    """As much of something, from 0 to `most`, as gives the model the same figure of a probe as the machine. More of it
    never makes that less, so the interval is halved until it is small. Of the machine's repeats the mean counts: its
    speed comes and goes, and what it is judged on will meet it in any state.
    """
    scenario = _scenario(measured, probe)
    wanted_s = float(np.mean([figure_of(one) for one in measured.live[probe]]))
    low, high = 0.0, most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if figure_of(simulate(scenario, apply(profile, middle))) < wanted_s:
            low = middle
        else:
            high = middle
    return apply(profile, low)


def _loop_work(timed: Profile, profile: Profile, extra_s: float) -> Profile:
    """Time that a worker's loop spends on each task outside the operations: half of it when an attempt begins, half
    when it ends. `timed` has what the operations alone cost.
    """
    half_s = extra_s / 2
    claim = profile.claim.model_copy(update={"loop_task_s": round(timed.claim.loop_task_s + half_s, 9)})
    settle = profile.settle.model_copy(update={"loop_task_s": round(timed.settle.loop_task_s + half_s, 9)})
    return profile.model_copy(update={"claim": claim, "settle": settle})


def _work_aside(profile: Profile, share: float) -> Profile:
    return profile.model_copy(update={"aside_share": round(share, 4)})


def _asleep(profile: Profile, share: float) -> Profile:
    """`share` of what steps wait stays, however busy the cores are."""
    return profile.model_copy(update={"awake_share": round(1.0 - share, 4)})


def _latency_s(record: Record) -> float:
    """The median latency."""
    return float(np.median(metrics.latency_s(record.tasks)))


def _drain_s(record: Record) -> float:
    """From the first claim to the last verdict."""
    moves = record.transitions
    claimed = moves[moves["reason"].astype(str) == "claimed"]["at_s"]
    return float(moves["at_s"].max() - claimed.min())


# ---- what steps wait for ---------------------------------------------------------------------------------------------

WAITS: Final = (("submit", "woken_late_s", "light", "submit"), ("reply", "late_s", "busy", "again"),
                ("push", "late_s", "light", "intake"), ("timer", "timer_late_s", "light", "settle"),
                ("due", "late_s", "light", "due"))  # fmt: skip
"""(whose wait, which, on which probe, seen in which step). What arrives, or ends, while a batch is under way need wake
nobody.
"""


def _with_waits(profile: Profile, measured: Measured, simulate: Simulate) -> Profile:
    """Waits such that each step has, on its probe, the distribution that it had on the machine."""
    wanted = {name: _steps(records) for name, records in measured.live.items() if name in ("light", "busy")}
    late = {cost: np.zeros(QUANTILES) for cost, *_ in WAITS}
    for _ in range(ROUNDS):
        found = {name: _steps([simulate(_scenario(measured, name), profile)]) for name in wanted}
        for cost, field_name, name, step in WAITS:
            lacks = quantiles_s(wanted[name][step], QUANTILES) - quantiles_s(found[name][step], QUANTILES)
            late[cost] = np.maximum.accumulate(np.maximum(0.0, late[cost] + lacks))
            profile = _waiting(profile, cost, field_name, [round(float(one), 6) for one in late[cost]])
    return profile


def _waiting(profile: Profile, name: str, field_name: str, late_s: list[float]) -> Profile:
    if name == "timer":
        return profile.model_copy(update={field_name: late_s})
    return profile.model_copy(update={name: getattr(profile, name).model_copy(update={field_name: late_s})})


def _steps(records: Sequence[Record]) -> dict[str, Floats]:
    """The steps of all repeats together."""
    each = [steps_of(record, Plan(Scenario.from_data(record.info["scenario"]))) for record in records]
    return {name: np.concatenate([one[name] for one in each]) for name in each[0]}


def _scenario(measured: Measured, name: str) -> Scenario:
    return Scenario.from_data(measured.live[name][0].info["scenario"])


# ---- loops that wait for the interpreter -----------------------------------------------------------------------------


def _with_wakes(profile: Profile, measured: Measured, simulate: Simulate) -> Profile:
    """How often each operation must get the interpreter back from threads that compute: what fits the probe best."""
    wanted, scenario = _steps(measured.live["computing"]), _scenario(measured, "computing")
    for cost, step in (("settle", "settle"), ("claim", "intake")):
        tried = [(wakes, _with(profile, cost, wakes)) for wakes in WAKES]
        aim_s = _typical_s(wanted[step])
        off_s = [abs(_typical_s(_steps([simulate(scenario, one)])[step]) - aim_s) for _, one in tried]
        profile = tried[int(np.argmin(off_s))][1]
    return profile


def _typical_s(step: Floats) -> float:
    """The mean of all but the last tenth, which threads that wait for each other decide."""
    return float(np.sort(step)[: max(1, len(step) * 9 // 10)].mean())


def _with(profile: Profile, name: str, wakes: float) -> Profile:
    cost: Cost = getattr(profile, name)
    return profile.model_copy(update={name: cost.model_copy(update={"wakes": wakes})})


# ---- how good it is --------------------------------------------------------------------------------------------------


def _fit(profile: Profile, measured: Measured, simulate: Simulate) -> dict[str, Any]:
    """By probe: the model's error against the mean of its repeats, and how far these were apart. `check` was fitted to
    nothing.
    """
    return {
        name: _off(records, simulate(_scenario(measured, name), profile)) for name, records in measured.live.items()
    }


def _off(records: Sequence[Record], model: Record) -> dict[str, Any]:
    seen = [metrics.summary(record) for record in records]
    told = metrics.summary(model)
    found: dict[str, dict[str, float]] = {}
    for path in ("throughput_per_s", "latency_s.p50", "latency_s.p95", "latency_s.p99", "rss_bytes.peak"):
        values = [float(_at(one, path) or 0.0) for one in seen]
        mean = float(np.mean(values))
        if mean > 0:
            found[path] = {"error": round(float(_at(told, path) or 0.0) / mean - 1, 4)}
            if len(values) > 1:  # of a single run nobody knows how far the next one would be off
                found[path]["noise"] = round((max(values) - min(values)) / mean, 4)
    return found


def _at(tree: Mapping[str, Any], path: str) -> Any:
    for part in path.split("."):
        tree = tree[part]
    return tree
