"""What people do at the controls, as data: a session's scenario grows by an entry of its arrivals or by a fault.

Everything here is a pure function of the session so far, a command, and the moment (seconds of the session) at which it
was given. What it adds happens `LEAD_S` later, so that both sides hear of it in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lab import limits
from lab.errors import UsageError
from lab.faults import knob_range
from lab.scenario import Burst, Constant, Poisson, Scenario, Schedule
from ui.mesh.commands import OUTAGE_S, PAUSE_S, SLOW_FACTOR, SLOW_S, Chaos, Knob, StressWish, Turn

LEAD_S = 0.6
"""A side wants to know of an event 0.3 s before it happens; the rest is for telling it, and for a busy machine."""
STEP_S = 0.001
"""Two commands never mean the same moment: a knob could not have two values then."""

Data = dict[str, Any]


class Span(NamedTuple):
    """What a slider offers."""

    low: float
    high: float
    step: float


RATE_PER_S = 200.0
SPANS: Mapping[Knob, Span] = {
    "rate": Span(0, RATE_PER_S, 1),
    "workers": Span(1, limits.SESSION_WORKERS_MAX, 1),
    "slots": Span(1, limits.SESSION_SLOTS_MAX, 1),
    "failure_rate": Span(0, 1, 0.01),
    "retry_base_s": Span(0.1, 10, 0.1),
    "rss_limit_mib": Span(64, 2_048, 16),
}
"""What a person may try while watching: narrower than what a scenario may have, so that a slider can be aimed."""


@dataclass(frozen=True)
class Script:
    """A session so far. `opening` makes the first one; `after_…` return what it has grown to."""

    base: Scenario
    knobs: Mapping[Knob, float]
    entries: tuple[Data, ...] = ()
    faults: tuple[Data, ...] = ()
    stress: StressWish = field(default_factory=lambda: StressWish(on=False))
    last_s: float = 0.0
    """The moment of the last thing that was added."""

    @classmethod
    def opening(cls, base: Scenario, first: StressWish | None = None) -> Script:
        """A session of `base`, whose arrivals and faults give way to what people ask for; `first` happens at once.

        Raises UsageError if not one task would come.
        """
        rate, count = _background(base)
        script = cls(base, _knobs(base, rate), ({"at_s": 0.0, "rate_per_s": rate},))
        if first is not None and first.on:
            return script.after_stress(first, -LEAD_S)
        if count:
            return replace(script, entries=(*script.entries, {"at_s": 0.0, "count": count}))._checked()
        return script._checked()

    # -- commands --

    def after_stress(self, wish: StressWish, now_s: float) -> Script:
        """Live stress mode: a burst, a rate that is held, or an end of it."""
        at_s = self._moment(now_s)
        entries = []
        if self._holds and not (wish.on and wish.mode == "hold"):
            entries.append({"at_s": at_s, "rate_per_s": self.knobs["rate"]})
        if wish.on and wish.mode == "hold":
            entries.append({"at_s": at_s, "rate_per_s": wish.rate_per_s})
        elif wish.on:
            entries.append({"at_s": at_s, "count": wish.count})
        return replace(self, entries=(*self.entries, *entries), stress=wish, last_s=at_s)._checked()

    def after_turn(self, turn: Turn, now_s: float) -> Script:
        """A knob has been turned. Raises UsageError if the value is not one that it has."""
        span, at_s = self.spans[turn.knob], self._moment(now_s)
        if not span.low <= turn.value <= span.high:
            raise UsageError(f"{turn.knob} goes from {span.low:g} to {span.high:g}; {turn.value:g} is outside.")
        turned = replace(self, knobs={**self.knobs, turn.knob: turn.value}, last_s=at_s)
        if turn.knob == "rate":
            entry = {"at_s": at_s, "rate_per_s": turn.value}
            return turned if self._holds else replace(turned, entries=(*self.entries, entry))._checked()
        value = int(turn.value) if knob_range(turn.knob).whole and turn.value == int(turn.value) else turn.value
        return turned._with_fault({"kind": "change", "at_s": at_s, "knob": turn.knob, "value": value})

    def after_chaos(self, chaos: Chaos, now_s: float) -> Script:
        """Something breaks. Raises UsageError if there is no such worker or role."""
        at_s = self._moment(now_s)
        return replace(self, last_s=at_s)._with_fault({"at_s": at_s, **self._fault(chaos)})

    def after_redrive(self, now_s: float) -> Script:
        """An operator puts the dead letters back."""
        at_s = self._moment(now_s)
        return replace(self, last_s=at_s)._with_fault({"kind": "redrive", "at_s": at_s})

    def calm(self) -> Script:
        """A burst has been worked off: stress mode is off again, and nothing else changes."""
        return replace(self, stress=StressWish(**{**dict(self.stress), "on": False}))

    # -- what it is --

    @property
    def spans(self) -> dict[Knob, Span]:
        """What each slider offers; wider where the scenario itself begins outside."""
        begun = _knobs(self.base, _background(self.base)[0])
        return {k: Span(min(low, begun[k]), max(high, begun[k]), step) for k, (low, high, step) in SPANS.items()}

    @property
    def data(self) -> Data:
        """The grown scenario as plain data."""
        base = self.base
        arrivals = {"kind": "schedule", "until_s": self.until_s, "spacing": _spacing(base)}
        entries = [dict(entry) for entry in self.entries]
        return {
            **base.data,
            "description": f"A session of {base.name}, as it was played at the controls.",
            "workload": {**base.data["workload"], "arrivals": {**arrivals, "entries": entries}},
            "faults": [dict(fault) for fault in self.faults],
        }

    @property
    def scenario(self) -> Scenario:
        """The grown scenario. Raises ScenarioError if it has become impossible."""
        return Scenario.from_data(self.data, base=self.base.base, source="the session")

    @property
    def yaml(self) -> str:
        """A scenario file that plays the session again."""
        claim = "A session of the command center: what was done at the controls, second by second."
        return f"# {claim}\n{self.scenario.to_yaml()}"

    @property
    def until_s(self) -> float:
        """When the session ends by itself: after half an hour, or when so many tasks have come as it may have."""
        tasks = rate = at_s = 0.0
        for entry in (*self.entries, {"at_s": limits.SESSION_S_MAX}):
            come = tasks + rate * (entry["at_s"] - at_s)
            if come > limits.SESSION_TASKS_MAX:
                break
            tasks, at_s = come + entry.get("count", 0), entry["at_s"]
            rate = entry.get("rate_per_s", rate)
        left = (limits.SESSION_TASKS_MAX - tasks) / rate if rate else limits.SESSION_S_MAX
        return round(min(limits.SESSION_S_MAX, at_s + max(0.0, left)), 3)

    # -- inside --

    @property
    def _holds(self) -> bool:
        """Whether a rate is held at present."""
        return self.stress.on and self.stress.mode == "hold"

    def _moment(self, now_s: float) -> float:
        """Whole ms, and never sooner than both sides can hear of it: what has come by then stays as it is."""
        earliest_s = max(now_s + LEAD_S, self.last_s + STEP_S if self.last_s else 0.0)
        return math.ceil(round(1_000 * earliest_s, 6)) / 1_000

    def _with_fault(self, fault: Data) -> Script:
        return replace(self, faults=(*self.faults, fault))._checked()

    def _fault(self, chaos: Chaos) -> Data:
        """The fault that a button means."""
        worker = self._worker(chaos.worker)
        match chaos.what:
            case "kill_worker":
                return {"kind": "kill_worker", "worker": worker}
            case "pause_worker":
                return {"kind": "pause_worker", "worker": worker, "for_s": chaos.for_s or PAUSE_S}
            case "slow_provider":
                factor = chaos.factor or SLOW_FACTOR
                return {"kind": "slow_service", "for_s": chaos.for_s or SLOW_S, "factor": factor}
            case "fail_role":
                return {"kind": "role_outage", "role": self._role(chaos.role), "for_s": chaos.for_s or OUTAGE_S}
            case "wipe_redis":
                return {"kind": "redis_flush"}
            case "restart_postgres":
                return {"kind": "postgres_restart"}

    def _worker(self, worker: int | None) -> int:
        if (worker or 0) >= self.knobs["workers"]:
            raise UsageError(f"There is no worker {worker}: the mesh has 0 to {self.knobs['workers'] - 1:g}.")
        return worker or 0

    def _role(self, role: str | None) -> str:
        roles = list(self.base.workload.roles)
        if role is not None and role not in roles:
            raise UsageError(f"There is no role {role!r}: the mesh has {', '.join(roles)}.")
        return role or roles[0]

    def _checked(self) -> Script:
        """Itself, if a run can be made of it."""
        if len(self.entries) + len(self.faults) > limits.SESSION_ACTIONS_MAX:
            raise UsageError(
                f"This session has seen {limits.SESSION_ACTIONS_MAX} actions, all that one may have. "
                "Stop it, and start another."
            )
        if self.until_s <= self.last_s:
            raise UsageError(
                f"This session would pass {limits.SESSION_TASKS_MAX:,} tasks or {limits.SESSION_S_MAX / 60:g} minutes, "
                "all that one may have. Stop it, and start another."
            )
        _ = self.scenario
        return self


def _background(base: Scenario) -> tuple[float, int]:
    """(tasks a second, tasks at the start) that a scenario's own arrivals come to where people then take over."""
    arrivals = base.workload.arrivals
    if isinstance(arrivals, Burst):
        return 0.0, min(arrivals.count, limits.SESSION_BURST_TASKS_MAX)
    if isinstance(arrivals, Constant | Poisson):
        return min(arrivals.rate_per_s, limits.SESSION_RATE_PER_S_MAX), 0
    if isinstance(arrivals, Schedule):
        rates = [entry.rate_per_s for entry in arrivals.entries if entry.rate_per_s is not None and entry.at_s == 0]
        return (rates[-1] if rates else 0.0), 0
    return 0.0, 0


def _spacing(base: Scenario) -> str:
    arrivals = base.workload.arrivals
    if isinstance(arrivals, Schedule):
        return arrivals.spacing
    return "poisson" if isinstance(arrivals, Poisson) else "even"


def _knobs(base: Scenario, rate: float) -> dict[Knob, float]:
    """Where the knobs stand at the start. Roles that fail differently show their average."""
    roles = list(base.workload.roles.values())
    failing = sum(role.share * role.failure_rate for role in roles) / sum(role.share for role in roles)
    return {
        "rate": rate,
        "workers": base.mesh.workers,
        "slots": base.mesh.slots,
        "failure_rate": round(failing, 4),
        "retry_base_s": base.rules.retry.base_s,
        "rss_limit_mib": base.rules.health.rss_limit_mib,
    }
